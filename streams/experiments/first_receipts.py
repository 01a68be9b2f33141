"""First receipts of units: when one must be kept, because a later one would differ."""

from __future__ import annotations

from streams.experiments.config import ExperimentConfig
from streams.experiments.exposure import Exposure
from streams.experiments.lifecycle import Experiment
from streams.experiments.promotion_state import Phase
from streams.experiments.unit_kind import UnitKind


def is_remembered(experiment: Experiment, phase: Phase) -> bool:
    """Return whether the first receipt of a unit must be kept in a phase of an experiment.

    It must if a later request of the unit would get a different receipt: because the allocation
    moves or variants have changed, because an attribution or conversion window begins at the first
    assignment, or because covariates and dimensions must precede the assignment, since later values
    may depend on the variant.
    """
    if experiment.definition.config.unit is UnitKind.IMPRESSION:
        return False
    was_moved = experiment.lowered_version > 0 or experiment.has_changed
    return (phase is Phase.TRIAL and was_moved) or has_moving_receipts(experiment, phase)


def has_moving_receipts(experiment: Experiment, phase: Phase) -> bool:
    """Return whether a unit that comes again would get another receipt."""
    config = experiment.definition.config
    if any(windows_from_assignment(config)):
        return True
    is_of_request = bool(config.covariates or config.dimensions)
    return phase is Phase.TRIAL and (config.parameters.adaptive or is_of_request)


def windows_from_assignment(config: ExperimentConfig) -> tuple[int, ...]:
    """Return the windows that begin with an assignment, in seconds; 0 for none."""
    if config.exposure is Exposure.EVENT:  # conversion windows begin with the exposure
        return (config.attribution_window,)
    return (
        config.attribution_window,
        *config.conversion_windows.values(),
        *config.conversion_delays.values(),
    )

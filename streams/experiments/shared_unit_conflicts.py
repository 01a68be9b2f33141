"""Conflicts of an experiment with others of its layer."""

from __future__ import annotations

from collections.abc import Iterable

from streams.experiments.definition import ExperimentDefinition
from streams.experiments.lifecycle import Experiment, Status
from streams.model.errors import InputError


def check_shared_units(
    number: int,
    definition: ExperimentDefinition,
    others: Iterable[Experiment],
    created_at_ms: int | None = None,
) -> None:
    """Refuse an experiment that would share units of its layer with another one.

    Args:
        number: The experiment; it is no conflict with itself.
        definition: Its definition.
        others: All experiments that are known.
        created_at_ms: When it was created, if it is to be started now: of two drafts that were
            created at the same time, the later one waits. None: it is to be created.

    Raises:
        InputError: another experiment that is not over has an overlapping range in the layer
            (`LAYER_OVERLAP`) or another unit (`LAYER_UNITS_DIFFER`). The message names it.
    """
    if definition.config.layer is None:
        return
    for other in others:
        if other.number == number or is_over(other):
            continue
        if (
            created_at_ms is not None
            and other.status is Status.DRAFT
            and (other.created_at_ms, other.number) > (created_at_ms, number)
        ):
            continue
        if other.shipped is None:  # what everybody is served takes no unit from others
            _check_layer(definition, other)


def is_over(experiment: Experiment) -> bool:
    """Return whether an experiment assigns no unit any more, and serves no variant."""
    return experiment.status is Status.ARCHIVED or (
        experiment.status is Status.CONCLUDED
        and not experiment.is_assigning
        and experiment.shipped is None
    )


def _check_layer(definition: ExperimentDefinition, other: Experiment) -> None:
    ours, theirs = definition.config.layer, other.definition.config.layer
    if ours is None or theirs is None or ours.key != theirs.key:
        return
    their_unit = other.definition.config.unit
    if definition.config.unit is not their_unit:
        message = f"{other.id} is in this layer and randomises by {their_unit}"
        raise InputError("LAYER_UNITS_DIFFER", message, "config.layer.key")
    (begin, end), (their_begin, their_end) = ours.ends, theirs.ends
    if begin < their_end and their_begin < end:
        message = f"{other.id} is in this layer with the range {list(theirs.range)}"
        raise InputError("LAYER_OVERLAP", message, "config.layer.range")

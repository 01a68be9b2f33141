"""Experiments that answer assignments, compiled from their snapshots."""

from __future__ import annotations

from api.snapshots.rendering import RenderedAssignments
from streams.experiments.assignment import Assigner
from streams.experiments.holdouts import Holdout
from streams.experiments.shipping import Shipping
from streams.experiments.snapshot import Snapshot
from streams.model.quantities import ALLOCATION_TOTAL


class RunningExperiment:
    """An experiment that assigns, compiled and rendered.

    Attributes:
        id: Its id.
        assigner: Assigns units to variants.
        rendering: The JSON of the assignments.
        holdouts: Those that cover it.
    """

    __slots__ = ("assigner", "holdouts", "id", "rendering")

    def __init__(self, snapshot: Snapshot) -> None:
        """Compile a snapshot.

        Raises:
            ValueError: its weights do not sum to the total, or are not one per variant.
        """
        weights, variants = snapshot.allocation.weights, snapshot.experiment.definition.variants
        if len(weights) != len(variants) or min(weights) < 0 or sum(weights) != ALLOCATION_TOTAL:
            raise ValueError(f"{len(weights)} weights of {len(variants)} variants")
        self.id = snapshot.experiment.id
        self.holdouts: tuple[Holdout, ...] = ()
        self.assigner = Assigner(snapshot)
        self.rendering = RenderedAssignments(snapshot)


class ShippedExperiment:
    """A concluded experiment that serves one variant to all users, compiled and rendered.

    Attributes:
        id: Its id.
        shipping: Decides who gets what is served.
        rendering: The JSON of the assignments.
        holdouts: Those that cover it.
    """

    __slots__ = ("holdouts", "id", "rendering", "shipping")

    def __init__(self, snapshot: Snapshot) -> None:
        """Compile a snapshot.

        Raises:
            ExperimentNotRunningError: it serves no variant.
        """
        self.id = snapshot.experiment.id
        self.holdouts: tuple[Holdout, ...] = ()
        self.shipping = Shipping(snapshot.experiment)
        self.rendering = RenderedAssignments(snapshot)


AnsweringExperiment = RunningExperiment | ShippedExperiment


def compiled(snapshot: Snapshot) -> AnsweringExperiment | None:
    """Return what an experiment answers with; None if it does not assign or serve a variant.

    A holdout does neither: it is asked with the experiments that it covers.

    Raises:
        ValueError: as `RunningExperiment`.
    """
    if snapshot.experiment.definition.config.holdout is not None:
        return None
    if snapshot.experiment.is_assigning:
        return RunningExperiment(snapshot)
    return None if snapshot.experiment.shipped is None else ShippedExperiment(snapshot)

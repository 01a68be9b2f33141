"""Conflicts of an experiment with others of its layer."""

from __future__ import annotations

from collections import defaultdict
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
        number: The experiment; it does not conflict with itself.
        definition: Its definition.
        others: All experiments that are known.
        created_at_ms: When it was created, if it is to be started now: of two drafts that were
            created at the same time, the later one waits. None: it is to be created.

    Raises:
        InputError: another experiment that has not ended has an overlapping range in the layer
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
        if other.shipped is None:  # serving one variant takes no units from others
            _check_layer(definition, other)


def refused_in_layers(experiments: Iterable[Experiment]) -> dict[int, Experiment]:
    """Return the experiments that may not assign, each with the one that has its units.

    Two API processes may create and start overlapping experiments of a layer in the same moment,
    before either knows of the other one. Of those the one that started first assigns, with ties
    broken by their numbers. This depends on their commands only, so all processes that know both
    agree.

    Args:
        experiments: All that are known.
    """
    by_layer: defaultdict[str, list[Experiment]] = defaultdict(list)
    for each in experiments:
        layer = each.definition.config.layer
        if layer is not None and (each.is_assigning or each.status is Status.PAUSED):
            by_layer[layer.key].append(each)
    refused: dict[int, Experiment] = {}
    for found in by_layer.values():
        having: list[Experiment] = []
        for each in sorted(found, key=lambda each: (each.started_at_ms or 0, each.number)):
            other = next((one for one in having if _overlap(each, one)), None)
            if other is None:
                having.append(each)
            else:
                refused[each.number] = other
    return refused


def refusal(other: Experiment) -> InputError:
    """Return the error of an experiment whose units another one of its layer has."""
    layer = other.definition.config.layer
    assert layer is not None  # noqa: S101 - it is in the same one
    message = f"{other.id} started first in this layer, with the range {list(layer.range)}"
    return InputError("LAYER_OVERLAP", message, "config.layer.range")


def _overlap(one: Experiment, other: Experiment) -> bool:
    try:
        _check_layer(one.definition, other)
    except InputError:
        return True
    return False


def is_over(experiment: Experiment) -> bool:
    """Return whether an experiment neither assigns units nor serves a variant."""
    return experiment.status is Status.ARCHIVED or (
        experiment.status is Status.CONCLUDED
        and not experiment.is_assigning
        and experiment.shipped is None
    )


def _check_layer(definition: ExperimentDefinition, other: Experiment) -> None:
    ours, theirs = definition.config.layer, other.definition.config.layer
    if ours is None or theirs is None or ours.key != theirs.key:
        return
    their_unit = other.definition.config.layer_unit
    if definition.config.layer_unit is not their_unit:
        message = f"{other.id} is in this layer, which divides {their_unit}s"
        raise InputError("LAYER_UNITS_DIFFER", message, "config.layer.key")
    (begin, end), (their_begin, their_end) = ours.ends, theirs.ends
    if begin < their_end and their_begin < end:
        message = f"{other.id} is in this layer with the range {list(theirs.range)}"
        raise InputError("LAYER_OVERLAP", message, "config.layer.range")

"""Effects of a command, predicted: changes for units and statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from streams.experiments.lifecycle import Experiment, Status
from streams.model.quantities import ALLOCATION_TOTAL


class EffectCode(StrEnum):
    """Effect of a command."""

    DRAFT_CREATED = "DRAFT_CREATED"
    """A draft is created; it assigns nothing."""
    DEFINITION_CHANGED = "DEFINITION_CHANGED"
    """The definition of the draft changes."""
    ASSIGNMENT_STARTS = "ASSIGNMENT_STARTS"
    """Units are assigned from now on."""
    ASSIGNMENT_STOPS = "ASSIGNMENT_STOPS"
    """No unit is assigned any more; observations of earlier assignments still count."""
    TRAFFIC_RAISED = "TRAFFIC_RAISED"
    """More units take part; those that do stay in."""
    TRAFFIC_LOWERED = "TRAFFIC_LOWERED"
    """Fewer new units take part; those that do stay in."""
    VARIANT_ADDED = "VARIANT_ADDED"
    """It is compared by the units that come from now on."""
    VARIANT_STOPPED = "VARIANT_STOPPED"
    """Its units are shown another variant; its statistics are kept."""
    VARIANT_REACTIVATED = "VARIANT_REACTIVATED"
    CONTENT_CHANGED = "CONTENT_CHANGED"
    """Callers get another configuration of a variant from now on."""
    STATISTICS_FROZEN = "STATISTICS_FROZEN"
    """The report of the conclusion is kept as it is then."""
    WINNER_SERVED = "WINNER_SERVED"
    """All users get one variant until the experiment is archived."""
    WINNER_PROMOTED = "WINNER_PROMOTED"
    """The winner is assigned beside a share of the control."""
    WINNER_TAKEN_BACK = "WINNER_TAKEN_BACK"
    """All units get the control; this cannot be undone."""
    NOTHING_SERVED = "NOTHING_SERVED"
    """Callers get an error, and use their default."""
    ARCHIVED = "ARCHIVED"
    """Callers get an error, and use their default; this cannot be undone."""


@dataclass(frozen=True, slots=True)
class Effect:
    """An effect of a command.

    Attributes:
        code: Kind of effect.
        variant: Index of the affected variant; None for the experiment.
        units: Affected units among those assigned so far; None if not applicable.
        before, after: Share of the traffic, or of the control; None if not applicable.
    """

    code: EffectCode
    variant: int | None = None
    units: int | None = None
    before: float | None = None
    after: float | None = None


def effects_of(
    before: Experiment | None, after: Experiment, units: Sequence[int] = ()
) -> tuple[Effect, ...]:
    """Return the effects of a command.

    Args:
        before, after: The experiment before and after it; None if it did not exist.
        units: Units of every variant so far, in the order of the definition.
    """
    if before is None:
        codes = [EffectCode.DRAFT_CREATED]
        if after.is_assigning:
            codes = [EffectCode.ASSIGNMENT_STARTS]
        return tuple(map(Effect, codes))
    return (*_of_status(before, after, sum(units)), *_of_definition(before, after, units))


def _of_status(before: Experiment, after: Experiment, total: int) -> Iterator[Effect]:
    if after.is_assigning and not before.is_assigning and after.status is Status.RUNNING:
        traffic = after.definition.config.traffic_allocation
        yield Effect(EffectCode.ASSIGNMENT_STARTS, units=total, before=0.0, after=traffic)
    if before.is_assigning and not after.is_assigning:
        yield Effect(EffectCode.ASSIGNMENT_STOPS, units=total)
    if after.status is Status.ARCHIVED:
        yield Effect(EffectCode.ARCHIVED, units=total)
        return
    if after.status is not Status.CONCLUDED:
        return
    is_new = before.status is not Status.CONCLUDED
    if is_new:
        yield Effect(EffectCode.STATISTICS_FROZEN, units=total)
    elif before.winner != after.winner or before.served != after.served:
        yield Effect(EffectCode.WINNER_TAKEN_BACK, variant=before.winner, units=total)
        return
    if after.promotion is not None:
        share = after.promotion.control_weight / ALLOCATION_TOTAL
        variant = after.promotion.variant
        yield Effect(EffectCode.WINNER_PROMOTED, variant=variant, units=total, after=share)
    elif after.shipped is not None:
        yield Effect(EffectCode.WINNER_SERVED, variant=after.shipped.variant, units=total)
    else:
        yield Effect(EffectCode.NOTHING_SERVED, units=total)


def _of_definition(before: Experiment, after: Experiment, units: Sequence[int]) -> Iterator[Effect]:
    if before.definition == after.definition:
        return
    if after.status is Status.DRAFT:
        yield Effect(EffectCode.DEFINITION_CHANGED)
        return
    old = before.definition.config.traffic_allocation
    new = after.definition.config.traffic_allocation
    if old != new:
        code = EffectCode.TRAFFIC_RAISED if new > old else EffectCode.TRAFFIC_LOWERED
        yield Effect(code, units=sum(units), before=old, after=new)
    known = before.definition.variants
    for index, variant in enumerate(after.definition.variants):
        own = units[index] if index < len(units) else 0
        if index >= len(known):
            yield Effect(EffectCode.VARIANT_ADDED, variant=index, units=0)
            continue
        if variant.is_active is not known[index].is_active:
            code = (
                EffectCode.VARIANT_REACTIVATED if variant.is_active else EffectCode.VARIANT_STOPPED
            )
            yield Effect(code, variant=index, units=own)
        if variant.config != known[index].config:
            yield Effect(EffectCode.CONTENT_CHANGED, variant=index, units=own)

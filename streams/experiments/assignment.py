"""Assignment of units to variants: a snapshot compiled for many decisions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from streams.experiments.admission import Admission, admission_of
from streams.experiments.contextual import scorer_of
from streams.experiments.covariates import CovariateSpace
from streams.experiments.dimensions import DimensionSpace
from streams.experiments.eligible_variants import EligibleVariants
from streams.experiments.exposure import Exposure
from streams.experiments.first_receipts import (
    has_moving_receipts,
    is_remembered,
    windows_from_assignment,
)
from streams.experiments.ignored_units import ignoring
from streams.experiments.lifecycle import Experiment
from streams.experiments.promotion_state import Phase
from streams.experiments.snapshot import Snapshot
from streams.experiments.unit_kind import UnitKind
from streams.model.errors import ExperimentNotRunningError
from streams.model.receipts import Receipt
from streams.model.vectors import Vector, pack
from streams.policies.bucketing import (
    drawing,
    enrolled_below,
    is_enrolled,
    promoted_draw,
)
from streams.policies.contextual.base import ContextualPolicy
from streams.policies.contextual.encoding import FeatureSpace
from streams.policies.contextual.scoring import Scorer
from streams.policies.draw_tables import HALF_BITS, DrawTable, DrawTables, draw_table

SLOTS_PER_WINDOW = 8
"""A receipt that is not remembered loses at most one slot of its window."""

ALLOCATION_SLOT_MS = 3_600_000
"""Slot of receipt times, one hour: processes with different snapshots of the same hour issue equal
receipts."""

_new_tuple = tuple.__new__  # half the time of calling the class


class Assignment(NamedTuple):
    """The variant of one unit. A named tuple, because one is made for every request.

    Attributes:
        variant: Index of the variant; the control for a unit that is not enrolled.
        enrolled: Whether the unit takes part.
        receipt: Its receipt. That of a unit that is not enrolled is never signed: its propensity is
            0, and only its unit and its time mean something.
    """

    variant: int
    enrolled: bool
    receipt: Receipt


class Assigner:
    """A compiled experiment that assigns: all that does not depend on the unit is precomputed.

    Attributes:
        admission: Decides which requests are excluded; None if none are.
        counts_assignments: Whether a unit counts from its assignment, and not from an exposure.
        control: Index of the control.
        ignores: Returns whether an id is an ignored one; this is checked first.
        number: The experiment as a 64-bit integer.
        variants: Its variants by id and by name.
        unit_kind: Unit of randomisation.
        is_remembered: Whether a unit's first receipt must be kept (`is_remembered`). In every other
            case the hash alone gives the same again.
        needs_log: Whether first receipts from before the share was lowered, or the variants
            changed, are in the log alone until a worker has read them from it.
        phase: Phase of the experiment; units are assigned afresh in each.
        attribution_window_s: Seconds during which observations count; 0 for no limit.
        first_index: Index of the first variant in receipts (`Experiment.logged_index`).
        reads_context: Whether receipts depend on the features, device or location of the request.
        receipt_by_hash: Returns the receipt of a unit at a time, of all variants and without
            context; None if it is not enrolled.
        fixed_time_ms: Time of all its receipts; None where each has that of its request.
        started_at_ms: Start of the experiment; no unit was assigned before.
    """

    __slots__ = (
        "_active",
        "_allocation_version",
        "_before",
        "_below",
        "_below_peak",
        "_contextual",
        "_covariates",
        "_dimensions",
        "_draw",
        "_is_trial",
        "_peak",
        "_since_ms",
        "_slot_ms",
        "_standby_ms",
        "_tables",
        "_traffic",
        "admission",
        "attribution_window_s",
        "control",
        "counts_assignments",
        "first_index",
        "fixed_time_ms",
        "ignores",
        "is_remembered",
        "needs_log",
        "number",
        "phase",
        "reads_context",
        "receipt_by_hash",
        "started_at_ms",
        "unit_kind",
        "variants",
    )

    def __init__(self, snapshot: Snapshot) -> None:
        """Compile a snapshot.

        Raises:
            ExperimentNotRunningError: the experiment does not assign now.
        """
        experiment = snapshot.experiment
        config = experiment.definition.config
        if not experiment.is_assigning or experiment.started_at_ms is None:
            raise ExperimentNotRunningError(experiment.id, experiment.status)
        promotion = experiment.promotion
        is_repeated = config.unit is not UnitKind.IMPRESSION
        self.number = experiment.number
        self._draw = drawing(experiment.number)
        self.unit_kind = config.unit
        self.phase = experiment.phase
        self.is_remembered = is_remembered(experiment, experiment.phase)
        self.first_index = experiment.logged_index(0, experiment.phase)
        self._is_trial = experiment.phase is Phase.TRIAL
        self.attribution_window_s = config.attribution_window
        self.started_at_ms = experiment.started_at_ms
        self.admission: Admission | None = admission_of(experiment.definition)
        self.counts_assignments = config.exposure is Exposure.ASSIGNMENT
        self.ignores = ignoring(config.ignored_units)
        self.control = experiment.definition.control_index
        self._traffic = self._peak = config.traffic_allocation
        has_moving = is_repeated and has_moving_receipts(experiment, experiment.phase)
        if self.is_remembered and self._is_trial:
            self._peak = max(self._traffic, experiment.peak_traffic)
        self._below, self._below_peak = map(enrolled_below, (self._traffic, self._peak))
        self.needs_log = self.is_remembered and not has_moving
        variants, active = experiment.definition.variants, experiment.definition.active
        self.variants = EligibleVariants(
            experiment.id, [variant.name for variant in variants], experiment.variant_id, active
        )
        self._active = frozenset(active)
        # A fixed allocation has its weights in the definition.
        is_moving = self._is_trial and (config.parameters.adaptive or experiment.roster is not None)
        self._before = _before(experiment) if self._is_trial else None
        self._tables = DrawTables(
            snapshot.allocation.weights, has_moved=is_moving, is_compared=self._is_trial
        )
        self._contextual: tuple[FeatureSpace, Scorer] | None = None
        policy = experiment.definition.policy
        if isinstance(policy, ContextualPolicy) and snapshot.model is not None:
            space = FeatureSpace(policy.features)
            among = None if len(active) == len(variants) else active
            self._contextual = space, scorer_of(policy, snapshot.model, among, len(variants))
        self._covariates = (
            CovariateSpace(config.covariates) if config.covariates and self._is_trial else None
        )
        self._dimensions = (
            DimensionSpace(config.dimensions) if config.dimensions and self._is_trial else None
        )
        self.reads_context = any(
            each is not None for each in (self._contextual, self._covariates, self._dimensions)
        )
        self._allocation_version = snapshot.allocation.version
        # A unit under fixed weights and without a window always has the same receipt, so none is
        # stored.
        since_ms = experiment.started_at_ms if promotion is None else promotion.began_at_ms
        is_fixed = is_repeated and not has_moving and self._contextual is None
        self.fixed_time_ms = since_ms if is_fixed else None
        windows_s = filter(None, windows_from_assignment(config))
        self._slot_ms = min(windows_s, default=0) * 1000 // SLOTS_PER_WINDOW
        allocated_ms = snapshot.as_of_ms - snapshot.as_of_ms % ALLOCATION_SLOT_MS
        self._since_ms, self._standby_ms = since_ms, max(since_ms, allocated_ms)
        self.receipt_by_hash = self._compiled_receipt()

    @property
    def unknown_dimensions(self) -> bytes:
        """Dimension values of a unit without known attributes."""
        return b"" if self._dimensions is None else self._dimensions.unknown

    def unit(self, unit_key: str | bytes) -> int:
        """Return the unit hash of an id."""
        unit, _, _ = self._draw(unit_key)
        return unit

    def standby_time_ms(self, now_ms: int) -> int:
        """Return the time of a receipt that is issued while receipts cannot be stored.

        It is the same for all requests of a unit, in every process: without a window, the hour of
        the newest event that the allocation in force knows, which stands still without Redis. With
        a window, the beginning of its current eighth, so that the rest of the window remains for
        observations, however long Redis is unavailable.
        """
        if self.fixed_time_ms is not None:
            return self.fixed_time_ms
        if self._slot_ms:
            return max(self._since_ms, now_ms - now_ms % self._slot_ms)
        return self._standby_ms

    def counts(self, eligible: int) -> bool:
        """Return whether a unit can be counted for which only these variants are eligible.

        After a conclusion, only requests that could get both the winner and the control are
        counted: their weights are the declared ones.

        Args:
            eligible: As for `draw_table`.
        """
        return self._is_trial or not self._tables.served & ~eligible

    def is_in(self, unit_key: str) -> bool:
        """Return whether the hash of a unit is within the traffic share in force."""
        _, enrolment, _ = self._draw(unit_key)
        return is_enrolled(enrolment, self._traffic)

    def may_be_in(self, unit_key: str) -> bool:
        """Return whether a unit that is not enrolled may have been, before the share was lowered.

        It takes part if it was assigned then, according to its first receipt.
        """
        if self._peak <= self._traffic:
            return False
        _, enrolment, _ = self._draw(unit_key)
        return is_enrolled(enrolment, self._peak)

    def shows(self, variant: int) -> bool:
        """Return whether a variant is assigned, and not stopped."""
        return variant in self._active

    @property
    def has_before(self) -> bool:
        """Whether a unit may have been assigned under fixed weights before the variants changed."""
        return self._before is not None

    def assign_before(self, unit_key: str, now_ms: int, *, was_in: bool = False) -> Assignment:
        """Return the variant that a unit had if it was assigned before the variants changed.

        Its receipt is the same as then, recomputed from the hash.

        Args:
            unit_key, now_ms, was_in: As in `assign`.
        """
        assert self._before is not None  # noqa: S101 - of a unit under fixed weights (`has_before`)
        table, version = self._before
        unit, enrolment, draw = self._draw(unit_key)
        if not is_enrolled(enrolment, self._peak if was_in else self._traffic):
            return self._not_enrolled(unit, now_ms)
        variant = table.choose(draw)
        receipt = Receipt(
            experiment=self.number,
            variant=self.first_index + variant,
            propensity=table.propensities[variant],
            allocation_version=version,
            assigned_at_ms=self.fixed_time_ms or now_ms,
            unit=unit,
            attribution_window_s=self.attribution_window_s,
            weights=table.packed,
        )
        return Assignment(variant, True, receipt)

    def assign(
        self,
        unit_key: str | bytes,
        now_ms: int,
        features: Mapping[str, Any] | None = None,
        device: str | None = None,
        location: str | None = None,
        eligible: int | None = None,
        *,
        was_in: bool = False,
    ) -> Assignment:
        """Return the variant of a unit.

        Args:
            unit_key: User or session id, or 16 fresh random bytes for an impression.
            now_ms: Time of the request, in milliseconds since the epoch.
            features, device, location: Context of the request; for contextual policies and
                dimensions, and `features` for covariates.
            eligible: The variants that can be shown, as for `draw_table`.
            was_in: Whether it is assumed to have taken part before the share was lowered.

        Raises:
            InputError: a declared feature or covariate is invalid, with its path; also for a unit
                that is not enrolled, so that mistakes are noticed early.
        """
        receipt = self.receipt(
            unit_key, now_ms, features, device, location, eligible, was_in=was_in
        )
        if receipt is None:
            return self._not_enrolled(self.unit(unit_key), now_ms)
        return Assignment(receipt.variant - self.first_index, True, receipt)

    def receipt(
        self,
        unit_key: str | bytes,
        now_ms: int,
        features: Mapping[str, Any] | None = None,
        device: str | None = None,
        location: str | None = None,
        eligible: int | None = None,
        *,
        was_in: bool = False,
    ) -> Receipt | None:
        """Return the receipt of a unit; None if it is not enrolled.

        Args:
            unit_key, now_ms, features, device, location, eligible, was_in: As in `assign`.

        Raises:
            InputError: as `assign`.
        """
        vector, known, values = None, b"", b""
        if self.reads_context:
            vector, known, values = self._of_context(features, device, location)
        table = self._table_of(vector, eligible)
        below = self._below_peak if was_in else self._below
        return self.receipt_by_hash(unit_key, now_ms, table, known, values, below)

    def _compiled_receipt(self) -> Callable[..., Receipt | None]:
        """Return `receipt_by_hash`, with all that is the same for every request in local variables.

        Each request would otherwise look it up in the attributes again.
        """
        number, first_index, version = self.number, self.first_index, self._allocation_version
        fixed_time_ms, window_s = self.fixed_time_ms, self.attribution_window_s
        draws, of_all, below_traffic = self._draw, self._tables.of(None), self._below
        is_drawn_anew = not self._is_trial and self._contextual is None

        def receipt_by_hash(
            unit_key: str | bytes,
            now_ms: int,
            table: DrawTable = of_all,
            known: bytes = b"",
            values: bytes = b"",
            below: int = below_traffic,
        ) -> Receipt | None:
            unit, enrolment, draw = draws(unit_key)
            if enrolment >= below:
                return None
            if is_drawn_anew:
                draw = promoted_draw(number, unit_key)
            variant = table.owners[bisect_right(table.ends, draw >> HALF_BITS)]  # `choose`
            fields = (
                number,
                first_index + variant,
                table.propensities[variant],
                version,
                now_ms if fixed_time_ms is None else fixed_time_ms,
                unit,
                window_s,
                table.packed,
                known,
                values,
            )
            return _new_tuple(Receipt, fields)

        return receipt_by_hash

    def _of_context(
        self, features: Mapping[str, Any] | None, device: str | None, location: str | None
    ) -> tuple[Vector | None, bytes, bytes]:
        """Return what is known of a unit: the vector of a contextual policy, and what is logged.

        That is the vector or the covariates, packed, and the values of the dimensions.
        """
        vector, known, values = None, b"", b""
        if self._contextual is not None:
            vector = self._contextual[0].encode(features, device, location)
        if self._covariates is not None:
            known = pack(self._covariates.encode(features))
        if vector is not None:
            known = pack(vector)
        if self._dimensions is not None:
            values = self._dimensions.encode(features, device, location)
        return vector, known, values

    def redraw(
        self,
        unit_key: str | bytes,
        eligible: int | None,
        *,
        features: Mapping[str, Any] | None = None,
        device: str | None = None,
        location: str | None = None,
    ) -> tuple[int, int]:
        """Return a variant for a unit whose assigned variant is not eligible, and its propensity.

        It does not depend on the assigned variant, and is the same for the same eligible set.

        Args:
            unit_key, features, device, location, eligible: As in `assign`.
        """
        vector = None
        if self._contextual is not None:
            vector = self._contextual[0].encode(features, device, location)
        table = self._table_of(vector, eligible)
        _, _, variant_draw = self._draw(unit_key)
        variant = table.choose_again(variant_draw)
        return variant, table.propensities[variant]

    def _not_enrolled(self, unit: int, now_ms: int) -> Assignment:
        fields = (self.number, 0, 0, 0, now_ms, unit, 0, b"", b"", b"")
        return _new_tuple(Assignment, (self.control, False, _new_tuple(Receipt, fields)))

    def _table_of(self, vector: Vector | None, eligible: int | None) -> DrawTable:
        if self._contextual is not None and vector is not None:
            return self._contextual[1].table(vector, eligible)
        return self._tables.of(eligible)


def _before(experiment: Experiment) -> tuple[DrawTable, int] | None:
    """Return the table of fixed weights before the variants changed, and its version.

    None if no unit has to be looked up: nothing has changed, or receipts were stored from the
    start.
    """
    roster = experiment.roster
    is_kept = has_moving_receipts(experiment, Phase.TRIAL)
    is_repeated = experiment.definition.config.unit is not UnitKind.IMPRESSION
    if roster is None or not experiment.has_changed or is_kept or not is_repeated:
        return None
    table = draw_table(roster.weights)
    if all(roster.weights):  # earlier receipts do not carry weights
        table = replace(table, packed=b"")
    return table, experiment.started_version

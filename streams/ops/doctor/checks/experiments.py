"""Findings about single experiments: evaluations, snapshots, counts and schedules."""

from __future__ import annotations

from collections.abc import Iterator

from streams.ops.doctor.facts import Facts
from streams.ops.doctor.finding import Finding, Severity, shortened

LATE_LIMIT_MS = 60_000
"""Largest lateness of a schedule that is not reported: a restart of a worker takes some seconds."""

UNEXPOSED_LIMIT = 100
"""Assignments without any exposure from which on it is reported."""

_DIMENSION_ADVICE = {
    "SLICE_SAMPLE_RATIO_MISMATCH": "Units of one variant are lost there, as on a platform that "
    "does not show it. See `experiment stats ID --dimension NAME`.",
    "UNKNOWN_VALUES": "See which values callers send, and in which spelling: `mobile` is not "
    "`Mobile`. What was counted stays; an experiment with other values is a new one.",
}


def _snapshots(facts: Facts) -> Iterator[Finding]:
    unreadable = facts.redis.unreadable
    if unreadable:
        yield Finding(
            "SNAPSHOTS_UNREADABLE",
            Severity.ERROR,
            f"the snapshots of {shortened(unreadable)} in Redis cannot be decoded",
            "Workers newer than this program may have written them; else something else has "
            "written these keys. The API keeps the last good snapshot of each.",
        )
    missing = [
        each.experiment_id
        for each in facts.snapshots
        if each.redis_version is None and each.experiment_id not in unreadable
    ]
    if missing:
        yield Finding(
            "SNAPSHOTS_MISSING",
            Severity.ERROR,
            f"Redis does not have {shortened(missing)}, of {len(facts.snapshots):,} experiments",
            "It was emptied, or is another. A worker writes everything again within seconds; an "
            "API that starts before knows nothing of them.",
        )
    old = [
        each.experiment_id
        for each in facts.snapshots
        if each.redis_version is not None and each.redis_version < each.version
    ]
    if old:
        yield Finding(
            "SNAPSHOTS_OLD",
            Severity.WARNING,
            f"Redis has an older snapshot than Kafka of {shortened(old)}",
            "See whether workers reach Redis (experiment_engine_projection_failures).",
        )
    behind = [
        each.experiment_id
        for each in facts.snapshots
        if any(offset > each.cells.get(place, -1) for place, offset in each.tallies.items())
    ]
    if behind:
        yield Finding(
            "STATISTICS_OLD",
            Severity.WARNING,
            f"cells were written that no snapshot has yet, of {shortened(behind)}",
            "See the lag of `tallies` and what workers log.",
        )


def _miscounts(facts: Facts) -> Iterator[Finding]:
    full = [each.experiment_id for each in facts.snapshots if each.is_memory_full]
    if full:
        yield Finding(
            "DEDUPLICATION_FULL",
            Severity.ERROR,
            f"events of {shortened(full)} are not counted: the deduplication window is full",
            "Raise EXPERIMENT_DEDUPLICATION_MAX_ENTRIES, and count the log anew with "
            "`experiment replay rebuild`; until then nothing is concluded.",
        )
    crossed = [each for each in facts.snapshots if each.crossed_units]
    if crossed:
        units = sum(each.crossed_units for each in crossed)
        yield Finding(
            "UNITS_IN_SEVERAL_VARIANTS",
            Severity.WARNING,
            f"{units:,} units were assigned to several variants, of "
            f"{shortened([each.experiment_id for each in crossed])}",
            "Check whether another system assigns, or whether Redis has lost the receipts "
            "of units that return.",
        )
    for each in facts.snapshots:
        if each.heavy:
            named = [f"{share:.0%} of {metric} by {name}" for name, metric, share in each.heavy]
            yield Finding(
                "HEAVY_UNIT",
                Severity.WARNING,
                f"single units have a large share of the observations of {each.experiment_id}: "
                f"{shortened(named)}",
                "Each is a program, or many users behind one id. Its observations beyond 1,000 of "
                "a metric do not count; `experiment void --reason bot ASSIGNMENT_ID` takes it out, "
                "and an id that stands for no unit belongs in `ignoredUnits`.",
            )


def _misspelt(facts: Facts) -> Iterator[Finding]:
    for each in facts.snapshots:
        if each.misspelt:
            pairs = [f"{observed} for {metric}" for metric, observed in each.misspelt]
            yield Finding(
                "METRIC_MISSPELT",
                Severity.WARNING,
                f"observations of {each.experiment_id} seem to name the wrong metric: "
                f"{shortened(pairs)}",
                "The declared one has no observation. Send that name: what was sent under another "
                "is not counted for it.",
            )


def _dimensions(facts: Facts) -> Iterator[Finding]:
    for each in facts.snapshots:
        for code, message in each.dimensions:
            yield Finding(
                code, Severity.WARNING, f"{each.experiment_id}: {message}", _DIMENSION_ADVICE[code]
            )


def _schedules(facts: Facts) -> Iterator[Finding]:
    for each in facts.snapshots:
        name = each.experiment_id
        if each.overdue_ms > LATE_LIMIT_MS:
            yield Finding(
                "SCHEDULE_OVERDUE",
                Severity.WARNING,
                f"something of the schedule of {name} has been due for {each.overdue_ms // 1000} s",
                "Workers do what is due within a second. Look for one that runs, may write "
                "commands, and can evaluate the experiment.",
            )
        if each.late_ms > LATE_LIMIT_MS:
            yield Finding(
                "SCHEDULE_LATE",
                Severity.NOTE,
                f"the schedule of {name} was done up to {each.late_ms // 1000} s late",
                "`schedule.events` of the experiment says what. No worker ran when it was due.",
            )
        if each.held_by is not None:
            yield Finding(
                "SCHEDULE_HELD",
                Severity.WARNING,
                f"the ramp of {name} is held by {each.held_by}",
                "Look at `stats`. It resumes only with a new schedule.",
            )


def _layers(facts: Facts) -> Iterator[Finding]:
    for each in facts.snapshots:
        if each.overlaps is not None:
            yield Finding(
                "LAYER_OVERLAP",
                Severity.ERROR,
                f"{each.experiment_id} is refused: {each.overlaps} started first in its layer, and "
                "has units of its range",
                "Conclude one of the two. They were started in the same moment by two processes.",
            )


def _unexposed(facts: Facts) -> Iterator[Finding]:
    for each in facts.snapshots:
        if each.unexposed >= UNEXPOSED_LIMIT:
            yield Finding(
                "NO_EXPOSURES",
                Severity.WARNING,
                f"{each.experiment_id} has {each.unexposed:,} assignments and no exposure, and "
                "counts units from their exposure",
                "Send exposures: POST /exposures, `record_exposure` of a client, or `$exposure` on "
                "the topic of observations.",
            )


def _evaluations(facts: Facts) -> Iterator[Finding]:
    for each in facts.snapshots:
        if each.failure is not None:
            code, error = each.failure
            yield Finding(
                code,
                Severity.ERROR,
                f"the evaluation of {each.experiment_id} fails ({error}): it keeps its last "
                "weights and statistics",
                "Commands take effect all the same. The log of the workers has the error; report "
                "it, as every accepted definition can be evaluated.",
            )


EXPERIMENT_CHECKS = (
    _snapshots,
    _miscounts,
    _misspelt,
    _dimensions,
    _schedules,
    _layers,
    _unexposed,
    _evaluations,
)

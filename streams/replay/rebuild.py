"""Generations built, switched and dropped: what `experiment replay rebuild` does.

Nothing here folds; the workers of the new generation do. Here is looked how far they are, and the
log of generations is written, which all workers follow.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from streams.kafka.admin import create_topics, delete_projections
from streams.kafka.generations import append_change, generations_of
from streams.kafka.positions import GroupPositions
from streams.model.errors import DependencyError, EngineError
from streams.model.generations import ChangeKind, Generations
from streams.projection.connection import connect
from streams.projection.keys import Keys
from streams.projection.reader import ProjectionReader
from streams.projection.writer import ProjectionWriter
from streams.replay.report import Report
from streams.settings import Settings

LOOK_S = 0.25
"""Interval of checks of a generation's progress."""

SIGN_PATIENCE_S = 3.0
"""Longest wait for the heartbeat of a worker that lives: a few of them."""

SNAPSHOT_PATIENCE_S = 30.0
"""Longest wait for the snapshots of what is folded."""

AT_ONCE_S = 15.0
"""A generation that reaches in this time where the active one was, follows it. Records are
committed once their cells were sent, and many large cells take 8 s for that."""


class GenerationError(EngineError):
    """Something that cannot be done with a generation as it is.

    `GENERATION_UNKNOWN`, `GENERATION_DROPPED`: no generation has this number.
    `GENERATION_SERVED`: readers get it.
    `GENERATION_WITHOUT_WORKERS`: no worker would continue it.
    `GENERATION_HAS_WORKERS`: workers still build it.
    `GENERATION_BEHIND`: it lacks what the active one has.
    `GENERATION_DIFFERENT`: it is not what the log gives.
    `GENERATION_NOT_CHANGED`: another change of generations came first.
    """


@dataclass(frozen=True, slots=True)
class GenerationStatus:
    """A generation as it is.

    Attributes:
        number: Which.
        is_active: Whether readers get it.
        workers: How many of its workers live.
        folded: Records that it has folded of those that the active one has, or all its own.
        to_fold: Records that the active one has folded.
        snapshots: Experiments that Redis has a snapshot of.
    """

    number: int
    is_active: bool
    workers: int
    folded: int
    to_fold: int
    snapshots: int


def start(settings: Settings, generation: int | None = None) -> Settings:
    """Return the settings of a generation's workers, once its topics are there.

    Args:
        settings: The installation.
        generation: One that was started before; None for a new one.

    Raises:
        GenerationError: it is not there, or is active.
        LogError, DependencyError: Kafka does not answer, or the log of generations is damaged.
    """
    create_topics(settings)  # the log of generations among them
    generations, _ = generations_of(settings)
    if generation is None:
        generation = generations.next
        append_change(settings, generation, ChangeKind.STARTED)
    else:
        _check_inactive(generations, generation)
    of_generation = settings.model_copy(update={"generation": generation})
    create_topics(of_generation)
    return of_generation


def statuses(settings: Settings) -> list[GenerationStatus]:
    """Return what there is of every generation that is kept.

    Raises:
        LogError, DependencyError: Kafka or Redis does not answer.
    """
    generations, _ = generations_of(settings)
    workers = _workers(settings)
    found = []
    target = _positions(settings, generations.active)
    for number in generations.kept:
        folded, to_fold = _share(_positions(settings, number), target)
        found.append(
            GenerationStatus(
                number=number,
                is_active=number == generations.active,
                workers=workers[number],
                folded=folded,
                to_fold=to_fold,
                snapshots=len(_versions(settings, number)),
            )
        )
    return found


def catch_up(
    settings: Settings,
    generation: int,
    timeout_s: float | None,
    advance: Callable[[int, int], None] = lambda _folded, _to_fold: None,
) -> None:
    """Return once a generation has what the active one has, and follows it.

    It has folded what that one has, and Redis has its snapshots, none of an older version.

    Args:
        settings: The installation.
        generation: Which.
        timeout_s: Longest time without a further record; None for any.
        advance: Called with the number of folded records and the total.

    Raises:
        GenerationError: no record came for so long, or all are folded and Redis does not have it.
        LogError, DependencyError: Kafka or Redis does not answer.
    """
    while True:
        generations, _ = generations_of(settings)
        started = time.monotonic()
        versions = _versions(settings, generations.active)
        target = _positions(settings, generations.active)
        _reach(settings, generation, target, timeout_s, advance)
        _reach_versions(settings, generation, versions)
        if time.monotonic() - started < AT_ONCE_S:
            return


def check_candidate(settings: Settings, generation: int) -> None:
    """Return if a generation could be active: it is there, and has live workers.

    Raises:
        GenerationError: it could not.
        LogError, DependencyError: Kafka or Redis does not answer.
    """
    generations, _ = generations_of(settings)
    _check_inactive(generations, generation)
    if not _has_workers(settings, generation):
        raise GenerationError(
            "GENERATION_WITHOUT_WORKERS",
            f"generation {generation} has no live workers; start some with "
            f"EXPERIMENT_GENERATION={generation} experiment worker",
        )


def switch(
    settings: Settings,
    generation: int,
    verified: Callable[[Settings], Report],
    timeout_s: float,
) -> None:
    """Make a generation the one that is active, if it is what the log gives, and complete.

    Args:
        settings: The installation.
        generation: Which.
        verified: Compares a generation with the log; see `streams.replay.verify`.
        timeout_s: Longest wait for its workers without an advance, and for Redis.

    Raises:
        GenerationError: it is not there, has no workers, is behind or differs; nothing changed.
        LogError: it cannot be compared, because records of the log are gone; nothing changed.
        DependencyError: Kafka or Redis does not answer.
    """
    check_candidate(settings, generation)
    catch_up(settings, generation, timeout_s)
    report = verified(settings.model_copy(update={"generation": generation}))
    if report.difference is not None:
        found = report.difference
        raise GenerationError(
            "GENERATION_DIFFERENT",
            f"generation {generation} is not what the log gives: {found.subject} in "
            f"{found.place} at {found.path or 'all'} is {found.live}, must be {found.replayed}",
        )
    catch_up(settings, generation, timeout_s)  # a comparison may take its time
    serve(settings, generation, timeout_s)


def serve(settings: Settings, generation: int, timeout_s: float) -> None:
    """Make a generation the one that is active, as it is; return once Redis says so.

    Args:
        settings: The installation.
        generation: Which; it has live workers.
        timeout_s: Longest wait for one of them to write it to Redis.

    Raises:
        GenerationError: another change came first.
        LogError, DependencyError: Kafka or Redis does not answer.
    """
    append_change(settings, generation, ChangeKind.SERVED)
    _check_is_active(settings, generation)
    _await_pointer(settings, generation, timeout_s)


def drop(settings: Settings, generation: int) -> int:
    """Remove a generation that is not active, permanently; return how many topics went.

    Doing so again removes what was left.

    Raises:
        GenerationError: it is active, has live workers, or never was.
        LogError, DependencyError: Kafka or Redis does not answer; some of it may be left.
    """
    generations, _ = generations_of(settings)
    if generation not in generations.dropped:
        _check_inactive(generations, generation)
        if _workers(settings)[generation]:
            raise GenerationError(
                "GENERATION_HAS_WORKERS",
                f"generation {generation} has live workers; stop them first",
            )
        append_change(settings, generation, ChangeKind.DROPPED)
        generations, _ = generations_of(settings)
        if generation not in generations.dropped:
            _raise_not_changed(generation, generations)
    of_generation = settings.model_copy(update={"generation": generation})
    removed = delete_projections(of_generation)
    asyncio.run(_remove_snapshots(of_generation, generations))
    return removed


def _has_workers(settings: Settings, generation: int) -> bool:
    """Return whether a worker lives; one that has just begun may not have said so yet."""
    deadline = time.monotonic() + SIGN_PATIENCE_S
    while not (found := _workers(settings)[generation]) and time.monotonic() < deadline:
        time.sleep(LOOK_S)
    return found > 0


def _check_inactive(generations: Generations, generation: int) -> None:
    if generation == generations.active:
        raise GenerationError("GENERATION_SERVED", f"generation {generation} is active")
    if generation in generations.dropped:
        raise GenerationError("GENERATION_DROPPED", f"generation {generation} was dropped")
    if generation not in generations.known:
        raise GenerationError(
            "GENERATION_UNKNOWN",
            f"there is no generation {generation}, only {_words(generations.kept)}",
        )


def _check_is_active(settings: Settings, generation: int) -> None:
    generations, _ = generations_of(settings)
    if generations.active != generation:
        _raise_not_changed(generation, generations)


def _raise_not_changed(generation: int, generations: Generations) -> None:
    raise GenerationError(
        "GENERATION_NOT_CHANGED",
        f"another change came first: generation {generations.active} is active, and of generation "
        f"{generation} nothing has changed",
    )


def _reach(
    settings: Settings,
    generation: int,
    target: Mapping[tuple[str, int], int],
    timeout_s: float | None,
    advance: Callable[[int, int], None],
) -> None:
    last, since = -1, time.monotonic()
    with GroupPositions(settings.model_copy(update={"generation": generation})) as positions:
        while True:
            folded, to_fold = _share(positions.read(), target)
            advance(folded, to_fold)
            if folded == to_fold:
                return
            if folded > last:
                last, since = folded, time.monotonic()
            if timeout_s is not None and time.monotonic() - since > timeout_s:
                raise GenerationError(
                    "GENERATION_BEHIND",
                    f"generation {generation} has folded {folded:,} of {to_fold:,} records, and "
                    f"nothing for {timeout_s:.0f} s",
                )
            time.sleep(LOOK_S)


def _reach_versions(settings: Settings, generation: int, versions: Mapping[str, int]) -> None:
    deadline = time.monotonic() + SNAPSHOT_PATIENCE_S
    while behind := _behind(versions, _versions(settings, generation)):
        if time.monotonic() > deadline:
            raise GenerationError(
                "GENERATION_BEHIND",
                f"generation {generation} has no snapshot, or an older one than is active, of "
                f"{_words(behind[:3])} ({len(behind):,} in all)",
            )
        time.sleep(LOOK_S)


def _behind(wanted: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    return sorted(name for name, version in wanted.items() if found.get(name, -1) < version)


def _share(
    own: Mapping[tuple[str, int], int], target: Mapping[tuple[str, int], int]
) -> tuple[int, int]:
    folded = sum(min(own.get(place, 0), offset) for place, offset in target.items())
    return folded, sum(target.values())


def _positions(settings: Settings, generation: int) -> Mapping[tuple[str, int], int]:
    with GroupPositions(settings.model_copy(update={"generation": generation})) as positions:
        return positions.read()


def _versions(settings: Settings, generation: int) -> dict[str, int]:
    async def read() -> dict[str, int]:
        async with connect(settings.redis_url) as redis:
            keys = Keys(settings.namespace, generation)
            projected = await ProjectionReader(redis, keys, is_pinned=True).newer({})
            return {each.experiment.id: each.version for each in projected.all()}

    return asyncio.run(read())


def _workers(settings: Settings) -> Counter[int]:
    async def read() -> Counter[int]:
        async with connect(settings.redis_url) as redis:
            return await ProjectionReader(redis, Keys(settings.namespace)).workers_by_generation()

    return asyncio.run(read())


def _await_pointer(settings: Settings, generation: int, timeout_s: float) -> None:
    async def read() -> int:
        async with connect(settings.redis_url) as redis:
            return await ProjectionReader(redis, Keys(settings.namespace)).active_generation()

    deadline = time.monotonic() + timeout_s
    while asyncio.run(read()) != generation:
        if time.monotonic() > deadline:
            raise DependencyError(
                "redis",
                f"generation {generation} is active by the log, and no worker has written that to "
                f"Redis in {timeout_s:.0f} s; one will as soon as it runs and reaches both",
            )
        time.sleep(LOOK_S)


async def _remove_snapshots(of_generation: Settings, generations: Generations) -> None:
    async with connect(of_generation.redis_url) as redis:
        keys = Keys(of_generation.namespace, of_generation.generation)
        writer = ProjectionWriter(redis, keys)
        writer.follow(generations)
        await writer.remove_snapshots()


def _words(names: Collection[object]) -> str:
    return ", ".join(map(str, names))

"""Start the stack in order, restart what dies, stop it in reverse.

Order: broker, Valkey, topics, journal, workers, API and webhooks, dashboard. All but the broker
are restarted with a growing pause. The embedded broker has its log in memory, and the log is the
source of truth: a stack that continued from an empty one would report counts that contradict the
earlier ones. So the end of the broker stops the stack, and the supervisor reports what is lost:
nothing that is in the journal, from which the next start continues, or all of an ephemeral stack.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial

import httpx

from streams.kafka.admin import create_topics
from streams.local.api_processes import COMMAND, api_environments
from streams.local.children import Child, ChildFailedError
from streams.local.journal.resuming import Resumption, kept_partitions
from streams.local.journal.store import Journal
from streams.local.plan import StackPlan, journal_of
from streams.local.stack_files import registered
from streams.local.tansu import start_tansu
from streams.local.valkey import start_valkey
from streams.settings import ENVIRONMENT_PREFIX, Settings

# API and webhooks, the workers, the journal, Valkey, the broker. A stop ends within ten seconds, if
# the journal has little to write; on a busy machine it may take longer, since what it does not
# write is lost. A worker gives itself five seconds to make durable what it holds.
API_GRACE_S = 2.0
WORKER_GRACE_S = 5.5
WEBHOOKS_GRACE_S = 2.0
JOURNAL_GRACE_S = 15.0
DASHBOARD_GRACE_S = 1.5

READY_TIMEOUT_S = 90.0
LOOKS_A_PROCESS = 8
"""Connections that must find the API ready, for each of its processes: with a probability below
exp(-8) one of them was not asked."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
STEADY_S = 30.0  # a child that lived so long starts again at the first pause


Watch = Callable[[], Coroutine[None, None, None]]
"""Coroutine that runs as long as a child is to live; raises where the stack cannot continue."""


class LogLostError(Exception):
    """The embedded broker ended with a log in its memory that is not all on the disk.

    Operator action: start the stack again. It continues from its journal; experiments of an
    ephemeral one have to be created again.
    """


class Supervisor:
    """Starts, restarts and stops the processes of one stack.

    Args:
        plan: The stack.
        environment: Variables that children inherit besides the settings of the plan.
        report: Receives lines for the operator, one per call.
    """

    def __init__(
        self, plan: StackPlan, environment: Mapping[str, str], report: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._environment = dict(environment)
        self._report = report
        # Children of one stage are stopped together, stages in the reverse order of their start.
        self._stages: list[list[Child]] = []
        self._own: list[Child] = []  # the programs of this project among them
        self._journal: Child | None = None  # from when on there may be something to keep
        self._stopping = threading.Event()

    def hang_up(self) -> None:
        """Have workers and API read their files of keys again."""
        for child in self._own:
            child.hang_up()

    async def run(
        self,
        stop: asyncio.Event,
        announce: Callable[[str], None],
        announce_dashboard: Callable[[str], None] | None = None,
    ) -> None:
        """Run the stack until `stop` is set; nothing is left running afterwards.

        Args:
            stop: Set it to stop; also while the stack starts.
            announce: Called once with the URL of the API, when an experiment can be created.
            announce_dashboard: Called once with the URL of the dashboard, when it answers; None
                without a listener.

        Raises:
            ConfigurationError: the port or the directory is taken, or a setting is wrong.
            DependencyError: Kafka does not answer.
            ChildFailedError: something did not start.
            LogLostError: the embedded broker died, or the journal did not write all there was.
        """
        with ExitStack() as resources:
            self._plan.check_port()
            resources.enter_context(self._plan.owned_directory())
            for log in self._plan.directory.glob("*.log"):
                log.replace(log.with_suffix(".log.1"))  # the run before this one, and no more
            running = asyncio.create_task(
                self._start_and_watch(resources, announce, announce_dashboard)
            )
            stopping = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    running.result()
            finally:
                # Before the servers end: a thread that waits for one would wait for its time limit.
                self._stopping.set()
                running.cancel()
                stopping.cancel()
                await asyncio.gather(running, stopping, return_exceptions=True)
                for stage in reversed(self._stages):
                    await asyncio.gather(*(child.stop() for child in stage))
            if self._journal is not None and not self._journal.has_succeeded:
                raise LogLostError(
                    f"the journal {await self._journal.ended()} before all was written: what the "
                    f"stack accepted last is lost{self._journal.place}"
                )

    async def _start_and_watch(
        self,
        resources: ExitStack,
        announce: Callable[[str], None],
        announce_dashboard: Callable[[str], None] | None,
    ) -> None:
        kafka_url, redis_url = self._plan.kafka_url, self._plan.redis_url
        watches: list[Watch] = []
        if kafka_url is None:
            broker, kafka_url = await start_tansu(self._plan.directory)
            self._stages.append([broker])
            watches.append(partial(self._must_live, broker))
        if redis_url is None:
            valkey, redis_url = await start_valkey(self._plan.directory)
            self._stages.append([valkey])
            watches.append(partial(self._keep, valkey))

        partitions = None
        if self._plan.persists:
            kept_at = journal_of(self._plan.directory)
            partitions = await asyncio.to_thread(kept_partitions, kept_at)
        overrides = self._plan.overrides(kafka_url, redis_url, self._environment, partitions)
        settings = _settings_of(overrides)
        await asyncio.to_thread(create_topics, settings)
        resumption = Resumption(settings, self._report, self._stopping)
        generation = await self._resume(resumption)
        if generation is not None:
            overrides["GENERATION"] = str(generation)
        variables = {f"{ENVIRONMENT_PREFIX}{name}": value for name, value in overrides.items()}
        environment = self._environment | variables
        journal = self._journal_child(environment) if self._plan.persists else None
        if journal is not None:
            await self._start([journal], watches)
        await self._start(self._workers(environment), watches)
        if generation is not None:
            serving = partial(asyncio.to_thread, resumption.serve, generation)
            await _until_done(serving, watches)
        api = self._api(environment)
        await self._start([*api, self._webhooks(environment)], watches)
        await api[0].ready(self._answers_ready, READY_TIMEOUT_S)
        resources.enter_context(registered(self._plan, overrides))
        if self._plan.dashboard_port is not None:
            # After the API is ready, so that people who look never delay what assigns.
            await self._start([self._dashboard(environment)], watches)
        self._journal = journal
        announce(self._plan.url)
        if self._plan.dashboard_port is not None and announce_dashboard is not None:
            watches.append(partial(self._announce_dashboard, announce_dashboard))
        await _until_one_fails(watches)

    async def _resume(self, resumption: Resumption) -> int | None:
        """Restore the log; return the generation of the workers that continue from it, if any."""
        if not self._plan.persists:
            if self._plan.kafka_url is None:
                self._forget_orphaned_spool()
            return None

        def restore() -> int | None:
            with Journal(journal_of(self._plan.directory)) as journal:
                return resumption.restore(journal)

        generation = await asyncio.to_thread(restore)
        if generation is None:
            self._forget_orphaned_spool()
        return generation

    async def _start(self, stage: list[Child], watches: list[Watch]) -> None:
        """Start the children of a stage."""
        self._stages.append(stage)
        for child in stage:
            await child.start()
            self._own.append(child)
            watches.append(partial(self._keep, child))

    def _journal_child(self, environment: Mapping[str, str]) -> Child:
        command = (sys.executable, "-m", "streams.local.journal")
        return Child("journal", command, environment, self._plan.directory, JOURNAL_GRACE_S)

    def _webhooks(self, environment: Mapping[str, str]) -> Child:
        command = (sys.executable, "-m", "streams.webhooks")
        return Child("webhooks", command, environment, self._plan.directory, WEBHOOKS_GRACE_S)

    def _workers(self, environment: Mapping[str, str]) -> list[Child]:
        engine = (sys.executable, "-m", "streams.worker")
        return [
            Child(f"worker-{index + 1}", engine, variables, self._plan.directory, WORKER_GRACE_S)
            for index, variables in enumerate(self._plan.worker_environments(environment))
        ]

    def _api(self, environment: Mapping[str, str]) -> list[Child]:
        directory = self._plan.directory
        if self._plan.api_processes == 1:
            return [Child("api", COMMAND, environment, directory, API_GRACE_S)]
        shared = api_environments(environment, self._plan.api_processes)
        return [
            Child(f"api-{index + 1}", COMMAND, variables, directory, API_GRACE_S)
            for index, variables in enumerate(shared)
        ]

    def _dashboard(self, environment: Mapping[str, str]) -> Child:
        command = (sys.executable, "-m", "dashboard")
        return Child("dashboard", command, environment, self._plan.directory, DASHBOARD_GRACE_S)

    async def _announce_dashboard(self, announce: Callable[[str], None]) -> None:
        """Announce the dashboard once it answers, and wait permanently."""
        url = self._plan.dashboard_url
        while not await _answers(f"{url}/health"):  # noqa: ASYNC110 - another process
            await asyncio.sleep(FIRST_PAUSE_S / 2)
        announce(url)
        await asyncio.Event().wait()

    async def _answers_ready(self) -> bool:
        for child in itertools.chain(*self._stages):
            if child.pid is None:  # a failing start is reported at once, not tried again
                raise ChildFailedError(child.name, await child.ended(), child.tail())
        # Of several that share the port the kernel chooses one for each connection, by chance.
        n_looks = 1 if self._plan.api_processes == 1 else LOOKS_A_PROCESS * self._plan.api_processes
        place = f"{self._plan.local_url}/ready"
        return all(await asyncio.gather(*(_answers(place) for _ in range(n_looks))))

    async def _keep(self, child: Child) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            started = time.monotonic()
            ending = await child.ended()
            if time.monotonic() - started > STEADY_S:
                pause_s = FIRST_PAUSE_S
            self._report(f"{child.name} {ending}; starting it again{child.place}")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            try:
                await child.start()
            except (ChildFailedError, OSError) as error:  # no room for a process or its log now
                self._report(f"{child.name} cannot be started: {error}")

    async def _must_live(self, broker: Child) -> None:
        ending = await broker.ended()
        lost = (
            "The stack stops; started again, it goes on from "
            f"{journal_of(self._plan.directory)}, which may lack the last second"
            if self._plan.persists
            else "Its log was in memory: every experiment and count since the start is lost, and "
            "the stack stops"
        )
        raise LogLostError(f"the embedded {broker.name} {ending}. {lost} (log: {broker.log})")

    def _forget_orphaned_spool(self) -> None:
        spool = self._plan.directory / "spool"
        if any(file.stat().st_size for file in spool.rglob("*") if file.is_file()):
            self._report(f"{spool} belongs to a log that ended with its broker; removing it")
        shutil.rmtree(spool, ignore_errors=True)


async def _answers(url: str) -> bool:
    """Return whether a server of this machine answers with success."""
    # Not through a proxy: the address is on this machine. Plain HTTP needs no certificates, and
    # loading them would take 40 ms of every look.
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=2) as client:  # noqa: S501
        with suppress(httpx.TransportError):
            return (await client.get(url)).is_success
    return False


def _settings_of(overrides: Mapping[str, str]) -> Settings:
    return Settings(**{name.lower(): value for name, value in overrides.items()})  # type: ignore[arg-type]


async def _until_done(work: Watch, watches: Sequence[Watch]) -> None:
    """Run `watches` until `work` returns; raise what one of them raises."""
    working = asyncio.ensure_future(work())
    watching = asyncio.create_task(_until_one_fails(watches))
    try:
        done, _ = await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _until_one_fails(watches: Sequence[Watch]) -> None:
    """Run `watches`, which never return, until one raises, and raise that."""
    tasks = [asyncio.create_task(watch()) for watch in watches]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

"""The ad server of the tutorial under load and faults: `python -m benchmarks.ad_server`.

Starts a stack and `examples/ad_server.py`, and plays its users: they ask for ads, see them, click,
some twice, and order; some are bots, whose receipts are voided. Meanwhile the API, a worker and
Redis are killed in turn. At the end every exposure, click and order that was acknowledged must be
counted, and nothing that was not sent; voids must be exact, and the log must give what is live.
Fails otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from pathlib import Path

import httpx
import psutil
import yaml

from benchmarks.ad_account import REASON, Account, Line, table
from experiment_streams_client import ApiError, AsyncExperimentClient, VoidRequest
from streams.local.children import Child, free_port

ROOT = Path(__file__).parents[1]
EXPERIMENT = "hero-ad"
PLACES = ("DE", "US", "JP")
SHARE_RETURNING = 0.2
SHARE_CLICKING = 0.3
SHARE_CLICKING_TWICE = 0.3
SHARE_ORDERING = 0.2
SHARE_BOTS = 0.05
USERS_AT_ONCE = 64
BROWSER_TIMEOUT_S = 10.0
AD_TIMEOUT_S = "0.5"
READY_S = 120.0
SETTLE_S = 120.0
STILL_S = 5.0

FAULTS = {"API": "api", "worker": "streams.worker", "Redis": "valkey"}
"""Processes that are killed in turn, and a word of the command of each."""


class Users:
    """Users of an ad server, and what they have seen of its answers.

    Args:
        url: Of the ad server.
        seed: Of what they do.
    """

    def __init__(self, url: str, seed: int) -> None:
        self.account = Account()
        self.bots: set[str] = set()
        self._draws = random.Random(seed)
        self._numbers = itertools.count()
        self._pool: list[str] = []
        self._http = httpx.AsyncClient(
            base_url=url,
            timeout=BROWSER_TIMEOUT_S,
            limits=httpx.Limits(max_connections=USERS_AT_ONCE),
            trust_env=False,
        )

    async def run(self, seconds: float, rate: float) -> None:
        """Have `rate` users a second come for `seconds`, and return when all are done."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        free = asyncio.Semaphore(USERS_AT_ONCE)
        async with self._http, asyncio.TaskGroup() as group:
            for number in itertools.count(1):
                if loop.time() - begin >= seconds:
                    break
                await free.acquire()
                task = group.create_task(self._visit())
                task.add_done_callback(lambda _: free.release())
                await asyncio.sleep(begin + number / rate - loop.time())

    async def _visit(self) -> None:
        """Ask for an ad, and do what one does with it."""
        draws, account = self._draws, self.account
        is_bot = draws.random() < SHARE_BOTS
        if self._pool and not is_bot and draws.random() < SHARE_RETURNING:
            user = draws.choice(self._pool)
        else:
            user = f"user_{next(self._numbers)}"
            if not is_bot:
                self._pool.append(user)
        answer = await self._get("ad", "/ad", {"user": user, "place": draws.choice(PLACES)})
        if answer is None or answer.status_code != HTTPStatus.OK:
            return
        page = answer.json()
        if "seen" not in page:
            account.outcomes["usual ad"] += 1
            return
        receipt, impression = page["click"].split("/")[2:]
        account.shown(user, receipt)
        is_seen = await self._post("exposure", page["seen"]) is not None
        account.exposed(receipt, is_acknowledged=is_seen)
        if draws.random() < SHARE_CLICKING:
            for _ in range(2 if draws.random() < SHARE_CLICKING_TWICE else 1):
                answer = await self._get("click", page["click"])
                account.clicked(receipt, impression, is_acknowledged=answer is not None)
        if draws.random() < SHARE_ORDERING:
            order = f"order_{next(self._numbers)}"
            paid = {"order": order, "user": user, "amount": round(draws.uniform(5, 200), 2)}
            is_paid = await self._post("order", "/orders", paid) is not None
            account.ordered(user, order, is_acknowledged=is_paid)
        if is_bot:
            self.bots.add(receipt)

    async def _get(
        self, kind: str, path: str, parameters: dict[str, str] | None = None
    ) -> httpx.Response | None:
        return await self._answer(kind, self._http.build_request("GET", path, params=parameters))

    async def _post(self, kind: str, path: str, body: object = None) -> httpx.Response | None:
        return await self._answer(kind, self._http.build_request("POST", path, json=body))

    async def _answer(self, kind: str, request: httpx.Request) -> httpx.Response | None:
        """Return a success; None where whether it arrived is not known."""
        try:
            answer = await self._http.send(request)
        except httpx.TransportError:
            self.account.outcomes[f"{kind} unanswered"] += 1
            return None
        if answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            self.account.outcomes[f"{kind} unanswered"] += 1
            return None
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            raise RuntimeError(f"{request.url}: {answer.status_code} {answer.text}")
        self.account.outcomes[f"{kind} answered"] += 1
        return answer


async def void(users: Users, client: AsyncExperimentClient) -> None:
    """Void the receipts of bots, each call until it is answered."""
    while bots := sorted(users.bots - users.account.voided):
        try:
            taken = await client.void_assignments(
                VoidRequest(assignment_id=each, reason=REASON) for each in bots
            )
        except ApiError as error:
            if HTTPStatus.BAD_REQUEST <= error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            await asyncio.sleep(1.0)
            continue
        assert not taken.rejected, taken  # noqa: S101 - every one is valid
        users.account.voided.update(bots)


async def cause_faults(stack: psutil.Process, every_s: float, count: int) -> None:
    """Kill the API, a worker and Redis in turn; their supervisor starts them again."""
    for name, word in itertools.islice(itertools.cycle(FAULTS.items()), count):
        await asyncio.sleep(every_s)
        running = [
            child
            for child in stack.children(recursive=True)
            if any(part.endswith(word) or word in Path(part).name for part in child.cmdline()[:3])
        ]
        print(f"killing {name}, process {running[0].pid}", flush=True)
        running[0].kill()


@contextmanager
def running_stack(directory: Path, port: int) -> Iterator[psutil.Process]:
    """Run `experiment up` with two workers while the block runs."""
    options = ("--port", str(port), "--data-dir", str(directory / "data"), "--workers", "2")
    environment = {**os.environ, "XDG_STATE_HOME": str(directory / "state")}
    process = subprocess.Popen(
        [sys.executable, "-m", "streams.cli", "up", "--no-dashboard", *options],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None  # noqa: S101 - a pipe
        if not process.stdout.readline().startswith("ready"):
            raise RuntimeError("the stack did not start")
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@asynccontextmanager
async def running_ad_server(directory: Path, engine: str) -> AsyncIterator[str]:
    """Run the example while the block runs, and yield its address."""
    port = free_port()
    variables = {
        "EXPERIMENT_API_URL": engine,
        "AD_SERVER_PORT": str(port),
        "AD_TIMEOUT_S": AD_TIMEOUT_S,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'client'}",
    }
    program = (sys.executable, str(ROOT / "examples" / "ad_server.py"))
    server = Child("ad-server", program, {**os.environ, **variables}, directory, 5.0)
    await server.start()
    url = f"http://127.0.0.1:{port}"

    async def answers() -> bool:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            try:
                return (await http.get("/ad?user=nobody&place=none")).is_success
            except httpx.TransportError:
                return False

    try:
        await server.ready(answers, READY_S)
        yield url
    finally:
        await server.stop()


async def settled(client: AsyncExperimentClient, account: Account) -> tuple[Line, ...]:
    """Return the comparison once it is exact and stands still, or the time is over."""
    begin = time.monotonic()
    before, since = None, begin
    while True:
        now = time.monotonic()
        try:
            lines = account.compared(await client.get_experiment_stats(EXPERIMENT))
        except ApiError:  # after the last fault it may still be starting
            if now - begin > SETTLE_S:
                raise
            continue
        if lines != before:
            before, since = lines, now
        is_still = now - since > STILL_S and all(line.is_exact for line in lines)
        if is_still or now - begin > SETTLE_S:
            return lines
        await asyncio.sleep(0.2)


async def measure(arguments: argparse.Namespace, directory: Path) -> bool:
    """Run the load with its faults, print the account, and return whether it is right."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running_stack(directory, port) as stack:
        async with AsyncExperimentClient(url) as client, running_ad_server(directory, url) as ads:
            definition = yaml.safe_load((ROOT / "examples" / "hero_ad.yaml").read_text("utf-8"))
            await client.create_experiment(definition["config"], definition["variants"])
            await client.start_experiment(EXPERIMENT)
            users = Users(ads, arguments.seed)
            count = int(arguments.seconds / arguments.fault_every - 0.5)
            async with asyncio.TaskGroup() as group:
                group.create_task(cause_faults(stack, arguments.fault_every, count))
                load = group.create_task(users.run(arguments.seconds, arguments.rate))
                while not load.done():
                    await asyncio.wait({load}, timeout=2.0)
                    await void(users, client)
            lines = await settled(client, users.account)
        print(f"\n{count} processes were killed\n\n{table(lines, users.account.outcomes)}\n")
        verify = ("replay", "verify", "--experiment", EXPERIMENT, "--api", url)
        environment = {**os.environ, "XDG_STATE_HOME": str(directory / "state")}
        command = (sys.executable, "-m", "streams.cli", *verify)
        verified = await asyncio.to_thread(subprocess.run, command, env=environment, check=False)
    return verified.returncode == 0 and all(line.is_exact for line in lines)


def main() -> int:
    """Parse the arguments, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--rate", type=float, default=40.0, help="users per second")
    parser.add_argument("--fault-every", type=float, default=20.0, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="experiment-ad-server-") as directory:
        return 0 if asyncio.run(measure(arguments, Path(directory))) else 1


if __name__ == "__main__":
    sys.exit(main())

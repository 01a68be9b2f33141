"""An API whose clock is hours ahead of Kafka's: nothing is lost, and it is said."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from streams.kafka.admin import create_topics
from tests.integration.api_process import api_of, metric, run_experiment
from tests.integration.engine_ledger import workers_of
from tests.patience import until_found

pytestmark = pytest.mark.kafka  # the embedded broker looks at no clock

AHEAD_S = 7_200
SOURCE = Path(__file__).parents[1] / "brokers" / "clock.c"


@pytest.fixture
def ahead(tmp_path: Path) -> str:
    """A library that puts the clock of a process ahead."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("a C compiler is needed to put the clock of a process ahead")
    library = tmp_path / "clock.so"
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return str(library)


async def test_an_api_two_hours_ahead_says_so_and_its_spool_is_sent_once_it_is_right(
    settings, tmp_path, ahead, monkeypatch
):
    create_topics(settings)
    with workers_of(settings, tmp_path) as workers:
        workers.start()
        with monkeypatch.context() as patch:
            patch.setenv("LD_PRELOAD", ahead)
            patch.setenv("CLOCK_AHEAD_S", str(AHEAD_S))
            async with api_of(settings, tmp_path) as (_, http):
                name = await run_experiment(http, type="bayesian_ab")
                answer = await http.post(f"/experiments/{name}/assign", json={"userId": "u"})
                assert answer.status_code == 200, answer.text
                click = {"assignmentId": answer.json()["id"], "metric": "click", "value": 1}
                assert (await http.post("/observations", json=click)).status_code == 202

                async def is_said() -> bool:
                    ready = await http.get("/ready")
                    return ready.is_success and "clock" in ready.json()["degraded"]

                # The impression, which Kafka takes and gives its own time, shows the skew; the
                # observation is refused. Either may come first.
                async def is_measured() -> bool:
                    skew_s = await metric(http, "experiment_clock_skew_seconds")
                    return abs(skew_s - AHEAD_S) < 60

                async def is_refused() -> bool:
                    return await metric(http, "experiment_clock_refusals_total") >= 1

                await until_found(is_measured)
                await until_found(is_refused)
                await until_found(is_said)

        async with api_of(settings, tmp_path, name="right") as (_, http):

            async def counted() -> bool:
                stats = (await http.get(f"/experiments/{name}/stats")).json()
                shown = [each["stats"] for each in stats["variants"]]
                return [sum(each[what] for each in shown) for what in COUNTS] == [1, 1]

            await until_found(counted)
            assert "clock" not in (await http.get("/ready")).json()["degraded"]


COUNTS = ("assignments", "observations")

"""An export that follows a real log while it is killed: its sums are the published statistics."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import duckdb

from streams.kafka.admin import create_topics
from tests.documents import executed
from tests.integration.engine_ledger import Ledger, environment, workers_of
from tests.patience import PATIENCE_S, until

PLAIN, EXPOSED = 7, 8
RECONCILING = [block.text for block in executed("docs/how-to/export-to-a-warehouse.md", "sql")[:2]]

TOTALS = """
SELECT variant_id, assignments, exposures, observations FROM variant_totals ORDER BY variant_id
"""


def counted(ledger: Ledger) -> list[tuple[object, ...]]:
    """Return the published counts of every variant, as `TOTALS` asks for those of the rows."""
    found = []
    for experiment in (PLAIN, EXPOSED):
        snapshot = ledger.snapshot(experiment)
        assert snapshot is not None
        for name, report in zip(snapshot.variant_ids, snapshot.variants, strict=True):
            found.append((name, report.assignments, report.exposures or 0, report.observations))
    return sorted(found)


def started(settings, directory: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start an export; no embedded stack has port 1, so the settings are those given."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "streams.cli", "export", "--json", "--to"),
            *(f"parquet:{directory}", "--api", "http://127.0.0.1:1", *options),
        ],
        env=environment(settings) | {"PATH": "", "PYTHONPATH": ":".join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def rows(directory: Path, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect() as connection:
        connection.execute((directory / "warehouse.sql").read_text())
        return connection.execute(query).fetchall()


def send(ledger: Ledger) -> None:
    for experiment in (PLAIN, EXPOSED):
        for partition in range(4):
            receipts = ledger.assign(experiment, partition, times=2)
            for number, receipt in enumerate(receipts):
                if number % 2 == 0:
                    if experiment == EXPOSED:
                        ledger.expose(receipt)
                        ledger.expose(receipt)
                    ledger.observe(receipt, times=2, delay_ms=2)
            ledger.void(receipts[2], "ivt")
        ledger.produce("observations", b"noise")
    ledger.producer.flush()


def test_it_follows_the_log_is_killed_and_equals_the_statistics(settings, tmp_path):
    create_topics(settings)
    ledger, directory = Ledger(settings), tmp_path / "export"
    with workers_of(settings, tmp_path) as workers:
        workers.start()
        ledger.start_experiment(PLAIN)
        ledger.start_experiment(EXPOSED, exposure="event")
        send(ledger)
        export = started(settings, directory, "--follow", "--interval", "0.1")
        until(lambda: list(directory.glob("experiment_observations/part-*[1-9].parquet")))
        export.send_signal(signal.SIGKILL)
        export.wait()
        send(ledger)
        until(lambda: ledger.is_exact(PLAIN) and ledger.is_exact(EXPOSED))

        export = started(settings, directory, "--follow", "--interval", "0.1")
        until(lambda: rows(directory, TOTALS) == counted(ledger))
        until(lambda: all(rows(directory, query) == [] for query in RECONCILING))
        export.send_signal(signal.SIGTERM)
        said, errors = export.communicate(timeout=PATIENCE_S)
        again = started(settings, directory)
        said_again, _ = again.communicate(timeout=PATIENCE_S)

        assert export.returncode == 0, errors
        assert json.loads(said)["rows"] > 0
        assert json.loads(said_again)["rows"] == 0
        assert rows(directory, TOTALS) == counted(ledger)

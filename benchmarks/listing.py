"""Cost of a page of the list of experiments: filtered, sorted by urgency, and rendered.

    python -m benchmarks.listing [--experiments 1000] [--rounds 20]

Every experiment has three variants, five metrics and statistics. It is processor time of the API,
which a busy machine disturbs least: the median of the rounds, and the fastest.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from dataclasses import replace

from api.http.filters import matching
from api.http.models.queries import ExperimentsQuery
from api.http.pages import experiments_page
from benchmarks.evaluation_cost import evaluation
from streams.experiments.snapshot import Snapshot

QUERIES = {
    "all, newest first": ExperimentsQuery(),
    "all, most urgent first": ExperimentsQuery(sort="attention"),
    "a search, most urgent first": ExperimentsQuery(search="bench", sort="attention"),
}
LIMITS = (50, 1_000)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--experiments", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    one = evaluation("thompson_sampling", 3, 5)()
    snapshots = [
        replace(one, experiment=replace(one.experiment, number=number, created_at_ms=number))
        for number in range(arguments.experiments)
    ]
    print(f"{arguments.experiments} experiments; {arguments.rounds} rounds")
    for name, query in QUERIES.items():
        for limit in LIMITS:
            durations = [_page_ms(snapshots, query, limit) for _ in range(arguments.rounds)]
            print(
                f"{name:30}{limit:6} rows  median {statistics.median(durations):7.2f} ms, "
                f"fastest {min(durations):7.2f} ms"
            )


def _page_ms(snapshots: list[Snapshot], query: ExperimentsQuery, limit: int) -> float:
    began = time.process_time()
    found = matching(snapshots, query)
    asyncio.run(experiments_page(found, limit, is_by_urgency=query.sort == "attention"))
    return (time.process_time() - began) * 1e3


if __name__ == "__main__":
    main()

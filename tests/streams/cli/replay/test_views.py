"""Output of `experiment replay what-if`."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from streams.analysis.evaluate import evaluate
from streams.cli.replay.views import alternatives_view
from streams.replay.what_if import Alternatives
from tests.streams.analysis.test_evaluate import experiment, tally, variant


@pytest.mark.parametrize("exposures", [None, 61])
def test_units_are_shown_by_which_an_experiment_is_read(exposures: int | None) -> None:
    found = evaluate(experiment("thompson_sampling"), tally(variant(97), variant(97)), ())
    reports = tuple(replace(each, exposures=exposures) for each in found.variants)
    snapshot = replace(found, variants=reports)
    console = Console(width=200)

    with console.capture() as shown:
        console.print(alternatives_view(Alternatives(snapshot, snapshot)))

    text = shown.get()
    assert text.count(" 97 ") == 4  # with the reasons
    assert ("exposed" in text) is (text.count(" 61 ") == 2) is (exposures is not None)

from __future__ import annotations

import pytest

from dashboard.views.history import HistoryRow
from dashboard.views.series import TABLE_ROWS, series_view
from dashboard.views.text import SPACE
from experiment_streams_client import Timeseries
from tests.dashboard.samples import BEGIN, BLUE, CONTROL, GREEN, facts, series_json


def series(n: int, width: float = 0.1) -> Timeseries:
    return Timeseries.from_json(series_json(n, width))


def test_the_charts_have_points_of_the_leader_and_all_shares():
    found = series_view(facts(), series(80), [])
    assert found is not None

    assert found.variant_id == BLUE
    assert found.data["difference"] == [5.0] * 80
    assert found.data["lower"][0] is None
    assert found.data["lower"][1] == pytest.approx(0.0)
    assert [line[0] for line in found.data["shares"]] == [0.2, 0.5, 0.3]
    assert found.data["times"][1] - found.data["times"][0] == 60
    assert "Blue minus Control over time" in found.difference_label
    assert "Green 30 %" in found.traffic_label.replace(SPACE, " ")


def test_the_axis_shows_the_range_of_an_eighth_of_the_run_whole():
    found = series_view(facts(), series(80, width=10.0), [])
    assert found is not None

    low, high = found.data["range"]
    assert low < found.data["lower"][10] < found.data["upper"][10] < high
    assert found.data["lower"][1] < low


def test_another_variant_can_be_chosen_and_the_control_cannot():
    for chosen, shown in ((GREEN, GREEN), (CONTROL, BLUE), ("nonsense", BLUE)):
        found = series_view(facts(), series(3), [], chosen)
        assert found is not None
        assert found.variant_id == shown
        assert [name for _, name in found.others] == ["Blue", "Green"]


def test_the_planned_size_comes_at_the_pace_of_the_last_week():
    plan = {"config.plan": {"baseline": 0.1, "lift": 0.1, "units": 10_000, "deviation": None}}

    found = series_view(facts(experiment=plan), series(11), [])

    assert found is not None
    # 3,000 units in ten minutes; 27,000 are missing.
    assert found.data["planned"] == BEGIN / 1000 + 600 + 90 * 60
    assert found.planned.startswith("about 29 Nov 2026")
    without = series_view(facts(), series(11), [])
    assert without is not None
    assert without.data["planned"] is None


def test_marks_are_what_happened_within_the_chart():
    happened = [
        HistoryRow(BEGIN + 2 * 60_000, "Changed"),
        HistoryRow(BEGIN + 60_000, "Started"),
        HistoryRow(BEGIN - 60_000, "Created"),
    ]

    found = series_view(facts(), series(5), happened)

    assert found is not None
    assert [mark.what for mark in found.marks] == ["Started", "Changed"]
    assert found.data["marks"] == [BEGIN / 1000 + 60, BEGIN / 1000 + 120]


def test_the_table_has_few_rows_and_the_newest_point():
    found = series_view(facts(), series(397), [])
    assert found is not None

    assert len(found.rows) <= TABLE_ROWS + 1
    assert found.rows[-1].at == BEGIN + 396 * 60_000


@pytest.mark.parametrize("n", [0, 1])
def test_one_point_is_no_line(n):
    assert series_view(facts(), series(n), []) is None

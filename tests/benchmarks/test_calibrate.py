"""The smaller cut of the calibration, and the page that is made of the whole one."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.calibrate import DOCS, QUICK_LEVEL, RESULTS, broken
from benchmarks.calibration.costs import cost
from benchmarks.calibration.groups import GROUPS, chosen
from benchmarks.calibration.page import page, shown
from benchmarks.calibration.plots import PLOTS, draw
from benchmarks.calibration.results import Claim, Kept, Mean, Result, Store, Verdict
from benchmarks.calibration.row import Row, Section, Size, thinned
from benchmarks.calibration.running import run_rows
from benchmarks.simulation.proportion import Proportion

QUICK = [f"{group.name}/{row.name}" for group, row in chosen([]) if row.quick_repetitions]


@pytest.mark.long
@pytest.mark.statistical
@pytest.mark.parametrize("name", QUICK)
def test_no_claim_fails_in_the_smaller_cut(name, tmp_path):
    """Of all rows together a false alarm has a probability below 2e-4.

    A claim fails when its bound lies outside the confidence interval at 1 - 1e-6, and there are
    fewer than 200 claims. A rule that erred three times as often as it may would be seen in each of
    its rows with a probability above one half.
    """
    store = Store(tmp_path)
    run_rows(chosen([name]), store, is_quick=True)

    group, _, row = name.partition("/")
    assert list(store.read(group)) == [row]
    assert broken(store) == []


@pytest.mark.parametrize("row", cost().rows, ids=lambda row: row.name)
def test_costs_are_read_from_what_the_benchmarks_print(row):
    """Whether they are small enough is no matter of a test."""
    assert row.run(Size(2), lambda steps: steps).measures["ms"].mean > 0.0


def test_the_smaller_cut_has_as_many_claims_as_its_false_alarms_are_counted_for():
    claims = [claim for _, row in chosen([]) if row.quick_repetitions for claim in row.claims]

    assert 50 < len(claims) < 200
    assert len(claims) * (1.0 - QUICK_LEVEL) < 2e-4


def test_page_is_that_of_the_results():
    assert (DOCS / "calibration.md").read_text() == page(GROUPS, Store(RESULTS), PLOTS)


def test_every_plot_of_the_page_is_there_and_can_be_drawn(tmp_path):
    draw(Store(RESULTS), tmp_path)

    drawn = {path.name for path in tmp_path.iterdir()}
    run = [name for name in PLOTS if Store(RESULTS).read(name)]
    assert drawn == {f"{plot}.svg" for name in run for plot, _ in PLOTS[name]}
    assert drawn == {path.name for path in (DOCS / "calibration").iterdir()}


def test_no_claim_of_the_page_fails():
    for group in GROUPS:
        results = Store(RESULTS).read(group.name)
        for row in (row for row in group.rows if row.name in results):
            for claim in row.claims:
                measure = results[row.name].measures[claim.measure]
                assert claim.verdict(measure) is not Verdict.FAILS, (group.name, row.name)


def test_names_of_rows_are_unique_and_every_measure_has_a_heading():
    for group in GROUPS:
        assert len({row.name for row in group.rows}) == len(group.rows)
        for row in group.rows:
            assert {claim.measure for claim in row.claims} <= group.columns.keys()


@pytest.mark.parametrize(
    ("claim", "measure", "verdict"),
    [
        (Claim("", at_most=0.05), Proportion(1, 1_000), Verdict.HOLDS),
        (Claim("", at_most=0.05), Proportion(45, 1_000), Verdict.OPEN),
        (Claim("", at_most=0.05), Proportion(90, 1_000), Verdict.FAILS),
        (Claim("", at_least=0.95), Proportion(999, 1_000), Verdict.HOLDS),
        (Claim("", at_least=0.95), Proportion(900, 1_000), Verdict.FAILS),
        (Claim("", at_least=0.7, at_most=1.3), Mean(1.0, 0.1, 100), Verdict.HOLDS),
        (Claim("", at_least=0.7, at_most=1.3), Mean(1.0, 0.1, 2), Verdict.OPEN),
        (Claim("", at_least=0.7, at_most=1.3), Mean(1.6, 0.1, 100), Verdict.FAILS),
        (Claim("", at_most=5.0), Mean(4.9), Verdict.HOLDS),
    ],
)
def test_verdict_follows_from_the_interval(claim, measure, verdict):
    assert claim.verdict(measure) is verdict


def test_results_come_back_as_they_were_kept(tmp_path):
    store = Store(tmp_path / "new")
    first = Result(10, {"a": Proportion(1, 10), "b": Mean(2.0, 0.5, 10)}, {"c": ([1.0], [0.5])})
    second = Result(20, {})

    store.keep("group", "first", Kept(first, "digest", 1.5))
    store.keep("group", "second", Kept(second))

    assert store.read("group") == {"first": first, "second": second}
    assert store.kept("group")["first"] == Kept(first, "digest", 1.5)
    assert store.read("another") == {}


def test_rows_side_by_side_measure_what_they_measure_one_by_one(tmp_path):
    rows = chosen(["mismatch/[23]-even-0.1-none"])
    one_by_one, side_by_side = Store(tmp_path / "1"), Store(tmp_path / "2")

    run_rows(rows, one_by_one, is_quick=True)
    run_rows(rows, side_by_side, is_quick=True, processes=2)

    for group, _ in rows:
        assert one_by_one.read(group.name) == side_by_side.read(group.name)


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    store = Store(tmp_path)
    [(group, row)] = chosen(["mismatch/2-even-0.1-none"])
    run_rows([(group, row)], store, is_quick=True)
    measured = store.kept(group.name)[row.name]
    marked = replace(measured, seconds=-1.0)

    store.keep(group.name, row.name, marked)
    run_rows([(group, row)], store, is_quick=True)
    assert store.kept(group.name)[row.name] == marked

    store.keep(group.name, row.name, replace(marked, code="of other code"))
    run_rows([(group, row)], store, is_quick=True)
    assert store.kept(group.name)[row.name].code == measured.code


def test_rows_are_chosen_by_group_or_by_row():
    assert [row.name for _, row in chosen(["slope"])] == ["thompson"]
    assert [row.name for _, row in chosen(["regret/kl-ucb*"])] == ["kl-ucb", "kl-ucb-c-0"]
    assert len(chosen([])) == sum(len(group.rows) for group in GROUPS)
    with pytest.raises(ValueError, match="must name rows of errors, "):
        chosen(["nothing"])


def test_numbers_are_shown_with_their_intervals():
    assert shown(Proportion(5, 100)) == "5.0 % (1.6 % – 11.3 %)"
    assert shown(Mean(12_345.6)) == "12,346"
    assert shown(None) == ""


def test_curves_keep_their_first_and_last_look():
    looks, shares = thinned(range(1, 1_001), 1_000)

    assert (looks[0], looks[-1]) == (1.0, 1_000.0)
    assert (shares[0], shares[-1]) == (0.001, 1.0)
    assert len(looks) <= 80


def test_page_without_results_says_that_nothing_has_been_run():
    empty = page(GROUPS, Store(Path("nowhere")), PLOTS)

    assert f"({len(GROUPS[0].rows)} of {len(GROUPS[0].rows)} rows have not been run.)" in empty


def test_rows_that_are_pooled_are_added_up_on_the_page(tmp_path):
    rows = tuple(
        Row(name, {"kind": name}, _unused, 75, claims=(Claim("named", at_most=0.05),))
        for name in ("one", "two")
    )
    group = Section("pairs", "Pairs", "Text.", {"named": "ever named"}, rows, is_pooled=True)
    store = Store(tmp_path)
    for row, events in zip(rows, (4, 2), strict=True):
        store.keep("pairs", row.name, Kept(Result(75, {"named": Proportion(events, 75)})))

    lines = page([group], store, {}).splitlines()

    both = shown(Proportion(6, 150))
    assert f"| **all of them** | 150 | {both} | open: ever named |  |" in lines
    assert f"| [Pairs](#pairs): ever named | ≤ 5.0 % | {both}, `all of them` | 1 open |" in lines


def _unused(size, progress):
    raise AssertionError("a page runs nothing")

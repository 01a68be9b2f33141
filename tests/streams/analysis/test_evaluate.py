import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from streams.analysis.evaluate import evaluate
from streams.experiments.definition import parse_definition
from streams.experiments.lifecycle import Experiment, Status
from streams.experiments.snapshot import CellPlace
from streams.model.quantities import MICRO, PROPENSITY_ONE, inverse_propensity, to_propensity
from streams.stats.kinds import MetricKind
from streams.tallies.cell import MetricTally, Tally, VariantTally
from streams.tallies.weights import weighted


def experiment(kind="thompson_sampling", n_variants=2, status=Status.RUNNING, **config):
    definition = parse_definition(
        {"name": "Hero", "type": kind, "primaryMetric": "click"} | config,
        [{"name": f"V{i}", "isControl": i == 0} for i in range(n_variants)],
    )
    return Experiment(7, definition, status, version=3, created_at_ms=1, started_version=2)


def metric(values, weight=2 * MICRO):
    """Tally of one observation a unit, each unit with the same 1 / propensity."""
    micro = [round(value * MICRO) for value in values]
    return MetricTally(
        units=len(micro),
        observations=len(micro),
        total=sum(micro),
        total_squared=sum(x * x for x in micro),
        weighted_total=sum(x * weight for x in micro),
        weighted_total_squared=sum((x * weight) ** 2 for x in micro),
    )


def variant(units, weight=2 * MICRO, **metrics):
    return VariantTally(
        units,
        units * weight,
        units * weight**2,
        metrics={name: metric(values, weight) for name, values in sorted(metrics.items())},
    )


def tally(*variants, last_at_ms=99):
    return Tally(1, last_at_ms, 4, dict(enumerate(variants)))


def evaluated(value, found):
    return evaluate(value, found, ())


def test_snapshot_worked_by_hand():
    """20 and 30 clicks in 100 units each under a uniform prior: Beta(21, 81) and Beta(31, 71)."""
    cells = (CellPlace("impressions", 0, 10), CellPlace("observations", 1, 4))

    snapshot = evaluate(
        experiment(), tally(variant(100, click=[1] * 20), variant(100, click=[1] * 30)), cells
    )

    first, second = snapshot.variants
    assert (first.assignments, first.observations, first.mean) == (100, 20, 21 / 102)
    assert (first.lower, first.upper) == pytest.approx(stats.beta(21, 81).interval(0.95))
    assert second.metrics["click"].mean == pytest.approx(31 / 102)
    assert first.probability_best + second.probability_best == pytest.approx(1.0)
    assert second.probability_best == pytest.approx(0.948, abs=0.001)
    assert snapshot.confidence == second.probability_best
    assert snapshot.version == 3 + 11 + 5
    assert (snapshot.cells, snapshot.duplicates, snapshot.as_of_ms) == (cells, 4, 99)
    weights = snapshot.allocation.weights
    assert sum(weights) == 65_536
    assert weights[1] == pytest.approx(65_536 * (0.01 + 0.98 * second.probability_best), abs=1)


def test_draft_has_an_allocation_and_no_opinion():
    snapshot = evaluate(experiment(n_variants=3, status=Status.DRAFT), Tally(), ())

    assert snapshot.allocation.weights == (21_846, 21_845, 21_845)
    assert [v.probability_best for v in snapshot.variants] == pytest.approx([1 / 3] * 3)
    assert (snapshot.version, snapshot.as_of_ms, snapshot.winner) == (3, 0, None)
    assert snapshot.variants[0].mean is None
    undefined = snapshot.variants[0].metrics["click"].undefined
    assert undefined is not None
    assert undefined.code == "NO_UNITS"


def test_allocation_of_an_adaptive_policy_has_the_version_of_the_snapshot():
    snapshot = evaluate(experiment("ucb"), Tally(), (CellPlace("impressions", 0, 7),))

    assert snapshot.allocation.version == snapshot.version == 11


@pytest.mark.parametrize("kind", ["thompson_sampling", "ucb", "epsilon_greedy"])
def test_an_experiment_that_promotes_automatically_gives_every_variant_its_floor(kind):
    counted = tally(variant(900, click=[1] * 300), variant(900, click=[1]))

    plain = evaluated(experiment(kind), counted).allocation.weights
    deciding = evaluated(experiment(kind, autoPromoteWinner=True), counted).allocation.weights

    assert plain[1] < 0.06 * 65_536
    assert deciding[1] >= 0.25 * 65_536


@pytest.mark.parametrize("n_variants", [2, 3])
def test_units_from_before_an_experiment_was_to_promote_automatically_keep_their_bound(n_variants):
    """With the higher floor no propensity could be as small as those of old units have been."""
    old, new = variant(3, 100 * MICRO, click=[1, 0, 1]), variant(900, 4 * MICRO, click=[1] * 60)
    counted = tally(variant(900, click=[1] * 90), *[old + new] * (n_variants - 1))

    before = evaluated(experiment(n_variants=n_variants), counted).evidence
    after = evaluated(experiment(n_variants=n_variants, autoPromoteWinner=True), counted).evidence

    assert before.comparisons == after.comparisons
    assert before.sample_ratio == after.sample_ratio


def test_allocation_of_a_fixed_policy_keeps_the_version_of_its_start():
    snapshot = evaluate(experiment("bayesian_ab"), Tally(), (CellPlace("impressions", 0, 7),))

    assert (snapshot.allocation.version, snapshot.version) == (2, 11)
    assert snapshot.allocation.weights == (32_768, 32_768)


def test_every_metric_seen_or_declared_is_reported_by_name():
    snapshot = evaluate(
        experiment(secondaryMetrics=["revenue"]),
        tally(variant(10, click=[1], view=[1, 1]), variant(10)),
        (),
    )

    for report in snapshot.variants:
        assert list(report.metrics) == ["click", "revenue", "view"]
    assert [m.units for m in snapshot.variants[0].metrics.values()] == [1, 0, 2]
    assert snapshot.variants[0].observations == 3


def test_one_value_that_is_not_0_or_1_makes_counts_of_a_metric_for_all_variants():
    both = [
        evaluate(experiment(), tally(variant(10, click=values), variant(10, click=[1, 1])), ())
        for values in ([1, 1, 0], [1, 2])
    ]

    kinds = [[v.metrics["click"].kind for v in snapshot.variants] for snapshot in both]
    assert kinds == [[MetricKind.BINARY] * 2, [MetricKind.COUNT] * 2]


def test_continuous_metric_is_a_mean_per_assigned_unit():
    """100 of 400 units paid 40 or 60: the mean is 12.5, and its interval nearly Student's."""
    paid = [40.0, 60.0] * 50
    values = [*paid, *[0.0] * 300]

    snapshot = evaluate(
        experiment(primaryMetric="revenue", metrics={"revenue": {"kind": "continuous"}}),
        tally(variant(400, revenue=paid), variant(400, revenue=paid)),
        (),
    )

    report = snapshot.variants[0]
    assert report.mean == 12.5
    error = stats.sem(values)
    assert (report.lower, report.upper) == pytest.approx(
        stats.t(399, 12.5, error).interval(0.95), abs=0.02
    )


def test_deviations_of_large_values_are_exact():
    """Values near 1e9 that differ by one: floats would lose the difference in the squares."""
    values = [999_999_998.0, 999_999_999.0] * 100

    snapshot = evaluate(
        experiment(metrics={"click": {"kind": "continuous"}}),
        tally(variant(200, click=values), variant(200, click=values)),
        (),
    )

    report: Any = snapshot.variants[0]
    assert report.upper - report.lower == pytest.approx(2 * 1.97 * 0.5 / 200**0.5, rel=0.02)


def test_observations_that_overtook_their_impressions_count_as_assigned():
    snapshot = evaluate(
        experiment(), tally(variant(1, click=[1] * 5), variant(0, click=[1] * 3)), ()
    )

    assert [v.assignments for v in snapshot.variants] == [1, 0]
    assert [v.mean for v in snapshot.variants] == pytest.approx([6 / 7, 4 / 5])
    assert snapshot.variants[0].metrics["click"].mean == pytest.approx(6 / 7)


def test_variants_the_definition_does_not_have_are_left_out():
    known = (variant(10, click=[1]), variant(10))

    assert evaluate(experiment(), tally(*known, variant(50, click=[1] * 50)), ()) == evaluate(
        experiment(), tally(*known), ()
    )


@pytest.mark.parametrize("kind", ["thompson_sampling", "top_two_thompson", "bayesian_ab"])
def test_prior_of_the_policy_is_that_of_the_primary_metric_alone(kind):
    data = tally(variant(10, click=[1], view=[1]), variant(10, click=[1], view=[1]))

    report = evaluate(
        experiment(kind, parameters={"priorAlpha": 20, "priorBeta": 20}), data, ()
    ).variants[0]

    assert [m.mean for m in report.metrics.values()] == pytest.approx([21 / 50, 2 / 12])


counts = st.integers(0, 300).flatmap(lambda units: st.tuples(st.just(units), st.integers(0, units)))


@settings(max_examples=30)
@given(
    st.sampled_from(["thompson_sampling", "ucb", "epsilon_greedy", "bayesian_ab"]),
    st.lists(counts, min_size=2, max_size=4),
)
def test_relabelling_the_variants_relabels_the_report(kind, pairs):
    data = [variant(units, click=[1] * clicks) for units, clicks in pairs]
    value = experiment(kind, len(data))
    plain = evaluate(value, tally(*data), ())

    for order in itertools.islice(itertools.permutations(range(len(data))), 1, 4):
        other = evaluate(value, tally(*(data[index] for index in order)), ())
        for place, index in enumerate(order):
            assert other.variants[place].mean == plain.variants[index].mean
            assert other.variants[place].probability_best == pytest.approx(
                plain.variants[index].probability_best, abs=1e-9
            )
            assert abs(other.allocation.weights[place] - plain.allocation.weights[index]) <= 1
        assert other.recommended_action == plain.recommended_action


@settings(max_examples=30)
@given(
    st.sampled_from(["thompson_sampling", "top_two_thompson", "epsilon_greedy", "bayesian_ab"]),
    st.lists(counts, min_size=2, max_size=4),
)
def test_less_of_failures_is_more_of_successes(kind, pairs):
    """One log, stated by its successes and by its failures: all that is believed but for the signs.

    The sequences are of another sum, as that of a common value feels by how much units are more
    here than there; so a winner may be certain in one form and not yet in the other.
    """
    more = experiment(kind, len(pairs), metrics={"click": {"direction": "increase"}})
    less = experiment(kind, len(pairs), metrics={"click": {"direction": "decrease"}})
    won = tally(*(variant(n, click=[1] * k + [0] * (n - k)) for n, k in pairs))
    lost = tally(*(variant(n, click=[0] * k + [1] * (n - k)) for n, k in pairs))

    one, other = evaluated(more, won), evaluated(less, lost)

    assert one.allocation == other.allocation
    assert one.evidence.leader == other.evidence.leader
    assert {one.winner, other.winner} <= {None, one.evidence.leader}
    for left, right in zip(one.variants, other.variants, strict=True):
        assert right.probability_best == pytest.approx(left.probability_best, abs=1e-9)
        assert right.expected_loss == pytest.approx(left.expected_loss, abs=1e-9)
        mine, yours = left.metrics["click"].mean, right.metrics["click"].mean
        assert (mine is None) == (yours is None) == (not left.assignments)
        if mine is not None:
            assert yours == pytest.approx(1.0 - mine)
    for left, right in zip(one.variants[1:], other.variants[1:], strict=True):
        mine, yours = left.metrics["click"].against_control, right.metrics["click"].against_control
        if mine is None or yours is None:
            assert mine is yours
            continue
        assert yours.probability_better == pytest.approx(mine.probability_better, abs=1e-5)
        assert yours.difference == pytest.approx(-mine.difference, abs=1e-9)
        assert yours.difference_lower == pytest.approx(-mine.difference_upper, abs=1e-3)


def test_lift_over_the_control_worked_by_hand():
    """20 and 30 clicks in 100 units each: means 21/102 and 31/102 under a uniform prior."""
    data = tally(variant(100, click=[1] * 20), variant(100, click=[1] * 30))
    snapshot = evaluated(experiment(), data)

    control, other = (report.metrics["click"].against_control for report in snapshot.variants)
    assert control is None
    assert other.difference == pytest.approx(10 / 102)
    assert other.relative == pytest.approx(10 / 21)
    assert other.probability_better == pytest.approx(
        snapshot.variants[1].probability_best, abs=1e-5
    )
    assert other.expected_loss == pytest.approx(snapshot.variants[1].expected_loss, abs=1e-6)
    assert other.difference_lower < 0.0 < other.difference < other.difference_upper


def test_lift_of_a_winner_has_the_ends_that_have_named_it():
    """The control at 0.201, and 160.6 of 385.0 deviations, a typical value more in each.

    A lift l is at an end where 0.139 - l 0.201 is as far from 0 as the sequence of the difference
    reaches, with the part of its variance that is the control's times (1 + l)^2.
    """
    data = tally(variant(1_000, click=[1] * 201), variant(1_000, click=[1] * 340))
    snapshot = evaluated(experiment("bayesian_ab", minSampleSize=1), data)

    against = snapshot.variants[1].metrics["click"].against_control
    (lead,) = snapshot.evidence.comparisons
    assert snapshot.winner == 1
    assert (against.sequence_lower, against.sequence_upper) == (lead.lower, lead.upper)
    deviations = [201 - 201**2 / 1_000, 340 - 340**2 / 1_000]
    share = (deviations[0] + sum(deviations) / 541) / (sum(deviations) * (1 + 2 / 541))
    for end, lift in (
        (lead.lower, against.relative_sequence_lower),
        (lead.upper, against.relative_sequence_upper),
    ):
        distance = abs(0.139 - lift * 0.201)
        wider = (1.0 - share + share * (1.0 + lift) ** 2) ** 0.5
        assert distance == pytest.approx(abs(0.139 - end) * wider)
    assert 0.0 <= against.relative_sequence_lower < against.relative_lower
    assert against.relative_upper < against.relative_sequence_upper


def test_a_strong_prior_moves_no_end_of_a_lift():
    """The difference is that of the units, and so is what it is a share of.

    With 20 of 100 units before the first one, the posterior mean of a control with 40 of 2,000 is
    0.029: over that, a lift of 150 % would be one of 105 %.
    """
    data = tally(variant(2_000, click=[1] * 40), variant(2_000, click=[1] * 100))
    ends = []
    for prior in ({}, {"priorAlpha": 20, "priorBeta": 80}):
        snapshot = evaluated(experiment("bayesian_ab", parameters=prior), data)
        against = snapshot.variants[1].metrics["click"].against_control
        ends.append((against.relative_sequence_lower, against.relative_sequence_upper))

    for plain, informed in zip(*ends, strict=True):
        assert informed == pytest.approx(plain)


def test_undeclared_metrics_are_described_and_not_compared():
    snapshot = evaluated(experiment(), tally(variant(10, view=[1, 1]), variant(10, view=[1])))

    assert [model.role for model in snapshot.metrics.values()] == ["primary", "observed"]
    click, view = snapshot.variants[1].metrics.values()
    assert click.against_control is not None
    assert view.against_control is None


def test_shares_logged_elsewhere_are_compared_by_their_propensities():
    """Fixed shares of a half, and a log at 1 in 4: the plain sums do not hold."""
    value = experiment("bayesian_ab")
    ours = tally(variant(1_000, click=[1] * 100), variant(1_000, click=[1] * 100))
    quarter = inverse_propensity(PROPENSITY_ONE // 4)
    theirs = tally(variant(1_000, quarter, click=[1] * 100), variant(3_000, click=[1] * 300))
    clicks = {"click": metric([1] * 300, MICRO)}
    one, all_of_it = (
        weighted(1_000, clicks, propensity, variant=index)
        for index, propensity in enumerate((PROPENSITY_ONE // 4, PROPENSITY_ONE))
    )

    (plain,), (by_inverse,), (by_overlap,) = (
        evaluated(value, seen).evidence.comparisons
        for seen in (ours, theirs, tally(one, all_of_it))
    )
    assert plain.lower == pytest.approx(-plain.upper)
    assert by_inverse.lower != plain.lower
    assert by_overlap.lower is None  # B never had a propensity below 1


@pytest.mark.parametrize("kind", ["thompson_sampling", "bayesian_ab"])
def test_amounts_that_a_starved_variant_has_not_shown_are_no_certainty(kind):
    """V1 has had 1 % of the traffic and shown small amounts; V0 has shown what there can be."""
    often, rare = to_propensity(0.99), to_propensity(0.01)
    lucky = weighted(99_000, {"click": metric([1.5, 900.5] * 4_000, MICRO)}, often)
    starved = weighted(1_000, {"click": metric([0.5] * 80, MICRO)}, rare)

    snapshot = evaluated(experiment(kind), tally(lucky, starved))

    (lead,) = snapshot.evidence.comparisons
    mean = (1.5 + 900.5) * 4_000 / 99_000
    variance = (1.5**2 + 900.5**2) * 4_000 / 99_000 - mean * mean
    weights = 99_000 * 0.01  # of either variant, and the sum of their squares
    assert lead.upper - lead.lower > 2 * 1.96 * (variance / weights) ** 0.5


@settings(max_examples=30)
@given(st.lists(counts, min_size=2, max_size=5), st.sampled_from([0, 5]))
def test_any_tally_gives_a_sound_snapshot(pairs, extra):
    data = [variant(units, click=[1] * (clicks + extra)) for units, clicks in pairs]

    snapshot: Any = evaluate(experiment(n_variants=len(data)), tally(*data), ())

    assert sum(snapshot.allocation.weights) == 65_536
    assert min(snapshot.allocation.weights) >= 65_536 * min(0.01, 0.1 / len(data)) - 1
    assert sum(v.probability_best for v in snapshot.variants) == pytest.approx(1.0)
    for each in snapshot.variants:
        assert each.expected_loss >= 0.0
        ends = each.lower, each.mean, each.upper
        assert None in ends if not each.assignments and ends[0] is None else [*ends] == sorted(ends)
    assert evaluate(experiment(n_variants=len(data)), tally(*data), ()) == snapshot


def test_propensities_logged_elsewhere_widen_the_comparison():
    """A weight beyond the floor of the allocation: another system assigned, at 1 in 1,000."""
    rare = inverse_propensity(PROPENSITY_ONE // 1_000)
    clicks = (800, 2_000, 800)
    ours = tally(*(variant(4_000, 3 * MICRO, click=[1] * number) for number in clicks))
    theirs = replace(ours, variants={**ours.variants, 0: variant(4_000, rare, click=[1])})
    value = experiment(n_variants=3, minSampleSize=1)

    assert evaluate(value, ours, ()).winner == 1
    assert evaluate(value, theirs, ()).winner is None


def test_all_but_the_assignments_is_of_exposed_units():
    """Shares are equal among assignments, and 2 to 1 among exposures: a fault, and it shows."""
    assigned = [replace(variant(n, click=[1] * 60), assigned=2_000) for n in (800, 400)]
    by_exposure = experiment("bayesian_ab", exposure="event")
    found = tally(*assigned)

    snapshot = evaluated(by_exposure, replace(found, unexposed=7, unremembered_units=4_000))

    counts = [(each.assignments, each.exposures) for each in snapshot.variants]
    assert counts == [(2_000, 800), (2_000, 400)]
    evidence = snapshot.evidence
    assert evidence is not None
    assert (evidence.units, evidence.unexposed) == ((800, 400), 7)
    assert evidence.sample_ratio.is_mismatch
    assert snapshot.reason_code == "SAMPLE_RATIO_MISMATCH"
    # The memory of assignments was full, and nothing depends on them.
    assert not evidence.miscounts.is_memory_full
    assert snapshot.variants[0].mean == pytest.approx(61 / 802)


def test_exposures_are_not_known_where_assignments_count():
    snapshot = evaluated(experiment(), tally(variant(9, click=[1]), variant(9, click=[1])))

    assert [each.exposures for each in snapshot.variants] == [None, None]
    assert snapshot.evidence is not None
    assert snapshot.evidence.unexposed is None


def test_posteriors_are_published_with_their_parameters_worked_by_hand():
    """3 of 10 units clicked; Beta(1 + 3, 1 + 7) by the prior of the policy."""
    data = tally(variant(10, click=[1] * 3), variant(20, click=[1] * 5))
    snapshot = evaluated(experiment("bayesian_ab"), data)

    first, second = (report.metrics["click"].posterior for report in snapshot.variants)
    assert (first.family, first.parameters) == ("beta", {"alpha": 4.0, "beta": 8.0})
    assert (second.family, second.parameters) == ("beta", {"alpha": 6.0, "beta": 16.0})


def _distribution(posterior):
    found = posterior.parameters
    match posterior.family:
        case "beta":
            return stats.beta(found["alpha"], found["beta"])
        case "gamma":
            return stats.gamma(found["shape"], scale=1.0 / found["rate"])
        case "beta_prime":
            return stats.betaprime(found["alpha"], found["beta"], scale=found["scale"])
        case "student_t":
            return stats.t(found["degrees"], loc=found["location"], scale=found["scale"])
    raise AssertionError(posterior.family)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("binary", [1] * 30),
        ("count", [1, 2, 3, 2, 1, 4] * 5),
        ("revenue", [10, 25, 3, 8, 120] * 5),
        ("continuous", [-3, 4, 2, -1, 9] * 5),
    ],
)
def test_reported_mean_and_interval_are_those_of_the_published_posterior(kind, values):
    """SciPy's distribution of the same name is the oracle."""
    data = tally(variant(100, click=values), variant(100, click=[values[0]] * 20))
    config = {"metrics": {"click": {"kind": kind}}}
    for report in evaluated(experiment("bayesian_ab", **config), data).variants:
        found = report.metrics["click"]
        law = _distribution(found.posterior)
        assert found.mean == pytest.approx(law.mean(), rel=1e-6)
        assert found.lower == pytest.approx(law.ppf(0.025), rel=1e-6)
        assert found.upper == pytest.approx(law.ppf(0.975), rel=1e-6)


def test_a_variant_without_a_unit_has_no_posterior():
    data = tally(variant(0), variant(10, click=[1]))

    report = evaluated(experiment("bayesian_ab"), data).variants[0].metrics["click"]

    assert (report.mean, report.posterior) == (None, None)


@pytest.mark.parametrize(
    ("config", "units", "values", "code"),
    [
        ({}, 1_000, [1] * 200, None),
        ({"metrics": {"click": {"kind": "revenue"}}}, 30, [5.0, 900.0], "TAILS_UNSEEN"),
    ],
)
def test_a_sequence_without_an_end_says_why(config, units, values, code):
    data = tally(variant(units, click=values), variant(units, click=values, other=[1]))
    snapshot = evaluated(experiment("bayesian_ab", secondaryMetrics=["other"], **config), data)

    metrics = snapshot.variants[1].metrics
    against = metrics["click"].against_control
    ends = (against.sequence_lower, against.sequence_upper)
    assert (None in ends) == (code is not None)
    found = against.sequence_undefined
    assert (None if found is None else found.code) == code
    assert metrics["other"].against_control.sequence_undefined.code == "NOT_PRIMARY"
    assert "primary" in metrics["other"].against_control.sequence_undefined.message

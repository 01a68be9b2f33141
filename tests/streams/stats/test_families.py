import re
from pathlib import Path

import numpy as np
import pytest

from streams.experiments.metrics import PriorSpec
from streams.model.errors import InvalidParameterError
from streams.stats.families.base import Priors
from streams.stats.families.count import dispersions
from streams.stats.families.registry import FAMILIES
from streams.stats.kinds import MetricKind
from streams.stats.posteriors.beta import BetaPosterior
from streams.stats.posteriors.gamma import GammaPosterior
from streams.stats.posteriors.normal import NormalPosterior, NormalPrior
from streams.stats.posteriors.revenue import RevenuePosterior
from streams.stats.sample import Sample


def sampled(values, without=0):
    values = np.asarray(values, dtype=float)
    everyone = np.concatenate((values, np.zeros(without)))
    return Sample(
        len(everyone),
        len(values),
        values.sum(),
        ((everyone - everyone.mean()) ** 2).sum(),
        ((values - values.mean()) ** 2).sum(),
    )


def test_every_kind_has_a_family():
    assert list(FAMILIES) == list(MetricKind)
    assert all(family.kind is kind for kind, family in FAMILIES.items())


def test_the_page_on_statistics_has_the_prior_of_every_kind():
    page = (Path(__file__).parents[3] / "docs/explanation/statistics.md").read_text()
    (section,) = re.findall(r"^## Posteriors\n(.*?)^## ", page, re.DOTALL | re.MULTILINE)
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|", section, re.MULTILINE)

    assert {kind: set(re.findall(r"`(\w+)`", fields)) for kind, fields in rows} == {
        kind.value: {PriorSpec.model_fields[name].alias or name for name in family.prior_fields}
        for kind, family in FAMILIES.items()
    }


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        (MetricKind.BINARY, BetaPosterior),
        (MetricKind.COUNT, GammaPosterior),
        (MetricKind.REVENUE, RevenuePosterior),
        (MetricKind.CONTINUOUS, NormalPosterior),
    ],
)
def test_every_kind_has_its_family(kind, family):
    assert isinstance(FAMILIES[kind].posteriors([sampled([1, 1], 8), sampled([1], 9)]), family)


def test_ratio_needs_more_than_one_metric():
    with pytest.raises(InvalidParameterError):
        FAMILIES[MetricKind.RATIO].posteriors([sampled([1])])


def test_priors_reach_their_family():
    arm = sampled([1, 1], 8)

    beta = FAMILIES[MetricKind.BINARY].posteriors([arm], Priors(alpha=3, beta=7))
    gamma = FAMILIES[MetricKind.COUNT].posteriors([arm], Priors(events=3, event_units=7))
    normal = FAMILIES[MetricKind.CONTINUOUS].posteriors(
        [arm], Priors(values=NormalPrior(2, 1, units=10))
    )
    revenue = FAMILIES[MetricKind.REVENUE].posteriors(
        [arm], Priors(alpha=3, beta=7, values=NormalPrior(4, 1, units=2))
    )

    assert beta.means.tolist() == [5 / 20]
    assert gamma.means.tolist() == [5 / 17]
    assert normal.means.tolist() == [22 / 20]
    assert revenue.means == pytest.approx([5 / 20 * (2 * 4 + 2) / 4])


def test_poisson_counts_have_a_dispersion_near_one():
    """20,000 units: the standard error of the ratio is 0.01; 6 of them fail once in 10^9."""
    rng = np.random.default_rng(11)

    found = dispersions([sampled(rng.poisson(2.0, 20_000)), sampled(rng.poisson(0.1, 20_000))])

    assert found == pytest.approx([1.0, 1.0], abs=0.06)


def test_dispersion_of_lumps_worked_by_hand():
    """Counts 0, 0, 0, 4: mean 1, squared deviations 12, beside three units of Poisson counts."""
    assert dispersions([sampled([4], 3)]) == pytest.approx([(3 + 12) / 7])
    assert dispersions([sampled([4], 3), sampled([10**6], 99)])[0] == pytest.approx(15 / 7)


def test_counts_in_lumps_get_intervals_that_hold():
    """Negative binomial, mean 1, variance 6: Poisson intervals would cover 57 %.

    400 samples at 95 %: fewer than 89.5 % has the probability 1e-5, as for 5 standard errors.
    """
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        arm = FAMILIES[MetricKind.COUNT].posteriors(
            [sampled(rng.negative_binomial(0.2, 1 / 6, 400))]
        )
        covered += bool(arm.quantiles(0.025)[0] <= 1.0 <= arm.quantiles(0.975)[0])

    assert covered >= 358


def test_no_dispersion_is_below_one():
    assert dispersions([sampled([3, 3, 3, 3])]).tolist() == [1.0]


def test_nothing_seen_is_poisson():
    assert dispersions([Sample(0, 0, 0, 0, 0), Sample(50, 0, 0, 0, 0)]).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("kind", [MetricKind.COUNT, MetricKind.REVENUE])
def test_a_sum_below_zero_is_that_of_units_without_a_value(kind):
    """As of comparable or mature units, among which a refund outweighs the amounts."""
    seen = [sampled([2.0, 3.0], without=2), Sample(4, 2, -5.0, 20.0, 10.0)]

    posteriors = FAMILIES[kind].posteriors(seen)

    assert np.isfinite(posteriors.means).all()
    assert posteriors.means[0] > posteriors.means[1] >= 0.0

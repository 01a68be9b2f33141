import numpy as np
import pytest
from scipy import stats

from streams.model.errors import InvalidParameterError
from streams.stats.bayes.credible import equal_tailed
from streams.stats.posteriors.beta import BetaPosterior


def test_uniform_arm_worked_by_hand():
    lower, upper = equal_tailed(BetaPosterior.observed([0], [0]), 0.9)

    assert lower == pytest.approx([0.05])
    assert upper == pytest.approx([0.95])


def test_ends_are_the_quantiles_of_scipy():
    lower, upper = equal_tailed(BetaPosterior.observed([50, 3], [950, 0]))

    for index, arm in enumerate((stats.beta(51, 951), stats.beta(4, 1))):
        assert (lower[index], upper[index]) == pytest.approx(arm.interval(0.95), rel=1e-10)


def test_intervals_are_nested_in_their_level():
    arms = BetaPosterior.observed([3], [9])
    levels = [equal_tailed(arms, level) for level in (0.5, 0.8, 0.95, 0.999)]

    assert np.all(np.diff([lower[0] for lower, _ in levels]) < 0)
    assert np.all(np.diff([upper[0] for _, upper in levels]) > 0)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, float("nan")])
def test_level_outside_its_domain_is_refused(level):
    with pytest.raises(InvalidParameterError):
        equal_tailed(BetaPosterior.observed([0], [0]), level)

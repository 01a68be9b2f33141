import pytest

from streams.analysis.primary_readings import planned_reading
from streams.planning.simulation import running_experiment


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"unit": "user"}, 0.4),
        ({"unit": "user", "attributionWindow": 86_400}, 0.0),
        ({"unit": "session", "conversionWindow": 3_600}, 0.0),
        ({"unit": "impression"}, 0.0),
    ],
)
@pytest.mark.parametrize("kind", ["revenue", "continuous", "count"])
def test_values_that_may_come_once_and_late_have_the_level_of_a_bridge(kind, change, expected):
    """A mean of 4 and a variance of 24: 16 of 40."""
    assert _rate(kind, change, deviation=24**0.5) == pytest.approx(expected)


def test_counts_that_are_taken_for_poisson_ones_make_no_bridge():
    assert _rate("count", {"unit": "user"}) == 0.0


def _rate(kind, change, **plan):
    config = {
        "name": "planned",
        "type": "bayesian_ab",
        "primaryMetric": "spend",
        "metrics": {"spend": {"kind": kind}},
        "plan": {"baseline": 4.0, "lift": 0.1, "units": 2_000, **plan},
        **change,
    }
    found = planned_reading(running_experiment(config, 2).definition.config)
    assert found is not None
    return found.rate

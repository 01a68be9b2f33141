"""Bounds of the number of variants and metrics of an experiment."""

import pytest

from streams.experiments.definition import parse_definition
from streams.model.errors import InputError
from streams.tallies.plan import MAX_DECLARED
from tests.streams.experiments.definitions import CONFIG, VARIANTS, refusal


def test_more_metrics_than_have_a_place_are_refused():
    names = [f"m{n}" for n in range(MAX_DECLARED)]
    fits = CONFIG | {"secondaryMetrics": names[:24], "guardrailMetrics": names[24:-1]}
    parse_definition(fits, VARIANTS)

    more = CONFIG | {"secondaryMetrics": names[:24], "guardrailMetrics": names[24:]}
    assert refusal(more, VARIANTS) == ("TOO_MANY_METRICS", "config.metrics")


def sized(n_variants, n_metrics, **config):
    names = [f"m{index}" for index in range(n_metrics - 1)]
    return parse_definition(
        {
            "name": "Hero",
            "type": "thompson_sampling",
            "primaryMetric": "click",
            "secondaryMetrics": names[:30],
            "guardrailMetrics": names[30:],
            **config,
        },
        [{"name": f"V{index}", "isControl": index == 0} for index in range(n_variants)],
    )


@pytest.mark.parametrize(("n_variants", "n_metrics"), [(256, 4), (64, 16), (31, 33), (2, 33)])
def test_an_experiment_as_large_as_its_bound_is_accepted(n_variants, n_metrics):
    assert len(sized(n_variants, n_metrics).variants) == n_variants


@pytest.mark.parametrize(
    ("n_variants", "n_metrics", "config"),
    [
        (256, 5, {}),
        (32, 33, {}),
        (256, 16, {}),
        (84, 1, {"periods": {"stratified": True}}),
        (256, 1, {"periods": {"delayed": True}}),
    ],
)
def test_an_experiment_that_would_delay_others_or_fill_its_cells_is_refused(
    n_variants, n_metrics, config
):
    with pytest.raises(InputError) as error:
        sized(n_variants, n_metrics, **config)

    assert (error.value.code, error.value.path) == ("EXPERIMENT_TOO_LARGE", "variants")
    assert "must be <=" in error.value.message

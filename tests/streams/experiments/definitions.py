"""Definitions of an experiment, small ones, and refusals of others."""

import pytest

from streams.experiments.definition import parse_definition
from streams.model.errors import InputError

CONFIG = {"name": "Hero", "type": "thompson_sampling", "primaryMetric": "click"}
FIXED = CONFIG | {"type": "bayesian_ab"}
VARIANTS = [{"name": "A", "isControl": True, "config": {"adId": "ad_1"}}, {"name": "B"}]


def variants(*changes):
    return [variant | change for variant, change in zip(VARIANTS, changes, strict=True)]


RATIO = {"kind": "ratio", "numerator": "clicks", "denominator": "views"}


def declared(primary="ctr", kind="thompson_sampling", **metrics):
    return CONFIG | {"type": kind, "primaryMetric": primary, "metrics": metrics}


def refusal(config, arms):
    with pytest.raises(InputError) as caught:
        parse_definition(config, arms)
    return caught.value.code, caught.value.path

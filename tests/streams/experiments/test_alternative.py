import pytest

from streams.experiments.definition import parse_definition
from streams.experiments.update import ExperimentUpdate
from streams.model.errors import InputError
from streams.model.validation import parse
from streams.stats.alternative import Alternative

VARIANTS = [{"name": name, "isControl": name == "A"} for name in "AB"]
CONFIG = {"name": "Hero", "type": "bayesian_ab", "primaryMetric": "click"}


def test_both_sides_are_tested_unless_stated():
    assert parse_definition(CONFIG, VARIANTS).config.alternative is Alternative.TWO_SIDED


def test_it_is_part_of_the_definition():
    config = parse_definition(CONFIG | {"alternative": "better"}, VARIANTS).config

    assert config.alternative is Alternative.BETTER
    assert config.model_dump(by_alias=True, mode="json")["alternative"] == "better"


@pytest.mark.parametrize("value", ["greater", "", 1, None, ["better"], {"side": 1}])
def test_others_are_refused(value):
    with pytest.raises(InputError) as caught:
        parse_definition(CONFIG | {"alternative": value}, VARIANTS)

    assert (caught.value.code, caught.value.path) == ("UNKNOWN_VALUE", "config.alternative")


def test_it_is_fixed():
    with pytest.raises(InputError) as caught:
        parse(ExperimentUpdate, {"alternative": "two_sided"})

    assert (caught.value.code, caught.value.path) == ("ALTERNATIVE_FIXED", "alternative")

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import InputError
from streams.model.experiment_keys import KEY_PATTERN, is_key, key_number, named_experiment
from streams.model.ids import experiment_id

KEYS = st.from_regex(KEY_PATTERN, fullmatch=True).filter(lambda text: text[:4] != "exp_")


def test_the_number_of_a_key_never_changes():
    # BLAKE2b with eight bytes and the personalization "experiment key", as other languages have it.
    assert experiment_id(key_number("homepage-hero")) == "exp_az1s0axg7fwz6"


@given(KEYS)
def test_a_key_and_the_id_of_its_number_name_the_same_experiment(key):
    number = key_number(key)

    assert named_experiment(key) == number == named_experiment(experiment_id(number))


@given(st.integers(0, 2**64 - 1))
def test_an_id_is_no_key(number):
    assert not is_key(experiment_id(number))


@pytest.mark.parametrize(
    "name", ["", "-a", ".a", "_a", "Hero", "a b", "a/b", "ä", "a\n", "k" * 101, "exp_0000000000000"]
)
def test_what_is_no_key(name):
    assert not is_key(name)


def test_a_key_has_at_most_a_hundred_characters():
    assert is_key("k" * 100)
    assert is_key("0")
    assert is_key("exp_hero")


@pytest.mark.parametrize("name", ["", "Hero", "a b", "EXP_0000000000000"])
def test_what_is_neither_an_id_nor_a_key_is_refused(name):
    with pytest.raises(InputError) as refused:
        named_experiment(name)

    assert refused.value.code == "INVALID_EXPERIMENT_ID"

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.model.errors import EngineError, InputError
from streams.model.ids import experiment_id, experiment_number, variant_id, variant_index

numbers = st.integers(0, 2**64 - 1)


@given(numbers)
def test_experiment_id_and_number_are_inverse(number):
    assert experiment_number(experiment_id(number)) == number


@given(numbers, numbers)
def test_ids_sort_as_their_numbers(a, b):
    assert (experiment_id(a) < experiment_id(b)) == (a < b)


@given(numbers, st.integers(0, 99_999))
def test_variant_id_and_index_are_inverse(number, index):
    name = experiment_id(number)

    assert variant_index(variant_id(name, index)) == (name, index)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "exp_",
        "exp_000000000000",
        "exp_00000000000000",
        "exp_000000000000i",
        "exp_000000000000A",
        "EXP_0000000000000",
        "exp_0000000000000\n",
        "exp_g000000000000",
        "exp_zzzzzzzzzzzzz",
        "exp_٠٠٠٠٠٠٠٠٠٠٠٠٠",
    ],
)
def test_what_is_no_experiment_id_is_refused(name):
    with pytest.raises(InputError) as caught:
        experiment_number(name)

    assert (caught.value.code, caught.value.path) == ("INVALID_EXPERIMENT_ID", "experimentId")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "exp_0000000000000",
        "exp_0000000000000_v",
        "exp_0000000000000_v01",
        "exp_0000000000000_v-1",
        "exp_0000000000000_v100000",
        "exp_0000000000000_v1\n",
        "exp_0000000000000_v٣",
        "exp_zzzzzzzzzzzzz_v0",
    ],
)
def test_what_is_no_variant_id_is_refused(name):
    with pytest.raises(InputError) as caught:
        variant_index(name)

    assert (caught.value.code, caught.value.path) == ("INVALID_VARIANT_ID", "variantId")


def test_error_reads_as_code_place_and_message():
    assert str(EngineError("CODE", "it is so.", "a[0].b")) == "CODE at a[0].b: it is so."
    assert str(EngineError("CODE", "it is so.")) == "CODE: it is so."

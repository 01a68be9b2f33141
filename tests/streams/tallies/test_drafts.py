"""Frozen instances made cheaply are the same as those of their constructors."""

from dataclasses import FrozenInstanceError, fields

import pytest

from streams.tallies.cell import MetricTally, VariantTally
from streams.tallies.drafts import maker_of


@pytest.mark.parametrize("cls", [MetricTally, VariantTally])
def test_an_instance_is_the_same_as_the_constructors(cls: type[MetricTally | VariantTally]) -> None:
    values = range(len(fields(cls)))
    made: object = maker_of(cls)(*values)
    assert type(made) is cls
    assert made == cls(*values)
    assert repr(made) == repr(cls(*values))
    with pytest.raises(FrozenInstanceError):
        setattr(made, fields(cls)[0].name, 1)


def test_all_fields_must_be_given() -> None:
    with pytest.raises(TypeError):
        maker_of(MetricTally)(1, 2)

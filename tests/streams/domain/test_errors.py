"""Errors cross to another process with their code and path."""

import pickle

import pytest

from streams.domain.errors import ConfigurationError, DependencyError, EngineError, EventError


@pytest.mark.parametrize(
    "error",
    [
        EventError("CODE", "message", "a.b"),
        ConfigurationError("message", "NAME"),
        DependencyError("kafka", "message", retry_after_s=7),
    ],
)
def test_pickled_it_is_the_same(error: EngineError):
    again = pickle.loads(pickle.dumps(error))

    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert (again.args, str(again)) == (error.args, str(error))

"""Options of `experiment replay` as their readers take them."""

from __future__ import annotations

import pytest

from streams.cli.log_options import parameters_of, prior_of, until_of
from streams.model.errors import InputError


def test_options_are_read():
    assert parameters_of(["c=1.5", "variant=tuned", "x="]) == {
        "c": 1.5,
        "variant": "tuned",
        "x": "",
    }
    assert prior_of("2,98.5") == (2.0, 98.5)
    assert prior_of(None) is None
    assert until_of(None) is None
    assert until_of("1500") == 1_500
    assert until_of("1970-01-01T00:00:01") == until_of("1970-01-01T02:00:01+02:00") == 1_000


@pytest.mark.parametrize(
    ("read", "path"),
    [
        (lambda: parameters_of(["c"]), "--parameter"),
        (lambda: prior_of("1"), "--prior"),
        (lambda: prior_of("a,b"), "--prior"),
        (lambda: until_of("yesterday"), "--until"),
    ],
)
def test_what_cannot_be_read_is_refused(read, path):
    with pytest.raises(InputError) as raised:
        read()

    assert raised.value.path == path

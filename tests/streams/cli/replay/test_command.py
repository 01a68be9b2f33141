"""Options of `experiment replay` as their readers take them."""

from __future__ import annotations

import pytest

from streams.cli.log_options import parameters_of, prior_of, until_of
from streams.model.errors import InputError
from streams.model.times import LAST_MS


def test_options_are_read():
    assert parameters_of(["c=1.5", "variant=tuned", "x="]) == {
        "c": 1.5,
        "variant": "tuned",
        "x": "",
    }
    assert prior_of("2,98.5") == (2.0, 98.5)
    assert prior_of(None) is None
    assert until_of(None) is None
    assert until_of("0") == until_of("1970-01-01") == 0


AT_0130_MS = 1_774_747_800_000
"""2026-03-29 01:30 UTC, half an hour after clocks in Paris went from 02:00 to 03:00."""


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("1774747800000", AT_0130_MS),
        ("2026-03-29T01:30:00", AT_0130_MS),
        ("2026-03-29T01:30:00Z", AT_0130_MS),
        ("2026-03-29T02:30:00+01:00", AT_0130_MS),  # Paris has no such time
        ("2026-03-29T03:30:00+02:00", AT_0130_MS),
        ("2026-03-28T15:30:00-10:00", AT_0130_MS),
        ("2026-03-29T01:30:00.123456789", AT_0130_MS + 123),
        ("2026-03-29T01:30:00.999999", AT_0130_MS + 999),
        ("20260329T013000Z", AT_0130_MS),
        ("9999-12-31T23:59:59.999Z", LAST_MS),
    ],
)
def test_a_time_is_the_same_instant_however_it_is_written(text, time_ms):
    assert until_of(text) == time_ms


@pytest.mark.parametrize(
    ("read", "path"),
    [
        (lambda: parameters_of(["c"]), "--parameter"),
        (lambda: prior_of("1"), "--prior"),
        (lambda: prior_of("a,b"), "--prior"),
        (lambda: until_of("yesterday"), "--until"),
        (lambda: until_of("2026-03-29T01:30:60Z"), "--until"),
        (lambda: until_of("1774747800"), "--until"),
        (lambda: until_of("20260329"), "--until"),
        (lambda: until_of("1774747800000000"), "--until"),
        (lambda: until_of("1970-01-02"), "--until"),
        (lambda: until_of("0001-01-01T00:00:00+01:00"), "--until"),
        (lambda: until_of("9" * 5_000), "--until"),
    ],
)
def test_what_cannot_be_read_is_refused(read, path):
    with pytest.raises(InputError) as raised:
        read()

    assert raised.value.path == path

"""Declared metrics that are probably observed under a misspelled name."""

from __future__ import annotations

from collections import Counter
from difflib import SequenceMatcher

from streams.experiments.snapshot import Snapshot
from streams.experiments.stats_response import MisspeltMetric

MIN_LETTERS = 4
"""Letters of a name below which one edit makes another word of it: `add` is no misspelt `ad`."""

LONG = 8
"""Letters of a name from which on several edits may leave the same word."""

ALIKE = 0.85
"""Share of the letters of two long names that match, from which on they are alike."""


def misspelt_metrics(snapshot: Snapshot) -> tuple[MisspeltMetric, ...]:
    """Return declared metrics that are probably observed under another name, sorted by name.

    A ratio has no direct observations; its numerator and denominator are declared metrics.
    """
    declared = snapshot.experiment.definition.config.counted_metrics
    observations: Counter[str] = Counter()
    for variant in snapshot.variants:
        for name, report in variant.metrics.items():
            observations[name] += report.observations
    known = {*declared, *snapshot.experiment.definition.config.metrics}
    others = sorted(name for name, n in observations.items() if n and name not in known)
    return tuple(
        MisspeltMetric(name, other, observations[other])
        for name in declared
        if not observations[name]
        for other in others
        if is_like(name, other)
    )


def is_like(name: str, other: str) -> bool:
    """Return whether a name is probably another one misspelt.

    Case and characters other than letters and digits are ignored. Names of four characters or more
    may differ by one edit: a missing, added or replaced character, or two swapped neighbours. Of
    names of eight or more, `ALIKE` of the letters must match. Digits must be equal, since `step1`
    and `step2` are different metrics.

    Source: Damerau (1964), "A technique for computer detection and correction of spelling errors":
        four in five misspelt words are one such edit away.

    >>> is_like("click", "Click"), is_like("add_to_cart", "add-to-cart"), is_like("click", "clikc")
    (True, True, True)
    >>> is_like("subscription_started", "subscripton_start"), is_like("checkout", "check_in")
    (True, False)
    >>> is_like("step1", "step2"), is_like("click", "view"), is_like("email_open", "email_close")
    (False, False, False)
    """
    first, second = _plain(name), _plain(other)
    if first == second:
        return bool(first)
    if min(len(first), len(second)) < MIN_LETTERS or _digits(first) != _digits(second):
        return False
    return _is_one_edit(first, second) or (
        min(len(first), len(second)) >= LONG and _are_alike(first, second)
    )


def _are_alike(first: str, second: str) -> bool:
    # In a fixed order, on which the matches depend.
    first, second = min(first, second), max(first, second)
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    # Cheaper upper bounds come first.
    bounds = matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio
    return all(bound() >= ALIKE for bound in bounds)


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


def _digits(name: str) -> str:
    return "".join(filter(str.isdigit, name))


def _is_one_edit(first: str, second: str) -> bool:
    """Return whether two names that differ do so by one edit; its time is linear."""
    begin = _shared(first, second)
    first, second = first[begin:], second[begin:]
    end = _shared(first[::-1], second[::-1])
    first, second = first[: len(first) - end], second[: len(second) - end]
    is_swapped = len(first) == len(second) == 2 and first == second[::-1]  # noqa: PLR2004 - a pair
    return is_swapped or max(len(first), len(second)) == 1


def _shared(first: str, second: str) -> int:
    """Return the length of the common prefix of two names."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(first), len(second)))

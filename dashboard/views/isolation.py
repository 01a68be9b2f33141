"""Texts of people within the text of a page: each keeps its own direction, and turns no other.

A name in a script that is written from right to left would take numbers and punctuation beside it
along. Between the characters FIRST STRONG ISOLATE and POP DIRECTIONAL ISOLATE it does not. They do
what `<bdi>` does, and do it in attributes, titles and drawings, too. The engine accepts no name
with such characters, so all of them are from here.
"""

from __future__ import annotations

from dataclasses import replace
from unicodedata import bidirectional

from experiment_streams_client import Experiment, Stats

_FIRST_STRONG_ISOLATE, _POP = "\N{FIRST STRONG ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})


def isolated(text: str) -> str:
    r"""Return a text of a person for the middle of another one; most are returned as they are.

    >>> isolated("Blue 1"), ascii(isolated("\u05d0 1"))
    ('Blue 1', "'\\u2068\\u05d0 1\\u2069'")
    """
    if text.isascii() or not any(bidirectional(each) in _RIGHT_TO_LEFT for each in text):
        return text
    return f"{_FIRST_STRONG_ISOLATE}{text}{_POP}"


def isolated_stats(stats: Stats) -> Stats:
    """Return statistics whose names are isolated."""
    winner = stats.winner
    return replace(
        stats,
        name=isolated(stats.name),
        variants=tuple(replace(each, name=isolated(each.name)) for each in stats.variants),
        winner=None if winner is None else replace(winner, name=isolated(winner.name)),
    )


def isolated_experiment(experiment: Experiment) -> Experiment:
    """Return an experiment whose names and description are isolated."""
    texts = {
        name: isolated(str(experiment.config[name]))
        for name in ("name", "description")
        if experiment.config.get(name)
    }
    variants = tuple(
        each.model_copy(update={"name": isolated(each.name)}) for each in experiment.variants
    )
    return experiment.model_copy(
        update={"config": {**experiment.config, **texts}, "variants": variants}
    )

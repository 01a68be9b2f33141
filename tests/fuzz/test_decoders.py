"""The corpus, and some seconds of what is near it; `make fuzz` continues by coverage."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.decoders import DECODERS, MAX_BYTES, check
from tests.fuzz.mutations import corpus, mutated
from tests.fuzz.seeds import CORPUS, seeds

every_decoder = pytest.mark.parametrize("name", sorted(DECODERS))


def test_every_decoder_has_a_corpus_and_every_corpus_a_decoder():
    assert {folder.name for folder in CORPUS.iterdir()} == set(DECODERS)
    assert set(seeds()) == set(DECODERS)


@every_decoder
def test_what_is_kept_is_decoded_or_refused_in_bounded_time_and_memory(name):
    for data in corpus(name):
        tracemalloc.start()
        try:
            check(DECODERS[name], data)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < MAX_BYTES


@every_decoder
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_what_is_near_the_corpus_is_decoded_or_refused(name, data):
    check(DECODERS[name], data.draw(mutated(name)))

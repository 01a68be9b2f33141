"""docs/reference/dead-letter-codes.md lists the codes that folds and decoders raise."""

from __future__ import annotations

import re

from streams.model.dead_letter_codes import DEAD_LETTER_CODES
from tests.documents import ROOT

PAGE = (ROOT / "docs" / "reference" / "dead-letter-codes.md").read_text()


def test_the_page_lists_the_codes_that_folds_and_decoders_raise():
    listed = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+|MISPLACED)`", PAGE))
    sources = [
        path.read_text()
        for folder in ("streams/fold", "streams/wire", "streams/model", "streams/tallies")
        for path in (ROOT / folder).glob("*.py")
    ]
    raised = {
        code
        for source in sources
        for code in re.findall(r'(?:Event|Receipt|MemoryFull)Error\)?\(\s*"([A-Z_]+)"', source)
    }

    assert len(raised) > 20
    assert raised - listed == set()


def test_a_counter_begins_at_0_for_each_code_of_the_page():
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    explained = {code for row in rows for code in re.findall(r"`([A-Z_]+)`", row)}

    assert set(DEAD_LETTER_CODES) == explained
    assert len(DEAD_LETTER_CODES) == len(explained)

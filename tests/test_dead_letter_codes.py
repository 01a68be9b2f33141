"""docs/reference/dead-letter-codes.md lists the codes that folds and decoders raise."""

from __future__ import annotations

import re

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

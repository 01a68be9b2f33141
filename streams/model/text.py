"""Escaping of untrusted text for a terminal and a log."""

from __future__ import annotations

from unicodedata import category

LINE_BREAK = "\n"

LAYOUT = "\n\t"
"""Control characters of a text of several lines."""

_BIDIRECTIONAL = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})


def has_controls(text: str, keep: str = "") -> bool:
    r"""Return whether a text holds what a terminal or a log acts on instead of showing it.

    Those are control characters, line and paragraph separators, lone surrogates and the marks that
    change the direction of text. Joiners, as in emoji, are allowed.

    >>> has_controls("Größe 10"), has_controls("a\x1b[1m"), has_controls("a\nb", keep="\n")
    (False, True, False)
    """
    if text.isprintable():
        return False
    return any(
        (each in _BIDIRECTIONAL or category(each) in _CONTROLS) and each not in keep
        for each in text
    )


def printable(text: str, keep: str = "") -> str:
    r"""Return a text with every character escaped that is not printable.

    Those are the control characters (C0 and C1, so also ESC, which commands terminals, and line
    breaks, which forge lines of a log), the marks that turn the direction of text around, other
    invisible characters and lone surrogates.

    Args:
        text: Any text.
        keep: Characters that stay as they are.

    >>> printable("a\x1b[2Jb\n"), printable("a\nb", "\n"), printable("abc\u202e")
    ('a\\x1b[2Jb\\n', 'a\nb', 'abc\\u202e')
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else repr(each)[1:-1] for each in text
    )


def json_printable(text: str) -> str:
    r"""Return JSON of the same value in which nothing is unprintable.

    Inside of JSON, what is not printable can only be part of a string.

    >>> json_printable('{"a":"\x9b1m"}')
    '{"a":"\\u009b1m"}'
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else json_escaped(each) for each in text)


def json_escaped(text: str) -> str:
    r"""Return a text with every character escaped as in JSON.

    >>> json_escaped("é😀")
    '\\u00e9\\ud83d\\ude00'
    """
    units = text.encode("utf-16-be", "surrogatepass")
    pairs = (units[place : place + 2] for place in range(0, len(units), 2))
    return "".join(f"\\u{int.from_bytes(pair):04x}" for pair in pairs)

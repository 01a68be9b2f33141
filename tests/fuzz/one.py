"""One decoder under atheris, or under hypothesis: `python -m tests.fuzz.one DECODER …`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

try:
    import atheris  # type: ignore[import-untyped]
except ImportError:
    atheris = None


def by_coverage(name: str, arguments: list[str]) -> None:
    """Fuzz with libFuzzer's arguments; does not return."""
    with atheris.instrument_imports(include=["schemas", "streams.wire", "streams.model", "api"]):
        from tests.fuzz.decoders import DECODERS, check  # noqa: PLC0415 - so it is instrumented

    decoder = DECODERS[name]
    atheris.Setup([sys.argv[0], *arguments], lambda data: check(decoder, data))
    atheris.Fuzz()


def by_chance(name: str, seconds: float, artifacts: Path) -> int:
    """Fuzz with mutations of the corpus that hypothesis draws; return 1 if something was found."""
    from tests.fuzz.decoders import DECODERS  # noqa: PLC0415 - not before it is instrumented
    from tests.fuzz.mutations import find  # noqa: PLC0415 - likewise

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = find(name, DECODERS[name], until - time.monotonic())
        if found is not None:
            (artifacts / "found").write_bytes(found)
            return 1
    return 0


if __name__ == "__main__":
    which, *rest = sys.argv[1:]
    if rest and rest[0] == "--seconds":
        sys.exit(by_chance(which, float(rest[1]), Path(rest[2])))
    by_coverage(which, rest)

"""`python -m tests.fuzz --minutes 10`: each decoder in turn, by coverage, in a separate process.

atheris (libFuzzer) instruments what it imports. Where it cannot be imported, hypothesis draws the
inputs, without knowledge of the code; the first line that is printed says which it is. An input
that is found is kept in `tests/fuzz/corpus/DECODER/found-…`, where `make test` tries it again.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from tests.fuzz.decoders import DECODERS, MAX_BYTES, MAX_S
from tests.fuzz.seeds import CORPUS

MEBIBYTE = 2**20
INSTRUMENTED_BYTES = 512 * MEBIBYTE
"""Options of the modules and of libFuzzer besides an input."""

MAX_INPUT_BYTES = 65_536
"""Longest input that is made: what is longer is only more of the same, and slower."""


def main() -> int:
    """Fuzz, and return 1 if anything was found."""
    arguments = _arguments()
    chosen = arguments.decoder or list(DECODERS)
    seconds = max(2, round(arguments.minutes * 60 / len(chosen)))
    has_atheris = importlib.util.find_spec("atheris") is not None
    _say(
        f"{len(chosen)} decoders, {seconds} s each, by "
        + ("atheris" if has_atheris else "hypothesis: atheris cannot be imported here")
    )
    found = [name for name in chosen if not _fuzz(name, seconds, arguments.work, has_atheris)]
    _say(f"found something in: {', '.join(found)}" if found else "found nothing")
    return 1 if found else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _fuzz(name: str, seconds: int, work: Path, has_atheris: bool) -> bool:
    grown, artifacts = work / name, work / f"{name}-found"
    for folder in (grown, artifacts):
        folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.one", name]
    if has_atheris:
        command += [
            str(grown),
            str(CORPUS / name),
            f"-max_total_time={seconds}",
            f"-timeout={round(2 * MAX_S)}",
            f"-rss_limit_mb={(INSTRUMENTED_BYTES + MAX_BYTES) // MEBIBYTE}",
            f"-max_len={MAX_INPUT_BYTES}",
            f"-artifact_prefix={artifacts}/",
            "-print_final_stats=1",
            "-verbosity=0",
        ]
    else:
        command += ["--seconds", str(seconds), str(artifacts)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    for file in sorted(artifacts.iterdir()):
        data = file.read_bytes()
        kept = CORPUS / name / f"found-{sha256(data).hexdigest()[:16]}"
        kept.write_bytes(data)
        _say(f"{name}: {kept}")
    runs = [line.split()[-1] for line in done.stderr.splitlines() if "executed_units" in line]
    _say(f"{name}: {runs[0] if runs else '?'} inputs, exit {done.returncode}")
    if done.returncode:
        _say("\n".join(done.stderr.splitlines()[-30:]))
    return done.returncode == 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--decoder", action="append", choices=sorted(DECODERS))
    parser.add_argument("--work", type=Path, default=Path(".fuzz"), help="where corpora grow")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""`python -m dashboard`: serve the dashboard until SIGTERM. Exit 2 if it must not start."""

from __future__ import annotations

import sys

from streams.process.starting import prepare_to_import


def main() -> int:
    """Serve, and return the exit code."""
    prepare_to_import()
    from dashboard.process import main as serve  # noqa: PLC0415 - takes a second

    return serve()


if __name__ == "__main__":
    sys.exit(main())

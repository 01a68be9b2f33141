"""`python -m streams.webhooks`: deliver webhooks until SIGTERM. Exit 2 if it is misconfigured."""

from __future__ import annotations

import sys

from streams.process.starting import prepare_to_import


def main() -> int:
    """Deliver, and return the exit code."""
    prepare_to_import()
    from streams.webhooks.process import main as deliver  # noqa: PLC0415 - takes a second

    return deliver()


if __name__ == "__main__":
    sys.exit(main())

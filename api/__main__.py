"""`python -m api`: serve the API until SIGTERM, then drain. Exit 2 if misconfigured."""

from __future__ import annotations

import sys

from streams.process.starting import prepare_to_import


def main() -> int:
    """Serve, and return the exit code."""
    prepare_to_import()
    from api.process import main as serve  # noqa: PLC0415 - takes seconds

    return serve()


if __name__ == "__main__":
    sys.exit(main())

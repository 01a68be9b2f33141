"""`python -m streams.worker`: run a worker until SIGTERM. Exit 2 if it cannot run as configured."""

from __future__ import annotations

from streams.process.starting import prepare_to_import


def main() -> None:
    """Run a worker, and exit."""
    prepare_to_import()
    from streams.worker.main import main as work  # noqa: PLC0415 - takes seconds

    work()


if __name__ == "__main__":
    main()

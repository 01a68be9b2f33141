"""`python -m streams.worker`: run a worker until SIGTERM. Exit 2 if it cannot run as configured."""

from __future__ import annotations

from streams.process.reload import ignore_hangups


def main() -> None:
    """Run a worker, and exit."""
    ignore_hangups()
    from streams.worker.main import main as work  # noqa: PLC0415 - takes seconds

    work()


if __name__ == "__main__":
    main()

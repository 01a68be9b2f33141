"""`python -m streams.cli` is `experiment`."""

from __future__ import annotations

from streams.process.starting import end_at_interrupts, raise_at_interrupts


def main() -> None:
    """Run the command line."""
    end_at_interrupts()
    from streams.cli.main import app  # noqa: PLC0415 - takes half a second

    raise_at_interrupts()
    app()


if __name__ == "__main__":
    main()

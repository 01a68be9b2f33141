"""`python -m streams.cli` is `experiment`."""

from streams.cli.main import app

app()

"""`experiment topics create`: the topics of an installation, before its first worker starts."""

from __future__ import annotations

import typer

from streams.cli import terminal
from streams.kafka.admin import create_topics
from streams.settings import load_settings


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    terminal.group(app, "topics", "The Kafka topics of this installation.").command()(create)


def create() -> None:
    """Create the topics that are missing, and check those that exist."""
    settings = load_settings()
    terminal.say_servers(settings)
    created = create_topics(settings)
    for name in created:
        terminal.echo(f"created {name}")
    if not created:
        terminal.echo("every topic exists")

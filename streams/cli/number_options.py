"""Options and arguments that are numbers, read strictly whatever reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import typer

from streams.model.errors import quoted
from streams.model.number_texts import decimal_number, whole_number


def read_strictly(commands: Mapping[str, Any]) -> None:
    """Have commands, and those of their groups, refuse numbers that JSON has not.

    typer reads numbers as Python does: `--limit 1_0` would be 10, and `--interval nan` within every
    range.

    Args:
        commands: The commands by their names.
    """
    for command in commands.values():
        for parameter in command.params:
            parameter.process_value = _strictly(parameter, parameter.process_value)
        read_strictly(getattr(command, "commands", {}))


def _strictly(parameter: Any, process: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def processed(ctx: Any, value: Any) -> Any:
        found = process(ctx, value)
        if isinstance(value, str) and type(found) in _READERS:
            read, example = _READERS[type(found)]
            if read(value) is None:
                message = f"{quoted(value)} is not a number as JSON has it, such as {example}."
                raise typer.BadParameter(message, ctx, parameter)
        return found

    return processed


_READERS: Mapping[type, tuple[Callable[[str], Any], str]] = {
    int: (whole_number, "10"),
    float: (decimal_number, "0.5"),
}

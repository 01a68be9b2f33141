"""The packages that bring the servers of the local stack; an extra of the distribution."""

from __future__ import annotations

import importlib
from typing import Any

from streams.model.errors import ConfigurationError

EXTRA = "experiment-streams[local]"


def server_package(name: str) -> Any:
    """Import a module of a package that brings a server as a wheel.

    Raises:
        ConfigurationError: It is not installed. Operator action: install the extra `local`.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the local stack needs the package {name.partition('.')[0]}; "
            f"install it with: pip install '{EXTRA}'",
        ) from error

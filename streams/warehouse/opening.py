"""A target by its address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from streams.model.errors import ConfigurationError, quoted

if TYPE_CHECKING:
    from streams.warehouse.target import Warehouse

EXTRA = "experiment-streams[warehouse]"
"""Requirement that installs the libraries of all targets."""

PARQUET = "parquet:"
POSTGRESQL = ("postgresql://", "postgres://")


def missing(error: ModuleNotFoundError) -> Exception:
    """Return the error of a library that is not installed; `error` itself if it is our own."""
    if error.name is None or error.name.partition(".")[0] == "streams":
        return error
    return ConfigurationError(
        f"an export needs {error.name}, which is not installed: pip install '{EXTRA}'", "--to"
    )


@contextmanager
def opened(address: str) -> Iterator[Warehouse]:
    """Open the target at an address.

    Args:
        address: `parquet:DIR` or `postgresql://…`.

    Raises:
        ConfigurationError: it is neither, or what it needs is not installed.
        DependencyError, WarehouseError: as in `opened_parquet` and `opened_postgres`.
    """
    if address.startswith(PARQUET) and len(address) > len(PARQUET):
        try:
            from streams.warehouse.parquet import opened_parquet  # noqa: PLC0415 - either of two
        except ModuleNotFoundError as error:
            raise missing(error) from error
        with opened_parquet(Path(address.removeprefix(PARQUET))) as files:
            yield files
    elif address.startswith(POSTGRESQL):
        try:
            from streams.warehouse.postgresql import opened_postgres  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise missing(error) from error
        with opened_postgres(address) as database:
            yield database
    else:
        shown = address.partition(":")[0]  # the rest may hold a password
        raise ConfigurationError(
            f"{quoted(shown)} is neither parquet:DIR nor postgresql://HOST/DATABASE", "--to"
        )

"""`schemas/warehouse.sql`: the tables as `tables` has them, and views that say what counts."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from streams.warehouse.tables import TABLES, VERSION_TABLE, ddl

NAME = "warehouse.sql"
TABLES_BEGIN = "-- Tables: rendered by `python -m scripts.render_warehouse`.\n"
TABLES_END = "-- State of the export: where it goes on. Nothing else reads it.\n"
VIEWS_BEGIN = "-- Views: what counts, for PostgreSQL and DuckDB alike.\n"

_SPECIAL = re.compile(r"[*?\[]")
"""Characters that DuckDB takes for a pattern of names; in brackets they are literal."""


@lru_cache(maxsize=1)
def warehouse_sql() -> str:
    """Return the whole file."""
    return files("schemas").joinpath(NAME).read_text()


def with_tables(text: str) -> str:
    """Return a text of the file with the tables as they are declared now."""
    before, _, rest = text.partition(TABLES_BEGIN)
    _, _, after = rest.partition(TABLES_END)
    return f"{before}{TABLES_BEGIN}\n{ddl()}\n{TABLES_END}{after}"


def views() -> str:
    """Return the statements that create the views."""
    return warehouse_sql().partition(VIEWS_BEGIN)[2]


def over_parquet(directory: Path) -> str:
    """Return statements by which DuckDB reads the files of an export as tables and views."""
    literal = Path(_SPECIAL.sub(r"[\g<0>]", str(directory.resolve())))
    lines = ["-- duckdb -init warehouse.sql: the files of this directory as tables and views.\n"]
    for table in TABLES:
        pattern = str(literal / table.name / "*.parquet").replace("'", "''")
        lines.append(
            f"CREATE OR REPLACE VIEW {table.name} AS SELECT * FROM read_parquet('{pattern}');\n"  # noqa: S608
        )
    return "".join(lines) + views()


__all__ = ["NAME", "VERSION_TABLE", "over_parquet", "views", "warehouse_sql", "with_tables"]

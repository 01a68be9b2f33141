"""`python -m scripts.render_warehouse`: the tables of `schemas/warehouse.sql`."""

from __future__ import annotations

from pathlib import Path

from streams.warehouse.sql import NAME, with_tables

FILE = Path(__file__).parent.parent / "schemas" / NAME

if __name__ == "__main__":
    FILE.write_text(with_tables(FILE.read_text()))

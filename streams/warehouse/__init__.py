"""Rows of a warehouse, PostgreSQL or Parquet files: everything that the engine counts, once."""

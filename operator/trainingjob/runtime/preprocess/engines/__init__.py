"""The engines: DuckDB in one process, or Spark."""

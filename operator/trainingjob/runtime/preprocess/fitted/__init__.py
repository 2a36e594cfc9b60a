"""The fitted pipeline of a dataset's manifest, applied to rows that nobody has seen.

What steps have learned is closed-form arithmetic on a column, and is done here in numpy: a row is
through in a fraction of a millisecond, where an engine would plan a query. Steps that have SQL of
the user or of a dialect (``sql.py``) are run by DuckDB, as they were by preprocess.
"""

from __future__ import annotations

from .pipeline import Pipeline, begin_of

__all__ = ["Pipeline", "begin_of"]

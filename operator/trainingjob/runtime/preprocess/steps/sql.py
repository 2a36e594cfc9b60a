"""sql: a query over the table `data`."""

from __future__ import annotations

from trainingjob.api.v1alpha1.preprocess import Sql

from ..frame import Frame
from .step import Fitted, Where


def query(spec: Sql, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """The query's result replaces the data."""
    raise NotImplementedError

"""The steps of a manifest, in order: which function runs which kind, and when rows are divided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic.alias_generators import to_camel

from trainingjob.api.v1alpha1.steps import FillNa, Step

from ..account import Account, Entry
from ..engines.frame import Engine, Frame
from . import categories, columns, missing, rows, scale, sql
from .step import Fitted, Where

# Steps whose rows are new ones, of which there may be fewer or more.
_NEW_ROWS = ("drop_duplicates", "sql")

# Steps after which a column's values are no longer those that people know.
_NO_LONGER_RAW = ("encode_labels", "one_hot", "scale")

# The field of ``Step`` and what runs it: (spec, frame, where) -> (frame, what was fitted).
RUN: dict[str, Callable[[Any, Frame, Where], tuple[Frame, Fitted]]] = {
    "drop_duplicates": rows.drop_duplicates,
    "dropna": rows.dropna,
    "filter": rows.filter_rows,
    "fillna": missing.fillna,
    "select": columns.select,
    "drop": columns.drop,
    "rename": columns.rename,
    "cast": columns.cast,
    "with_column": columns.with_column,
    "encode_labels": categories.encode_labels,
    "one_hot": categories.one_hot,
    "scale": scale.scale,
    "sql": sql.query,
}


def kind_of(step: Step) -> str:
    """The one field that is set."""
    return next(field for field in RUN if getattr(step, field) is not None)


def is_fitted(step: Step) -> bool:
    """Whether the step learns from the training split, so that rows must be divided before it."""
    kind = kind_of(step)
    if kind == "fillna":
        assert isinstance(step.fillna, FillNa)
        return step.fillna.strategy != "value"
    return kind in ("encode_labels", "one_hot", "scale")


def run_steps(
    engine: Engine,
    frame: Frame,
    steps: Sequence[Step],
    label: str,
    split: Callable[[Frame, str], tuple[Frame, str]],
    account: Account,
    done: Callable[[float], None],
    *,
    divided_first: bool = False,
) -> tuple[Frame, list[dict[str, Any]]]:
    """Run every step; ``split(frame, where)`` divides the rows and is called exactly once, before
    the first step that is fitted, or before all of them. It says in words how, if it is its own.

    Returns the frame and the pipeline of the manifest: each step with what it fitted. ``done`` is
    told the share of the steps that is through. Raises StageFailure(CastLosesValues), too."""

    def divide(frame: Frame, where: str) -> Frame:
        if account.watches:
            account.settle()
        divided, words = split(frame, where)
        account.divided(divided, words)
        return divided

    pipeline: list[dict[str, Any]] = []
    entries: list[Entry] = []
    if divided_first:
        frame = divide(frame, "the input")
    for number, step in enumerate(steps, 1):
        kind = kind_of(step)
        where = Where(engine, label, f"step {number} ({to_camel(kind)})", account)
        if is_fitted(step) and not frame.is_split:
            frame = divide(frame, where.text)
        if kind in _NO_LONGER_RAW and account.raw is None:
            account.raw = frame
        entries.append(account.begin(where.text))
        with where.errors():
            made, fitted = RUN[kind](getattr(step, kind), frame, where)
        if kind in _NEW_ROWS:
            account.replaced(made)
        account.end(frame, made)
        frame = made
        pipeline.append({"step": step.to_dict(), "fitted": fitted})
        done(number / len(steps))
    if not frame.is_split:
        frame = divide(frame, "after the last step" if steps else "the input")
    account.settle()
    for step_made, entry in zip(pipeline, entries, strict=True):
        step_made["account"] = entry.line()
    return frame, pipeline

"""The steps of a manifest, in order: which function runs which kind, and when rows are divided.

To add one: a model and its field in ``api/v1alpha1``, and a row in ``KINDS`` here. What a step
learns is in the dataset's manifest, and is all that is needed to apply it to other rows: it is of
bounded size, and the step's docstring says how it is applied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trainingjob.api.base import camel
from trainingjob.api.v1alpha1.job import Task
from trainingjob.api.v1alpha1.steps import Step

from ..account import Account, Entry
from ..engines.frame import Engine, Frame
from ..names import of_unread
from . import (
    categories,
    columns,
    dates,
    join,
    missing,
    numbers,
    parse,
    rare,
    rows,
    scale,
    sql,
    target,
    texts,
)
from .chosen import concrete
from .step import Fitted, Where
from .unread import refuse_unread

Learns = Callable[[Any], bool]


def always(spec: Any) -> bool:
    """Of a step that learns from the training split, whatever its fields."""
    return True


def never(spec: Any) -> bool:
    """Of one that does not."""
    return False


@dataclass(frozen=True)
class Kind:
    """How a kind of step is run."""

    run: Callable[[Any, Frame, Where], tuple[Frame, Fitted]]
    learns: Learns = never  # from the training split, so that rows must be divided before it
    new_rows: bool = False  # of which there may be fewer or more
    disguises: bool = False  # values are no longer those that people know


# By the field of ``Step``.
KINDS: dict[str, Kind] = {
    "drop_duplicates": Kind(rows.drop_duplicates, new_rows=True),
    "dropna": Kind(rows.dropna),
    "filter": Kind(rows.filter_rows),
    "fillna": Kind(missing.fillna, lambda spec: spec.strategy != "value"),
    "missing_indicator": Kind(numbers.missing_indicator, lambda spec: spec.columns is None),
    "select": Kind(columns.select),
    "drop": Kind(columns.drop),
    "rename": Kind(columns.rename),
    "cast": Kind(columns.cast),
    "parse_number": Kind(parse.parse_number),
    "with_column": Kind(columns.with_column),
    "date_parts": Kind(dates.date_parts),
    "encode_labels": Kind(categories.encode_labels, always, disguises=True),
    "one_hot": Kind(categories.one_hot, always, disguises=True),
    "group_rare": Kind(rare.group_rare, always),
    "hash_encode": Kind(texts.hash_encode, disguises=True),
    "target_encode": Kind(target.target_encode, always, disguises=True),
    "hash_text": Kind(texts.hash_text, disguises=True),
    "tfidf": Kind(texts.tfidf, always, disguises=True),
    "clip": Kind(numbers.clip, numbers.has_quantiles),
    "log1p": Kind(numbers.log1p),
    "scale": Kind(scale.scale, always, disguises=True),
    "quantile": Kind(numbers.quantile, always, disguises=True),
    "bin": Kind(numbers.bins, lambda spec: spec.borders is None, disguises=True),
    "join": Kind(join.join, new_rows=True),
    "sql": Kind(sql.query, new_rows=True),
}


def kind_of(step: Step) -> str:
    """The one field that is set."""
    return next(field for field in KINDS if getattr(step, field) is not None)


def run_steps(
    engine: Engine,
    frame: Frame,
    steps: Sequence[Step],
    task: Task,
    weight: str | None,
    split: Callable[[Frame, str, int], tuple[Frame, str]],
    account: Account,
    done: Callable[[float], None],
    tables: Mapping[str, Frame] | None = None,
    *,
    divided_first: bool = False,
    begin: int = 0,
    seen: Callable[[Frame, int], None] = lambda frame, done: None,
) -> tuple[Frame, list[dict[str, Any]]]:
    """Run every step; ``split(frame, where, done)`` divides the rows, when so many steps are done.
    It is called exactly once, before the first step that is fitted, or before all of them, and says
    in words how, if it is its own. ``weight``: train.sampleWeight; ``tables`` by the names that
    steps call them. ``begin``: steps that were done before, on a frame whose rows are divided.
    ``seen`` is told each frame, and how many steps are done.

    Returns the frame and the pipeline of the manifest: each step with what it fitted. ``done`` is
    told the share of the steps that is through. Raises StageFailure(CastLosesValues), too."""

    def divide(frame: Frame, where: str, done: int) -> Frame:
        refuse_unread(frame, steps[done:], task)
        if account.watches:
            account.settle()
        divided, words = split(frame, where, done)
        account.divided(divided, words)
        engine.divided()
        return divided

    pipeline: list[dict[str, Any]] = []
    entries: list[Entry] = []
    seen(frame, begin)
    if divided_first:
        frame = divide(frame, "the input", 0)
    for number, step in enumerate(steps[begin:], begin + 1):
        name = kind_of(step)
        kind = KINDS[name]
        where = Where(
            engine,
            task.label,
            f"step {number} ({camel(name)})",
            account,
            task.type == "classification",
            weight,
            tables or {},
        )
        spec = concrete(getattr(step, name), frame, where)
        if kind.learns(spec) and not frame.is_split:
            frame = divide(frame, where.text, number - 1)
        if kind.disguises and frame.is_split and account.raw is None:
            account.raw = frame
        entries.append(account.begin(where.text))
        with where.errors(), of_unread(where.text, frame.unread):
            made, fitted = kind.run(spec, frame, where)
        if kind.new_rows:
            account.replaced(made)
        account.end(frame, made)
        unread = {name: why for name, why in made.unread.items() if name not in made.columns}
        frame = replace(made, unread=unread)
        pipeline.append({"step": {camel(name): spec.to_dict()}, "fitted": fitted})
        seen(frame, number)
        done(number / len(steps))
    if not frame.is_split:
        frame = divide(frame, "after the last step" if steps else "the input", len(steps))
    account.settle()
    for step_made, entry in zip(pipeline, entries, strict=True):
        step_made["account"] = entry.line()
    return frame, pipeline

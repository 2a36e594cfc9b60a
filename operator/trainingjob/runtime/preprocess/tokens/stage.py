"""The end of the stage for a language model: look at the texts, tokenize, pack, write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from trainingjob.api.payload import PreprocessPayload, StageResult
from trainingjob.api.v1alpha1.reported import Outputs
from trainingjob.api.v1alpha1.tokenize import NearDuplicates, Tokenize

from ... import storage
from ...base.digest import digest_of_text
from ...base.errors import StageFailure, storage_errors
from ...base.progress import Reporter
from ...dataset.manifest import (
    MANIFEST,
    DatasetManifest,
    SplitInfo,
    SplitName,
    TokenCounts,
    Tokens,
)
from ...dataset.tokens import tokenizer_files
from ..checks import check_splits
from ..engines.frame import HASH, ROW_GROUP_ROWS, SPLIT, SPLIT_NUMBER, Engine, Frame, Rows
from ..input.documents import LONGEST_BYTES
from ..names import cannot_use, column_not_found
from ..notes import Notes
from . import chat, coverage, messages, pack, tokenizer
from .copies import without_copies

# Of the tokens in a row group.
_ROW_GROUP_BYTES = 32 * 2**20
_LEAST_ROWS = 2048  # of DuckDB's row groups
# A pattern: what a text has that is not empty.
_NOT_BLANK = "[^ \t\n\r\f]"


@dataclass(frozen=True)
class Texts:
    """The texts of one split: how many there are, and their bytes of UTF-8."""

    count: int
    size: int


def finish(
    engine: Engine,
    frame: Frame,
    payload: PreprocessPayload,
    spec: Tokenize,
    pipeline: list[dict[str, Any]],
    notes: Notes,
    reporter: Reporter,
) -> tuple[StageResult, str]:
    """Make the dataset of a frame whose rows are divided; also what was done, in a line.

    Raises StageFailure(ColumnNotFound, SettingUnsuitable, TextInvalid, SplitEmpty, NoRowsLeft)."""
    name, task = payload.task.label, payload.task
    if task.messages is not None:
        frame = messages.canonical(engine, frame, name)
    said = engine.dialect.ident(name)
    if task.messages is not None:
        said = f"{engine.function(chat.contents, 'string', 'text')}({said})"
    field = f"task.{'messages' if task.messages else 'text'}"
    frame, left_out = _documents(engine, frame, field, name, spec.near_duplicates, said)
    found = _counted(engine, frame, name)
    try:
        check_splits({split: texts.count for split, texts in found.items()}, payload.split)
    except StageFailure as failure:
        raise StageFailure(failure.reason, f"{failure.message}{left_out}") from None
    reporter.report(0.7)
    train = found["train"]
    chosen = tokenizer.choose(engine, frame.view, said, spec, train.count, train.size)
    if chosen.given is not None:
        coverage.check(engine, frame.view, said, chosen.text, chosen.given, notes)
    if task.messages is not None:
        given = tokenizer_files(spec.from_, chat=True) if spec.from_ is not None else {}
        chosen = chosen.for_chat(given)
        assert chosen.way is not None
        messages.check(engine, frame, name, chosen.way)
        messages.warn_of_long(engine, frame.view, name, chosen, spec.sequence_length, notes)
    reporter.report(0.75)
    tokens = _tokens(engine, frame, spec, chosen)
    target = storage.resolve(payload.output)
    with storage_errors("write the dataset"), storage.publishing(target, MANIFEST) as new:
        manifest = _manifest(engine, tokens, payload, spec, pipeline, chosen, found, new.place)
        for one in manifest.beside:
            new.place.write(one.name, chosen.files[one.plain])
        manifest.publish(new)
        # For people; these names had those of an earlier dataset until now.
        for one in manifest.beside:
            new.place.write(one.plain, chosen.files[one.plain])
    reporter.report(1.0)
    counts = {split: info.rows for split, info in manifest.splits.items()}
    result = StageResult(
        outputs=Outputs(
            uri=payload.output,
            digest=manifest.digest,
            rows={str(split): count for split, count in counts.items()},
        )
    )
    assert manifest.tokens is not None
    return result, _line(manifest.tokens, chosen, left_out, sum(counts.values()))


def _tokens(engine: Engine, frame: Frame, spec: Tokenize, chosen: tokenizer.Chosen) -> Frame:
    """The rows of tokens."""
    assert frame.layout is not None
    length, bits = spec.sequence_length, frame.layout.bits
    end, way = chosen.end, chosen.way
    each: Rows
    if way is None:
        names, between, made = [pack.TOKENS, pack.LENGTH], pack.ENCODED, pack.PACKED
        each = partial(pack.encode, tokenizer=chosen.text, given=chosen.given)
        whole: Rows = partial(pack.pack, length=length, end=end, bits=bits)
    else:
        names, between, made = [one.name for one in chat.ROW], chat.ENCODED, chat.PACKED
        each = partial(chat.encode, tokenizer=chosen.text, given=chosen.given, way=way)
        whole = partial(chat.pack, length=length, end=end, bits=bits)
    view = engine.by_file(frame, each, between, whole, made)
    size = 4 * (length + 1) * (1 if way is None else 2)
    rows = max(_LEAST_ROWS, min(ROW_GROUP_ROWS, _ROW_GROUP_BYTES // size))
    # The types are the view's own, and none of those that a user's column may have.
    return replace(
        frame.over(view, dict.fromkeys(names, "bigint")),
        layout=replace(frame.layout, row_group=rows),
    )


def _line(tokens: Tokens, chosen: tokenizer.Chosen, left_out: str, rows: int) -> str:
    total = sum(one.tokens for one in tokens.splits.values())
    texts = sum(one.documents for one in tokens.splits.values())
    if chosen.way is None:
        what, of_answers = "texts", ""
    else:
        whose = "the tokenizer's own" if chosen.own_template else "the default"
        what, of_answers = "conversations", f" of answers, by {whose} chat template"
    return (
        f"tokenize: {texts} {what}{left_out} -> {total} tokens of {tokens.vocab_size} in {rows} "
        f"rows{of_answers}"
    )


def _manifest(
    engine: Engine,
    tokens: Frame,
    payload: PreprocessPayload,
    spec: Tokenize,
    pipeline: list[dict[str, Any]],
    chosen: tokenizer.Chosen,
    found: Mapping[SplitName, Texts],
    place: storage.Place,
) -> DatasetManifest:
    parts = engine.write(tokens, place, total=pack.LENGTH if chosen.way is None else chat.ANSWERS)
    counts = {
        split: TokenCounts(
            documents=found[split].count,
            bytes=found[split].size,
            # Those that have one before them in their row; of conversations, the answers'.
            tokens=sum(part.total - (part.file.rows if chosen.way is None else 0) for part in its),
        )
        for split, its in parts.items()
    }
    return DatasetManifest(
        label=payload.task.label,
        task=payload.task.type,
        features=[],
        columns={},
        splits={
            split: SplitInfo(
                rows=sum(part.file.rows for part in its), files=[part.file for part in its]
            )
            for split, its in parts.items()
        },
        pipeline=pipeline,
        stamp=place.stamp,
        writer=payload.job.uid,
        tokens=Tokens(
            tokenizer=chosen.digest,
            vocab_size=chosen.size,
            end_of_text=chosen.end_of_text,
            end=chosen.end,
            sequence_length=spec.sequence_length,
            chat_template=chosen.way and digest_of_text(chosen.way.template),
            splits=counts,
        ),
    )


def _documents(
    engine: Engine, frame: Frame, field: str, name: str, near: NearDuplicates | None, said: str
) -> tuple[Frame, str]:
    """The frame of the texts alone, without empty ones and copies, and how many those were;
    ``near`` and ``said`` as ``without_copies`` has them."""
    if name in frame.unread:
        raise cannot_use(field, name, frame.unread[name])
    if name not in frame.columns:
        raise column_not_found(field, name, list(frame.columns), frame.unread)
    if frame.columns[name] != "string":
        raise StageFailure(
            "SettingUnsuitable",
            f"{field}: column {name} is of type {frame.columns[name]}, and texts are needed",
        )
    dialect = engine.dialect
    text = dialect.ident(name)
    on_spark = dialect.name == "spark"
    broken = f"count(CASE WHEN NOT is_valid_utf8({text}) THEN 1 END)" if on_spark else "0"
    size = f"octet_length({text})" if on_spark else f"strlen({text})"
    says = f"{dialect.regexp_like}({text}, {dialect.text(_NOT_BLANK)})"
    ((rows, texts, longest, wrong, empty),) = engine.rows(
        f"SELECT count(*), count({text}), max({size}), {broken}, "
        f"count(CASE WHEN NOT {says} THEN 1 END) FROM {frame.view}"
    )
    what = f"the text {name}"
    if not rows:
        raise StageFailure("NoRowsLeft", "no text is left after the last step")
    if texts < rows:
        raise StageFailure(
            "TextInvalid",
            f"{what} is null in {rows - texts} of {rows} rows: drop those with "
            f"`dropna: {{subset: [{name}]}}`",
        )
    if wrong:
        raise StageFailure("InputNotUtf8", f"{what} is not UTF-8 in {wrong} of {rows} rows")
    if (longest or 0) > LONGEST_BYTES:
        raise StageFailure(
            "TextInvalid",
            f"{what} has up to {longest} bytes in a row, and {LONGEST_BYTES} is the most: divide "
            f"long texts into rows, or drop them with "
            f'`filter: {{where: "length({name}) < {LONGEST_BYTES // 4}"}}`',
        )
    if empty == rows:
        raise StageFailure("NoRowsLeft", f"{what} is empty in all of {rows} rows")
    view = engine.view(f"SELECT {text}, {SPLIT}, {HASH} FROM {frame.view} WHERE {says}")
    alone = replace(frame, view=view, columns={name: "string"}, hidden=(SPLIT, HASH), unread={})
    made, words = without_copies(engine, alone, text, near, said)
    words += [f"{empty} empty ones"] if empty else []
    return made, f" (without {', '.join(words)})" if words else ""


def _counted(engine: Engine, frame: Frame, name: str) -> dict[SplitName, Texts]:
    text = engine.dialect.ident(name)
    size = f"octet_length({text})" if engine.dialect.name == "spark" else f"strlen({text})"
    rows = engine.rows(
        f"SELECT {SPLIT}, count(*), CAST(sum({size}) AS BIGINT) FROM {frame.view} GROUP BY 1"
    )
    found = {split: Texts(count, total) for split, count, total in rows}
    order: tuple[SplitName, ...] = ("train", "validation", "test")
    return {split: found.get(SPLIT_NUMBER[split], Texts(0, 0)) for split in order}

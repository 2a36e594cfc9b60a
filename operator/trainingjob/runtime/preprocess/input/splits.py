"""Files that hold splits, beside those of the input."""

from __future__ import annotations

import os
import re
from pathlib import Path

from trainingjob.api.payload import PreprocessPayload
from trainingjob.api.v1alpha1.input import Input
from trainingjob.api.v1alpha1.split import Split

from ...base.errors import StageFailure
from ...base.text import listed
from ..given import NAMES, OF_FILE
from ..notes import Notes
from .files import Partition, Source, find

# The table that `preprocess.input` is.
DATA = "data"


def find_inputs(payload: PreprocessPayload) -> dict[str, Source]:
    """The files of the input, which is the table DATA, and of the further tables."""
    tables = {name: find(one) for name, one in payload.inputs.items()}
    return {DATA: find_all(payload.input, payload.split)} | tables


def find_all(source: Input, split: Split) -> Source:
    """The files of the input, and where files hold splits all of them, each with the name of its
    split in the column OF_FILE.

    Raises StageFailure(InputNotFound, InputUnreadable, InputEmpty, ColumnsDiffer, SplitInvalid)."""
    found = find(source)
    if split.files is None:
        return found
    partitions: dict[Path, Partition] = {}
    owners: dict[Path, str] = {}
    parts = {"train": found} | {
        name: _found(source, name, uri) for name, uri in split.files.uris.items()
    }
    for name, part in parts.items():
        field = "preprocess.input" if name == "train" else f"preprocess.split.files.{name}"
        if part.keys != found.keys:
            raise StageFailure(
                "ColumnsDiffer",
                f"{part.uri} lies in folders of {listed(part.keys) or 'no partition'}, "
                f"{found.uri} in those of {listed(found.keys) or 'no partition'}",
            )
        for file in part.files:
            if file.resolve() in owners:
                raise StageFailure(
                    "SplitInvalid",
                    f"{file} is of {owners[file.resolve()]} and of {field}; name the files of each "
                    "split alone",
                )
            owners[file.resolve()] = field
            partitions[file] = {**part.partitions.get(file, {}), OF_FILE: name}
    return Source(found.uri, list(partitions), partitions)


def _found(source: Input, name: str, uri: str) -> Source:
    try:
        return find(source.model_copy(update={"uri": uri}))
    except StageFailure as failure:
        words = f"preprocess.split.files.{name}: {failure.message}"
        raise StageFailure(failure.reason, words) from failure


def warn_of_parts(source: Source, split: Split, notes: Notes) -> None:
    """Where the files look like splits that somebody has made, and rows are divided anew."""
    if split.given:
        return
    folder = os.path.commonpath([file.parent for file in source.files])
    parts = {file.relative_to(folder).parts[0] for file in source.files}
    # train/, test.csv, train-00000-of-00002.parquet
    splits = {NAMES.get(re.split("[^a-z]", part.lower())[0]) for part in parts}
    if {"train", "test"} <= splits <= set(NAMES.values()):
        notes.warn(
            "SplitsMixed",
            f"{source.uri} has {listed(sorted(parts))}: all rows are put together and divided "
            "anew; to keep these splits, name the training files in preprocess.input.uri, and the "
            "others in preprocess.split.files",
        )

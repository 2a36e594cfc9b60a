"""The files by which stages hand over to each other.

dataset/manifest.json  dataset/{train,validation,test}/part-00000-9f3c….parquet ...
dataset/tokenizer.json, dataset/chat_template.jinja   (language models; of conversations)
dataset/fold-1-9f3c…/manifest.json ...           (with folds: datasets of which they are the test)
checkpoints/step-000000050/
model/config.json  model/model.safetensors      (built-in models)
model/model.onnx | model/model.pt2 | model/predictions.parquet      (user code)
model/config.json  model/model.safetensors  model/tokenizer.json    (its classifier of texts)
model/fold-1/...                                 (with folds: likewise of a fold's dataset)
evaluation/metrics.json  evaluation/fold-1/metrics.json ...
accepted/metrics.json                            (of the last model that passed all gates)
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from stat import S_ISREG
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError
from pydantic_core import to_json

from trainingjob.api.base import Model
from trainingjob.api.payload import DATASET_DIGEST
from trainingjob.api.v1alpha1.input import ColumnType

from .. import storage
from ..base.digest import digest_of, sha256
from ..base.errors import StageFailure

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
TEMPLATE = "chat_template.jinja"
# How the names of files of rows end; whatever else a dataset has is small.
ROWS = ".parquet"
# Of a file, without a folder: nothing that a manifest names lies outside of its dataset.
_NAME = r"^[^/.\x00-\x1f][^/\x00-\x1f]{0,254}$"
_MANIFEST_BYTES = 256 * 2**20  # of a million files
_PIECE_BYTES = 4 * 2**20
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
SplitName = Literal["train", "validation", "test"]


def fold_name(fold: int) -> str:
    """The folder of what belongs to a fold, from 1: its model, its evaluation."""
    return f"fold-{fold}"


def file_name(number: int, stamp: str, digest: str) -> str:
    """Of a file of a split: tries to write the same file under one stamp do not differ in it."""
    return f"part-{number:05}-{stamp}{digest.removeprefix('sha256:')[:8]}{ROWS}"


def fold_folder(fold: int, stamp: str | None) -> str:
    """Where the dataset of a fold lies, below that of all."""
    return f"{fold_name(fold)}-{stamp}" if stamp else fold_name(fold)


class DataFile(Model):
    """A parquet file of the dataset."""

    name: str = Field(pattern=_NAME, description="In the split's folder.")
    rows: int
    bytes: int
    sha256: str


class SplitInfo(Model):
    """One split; a split without rows has no files."""

    rows: int
    files: list[DataFile]


class TokenCounts(Model):
    """The texts of a split."""

    documents: int
    bytes: int = Field(description="Of their UTF-8.")
    tokens: int = Field(description="That are predicted: those of the texts, and an end of each.")


class Tokens(Model):
    """A language model's dataset: of what ``input_ids``, lists of sequence_length + 1 tokens, are.

    ``length`` is how many of a row's are real; only the last row of a file has others, at its end.
    """

    tokenizer: str = Field(description="sha256 of tokenizer.json, beside the manifest.")
    vocab_size: int
    end_of_text: str
    end: int = Field(description="Its token.")
    chat_template: str | None = Field(
        None,
        description="Of conversations: sha256 of chat_template.jinja. Their rows also have "
        "``labels``: the tokens that are to be predicted, and -100.",
    )
    sequence_length: int
    splits: dict[SplitName, TokenCounts]

    @property
    def files(self) -> dict[str, str]:
        """Beside the manifest: their digests by name."""
        found = {TOKENIZER: self.tokenizer, TEMPLATE: self.chat_template}
        return {name: digest for name, digest in found.items() if digest is not None}


class Beside(NamedTuple):
    """A file beside the manifest: how people call it, its own name, and its digest."""

    plain: str
    name: str
    digest: str


# Of a row as it was read; dates are text.
RawValue = bool | int | float | str | None


class RawRows(Model):
    """Rows as they were before the steps that a server repeats, and what these made of them: what
    whoever applies the pipeline to other rows can prove himself by."""

    begin: int = Field(description="Steps that come before, since they make rows of several rows.")
    columns: dict[str, ColumnType] = Field(description="All that the rows had then.")
    needed: list[str] = Field(description="Those that features are made of.")
    split: SplitName = Field(
        description="Which the rows are of: test, if there is one that is not sealed."
    )
    rows: list[list[RawValue]] = Field(description="Values of the needed columns.")
    features: list[list[RawValue]] = Field(description="Of the same rows in the dataset.")


class DatasetManifest(Model):
    """``dataset/manifest.json``: the last file written, so that with it the dataset is complete."""

    version: Literal[1] = 1
    label: str = Field(description="The column that the task is about; of texts theirs.")
    task: Literal["classification", "regression", "languageModel"]
    features: list[str] = Field(description="Feature columns in the order of the network's inputs.")
    columns: dict[str, ColumnType] = Field(description="Every column and its type, in order.")
    classes: list[bool | int | float | str] | None = Field(
        None, description="Classification: the label's values, sorted; a class's index is its id."
    )
    splits: dict[SplitName, SplitInfo]
    pipeline: list[dict[str, Any]] = Field(
        default_factory=list,
        description="The steps with what was fitted on the training split: what inference repeats.",
    )
    tokens: Tokens | None = Field(None, description="languageModel.")
    folds: list[str] | None = Field(
        None,
        max_length=20,
        description="Digests of the datasets of the folds, in ``fold-1`` and so on. The test split "
        "of each is a fold of this one's training split.",
    )

    stamp: str | None = Field(
        None,
        max_length=64,
        pattern="^[0-9a-z]+$",
        description="In the names of what was written with it, so that nothing of another writer, "
        "or of an earlier dataset here, is overwritten.",
    )
    writer: str | None = Field(None, description="The run of a job that has written it.")
    sealed: str | None = Field(
        None,
        max_length=64,
        description="The test split is encrypted, by the key of this id. Unset: it is not.",
    )
    raw: RawRows | None = Field(
        None, description="Unset where the pipeline cannot be applied to single rows."
    )
    removed: bool | None = Field(
        None, description="Its files are gone: policy.retain did not keep them. Unset: no."
    )

    @property
    def digest(self) -> str:
        """sha256 of the manifest, which holds the sha256 of every file, but for what differs
        between two writings of the same: names, and which rows are shown. Without a stamp names
        are always the same, and such a digest was told by an earlier version: it counts them."""
        told = self.to_dict()
        told.pop("removed", None)
        if self.stamp is None:
            return digest_of(told)
        for name in ("stamp", "writer", "raw"):
            told.pop(name, None)
        for split in told["splits"].values():
            split["files"] = [{**file, "name": ""} for file in split["files"]]
        return digest_of(told)

    @property
    def parts(self) -> list[str]:
        """The folders of the datasets of folds."""
        return [fold_folder(fold, self.stamp) for fold in range(1, len(self.folds or ()) + 1)]

    @property
    def beside(self) -> list[Beside]:
        """The files of a language model's dataset that are no rows."""
        found = self.tokens.files if self.tokens is not None else {}
        return [Beside(plain, self._stamped(plain), digest) for plain, digest in found.items()]

    @property
    def tokenizer(self) -> str:
        """The name of the file that has the tokenizer."""
        return self._stamped(TOKENIZER)

    @property
    def chat_template(self) -> str | None:
        """That of the file that has the chat template, of conversations."""
        has = self.tokens is not None and self.tokens.chat_template is not None
        return self._stamped(TEMPLATE) if has else None

    def _stamped(self, name: str) -> str:
        stem, _, suffix = name.partition(".")
        return f"{stem}-{self.stamp}.{suffix}" if self.stamp else name

    @property
    def names(self) -> list[str]:
        """The files of the dataset, but for those of folds."""
        files = [f"{split}/{one.name}" for split, info in self.splits.items() for one in info.files]
        beside = [name for one in self.beside for name in (one.name, one.plain)]
        return [*files, MANIFEST, *beside]

    @property
    def text(self) -> str:
        """What ``manifest.json`` has."""
        # Python's own takes a second for thousands of columns.
        return to_json(self.to_dict(), indent=1, inf_nan_mode="constants").decode() + "\n"

    def write(self, folder: Path) -> None:
        """Write ``manifest.json`` into ``folder``."""
        (folder / MANIFEST).write_text(self.text, encoding="utf-8")

    def publish(self, new: storage.Publication, of_folds: Iterable[str] = ()) -> None:
        """Make the folder this dataset, whose files and those ``of_folds`` lie there.

        Raises StageFailure where another writer was first, and OSError."""
        if not new.commit(self.text, [*self.names, *of_folds]):
            raise _not_first(new.place, self.writer)
        # Own code may look into all of them.
        for folder in ("", *self.parts):
            for split in SPLITS:
                new.place.make(f"{folder}/{split}" if folder else split)

    @classmethod
    def read(cls, folder: Path) -> DatasetManifest:
        """Read it, which was brought; raises StageFailure(DatasetInvalid) when it is missing or not
        a manifest, or when a file that it names is missing or of another size, also of a fold's
        dataset."""
        manifest = cls.parse(folder)
        for one in manifest.beside:
            if _sha256(folder / one.name) != one.digest:
                raise _not_as_told(folder / one.name)
        files = {
            f"{split}/{file.name}": file.bytes
            for split, info in manifest.splits.items()
            for file in info.files
        }
        there = storage.sizes(folder, files)
        for name, size in files.items():
            if there.get(name) != size:
                raise _not_as_told(folder / name)
        for name in {*files, *manifest.splits}:
            if (folder / name).is_symlink():
                message = f"{storage.shown(folder / name)} is a link: a dataset has its own files"
                raise StageFailure("DatasetInvalid", message)
        for name, digest in zip(manifest.parts, manifest.folds or (), strict=True):
            of_fold = cls.read(folder / name)
            if of_fold.digest != digest or of_fold.folds:
                message = f"{storage.shown(folder / name)} is of another dataset"
                raise StageFailure("DatasetInvalid", message)
        return manifest

    @classmethod
    def parse(cls, folder: Path) -> DatasetManifest:
        """Read the manifest alone. Raises StageFailure(DatasetInvalid)."""
        path = folder / MANIFEST
        shown = storage.shown(path)
        try:
            found = path.lstat()
            if not S_ISREG(found.st_mode) or found.st_size > _MANIFEST_BYTES:
                raise StageFailure(
                    "DatasetInvalid", f"{shown} is no plain file of a manifest's size"
                )
            manifest = cls.model_validate_json(path.read_text(encoding="utf-8"))
            if manifest.removed:
                raise StageFailure("DatasetInvalid", _was_removed(folder))
            return manifest
        except FileNotFoundError as error:
            raise StageFailure("DatasetInvalid", _no_dataset(folder)) from error
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            message = f"{shown} is not a dataset manifest" + (f": see its {where}" if where else "")
            raise StageFailure("DatasetInvalid", message) from error
        except (OSError, UnicodeDecodeError) as error:
            raise StageFailure("DatasetInvalid", f"{shown} is not a dataset manifest") from error


def require(manifest: DatasetManifest, folder: Path) -> None:
    """Raises StageFailure(DatasetInvalid) unless it is the dataset that the job's status has."""
    wanted = os.environ.get(DATASET_DIGEST)
    if wanted and manifest.digest != wanted:
        message = (
            f"the dataset at {storage.shown(folder)} is not the one that preprocess has left: its "
            f"digest is {manifest.digest}, status has {wanted}: somebody has changed it since"
        )
        raise StageFailure("DatasetInvalid", message)


def verify(manifest: DatasetManifest, folder: Path, split: SplitName) -> None:
    """Read the files of a split: raises StageFailure(DatasetInvalid) for one whose content is not
    what its manifest says."""
    info = manifest.splits.get(split)
    for file in info.files if info is not None else ():
        path = folder / split / file.name
        opened = storage.source(path, file.bytes)
        with path.open("rb") if isinstance(opened, Path) else opened as content:
            found = hashlib.sha256()
            while some := content.read(_PIECE_BYTES):
                found.update(some)
        if f"sha256:{found.hexdigest()}" != file.sha256:
            raise _not_as_told(path)


def fetch(uri: str) -> None:
    """Bring a dataset with its rows, and nothing that others have left there or are writing; of
    what is none of ours all that is there. Raises StageFailure."""
    folder = storage.fetch(uri, but=ROWS)
    if not storage.is_copy(folder):
        return
    try:
        manifest = DatasetManifest.read(folder)
    except StageFailure:
        storage.fetch(uri)
        return
    storage.bring(folder, manifest.names)
    for part in manifest.parts:
        storage.bring(folder / part, DatasetManifest.read(folder / part).names)


def _not_first(place: storage.Place, mine: str | None) -> StageFailure:
    """Who was: an attempt of the same job that was taken for dead, or another job."""
    try:
        other = DatasetManifest.model_validate_json(place.read(MANIFEST)).writer
    except ValidationError:
        other = None
    # A run of a job that is asked for again is told apart by its first attempt.
    jobs = {(one or "")[:36] for one in (other, mine)}
    if other is None or len(jobs) == 1:
        return StageFailure(
            "StorageFailed", f"{place.where}: another attempt wrote the dataset at the same time"
        )
    return StageFailure(
        "StorageUnavailable",
        f"{place.where}: another job (uid {other}) wrote its dataset there at the same time: give "
        "each a name or a storage of its own",
    )


def _not_as_told(path: Path) -> StageFailure:
    message = f"{storage.shown(path)} is missing or not as its manifest says"
    return StageFailure("DatasetInvalid", message)


def _sha256(path: Path) -> str:
    return sha256(path) if path.is_file() else ""


def _was_removed(folder: Path) -> str:
    return (
        f"the dataset at {storage.shown(folder)} was removed when its job had ended, as that job's "
        "policy.retain.datasets says: have it written again, and keep what others read"
    )


def _no_dataset(folder: Path) -> str:
    """What lies where a manifest should."""
    names, place = storage.entries(folder), storage.shown(folder)
    if names is None:
        return f"there is no dataset at {place}: no such folder"
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    own = {re.split("[^a-z]", name.lower())[0] for name in names}
    hint = ": preprocess.split.files takes such splits" if "test" in own else ""
    return (
        f"there is no dataset at {place}: it has no {MANIFEST}, which a preprocess stage writes "
        f"({f'it has {shown}{hint}' if names else 'it is empty'})"
    )

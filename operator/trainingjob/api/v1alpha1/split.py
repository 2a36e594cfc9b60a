"""How rows are divided into training, validation and test."""

from __future__ import annotations

from functools import partial
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ..base import Model, Rule
from .common import Column, InputUri

Fraction = Annotated[float, Field(ge=0, le=0.9)]
HeldOut = Literal["test", "validation"]

# Where nobody says how large the splits are, nor which rows are in them.
SHARES: dict[HeldOut, float] = {"test": 0.2, "validation": 0.1}

_KINDS = ("by", "time", "column", "files")


def _any(*fields: str) -> str:
    """CEL: whether any of the fields is set."""
    return "(" + " || ".join(f"has(self.{field})" for field in fields) + ")"


def _cel_share(name: HeldOut) -> str:
    default = f"{_any('column', 'files', 'folds')} ? 0.0 : {SHARES[name]}"
    return f"(has(self.{name}) ? self.{name} : ({default}))"


def _has_no_parent(name: HeldOut, files: SplitFiles) -> bool:
    return ".." not in files.uris.get(name, "").split("/")


def _is_said_once(name: HeldOut, split: Split) -> bool:
    return getattr(split, name) is None or split.files is None or name not in split.files.uris


class SplitFiles(Model):
    """Files that hold splits; what `preprocess.input` names is for training."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.validation) || has(self.test)",
            message="validation or test must be set; what preprocess.input names is for training",
            holds=lambda self: bool(self.uris),
        ),
        *(
            Rule(
                cel=f"!has(self.{name}) || !self.{name}.split('/').exists(part, part == '..')",
                message=f"{name} must not contain '..'",
                holds=partial(_has_no_parent, name),
            )
            for name in SHARES
        ),
    )

    validation: InputUri | None = Field(
        None,
        description="The validation split: a file, a folder or a glob, as `preprocess.input.uri`.",
    )
    test: InputUri | None = Field(None, description="The test split, likewise.")

    @property
    def uris(self) -> dict[HeldOut, str]:
        """The URIs by the split that they hold."""
        found: dict[HeldOut, str | None] = {"validation": self.validation, "test": self.test}
        return {name: uri for name, uri in found.items() if uri is not None}


class Split(Model):
    """How rows are divided. Unless `by`, `time`, `column` or `files` is set, in a random order that
    comes from the seed and from each row as it was read (after the script, if there is one, and
    after the last `sql` step before the division), copies of a row each for itself. Neither the
    order of rows and files, nor the engine, nor a step that computes, renames or drops columns
    changes who goes where."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"{_cel_share('test')} + {_cel_share('validation')}"
            " <= 0.9000001",  # sums of fractions are not exact
            message="test and validation together must leave at least 0.1 for training",
            holds=lambda self: self.share("test") + self.share("validation") <= 0.9000001,
        ),
        Rule(
            cel=f"[{', '.join(f'has(self.{kind})' for kind in _KINDS)}].filter(x, x).size() <= 1",
            message=f"at most one of {', '.join(_KINDS)} must be set",
            holds=lambda self: sum(getattr(self, kind) is not None for kind in _KINDS) <= 1,
        ),
        Rule(
            cel="!has(self.seed) || !has(self.time)",
            message="seed has no effect with time, by which rows are in order; leave it out",
            holds=lambda self: self.seed is None or self.time is None,
        ),
        Rule(
            cel=f"!has(self.seed) || !{_any('column', 'files')} || {_any('test', 'validation')}",
            message="seed has no effect with column or files, unless test or validation is set: "
            "a share of the training rows that is drawn",
            holds=lambda self: self.seed is None or not self.given or self.draws,
        ),
        Rule(
            cel=f"!has(self.stratify) || !self.stratify || !{_any('time', 'column', 'files')}",
            message="stratify does not go with time, column or files, which say where rows go",
            holds=lambda self: not self.stratify or not (self.time is not None or self.given),
        ),
        Rule(
            cel=f"!has(self.rare) || self.rare != 'keepInTrain' || !{_any(*_KINDS)}",
            message="rare: keepInTrain moves rows to training, which by, time, column and files do "
            "not allow; with them, unset leaves rows where they are",
            holds=lambda self: self.rare != "keepInTrain" or self.drawn_by_row,
        ),
        Rule(
            cel=f"!has(self.folds) || !{_any('time', 'column', 'files')}",
            message="folds are drawn, by rows or by groups (by); they do not go with time, column "
            "or files, which say where rows go",
            holds=lambda self: self.folds is None or not (self.time is not None or self.given),
        ),
        *(
            Rule(
                cel=f"!has(self.{name}) || !has(self.files) || !has(self.files.{name})",
                message=f"{name} and files.{name} both say what the {name} split is; set one",
                holds=partial(_is_said_once, name),
            )
            for name in SHARES
        ),
    )

    # No defaults: whether a share was set must be seen.
    test: Fraction | None = Field(
        None,
        description="Share of rows held out for the evaluation; 0.2 when unset, but 0 with "
        "`folds`, and with `column` and `files`, of whose training rows it is a share that is "
        "drawn.",
    )
    validation: Fraction | None = Field(
        None, description="Share of rows for early stopping; 0.1 when unset, else as `test`."
    )
    seed: Annotated[int, Field(ge=0, le=2147483647)] | None = Field(
        None, description="Another seed, another division; 0 when unset."
    )
    stratify: bool | None = Field(
        None,
        description="Keep the label's distribution in every split (classification); with `by`, as "
        "far as groups allow.",
    )
    rare: Literal["keepInTrain", "drop", "fail"] | None = Field(
        None,
        description="What becomes of the rows of a class that is too rare to be in every split: "
        "all of them are for training, or dropped, either with a warning in status, or the job "
        "fails; `keepInTrain` when unset. With `by`, `time`, `column` or `files` they stay where "
        "they are when unset, with a warning.",
    )
    by: Annotated[list[Column], Field(min_length=1, max_length=16)] | None = Field(
        None,
        description="Rows of equal values in these columns stay together, say all of one patient: "
        "groups are drawn, until the shares are as near to what is asked as groups allow. No "
        "value must be null. A column that a step has dropped counts as it was read.",
    )
    time: Column | None = Field(
        None,
        description="The latest rows by this column (a date, a timestamp or a number) are the test "
        "split, those before them the validation split, the others are for training; rows of the "
        "same time stay together. No value must be null. If a step has dropped it, it counts as it "
        "was read.",
    )
    column: Column | None = Field(
        None,
        description="A column that says where each row goes: `train` (`training`), `validation` "
        "(`val`, `valid`, `dev`) or `test` (`testing`), in letters of any case. It is no feature.",
    )
    files: SplitFiles | None = Field(
        None,
        description="Files that hold the test split, the validation split or both; what "
        "`preprocess.input` names is for training. All of them are read alike.",
    )

    folds: Annotated[int, Field(ge=2, le=20)] | None = Field(
        None,
        description="Cross-validation: the rows that are in neither the test nor the validation "
        "split are divided into so many folds, with `stratify` each class, with `by` each group as "
        "a whole. For each fold a model is trained on the others, steps that learn included, and "
        "judged on it: metrics are the mean over the folds, and have a deviation. The model that "
        "the job leaves is trained on all folds.",
    )

    @property
    def given(self) -> bool:
        """Whether the data says of each row where it goes."""
        return self.column is not None or self.files is not None

    @property
    def draws(self) -> bool:
        """Whether a share is set."""
        return self.test is not None or self.validation is not None

    @property
    def drawn_by_row(self) -> bool:
        """Whether each row is drawn for itself: any may as well be in another split."""
        return self.by is None and self.time is None and not self.given

    @property
    def columns(self) -> list[str]:
        """The columns that rows are divided by, sorted."""
        named = (*(self.by or ()), self.time, self.column)
        return sorted({name for name in named if name is not None})

    def share(self, name: HeldOut) -> float:
        """The share that is drawn: of all rows, or of those that were given for training."""
        share = self.test if name == "test" else self.validation
        if share is not None:
            return share
        return 0.0 if self.given or self.folds is not None else SHARES[name]

    def asks(self, name: HeldOut) -> bool:
        """Whether a split must have rows."""
        in_files = self.files is not None and name in self.files.uris
        return in_files or self.share(name) > 0

    def may_have(self, name: HeldOut) -> bool:
        """Whether there may be rows in a split, as far as can be known beforehand."""
        return self.column is not None or self.asks(name)


def cel_may_have(name: HeldOut, split: str) -> str:
    """The same in CEL, where ``split`` is the split."""
    files = f"(has({split}.files) && has({split}.files.{name}))"
    none = f"has({split}.files) || has({split}.folds)"
    share = f"(has({split}.{name}) ? {split}.{name} > 0.0 : !({none}))"
    return f"(has({split}.column) || {files} || {share})"

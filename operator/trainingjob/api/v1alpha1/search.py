"""A search for the settings by which a built-in model learns best."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints, ValidationError

from ..base import Model, Rule
from ..paths import shown
from ..walk import child_type, plain_type
from .patterns import TRAIN_FIELD
from .steps import Scalar

# What a field of train begins with whose values the validation loss can compare: it is in the
# unit that targetTransform gives it, and without the weights of rows and classes. The rest of train
# is how, and not what, is learned.
SEARCHED = ("model", "optimizer", "schedule", "epochs", "batchSize", "gradientClip", "ema")
# Pods mount it, before any trial.
_GIVEN = "model.pretrained.uri"
_PART = re.compile(r"[A-Za-z][A-Za-z0-9]*|[0-9]+")

# The fields have bounds of their own.
Limit = Annotated[float, Field(ge=-1e9, le=1e9)]
Setting = bool | int | float | str


class Parameter(Model):
    """A field of `train`, and what it may be: one of `values`, or all from `min` to `max`."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=None,
            message="either values, or min and max, must be set",
            holds=lambda self: (self.values is None) == (self.min is not None),
            schema={
                "oneOf": [
                    {"required": ["values"], "not": {"required": ["min"]}},
                    {"required": ["min"], "not": {"required": ["values"]}},
                ]
            },
        ),
        Rule(
            cel="has(self.min) == has(self.max) && (!has(self.min) || self.min < self.max)",
            message="min and max belong together, and min must be less than max",
            holds=lambda self: (
                (self.min is None) == (self.max is None)
                and (self.min is None or self.min < self.max)
            ),
        ),
        Rule(
            cel="!has(self.log) || (has(self.min) && (!self.log || self.min > 0.0))",
            message="log needs min and max, and a min above 0",
            holds=lambda self: (
                self.log is None or (self.min is not None and (not self.log or self.min > 0))
            ),
        ),
    )

    field: Annotated[str, StringConstraints(max_length=128, pattern=TRAIN_FIELD)] = Field(
        description="Its path below `train`: `optimizer.adam.learningRate`, `batchSize`, "
        "`model.mlp.hidden[0]`."
    )
    values: Annotated[list[Scalar], Field(min_length=1, max_length=16)] | None = Field(
        None, description="All that it may be."
    )
    min: Limit | None = Field(None, description="The least that it may be.")
    max: Limit | None = Field(None, description="The most that it may be.")
    log: bool | None = Field(
        None, description="Try as many from 0.001 to 0.01 as from 0.01 to 0.1."
    )


class Search(Model):
    """Train again and again, each time with other settings, and keep the model whose validation
    loss is lowest."""

    trials: Annotated[int, Field(ge=1, le=1000)] = Field(
        description="How many settings are tried, one after the other, each by the whole gang."
    )
    parameters: Annotated[list[Parameter], Field(min_length=1, max_length=8)] = Field(
        description="What is tried."
    )
    algorithm: Literal["tpe", "random"] | None = Field(
        None,
        description="How settings are chosen: near those that were good before (optuna's "
        "tree-structured Parzen estimator), or by chance; `tpe` when unset.",
    )
    prune: bool | None = Field(
        None,
        description="Networks: end a trial early whose lowest validation loss is above the median "
        "of those that five or more trials before it had after as many epochs; true when unset.",
    )


def applied(train: dict[str, Any], settings: Mapping[str, Setting]) -> dict[str, Any]:
    """The object, as in YAML, with other values at these paths; a copy.

    Raises ValueError for a place that it cannot have.
    """
    found = deepcopy(train)
    for field, value in settings.items():
        *above, last = _parts(field)
        node: Any = found
        for part in above:
            node = _child(node, part, field)
        if not isinstance(last, str) or not isinstance(node, dict):
            _child(node, last, field)
        node[last] = value
    return found


def whole_numbers(train: type[Model], field: str) -> bool:
    """Whether a field of the class takes no others."""
    kind: Any = train
    for part in _parts(field):
        kind = child_type(kind, part)
    return plain_type(kind) is int


def check(train: Model, search: Search) -> bool:
    """Whether each setting alone is one that ``train`` takes: raises ValueError, in words, for the
    first that is none."""
    given = train.to_dict()
    del given["search"]
    for parameter in search.parameters:
        field = parameter.field
        if field.partition(".")[0].partition("[")[0] not in SEARCHED or field == _GIVEN:
            raise ValueError(
                f"search: {field} cannot be searched for: {', '.join(SEARCHED)} and below can"
            )
        for value in ends(type(train), parameter):
            try:
                type(train).model_validate(applied(given, {field: value}), by_name=False)
            except ValidationError as error:
                raise ValueError(
                    f"search: {field} cannot be {shown(value)}: {_words(error)}"
                ) from None
    return True


def ends(train: type[Model], parameter: Parameter) -> list[Setting]:
    """All values of a parameter, or the least and the most. Raises ValueError for limits of whole
    numbers that are none."""
    if parameter.values is not None:
        return list(parameter.values)
    assert parameter.min is not None and parameter.max is not None
    limits = [parameter.min, parameter.max]
    if not whole_numbers(train, parameter.field):
        return list(limits)
    if not all(limit.is_integer() for limit in limits):
        raise ValueError(f"search: {parameter.field} takes whole numbers: so must min and max be")
    return [int(limit) for limit in limits]


def _words(error: ValidationError) -> str:
    why = error.errors(include_url=False)[0]
    if why["type"] == "extra_forbidden":
        return f"there is no field {why['loc'][-1]}"
    words = why["msg"].removeprefix("Value error, ")
    return words[:1].lower() + words[1:]


def _parts(field: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in _PART.findall(field)]


def _child(node: Any, part: str | int, field: str) -> Any:
    """What is there, or an object that is put there."""
    if isinstance(part, int):
        if not isinstance(node, list) or part >= len(node):
            raise ValueError(f"search: {field}: the list in train has no [{part}]")
        return node[part]
    if not isinstance(node, dict):
        raise ValueError(f"search: {field}: there is nothing below it")
    return node.setdefault(part, {})

"""The types of the models' fields, as the CRD, the reference and the error messages need them."""

from __future__ import annotations

import types
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel


def plain_type(kind: Any) -> Any:
    """A type without Annotated and without None."""
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
            continue
        some = [arg for arg in members(kind) if arg is not type(None)]
        if len(some) == 1 and some[0] is not kind:
            kind = some[0]
            continue
        return kind


def members(kind: Any) -> tuple[Any, ...]:
    """The types of a union; of anything else, itself."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def is_model(kind: Any) -> bool:
    """Whether a plain type is one of our objects."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def fields_of(kind: Any) -> dict[str, Any]:
    """Type by field, by the names that fields have in YAML; empty for what is not a model."""
    kind = plain_type(kind)
    if not is_model(kind):
        return {}
    return {field.alias or name: field.annotation for name, field in kind.model_fields.items()}


def child_type(kind: Any, part: int | str) -> Any:
    """The type of a field, item or entry; None where there is nothing (known) below."""
    kind = plain_type(kind)
    if get_origin(kind) in (list, dict):
        return get_args(kind)[-1]
    return fields_of(kind).get(str(part))

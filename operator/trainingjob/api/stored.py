"""Reading an object as the API server holds it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from .errors import problems
from .v1alpha1 import ObjectMeta, Status, TrainingJob

_MOST_PROBLEMS = 3


@dataclass(frozen=True)
class Unreadable:
    """An object that the CRD in force let pass and that this version does not understand.

    ``status`` is None when it is the status that cannot be read: then better not touch it.
    """

    metadata: ObjectMeta
    status: Status | None
    message: str


def read_stored(data: bytes) -> TrainingJob | Unreadable:
    """The job. Raises nothing for whatever an API server can hold of our kind."""
    try:
        return TrainingJob.model_validate_json(data, by_alias=True, by_name=False)
    except ValidationError as error:
        told = problems(error)
        words = "; ".join(map(str, told[:_MOST_PROBLEMS]))
        more = len(told) - _MOST_PROBLEMS
        obj = json.loads(data)
        return Unreadable(
            _metadata(obj["metadata"]),
            _status(obj.get("status")),
            words + (f"; and {more} more" if more > 0 else ""),
        )


def _metadata(meta: dict[str, Any]) -> ObjectMeta:
    # Not validated: a name that is too long for us is what may be wrong with it.
    return ObjectMeta.model_construct(
        name=meta["name"],
        namespace=meta["namespace"],
        uid=meta["uid"],
        generation=meta.get("generation", 1),
    )


def _status(status: object) -> Status | None:
    if status is None:  # nobody has worked on it yet
        return Status()
    try:
        return Status.model_validate(status, by_alias=True, by_name=False)
    except ValidationError:
        return None

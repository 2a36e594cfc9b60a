"""The base of every API model, and rules that hold in Python and in the API server alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, model_validator


def camel(name: str) -> str:
    """A field's name in YAML; pydantic's own would write log1P."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


@dataclass(frozen=True)
class Rule:
    """A cross-field rule: ``cel`` for the API server, ``holds`` for pydantic, one ``message``.

    ``cel`` sees the object as ``self``, as in ``x-kubernetes-validations``. It does not see fields
    of several types: a rule about these is a ``schema`` for the server, and not ``cel``. One that
    has neither is checked by the operator alone. ``about``: what there is to add about an object
    that breaks it, which the server cannot say.
    """

    cel: str | None
    message: str
    holds: Callable[[Any], bool]
    schema: dict[str, Any] | None = None
    about: Callable[[Any], str] | None = None


class Plain(BaseModel):
    """Strict, closed, immutable. Without rules: of what is made a hundred times for a job, as its
    status is, each would cost a call to find that there are none."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=camel,
        populate_by_name=True,
        allow_inf_nan=False,
    )
    # Fields (Python names) that the API server lets nobody change, add or remove later on.
    immutable: ClassVar[tuple[str, ...]] = ()
    # Of an immutable object: the fields that may change while the job is suspended.
    resumable: ClassVar[tuple[str, ...]] = ()
    # Whether the CRD leaves what is in the object to the operator, which refuses in words what the
    # API server takes. For what stands in the CRD many times and is as Kubernetes has it in pods.
    outlined: ClassVar[bool] = False

    def to_dict(self) -> dict[str, Any]:
        """The object as it stands in YAML: camelCase names, nothing that is unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Model(Plain):
    """With rules: what the API server would refuse, we refuse."""

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        for rule in type(self).rules:
            if not rule.holds(self):
                raise ValueError(rule.message + (rule.about(self) if rule.about else ""))
        return self


def exactly_one_of(*fields: str) -> Rule:
    """A rule: exactly one of the optional fields (Python names) is set."""
    names = [camel(field) for field in fields]
    return Rule(
        cel=f"[{', '.join(f'has(self.{name})' for name in names)}].filter(x, x).size() == 1",
        message=f"exactly one of {', '.join(names)} must be set",
        holds=lambda self: sum(getattr(self, field) is not None for field in fields) == 1,
    )

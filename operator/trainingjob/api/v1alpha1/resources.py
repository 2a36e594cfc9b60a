"""What a container asks for, in quantities as Kubernetes writes them."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from ..base import Model, Rule
from .patterns import QUANTITY, RESOURCE, keys_match

Quantity = (
    Annotated[str, StringConstraints(max_length=32, pattern=QUANTITY)]
    | Annotated[int, Field(ge=0, le=10**18)]
)
Quantities = Annotated[dict[str, Quantity], Field(max_length=32)]

_UNITS = {
    "": 1,
    "m": Fraction(1, 1000),
    **{unit: 1000**power for power, unit in enumerate("kMGTP", 1)},
    **{f"{unit}i": 1024**power for power, unit in enumerate("KMGTP", 1)},
}
_LARGEST = 2**63 - 1


def amount(quantity: str | int) -> Fraction:
    """A quantity as Kubernetes reads it: in whole billionths, upwards, and not beyond 64 bits."""
    if isinstance(quantity, int):
        return Fraction(quantity)
    number = quantity.rstrip("mkiKMGTP")
    exact = Fraction(number) * _UNITS[quantity[len(number) :]]
    return min(Fraction(math.ceil(exact * 10**9), 10**9), Fraction(_LARGEST))


# Of these a node may promise more than it has. Devices and huge pages are counted in whole pieces.
_ELASTIC = ("cpu", "memory", "ephemeral-storage")


def _limited(resources: Resources) -> bool:
    limits = resources.limits or {}
    return all(
        amount(requested) <= amount(limits[name])
        for name, requested in (resources.requests or {}).items()
        if name in limits
    )


def _pieces_equal(resources: Resources) -> bool:
    limits = resources.limits or {}
    return all(
        name in _ELASTIC or (name in limits and amount(requested) == amount(limits[name]))
        for name, requested in (resources.requests or {}).items()
    )


def _pieces_whole(resources: Resources) -> bool:
    return all(
        name in _ELASTIC or isinstance(limit, int) or not {".", "m"} & {*limit}
        for name, limit in (resources.limits or {}).items()
    )


_CEL_ELASTIC = "k in [{}]".format(", ".join(f"'{name}'" for name in _ELASTIC))
_CEL_COMPARED = "quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k])))"


class Resources(Model):
    """What a container asks for, as in a pod."""

    rules: ClassVar[tuple[Rule, ...]] = (
        *(
            keys_match(
                field,
                RESOURCE,
                f"{field} must have resources as keys: cpu, memory, ephemeral-storage, "
                "hugepages-SIZE or, of devices, DOMAIN/NAME",
            )
            for field in ("requests", "limits")
        ),
        Rule(
            cel="!has(self.requests) || !has(self.limits) || "
            f"self.requests.all(k, !(k in self.limits) || {_CEL_COMPARED} <= 0)",
            message="requests must not be above limits",
            holds=_limited,
        ),
        Rule(
            cel=f"!has(self.requests) || self.requests.all(k, {_CEL_ELASTIC} || "
            f"(has(self.limits) && k in self.limits && {_CEL_COMPARED} == 0))",
            message="requests of devices and huge pages must be equal to limits; "
            "limits alone will do",
            holds=_pieces_equal,
        ),
        Rule(
            cel=f"!has(self.limits) || self.limits.all(k, {_CEL_ELASTIC} || "
            "!string(self.limits[k]).matches('[.m]'))",
            message="limits of devices and huge pages must be whole numbers",
            holds=_pieces_whole,
        ),
        Rule(
            cel="!has(self.limits) || !self.limits.exists(k, k.startsWith('hugepages-')) || "
            "['cpu', 'memory'].exists(k, k in self.limits || "
            "(has(self.requests) && k in self.requests))",
            message="huge pages need cpu or memory beside them",
            holds=lambda self: (
                not any(name.startswith("hugepages-") for name in self.limits or ())
                or bool({"cpu", "memory"} & {*(self.limits or ()), *(self.requests or ())})
            ),
        ),
    )

    requests: Quantities | None = Field(None, description="Guaranteed amounts, by resource name.")
    limits: Quantities | None = Field(
        None, description="Upper bounds, by resource name; GPUs (`nvidia.com/gpu`) go here."
    )

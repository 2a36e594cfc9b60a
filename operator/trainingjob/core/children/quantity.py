"""Kubernetes' quantities as numbers.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

from decimal import Decimal

_UNITS = {
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
}


def number(quantity: str | int) -> Decimal:
    """The quantity's value. Raises ValueError or decimal's errors for what is none."""
    text = str(quantity)
    digits = text.rstrip("mkMGTPi")
    unit = text[len(digits) :]
    return Decimal(digits) * (_UNITS[unit] if unit else 1)


def cores(quantity: str | int) -> float:
    """CPUs."""
    return float(number(quantity))


def mebibytes(quantity: str | int) -> float:
    """Memory in MiB."""
    return float(number(quantity) / 2**20)

"""Which forms of an accepted model may be used, for the operator and the pods alike."""

from __future__ import annotations

from collections.abc import Iterable

from .v1alpha1.reported import Variant


def unavailable(name: str, judged: Iterable[Variant]) -> str:
    """In words, why a form of the model may not be used, and which may; "" when it may."""
    found = {one.name: one for one in judged}
    if name in found and found[name].accepted:
        return ""
    words = f"variant {name} was not made when the model was judged"
    if name in found:
        words = f"variant {name} was refused: {found[name].message}"
    rest = ", ".join(one.name for one in found.values() if one.accepted)
    return f"{words}; there is {rest or 'no other variant'}, and the model itself"

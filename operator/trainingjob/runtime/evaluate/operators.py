"""Which operators a program that is judged may call.

torch has some two thousand. What they have in common is that they are called with a model's
numbers; a few read files, change memory that is not theirs or trust an index that they are given.
Allowed are those that torch itself counts to its core, or can write as operators of its core
(``torch.export.default_decompositions``, composite operators), and a few that check what they get.
"""

from __future__ import annotations

import re
from functools import cache

import torch
from torch.export import default_decompositions

_ALSO = re.compile(
    r"lift_fresh_copy|copy|detach|alias|_assert_\w+|sym_constrain_range(_for_size)?"
    r"|_unsafe_view|unsafe_(split|split_with_sizes|chunk)"  # unsafe for gradients alone
    r"|unfold|masked_select|bucketize|searchsorted|histc|bincount|repeat_interleave"
)
# They trust indices, or give or take memory as it is. Some of them are in the core.
# Gradients among them, which nothing that is judged needs.
_NEVER = re.compile(
    r"\w*unsafe\w*|(new_)?empty\w*|resize\w*|set_?|set_data|segment_reduce|\w*sparse\w*"
    r"|\w*backward\w*|ctc_loss|_pad_packed_sequence|_thnn\w*|fbgemm\w*|_test\w*|_cufft\w*"
    r"|\w*quantize\w*"
)
_OTHERS = re.compile(
    r"torch\.ops\.higher_order\.(cond|while_loop|scan|map_impl|wrap_with_autocast"
    r"|wrap_with_set_grad_enabled)"
    r"|torch\.ops\.prims\.convert_element_type\.default"
    r"|torch\.sym_[a-z]+"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_|getitem)"
    r"|math\.(trunc|ceil|floor|sqrt|pow|exp|log)"
)
_ATEN = re.compile(r"torch\.ops\.aten\.(?P<name>\w+)(\.\w+)?")


def is_allowed(target: str) -> bool:
    """Whether a node may call what its archive names so: ``torch.ops.aten.add.Tensor``."""
    if _OTHERS.fullmatch(target):
        return True
    found = _ATEN.fullmatch(target)
    return found is not None and _aten_is_allowed(found["name"])


@cache
def _aten_is_allowed(name: str) -> bool:
    # relu_ is relu in place.
    plain = name.removesuffix("_") if not name.endswith("__") else name
    if _ALSO.fullmatch(plain):
        return True
    return plain in _core() and not _NEVER.fullmatch(name)


@cache
def _core() -> frozenset[str]:
    """Names of operators that are, or can be written as, torch's core."""
    names = set()
    for overload in default_decompositions():
        names.add(overload.name().removeprefix("aten::").partition(".")[0])
    for full in torch._C._dispatch_get_all_op_names():
        if not full.startswith("aten::"):
            continue
        name, _, overload = full.removeprefix("aten::").partition(".")
        composite = torch._C._dispatch_has_kernel_for_dispatch_key(
            full, "CompositeImplicitAutograd"
        )
        if composite or _has_core_tag(name, overload):
            names.add(name)
    return frozenset(names)


def _has_core_tag(name: str, overload: str) -> bool:
    found = getattr(getattr(torch.ops.aten, name, None), overload or "default", None)
    return isinstance(found, torch._ops.OpOverload) and torch.Tag.core in found.tags

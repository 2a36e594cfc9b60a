"""Rules of the spec across its parts, by subject."""

from __future__ import annotations

from ...base import Rule
from . import judging, language, sealed, serving, split, stages, storage, task

# The CRD has them in this order, and of several broken ones `validate` tells the first.
RULES: tuple[Rule, ...] = (
    *stages.RULES,
    split.STRATIFIED,
    *storage.RULES,
    *judging.RULES,
    *split.RULES,
    *language.RULES,
    *serving.RULES,
    *task.RULES,
    *sealed.rules(),
)

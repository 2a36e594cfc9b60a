"""What libraries load unasked."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType


@dataclass
class _Without:
    """A finder of modules, before all others, that knows one not to be there."""

    module: str

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> None:
        if name == self.module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@contextmanager
def without(module: str) -> Iterator[None]:
    """Within, ``module`` is not installed for those that do without it; no effect when it is
    loaded already."""
    finder = _Without(module)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)

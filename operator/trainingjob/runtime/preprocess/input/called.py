"""What an input is called in the manifest: messages name the field that somebody is to set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_NAME: ContextVar[str] = ContextVar("input", default="preprocess.input")


@contextmanager
def called(name: str) -> Iterator[None]:
    """What is read in the block is the input ``name``, such as predict.input."""
    before = _NAME.set(name)
    try:
        yield
    finally:
        _NAME.reset(before)


def field(name: str) -> str:
    """A field of the input that is read, such as options.header, as the manifest has it."""
    return f"{_NAME.get()}.{name}"

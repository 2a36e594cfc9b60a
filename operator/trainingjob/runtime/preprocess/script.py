"""The user's own code, run before the steps."""

from __future__ import annotations

from trainingjob.api.payload import PreprocessPayload

from .frame import Engine, Frame


def run(engine: Engine, frame: Frame, payload: PreprocessPayload) -> Frame:
    """Run it."""
    raise NotImplementedError

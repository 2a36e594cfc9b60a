"""A look at what a language model has learned: ``python -m trainingjob.runtime.model.generate``.

Reads a ``Request`` as JSON from standard input, and prints what the model goes on with.
"""

from __future__ import annotations

import sys
from contextlib import closing

from trainingjob.api.base import Model

from ..base.errors import StageFailure
from ..storage import fetch
from .check import require
from .generation import Options, Writer


class Request(Model):
    """``chat``: the text is what a user says, and an answer is asked for. ``tokens``: at most so
    many; ``temperature`` 0 takes the most likely one."""

    uri: str
    text: str
    chat: bool
    tokens: int
    temperature: float
    seed: int


def main() -> int:
    """The process's exit code."""
    request = Request.model_validate_json(sys.stdin.read())
    try:
        sys.stdout.write(f"{generated(request)}\n")
    except StageFailure as failure:
        sys.stderr.write(f"{failure.message}\n")
        return 1
    return 0


def generated(request: Request) -> str:
    """The text and what follows it, or the answer alone.

    Raises StageFailure(ModelMissing, ModelCorrupt, SettingUnsuitable)."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = fetch(request.uri)
    require(folder, texts=True)
    writer = Writer(folder)
    with closing(writer):
        try:
            if request.chat:
                ids = writer.conversation([{"role": "user", "content": request.text}])
            else:
                ids = writer.text(request.text)
            options = _options(request, len(ids), writer.limit)
            text = "".join([piece.text for piece in writer.pieces(ids, options)])
        except ValueError as error:
            what = "chat template" if request.chat else "tokenizer"
            raise StageFailure(
                "ModelCorrupt", f"the model's {what} makes nothing of the text: {error}"
            ) from error
    return text.strip() if request.chat else request.text + text


def _options(request: Request, there: int, limit: int | None) -> Options:
    """For a text of so many tokens, of a model that takes ``limit``."""
    room = request.tokens if limit is None else min(request.tokens, limit - there)
    if room < 1:
        raise StageFailure(
            "SettingUnsuitable",
            f"the text has {there} tokens, and the model takes at most {limit} at once",
        )
    return Options(room, request.temperature, seed=request.seed)


if __name__ == "__main__":
    sys.exit(main())

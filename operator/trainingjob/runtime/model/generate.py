"""A look at what a language model has learned: ``python -m trainingjob.runtime.model.generate``.

Reads a ``Request`` as JSON from standard input, and prints what the model goes on with.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from trainingjob.api.base import Model

from ..base import templates
from ..base.errors import StageFailure
from ..storage import fetch
from . import transformer
from .check import require


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
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tool = _tokenizer(folder)
    model = transformer.load(folder, None, device)
    ids = _asked(tool, request)
    limit = getattr(model.config, "max_position_embeddings", None)
    room = request.tokens if limit is None else min(request.tokens, limit - len(ids))
    if room < 1:
        raise StageFailure(
            "SettingUnsuitable",
            f"the text has {len(ids)} tokens, and the model takes at most {limit} at once",
        )
    sampled: dict[str, Any] = {"do_sample": False}
    if request.temperature > 0:
        torch.manual_seed(request.seed)
        sampled = {"do_sample": True, "temperature": request.temperature}
    with torch.inference_mode():
        there = torch.tensor([ids], device=device)
        mask = torch.ones_like(there)
        made = model.generate(there, attention_mask=mask, max_new_tokens=room, **sampled)
    text = tool.decode(made[0, len(ids) :].tolist(), skip_special_tokens=True)
    return text.strip() if request.chat else request.text + text


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        words = " ".join(str(error).split())[:300]
        raise StageFailure(
            "ModelCorrupt", f"the tokenizer in {folder} cannot be loaded: {words}"
        ) from error


def _asked(tool: Any, request: Request) -> list[int]:
    """What the model goes on from. As in training, an end of text is before a text."""
    if not request.chat:
        begin = [] if tool.eos_token_id is None else [tool.eos_token_id]
        return [*begin, *tool(request.text, add_special_tokens=False)["input_ids"]]
    said = [{"role": "user", "content": request.text}]
    try:
        if not isinstance(tool.chat_template, str):
            raise ValueError("it has none")
        special = {name: str(token) for name, token in tool.special_tokens_map.items()}
        text, _ = templates.render(said, tool.chat_template, special, prompt=True)
    except ValueError as error:
        raise StageFailure(
            "ModelCorrupt", f"the model's chat template makes nothing of the text: {error}"
        ) from error
    return list(tool(text, add_special_tokens=False)["input_ids"])


if __name__ == "__main__":
    sys.exit(main())

"""What a language model goes on with: token by token, by its own weights and tokenizer."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..base import bounded, templates
from ..base.errors import StageFailure
from ..base.text import one_line
from . import transformer
from .tokenizer import Tokenizer

# What a decoder makes of bytes that are no whole character yet.
_BROKEN = "\ufffd"
# Tokens that a character may take, and by which the text of the next one is known.
_CONTEXT = 8


class Options(NamedTuple):
    """``tokens``: at most so many; ``temperature`` 0 takes the most likely one each time, else the
    least set of most likely ones whose probabilities are ``top_p`` together is drawn from (Holtzman
    et al., 2020). The same ``seed`` gives the same tokens."""

    tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None


class Piece(NamedTuple):
    """Of a text that is generated: what is new, of how many tokens all of it is, and at the end why
    it ends there."""

    text: str
    tokens: int
    reason: Literal["stop", "length"] | None = None


class Writer:
    """The model in a folder, as ``transformers`` loads it.

    Raises StageFailure(ModelCorrupt)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.model = transformer.load(folder, None)
        ends = self.model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        self._ends = frozenset(ends)
        # Two processes, so that a prompt that takes long keeps no text of others from going on.
        self._lock = threading.Lock()
        self._reader, self._teller = (_tokenizer(folder, next(iter(ends), None)) for _ in range(2))
        # By the name that this version of transformers has for it.
        known = inspect.signature(type(self.model).forward).parameters
        self._cache = "cache" if "cache" in known else "past_key_values"
        # Of a prompt and what follows it; None where the model does not say.
        self.limit: int | None = getattr(self.model.config, "max_position_embeddings", None)

    @property
    def answers(self) -> bool:
        """Whether it has a chat template."""
        return self._reader.template is not None

    def text(self, text: str) -> list[int]:
        """The tokens of a text to go on with: as in training, an end of text is before it, and what
        is written like one is text. Raises ValueError, in words."""
        begin = [] if self._reader.end is None else [self._reader.end]
        return begin + self._encoded(text, special=False)

    def conversation(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Those of messages that an answer is asked for. Raises ValueError, in words."""
        tool = self._reader
        if tool.template is None:
            raise ValueError("it has none")
        text, _ = templates.render(messages, tool.template, tool.special, prompt=True)
        return self._encoded(text, special=True)

    def _encoded(self, text: str, *, special: bool) -> list[int]:
        try:
            with self._lock:
                return self._reader.encode(text, special=special)
        except (bounded.TooMuch, bounded.Refused) as error:
            raise ValueError(f"the model's tokenizer makes nothing of it: {error}") from error

    def tokens(self, ids: Sequence[int], options: Options) -> Iterator[int]:
        """What follows ``ids``, until the model ends it, which is told by no token."""
        from transformers import DynamicCache

        device = self.model.device
        chance = torch.Generator()
        if options.seed is None:
            chance.seed()
        else:
            chance.manual_seed(options.seed)
        asked = torch.tensor([ids], device=device)
        # What was computed of the tokens before, which the model itself adds to.
        held = {self._cache: DynamicCache(config=self.model.config)}
        for _ in range(options.tokens):
            # Not around the loop: others take turns with it.
            with torch.inference_mode():
                given = self.model(input_ids=asked, use_cache=True, **held)
                token = _drawn(given.logits[0, -1].float().cpu(), options, chance)
            if token in self._ends:
                return
            yield token
            asked = torch.tensor([[token]], device=device)

    def pieces(
        self, ids: Sequence[int], options: Options, stops: Sequence[str] = ()
    ) -> Iterator[Piece]:
        """The text behind ``ids``, a piece a token and one more, until one of ``stops`` is in it.
        Raises ValueError, in words."""
        text = Text(self._decoded, ids, stops)
        made = 0
        for token in self.tokens(ids, options):
            made += 1
            yield Piece(text.add(token), made)
            if text.stopped:
                break
        rest = text.rest()
        ended = text.stopped or made < options.tokens
        yield Piece(rest, made, "stop" if ended else "length")

    def _decoded(self, ids: Sequence[int]) -> str:
        try:
            return self._teller.decode(ids)
        except (bounded.TooMuch, bounded.Refused) as error:
            raise ValueError(f"the model's tokenizer makes no text of tokens: {error}") from error

    def close(self) -> None:
        """Let go of the tokenizer's processes."""
        with self._lock:
            self._reader.close()
        self._teller.close()


def _tokenizer(folder: Path, end: int | None) -> Tokenizer:
    try:
        return Tokenizer(folder, end)
    except (OSError, ValueError, bounded.TooMuch, bounded.Refused) as error:
        raise StageFailure(
            "ModelCorrupt", f"the tokenizer in {folder} cannot be loaded: {one_line(error)[:300]}"
        ) from error


def _drawn(logits: Tensor, options: Options, chance: torch.Generator) -> int:
    if options.temperature == 0:
        return int(logits.argmax())
    # Of very small temperatures the least one that is a float32 other than 0 stays.
    shares = torch.softmax((logits - logits.max()) / max(options.temperature, 1e-6), dim=-1)
    if options.top_p < 1:
        ordered, places = shares.sort(descending=True)
        before = ordered.cumsum(0) - ordered
        shares = torch.zeros_like(shares).scatter(
            0, places, torch.where(before < options.top_p, ordered, 0.0)
        )
    return int(torch.multinomial(shares, 1, generator=chance))


class Text:
    """The text of tokens as they come behind those of a prompt, until one of ``stops`` is in it."""

    def __init__(
        self, decoded: Callable[[Sequence[int]], str], prompt: Sequence[int], stops: Sequence[str]
    ) -> None:
        self._decoded, self._stops = decoded, stops
        # Some tokens have a blank only behind others.
        self._ids = [*prompt[-_CONTEXT:]]
        self._from, self._read = 0, len(self._ids)  # where the context begins, and what is new
        self._held = ""
        self.stopped = False

    def add(self, token: int) -> str:
        """What can be told now: all but half a character, and what may become a stop."""
        self._ids.append(token)
        decoded = self._decoded
        before, now = decoded(self._ids[self._from : self._read]), decoded(self._ids[self._from :])
        if now.endswith(_BROKEN) and len(self._ids) - self._read < _CONTEXT:
            return ""
        self._from, self._read = self._read, len(self._ids)
        return self._told(now[len(before) :])

    def rest(self) -> str:
        """What is left at the end."""
        before = self._decoded(self._ids[self._from : self._read])
        left = self._told(self._decoded(self._ids[self._from :])[len(before) :])
        if self.stopped:
            return left
        held, self._held = self._held, ""
        return left + held

    def _told(self, more: str) -> str:
        if self.stopped:
            return ""
        self._held += more
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            return self._held[: min(found)]
        keep = max((len(stop) for stop in self._stops), default=1) - 1
        told = self._held[: len(self._held) - keep]
        self._held = self._held[len(told) :]
        return told

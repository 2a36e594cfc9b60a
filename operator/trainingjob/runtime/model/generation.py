"""What a language model goes on with: token by token, by its own weights and tokenizer."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..base import bounded, templates, tokenizing
from ..base.errors import StageFailure
from . import transformer

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


class Writer:
    """The model in a folder, as ``transformers`` loads it.

    Raises StageFailure(ModelCorrupt)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._tool = _tokenizer(folder)
        self._lock = threading.Lock()
        self._bounded = tokenizing.Bounded(self._tool.backend_tokenizer.to_str(), threads=1)
        self.model = transformer.load(folder, None, device)
        ends = self.model.generation_config.eos_token_id
        self._ends = frozenset(ends if isinstance(ends, list) else [ends])
        # By the name that this version of transformers has for it.
        known = inspect.signature(type(self.model).forward).parameters
        self._cache = "cache" if "cache" in known else "past_key_values"
        # Of a prompt and what follows it; None where the model does not say.
        self.limit: int | None = getattr(self.model.config, "max_position_embeddings", None)

    @property
    def answers(self) -> bool:
        """Whether it has a chat template."""
        return isinstance(self._tool.chat_template, str)

    def text(self, text: str) -> list[int]:
        """The tokens of a text to go on with: as in training, an end of text is before it, and what
        is written like one is text. Raises ValueError, in words."""
        begin = [] if self._tool.eos_token_id is None else [self._tool.eos_token_id]
        return begin + self._encoded(text, special=False)

    def conversation(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Those of messages that an answer is asked for. Raises ValueError, in words."""
        if not self.answers:
            raise ValueError("it has none")
        special = {name: str(token) for name, token in self._tool.special_tokens_map.items()}
        text, _ = templates.render(messages, self._tool.chat_template, special, prompt=True)
        return self._encoded(text, special=True)

    def _encoded(self, text: str, *, special: bool) -> list[int]:
        try:
            with self._lock:
                (ids,) = self._bounded.encode([text], special=special).ids.to_pylist()
        except (bounded.TooMuch, bounded.Refused) as error:
            raise ValueError(f"the model's tokenizer makes nothing of it: {error}") from error
        return list(ids)

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

    def decoded(self, ids: Sequence[int]) -> str:
        """Their text, without special tokens."""
        return str(self._tool.decode(list(ids), skip_special_tokens=True))

    @torch.inference_mode()
    def losses(
        self, rows: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
    ) -> list[float]:
        """Of each row, the mean negative log-likelihood, in nats, of the targets from 0 on."""
        found = []
        for its, wanted in zip(rows, targets, strict=True):
            ids, asked = (torch.tensor([one], device=self.model.device) for one in (its, wanted))
            total = transformer.negative_log_likelihood(self.model, ids, asked)
            found.append(float(total) / max(1, int((asked >= 0).sum())))
        return found

    def close(self) -> None:
        """Let go of the tokenizer's process."""
        with self._lock:
            self._bounded.close()


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

    def __init__(self, writer: Writer, prompt: Sequence[int], stops: Sequence[str] = ()) -> None:
        self._writer, self._stops = writer, stops
        # Some tokens have a blank only behind others.
        self._ids = [*prompt[-_CONTEXT:]]
        self._from, self._read = 0, len(self._ids)  # where the context begins, and what is new
        self._held = ""
        self.stopped = False

    def add(self, token: int) -> str:
        """What can be told now: all but half a character, and what may become a stop."""
        self._ids.append(token)
        decoded = self._writer.decoded
        before, now = decoded(self._ids[self._from : self._read]), decoded(self._ids[self._from :])
        if now.endswith(_BROKEN) and len(self._ids) - self._read < _CONTEXT:
            return ""
        self._from, self._read = self._read, len(self._ids)
        return self._told(now[len(before) :])

    def rest(self) -> str:
        """What is left at the end."""
        before = self._writer.decoded(self._ids[self._from : self._read])
        left = self._told(self._writer.decoded(self._ids[self._from :])[len(before) :])
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


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        tool: Any = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        if not tool.is_fast:
            raise ValueError("it has no tokenizer.json")
    except Exception as error:
        words = " ".join(str(error).split())[:300]
        raise StageFailure(
            "ModelCorrupt", f"the tokenizer in {folder} cannot be loaded: {words}"
        ) from error
    return tool

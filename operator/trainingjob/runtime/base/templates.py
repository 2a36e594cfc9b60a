"""Chat templates, which are other people's programs: run in a process of their own, of bounded time
and memory, ``python -m trainingjob.runtime.base.templates``.

Jinja's sandbox keeps a template from files and modules, but not from loops in loops, nor from a
text of a gigabyte.
"""

from __future__ import annotations

import atexit
import json
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from . import bounded

# Of the processor, for a conversation: templates that people use take a thousandth of one.
SECONDS = 10
# Beside what Jinja takes itself.
MEMORY_BYTES = 512 * 2**20
# Of what is made of a conversation.
_TEXT_CHARS = 32 * 2**20

Spans = list[tuple[int, int]]


def render(
    messages: Sequence[Mapping[str, Any]],
    template: str,
    special: Mapping[str, str],
    *,
    spans: bool = False,
    prompt: bool = False,
) -> tuple[str, Spans]:
    """The text of a conversation and, of a template that marks what is generated, the ``spans``
    of that. ``special``: tokens by the names that templates use; ``prompt``: an answer follows.

    Raises ValueError with what the template raises, or that it takes too much."""
    asked = {
        "conversations": [messages],
        "chat_template": template,
        "return_assistant_tokens_mask": spans,
        "add_generation_prompt": prompt,
        **special,
    }
    text, found = _child().ask(asked)
    return text, [(start, end) for start, end in found]


def of_config(config: Mapping[str, Any]) -> tuple[str | None, dict[str, str]]:
    """What a tokenizer_config.json says: the template, and the special tokens by the names that
    templates use."""
    template = config.get("chat_template")
    if isinstance(template, list):
        named = [one for one in template if isinstance(one, dict)]
        template = next(
            (one.get("template") for one in named if one.get("name") == "default"), None
        )
    special = {}
    for name, token in config.items():
        value = token.get("content") if isinstance(token, dict) else token
        if name.endswith("_token") and isinstance(value, str):
            special[name] = value
    return (template or None) if isinstance(template, str) else None, special


@cache
def _child() -> Child:
    child = Child()
    atexit.register(child.close)
    return child


class Child:
    """The process, started when it is needed; one that was ended is made anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = bounded.Process(__name__, MEMORY_BYTES)
        # A template that took too much does so again, for each of a million conversations.
        self._refused: dict[str, str] = {}

    def ask(self, asked: Mapping[str, Any]) -> tuple[str, Any]:
        """Its answer. Raises ValueError."""
        template = asked["chat_template"]
        with self._lock:
            if template not in self._refused:
                try:
                    answer = self._answer(json.dumps(asked).encode())
                except bounded.Refused as error:
                    raise ValueError(str(error)) from None
                except bounded.TooMuch as error:
                    self._refused[template] = str(error)
                else:
                    if len(answer["text"]) <= _TEXT_CHARS:
                        return answer["text"], answer["spans"]
                    words = f"it makes {len(answer['text'])} characters of it"
                    self._refused[template] = words
            raise ValueError(self._refused[template])

    def _answer(self, question: bytes) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._process.ask(question, SECONDS))
        return found

    def close(self) -> None:
        """End the process."""
        self._process.close()


def main(memory: int) -> None:
    """Answer each question."""
    from transformers.utils.chat_template_utils import render_jinja_template

    def work(question: bytes) -> bytes:
        found: Any = render_jinja_template(**json.loads(question))
        texts, spans = found
        return json.dumps({"text": texts[0], "spans": spans[0] if spans else []}).encode()

    bounded.answer(work, memory)


if __name__ == "__main__":
    main(int(sys.argv[1]))

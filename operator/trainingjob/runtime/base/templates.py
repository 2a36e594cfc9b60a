"""Chat templates, which are other people's programs: run in a process of their own, of bounded time
and memory, ``python -m trainingjob.runtime.base.templates``.

Jinja's sandbox keeps a template from files and modules, but not from loops in loops, nor from a
text of a gigabyte. The kernel ends whoever uses the processor for too long; whoever asks for too
much memory is refused it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

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


@cache
def _child() -> Child:
    child = Child()
    atexit.register(child.close)
    return child


class Child:
    """The process, started when it is needed; one that was ended is made anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        # A template that took too much does so again, for each of a million conversations.
        self._refused: dict[str, str] = {}

    def ask(self, asked: Mapping[str, Any]) -> tuple[str, Any]:
        """Its answer. Raises ValueError."""
        template = asked["chat_template"]
        with self._lock:
            if template not in self._refused:
                answer = self._answer(json.dumps(asked))
                if "error" not in answer:
                    return answer["text"], answer["spans"]
                if not answer.get("costly"):
                    raise ValueError(answer["error"])
                self._refused[template] = answer["error"]
            raise ValueError(self._refused[template])

    def _answer(self, line: str) -> dict[str, Any]:
        if self._process is None or self._process.poll() is not None:
            limits = map(str, (SECONDS, MEMORY_BYTES))
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, *limits],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
            )
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
        answer = process.stdout.readline()
        if answer:
            found: dict[str, Any] = json.loads(answer)
            return found
        code = self.close()
        words = f"it ended its process with code {code}"
        if code == -signal.SIGPROF:
            words = f"it takes longer than {SECONDS} s"
        return {"error": words, "costly": True}

    def close(self) -> int:
        """End the process, which does when nothing is asked any more; its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with contextlib.suppress(BrokenPipeError):
            process.communicate()
        return process.returncode


def main(questions: IO[str], answers: IO[str], seconds: float, memory: int) -> None:
    """Answer each line."""
    from transformers.utils.chat_template_utils import render_jinja_template

    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + memory, taken + memory))
    for line in questions:
        asked = json.loads(line)
        # Its default is to end the process.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            found: Any = render_jinja_template(**asked)
            texts, spans = found
            answer: dict[str, Any] = {"text": texts[0], "spans": spans[0] if spans else []}
            if len(texts[0]) > _TEXT_CHARS:
                answer = {"error": f"it makes {len(texts[0])} characters of it", "costly": True}
            told = json.dumps(answer)
        except MemoryError:
            words = f"it takes more than {memory >> 20} MiB of memory"
            told = json.dumps({"error": words, "costly": True})
        except Exception as error:  # whatever a template does
            told = json.dumps(
                {"error": " ".join(str(error)[:2000].split()) or type(error).__name__}
            )
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(f"{told}\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.stdin, sys.stdout, float(sys.argv[1]), int(sys.argv[2]))

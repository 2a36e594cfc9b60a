"""Programs that other people have written into their files, such as chat templates and the patterns
of tokenizers: they run in a process of their own, of bounded time and memory.

The kernel ends whoever uses the processor for too long; whoever asks for too much memory is refused
it. A question and its answer are bytes, each behind its length; before a question are the seconds
of the processor that it may take, before an answer how it went.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

_ASKED, _TOLD = struct.Struct("<dQ"), struct.Struct("<cQ")
_DONE, _REFUSED, _TOO_LARGE = b"d", b"r", b"m"


class TooMuch(Exception):
    """Of time or of memory; the message, which begins with "it", says of which."""


class Refused(Exception):
    """The work itself has failed, and says so."""


class Process:
    """The asking side. Started when it is needed; one that has ended is made anew, of which
    ``begin`` is told before it is asked anything."""

    def __init__(self, module: str, memory: int, begin: Callable[[], None] | None = None) -> None:
        self._module, self._memory, self._begin = module, memory, begin
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, question: bytes, seconds: float) -> bytes:
        """The answer. Raises TooMuch, Refused."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", self._module, str(self._memory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {"RUST_BACKTRACE": "0"},
            )
            if self._begin is not None:
                self._begin()
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(_ASKED.pack(seconds, len(question)))
            process.stdin.write(question)
            process.stdin.flush()
        head = process.stdout.read(_TOLD.size)
        if len(head) == _TOLD.size:
            how, size = _TOLD.unpack(head)
            answer = process.stdout.read(size)
            if len(answer) == size:
                if how == _DONE:
                    return answer
                raise (TooMuch if how == _TOO_LARGE else Refused)(answer.decode())
        raise TooMuch(self._ended(seconds))

    def _ended(self, seconds: float) -> str:
        code = self.close()
        if code == -signal.SIGPROF:
            return f"it takes longer than {seconds:.3g} s"
        # Of what is not written in Python, an allocation that is refused ends the process.
        return _memory(self._memory) if code == -signal.SIGABRT else f"it ended with code {code}"

    def close(self) -> int:
        """End the process, which does when nothing is asked any more; its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with contextlib.suppress(BrokenPipeError):
            process.communicate()
        return process.returncode


def answer(work: Callable[[bytes], bytes], memory: int) -> None:
    """The side that answers, until nothing is asked any more; ``memory``: beside what the process
    has taken already."""
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + memory, taken + memory))
    while len(head := questions.read(_ASKED.size)) == _ASKED.size:
        seconds, size = _ASKED.unpack(head)
        question = questions.read(size)
        # Its default is to end the process.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            how, told = _DONE, work(question)
        except MemoryError:
            how, told = _TOO_LARGE, _memory(memory).encode()
        except BaseException as error:  # a panic of Rust's is no Exception
            words = " ".join(str(error)[:2000].split()) or type(error).__name__
            how, told = _REFUSED, words.encode(errors="replace")
        signal.setitimer(signal.ITIMER_PROF, 0)
        _write(answers, how, told)


def _write(answers: IO[bytes], how: bytes, told: bytes) -> None:
    answers.write(_TOLD.pack(how, len(told)))
    answers.write(told)
    answers.flush()


def _memory(memory: int) -> str:
    return f"it takes more than {memory >> 20} MiB of memory"

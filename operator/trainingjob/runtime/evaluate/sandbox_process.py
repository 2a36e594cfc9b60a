"""The process that ``sandbox.py`` starts: a model of own code, and nothing of the job's."""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..base.errors import StageFailure
from ..base.text import one_line, size_in_words
from ..model.folder import TEXT_CLASSIFIER

# Memory beside the model's own, and how often that may be there.
_SPARE_BYTES, _COPIES = 8 * 2**30, 6
_WEIGHTS_OF_A_SMALL_MODEL = 100_000
# How the libraries say that they were given no memory.
_NO_MEMORY = ("bad_alloc", "DefaultCPUAllocator", "Failed to allocate memory")


def main() -> int:
    """Answer until nobody asks."""
    # Whatever a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    asked = json.loads(sys.stdin.buffer.readline())
    path = Path(asked["path"])
    memory = _confine(path)
    try:
        model, told = _loaded(asked["kind"], path, asked.get("choices", []))
        _tell(answers, told)
    except BaseException as error:
        _tell(answers, {"error": _words(path, error, memory)})
        return 1
    while head := sys.stdin.buffer.read(8):
        (count,) = struct.unpack("<q", head)
        try:
            _tell(answers, *_answer(model, told, count))
        except Exception as error:
            _tell(answers, {"error": _words(path, error, memory)})
    return 0


def _answer(model: Any, told: dict[str, Any], count: int) -> tuple[dict[str, Any], np.ndarray]:
    """Of so many rows, or of texts of so many bytes."""
    if "labels" in told:
        found, cut = model.predict(json.loads(sys.stdin.buffer.read(count)))
    else:
        width = len(told["features"])
        rows = np.frombuffer(sys.stdin.buffer.read(4 * count * width), dtype=np.float32)
        found, cut = model.predict(rows.reshape(count, width)), 0
    return {"shape": found.shape, "cut": cut}, np.ascontiguousarray(found, dtype=np.float64)


def _confine(path: Path) -> int:
    """Limits for all that follows; of how many bytes of memory."""
    beside = [one.stat().st_size for one in path.parent.iterdir() if one.is_file()]
    memory = _SPARE_BYTES + _COPIES * sum(beside)
    copy = 2 * path.stat().st_size + 2**20
    for what, most in (
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_FSIZE, copy),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))
    return memory


def _loaded(kind: str, path: Path, choices: list[list[str]]) -> tuple[Any, dict[str, Any]]:
    if kind == "onnx":
        from .onnx import OnnxModel

        graph = OnnxModel.load(path, *choices)
        return graph, {"features": [*graph.features], "probabilities": graph.probabilities}
    if kind == TEXT_CLASSIFIER:
        from .text_classifier import TextClassifier

        classifier = TextClassifier.load(path.parent)
        return classifier, {"labels": [*classifier.labels], "most": classifier.most}
    import torch

    from .program import Program

    by_width = {len(names): names for names in choices}
    program = Program.load(path, *by_width)
    if program.weights <= _WEIGHTS_OF_A_SMALL_MODEL:
        # Of a network that is done with a batch before threads have met: on a busy machine, and
        # under a CPU limit, waiting for each other takes ten times as long.
        torch.set_num_threads(1)
    return program, {"features": by_width[program.features], "probabilities": False}


def _words(path: Path, error: BaseException, memory: int) -> str:
    if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
        return f"{path} wants more than the {size_in_words(memory)} of memory that it may have"
    if isinstance(error, StageFailure):
        return error.message
    return f"{path} cannot be run: {one_line(error)}"


def _tell(answers: BinaryIO, told: dict[str, Any], values: np.ndarray | None = None) -> None:
    answers.write(json.dumps(told).encode() + b"\n")
    if values is not None:
        answers.write(values.tobytes())
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())

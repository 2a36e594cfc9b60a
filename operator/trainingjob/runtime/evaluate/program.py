"""``model.pt2``: a program of ``torch.export`` that user code left behind."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch.export import ExportedProgram

from ..base.errors import StageFailure
from ..base.text import one_line
from .archive import RefusedArchive, copy_safely


@dataclass
class Program:
    """Maps features float32 [n, d] to what the program gives, for any n above 0.

    ``low`` and ``high`` are the batch sizes that the program takes, ``high`` None without bound;
    ``weights`` is how many numbers it has learned, ``features`` is d.
    """

    path: Path
    module: Any
    dtype: torch.dtype
    low: int
    high: int | None
    weights: int
    features: int

    @classmethod
    def load(cls, path: Path, *features: int) -> Self:
        """Raises StageFailure(ModelCorrupt) when the file is damaged, holds code, or has inputs
        other than one float tensor [n, d] with d one of ``features``."""
        try:
            with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                safe = Path(folder) / "model.pt2"
                copy_safely(path, safe)
                program = torch.export.load(safe)
                # Guards are source text; the shapes are checked here.
                module = program.module(check_guards=False)
        except RefusedArchive as error:
            raise StageFailure("ModelCorrupt", f"{path} is refused: {error}") from error
        except OSError:
            raise
        except Exception as error:  # the loader raises whatever it stumbles over
            raise StageFailure(
                "ModelCorrupt", f"{path} cannot be loaded: {one_line(error)}"
            ) from error
        shape, dtype = _input(path, program, features)
        low, high = _batch_sizes(program, shape[0])
        weights = sum(tensor.numel() for tensor in program.state_dict.values())
        return cls(path, module, dtype, low, high, weights, int(shape[1]))

    @torch.inference_mode()
    def predict(self, features: np.ndarray) -> np.ndarray:
        """Features [n, d] to outputs float64 [n, ...].

        A fixed batch size is met by filling the last batch with copies of its last row. Raises
        StageFailure(ModelCorrupt) when the program fails or gives anything but one tensor [n, ...].
        """
        rows = torch.from_numpy(features).to(self.dtype)
        step = self.high or len(rows)
        outputs = [self._call(rows[begin : begin + step]) for begin in range(0, len(rows), step)]
        return torch.cat(outputs).double().numpy()

    def _call(self, rows: torch.Tensor) -> torch.Tensor:
        count = len(rows)
        if count < self.low:
            rows = torch.cat([rows, rows[-1:].expand(self.low - count, -1)])
        try:
            output = self.module(rows)
        except Exception as error:  # operators raise whatever they stumble over
            raise StageFailure(
                "ModelCorrupt", f"{self.path} fails on {list(rows.shape)}: {one_line(error)}"
            ) from error
        if isinstance(output, tuple | list) and len(output) == 1:
            output = output[0]
        if not isinstance(output, torch.Tensor):
            raise StageFailure(
                "ModelCorrupt",
                f"{self.path} gives a {type(output).__name__}, expected one tensor",
            )
        if output.ndim == 0 or len(output) != len(rows):
            raise StageFailure(
                "ModelCorrupt",
                f"{self.path} gives {list(output.shape)} for {len(rows)} rows, "
                "expected the rows first",
            )
        return output[:count]


def _input(
    path: Path, program: ExportedProgram, features: Sequence[int]
) -> tuple[torch.Size, torch.dtype]:
    """Shape and type of the program's one input."""
    names = program.graph_signature.user_inputs
    nodes = [node for node in program.graph.nodes if node.op == "placeholder"]
    inputs = [node.meta.get("val") for node in nodes if node.name in names]
    if len(inputs) != 1 or len(names) != 1 or not isinstance(inputs[0], torch.Tensor):
        raise StageFailure(
            "ModelCorrupt", f"{path} takes {len(names)} inputs, expected one tensor of features"
        )
    shape, dtype = inputs[0].shape, inputs[0].dtype
    if len(shape) != 2 or not isinstance(shape[1], int) or shape[1] not in features:
        came = ", ".join(str(size) if isinstance(size, int) else "n" for size in shape)
        wanted = " or ".join(f"[n, {count}]" for count in features)
        raise StageFailure(
            "ModelCorrupt",
            f"{path} takes [{came}], expected {wanted}: the dataset's features in the order "
            "of its manifest",
        )
    if not dtype.is_floating_point:
        raise StageFailure("ModelCorrupt", f"{path} takes {dtype}, expected torch.float32")
    return shape, dtype


def _batch_sizes(program: ExportedProgram, size: Any) -> tuple[int, int | None]:
    """Smallest and largest batch that the program takes."""
    if isinstance(size, int):
        return size, size
    bounds = program.range_constraints.get(size.node.expr)
    if bounds is None:  # an expression such as 2*s0: the program itself will tell
        return 1, None
    high = int(bounds.upper) if bounds.upper.is_Integer else None
    return max(1, int(bounds.lower)), high

"""``model.onnx``: a graph that own code left behind, whatever framework made it.

A graph is data, and onnxruntime's operators are code: those of the standard are run and no others,
on the CPU, in a process of its own (``sandbox.py``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx
import onnxruntime

from ..base.errors import StageFailure
from ..base.text import listed, one_line

# Of ONNX itself: https://onnx.ai/onnx/operators/
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_MOST_NODES = 200_000
_MOST_GRAPHS = 10_000
_GRAPH_BYTES = 2**31 - 1  # what a file of protobuf may have; weights beside it may be more
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}
# What converters of scikit-learn, XGBoost and LightGBM call what they give beside the class.
_PROBABILITIES = ("probabilities", "output_probability", "probability_tensor")
_WEIGHTS_OF_A_SMALL_MODEL = 100_000


@dataclass
class OnnxModel:
    """Maps features float32 [n, d] to outputs float64, [n, k] or [n].

    ``features``: names of the d columns. ``probabilities``: the outputs are those of classes, and
    no logits. ``batch``: rows that it takes at once, None for any number.
    """

    path: Path
    session: Any
    features: Sequence[str]
    output: str
    probabilities: bool
    batch: int | None

    @classmethod
    def load(cls, path: Path, *choices: Sequence[str]) -> Self:
        """``choices``: the features that it may take, in their orders.

        Raises StageFailure(ModelCorrupt) when it is no graph, has what could run as code or reads
        other files, or takes or gives something else; OSError."""
        graph = _checked(path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what it tells is in its exceptions
        small = _weights(graph) <= _WEIGHTS_OF_A_SMALL_MODEL
        options.intra_op_num_threads = 1 if small else int(os.environ.get("OMP_NUM_THREADS", "1"))
        options.inter_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a dozen types without a common one
            raise _corrupt(path, f"cannot be loaded: {one_line(error)}") from error
        features, batch = _inputs(path, session.get_inputs(), choices)
        output, probabilities = _output(path, session.get_outputs(), graph.graph)
        return cls(path, session, features, output, probabilities, batch)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """A fixed number of rows is met by filling the last batch with copies of its last row.
        Raises StageFailure(ModelCorrupt)."""
        step = self.batch or max(1, len(features))
        parts = [self._run(features[at : at + step]) for at in range(0, len(features), step)]
        return np.concatenate(parts)

    def _run(self, rows: np.ndarray) -> np.ndarray:
        count = len(rows)
        if self.batch is not None and count < self.batch:
            rows = np.concatenate([rows, np.repeat(rows[-1:], self.batch - count, axis=0)])
        inputs = self.session.get_inputs()
        if len(inputs) == 1:
            given: dict[str, np.ndarray] = {inputs[0].name: rows.astype(_TYPES[inputs[0].type])}
        else:
            given = {
                one.name: rows[:, at : at + 1]
                .astype(_TYPES[one.type])
                .reshape(len(rows), *[1] * (len(one.shape) - 1))
                for at, one in enumerate(inputs)
            }
        try:
            (found,) = self.session.run([self.output], given)
        except Exception as error:
            raise _corrupt(self.path, f"fails on {list(rows.shape)}: {one_line(error)}") from error
        if not isinstance(found, np.ndarray) or found.ndim == 0 or len(found) != len(rows):
            shape = list(found.shape) if isinstance(found, np.ndarray) else type(found).__name__
            raise _corrupt(
                self.path, f"gives {shape} for {len(rows)} rows, expected the rows first"
            )
        values: np.ndarray = found[:count].astype(np.float64)
        return values


def _checked(path: Path) -> Any:
    """The graph, without what lies beside it."""
    if path.stat().st_size > _GRAPH_BYTES:
        raise _corrupt(path, "is larger than a graph can be: save the weights as external data")
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError:
        raise
    except Exception as error:
        raise _corrupt(path, f"is no ONNX: {one_line(error)}") from error
    own = {(one.domain, one.name, one.overload) for one in model.functions}
    nodes = 0
    for graph in _graphs(path, model.graph, *model.functions):
        nodes += len(graph.node)
        if nodes > _MOST_NODES:
            raise _corrupt(path, f"has more than {_MOST_NODES} operators")
        for node in graph.node:
            if node.domain not in _DOMAINS and _called(node) not in own:
                raise _corrupt(
                    path,
                    f"is refused: it calls {node.op_type[:80]!r} of {node.domain[:80]!r}, and only "
                    "the operators of ONNX itself (ai.onnx, ai.onnx.ml) are run",
                )
        for tensor in _tensors(graph):
            _check_place(path, tensor)
    _check_calls(path, model)
    return model


def _check_calls(path: Path, model: Any) -> None:
    """onnxruntime writes functions out wherever they are called: thirty that call each other twice
    would be a billion operators."""
    calls = {
        (function.domain, function.name, function.overload): [
            _called(node) for graph in _graphs(path, function) for node in graph.node
        ]
        for function in model.functions
    }
    sizes: dict[tuple[str, str, str], int] = {}
    try:
        for name in TopologicalSorter(calls).static_order():
            sizes[name] = sum(sizes[one] for one in calls[name]) if name in calls else 1
    except CycleError:
        raise _corrupt(path, "is refused: a function in it calls itself") from None
    called = (_called(node) for graph in _graphs(path, model.graph) for node in graph.node)
    if sum(sizes.get(name, 1) for name in called) > _MOST_NODES:
        raise _corrupt(path, f"has more than {_MOST_NODES} operators, with functions written out")


def _called(node: Any) -> tuple[str, str, str]:
    """The operator or function that it calls."""
    return node.domain, node.op_type, node.overload


def _graphs(path: Path, *given: Any) -> Iterator[Any]:
    """Graphs and functions, and the graphs inside of their nodes."""
    waiting, done = [*given], 0
    while waiting:
        graph = waiting.pop()
        done += 1
        if done > _MOST_GRAPHS:
            raise _corrupt(path, f"has more than {_MOST_GRAPHS} graphs in its graph")
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [*attribute.graphs, *([attribute.g] if attribute.g.node else [])]


def _tensors(graph: Any) -> Iterator[Any]:
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


def _check_place(path: Path, tensor: Any) -> None:
    """Weights are in the file, or in regular files of its folder."""
    if tensor.data_location != onnx.TensorProto.EXTERNAL and not tensor.external_data:
        return
    place = next((one.value for one in tensor.external_data if one.key == "location"), "")
    beside = path.parent / place
    if not place or Path(place).name != place or beside.is_symlink() or not beside.is_file():
        raise _corrupt(
            path,
            f"is refused: its weights are in {place[:80]!r}, which is no file of its own folder: "
            "copy that beside it, or save the model in one file",
        )


def _weights(model: Any) -> int:
    return sum(int(np.prod(tensor.dims, dtype=float)) for tensor in model.graph.initializer)


def _inputs(
    path: Path, inputs: Sequence[Any], choices: Sequence[Sequence[str]]
) -> tuple[Sequence[str], int | None]:
    """Which features it takes, and how many rows at once."""
    for one in inputs:
        if one.type not in _TYPES:
            raise _corrupt(path, f"takes {one.type} as {one.name}, expected numbers")
    sizes = " or ".join(f"[n, {len(names)}]" for names in choices)
    if len(inputs) == 1:
        shape = inputs[0].shape
        fitting = [
            names
            for names in choices
            if len(shape) == 2 and (not isinstance(shape[1], int) or shape[1] == len(names))
        ]
        if not fitting:
            raise _corrupt(
                path,
                f"takes {_shown(shape)}, expected {sizes}: the dataset's features in the order of "
                f"its manifest ({listed(list(choices[-1]))})",
            )
        # Of any width: those that the task lists.
        features = fitting[0] if isinstance(shape[1], int) else fitting[-1]
    else:
        features = [one.name for one in inputs]
        unknown = [name for name in features if name not in choices[0]]
        if unknown or not features:
            raise _corrupt(
                path,
                f"takes {len(features)} inputs ({listed(features)}), expected one, {sizes}, or one "
                f"for each feature by its name ({listed(list(choices[0]))})",
            )
    rows = {one.shape[0] for one in inputs if one.shape and isinstance(one.shape[0], int)}
    return features, min(rows) if rows else None


def _output(path: Path, outputs: Sequence[Any], graph: Any) -> tuple[str, bool]:
    """The output to judge by, and whether it has probabilities."""
    names = [one.name for one in outputs]
    for one in outputs:
        if one.name in _PROBABILITIES:
            if not one.type.startswith("tensor"):
                raise _corrupt(
                    path,
                    f"gives {one.name} as {one.type}: convert it with zipmap=False, "
                    "so that they are a tensor",
                )
            return one.name, True
    floats = [one for one in outputs if one.type in ("tensor(float)", "tensor(double)")]
    if len(floats) != 1:
        raise _corrupt(
            path,
            f"gives {listed(names)}: expected one tensor of floats, logits or values, or one "
            f"named {_PROBABILITIES[0]}",
        )
    name = floats[0].name
    return name, _maker(graph, name) in ("Softmax", "Sigmoid")


def _maker(graph: Any, name: str) -> str:
    """The operator whose output it is."""
    makers = {output: node for node in graph.node for output in node.output}
    for _ in range(100):
        node = makers.get(name)
        if node is None or node.op_type not in ("Identity", "Cast", "Reshape", "Squeeze"):
            return node.op_type if node is not None else ""
        name = node.input[0]
    return ""


def _shown(shape: Sequence[Any]) -> str:
    return f"[{', '.join(str(size) if isinstance(size, int) else 'n' for size in shape)}]"


def _corrupt(path: Path, what: str) -> StageFailure:
    return StageFailure("ModelCorrupt", f"{path} {what}")

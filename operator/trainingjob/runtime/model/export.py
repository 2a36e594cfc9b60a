"""A network in other forms: ``variants/onnx/model.onnx`` and ``variants/int8/model.onnx`` of a
model's folder.

The graph is ONNX's own operators: of features float32 [n, d] ``logits`` [n, k], or ``value`` [n, 1]
in the label's unit.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trainingjob.api.v1alpha1.export import Export

from .config import ModelConfig
from .folder import ONNX, VARIANTS

# Of which Gelu is one: https://onnx.ai/onnx/operators/onnx__Gelu.html
_OPSET, _IR = 20, 10
_OPERATORS = {"relu": "Relu", "tanh": "Tanh", "gelu": "Gelu", "sigmoid": "Sigmoid"}


def write_variants(
    folder: Path, config: ModelConfig, weights: Mapping[str, np.ndarray], export: Export
) -> None:
    """Those that are asked for; ``weights`` by the names of torch.nn.Sequential. Raises OSError."""
    model = graph_of(config, weights)
    for name in export.names:
        place = folder / VARIANTS / name
        place.mkdir(parents=True, exist_ok=True)
        if name == "int8":
            _quantize(model, place / ONNX)
        else:
            (place / ONNX).write_bytes(model.SerializeToString())


def graph_of(config: ModelConfig, weights: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """The network as a graph; dropout does nothing outside of training."""
    graph = _Graph()
    names = sorted({int(name.partition(".")[0]) for name in weights})
    value, last = "features", names[-1]
    for layer in names:
        # Not Gemm: of products of matrices alone there is one of 8 bits.
        matrix, bias = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
        value = graph.add("MatMul", value, graph.constant(matrix.T))
        value = graph.add("Add", value, graph.constant(bias))
        if layer != last:
            assert config.mlp is not None
            value = graph.activation(config.mlp.activation, value)
    if config.task == "regression":
        value = graph.add("Mul", value, graph.constant(np.float32(config.target_std)))
        value = graph.add("Add", value, graph.constant(np.float32(config.target_mean)))
        if config.target_transform == "log1p":
            value = graph.add("Exp", value)
            value = graph.add("Sub", value, graph.constant(np.float32(1)))
    output = "logits" if config.task == "classification" else "value"
    graph.nodes.append(helper.make_node("Identity", [value], [output]))
    shapes = {"features": len(config.features), output: config.outputs}
    given, gives = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
        for name, width in shapes.items()
    )
    made = helper.make_graph(graph.nodes, "model", [given], [gives], graph.constants)
    opset = helper.make_opsetid("", _OPSET)
    return helper.make_model(made, opset_imports=[opset], ir_version=_IR)


class _Graph:
    """Nodes, each of which has one output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name))
        return name

    def constant(self, value: np.ndarray | np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        array = np.ascontiguousarray(value, dtype=np.float32)
        self.constants.append(numpy_helper.from_array(array.reshape(np.shape(value)), name))
        return name

    def activation(self, kind: str, value: str) -> str:
        if kind == "silu":
            return self.add("Mul", value, self.add("Sigmoid", value))
        return self.add(_OPERATORS[kind], value)


def _quantize(model: onnx.ModelProto, path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # it advises what such a graph has no need of
    try:
        quantize_dynamic(model, str(path), per_channel=True, weight_type=QuantType.QInt8)
    finally:
        logging.disable(logging.NOTSET)

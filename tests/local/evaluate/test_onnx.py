"""``model.onnx``: graphs of several shapes are judged, others refused in words, none does harm."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss, r2_score

from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.dataset.rows import Rows
from trainingjob.runtime.evaluate import publication, sandbox, sources
from trainingjob.runtime.evaluate.sandbox import Sandboxed

from .build import World

FEATURES = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 3, 300)
TWO = (LABELS > 0).astype(int)
NAMES = ["x.0", "x.1", "x.2"]
CHOICES = [NAMES, NAMES]
Node = tuple[str, list[str], list[str], dict[str, Any]]


def save(
    path: Path,
    nodes: Sequence[Node],
    weights: dict[str, np.ndarray],
    *,
    inputs: dict[str, Any] | None = None,
    output: str = "out",
    opsets: Sequence[str] = ("", "ai.onnx.ml"),
    **options: Any,
) -> Path:
    """A graph from ``x``, float [n, 3], unless other ``inputs`` are given."""
    graph = helper.make_graph(
        [helper.make_node(kind, ins, outs, **attributes) for kind, ins, outs, attributes in nodes],
        "graph",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (inputs or {"x": ["n", 3]}).items()
        ],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.float32(value), name) for name, value in weights.items()],
    )
    versions = {"": 18, "ai.onnx.ml": 3}
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(one, versions.get(one, 1)) for one in opsets],
        ir_version=9,
    )
    onnx.save(model, path, **options)
    return path


def linear(path: Path, weights: Any, bias: Any, then: str = "", **options: Any) -> Path:
    """``x @ weights + bias``, and an operator behind it."""
    nodes: list[Node] = [("Gemm", ["x", "w", "b"], ["logits" if then else "out"], {})]
    nodes += [(then, ["logits"], ["out"], {})] if then else []
    return save(path, nodes, {"w": weights, "b": bias}, **options)


@pytest.fixture(scope="module")
def fitted() -> LogisticRegression:
    return LogisticRegression().fit(FEATURES, LABELS)


# --- what is judged -------------------------------------------------------------------------------


def as_logits(path: Path, model: LogisticRegression) -> None:
    linear(path, model.coef_.T, model.intercept_)


def as_probabilities(path: Path, model: LogisticRegression) -> None:
    linear(path, model.coef_.T, model.intercept_, "Softmax")


def as_converters_write(path: Path, model: LogisticRegression) -> None:
    nodes: list[Node] = [
        ("Gemm", ["x", "w", "b"], ["logits"], {}),
        ("Softmax", ["logits"], ["soft"], {}),
        ("Clip", ["soft"], ["probabilities"], {}),
    ]
    weights = {"w": model.coef_.T, "b": model.intercept_}
    save(path, nodes, weights, output="probabilities")


def an_input_a_feature(path: Path, model: LogisticRegression) -> None:
    order = [2, 0, 1]  # as the model names them, not as the manifest does
    names = [NAMES[at] for at in order]
    nodes: list[Node] = [
        ("Concat", names, ["all"], {"axis": 1}),
        ("Gemm", ["all", "w", "b"], ["out"], {}),
    ]
    weights = {"w": model.coef_.T[order], "b": model.intercept_}
    save(path, nodes, weights, inputs={name: ["n", 1] for name in names})


def with_a_fixed_batch(path: Path, model: LogisticRegression) -> None:
    linear(path, model.coef_.T, model.intercept_, inputs={"x": [7, 3]})


def with_weights_beside_it(path: Path, model: LogisticRegression) -> None:
    options = {"save_as_external_data": True, "location": "weights.data", "size_threshold": 0}
    linear(path, model.coef_.T, model.intercept_, **options)
    assert (path.parent / "weights.data").stat().st_size >= 48


JUDGED: list[Callable[[Path, LogisticRegression], None]] = [
    *(as_logits, as_probabilities, as_converters_write),
    *(an_input_a_feature, with_a_fixed_batch, with_weights_beside_it),
]


@pytest.mark.parametrize("write", JUDGED)
def test_classes_are_judged_as_scikit_learn_judges_them(
    world: World, fitted: LogisticRegression, write: Callable[..., None]
) -> None:
    world.write(LABELS, FEATURES)
    write(world.model / "model.onnx", fitted)
    values = world.values("log_loss", "accuracy")
    assert values["accuracy"] == pytest.approx(fitted.score(FEATURES, LABELS))
    assert values["log_loss"] == pytest.approx(
        log_loss(LABELS, fitted.predict_proba(FEATURES)), abs=1e-6
    )
    assert world.report()["source"] == "onnx"


def test_one_probability_is_that_of_the_second_class(world: World) -> None:
    model = LogisticRegression().fit(FEATURES, TWO)
    world.write(TWO, FEATURES)
    linear(world.model / "model.onnx", model.coef_.T, model.intercept_, "Sigmoid")
    expected = log_loss(TWO, model.predict_proba(FEATURES))
    assert world.values("log_loss")["log_loss"] == pytest.approx(expected, abs=1e-6)


def test_values_are_judged_as_scikit_learn_judges_them(world: World) -> None:
    truth = FEATURES @ [1.0, -2.0, 0.5] + LABELS
    world.task, world.label = "regression", "y"
    world.write(truth, FEATURES)
    model = LinearRegression().fit(FEATURES, truth)
    linear(world.model / "model.onnx", model.coef_[:, None], [model.intercept_])
    expected = r2_score(truth, model.predict(FEATURES))
    assert world.values("r2")["r2"] == pytest.approx(expected, abs=1e-6)


def test_a_model_that_passed_is_published_and_can_be_loaded_to_serve(
    world: World, fitted: LogisticRegression
) -> None:
    manifest: DatasetManifest = world.write(LABELS, FEATURES)
    as_logits(world.model / "model.onnx", fitted)
    world.run("accuracy")
    (folder,) = (one for one in (world.folder / "accepted").iterdir() if one.is_dir())
    card = publication.Card.read(folder)
    assert card.kind == "onnx"
    found = card.load(folder).batch(FEATURES, np.zeros(300))
    assert found.scores == pytest.approx(fitted.predict_proba(FEATURES), abs=1e-5)
    assert manifest.features == NAMES


# --- what is refused ------------------------------------------------------------------------------


def no_graph(path: Path) -> None:
    path.write_bytes(b"\xff" * 100)


def of_another_width(path: Path) -> None:
    linear(path, np.ones((5, 3)), np.ones(3), inputs={"x": ["n", 5]})


def of_other_columns(path: Path) -> None:
    nodes: list[Node] = [("Concat", ["x.0", "age"], ["out"], {"axis": 1})]
    save(path, nodes, {}, inputs={"x.0": ["n", 1], "age": ["n", 1]})


def with_too_few_classes(path: Path) -> None:
    linear(path, np.ones((3, 2)), np.ones(2))


def of_an_operator_of_others(path: Path) -> None:
    nodes: list[Node] = [("Shell", ["x"], ["out"], {"domain": "com.evil"})]
    save(path, nodes, {}, opsets=("", "com.evil"))


def hidden_in_a_branch(path: Path) -> None:
    shell = helper.make_node("Shell", ["x"], ["a"], domain="com.evil")
    value = helper.make_tensor_value_info("a", TensorProto.FLOAT, None)
    branch = helper.make_graph([shell], "branch", [], [value])
    nodes: list[Node] = [
        ("ReduceSum", ["x"], ["sum"], {"keepdims": 0}),
        ("Cast", ["sum"], ["yes"], {"to": TensorProto.BOOL}),
        ("If", ["yes"], ["out"], {"then_branch": branch, "else_branch": branch}),
    ]
    save(path, nodes, {}, opsets=("", "com.evil"))


def of_weights_of(place: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        linear(path, np.ones((3, 3)), np.ones(3))
        model = onnx.load(path)
        tensor = model.graph.initializer[0]
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=place)
        tensor.ClearField("raw_data")
        path.write_bytes(model.SerializeToString())
        (path.parent / "link").symlink_to("/etc/hostname")

    return write


def without_end(path: Path) -> None:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", [a], [b]) for a, b in (("go", "go2"), ("v", "v2"))],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("go", TensorProto.BOOL, []),
            value("v", TensorProto.FLOAT, None),
        ],
        [value("go2", TensorProto.BOOL, []), value("v2", TensorProto.FLOAT, None)],
    )
    save(path, [("Loop", ["", "", "x"], ["out"], {"body": body})], {})


def of_a_terabyte(path: Path) -> None:
    nodes: list[Node] = [
        ("Cast", ["size"], ["shape"], {"to": TensorProto.INT64}),
        ("Expand", ["one", "shape"], ["many"], {}),
        ("ReduceSum", ["many"], ["sum"], {"keepdims": 0}),
        ("Add", ["x", "sum"], ["out"], {}),
    ]
    save(path, nodes, {"size": [2.0**19, 2.0**19], "one": [1.0]})


def of_functions(calls: dict[str, list[str]]) -> Callable[[Path], None]:
    """Each of them calls the ones named one after the other; the graph calls f0."""

    def write(path: Path) -> None:
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        functions = []
        for name, called in calls.items():
            values = ["in", *(f"v{at}" for at in range(len(called) - 1)), "to"]
            nodes = [
                helper.make_node(one, [values[at]], [values[at + 1]], domain="own")
                for at, one in enumerate(called)
            ] or [helper.make_node("Identity", ["in"], ["to"])]
            functions.append(helper.make_function("own", name, ["in"], ["to"], nodes, opsets))
        save(path, [("f0", ["x"], ["out"], {})], {}, opsets=("", "own"))
        model = onnx.load(path)
        model.graph.node[0].domain = "own"
        model.functions.extend(functions)
        path.write_bytes(model.SerializeToString())

    return write


of_a_billion = of_functions({f"f{n}": [f"f{n + 1}"] * 2 for n in range(30)} | {"f30": []})


def of_two_versions(path: Path) -> None:
    """As of_a_billion, beside functions of the same names that call nothing."""
    of_a_billion(path)
    model = onnx.load(path)
    short = copy.deepcopy([one for one in model.functions if one.name == "f30"])
    for version in [model.graph, *model.functions]:
        for node in version.node:
            node.overload = "long" if node.domain == "own" else ""
    for function in model.functions:
        function.overload = "long"
    for number in range(31):
        one = copy.deepcopy(short[0])
        one.name, one.overload = f"f{number}", "short"
        model.functions.append(one)
    path.write_bytes(model.SerializeToString())


of_a_circle = of_functions({"f0": ["f1"], "f1": ["f0"]})


def of_probabilities_beyond_1(path: Path) -> None:
    nodes: list[Node] = [("Exp", ["x"], ["probabilities"], {})]
    save(path, nodes, {}, output="probabilities")


REFUSED: dict[Callable[[Path], None], str] = {
    no_graph: "is no ONNX",
    of_another_width: "takes [n, 5], expected [n, 3]",
    of_other_columns: "one for each feature by its name (x.0, x.1, x.2)",
    with_too_few_classes: "gives [n, 2], expected [n, 3] logits",
    of_an_operator_of_others: "it calls 'Shell' of 'com.evil', and only the operators of ONNX",
    hidden_in_a_branch: "it calls 'Shell' of 'com.evil'",
    of_a_billion: "has more than 200000 operators, with functions written out",
    of_two_versions: "has more than 200000 operators, with functions written out",
    of_a_circle: "is refused: a function in it calls itself",
    of_weights_of("/etc/hostname"): "its weights are in '/etc/hostname', which is no file of its",
    of_weights_of("../dataset/manifest.json"): "which is no file of its own folder",
    of_weights_of("link"): "its weights are in 'link', which is no file of its own folder",
    of_weights_of("absent"): "its weights are in 'absent'",
    of_a_terabyte: "of memory that it may have",
    of_probabilities_beyond_1: "gives probabilities that are not in 0 to 1",
}


@pytest.mark.parametrize("write", REFUSED)
def test_it_is_refused_in_words(world: World, write: Callable[[Path], None]) -> None:
    world.write(LABELS, FEATURES)
    write(world.model / "model.onnx")
    failure = world.failure("accuracy")
    assert failure.reason == "ModelCorrupt"
    assert REFUSED[write] in failure.message


def test_one_that_does_not_end_is_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write(LABELS, FEATURES)
    monkeypatch.setattr(sandbox, "_RUN_SECONDS", 0.5)
    without_end(world.model / "model.onnx")
    assert "took longer than 0.5 s" in world.failure("accuracy").message


# --- the process ----------------------------------------------------------------------------------


def test_it_sees_no_variables_of_the_pod_and_has_limits(
    tmp_path: Path, fitted: LogisticRegression, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    as_logits(tmp_path / "model.onnx", fitted)
    model = Sandboxed("onnx", tmp_path / "model.onnx", CHOICES)
    about = Path(f"/proc/{model._process.pid}")
    assert b"HF_TOKEN" not in (about / "environ").read_bytes()
    limits = (about / "limits").read_text()
    assert "unlimited" not in next(x for x in limits.splitlines() if "data size" in x)
    model.close()


def test_it_has_no_network_where_the_kernel_allows_that(
    tmp_path: Path, fitted: LogisticRegression
) -> None:
    allowed = "import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(0x50000000) != 0)"
    if subprocess.run([sys.executable, "-c", allowed]).returncode:
        pytest.skip("no process may make a namespace here")
    as_logits(tmp_path / "model.onnx", fitted)
    model = Sandboxed("onnx", tmp_path / "model.onnx", CHOICES)
    networks = (Path(f"/proc/{who}/ns/net").readlink() for who in ("self", model._process.pid))
    assert len({*networks}) == 2
    model.close()


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_is_told_and_the_next_rows_are_answered(
    tmp_path: Path, fitted: LogisticRegression, number: signal.Signals
) -> None:
    as_logits(tmp_path / "model.onnx", fitted)
    model = Sandboxed("onnx", tmp_path / "model.onnx", CHOICES)
    before = model.predict(FEATURES)
    os.kill(model._process.pid, number)
    words = {signal.SIGSEGV: "crashed what runs it", signal.SIGKILL: "may want more memory"}
    with pytest.raises(StageFailure, match=words[number]):
        model.predict(FEATURES)
    assert (model.predict(FEATURES) == before).all()
    model.close()


def test_a_program_runs_there_too(world: World) -> None:
    import torch

    path = world.program(torch.nn.Linear(3, 3), torch.zeros(4, 3))
    manifest = world.write(LABELS, FEATURES)
    model = sources.load("program", path.parent, Rows(world.dataset, manifest, "test", NAMES))
    with torch.no_grad():
        expected = torch.export.load(path).module()(torch.from_numpy(FEATURES)).numpy()
    assert model.run(FEATURES) == pytest.approx(expected, abs=1e-6)

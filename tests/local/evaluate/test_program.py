"""``model.pt2``: any sensible program runs, others are refused in words, none runs code."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.export.pt2_archive import PT2ArchiveReader, PT2ArchiveWriter

from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.evaluate.program import Program
from trainingjob.runtime.model.check import check_model

from .build import Picked, World

BATCHES = {
    "a dynamic batch dimension": torch.export.Dim.DYNAMIC,
    "a batch of 16 to 512": torch.export.Dim("batch", min=16, max=512),
    "a fixed batch of 7": None,
}


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("rows", [1, 7, 500, 8193, 20_001])
def test_every_row_is_predicted_once_with(world: World, batch: str, rows: int) -> None:
    example = torch.zeros(7 if BATCHES[batch] is None else 16, 3)
    network = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    path = world.program(network, example, batch=BATCHES[batch])
    features = torch.randn(rows, 3)
    found = Program.load(path, 3).predict(features.numpy())
    with torch.no_grad():
        expected = network(features)
    assert found == pytest.approx(expected.numpy(), abs=1e-5)
    assert found.dtype == np.float64


class Attention(nn.Module):
    """Features as a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(1, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.register_buffer("mean", torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.embed((x - self.mean).unsqueeze(2)))[:, :2, 0]


class Recurrent(nn.Module):
    """Features as a sequence, too."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x.unsqueeze(2))[0][:, -1]


class Branching(nn.Module):
    """Control flow, constants and shapes that follow from the batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + torch.arange(3) * 0.5 + torch.ones(x.shape[0] * 2, 3)[: x.shape[0]]
        return torch.cond(x.sum() > 0, lambda x: x[:, :2] * 2, lambda x: x[:, :2] - 1, (x,))


@pytest.mark.parametrize("module", [Attention, Recurrent, Branching])
@pytest.mark.filterwarnings("ignore")
def test_programs_of_many_kinds_run(world: World, module: type[nn.Module]) -> None:
    network = module().eval()
    path = world.program(network, torch.zeros(4, 3))
    features = torch.randn(9, 3)
    with torch.no_grad():
        expected = network(features).numpy()
    assert Program.load(path, 3).predict(features.numpy()) == pytest.approx(expected, abs=1e-5)


def test_a_program_of_a_gpu_is_judged_on_the_cpu(world: World) -> None:
    path = world.program(nn.Linear(3, 2), torch.zeros(4, 3))

    def to_gpu(name: str, data: bytes) -> bytes:
        return data.replace(b'"type": "cpu", "index": null', b'"type": "cuda", "index": 0')

    rewrite(path, to_gpu)
    assert Program.load(path, 3).predict(np.zeros((5, 3), np.float32)).shape == (5, 2)


class Double(nn.Module):
    """Trained in float64."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.double()[:, :2]


OUTPUTS = {
    "logits": Picked(0, 1),
    "logits in float64": Double(),
    "one logit [n, 1]": Picked(2),
    "one logit [n]": Picked(2, squeeze=True),
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_outputs_of_two_classes_may_be(world: World, case: str) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 3)).astype(np.float32)
    features[:, 2] = features[:, 1] - features[:, 0]
    labels = np.where(features[:, 2] + rng.normal(size=300) > 0, "yes", "no")
    world.write(labels, features)
    world.program(OUTPUTS[case], torch.zeros(4, 3))
    found = world.values("accuracy")
    predicted = np.where(features[:, 2] > 0, "yes", "no")
    assert found["accuracy"] == (predicted == labels).mean()
    assert 0.6 < found["roc_auc"] < 1
    chance = 1 / (1 + np.exp(-np.where(labels == "yes", 1, -1) * features[:, 2].astype(float)))
    assert found["log_loss"] == pytest.approx(-np.log(chance).mean(), rel=1e-6)


@pytest.mark.parametrize("squeeze", [True, False])
def test_outputs_of_regression_may_be_flat_or_a_column(world: World, squeeze: bool) -> None:
    world.task = "regression"
    features = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    world.write(features[:, 1].astype(float), features)
    world.program(Picked(1, squeeze=squeeze), torch.zeros(4, 3))
    assert world.values("r2")["r2"] == 1


class Pair(nn.Module):
    """Two outputs."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


class Several(nn.Module):
    """Two inputs."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


class Mean(nn.Module):
    """Loses the rows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean()


class Nan(nn.Module):
    """Diverged."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :2] / 0 * 0


def example(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(*shape, dtype=dtype)


WRONG: dict[str, tuple[nn.Module, tuple[torch.Tensor, ...], str]] = {
    "too many features": (nn.Linear(5, 2), (example(4, 5),), "takes [4, 5], expected [n, 3]"),
    "a batch of images": (nn.Flatten(), (example(4, 3, 2),), "takes [4, 3, 2], expected [n, 3]"),
    "token ids": (
        nn.Embedding(5, 2),
        (example(4, 3, dtype=torch.int64),),
        "takes torch.int64, expected torch.float32",
    ),
    "two inputs": (Several(), (example(4, 3), example(4, 3)), "takes 2 inputs, expected one"),
    "two outputs": (Pair(), (example(4, 3),), "gives a tuple, expected one tensor"),
    "a mean": (Mean(), (example(4, 3),), "gives [] for 4 rows"),
    "too many logits": (
        nn.Linear(3, 7),
        (example(4, 3),),
        "gives [n, 7], expected [n, 2] logits, or [n] or [n, 1] of the second class",
    ),
    "NaN": (Nan(), (example(4, 3),), "predicts NaN"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_program_with_other_shapes_is_told_which_came(world: World, case: str) -> None:
    module, inputs, message = WRONG[case]
    world.write(["a", "b"] * 4)
    world.program(module, *inputs, batch=None)
    failure = world.failure("accuracy")
    assert failure.reason == "ModelCorrupt"
    assert str(world.model / "model.pt2") in failure.message
    assert message in failure.message


def rewrite(path: Path, change: Callable[[str, bytes], bytes], **added: bytes) -> None:
    """Change records of an archive."""
    reader = PT2ArchiveReader(str(path))
    records = {name: reader.read_bytes(name) for name in reader.get_file_names()}
    del reader
    path.unlink()
    with PT2ArchiveWriter(str(path)) as writer:
        for name, data in {**records, **added}.items():
            if name not in ("byteorder", ".data/version", ".data/serialization_id", "version"):
                writer.write_bytes(name, change(name, data))


def deep(value: Any, change: Callable[[dict[str, Any]], None]) -> Any:
    """Apply ``change`` to every dict of a JSON value."""
    if isinstance(value, list):
        for part in value:
            deep(part, change)
    elif isinstance(value, dict):
        change(value)
        for part in value.values():
            deep(part, change)
    return value


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (exec, (f"open({str(self.mark)!r}, 'w')",))


def setting(key: str, text: str, only: str = "") -> Callable[[dict[str, Any]], None]:
    """Put ``text`` wherever ``key`` holds a text (that contains ``only``)."""

    def change(value: dict[str, Any]) -> None:
        if isinstance(value.get(key), str) and only in value[key]:
            value[key] = text

    return change


def picked(value: dict[str, Any]) -> None:
    if "use_pickle" in value:
        value["use_pickle"] = True


def specified(value: dict[str, Any]) -> None:
    if value.get("in_spec"):
        node = {"type": "collections.defaultdict", "context": '{"x": 1}', "children_spec": []}
        value["in_spec"] = json.dumps([1, node])


ATTACKS = {
    "pickled weights": (picked, "pickled tensor"),
    "an operator outside torch's": (setting("target", "torch.os.system"), "torch.os.system"),
    "an operator that reads files": (
        setting("target", "torch.ops.aten.from_file.default"),
        "from_file",
    ),
    "an operator that writes where an index says": (
        setting("target", "torch.ops.aten._sparse_coo_tensor_unsafe.default"),
        "_sparse_coo_tensor_unsafe",
    ),
    "an operator that gives memory as it is": (
        setting("target", "torch.ops.aten.empty.memory_format"),
        "aten.empty",
    ),
    "a gradient, which trusts its indices": (
        setting("target", "torch.ops.aten.max_pool2d_with_indices_backward.default"),
        "max_pool2d_with_indices_backward",
    ),
    "an operator that can be told to trust": (
        setting("target", "torch.ops.aten.segment_reduce.default"),
        "segment_reduce",
    ),
    "a shape without end": (
        setting("expr_str", "Pow(Integer(10), Pow(Integer(10), Integer(10)))"),
        "which is not an expression",
    ),
    "a shape of steps that each are small": (
        setting("expr_str", "Pow(Pow(Pow(Integer(10), Integer(60)), Integer(60)), Integer(60))"),
        "which is not an expression",
    ),
    "a shape of a number without end": (
        setting("expr_str", f"Integer({'9' * 3000})"),
        "which is not an expression",
    ),
    "a shape that calls": (
        setting("expr_str", "open('MARK', 'w')"),
        "which is not an expression",
    ),
    "a shape that reaches for attributes": (
        setting("expr_str", "Symbol('x').__class__.__base__"),
        "which is not an expression",
    ),
    "a name that ends a line": (
        setting("name", "x\nopen('MARK', 'w')\n", only="linear"),
        "is not an identifier",
    ),
    "a weight's name that ends a text": (
        setting("parameter_name", "w'.x(open('MARK','w'))"),
        "which is not one of a weight",
    ),
    "a structure that imports": (specified, "collections.defaultdict"),
}


@pytest.mark.parametrize("case", ATTACKS)
def test_what_could_run_as_code_is_refused(world: World, case: str) -> None:
    change, message = ATTACKS[case]
    mark = world.folder / "mark"
    bomb = pickle.dumps(Bomb(mark))
    world.write(["a", "b"] * 4)
    path = world.program(nn.Linear(3, 2), torch.zeros(4, 3))

    def attack(name: str, data: bytes) -> bytes:
        if name.endswith(".json"):
            text = json.dumps(deep(json.loads(data), change))
            return text.replace("MARK", str(mark)).encode()
        return bomb if name.startswith("data/weights/weight") else data

    rewrite(path, attack)
    failure = world.failure("accuracy")
    assert failure.reason == "ModelCorrupt"
    assert message in failure.message
    assert not mark.exists()


def test_code_in_parts_that_are_not_needed_is_left_out(world: World) -> None:
    mark = world.folder / "mark"
    bomb = pickle.dumps(Bomb(mark))
    world.write(["a", "b"] * 4)
    path = world.program(nn.Linear(3, 2), torch.zeros(4, 3))

    def attack(name: str, data: bytes) -> bytes:
        if name.startswith("data/sample_inputs"):
            return bomb
        if name == "models/model.json":
            graph = json.loads(data)
            graph["guards_code"] = [f"open({str(mark)!r}, 'w')"]
            return json.dumps(graph).encode()
        return data

    rewrite(
        path,
        attack,
        **{"data/aotinductor/model/x.so": b"no library", "data/weights/model.pt": bomb},
    )
    assert 0 <= world.values("accuracy")["accuracy"] <= 1
    assert not mark.exists()


def test_records_that_are_packed_are_refused_before_they_are_unpacked(world: World) -> None:
    """Two megabytes may be two gigabytes."""
    world.write(["a", "b"] * 4)
    path = world.program(nn.Linear(3, 2), torch.zeros(4, 3))
    with zipfile.ZipFile(path) as found:
        records = {info.filename: found.read(info) for info in found.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name, data in records.items():
            bomb.writestr(name, data + b"\0" * (10**8 if "weights/weight_0" in name else 0))
    assert path.stat().st_size < 10**6
    failure = world.failure("accuracy")
    assert failure.reason == "ModelCorrupt"
    assert "packed" in failure.message


def test_a_header_larger_than_its_disk_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with (tmp_path / "model.safetensors").open("wb") as sparse:
        sparse.write((2**40 - 8).to_bytes(8, "little"))
        sparse.truncate(2**40)
    with pytest.raises(StageFailure, match=r"model\.safetensors is damaged"):
        check_model(tmp_path)


DAMAGED = {
    "empty": b"",
    "text": b"this is no archive\n",
    "a pickle": pickle.dumps({"a": 1}),
}


@pytest.mark.parametrize("case", [*DAMAGED, "truncated", "a state_dict", "without a program"])
def test_a_file_that_is_no_program_is_called_corrupt(world: World, case: str) -> None:
    world.write(["a", "b"] * 4)
    path = world.program(nn.Linear(3, 2), torch.zeros(4, 3))
    if case in DAMAGED:
        path.write_bytes(DAMAGED[case])
    elif case == "truncated":
        path.write_bytes(path.read_bytes()[:-500])
    elif case == "a state_dict":
        torch.save(nn.Linear(3, 2).state_dict(), path)
    else:
        path.unlink()
        with PT2ArchiveWriter(str(path)) as writer:
            writer.write_bytes("extra/x", b"x")
    failure = world.failure("accuracy")
    assert failure.reason == "ModelCorrupt"
    assert str(path) in failure.message

"""What user code may leave in the model folder, looked at from outside."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from trainingjob.runtime.base.digest import digest_of_folder
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.model import folder as model_folder
from trainingjob.runtime.model.check import check_model


def pt2(folder: Path) -> None:
    with zipfile.ZipFile(folder / "model.pt2", "w") as file:
        file.writestr("archive/version", "1")


def predictions(folder: Path) -> None:
    pq.write_table(pa.table({"y_true": [1], "y_pred": [1]}), folder / "predictions.parquet")


def safetensors(folder: Path) -> None:
    save_file({"w": np.zeros(3, np.float32)}, folder / "model.safetensors", {"made": "by hand"})
    (folder / "config.json").write_text('{"format": "trainingjob.dev/model"}')


def before_the_mark(folder: Path) -> None:
    """A built-in model as versions before saved it."""
    safetensors(folder)
    known = {"version": 1, "task": "regression", "label": "y", "features": ["x"], "mlp": {}}
    (folder / "config.json").write_text(json.dumps(known))


def hugging_face(folder: Path) -> None:
    """As transformers' save_pretrained leaves it."""
    safetensors(folder)
    config = {"architectures": ["BertModel"], "model_type": "bert", "transformers_version": "5"}
    (folder / "config.json").write_text(json.dumps(config))


def hugging_face_with_predictions(folder: Path) -> None:
    hugging_face(folder)
    predictions(folder)


def graph(folder: Path) -> None:
    """With its operators behind it, as every exporter writes them."""
    values = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [300]) for n in "xy"]
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    made = onnx.helper.make_graph([node], "g", values[:1], values[1:])
    onnx.save(onnx.helper.make_model(made), folder / "model.onnx")


def without_its_end(size: int):
    def cut(folder: Path) -> None:
        graph(folder)
        data = (folder / "model.onnx").read_bytes()
        (folder / "model.onnx").write_bytes(data[:-size])

    return cut


def text_as_onnx(folder: Path) -> None:
    (folder / "model.onnx").write_text("this is no graph\n")


def onnx_without_end(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"\x0a\x00" * 200_000)


def half(name: str):
    def cut(folder: Path) -> None:
        for make in (pt2, predictions, safetensors, graph):
            make(folder)
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return cut


def empty(folder: Path) -> None:
    (folder / "model.pt2").touch()
    (folder / ".nfs0001").write_text("left by a file server")


def a_state(folder: Path) -> None:
    (folder / "model.pth").write_bytes(b"a pickle")


def in_a_folder_below(folder: Path) -> None:
    (folder / "final").mkdir()
    pt2(folder / "final")


def a_link_out(folder: Path) -> None:
    outside = folder.parent / "elsewhere"
    outside.mkdir()
    pt2(outside)
    (folder / "model.pt2").symlink_to(outside / "model.pt2")


def weights_alone(folder: Path) -> None:
    safetensors(folder)
    (folder / "config.json").unlink()


def header_beyond_the_file(folder: Path) -> None:
    safetensors(folder)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**40) + b"{}")


def header_of_nonsense(folder: Path) -> None:
    safetensors(folder)
    text = json.dumps([1, 2]).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)


USABLE = [graph, pt2, predictions, safetensors, before_the_mark, hugging_face_with_predictions]


@pytest.mark.parametrize("make", USABLE, ids=lambda f: f.__name__)
def test_a_usable_model_passes(tmp_path, make):
    make(tmp_path)
    check_model(tmp_path)


BAD = {
    "a pickle": (a_state, "ModelMissing", "model.pth (8 B) in", "unpickling"),
    "a model of another library": (
        hugging_face,
        "ModelMissing",
        "model.safetensors (116 B) and config.json",
        "another library",
    ),
    "weights without a config": (weights_alone, "ModelMissing", "model.safetensors", "another"),
    "a model in a folder below": (in_a_folder_below, "ModelMissing", "final/model.pt2", "itself"),
    "a link that leads out": (a_link_out, "ModelMissing", "no model in", "model.pt2 is a link out"),
    "half an exported model": (half("model.pt2"), "ModelCorrupt", "model.pt2", ""),
    "half a graph": (half("model.onnx"), "ModelCorrupt", "model.onnx is damaged", "cut short"),
    "a graph without its last byte": (without_its_end(1), "ModelCorrupt", "", "cut short"),
    "a graph without its operators": (without_its_end(4), "ModelCorrupt", "", "or no ONNX"),
    "text as a graph": (text_as_onnx, "ModelCorrupt", "model.onnx", "or no ONNX"),
    "a graph of fields without end": (onnx_without_end, "ModelCorrupt", "", "or no ONNX"),
    "half a prediction file": (half("predictions.parquet"), "PredictionsInvalid", "", ""),
    "half the weights": (half("model.safetensors"), "ModelCorrupt", "model.safetensors", ""),
    "half a config": (half("config.json"), "ModelCorrupt", "config.json", ""),
    "a header beyond the file": (header_beyond_the_file, "ModelCorrupt", "", ""),
    "a header of nonsense": (header_of_nonsense, "ModelCorrupt", "", ""),
    "an empty file": (empty, "ModelCorrupt", "model.pt2 is damaged", ""),
}


@pytest.mark.parametrize(("make", "reason", "what", "why"), BAD.values(), ids=BAD)
def test_an_unusable_model_is_refused(tmp_path, make, reason, what, why):
    folder = tmp_path / "model"
    folder.mkdir()
    make(folder)
    with pytest.raises(StageFailure) as caught:
        check_model(folder)
    message = caught.value.message
    assert (caught.value.reason, what in message, why in message) == (reason, True, True), message


def test_what_is_empty_or_hidden_is_not_there(tmp_path):
    empty(tmp_path)
    assert model_folder.files(tmp_path) == []


SIZES = {
    0: "0 B",
    999: "999 B",
    1000: "1.0 kB",
    9960: "10 kB",
    3_100_000: "3.1 MB",
    10**13: "10 TB",
}


@pytest.mark.parametrize(("size", "words"), SIZES.items())
def test_sizes_in_words(size, words):
    assert model_folder.size_in_words(size) == words


def test_the_digest_is_of_names_and_contents(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a").write_text("1")
    first = digest_of_folder(tmp_path)
    assert digest_of_folder(tmp_path) == first
    (tmp_path / "sub/a").write_text("2")
    second = digest_of_folder(tmp_path)
    (tmp_path / "sub/a").rename(tmp_path / "b")
    assert len({first, second, digest_of_folder(tmp_path)}) == 3

"""What user code may leave in the model folder, looked at from outside."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from tests.local.train.gang import Job
from trainingjob.runtime.base.digest import digest_of_folder
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.model import folder as model_folder
from trainingjob.runtime.model.check import check_model
from trainingjob.runtime.model.unjudged import LINES
from trainingjob.runtime.train import user_code


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


def text_classifier(folder: Path) -> None:
    """As transformers' save_pretrained leaves it, and its tokenizer's."""
    safetensors(folder)
    config = {"architectures": ["BertForSequenceClassification"], "model_type": "bert"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")


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


USABLE = [
    *(graph, pt2, predictions, safetensors, before_the_mark),
    *(hugging_face_with_predictions, text_classifier),
]


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


def config(name: str) -> bytes:
    return json.dumps({"architectures": [name], "model_type": "bert"}).encode()


CLASSIFIER = config("BertForSequenceClassification")
# What libraries leave, by the beginnings of their files -> why it is not judged, the line to write.
UNJUDGED: dict[str, tuple[dict[str, bytes], str, str]] = {
    "Keras": ({"model.keras": b"PK\x03\x04"}, "another library", LINES["Keras"]),
    "Keras, of old": ({"model.h5": b"\x89HDF"}, "another library", LINES["Keras"]),
    "scikit-learn by joblib": ({"model.joblib": b"\x80\x04"}, "unpickling", LINES["scikit-learn"]),
    "scikit-learn by pickle": ({"model.pkl": b"\x80\x04"}, "unpickling", LINES["scikit-learn"]),
    "a SavedModel": (
        {"saved/saved_model.pb": b"\x08\x01", "saved/variables/variables.index": b"\x00"},
        "another library",
        LINES["TensorFlow"],
    ),
    "XGBoost in JSON": (
        {"model.json": b'{"learner":{"attributes":{},"feature_names":[]'},
        "another library",
        LINES["XGBoost"],
    ),
    "XGBoost in UBJSON": (
        {"model.ubj": b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner{L"},
        "another library",
        LINES["XGBoost"],
    ),
    "LightGBM": (
        {"model.txt": b"tree\nversion=v4\nnum_class=10\n"},
        "another library",
        LINES["LightGBM"],
    ),
    "a state of torch": ({"model.pt": b"PK\x03\x04"}, "unpickling", LINES["PyTorch"]),
    "weights of torch alone": (
        {"model.safetensors": b"\x02\0\0\0\0\0\0\0{}"},
        "another library",
        LINES["PyTorch"],
    ),
    "pickled weights alone": ({"pytorch_model.bin": b"PK"}, "unpickling", LINES["PyTorch"]),
    "a classifier of texts with pickled weights": (
        {"config.json": CLASSIFIER, "pytorch_model.bin": b"PK", "tokenizer.json": b"{}"},
        "pytorch_model.bin: it is read by unpickling",
        "model.save_pretrained(out), which leaves safetensors",
    ),
    "a classifier of texts without weights": (
        {"config.json": CLASSIFIER, "tokenizer.json": b"{}"},
        "there is no model.safetensors",
        "model.save_pretrained(out), which leaves safetensors",
    ),
    "a classifier of texts without its tokenizer": (
        {"config.json": CLASSIFIER, "model.safetensors": b"\x02\0\0\0\0\0\0\0{}"},
        "there is no tokenizer.json beside config.json of BertForSequenceClassification",
        "tokenizer.save_pretrained(out), or predictions.parquet",
    ),
    "Hugging Face's of another task": (
        {"config.json": config("BertForTokenClassification"), "model.safetensors": b"\0" * 8},
        "BertForTokenClassification is no classifier of texts",
        LINES["any other"],
    ),
    "an adapter": (
        {"adapter_config.json": b"{}", "adapter_model.safetensors": b"\x02"},
        "it is an adapter",
        "model.merge_and_unload().save_pretrained(out)",
    ),
    "another library's": ({"model.cbm": b"CBM1"}, "another library", LINES["any other"]),
    "a text": ({"notes.txt": b"done"}, "no model that can be run here", LINES["any other"]),
}


@pytest.mark.parametrize(("files", "why", "line"), UNJUDGED.values(), ids=UNJUDGED)
def test_what_cannot_be_judged_is_told_with_the_line_that_writes_what_can(
    tmp_path, files, why, line
):
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    with pytest.raises(StageFailure) as caught:
        check_model(tmp_path)
    message = caught.value.message
    assert caught.value.reason == "ModelMissing"
    assert why in message
    assert f"; write {line}" in message


@pytest.mark.parametrize("library", LINES)
def test_the_lines_are_those_of_the_documentation(library):
    text = (Path(__file__).parents[3] / "docs/own-code.md").read_text(encoding="utf-8")
    assert f"| {library} | `{LINES[library]}` |" in text


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


def test_what_a_link_leads_to_does_not_go_with_the_model_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    payload = Job(tmp_path, {"command": ["true"]}).payload()
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights.bin").write_text("w")
    (tmp_path / "best.ckpt").write_text("b")
    digest = digest_of_folder(model)
    (model / "best.ckpt").symlink_to(tmp_path / "best.ckpt")
    left: Any = SimpleNamespace(has_models=bool, keep_records=str)
    assert user_code.result(payload, left, lambda _: False).outputs.digest == digest
    words = "does not go with the model (best.ckpt is a link out of it: copy the file itself)"
    assert words in capsys.readouterr().out

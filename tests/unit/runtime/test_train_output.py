"""What user code may leave in the model folder, looked at from outside."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from trainingjob.runtime.errors import StageFailure
from trainingjob.runtime.train.output import check_model, digest_of_folder


def pt2(folder: Path) -> None:
    with zipfile.ZipFile(folder / "model.pt2", "w") as file:
        file.writestr("archive/version", "1")


def predictions(folder: Path) -> None:
    pq.write_table(pa.table({"y_true": [1], "y_pred": [1]}), folder / "predictions.parquet")


def safetensors(folder: Path) -> None:
    save_file({"w": np.zeros(3, np.float32)}, folder / "model.safetensors", {"made": "by hand"})
    (folder / "config.json").write_text("{}")


def half(name: str):
    def cut(folder: Path) -> None:
        for make in (pt2, predictions, safetensors):
            make(folder)
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return cut


def nothing(folder: Path) -> None:
    (folder / "model.pth").write_bytes(b"a pickle")


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


@pytest.mark.parametrize("make", [pt2, predictions, safetensors], ids=lambda f: f.__name__)
def test_a_usable_model_passes(tmp_path, make):
    make(tmp_path)
    check_model(tmp_path)


BAD = {
    "nothing usable": (nothing, "ModelMissing"),
    "weights without a config": (weights_alone, "ModelMissing"),
    "half an exported model": (half("model.pt2"), "ModelCorrupt"),
    "half a prediction file": (half("predictions.parquet"), "PredictionsInvalid"),
    "half the weights": (half("model.safetensors"), "ModelCorrupt"),
    "half a config": (half("config.json"), "ModelCorrupt"),
    "a header beyond the file": (header_beyond_the_file, "ModelCorrupt"),
    "a header of nonsense": (header_of_nonsense, "ModelCorrupt"),
}


@pytest.mark.parametrize(("make", "reason"), BAD.values(), ids=BAD)
def test_an_unusable_model_is_refused(tmp_path, make, reason):
    make(tmp_path)
    with pytest.raises(StageFailure) as caught:
        check_model(tmp_path)
    assert caught.value.reason == reason


def test_the_digest_is_of_names_and_contents(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a").write_text("1")
    first = digest_of_folder(tmp_path)
    assert digest_of_folder(tmp_path) == first
    (tmp_path / "sub/a").write_text("2")
    second = digest_of_folder(tmp_path)
    (tmp_path / "sub/a").rename(tmp_path / "b")
    assert len({first, second, digest_of_folder(tmp_path)}) == 3

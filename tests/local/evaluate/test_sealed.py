"""Judged on a test split that is sealed: with its key, and nothing in its place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.local.preprocess import both
from trainingjob.api.payload import EvaluatePayload
from trainingjob.api.v1alpha1.train import Mlp
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset import seal
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.dataset.seal import Seal
from trainingjob.runtime.evaluate import run
from trainingjob.runtime.model.mlp import ModelConfig, build, save_model

from .build import World

SEAL = Seal(b"k" * 32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets of the same rows: `open`, `sealed`, and `again`, by the same key once more."""
    folder = tmp_path_factory.mktemp("made")
    source = folder / "in.csv"
    source.write_text("x,y\n" + "".join(f"{i % 97}.5,{i % 13}.25\n" for i in range(400)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seal, "ask", lambda: SEAL)
        for name, sealed in (("open", None), ("sealed", True), ("again", True)):
            both.preprocess.run(both.payload("pandas", source, folder / name, sealed=sealed))
    return folder


@pytest.fixture
def judge(world: World, made: Path, monkeypatch: pytest.MonkeyPatch):
    """Evaluates an untrained model, the same one each time, on a copy of a dataset."""
    world.task, world.label = "regression", "y"
    monkeypatch.setattr(seal, "ask", lambda: SEAL)

    def on(name: str, *, sealed: bool | None = True, change=lambda folder: None, kind=""):
        shutil.rmtree(world.dataset, ignore_errors=True)
        shutil.copytree(made / name, world.dataset)
        manifest = DatasetManifest.read(world.dataset)
        monkeypatch.setenv("TRAININGJOB_DATASET_DIGEST", manifest.digest)
        change(world.dataset)
        if kind:
            rows = manifest.splits["test"].rows
            world.predictions(y_true=[1.0] * rows, y_pred=[1.0] * rows)
        else:
            config = ModelConfig(
                task="regression", label="y", features=["x"], classes=None, mlp=Mlp(hidden=[])
            )
            weights = {key: value * 0 + 0.5 for key, value in build(config).state_dict().items()}
            save_model(world.model, config, weights)
        asked = world.payload("rmse", "r2").model_dump(by_alias=True) | {"sealed": sealed}
        return run(EvaluatePayload.model_validate(asked))

    return on


def test_the_metrics_are_those_of_the_same_rows_in_the_open(judge) -> None:
    assert judge("sealed").metrics == judge("open", sealed=None).metrics


def files(folder: Path) -> list[Path]:
    return sorted((folder / "test").glob("*.parquet"))


def swapped(folder: Path) -> None:
    """Another file of the same job, of the same size, sealed by the same key."""
    (there,), (other,) = files(folder), files(folder.parent / "again")
    there.write_bytes(other.read_bytes()[: there.stat().st_size].ljust(there.stat().st_size, b"x"))


def flipped(folder: Path) -> None:
    (there,) = files(folder)
    data = bytearray(there.read_bytes())
    data[len(data) // 2] ^= 1
    there.write_bytes(data)


def opened(folder: Path) -> None:
    """A dataset in the open in its place, with its manifest."""
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / "open", folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (swapped, "missing or not as its manifest says"),
        (flipped, "missing or not as its manifest says"),
        (opened, "is not the one that preprocess has left"),
    ],
)
def test_what_was_changed_is_not_judged(judge, made: Path, world: World, change, says) -> None:
    for name in ("open", "again"):
        shutil.copytree(made / name, world.dataset.parent / name)
    with pytest.raises(StageFailure, match=says) as told:
        judge("sealed", change=change)
    assert told.value.reason == "DatasetInvalid"


def test_what_is_changed_while_it_is_read_is_not_judged(
    judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has no key cannot make rows, though digests were compared before."""
    monkeypatch.setattr("trainingjob.runtime.evaluate._verify_rows", lambda *_: None)
    with pytest.raises(StageFailure, match=r"decryption|cannot be read") as told:
        judge("sealed", change=flipped)
    assert told.value.reason == "DatasetInvalid"


def test_a_split_that_lay_open_is_refused(judge) -> None:
    with pytest.raises(StageFailure, match="written before that was set") as told:
        judge("open")
    assert told.value.reason == "DatasetInvalid"


def test_a_seal_of_another_key_is_told(judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "ask", lambda: Seal(b"other" * 8))
    with pytest.raises(StageFailure, match="sealed by another key") as told:
        judge("sealed")
    assert told.value.reason == "DatasetInvalid"


def test_predictions_of_code_are_refused(judge) -> None:
    with pytest.raises(StageFailure, match=r"leave model\.onnx or model\.pt2") as told:
        judge("sealed", kind="predictions")
    assert told.value.reason == "PredictionsInvalid"

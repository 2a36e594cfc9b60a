"""People's own code of each style, unmodified, in whole jobs on this machine: whether it runs, by
what it is judged, and whether it goes on when a process is killed. Rows of docs/own-code.md."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_digits

from .. import tables
from .harness import base, cli, run, write_job

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "tests/scripts"
# `make nightly` fetches them: requirements/frameworks.txt.
WHEELS = ROOT / ".cache/frameworks"
# With the packages, on a machine that does other things, too.
MOST_SECONDS = 600


@dataclass(frozen=True)
class Style:
    """A ``script`` of tests/scripts and the fields of ``train`` that start it; ``packages`` are
    those that the image lacks, ``judged`` is the source of the evaluation's figures."""

    script: str
    train: dict[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    judged: str = "predictions"
    resumes: bool = False
    leaves: tuple[str, ...] = ()
    says: str = ""


TWO: dict[str, Any] = {"nodes": 2}


def command(*words: str) -> dict[str, Any]:
    return {"nodes": 2, "command": list(words)}


def env(**variables: str) -> dict[str, Any]:
    return {"env": [{"name": name, "value": value} for name, value in variables.items()]}


STYLES = {
    "torchrun": Style(
        "torch_ddp.py", command("torchrun", "train.py"), ("onnxscript",), "onnx", resumes=True
    ),
    "DDP": Style("torch_ddp.py", TWO, ("onnxscript",), "onnx", resumes=True),
    "FSDP": Style("torch_fsdp.py", TWO, ("onnxscript",), "onnx", resumes=True),
    "torch.distributed.launch": Style(
        "local_rank.py",
        command("python", "-m", "torch.distributed.launch", "train.py"),
        judged="program",
    ),
    "--local-rank": Style(
        "local_rank.py", {**TWO, "args": ["--local-rank=$(LOCAL_RANK)"]}, judged="program"
    ),
    "accelerate": Style("accelerated.py", TWO, resumes=True),
    "accelerate launch": Style(
        "accelerated.py", command("accelerate", "launch", "--cpu", "train.py"), resumes=True
    ),
    "Hugging Face Trainer": Style(
        "hf_trainer.py", TWO, resumes=True, leaves=("model/model.safetensors",),
        says="wrapped by DistributedDataParallel",
    ),
    "Lightning": Style("with_lightning.py", TWO, ("lightning",), resumes=True),
    "Keras": Style(
        "with_keras.py", env(KERAS_BACKEND="torch"), ("keras", "onnxscript"), "onnx", resumes=True
    ),
    "TensorFlow": Style(
        "tensorflow_workers.py", {**TWO, **env(TF_USE_LEGACY_KERAS="1")},
        ("tensorflow", "tf-keras", "tf2onnx"), "onnx", resumes=True,
    ),
    "JAX": Style("jax_processes.py", TWO, ("jax",), resumes=True),
    "scikit-learn": Style("with_sklearn.py", {}, ("skl2onnx",), "onnx"),
    "XGBoost": Style("with_xgboost.py", {}, ("xgboost-cpu", "onnxmltools"), "onnx", resumes=True),
    "LightGBM": Style("with_lightgbm.py", {}, ("lightgbm", "onnxmltools"), "onnx", resumes=True),
    "DataLoader workers, forked": Style("data_workers.py", {"args": ["fork"]}),
    "DataLoader workers, spawned": Style("data_workers.py", {"args": ["spawn"]}),
    "TensorBoard": Style(
        "board.py", {}, ("tensorboard",),
        leaves=("left-behind/attempt-1/runs/*/events.out.tfevents.*",),
    ),
}  # fmt: skip
# Of seconds, with what is installed, and with something in each column that can fail.
SHORT = ["accelerate"]


@pytest.fixture(scope="module")
def matrix() -> Iterator[list[str]]:
    """A row for each style, printed when all tests have run."""
    rows: list[str] = []
    yield rows
    heading = f"{'s':>6}  runs  {'judged':28} resumes"
    tables.add("own code on one machine", heading, sorted(rows))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With hand-written digits that a job has prepared."""
    folder = tmp_path_factory.mktemp("frameworks")
    frame = load_digits(as_frame=True).frame
    (folder / "data").mkdir()
    frame.to_csv(folder / "data/in.csv", index=False)
    manifest = base()
    manifest["metadata"]["name"] = "prepared"
    spec = manifest["spec"]
    spec["task"]["label"] = "target"
    spec["preprocess"]["steps"] = [{"scale": {"method": "minmax"}}]
    spec["train"]["epochs"] = 1
    del spec["evaluate"]
    done = run(folder, write_job(folder, manifest), seconds=MOST_SECONDS)
    assert done.code == 0, done.stderr
    return folder


def name_of(style: str) -> str:
    """Of its job."""
    return re.sub("[^a-z0-9]+", "-", style.lower()).strip("-")


def manifest_of(name: str, style: Style) -> dict[str, Any]:
    manifest = base()
    manifest["metadata"]["name"] = name_of(name)
    spec = manifest["spec"]
    del spec["preprocess"]
    spec["task"]["label"] = "target"
    files = {"digits.py": SCRIPTS / "digits.py", "train.py": SCRIPTS / style.script}
    spec["train"] = {
        "dataset": {"uri": "pvc://runs/default/prepared/dataset"},
        "code": {"inline": {file: path.read_text() for file, path in files.items()}},
        **({"requirements": {"packages": list(style.packages)}} if style.packages else {}),
        **style.train,
    }
    spec["evaluate"] = {"metrics": ["accuracy"], "gates": [{"metric": "accuracy", "min": 0.8}]}
    return manifest


@pytest.mark.timeout(2 * MOST_SECONDS)
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in SHORT else [pytest.mark.nightly]) for n in STYLES],
)
def test_own_code_runs_is_judged_and_goes_on(
    name: str, folder: Path, matrix: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    style, job = STYLES[name], name_of(name)
    if style.packages:
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(WHEELS))
    begun = time.monotonic()
    done = run(folder, write_job(folder, manifest_of(name, style)), seconds=MOST_SECONDS)
    seconds = time.monotonic() - begun
    logs = cli(folder, "logs", job, "--stage", "train").stdout
    assert done.code == 0, f"{done.stderr}\n{logs}"

    status = done.status
    assert [stage["name"] for stage in status["stages"]] == ["train", "evaluate"]
    stored = folder / f".trainingjob/claims/runs/default/{job}"
    report = json.loads((stored / "evaluation/metrics.json").read_text())
    assert report["source"] == style.judged
    for file in style.leaves:
        assert list(stored.glob(file)), file
    assert re.search(style.says, logs), logs

    (train, _) = status["stages"]
    if style.resumes:
        # The first attempt is killed after epoch 1; the second one has trained those after it.
        assert train["attempt"] == 2
        assert (stored / "model/epochs.txt").read_text().split() == ["2", "3"]
    else:
        assert train["attempt"] == 1
    judged = f"{style.judged}, accuracy {done.metrics()['accuracy']:.3f}"
    resumes = "yes" if style.resumes else "begins anew"
    matrix.append(f"{name:52} {seconds:6.1f}  yes   {judged:28} {resumes}")


def test_what_is_documented_is_what_is_tried() -> None:
    """Each row of "find your framework" names the styles that it stands on."""
    text = (ROOT / "docs/own-code.md").read_text(encoding="utf-8")
    table = text.partition("<!-- tests/local/test_frameworks.py -->")[2].partition("\n\n")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    named = [style.strip() for row in rows for style in row.split("|")[1].split(";")]
    assert named == [*STYLES]

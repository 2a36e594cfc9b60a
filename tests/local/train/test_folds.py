"""The models of folds: each as if it were trained alone, and none of them twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.base.progress import Reporter
from trainingjob.runtime.train.loop import Trainer

from .gang import Job, fail, mlp, pods
from .problems import folded

# 80 rows in folds of 120, in batches of 20: 4 steps an epoch, and 6 for the final model.
SPEC: dict[str, Any] = {
    "model": mlp(hidden=[8], dropout=0.2),
    "earlyStopping": {"patience": 1, "minDelta": 0.01},
    "epochs": 3,
    "batchSize": 20,
    "checkpoint": {"everySteps": 2},
}
FOLDS = ("fold-1", "fold-2", "fold-3")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folded")
    folded(folder)
    return folder / "dataset"


def job_over(dataset: Path, folder: Path) -> Job:
    folder.mkdir()
    (folder / "dataset").symlink_to(dataset)
    return Job(folder, SPEC, needs_model=True)


def test_each_model_has_the_weights_that_it_has_when_it_is_trained_alone(
    dataset: Path, tmp_path: Path, in_process
) -> None:
    """The final one those of a job without folds."""
    found = in_process(job_over(dataset, tmp_path / "all"))
    names = ("model.safetensors", "history.json")
    assert set(found) == {
        f"{folder}{name}"
        for folder in ("", *(f"{fold}/" for fold in FOLDS))
        for name in (*names, "config.json")
    }
    for fold in FOLDS:
        alone = in_process(job_over(dataset / fold, tmp_path / fold))
        assert {f"{fold}/{name}": content for name, content in alone.items()}.items() <= (
            found.items()
        )
    plain = tmp_path / "plain-dataset"
    shutil.copytree(dataset, plain, ignore=shutil.ignore_patterns("fold-*"))
    manifest = json.loads((plain / "manifest.json").read_text())
    (plain / "manifest.json").write_text(json.dumps(manifest | {"folds": None}))
    alone = in_process(job_over(plain, tmp_path / "plain"))
    assert {name: alone[name] for name in names} == {name: found[name] for name in names}
    assert len(json.loads(found["fold-2/config.json"])["features"]) == 2
    assert len({found[f"{fold}/model.safetensors"] for fold in FOLDS}) == 3


def test_killed_in_any_fold_it_goes_on_there_and_ends_with_the_same_bits(
    dataset: Path, tmp_path: Path, in_process, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = in_process(job_over(dataset, tmp_path / "undisturbed"))
    job = job_over(dataset, tmp_path / "disturbed")
    trained: list[tuple[int | None, int]] = []
    run = Trainer.run

    def counted(self: Trainer) -> Any:
        result = run(self)
        trained.append((self.stretch.fold, result.steps))
        return result

    monkeypatch.setattr(Trainer, "run", counted)
    for fold, step in ((1, 3), (1, 4), (2, 1), (3, 4), (None, 5)):
        assert in_process(job, step, fold) is None
    assert in_process(job) == expected
    # None was trained to its end twice.
    assert [fold for fold, _ in trained] == [1, 2, 3, None]
    assert sorted(path.name for path in job.checkpoints.iterdir()) == [".job", "final", "models"]


def test_a_model_of_a_fold_that_is_damaged_is_trained_anew(
    dataset: Path, tmp_path: Path, in_process
) -> None:
    job = job_over(dataset, tmp_path / "job")
    expected = in_process(job)
    (job.checkpoints / "models/fold-2/model.safetensors").write_bytes(b"")
    shutil.rmtree(job.model)
    assert in_process(job) == expected


def test_those_of_another_run_of_the_name_do_not_count(
    dataset: Path, tmp_path: Path, in_process, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_over(dataset, tmp_path / "job")
    in_process(job)
    job.uid = "uid-2"

    def stop(self: Trainer) -> Any:
        raise RuntimeError(f"fold {self.stretch.fold}")

    monkeypatch.setattr(Trainer, "run", stop)
    with pytest.raises(RuntimeError, match="fold 1"):
        in_process(job)


def test_without_an_evaluation_there_is_the_final_model_alone(
    dataset: Path, tmp_path: Path, in_process
) -> None:
    job = job_over(dataset, tmp_path / "job")
    job.needs_model = False
    assert "/" not in "".join(in_process(job) or {})


def test_progress_is_of_all_models_and_says_which_fold(
    dataset: Path, tmp_path: Path, in_process, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[float, dict[str, float]]] = []
    monkeypatch.setattr(Reporter, "due", lambda self: True)
    monkeypatch.setattr(
        Reporter, "report", lambda self, done, metrics, *, eta=None: told.append((done, metrics))
    )
    in_process(job_over(dataset, tmp_path / "job"))
    shares = [done for done, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    total = 3 * (4 + 4 + 4 + 6)
    assert {metrics["total_steps"] for _, metrics in told} == {total}
    assert list(dict.fromkeys(metrics.get("fold") for _, metrics in told)) == [1, 2, 3, None]
    for begins, fold in ((0, 1), (12, 2), (24, 3), (36, None)):
        steps = [m["step"] for _, m in told if m.get("fold") == fold]
        assert begins < min(steps) <= max(steps) <= begins + (12 if fold else 18)
        saved = [m.get("checkpoint_step", 0) for _, m in told if m.get("fold") == fold]
        assert all(begins <= step <= begins + 18 for step in saved)


def test_what_fails_in_a_fold_says_so(tmp_path: Path, in_process) -> None:
    folded(tmp_path)
    manifest = tmp_path / "dataset/fold-2/train/part-00000.parquet"
    size = manifest.stat().st_size
    manifest.write_bytes(b"\0" * size)
    with pytest.raises(StageFailure) as caught:
        in_process(Job(tmp_path, SPEC, needs_model=True))
    assert caught.value.message.startswith("fold 2: ")


# --- own code ----------------------------------------------------------------------------------

OWN = """
import json, os
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq

data, out, kept, resume = (
    os.environ.get(f"TRAININGJOB_{name}")
    for name in ("INPUT_DIR", "OUTPUT_DIR", "CHECKPOINT_DIR", "RESUME_FROM")
)
fold, node = os.environ.get("TRAININGJOB_FOLD"), os.environ["NODE_RANK"]
diary = Path(os.environ["DIARY"])

def tell(what):
    with diary.open("a") as file:
        file.write(f"{what} {fold} {node}\\n")

tell("begin")
manifest = json.loads(Path(data, "manifest.json").read_text())
truth = pa.concat_arrays(
    [pq.read_table(path)["label"].combine_chunks() for path in sorted(Path(data, "test").glob("*"))]
    or [pa.array([], pa.string())]
)
if (fold, node) == (os.environ.get("FAILS_IN", ""), "0") and resume is None:
    Path(kept, "state").write_text("half")
    raise SystemExit(3)
if node == "0":
    if fold or len(truth):
        table = pa.table({"y_true": truth, "y_pred": truth})
        pq.write_table(table, Path(out, "predictions.parquet"))
    else:
        Path(out, "model.bin").write_text("whatever")
tell(f"end {len(manifest['features'])} {len(truth)} {resume and Path(resume).name}")
"""


def own(dataset: Path, folder: Path, **more: Any) -> Job:
    job = job_over(dataset, folder)
    job.spec = {"script": {"inline": OWN}} | more
    job.env = {"DIARY": str(folder / "diary")}
    return job


def diary(job: Job) -> list[str]:
    return (job.folder / "diary").read_text().splitlines()


def test_own_code_runs_for_each_fold_and_goes_on_in_the_one_that_failed(
    dataset: Path, tmp_path: Path
) -> None:
    job = own(dataset, tmp_path / "job")
    job.env |= {"FAILS_IN": "2"}
    failure = fail(job)
    assert failure.reason == "ScriptFailed"
    assert failure.message.startswith("fold 2: rank 0 exited with code 3")
    assert diary(job) == ["begin 1 0", "end 3 40 None 1 0", "begin 2 0"]
    with pods(job) as running:
        (report,) = running.wait()
        assert report.result is not None, running.logs()
    # The final model has no rows to be judged on: no split was set aside.
    assert diary(job)[3:] == [
        "begin 2 0",
        "end 2 40 state 2 0",
        "begin 3 0",
        "end 3 40 None 3 0",
        "begin None 0",
        "end 3 0 None None 0",
    ]
    model = {path.relative_to(job.model).as_posix() for path in job.model.rglob("*.*")}
    assert model == {"model.bin", *(f"{fold}/predictions.parquet" for fold in FOLDS)}


def test_the_nodes_of_own_code_train_the_same_fold(dataset: Path, tmp_path: Path) -> None:
    """One that is done waits until node 0 is, whose store the next fold's ranks are to find."""
    job = own(dataset, tmp_path / "job", nodes=2)
    with pods(job) as running:
        assert [bool(report.result) for report in running.wait()] == [True, False], running.logs()
    told = diary(job)
    for fold, following in (("1", "2"), ("2", "3"), ("3", "None")):
        end = next(
            i for i, line in enumerate(told) if line.endswith(f" {fold} 0") and "end" in line
        )
        assert end < told.index(f"begin {following} 1")


def test_a_fold_that_own_code_leaves_no_model_of_is_named(dataset: Path, tmp_path: Path) -> None:
    job = own(dataset, tmp_path / "job")
    job.spec = {"script": {"inline": "print('hello')"}}
    failure = fail(job)
    assert failure.reason == "ModelMissing"
    assert failure.message.startswith("fold 1: the training code ended well and left nothing in ")

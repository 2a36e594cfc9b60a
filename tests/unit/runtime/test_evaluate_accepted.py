"""The record of the last accepted model: what is read from it, and when it is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from trainingjob.api.accepted import folder_name
from trainingjob.api.payload import (
    RESULT_LIMIT,
    Baseline,
    EvaluatePayload,
    JobRef,
    Report,
    StageResult,
)
from trainingjob.api.v1alpha1 import CLASSIFICATION_METRICS, METRICS, REGRESSION_METRICS, Gate
from trainingjob.api.v1alpha1.job import Task
from trainingjob.api.v1alpha1.reported import Outputs, ScoreValue
from trainingjob.runtime import storage
from trainingjob.runtime.base.digest import digest_of_folder
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.evaluate.accepted import baseline_of, keep_if_accepted
from trainingjob.runtime.evaluate.publication import CARD, Card
from trainingjob.runtime.evaluate.report import MetricsFile
from trainingjob.runtime.storage import copies

from .test_publish import Killed, Steps, Store

MANIFEST = DatasetManifest(
    label="target",
    task="classification",
    features=["x"],
    columns={"x": "double", "target": "bigint"},
    classes=[0, 1],
    splits={},
)
PAST = {"metric": "accuracy", "noWorseThan": "lastAccepted", "tolerance": 0.01}


def payload(folder: Path, uid: str, *gates: dict[str, Any]) -> EvaluatePayload:
    return EvaluatePayload(
        job=JobRef(namespace="team", name="digits", uid=uid),
        attempt=1,
        task=Task(type="classification", label_column="target"),
        metrics=["accuracy"],
        dataset="file:///dataset",
        model_uri=f"file://{folder / 'model'}",
        output="file:///evaluation",
        gates=[Gate.model_validate(gate) for gate in gates],
        accepted=f"file://{folder / 'accepted'}",
    )


def report(asked: EvaluatePayload, digest: str, **metrics: float) -> MetricsFile:
    return MetricsFile(
        task="classification",
        samples=10,
        metrics=metrics,
        undefined={},
        source="predictions",
        model_uri=asked.model_uri,
        model_digest=trained(asked),
        dataset_uri="file:///dataset",
        dataset_digest=digest,
    )


def trained(asked: EvaluatePayload) -> str:
    """The digest of the run's model, which is there."""
    model = Path(asked.model_uri.removeprefix("file://"))
    (model / "parts").mkdir(parents=True, exist_ok=True)
    for name in ("predictions.parquet", "parts/more.txt"):
        (model / name).unlink(missing_ok=True)
        (model / name).write_bytes(f"{name} of {asked.job.uid}".encode())
    return digest_of_folder(model)


def record(folder: Path) -> dict[str, Any] | None:
    path = folder / "accepted" / "metrics.json"
    return json.loads(path.read_text()) if path.exists() else None


def evaluated(
    asked: EvaluatePayload, digest: str = "sha256:d", **metrics: float
) -> Baseline | None:
    """The stage as far as it goes about the record; what it compared with."""
    baseline = baseline_of(asked)
    keep_if_accepted(asked, report(asked, digest, **metrics), baseline, MANIFEST)
    return baseline


def published(folder: Path) -> list[str]:
    """The accepted models that are there."""
    return sorted(path.name for path in (folder / "accepted").iterdir() if path.is_dir())


def name_of(digest: str, dataset: str = "sha256:d") -> str:
    return folder_name(digest, dataset, payload(Path(), "1").task, None)


def short(digests: Sequence[str]) -> list[str]:
    return sorted(map(name_of, digests))


def test_the_record_has_what_is_needed_to_compare_with_it(tmp_path: Path) -> None:
    assert evaluated(payload(tmp_path, "1", PAST), accuracy=0.9, log_loss=0.3) is None
    one = trained(payload(tmp_path, "1"))
    first = {
        "version": 1,
        "uid": "1",
        "metrics": {"accuracy": 0.9, "log_loss": 0.3},
        "datasetDigest": "sha256:d",
        "modelDigest": one,
        "recent": [name_of(one)],
    }
    assert record(tmp_path) == first
    compared = evaluated(payload(tmp_path, "2", PAST), "sha256:e", accuracy=0.95)
    assert compared == Baseline(metrics={"accuracy": 0.9}, dataset_digest="sha256:d")
    two = trained(payload(tmp_path, "2"))
    assert record(tmp_path) == first | {
        "uid": "2",
        "modelDigest": two,
        "recent": [name_of(two, "sha256:e"), name_of(one)],
        "metrics": {"accuracy": 0.95},
        "baseline": {"metrics": {"accuracy": 0.9}, "datasetDigest": "sha256:d"},
        "datasetDigest": "sha256:e",
    }
    assert published(tmp_path) == sorted([name_of(one), name_of(two, "sha256:e")])
    assert len([*(tmp_path / "accepted").iterdir()]) == 3


TOLD = Baseline(metrics={"accuracy": 0.9}, dataset_digest="sha256:told")
LOSS = {"metric": "log_loss", "noWorseThan": "lastAccepted"}
# What is on the storage, and what is compared with where status has told the above.
RECORDS: dict[str, tuple[dict[str, Any] | None, dict[str, float]]] = {
    "none": (None, {"accuracy": 0.9}),
    "of a worse model": ({"uid": "1", "metrics": {"accuracy": 0.1}}, {"accuracy": 0.9}),
    "of this run": ({"uid": "2", "metrics": {"accuracy": 0.1}}, {"accuracy": 0.9}),
    "of this run, with what it says it was held to": (
        {"uid": "2", "metrics": {}, "baseline": {"metrics": {"accuracy": 0.2}}},
        {"accuracy": 0.9},
    ),
    "of more than status has": (
        {"uid": "1", "metrics": {"accuracy": 0.1, "log_loss": 0.4}},
        {"accuracy": 0.9, "log_loss": 0.4},
    ),
}


@pytest.mark.parametrize(("found", "compared"), RECORDS.values(), ids=RECORDS)
def test_what_status_tells_goes_before_the_record(
    found: dict[str, Any] | None, compared: dict[str, float], tmp_path: Path
) -> None:
    if found is not None:
        digests = {"datasetDigest": "sha256:d", "modelDigest": "sha256:m"}
        if "baseline" in found:
            found["baseline"]["datasetDigest"] = "sha256:d"
        (tmp_path / "accepted").mkdir()
        text = json.dumps({"version": 1} | digests | found)
        (tmp_path / "accepted" / "metrics.json").write_text(text)
    asked = payload(tmp_path, "2", PAST, LOSS).model_copy(update={"baseline": TOLD})
    assert baseline_of(asked) == Baseline(metrics=compared, dataset_digest="sha256:told")


def test_an_accepted_model_stays_as_it_was_judged(tmp_path: Path) -> None:
    digests = []
    for uid in "123":
        evaluated(payload(tmp_path, uid), accuracy=0.9)
        digests.append(trained(payload(tmp_path, uid)))
    for digest in digests:
        folder = tmp_path / "accepted" / name_of(digest)
        assert digest_of_folder(folder, but=CARD) == digest
        card = Card.read(folder)
        assert (card.model_digest, card.report.metrics) == (digest, {"accuracy": 0.9})


def test_a_model_that_is_written_anew_in_place_changes_no_accepted_one(tmp_path: Path) -> None:
    """As an image does that runs as it stands: torch.save opens its file and empties it."""
    asked = payload(tmp_path, "1")
    evaluated(asked, accuracy=0.9)
    digest = trained(asked)
    for file in (f for f in storage.resolve(asked.model_uri).rglob("*") if f.is_file()):
        file.write_bytes(b"worse")
    folder = tmp_path / "accepted" / name_of(digest)
    assert digest_of_folder(folder, but=CARD) == digest


def test_the_newest_models_stay_and_those_in_use(tmp_path: Path) -> None:
    digests = []
    for uid in "12345":
        asked = payload(tmp_path, uid)
        if uid > "1":
            asked = asked.model_copy(update={"in_use": short(digests[:1])})
        evaluated(asked, accuracy=0.9)
        digests.append(trained(asked))
    assert published(tmp_path) == short([digests[0], *digests[2:]])
    # One that is accepted again is the newest.
    evaluated(payload(tmp_path, "3"), accuracy=0.9)
    evaluated(payload(tmp_path, "6"), accuracy=0.9)
    six = trained(payload(tmp_path, "6"))
    assert published(tmp_path) == short([digests[2], digests[4], six])
    assert record(tmp_path)["recent"] == [
        name_of(digest) for digest in (six, digests[2], digests[4])
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"threshold": 0.7},
        {"task": Task.model_validate({"type": "classification", "label": "x", "positiveClass": 1})},
    ],
)
def test_the_same_files_that_decide_otherwise_are_another_model(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    asked = payload(tmp_path, "1")
    evaluated(asked, accuracy=0.9)
    evaluated(asked.model_copy(update=other), accuracy=0.8)
    evaluated(asked, "sha256:of other steps", accuracy=0.8)
    assert len({*published(tmp_path)}) == 3
    names = (record(tmp_path) or {})["recent"]
    cards = [Card.read(tmp_path / "accepted" / name) for name in names]
    assert [card.report.metrics["accuracy"] for card in cards] == [0.8, 0.8, 0.9]


def test_a_model_that_was_not_accepted_is_not_published(tmp_path: Path) -> None:
    evaluated(payload(tmp_path, "1"), accuracy=0.9)
    evaluated(payload(tmp_path, "2", PAST), accuracy=0.5)
    assert published(tmp_path) == short([trained(payload(tmp_path, "1"))])


def test_nothing_of_others_is_swept(tmp_path: Path) -> None:
    others = ("mine", ".hidden", "0123456789ab", "0123456789ab-01234567.txt")
    for name in others:
        (tmp_path / "accepted" / name).mkdir(parents=True)
    ours = "0123456789ab-01234567"
    for name in (ours, f".{ours}.writing", f".{ours}.old"):
        (tmp_path / "accepted" / name).mkdir(parents=True)
    evaluated(payload(tmp_path, "1"), accuracy=0.9)
    one = trained(payload(tmp_path, "1"))
    assert published(tmp_path) == sorted([*short([one]), *others])


@pytest.mark.parametrize("lost", ["predictions.parquet", "trainingjob.json", "parts/more.txt"])
def test_a_folder_that_is_not_whole_is_written_again(tmp_path: Path, lost: str) -> None:
    """As one in S3, where no folder appears at once."""
    asked = payload(tmp_path, "1")
    evaluated(asked, accuracy=0.9)
    digest = trained(asked)
    folder = tmp_path / "accepted" / name_of(digest)
    (folder / lost).unlink()
    evaluated(asked, accuracy=0.9)
    assert digest_of_folder(folder, but=CARD) == digest
    assert Card.read(folder).model_digest == digest


MIN = {"metric": "accuracy", "min": 0.8}
# gates, accuracy after 0.9 was accepted, whether that is accepted
VERDICTS = {
    "without gates everything is accepted": ((), 0.1, True),
    "no worse": ((PAST,), 0.9, True),
    "worse": ((PAST,), 0.85, False),
    "worse, and gates do not compare": ((MIN,), 0.85, True),
    "one of two gates fails": ((MIN, PAST), 0.85, False),
    "below a bound": ((MIN,), 0.7, False),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_the_record_is_of_the_last_model_whose_gates_all_passed(tmp_path: Path, case: str) -> None:
    gates, accuracy, accepted = VERDICTS[case]
    evaluated(payload(tmp_path, "1"), accuracy=0.9)
    evaluated(payload(tmp_path, "2", *gates), accuracy=accuracy)
    found = record(tmp_path)
    assert found is not None
    assert (found["uid"], found["metrics"]["accuracy"]) == (
        ("2", accuracy) if accepted else ("1", 0.9)
    )


def test_gates_that_do_not_compare_read_no_record(tmp_path: Path) -> None:
    (tmp_path / "accepted").mkdir()
    (tmp_path / "accepted" / "metrics.json").write_text("{")
    assert evaluated(payload(tmp_path, "1", MIN), accuracy=0.9) is None
    assert record(tmp_path) is not None


def test_an_operator_that_does_not_know_the_record_leaves_it_alone(tmp_path: Path) -> None:
    asked = payload(tmp_path, "1").model_copy(update={"accepted": None})
    assert evaluated(asked, accuracy=0.9) is None
    assert not (tmp_path / "accepted").exists()


def test_a_metric_that_the_last_model_did_not_have_is_not_compared(tmp_path: Path) -> None:
    evaluated(payload(tmp_path, "1"), rmse=3.0)
    compared = evaluated(payload(tmp_path, "2", PAST), accuracy=0.1)
    assert compared == Baseline(metrics={}, dataset_digest="sha256:d")
    assert record(tmp_path)["uid"] == "2"


@pytest.mark.parametrize("before", [None, 0.9])
def test_a_repeat_after_the_record_was_written_compares_with_the_same(
    tmp_path: Path, before: float | None
) -> None:
    """The pod died before the operator heard of it, maybe twice."""
    if before is not None:
        evaluated(payload(tmp_path, "1"), accuracy=before)
    asked = payload(tmp_path, "2", PAST)
    first = evaluated(asked, accuracy=0.95)
    written = record(tmp_path)
    assert (first is None) is (before is None)
    for _ in range(2):
        assert evaluated(asked, accuracy=0.95) == first
        assert record(tmp_path) == written


# Where a pod dies, and whose record it leaves: while it publishes the model, and then the record.
DEATHS = {
    "while it writes the card": ("write_text", False, "1"),
    "before it renames the model's folder": ("rename", False, "1"),
    "after it renamed the model's folder": ("rename", True, "1"),
    "before it renames the record": ("replace", False, "1"),
    "after it renamed the record": ("replace", True, "2"),
}


@pytest.mark.parametrize("case", DEATHS)
def test_a_pod_that_dies_leaves_a_record_and_its_repeat_compares_with_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    step, done, left = DEATHS[case]
    evaluated(payload(tmp_path, "1"), accuracy=0.9)
    asked = payload(tmp_path, "2", PAST)
    real = getattr(Path, step)

    def die(self: Path, *arguments: Any, **options: Any) -> None:
        if done:
            real(self, *arguments, **options)
        elif step == "write_text":
            self.write_bytes(b'{"version": 1, "uid"')
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, step, die)
        evaluated(asked, accuracy=0.95)
    found = record(tmp_path)
    assert found is not None
    assert found["uid"] == left
    of_record = tmp_path / "accepted" / found["recent"][0]
    assert digest_of_folder(of_record, but=CARD) == found["modelDigest"]
    compared = evaluated(asked, accuracy=0.95)
    assert compared is not None
    assert compared.metrics == {"accuracy": 0.9}
    assert record(tmp_path)["uid"] == "2"
    # Nothing is left beside the record and the two models.
    assert len([*(tmp_path / "accepted").iterdir()]) == 3


class Bucket(Store):
    """As S3 has it: a folder goes and comes file by file, those of JSON last."""

    def remove(self, path: str) -> None:
        for name in [*self.find(path)]:
            self.steps.one()
            self.files.pop(name)

    def replace(self, source: Path, path: str) -> None:
        self.remove(path)
        files = sorted(f for f in source.rglob("*") if f.is_file())
        for file in sorted(files, key=lambda file: file.suffix == ".json"):
            self.put(file, f"{path}/{file.relative_to(source).as_posix()}")


def test_in_s3_whoever_dies_at_any_step_leaves_a_record_whose_model_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps()
    store = Bucket(steps)
    monkeypatch.setattr(copies, "connect", lambda uri: store)
    pods = 0

    def judged(uid: str) -> str:
        """By a pod that has nothing of what others have brought; the model's digest."""
        nonlocal pods
        pods += 1
        monkeypatch.setenv("TRAININGJOB_COPIES_DIR", str(tmp_path / f"pod-{pods}"))
        asked = payload(tmp_path, uid).model_copy(
            update={"model_uri": "s3://bucket/run/model", "accepted": "s3://bucket/run/accepted"}
        )
        here = payload(tmp_path, uid)
        digest = trained(here)
        last, steps.last = steps.last, 10**9
        store.replace(tmp_path / "model", "run/model")
        steps.done, steps.last = 0, last
        storage.fetch(asked.model_uri)
        found = report(here, "sha256:d", accuracy=0.9)
        keep_if_accepted(asked, found, None, MANIFEST)
        return digest

    def whole() -> str:
        """The model of the record, which is there as it was judged."""
        record = json.loads(store.files["run/accepted/metrics.json"])
        monkeypatch.setenv("TRAININGJOB_COPIES_DIR", str(tmp_path / "reader" / str(steps.done)))
        folder = storage.fetch(f"s3://bucket/run/accepted/{record['recent'][0]}")
        assert digest_of_folder(folder, but=CARD) == record["modelDigest"]
        assert Card.read(folder).model_digest == record["modelDigest"]
        shutil.rmtree(tmp_path / "reader")
        return str(record["modelDigest"])

    before = [judged(uid) for uid in "123"]
    for last in range(1, 30):
        saved = dict(store.files)
        steps.last = last
        try:
            judged("4")
        except Killed:
            steps.last = 10**9
            assert whole() in (before[-1], trained(payload(tmp_path, "4")))
            new = judged("4")  # its repeat
            assert whole() == new
        else:
            steps.last = 10**9
            break
        below = [name.split("/")[2:] for name in store.files if name.startswith("run/accepted/")]
        folders = {parts[0] for parts in below if len(parts) > 1}
        assert sorted(folders) == short([*before[1:], new])
        store.files = saved
    assert last > 6
    assert whole() == trained(payload(tmp_path, "4"))


GOOD = {
    "version": 1,
    "uid": "1",
    "metrics": {"accuracy": 0.9},
    "datasetDigest": "sha256:d",
    "modelDigest": "sha256:m",
}
DAMAGED: dict[str, str | bytes] = {
    "empty": "",
    "cut": json.dumps(GOOD)[:40],
    "no object": "[]",
    "not UTF-8": b"\xff\xfe",
    "of a later version": json.dumps(GOOD | {"version": 2}),
    "without a digest": json.dumps({key: GOOD[key] for key in GOOD if key != "datasetDigest"}),
    "a metric that is text": json.dumps(GOOD | {"metrics": {"accuracy": "0.9"}}),
    "a metric that is NaN": json.dumps(GOOD | {"metrics": {"accuracy": float("nan")}}),
    "a baseline that is a number": json.dumps(GOOD | {"baseline": 0.9}),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_record_fails_the_job_and_stays(tmp_path: Path, case: str) -> None:
    text = DAMAGED[case]
    path = tmp_path / "accepted" / "metrics.json"
    path.parent.mkdir()
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = path.read_bytes()
    with pytest.raises(StageFailure) as caught:
        evaluated(payload(tmp_path, "2", PAST), accuracy=0.95)
    assert caught.value.reason == "BaselineInvalid"
    assert caught.value.message == (
        f"file://{path}, the record of the last accepted model, is damaged or of another version"
    )
    assert path.read_bytes() == before


def test_a_record_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "accepted" / "metrics.json").mkdir(parents=True)
    with pytest.raises(StageFailure) as caught:
        baseline_of(payload(tmp_path, "2", PAST))
    assert caught.value.reason == "StorageFailed"
    assert caught.value.message.startswith("cannot read the record of the last accepted model: ")


@pytest.mark.parametrize(
    ("names", "of_folds"),
    [
        (METRICS, {}),
        (CLASSIFICATION_METRICS, {"deviation": 1.235e-300, "test": -1.23457e-300}),
        (REGRESSION_METRICS, {"deviation": 1.235e-300, "test": -1.23457e-300}),
    ],
    ids=["all", "classification over folds", "regression over folds"],
)
def test_the_result_with_every_baseline_fits_into_a_termination_message(
    names: Sequence[str], of_folds: dict[str, float]
) -> None:
    value = -0.12345678901234568e-300
    digest = "sha256:" + "0" * 64
    result = StageResult(
        outputs=Outputs(uri="s3://" + "x" * 1275, digest=digest),
        metrics=[ScoreValue(name=name, value=value, **of_folds) for name in names],
        samples=10**15,
        dataset_digest=digest,
        model_digest=digest,
        baseline=Baseline(metrics=dict.fromkeys(names, value), dataset_digest=digest),
    )
    text = json.dumps(Report(result=result).to_dict(), separators=(",", ":"))
    assert len(text.encode()) <= RESULT_LIMIT

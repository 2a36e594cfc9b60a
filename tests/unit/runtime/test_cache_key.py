"""The key of the cache: another outcome, another key; and another run, the same one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import trainingjob
from trainingjob.api.payload import (
    CacheRef,
    CodeRef,
    GitRef,
    JobRef,
    PackagesRef,
    PreprocessPayload,
    ScriptRef,
    SparkOnKubernetes,
    TrainPayload,
)
from trainingjob.api.v1alpha1 import train as spec
from trainingjob.api.v1alpha1.export import Export
from trainingjob.api.v1alpha1.input import Input
from trainingjob.api.v1alpha1.job import Task
from trainingjob.api.v1alpha1.search import Parameter, Search
from trainingjob.api.v1alpha1.split import Split
from trainingjob.api.v1alpha1.steps import Step
from trainingjob.api.v1alpha1.tokenize import Tokenize
from trainingjob.runtime.cache import inputs_of_preprocess, inputs_of_train, key
from trainingjob.runtime.cache.key import UNCOUNTED, Cacheable, key_of
from trainingjob.runtime.dataset.manifest import DatasetManifest, SplitInfo

REF = CacheRef(records="file:///runs/team/.cache/x", conditions="sha256:1")


def preprocess(**more: Any) -> PreprocessPayload:
    return PreprocessPayload(
        **{
            "job": JobRef(namespace="team", name="a", uid="1"),
            "attempt": 1,
            "task": Task(type="classification", label_column="label"),
            "engine": "pandas",
            "input": Input(uri="file:///data/in.csv", format="csv"),
            "split": Split(),
            "numeric_features": True,
            "output": "file:///runs/team/a/dataset",
            "cache": REF,
            **more,
        }
    )


def train(**more: Any) -> TrainPayload:
    return TrainPayload(
        **{
            "job": JobRef(namespace="team", name="a", uid="1"),
            "attempt": 1,
            "task": Task(type="classification", label_column="label"),
            "nodes": 1,
            "procs_per_node": 1,
            "seed": 0,
            "needs_model": True,
            "dataset": "file:///runs/team/a/dataset",
            "checkpoints": "file:///runs/team/a/checkpoints",
            "model_uri": "file:///runs/team/a/model",
            "cache": REF,
            **more,
        }
    )


# A second value of every field: whoever adds a field decides here whether it counts.
SHARED: dict[str, Any] = {
    "job": JobRef(namespace="team", name="b", uid="2"),
    "attempt": 2,
    "task": Task(type="regression", label_column="label"),
    "script": ScriptRef(path="/elsewhere/script.py"),
    "code": CodeRef(path="/elsewhere/code"),
    "working_dir": "src",
    "main": "main.py",
    "requirements": PackagesRef(packages=["keras"], wheels="file:///runs/team/.wheels"),
    "cache": CacheRef(records="s3://other/.cache/x", conditions="sha256:1", decision="s3://d"),
}
PREPROCESS = SHARED | {
    "engine": "spark",
    "input": Input(uri="file:///data/other.csv", format="csv"),
    "inputs": {"table": Input(uri="file:///data/table.csv", format="csv")},
    "steps": [Step.model_validate({"dropna": {}})],
    "split": Split(seed=8),
    "tokenize": Tokenize(vocab_size=300, sequence_length=8),
    "pretrained": "file:///models/other",
    "sample_weight": "w",
    "spark_conf": {"spark.sql.ansi.enabled": "true"},
    "kubernetes": SparkOnKubernetes(conf={"spark.app": "b"}, executor_template={}),
    "numeric_features": False,
    "sealed": True,
    "output": "file:///runs/team/b/dataset",
}
TRAIN = SHARED | {
    "nodes": 2,
    "procs_per_node": 2,
    "model": spec.BuiltInModel(mlp=spec.Mlp(hidden=[8])),
    "optimizer": spec.Optimizer(adam=spec.Adam(learning_rate=0.5)),
    "schedule": spec.Schedule(step=spec.StepSchedule(every_epochs=3)),
    "early_stopping": spec.EarlyStopping(),
    "epochs": 3,
    "batch_size": 7,
    "precision": "fp32",
    "checkpoint": spec.Checkpoint(keep=7),
    "class_weights": "balanced",
    "sample_weight": "w",
    "target_transform": "log1p",
    "gradient_accumulation": 2,
    "gradient_clip": 1.0,
    "tokens": 1000,
    "sharding": "none",
    "activation_checkpointing": True,
    "compile": True,
    "ema": 0.9,
    "export": Export(formats=["onnx"]),
    "search": Search(trials=2, parameters=[Parameter(field="batchSize", values=[8, 16])]),
    "seed": 9,
    "metrics": ["recall"],
    "threshold": 0.3,
    "accepted": "file:///runs/team/b/accepted",
    "command": ["torchrun"],
    "args": ["--fast"],
    "stream_dataset": True,
    "needs_model": False,
    "dataset": "file:///runs/team/b/dataset",
    "checkpoints": "file:///runs/team/b/checkpoints",
    "model_uri": "file:///runs/team/b/model",
}
FIELDS: list[tuple[Cacheable, str, Any]] = [
    *((preprocess(), name, value) for name, value in PREPROCESS.items()),
    *((train(), name, value) for name, value in TRAIN.items()),
]


def plain_key(payload: Cacheable, **more: Any) -> str:
    return key_of(payload, **{"inputs": {"input in.csv": "1"}, "packages": ["3.11"]} | more)


@pytest.mark.parametrize(
    ("payload", "field", "value"), FIELDS, ids=[f"{p.stage}.{name}" for p, name, _ in FIELDS]
)
def test_each_field_of_a_payload_counts_or_is_said_not_to(
    payload: Cacheable, field: str, value: Any
) -> None:
    other = payload.model_copy(update={field: value})
    assert (plain_key(other) == plain_key(payload)) == (field in UNCOUNTED)


def test_by_which_class_a_model_is_judged_does_not_count() -> None:
    task = Task(type="classification", label_column="label", positive_class="yes")
    for payload in (preprocess(), train()):
        assert plain_key(payload.model_copy(update={"task": task})) == plain_key(payload)


@pytest.mark.parametrize(
    ("model", "table"), [(PreprocessPayload, PREPROCESS), (TrainPayload, TRAIN)]
)
def test_the_tables_above_have_every_field(model: Any, table: dict[str, Any]) -> None:
    assert {*table, "stage"} == {*model.model_fields}


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": {"input in.csv": "2"}},
        {"inputs": {"input other.csv": "1"}},
        {"inputs": {}},
        {"packages": ["3.12"]},
    ],
    ids=str,
)
def test_what_lies_outside_of_the_payload_counts(change: dict[str, Any]) -> None:
    assert plain_key(preprocess(), **change) != plain_key(preprocess())


def test_image_and_variables_count_by_their_digest() -> None:
    other = REF.model_copy(update={"conditions": "sha256:2"})
    assert plain_key(train(cache=other)) != plain_key(train())


def test_another_version_of_us_or_of_the_format_has_other_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = {plain_key(train())}
    monkeypatch.setattr(trainingjob, "__version__", "99")
    keys.add(plain_key(train()))
    monkeypatch.setattr(key, "FORMAT", 99)
    keys.add(plain_key(train()))
    assert len(keys) == 3


def test_a_stage_never_has_the_key_of_another() -> None:
    assert plain_key(train()) != plain_key(preprocess())


def test_what_is_installed_is_found() -> None:
    assert any(name.startswith("pydantic-2") for name in key.packages())


# --- what the stages read -------------------------------------------------------------------------


def write(folder: Path, **files: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name.replace("_", ".") for name in files]
    for path, text in zip(paths, files.values(), strict=True):
        path.write_text(text)
    return paths


def read(folder: Path, pattern: str = "", **more: Any) -> dict[str, str]:
    uri = f"file://{folder}{pattern}"
    payload = preprocess(input=Input(uri=uri, format="csv"), **more)
    return dict(inputs_of_preprocess(payload, sorted(folder.rglob("*.csv"))).digests)


def test_input_counts_by_name_and_bytes_and_not_by_its_place(tmp_path: Path) -> None:
    write(tmp_path / "one", a_csv="1", b_csv="2")
    write(tmp_path / "two", a_csv="1", b_csv="2")
    write(tmp_path / "bytes", a_csv="1", b_csv="3")
    write(tmp_path / "name", a_csv="1", c_csv="2")
    write(tmp_path / "fewer", a_csv="1")
    found = {name: read(tmp_path / name) for name in ("one", "two", "bytes", "name", "fewer")}
    assert found["one"] == found["two"]
    assert sorted(found["one"]) == ["input a.csv", "input b.csv"]
    assert len({str(value) for value in found.values()}) == 4


def test_further_tables_count_by_their_names(tmp_path: Path) -> None:
    write(tmp_path / "one", a_csv="1", b_csv="2")
    table = Input(uri=f"file://{tmp_path}/one/b.csv", format="csv")
    given = preprocess(input=Input(uri=f"file://{tmp_path}/one", format="csv"), inputs={"t": table})
    found = inputs_of_preprocess(given, [tmp_path / "one/a.csv"], {"t": [tmp_path / "one/b.csv"]})
    assert sorted(found.digests) == ["input a.csv", "table t: b.csv"]


def test_a_file_of_a_glob_is_named_from_where_the_glob_begins(tmp_path: Path) -> None:
    write(tmp_path / "data/2026", a_csv="1")
    assert [*read(tmp_path / "data", "/*/a.csv")] == ["input 2026/a.csv"]
    assert [*read(tmp_path / "data", "/2026/a.csv")] == ["input a.csv"]


def test_files_of_splits_are_named_by_their_split(tmp_path: Path) -> None:
    write(tmp_path / "data/train", a_csv="1", b_csv="2")
    write(tmp_path / "data/test", a_csv="3")
    write(tmp_path / "data", dev_csv="4")
    files = {
        "test": f"file://{tmp_path}/data/test",
        "validation": f"file://{tmp_path}/data/dev.csv",
    }
    uri = f"file://{tmp_path}/data/train"
    payload = preprocess(
        input=Input(uri=uri, format="csv"), split=Split.model_validate({"files": files})
    )
    found = inputs_of_preprocess(payload, sorted((tmp_path / "data").rglob("*.csv")))
    assert sorted(found.digests) == [
        "input a.csv",
        "input b.csv",
        "test a.csv",
        "validation dev.csv",
    ]


def test_a_script_counts_by_its_text_wherever_it_comes_from(tmp_path: Path) -> None:
    write(tmp_path, a_csv="1")
    (mounted,) = write(tmp_path / "map", script_py="print()")
    inline = read(tmp_path, script=ScriptRef(inline="print()"))
    assert read(tmp_path, script=ScriptRef(path=str(mounted))) == inline
    mounted.write_text("print(1)")
    assert read(tmp_path, script=ScriptRef(path=str(mounted))) != inline
    assert read(tmp_path) != inline


def dataset(folder: Path, label: str = "label") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    DatasetManifest(
        label=label,
        task="regression",
        features=["x"],
        columns={"x": "double", label: "double"},
        splits={"train": SplitInfo(rows=0, files=[])},
    ).write(folder)
    return f"file://{folder}"


def test_training_counts_its_dataset_script_and_the_files_of_its_command(tmp_path: Path) -> None:
    (code,) = write(tmp_path, code_py="print()")
    uri = dataset(tmp_path / "dataset")

    def seen(**more: Any) -> str:
        return str(inputs_of_train(train(dataset=uri, **more)).digests)

    command = {"command": ["python", str(code)], "args": ["x" * 4000]}
    assert seen() == str(inputs_of_train(train(dataset=dataset(tmp_path / "again"))).digests)
    found = {seen(), seen(script=ScriptRef(inline="print()")), seen(**command)}
    code.write_text("print(1)")
    found |= {seen(**command), seen(args=[f"--config={code}"])}
    dataset(tmp_path / "dataset", label="other")
    assert len(found | {seen()}) == 5


def test_code_counts_by_its_files_wherever_it_comes_from(tmp_path: Path) -> None:
    uri = dataset(tmp_path / "dataset")

    def seen(ref: CodeRef) -> dict[str, str]:
        return dict(inputs_of_train(train(dataset=uri, code=ref)).digests)

    files = {"train.py": "import lib.data", "lib/data.py": "pass"}
    for name, text in files.items():
        (tmp_path / "repo" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "repo" / name).write_text(text)
    folder = CodeRef(uri=f"file://{tmp_path}/repo")
    first = seen(folder)
    assert first == seen(CodeRef(inline=files))
    # Of a commit, as the container before has left it, whatever server has it.
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/tree").symlink_to(tmp_path / "repo")
    for url in ("https://a.example/x", "https://b.example/y"):
        git = GitRef(url=url, commit="a" * 40)
        assert first == seen(CodeRef(path=str(tmp_path / "volume"), git=git))
    (tmp_path / "repo/lib/data.py").write_text("other")
    assert seen(folder) != first


@pytest.mark.parametrize("change", ["written", "replaced", "removed"])
def test_a_change_after_reading_is_noticed(tmp_path: Path, change: str) -> None:
    (path,) = write(tmp_path, a_csv="1")
    payload = preprocess(input=Input(uri=f"file://{tmp_path}", format="csv"))
    found = inputs_of_preprocess(payload, [path])
    assert found.unchanged()
    path.rename(tmp_path / "old")
    if change == "written":
        (tmp_path / "old").rename(path)
        path.write_text("12")
    elif change == "replaced":
        path.write_text("2")
    assert not found.unchanged()

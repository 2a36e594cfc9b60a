# ruff: noqa: E501  a table reads better in long lines
"""Bad input: Failed, with a stable reason and one line that names the culprit and the remedy."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tables import tell
from trainingjob.api.v1alpha1 import REASONS

from .harness import base, ours, rows, run, start, write_csv, write_job

Change = Callable[[dict[str, Any], Path], None]


def data(text: str | bytes, name: str = "in.csv") -> Change:
    """Other input than usual."""

    def change(manifest: dict[str, Any], folder: Path) -> None:
        path = folder / "data" / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        manifest["spec"]["preprocess"]["input"]["uri"] = f"pvc://data/{name}"

    return change


def spec(path: str, value: Any) -> Change:
    """Another value at ``path`` of the spec."""

    def change(manifest: dict[str, Any], folder: Path) -> None:
        *parents, last = path.split(".")
        node = manifest["spec"]
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = value

    return change


def steps(*items: dict[str, Any]) -> Change:
    return spec("preprocess.steps", list(items))


def clean(source: str) -> Change:
    return spec("preprocess.script", {"inline": source})


def own_training(source: str, **more: Any) -> Change:
    """Own code on a folder of anything: nothing before it, nothing after it."""

    def change(manifest: dict[str, Any], folder: Path) -> None:
        given = manifest["spec"]
        del given["preprocess"], given["evaluate"]
        given["train"] = {"dataset": {"uri": "pvc://data"}, "script": {"inline": source}, **more}

    return change


def judged_training(source: str) -> Change:
    return spec("train", {"script": {"inline": source}})


def gang_of_two(source: str) -> Change:
    return own_training(source, nodes=2)


def all_of(*changes: Change) -> Change:
    def change(manifest: dict[str, Any], folder: Path) -> None:
        for one in changes:
            one(manifest, folder)

    return change


def blocked(manifest: dict[str, Any], folder: Path) -> None:
    """A file where the job's folder belongs."""
    (folder / "runs").mkdir()
    (folder / "runs/default").touch()


HEADER = "x,y,label\n"
GOOD = "".join(f"{i % 2}.5,{i},{'ab'[i % 2]}\n" for i in range(60))
CORRUPT_GZIP = gzip.compress((HEADER + GOOD).encode())[:-30]
OUT = "import os, pathlib\nout = pathlib.Path(os.environ['TRAININGJOB_OUTPUT_DIR'])\n"

# Two ranks, of which one leaves the other alone.
LEAVES = """
import os
import torch, torch.distributed as dist
dist.init_process_group("gloo")
dist.all_reduce(torch.ones(1))
if dist.get_rank() == 1:
    os._exit(0)  # sys.exit aborts now and then, in gloo's clean-up
while True:
    dist.all_reduce(torch.ones(1))
"""
ALONE = """
import datetime, torch.distributed as dist
dist.init_process_group("gloo", init_method="tcp://127.0.0.1:1", rank=1, world_size=2, timeout=datetime.timedelta(seconds=1))
"""

# Code that ends the pod with exit code 0 and a termination message of its own.
RESULT = """
import os, pathlib
def preprocess(frame, context):
    pathlib.Path(os.environ["TRAININGJOB_RESULT_FILE"]).write_text(%s)
    os._exit(0)
"""

# More than Linux takes as one variable of a process.
TOO_LONG = {
    "image": "mine",
    "command": ["true"],
    "args": ["$(A)" * 5],
    "env": [{"name": "A", "value": "x" * 32_000}],
}

# sentence, change, reason, words of the message
CASES: list[tuple[str, Change, str, str]] = [
    ("the storage is no folder", blocked, "StorageUnavailable", "small"),
    ("the input is missing", spec("preprocess.input.uri", "pvc://data/no.csv"), "InputNotFound", "no.csv"),
    ("a glob matches nothing", spec("preprocess.input.uri", "pvc://data/*.tsv"), "InputNotFound", "*.tsv"),
    ("the input cannot be unpacked", data(CORRUPT_GZIP, "in.csv.gz"), "InputUnreadable", "in.csv.gz"),
    ("parquet that is none", all_of(data("PAR0", "in.parquet"), spec("preprocess.input.format", "parquet")), "InputUnreadable", "in.parquet"),
    ("the input is empty", data(""), "InputEmpty", "in.csv"),
    ("the input has a header only", data(HEADER), "InputEmpty", "in.csv"),
    ("steps drop every row", steps({"filter": {"where": "x > 1000"}}), "NoRowsLeft", "no row is left"),
    ("the input is not UTF-8", data((HEADER + GOOD).encode() + b"1,2,\xff\xfe\n"), "InputNotUtf8", "in.csv"),
    ("a ragged line", data(HEADER + GOOD + "1,2,a,4\n"), "InputMalformed", "62"),
    ("two columns of one name", data("x,x,label\n" + GOOD), "DuplicateColumns", "x"),
    ("the label is no column", spec("task.label", "target"), "LabelMissing", "target"),
    ("the label is constant", data(HEADER + GOOD.replace("b", "a")), "LabelConstant", "label"),
    ("the label is no class", all_of(spec("task.label", "x"), steps({"drop": {"columns": ["label"]}})), "LabelInvalid", "x"),
    ("the label has nulls", data(HEADER + GOOD + "1,2,\n"), "LabelHasNulls", "label"),
    ("a step names no column", steps({"dropna": {"subset": ["z"]}}), "ColumnNotFound", "z"),
    ("a step fails on a value", steps({"scale": {"method": "standard", "columns": ["label"]}}), "StepFailed", "label"),
    ("a cast fits no value", all_of(data(HEADER + GOOD), steps({"cast": {"columns": {"label": "double"}}})), "CastLosesValues", "label: 60 of 60 values became null"),
    ("files have other columns", all_of(data(HEADER + GOOD, "in1.csv"), data("u,v,w\n" + GOOD, "in2.csv"), spec("preprocess.input.uri", "pvc://data/in[12].csv")), "ColumnsDiffer", "in2.csv lacks x, y, label and has u, v, w besides"),
    ("a column that no dataset can hold is used", all_of(data('[{"x": 1, "y": [1], "label": "a"}, {"x": 2, "y": [1, 2], "label": "b"}]', "in.json"), spec("preprocess.input.uri", "pvc://data/in.json"), spec("preprocess.input.format", "json")), "ColumnUnreadable", "the features: column y has lists of 1 to 2 numbers"),
    ("SQL with a syntax error", steps({"filter": {"where": "x >"}}), "ExpressionInvalid", "step 1"),
    ("SQL names no column", steps({"withColumn": {"name": "q", "expr": "z + 1"}}), "ColumnNotFound", "z"),
    ("a class is too rare for the splits", all_of(data(HEADER + GOOD + "1,2,c\n"), spec("preprocess.split.rare", "fail")), "ClassMissing", "no row of class c"),
    ("a text column is left", data("x,y,label\n" + GOOD.replace("0.5", "zero")), "FeatureNotNumeric", "x"),
    ("a null is left", data(HEADER + GOOD + ",2,a\n"), "FeatureHasNulls", "x"),
    ("a weight is negative", all_of(steps({"withColumn": {"name": "w", "expr": "x - 1"}}), spec("train.sampleWeight", "w")), "WeightInvalid", "the column w in "),
    ("the positive class is none", spec("task.positiveClass", "aa"), "SettingUnsuitable", "task.positiveClass: the label has no class aa; did you mean"),
    ("no feature is left", steps({"drop": {"columns": ["x", "y"]}}), "NoFeatures", ""),
    ("the split is too small", all_of(data(HEADER + "1,2,a\n3,4,b\n"), spec("preprocess.split.stratify", False)), "SplitEmpty", "validation split"),
    ("a row is in no group", all_of(data(HEADER + GOOD + ",2,a\n"), spec("preprocess.split.by", ["x"])), "SplitInvalid", "x is null in 1 of 61 rows"),
    ("the script does not compile", clean("def preprocess(:\n"), "ScriptInvalid", "line 1"),
    ("the script lacks preprocess", clean("x = 1\n"), "ScriptInvalid", "preprocess"),
    ("the script returns no frame", clean("def preprocess(frame, context):\n    return 5\n"), "ScriptInvalid", "int"),
    ("the script raises", clean("def preprocess(frame, context):\n    raise ValueError('odd')\n"), "ScriptFailed", "odd"),
    ("the script exits", clean("import sys\ndef preprocess(frame, context):\n    sys.exit(3)\n"), "ScriptFailed", "3"),
    ("the loss is not a number", data(HEADER + GOOD.replace(".5,", ".5e300,")), "LossNotFinite", "epoch"),
    ("own training raises", own_training("raise RuntimeError('bad luck')\n"), "ScriptFailed", "bad luck"),
    ("own training exits with 3", own_training("import sys\nsys.exit(3)\n"), "ScriptFailed", "3"),
    ("own training lacks a module", own_training("import no_such_module\n"), "ModuleMissing", "'no_such_module' (train.py, line 1)"),
    ("own training refuses its arguments", own_training("import argparse\np = argparse.ArgumentParser()\np.add_argument('--local-rank', required=True)\np.parse_args()\n"), "ArgumentsInvalid", "--local-rank"),
    ("own training is killed", own_training("import os\nos.kill(os.getpid(), 9)\n"), "ProcessKilled", "SIGKILL"),
    ("own training writes no model", judged_training("pass\n"), "ModelMissing", "model.onnx"),
    ("own training writes a broken model", judged_training(OUT + "(out / 'model.pt2').write_text('x')\n"), "ModelCorrupt", "model.pt2"),
    ("own predictions are none", judged_training(OUT + "(out / 'predictions.parquet').write_text('x')\n"), "PredictionsInvalid", "predictions.parquet"),
    ("own training takes too much memory", own_training("bytearray(1 << 60)\n"), "OutOfMemory", "MemoryError"),
    ("own training finds its GPU broken", own_training("raise RuntimeError('CUDA error: uncorrectable ECC error encountered')\n"), "DeviceFailed", "uncorrectable ECC error encountered (train.py, line 1)"),
    ("own training loses its peer", gang_of_two(LEAVES), "PeerLost", "rank 0"),
    ("own training finds no peer", own_training(ALONE), "RendezvousFailed", "DistNetworkError"),
    ("own training reports nothing", all_of(own_training("import time\ntime.sleep(60)\n"), spec("policy.stall", {"afterSeconds": 10, "action": "fail"})), "NoProgress", "10 s"),
    ("no process can be started", all_of(spec("train", TOO_LONG), spec("policy.startupDeadlineSeconds", 1)), "StartupDeadlineExceeded", "Argument list too long"),
    ("there is no such command", spec("train", {"command": ["no-such-command"]}), "CommandNotFound", "no-such-command"),
    ("the dataset is none", all_of(spec("train.dataset", {"uri": "pvc://data"}), lambda m, f: m["spec"].pop("preprocess")), "DatasetInvalid", "data"),
    ("a result that is not JSON", clean(RESULT % "'{\"result\": '"), "ResultInvalid", "small-preprocess-1-0"),
    ("a result that is NaN", clean(RESULT % "'{\"result\": {\"outputs\": {\"uri\": \"u\", \"loss\": NaN}}}'"), "ResultInvalid", "small-preprocess-1-0"),
    ("a result that is too long", clean(RESULT % "'{\"result\": {\"outputs\": {\"uri\": \"%s\"}}}' % ('u' * 5000)"), "ResultInvalid", "small-preprocess-1-0"),
    ("no result at all", clean(RESULT % "''"), "ResultInvalid", "small-preprocess-1-0"),
    ("a metric has no value", all_of(data(HEADER + GOOD.replace("a", "0").replace("b", "1")), spec("task.type", "regression"), spec("preprocess.split", {"seed": 1}), spec("evaluate.metrics", ["mape"])), "MetricUndefined", "mape"),
    ("the gate is missed", spec("evaluate.gates", [{"metric": "accuracy", "min": 1.0}, {"metric": "log_loss", "max": 0.0001}]), "GateFailed", "log_loss"),
    ("a deadline passes", all_of(own_training("import time\ntime.sleep(60)\n"), spec("policy.activeDeadlineSeconds", 4)), "DeadlineExceeded", "4 s"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "change", "reason", "words"), CASES, ids=[case[0] for case in CASES]
)
def test_bad_input(tmp_path, what, change, reason, words):
    manifest = base()
    manifest["spec"]["policy"] = {"retries": {"infrastructure": 0, "application": 0}}
    write_csv(tmp_path / "data" / "in.csv", rows())
    change(manifest, tmp_path)
    outcome = run(tmp_path, write_job(tmp_path, manifest))
    status = outcome.status
    tell(what, outcome.seconds, status)
    assert (status["phase"], status["reason"]) == ("Failed", reason), outcome.stderr
    assert outcome.code == (3 if reason == "GateFailed" else 1)
    message = status["message"]
    assert words in message
    assert message.endswith(REASONS[reason].remedy) or reason == "DeadlineExceeded"
    assert "\n" not in message
    assert "Traceback" not in outcome.stdout + outcome.stderr.replace(
        status["lastFailure"].get("logTail", "-"), ""
    )
    finished = [stage for stage in status["stages"] if stage["phase"] == "Succeeded"]
    if finished and finished[0]["name"] == "preprocess":
        assert (tmp_path / ".trainingjob/claims/runs/default/small/dataset/manifest.json").exists()
    assert not ours(tmp_path)


def test_disk_full_is_infrastructure_and_says_so(tmp_path):
    """A real full disk: a tmpfs of 1 MiB in a mount namespace of its own."""
    manifest = base()
    manifest["spec"]["policy"] = {"retries": {"infrastructure": 0}}
    write_csv(tmp_path / "data" / "in.csv", [r | {"z": i / 7} for i, r in enumerate(rows(60000))])
    (tmp_path / "runs").mkdir()
    job = write_job(tmp_path, manifest)
    mount = 'mount -t tmpfs -o size=512k tmpfs runs && exec "$@"'
    outcome = run(tmp_path, job, prefix=["unshare", "-rm", "sh", "-c", mount, "sh"])
    tell("the disk is full", outcome.seconds, outcome.status)
    assert outcome.status["reason"] == "DiskFull", outcome.stderr
    assert "No space left on device" in outcome.status["message"]
    assert "{" not in outcome.status["message"], "as DuckDB tells it"
    assert outcome.status["lastFailure"]["class"] == "infrastructure"
    assert outcome.code == 1


def test_budgets_are_separate_and_wrong_input_is_never_retried(tmp_path):
    write_csv(tmp_path / "data" / "in.csv", rows())
    flaky = """
import os, pathlib, sys
tries = pathlib.Path(os.environ['TRAININGJOB_CHECKPOINT_DIR']) / 'tries'
tries.parent.mkdir(parents=True, exist_ok=True)
count = len(tries.read_text()) if tries.exists() else 0
tries.write_text('x' * (count + 1))
if count in (0, 1):
    os.kill(os.getpid(), 9)
sys.exit(3)
"""
    manifest = base()
    manifest["spec"]["train"] = {"script": {"inline": flaky}}
    manifest["spec"]["policy"] = {"retries": {"infrastructure": 2, "application": 1}}
    outcome = run(tmp_path, write_job(tmp_path, manifest))
    train = outcome.status["stages"][1]
    assert train["failures"] == {"infrastructure": 2, "application": 2, "disruption": 0}
    assert train["attempt"] == 4
    assert outcome.status["lastFailure"]["exitCode"] == 3


def test_a_second_run_at_once_is_refused_and_harms_nothing(tmp_path):
    write_csv(tmp_path / "data" / "in.csv", rows())
    manifest = base()
    wait = "import time, os, sys\nwhile not os.path.exists(sys.argv[1]):\n    time.sleep(0.05)\n"
    wait += "open(os.environ['TRAININGJOB_OUTPUT_DIR'] + '/model.bin', 'w').write('a model')\n"
    manifest["spec"]["train"] = {
        "script": {"inline": wait},
        "args": [str(tmp_path / "go")],
    }
    del manifest["spec"]["evaluate"]
    job = write_job(tmp_path, manifest)
    first = start(tmp_path, "run", str(job), "-o", "json")
    lock = tmp_path / ".trainingjob/default/small/pods/small-train-1-0"
    deadline(lambda: lock.exists(), 60)
    second = run(tmp_path, job)
    assert second.code == 2
    assert str(first.pid) in second.stderr
    (tmp_path / "go").touch()
    stdout, stderr = first.communicate(timeout=60)
    assert json.loads(stdout)["status"]["phase"] == "Succeeded", stderr


def deadline(condition: Callable[[], bool], seconds: float) -> None:
    import time

    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "the condition never came true"
        time.sleep(0.02)

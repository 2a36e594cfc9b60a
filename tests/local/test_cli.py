"""The command line and the local backend: real processes, small pods that run as they stand."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainingjob import __version__

from .harness import base, cli, ours, rows, run, start, write_csv, write_job


def plain(*command: str, **train: Any) -> dict[str, Any]:
    """A job of one stage whose pods run ``command`` as it stands."""
    manifest = base()
    spec = manifest["spec"]
    del spec["preprocess"], spec["evaluate"]
    spec["train"] = {
        "dataset": {"uri": "pvc://runs/ds"},
        "image": "any",
        "command": list(command),
        **train,
    }
    return manifest


def python(source: str, **train: Any) -> dict[str, Any]:
    return plain("python", "-c", source, **train)


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "the condition never came true"
        time.sleep(0.02)


FIRST_WAITS = """
import os, pathlib, time
mark = pathlib.Path(os.environ["TRAININGJOB_CHECKPOINT_DIR"], "began")
mark.parent.mkdir(parents=True, exist_ok=True)
if not mark.exists():
    mark.touch()
    time.sleep(300)
"""
STUBBORN = """
import os, pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
mark = pathlib.Path(os.environ["TRAININGJOB_CHECKPOINT_DIR"], "began")
mark.parent.mkdir(parents=True, exist_ok=True)
mark.touch()
time.sleep(300)
"""
BEGAN = ".trainingjob/claims/runs/default/small/checkpoints/began"


def test_an_interrupted_run_says_how_to_go_on_and_goes_on(tmp_path):
    job = write_job(tmp_path, python(FIRST_WAITS, nodes=2))
    runner = start(tmp_path, "run", str(job))
    wait_for((tmp_path / BEGAN).exists)
    runner.send_signal(signal.SIGINT)
    stdout, stderr = runner.communicate(timeout=30)
    assert runner.returncode == 130
    assert "trainingjob run" in stdout + stderr
    assert not ours(tmp_path)
    again = run(tmp_path, job)
    assert again.code == 0, again.stderr
    stage = again.status["stages"][0]
    assert stage["attempt"] == 2
    assert stage["failures"] == {"infrastructure": 0, "application": 0, "disruption": 1}


def test_a_second_interrupt_kills_at_once(tmp_path):
    manifest = python(STUBBORN, template={"terminationGracePeriodSeconds": 300})
    runner = start(tmp_path, "run", str(write_job(tmp_path, manifest)))
    wait_for((tmp_path / BEGAN).exists)
    runner.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        runner.wait(timeout=1)
    runner.send_signal(signal.SIGINT)
    runner.communicate(timeout=10)
    assert runner.returncode == 130
    wait_for(lambda: not ours(tmp_path))


def test_sigterm_is_an_interrupt(tmp_path):
    runner = start(tmp_path, "run", str(write_job(tmp_path, python(FIRST_WAITS))))
    wait_for((tmp_path / BEGAN).exists)
    runner.terminate()
    runner.communicate(timeout=30)
    assert runner.returncode == 130
    assert not ours(tmp_path)


def test_nothing_outlives_a_killed_runner(tmp_path):
    """Not even a grandchild in a session of its own, as torchrun makes them."""
    source = (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'],"
        " start_new_session=True)\n" + FIRST_WAITS
    )
    job = write_job(tmp_path, python(source))
    runner = start(tmp_path, "run", str(job))
    wait_for((tmp_path / BEGAN).exists)
    assert len(ours(tmp_path)) >= 2
    runner.kill()
    runner.communicate(timeout=10)
    wait_for(lambda: not ours(tmp_path))
    again = run(tmp_path, job)
    assert again.code == 0, again.stderr
    assert again.status["stages"][0]["failures"]["disruption"] == 1


def test_a_finished_pod_leaves_no_child_behind(tmp_path):
    source = (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'],"
        " start_new_session=True)\n"
    )
    assert run(tmp_path, write_job(tmp_path, python(source))).code == 0
    assert not ours(tmp_path)


def test_in_the_background_only_sigterm_is_an_interrupt(tmp_path):
    """As shells have it: `trainingjob run job.yaml &` does not end when something else is
    interrupted."""
    job = write_job(tmp_path, python(FIRST_WAITS))
    runner = start(tmp_path, "run", str(job), interrupt=signal.SIG_IGN)
    wait_for((tmp_path / BEGAN).exists)
    runner.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        runner.wait(timeout=1)
    assert ours(tmp_path)
    runner.terminate()
    runner.communicate(timeout=30)
    assert runner.returncode == 130


def test_pods_of_a_runner_in_the_background_can_be_interrupted(tmp_path):
    source = "import signal; assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN"
    job = write_job(tmp_path, python(source))
    runner = start(tmp_path, "run", str(job), interrupt=signal.SIG_IGN)
    stdout, stderr = runner.communicate(timeout=30)
    assert runner.returncode == 0, stdout + stderr


def test_a_finished_job_runs_afresh(tmp_path):
    job = write_job(tmp_path, python("print('hello')"))
    uids = {run(tmp_path, job).object["metadata"]["uid"] for _ in range(2)}
    assert len(uids) == 2


def test_pods_see_what_kubernetes_would_show_them(tmp_path):
    source = """
import json, os
names = ["NODE_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "PET_MASTER_ADDR", "PET_NNODES",
         "TRAININGJOB_INPUT_DIR", "GREETING"]
print(json.dumps({name: os.environ.get(name) for name in names}))
"""
    manifest = python(source, nodes=2, env=[{"name": "GREETING", "value": "cost: $(PRICE) $$"}])
    assert run(tmp_path, write_job(tmp_path, manifest)).code == 0
    log = (tmp_path / ".trainingjob/default/small/pods/small-train-1-1/log").read_text()
    seen = json.loads(log)
    assert seen["NODE_RANK"] == seen["RANK"] == "1"
    assert seen["WORLD_SIZE"] == seen["PET_NNODES"] == "2"
    assert seen["MASTER_ADDR"] == seen["PET_MASTER_ADDR"] == "127.0.0.1"
    assert Path(seen["TRAININGJOB_INPUT_DIR"]).parent.exists()
    assert seen["GREETING"] == "cost: $(PRICE) $$", "taken literally"


def test_a_claim_that_would_be_made_is_a_folder(tmp_path):
    manifest = python("import os; os.makedirs(os.environ['TRAININGJOB_OUTPUT_DIR'])")
    manifest["spec"]["storage"] = {"pvc": {"size": "1Gi"}}
    job = write_job(tmp_path, manifest)
    outcome = cli(tmp_path, "run", str(job))
    assert outcome.code == 0, outcome.stdout + outcome.stderr
    assert "have no effect: train.image, storage.pvc.size\n" in outcome.stdout
    assert (tmp_path / ".trainingjob/claims/small-storage/default/small/model").is_dir()
    planned = [d for d in yaml.safe_load_all(cli(tmp_path, "plan", str(job)).stdout) if d]
    assert [d["kind"] for d in planned] == ["PersistentVolumeClaim", "NetworkPolicy", "Pod"]


def test_the_object_on_stdout_and_nothing_else(tmp_path):
    job = write_job(tmp_path, python("print('noise')"))
    as_json = cli(tmp_path, "run", str(job), "-o", "json")
    as_yaml = cli(tmp_path, "run", str(job), "-o", "yaml")
    assert json.loads(as_json.stdout)["status"]["phase"] == "Succeeded"
    assert yaml.safe_load(as_yaml.stdout)["status"]["phase"] == "Succeeded"


def test_plain_lines_when_nobody_looks(tmp_path):
    outcome = cli(tmp_path, "run", str(write_job(tmp_path, python("pass"))))
    assert "\x1b" not in outcome.stdout + outcome.stderr
    assert "Succeeded" in outcome.stdout + outcome.stderr


def test_a_missing_config_map_is_told_before_anything_runs(tmp_path):
    manifest = base()
    manifest["spec"]["train"] = {"script": {"configMap": {"name": "code", "key": "train.py"}}}
    outcome = run(tmp_path, write_job(tmp_path, manifest))
    assert outcome.code == 2
    assert "ConfigMap code" in outcome.stderr
    assert not (tmp_path / ".trainingjob/default/small/pods").exists()


def test_a_suspended_job_is_not_run(tmp_path):
    manifest = base()
    manifest["spec"]["suspend"] = True
    outcome = run(tmp_path, write_job(tmp_path, manifest))
    assert outcome.code == 2
    assert "spec.suspend: the job is suspended; remove this to run it" in outcome.stderr
    assert not (tmp_path / ".trainingjob").exists()


def test_get_and_logs(tmp_path):
    job = write_job(tmp_path, python("import os; print('I am', os.environ['RANK'])", nodes=2))
    assert run(tmp_path, job).code == 0
    listed = cli(tmp_path, "get")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["NAME", "small"]
    assert "Succeeded" in listed.stdout
    assert json.loads(cli(tmp_path, "get", "small", "-o", "json").stdout)["kind"] == "TrainingJob"
    logs = cli(tmp_path, "logs", "small").stdout
    assert "I am 0" in logs and "I am 1" in logs
    assert "I am 1" not in cli(tmp_path, "logs", "small", "--rank", "0").stdout
    missing = cli(tmp_path, "logs", "small", "--rank", "7")
    assert missing.code == 2
    assert missing.stderr.endswith(
        "; it has --stage train --attempt 1 --rank 0, --stage train --attempt 1 --rank 1\n"
    )
    missing = cli(tmp_path, "logs", "nobody")
    assert missing.code != 0 and "nobody" in missing.stderr


def test_plan_shows_the_pods_of_every_stage(tmp_path):
    outcome = cli(tmp_path, "plan", str(write_job(tmp_path, base())))
    documents = [d for d in yaml.safe_load_all(outcome.stdout) if d]
    names = [d["metadata"]["name"] for d in documents]
    pods = ["small-preprocess-1-0", "small-train-1-0", "small-evaluate-1-0"]
    assert names == ["small-stages", *pods], "what stages share is shown once"
    images = [d["spec"]["containers"][0]["image"] for d in documents[1:]]
    torch = f"trainingjob-torch:{__version__}"
    assert images == [f"trainingjob-spark:{__version__}", torch, torch]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("spec: [", "job.yaml:"),
        ("a: 1\na: 2\n", "a"),
        ("- 1\n", "job.yaml"),
        ("", "job.yaml"),
    ],
)
def test_files_that_are_no_manifest(tmp_path, text, words):
    (tmp_path / "job.yaml").write_text(text)
    for command in ("validate", "run"):
        outcome = cli(tmp_path, command, "job.yaml")
        assert outcome.code == 2
        assert words in outcome.stdout + outcome.stderr
        assert "Traceback" not in outcome.stderr


def test_an_invalid_manifest_names_field_and_fault(tmp_path):
    manifest = base()
    manifest["spec"]["train"]["nodes"] = 0
    outcome = cli(tmp_path, "validate", str(write_job(tmp_path, manifest)))
    assert outcome.code == 2
    assert "spec.train.nodes: must be greater than or equal to 1" in (
        outcome.stdout + outcome.stderr
    )


def test_the_crd_is_printed(tmp_path):
    crd = yaml.safe_load(cli(tmp_path, "crd").stdout)
    assert crd["kind"] == "CustomResourceDefinition"


def test_the_command_line_imports_nothing_heavy(tmp_path):
    """What makes it slow is a heavy import."""
    code = (
        "import sys; from trainingjob.cli.main import main\n"
        "try: main(['validate', sys.argv[1]])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'numpy', 'pyspark', 'pyarrow', 'duckdb'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    job = write_job(tmp_path, base())
    subprocess.run([sys.executable, "-c", code, str(job)], check=True)


def test_explain_tells_the_chain_from_the_job_to_the_cause(tmp_path):
    manifest = base()
    write_csv(tmp_path / "data/in.csv", rows())
    # Rank 0 is still at work, as it would be.
    script = (
        "import os, sys, time\n"
        "if os.environ['RANK'] == '1':\n    sys.exit('no luck today')\n"
        "time.sleep(60)\n"
    )
    manifest["spec"]["train"] = {"nodes": 2, "script": {"inline": script}}
    manifest["spec"]["policy"] = {"retries": {"application": 1}}
    assert run(tmp_path, write_job(tmp_path, manifest)).code == 1
    told = cli(tmp_path, "explain", "small").stdout
    lines = told.splitlines()
    assert lines[0] == "default/small is Failed: ScriptFailed"
    assert "preprocess: Succeeded" in told
    assert "train: Failed in attempt 2" in told
    for attempt in (1, 2):
        assert f"  attempt {attempt}: ScriptFailed (application) in small-train-{attempt}-1" in told
    (tmp_path / "object.json").write_text(cli(tmp_path, "get", "small", "-o", "json").stdout)
    assert cli(tmp_path, "explain", "-f", "object.json").stdout == told


def test_explain_wants_one_job(tmp_path):
    for arguments in ([], ["nobody"], ["small", "-f", "x"]):
        outcome = cli(tmp_path, "explain", *arguments)
        assert outcome.code == 2
        assert outcome.stderr.startswith("error: ")
        assert "Traceback" not in outcome.stderr

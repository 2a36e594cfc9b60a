"""Every example runs, and so does every command that the README shows."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from trainingjob.api.stages import STAGE_NAMES

from .harness import CLI, Outcome, cli

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
WHEELS = ROOT / ".cache/frameworks"

# manifest -> bounds of its metrics
EXPECTED: dict[str, dict[str, tuple[float, float]]] = {
    "digits/job.yaml": {"accuracy": (0.95, 1.0)},
    "diabetes/job.yaml": {"r2": (0.3, 1.0)},
    "gradient-boosting/job.yaml": {"r2": (0.88, 0.96)},
    "search/job.yaml": {"accuracy": (0.95, 1.0)},
    "language-model/job.yaml": {"perplexity": (20, 150)},
    "fine-tune/job.yaml": {"token_accuracy": (0.8, 1.0)},
    "own-code/job.yaml": {"accuracy": (0.9, 1.0)},
    "own-code/torchrun.yaml": {"accuracy": (0.9, 1.0)},
    "keras/job.yaml": {"accuracy": (0.93, 1.0), "f1_macro": (0.93, 1.0)},
    "huggingface/job.yaml": {"accuracy": (0.85, 1.0)},
    "xgboost/job.yaml": {"accuracy": (0.92, 1.0), "roc_auc": (0.97, 1.0)},
    "tensorflow/job.yaml": {"accuracy": (0.93, 1.0), "f1_macro": (0.93, 1.0)},
}


# CI runs these in pods, and the first by `make demo`.
IN_PODS = ("digits/job.yaml", "own-code/job.yaml")
# With packages of their own: of what `make nightly` has fetched, as from an index.
FETCHES = ("keras/job.yaml", "xgboost/job.yaml", "tensorflow/job.yaml")
# With the packages: TensorFlow is 2 GB in each of two nodes.
MOST_SECONDS = 600
# manifest -> the one whose model it goes on from, in the same folder
AFTER = {"fine-tune/job.yaml": "language-model/job.yaml"}
Ran = Callable[[str], tuple[Path, Outcome]]


def commands(text: str) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What comes of the README's commands, in order and in one folder; `make demo` and `make test`
    are run by CI itself."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "examples").symlink_to(EXAMPLES)
    path = os.pathsep.join([str(Path(CLI[0]).parent), os.environ["PATH"]])
    found = {}
    for command in commands((ROOT / "README.md").read_text(encoding="utf-8")):
        done = subprocess.run(
            command.split(),
            cwd=folder,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
        )
        found[command] = Outcome(done.returncode, done.stdout, done.stderr)
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, shown: dict[str, Outcome]) -> Ran:
    """The folder of an example, and what it left; each runs once."""
    found: dict[str, tuple[Path, Outcome]] = {}

    def run(name: str) -> tuple[Path, Outcome]:
        if name not in found:
            folder = run(AFTER[name])[0] if name in AFTER else tmp_path_factory.mktemp("example")
            outcome = shown.get(f"trainingjob run examples/{name} -o json")
            if outcome is None:
                words = ("run", str(EXAMPLES / name), "-o", "json")
                outcome = cli(folder, *words, seconds=MOST_SECONDS)
            found[name] = folder, outcome
        return found[name]

    return run


def test_every_command_of_the_readme_works(shown: dict[str, Outcome]) -> None:
    assert len(shown) >= 8
    for command, done in shown.items():
        assert done.code == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr


def test_every_example_is_listed():
    found = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.glob("*/*.yaml")}
    # Those of Hadoop need a server: test_hdfs_example.py.
    assert {name for name in found if not name.startswith("hadoop/")} == set(EXPECTED)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(one, marks=[pytest.mark.nightly] if one in (*IN_PODS, *FETCHES) else [])
        for one in EXPECTED
    ],
)
@pytest.mark.timeout(2 * MOST_SECONDS)
def test_the_example_succeeds(ran: Ran, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in FETCHES:
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(WHEELS))
    _, outcome = ran(name)
    assert outcome.code == 0, outcome.stderr
    status = outcome.status
    assert status["phase"] == "Succeeded"
    spec = next(yaml.safe_load_all((EXAMPLES / name).read_text(encoding="utf-8")))["spec"]
    asked = [stage for stage in STAGE_NAMES if stage in spec]
    assert [stage["name"] for stage in status["stages"]] == asked
    for stage in status["stages"]:
        assert stage["startTime"] <= stage["completionTime"]
        assert stage["outputs"]["digest"].startswith("sha256:") or "own-code" in name
    metrics = outcome.metrics()
    for metric, (low, high) in EXPECTED[name].items():
        assert low <= metrics[metric] <= high
    for digest in ("modelDigest", "datasetDigest"):
        assert status["evaluation"][digest].startswith("sha256:")


def test_what_was_learned_can_be_looked_at(ran: Ran) -> None:
    folder, _ = ran("fine-tune/job.yaml")
    said = cli(folder, "generate", "fine-tune", ">>> x = [1, 2, 3]", "--temperature", "0")
    assert said.code == 0, said.stderr
    assert said.stdout in ("code\n", "prose\n")
    told = cli(folder, "generate", "language-model", "The value of", "--tokens", "8")
    assert told.stdout.startswith("The value of")


def test_the_manifest_of_the_readme_is_valid(tmp_path):
    block = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert block is not None
    (tmp_path / "job.yaml").write_text(block[1])
    assert cli(tmp_path, "validate", "job.yaml").code == 0

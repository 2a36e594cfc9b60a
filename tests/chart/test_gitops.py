"""What Argo CD and Flux make of TrainingJobs, and the examples of docs/gitops."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import lupa.lua51 as lua  # the version that Argo CD's own interpreter implements
import pytest
import yaml

from tests.cluster.build import ROOT
from tests.integration import test_kstatus as situations
from tests.unit.core.world import World, failed, running, world
from trainingjob.api.v1alpha1 import GROUP, KIND

from .helm import RELEASE, names, render

FOLDER = ROOT / "docs/gitops"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
SCRIPT = (FOLDER / "health.lua").read_text(encoding="utf-8")
KEY = f"resource.customizations.health.{GROUP}_{KIND}"


def health(obj: dict[str, Any], script: str = SCRIPT) -> dict[str, str]:
    """As Argo CD runs it: a global `obj`, no libraries but base and table, a table as result."""
    machine = lua.LuaRuntime(register_eval=False, register_builtins=False)
    # The methods of strings are the string library by another way.
    machine.execute("getmetatable('').__index = nil")
    for library in ("string", "math", "io", "os", "debug", "coroutine", "package", "require"):
        machine.globals()[library] = None
    machine.globals().obj = _table(machine, obj)
    return dict(machine.execute(script))


def _table(machine: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return machine.table_from({key: _table(machine, inner) for key, inner in value.items()})
    if isinstance(value, list):
        return machine.table_from([_table(machine, inner) for inner in value])
    return value


def reports_progress() -> World:
    made = situations.runs()
    made.manifest["status"]["progress"] = {"stage": "preprocess", "percent": 42}
    return made


def gate_failed() -> World:
    gates = [{"metric": "accuracy", "min": 0.99}]
    made = World()
    made.manifest["spec"]["evaluate"]["gates"] = gates
    made.settle()
    for stage in ("preprocess", "train", "evaluate"):
        made.finish(stage)
    return made


def failed_and_edited() -> World:
    made = situations.has_failed()
    made.manifest["metadata"]["generation"] = 2
    return made


def edited_while_it_runs() -> World:
    made = situations.runs()
    made.manifest["metadata"]["generation"] = 2
    return made


def retried() -> World:
    made = world(preprocess=None, train=TRAIN, evaluate=None)
    for pod in made.of("train"):
        running(pod, 1)
    made.finish("train", lambda pod, seconds: failed(pod, seconds, "NodeLost"))
    return made


def corrected() -> World:
    made = situations.unreadable()
    made.manifest["metadata"]["generation"] = 2
    return made


EDITED_LATE = "was edited after its end, once the operator has seen it"
EDITED = "was edited before its end, and the operator has not seen it yet"
TRAIN = {
    "nodes": 2,
    "dataset": {"uri": "pvc://datasets/digits"},
    "model": {"mlp": {"hidden": [64]}},
}

# (row of the page, how it comes about, words of Argo CD's message)
CASES: list[tuple[str, Callable[[], World], str]] = [
    ("was created, and no operator has seen it", situations.created, "has not seen it yet"),
    ("waits for its pods, or has been refused some", situations.begun, ""),
    ("waits for its pods, or has been refused some", situations.refused, "exceeded quota"),
    ("runs", situations.runs, "Preprocessing"),
    ("runs", reports_progress, "Preprocessing 42%"),
    ("restarts after a failure that is retried", situations.restarts, ""),
    ("restarts after a failure that is retried", retried, ""),
    ("is suspended", situations.suspended, "Suspended: preprocess: spec.suspend is set"),
    ("succeeded", situations.succeeded, "Succeeded: the model passed all gates"),
    ("failed, a gate included", situations.has_failed, "Failed: InputNotFound happened"),
    ("failed, a gate included", gate_failed, "accuracy"),
    ("has a spec that the operator cannot read", situations.unreadable, "spec.train: bad"),
    (EDITED, edited_while_it_runs, "has not seen it yet"),
    (EDITED, corrected, "has not seen it yet"),
]


def rows() -> dict[str, tuple[str, str]]:
    """The table of the page: the job -> its health for Argo CD and for Flux."""
    table = PAGE.partition("| the job |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [row.strip("| ").split(" | ") for row in table]
    return {job: (argo, flux) for job, argo, flux in cells}


@pytest.mark.parametrize(
    ("row", "make", "words"), CASES, ids=[f"{row}: {make.__name__}" for row, make, _ in CASES]
)
def test_the_health_of_a_job_that(row: str, make: Callable[[], World], words: str) -> None:
    obj = copy.deepcopy(make().manifest)
    told = health(obj)
    assert (told["status"], situations.compute(obj)["status"]) == rows()[row]
    assert words in told["message"]


@pytest.mark.parametrize(
    ("make", "before"),
    [(situations.edited, ("Healthy", "Current")), (failed_and_edited, ("Degraded", "Failed"))],
    ids=["it succeeded", "it failed"],
)
def test_the_verdict_stays_when_a_job_is_edited_after_its_end(
    make: Callable[[], World], before: tuple[str, str]
) -> None:
    made = make()
    made.settle()
    assert rows()[EDITED_LATE] == ("as before", "as before")
    told = (health(made.manifest)["status"], situations.compute(made.manifest)["status"])
    assert told == before


def test_every_row_of_the_page_has_its_test() -> None:
    assert [*rows()] == [*dict.fromkeys(row for row, _, _ in CASES), EDITED_LATE]


@pytest.mark.parametrize(
    "status",
    [None, {}, {"conditions": []}, {"phase": "Training"}, {"observedGeneration": 1}],
    ids=str,
)
def test_half_a_status_or_none_breaks_nothing(status: dict[str, Any] | None) -> None:
    obj = {"metadata": {"generation": 1}, "status": status}
    assert health(obj)["status"] == "Progressing"


@pytest.mark.parametrize("words", ["string.upper('x')", "('x'):upper()", "os.time()"])
def test_the_libraries_that_argo_cd_lacks_are_away_here_too(words: str) -> None:
    with pytest.raises(lua.LuaError, match=r"attempt to (index|call)"):
        health({}, f"return {{status = {words}}}")


def test_the_patch_of_argocd_cm_holds_the_script() -> None:
    patch = yaml.safe_load((FOLDER / "argocd-cm.yaml").read_text(encoding="utf-8"))
    assert patch == {"data": {KEY: SCRIPT}}
    assert KEY in PAGE


# --- the examples ------------------------------------------------------------------------------
EXAMPLES = {
    found["kind"]: found
    for block in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)
    for found in yaml.safe_load_all(block)
}


@pytest.mark.parametrize("kind", ["Application", "HelmRelease"])
def test_the_values_of_the_examples_are_values_of_the_chart(kind: str) -> None:
    spec = EXAMPLES[kind]["spec"]
    if kind == "Application":
        values, path = spec["source"]["helm"]["valuesObject"], spec["source"]["path"]
    else:
        values, path = spec["values"], spec["chart"]["spec"]["chart"]
    found = render(values, chart=ROOT / path)
    assert names(found, "Deployment") == [f"trainingjob-system/{RELEASE}"]
    assert "team-a/trainingjob-spark" in names(found, "ServiceAccount")


def test_the_examples_refer_to_what_is_there() -> None:
    assert EXAMPLES["HelmRelease"]["spec"]["chart"]["spec"]["sourceRef"] == {
        "kind": "GitRepository",
        "name": EXAMPLES["GitRepository"]["metadata"]["name"],
    }
    (check,) = EXAMPLES["Kustomization"]["spec"]["healthChecks"]
    assert (check["apiVersion"], check["kind"]) == (f"{GROUP}/v1alpha1", KIND)
    assert check["namespace"] == EXAMPLES["Kustomization"]["spec"]["targetNamespace"]


def test_its_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (FOLDER / link).exists(), link

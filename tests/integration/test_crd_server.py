"""The CRD on an API server: defaults, what may change, what kubectl shows, and quiet re-applies."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.controlplane import CRDS, ControlPlane
from tests.cluster.wait import wait_for
from tests.unit.api.corpus import GOOD, ROOT, defaulted, each_good, good
from trainingjob.api.crd import IMMUTABLE, crd
from trainingjob.api.errors import check_manifest
from trainingjob.api.stored import Unreadable, read_stored
from trainingjob.api.v1alpha1 import Status, TrainingJob

API = "/apis/trainingjob.dev/v1alpha1"
DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/trainingjobs.trainingjob.dev"
# kubectl keeps a copy of what it applied in an annotation; all of them may have so many bytes.
ANNOTATIONS_LIMIT = 256 * 1024


class Jobs:
    """The jobs of a namespace."""

    def __init__(self, control_plane: ControlPlane, namespace: str) -> None:
        self.control_plane = control_plane
        self.namespace = namespace

    def path(self, name: str = "", sub: str = "") -> str:
        parts = (API, "namespaces", self.namespace, "trainingjobs", name, sub)
        return "/".join(filter(None, parts))

    def create(self, manifest: Any, **metadata: Any) -> dict[str, Any]:
        metadata["namespace"] = self.namespace
        obj = manifest | {"metadata": manifest["metadata"] | metadata}
        status, answer = self.control_plane.request("POST", self.path(), obj)
        assert status == 201, answer
        return answer

    def get(self, name: str = "digits") -> dict[str, Any]:
        status, answer = self.control_plane.request("GET", self.path(name))
        assert status == 200, answer
        return answer

    def patch(self, body: Any, sub: str = "", name: str = "digits") -> tuple[int, dict[str, Any]]:
        return self.control_plane.request("PATCH", self.path(name, sub), body)

    def versions(self) -> dict[str, tuple[int, str]]:
        """Generation and resourceVersion by name."""
        items = self.control_plane.request("GET", self.path())[1]["items"]
        return {
            meta["name"]: (meta["generation"], meta["resourceVersion"])
            for meta in (item["metadata"] for item in items)
        }

    def kubectl(self, *args: str | Path, **options: Any) -> str:
        """What it says."""
        done = self.control_plane.kubectl(*args, "-n", self.namespace, **options)
        return done.stdout + done.stderr


@pytest.fixture
def jobs(control_plane: ControlPlane, namespace: str) -> Jobs:
    return Jobs(control_plane, namespace)


@pytest.fixture(scope="module")
def shared(control_plane: ControlPlane) -> Jobs:
    """For tests that leave each other's jobs alone."""
    return Jobs(control_plane, control_plane.namespace())


# --- defaults ---------------------------------------------------------------------------------


@each_good
def test_the_server_stores_what_pydantic_makes_of_a_good_manifest(name: str, shared: Jobs) -> None:
    job, _ = check_manifest(GOOD[name])
    assert job is not None
    created = shared.create(GOOD[name], name=name)

    stored = shared.get(name)

    # Items of lists get their defaults when they are read: see crd.py.
    schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert stored["spec"] == created["spec"] == defaulted(GOOD[name]["spec"], schema)
    read = read_stored(json.dumps(stored).encode())
    assert isinstance(read, TrainingJob)
    assert (read.spec, read.status) == (job.spec, Status())


def test_a_job_without_status_has_the_status_that_pydantic_gives_it(jobs: Jobs) -> None:
    jobs.create(GOOD["minimal"])

    assert jobs.get()["status"] == Status().to_dict()


@pytest.mark.parametrize("number", ["3.0", "3e0", "0.3e1", "300e-2"])
def test_whole_numbers_however_written_are_stored_as_integers(number: str, shared: Jobs) -> None:
    manifest = good("minimal")
    manifest["spec"]["train"]["nodes"] = 12345
    text = json.dumps(manifest).replace("12345", number)

    path = shared.path() + "?dryRun=All&fieldValidation=Strict"
    status, answer = shared.control_plane.request("POST", path, text)

    assert status == 201, answer
    assert (answer["spec"]["train"]["nodes"], type(answer["spec"]["train"]["nodes"])) == (3, int)


# --- what may change --------------------------------------------------------------------------


def rather(label: str) -> dict[str, Any]:
    """Affinity to nodes that have a label."""
    term = {"matchExpressions": [{"key": label, "operator": "Exists"}]}
    wish = {"weight": 1, "preference": term}
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}


def job_of_all_blocks() -> dict[str, Any]:
    manifest = good("minimal")
    manifest["spec"] |= {
        "preprocess": {
            "input": {"uri": "pvc://datasets/digits.csv", "format": "csv"},
            "steps": [{"fillna": {"value": 1}}, {"dropna": {}}],
        },
        "train": {
            "model": {"mlp": {"hidden": [64]}},
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "optimizer": {"sgd": {"learningRate": 0.5}},
            "resources": {"limits": {"cpu": 1}},
            "template": {"nodeSelector": {"pool": "gpu"}, "affinity": rather("zone")},
        },
        "evaluate": {"gates": [{"metric": "accuracy", "min": 0.9}]},
    }
    return manifest


# A merge patch of the spec, and the field that the server names.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another label": ({"task": {"label": "other"}}, "spec.task"),
    "features that were left to the data": ({"task": {"features": ["a"]}}, "spec.task"),
    "another place": ({"storage": {"uri": "pvc://training/other"}}, "spec.storage"),
    "another input": ({"preprocess": {"input": {"uri": "pvc://d/b.csv"}}}, "spec.preprocess"),
    "another split": ({"preprocess": {"split": {"seed": 1}}}, "spec.preprocess"),
    "no steps": ({"preprocess": {"steps": None}}, "spec.preprocess"),
    "steps in another order": (
        {"preprocess": {"steps": [{"dropna": {}}, {"fillna": {"value": 1}}]}},
        "spec.preprocess",
    ),
    "a value that CEL does not see": (
        {"preprocess": {"steps": [{"fillna": {"value": 2}}, {"dropna": {}}]}},
        "spec.preprocess",
    ),
    "the same value of another type": (
        {"preprocess": {"steps": [{"fillna": {"value": "1"}}, {"dropna": {}}]}},
        "spec.preprocess",
    ),
    "a dataset instead of preprocessing": (
        {"preprocess": None, "train": {"dataset": {"uri": "pvc://d/dataset"}}},
        "spec.preprocess",
    ),
    "a larger gang": ({"train": {"nodes": 2}}, "spec.train"),
    "another image": ({"train": {"image": "other:2"}}, "spec.train"),
    "more epochs": ({"train": {"epochs": 100}}, "spec.train"),
    "wider layers": ({"train": {"model": {"mlp": {"hidden": [128]}}}}, "spec.train"),
    "a smaller step": ({"train": {"optimizer": {"sgd": {"learningRate": 0.1}}}}, "spec.train"),
    "a variable less": ({"train": {"env": [{"name": "A", "value": "1"}]}}, "spec.train"),
    "more memory": ({"train": {"resources": {"limits": {"memory": "1Gi"}}}}, "spec.train"),
    "the same quantity in other words": (
        {"train": {"resources": {"limits": {"cpu": "1"}}}},
        "spec.train",
    ),
    "other nodes": ({"train": {"template": {"nodeSelector": {"pool": "cpu"}}}}, "spec.train"),
    "a wish for other nodes, of which CEL does not see the terms": (
        {"train": {"template": {"affinity": rather("rack")}}},
        "spec.train",
    ),
    "a lower gate": (
        {"evaluate": {"gates": [{"metric": "accuracy", "min": 0.1}]}},
        "spec.evaluate",
    ),
    "no evaluation": ({"evaluate": None}, "spec.evaluate"),
}
ACCEPTED: dict[str, dict[str, Any]] = {
    "nothing new": {},
    "more retries": {"policy": {"retries": {"application": 7}}},
    "no retries": {"policy": {"retries": {"application": 0, "infrastructure": 0}}},
    "a deadline": {"policy": {"activeDeadlineSeconds": 3600}},
    "another deadline": {"policy": {"startupDeadlineSeconds": 60}},
    "a stop": {"suspend": True},
    "no stop": {"suspend": False},
    "no policy, which is the default policy": {"policy": None},
    "defaults made explicit": {
        "preprocess": {"engine": "spark"},
        "train": {"nodes": 1, "model": {"mlp": {"activation": "relu", "dropout": 0}}},
    },
    "defaults that are null": {"preprocess": {"split": None}, "train": {"seed": None}},
    "the same numbers in other words": {"train": {"optimizer": {"sgd": {"learningRate": 5e-1}}}},
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_job_cannot_get(what: str, jobs: Jobs) -> None:
    patch, field = REFUSED[what]
    jobs.create(job_of_all_blocks())
    before = jobs.get()

    status, answer = jobs.patch({"spec": patch})

    assert (status, answer["reason"]) == (422, "Invalid")
    assert f"{field}: Forbidden: {IMMUTABLE}" in answer["message"]
    assert jobs.get() == before


@pytest.mark.parametrize("what", ACCEPTED)
def test_a_job_can_get(what: str, jobs: Jobs) -> None:
    before = jobs.create(job_of_all_blocks())

    status, after = jobs.patch({"spec": ACCEPTED[what]})

    assert status == 200, after
    different = before["spec"] != after["spec"]
    mutable = ("policy", "suspend")
    assert different == any(ACCEPTED[what].get(field) is not None for field in mutable)
    assert after["metadata"]["generation"] == 1 + different


OTHER_NODES = {"template": {"nodeSelector": {"pool": "b"}, "tolerations": [{"key": "spot"}]}}
# A merge patch of a suspended job's spec, and the field that the server names; None: it is taken.
WHILE_SUSPENDED: dict[str, tuple[dict[str, Any], str | None]] = {
    "other nodes for each stage": (
        {"preprocess": OTHER_NODES, "train": OTHER_NODES, "evaluate": OTHER_NODES},
        None,
    ),
    "a larger gang": ({"train": {"nodes": 4}}, None),
    "a larger gang elsewhere, and it goes on": (
        {"train": {"nodes": 4, **OTHER_NODES}, "suspend": False},
        None,
    ),
    "no template": ({"train": {"template": None}}, None),
    "other terms, of which CEL does not see the inside": (
        {"train": {"template": {"affinity": rather("rack")}}},
        None,
    ),
    "other nodes and more epochs": ({"train": {"epochs": 7, **OTHER_NODES}}, "spec.train"),
    "more epochs": ({"train": {"epochs": 7}}, "spec.train"),
    "weights, which CEL does not see": (
        {"train": {"classWeights": "balanced"}},
        "spec.train",
    ),
    "another label": ({"task": {"label": "other"}}, "spec.task"),
    "other nodes and another input": (
        {"preprocess": {"input": {"uri": "pvc://d/b.csv"}, **OTHER_NODES}},
        "spec.preprocess",
    ),
    "other nodes and a lower gate": (
        {"evaluate": {"gates": [{"metric": "accuracy", "min": 0.1}], **OTHER_NODES}},
        "spec.evaluate",
    ),
    "no evaluation": ({"evaluate": None}, "spec.evaluate"),
}


@pytest.mark.parametrize("what", WHILE_SUSPENDED)
def test_a_suspended_job_can_get_other_nodes_and_nothing_else(what: str, jobs: Jobs) -> None:
    """What queues do before they resume a job, in the same update or before."""
    patch, field = WHILE_SUSPENDED[what]
    manifest = job_of_all_blocks()
    manifest["spec"]["suspend"] = True
    before = jobs.create(manifest)

    status, answer = jobs.patch({"spec": patch})

    if field is None:
        assert status == 200, answer
        assert answer["spec"] != before["spec"]
    else:
        assert (status, answer["reason"]) == (422, "Invalid")
        assert f"{field}: Forbidden: {IMMUTABLE}" in answer["message"]


def test_a_job_gets_its_own_nodes_back_as_it_is_suspended(jobs: Jobs) -> None:
    jobs.create(job_of_all_blocks())
    patch = {"spec": {"suspend": True, "train": {"nodes": 3, **OTHER_NODES}}}
    assert jobs.patch(patch)[0] == 200


@pytest.mark.parametrize("block", ["preprocess", "evaluate"])
def test_a_job_cannot_get_a_stage_that_it_was_made_without(block: str, jobs: Jobs) -> None:
    manifest = job_of_all_blocks()
    patch: dict[str, Any] = {block: manifest["spec"].pop(block)}
    if block == "preprocess":
        manifest["spec"]["train"]["dataset"] = {"uri": "pvc://d/dataset"}
        patch["train"] = {"dataset": None}
    jobs.create(manifest)

    status, answer = jobs.patch({"spec": patch})

    assert status == 422
    assert f"spec.{block}: Forbidden: {IMMUTABLE}" in answer["message"]


def test_labels_and_annotations_may_change(jobs: Jobs) -> None:
    jobs.create(job_of_all_blocks())

    metadata = {"labels": {"team": "vision"}, "annotations": {"note": "x"}}
    status, after = jobs.patch({"metadata": metadata})

    assert status == 200
    assert after["metadata"]["generation"] == 1


def test_the_policy_of_the_largest_jobs_can_still_change(jobs: Jobs) -> None:
    """What a rule may cost at run time depends on the size of the object."""
    manifest = job_of_all_blocks()
    steps = [{"filter": {"where": f"a > {i} and " + "x" * 3000}} for i in range(256)]
    manifest["spec"]["preprocess"]["steps"] = steps
    manifest["spec"]["train"]["env"] = [{"name": f"V{i}", "value": "v" * 1500} for i in range(256)]
    assert len(json.dumps(manifest)) > 1_100_000
    jobs.create(manifest)

    assert jobs.patch({"spec": {"policy": {"retries": {"application": 7}}}})[0] == 200
    steps[-1] = {"filter": {"where": "a"}}
    status, answer = jobs.patch({"spec": {"preprocess": {"steps": steps}}})
    assert status == 422
    assert f"spec.preprocess: Forbidden: {IMMUTABLE}" in answer["message"]


# --- kubectl apply, diff, and again ------------------------------------------------------------

# All that GitOps tools meet: 1_024 and 0x2, anchors, other alphabets. One has a namespace of its
# own. Nulls kubectl sends each time, and the server drops them each time.
FILES = {
    path.stem: path.read_text("utf-8").replace("name: digits}", f"name: {path.stem}}}")
    for path in sorted((ROOT / "good").glob("*.yaml"))
    if path.stem not in ("metadata", "explicit-nulls")
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / f"{name}.yaml").write_text(text, "utf-8")
    return tmp_path


SERVER_SIDE = {"client-side": (), "server-side": ("--server-side",)}


@pytest.mark.parametrize("side", SERVER_SIDE)
def test_applying_the_same_again_changes_nothing(side: str, folder: Path, jobs: Jobs) -> None:
    apply = ("apply", *SERVER_SIDE[side], "-f", folder)
    jobs.kubectl(*apply)
    for name in jobs.versions():  # the operator has seen them
        jobs.patch({"status": {"observedGeneration": 1}}, "status", name)
    created = jobs.versions()
    assert len(created) == len(FILES)

    again = jobs.kubectl(*apply)

    assert jobs.versions() == created
    assert {line.split()[-1] for line in again.splitlines()} == {
        "unchanged" if side == "client-side" else "serverside-applied"
    }
    # Exits with 1 when there is something to tell.
    assert jobs.kubectl("diff", *SERVER_SIDE[side], "-f", folder) == ""
    assert {generation for generation, _ in created.values()} == {1}


def test_nulls_are_dropped_by_the_server_but_not_from_a_server_side_apply(jobs: Jobs) -> None:
    file = ROOT / "good" / "explicit-nulls.yaml"

    told = jobs.kubectl("apply", "--server-side", "-f", file, check=False)

    # Kubernetes' own doing: it names each of them, and stores none.
    assert 'spec.train.epochs in body must be of type integer: "null"' in told
    assert jobs.versions() == {}
    for _ in range(3):
        jobs.kubectl("apply", "-f", file)
        assert jobs.get()["metadata"]["generation"] == 1
    assert jobs.kubectl("diff", "-f", file) == ""


def test_changing_from_client_side_to_server_side_apply_changes_no_spec(
    folder: Path, jobs: Jobs
) -> None:
    for arguments in ((), ("--server-side",), ("--server-side",)):
        jobs.kubectl("apply", *arguments, "-f", folder / "whole-pipeline.yaml")
    versions = jobs.versions()

    jobs.kubectl("apply", "--server-side", "-f", folder / "whole-pipeline.yaml")

    assert jobs.versions() == versions
    assert [generation for generation, _ in versions.values()] == [1]


@pytest.mark.parametrize("side", SERVER_SIDE)
def test_a_job_that_the_operator_has_worked_on_is_no_difference(
    side: str, folder: Path, jobs: Jobs
) -> None:
    (name,) = {yaml.safe_load(FILES["gates"])["metadata"]["name"]}
    file = folder / "gates.yaml"
    jobs.kubectl("apply", *SERVER_SIDE[side], "-f", file)
    job = jobs.get(name) | {"status": STATUS}
    status, answer = jobs.control_plane.request("PUT", jobs.path(name, "status"), job)
    assert status == 200, answer
    versions = jobs.versions()

    assert jobs.kubectl("diff", *SERVER_SIDE[side], "-f", file) == ""
    jobs.kubectl("apply", *SERVER_SIDE[side], "-f", file)

    assert jobs.versions() == versions
    assert jobs.get(name)["status"] == Status.model_validate(STATUS).to_dict()


def test_a_change_of_the_policy_is_a_difference_and_applied(folder: Path, jobs: Jobs) -> None:
    file = folder / "policy-empty.yaml"
    jobs.kubectl("apply", "-f", file)
    text = file.read_text().replace("retries: {}", "retries: {application: 9}")
    file.write_text(text)

    diff = jobs.kubectl("diff", "-f", file, check=False)

    lines = {line[1:].strip() for line in diff.splitlines() if re.match(r"[-+] ", line)}
    assert lines == {"generation: 1", "generation: 2", "application: 1", "application: 9"}
    assert "configured" in jobs.kubectl("apply", "-f", file)
    assert jobs.get("policy-empty")["spec"]["policy"]["retries"]["application"] == 9


def test_a_dry_run_on_the_server_tells_and_does_nothing(folder: Path, jobs: Jobs) -> None:
    told = jobs.kubectl("apply", "--dry-run=server", "-f", folder / "minimal.yaml")

    assert told == "trainingjob.trainingjob.dev/minimal created (server dry run)\n"
    assert jobs.versions() == {}


def test_a_bad_manifest_is_told_with_its_field_and_a_typo_by_its_name(
    folder: Path, jobs: Jobs
) -> None:
    for name, message in {
        "nodes-zero": "spec.train.nodes in body should be greater than or equal to 1",
        "train-typo": 'unknown field "spec.train.',
        "stratify-with-regression": "spec: Invalid value: split.stratify needs task.type",
    }.items():
        told = jobs.kubectl("apply", "-f", ROOT / "bad" / f"{name}.yaml", check=False)
        assert message in told
    assert jobs.versions() == {}


# --- status ------------------------------------------------------------------------------------

STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "phase": "Training",
    "reason": "Retrying",
    "message": "attempt 2 of stage train runs",
    "stages": [
        {"name": "preprocess", "phase": "Succeeded"},
        {"name": "train", "phase": "Running", "attempt": 2},
        {"name": "evaluate"},
    ],
    "progress": {"stage": "train", "percent": 40},
    "evaluation": {
        "metrics": [{"name": "accuracy", "value": 0.9749}, {"name": "f1_macro", "value": 0.5}],
        "passed": True,
    },
}


def test_nobody_writes_status_beside_the_spec(jobs: Jobs, tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text(json.dumps(good("minimal") | {"status": STATUS}))
    for how in ("create", "apply", "server-side", "patch"):
        if how == "create":
            jobs.create(good("minimal") | {"status": STATUS})
        elif how == "patch":
            assert jobs.patch({"status": STATUS})[0] == 200
        else:
            force = ("--server-side", "--force-conflicts") if how == "server-side" else ()
            jobs.kubectl("apply", *force, "-f", file)
        assert jobs.get()["status"] == Status().to_dict(), how
        assert jobs.get()["metadata"]["generation"] == 1, how


def test_nobody_writes_the_spec_beside_status(jobs: Jobs) -> None:
    spec = jobs.create(good("minimal"))["spec"]

    status, answer = jobs.patch({"spec": {"train": {"nodes": 9}}, "status": STATUS}, "status")

    assert (status, answer["spec"]) == (200, spec)
    assert answer["metadata"]["generation"] == 1
    assert answer["status"] == Status.model_validate(STATUS).to_dict()


def test_the_server_checks_status_too(jobs: Jobs) -> None:
    jobs.create(good("minimal"))

    for status in ({"phase": "Done"}, {"message": "x" * 3000}, {"progress": {"percent": 1}}):
        assert jobs.patch({"status": status}, "status")[0] == 422


# --- what people see ----------------------------------------------------------------------------


def test_kubectl_shows_the_story_in_columns(jobs: Jobs) -> None:
    jobs.create(GOOD["gates"])
    jobs.create(GOOD["minimal-regression"], name="fresh")
    assert jobs.patch({"status": STATUS}, "status")[0] == 200

    def table(*arguments: str) -> dict[str, list[str]]:
        """Cells by column."""
        lines = jobs.kubectl("get", *arguments).splitlines()
        starts = [match.start() for match in re.finditer(r"\S+", lines[0])]
        ends = [*starts[1:], None]
        rows = [[line[a:b].strip() for a, b in zip(starts, ends, strict=True)] for line in lines]
        return {head: list(cells) for head, *cells in zip(*rows, strict=True)}

    narrow, wide = table("tj"), table("tj", "-o", "wide")
    age = narrow.pop("AGE")
    assert all(re.fullmatch(r"\d+s", cell) for cell in age)
    assert narrow == {
        "NAME": ["digits", "fresh"],
        "PHASE": ["Training", "Pending"],
        "STAGE": ["train", ""],
        "PROGRESS": ["40", ""],
        "SCORE": ["0.9749", ""],
    }
    assert {head: cells for head, cells in wide.items() if head not in {*narrow, "AGE"}} == {
        "DEPLOYED": ["", ""],
        "REASON": ["Retrying", ""],
        "NODES": ["1", "1"],
        "TASK": ["classification", "regression"],
        "MESSAGE": ["attempt 2 of stage train runs", ""],
    }


@pytest.mark.parametrize(
    "name", ["tj", "trainingjob", "trainingjobs", "trainingjobs.trainingjob.dev", "ml", "all"]
)
def test_a_job_is_found_as(name: str, shared: Jobs) -> None:
    shared.kubectl("apply", "-f", "-", input=FILES["shortest-name"])

    assert "trainingjob.trainingjob.dev/a\n" in shared.kubectl("get", name, "-o", "name")


EXPLAINED = {
    "tj": ["From data to a judged model", "spec\t<Object> -required-", "read only"],
    "tj.spec": [
        "It stays as it was created, but for",
        "train\t<Object>\n    Stage 2: a gang of `nodes` pods trains the model. Unset:",
        "preprocess\t<Object>\n    Stage 1: from raw files to a cleaned, split dataset.",
        "policy\t<Object>\n    Deadlines and retries; it can change while the job",
        "suspend\t<boolean>\n    Stop the pods of the running stage",
    ],
    "tj.spec.train": [
        "FIELD: train <Object>",
        "Stage 2: a gang of `nodes` pods trains the model.",
        "nodes\t<integer>\n    Number of training pods. Default: 1.",
        "precision\t<string>\n  enum: auto, fp32, bf16\n    Built-in models:",
        "command\t<[]string>\n    Own command, run once in each pod",
        "template\t<Object>\n    Parts of the pods.",
    ],
    "tj.spec.train.optimizer.sgd": ["learningRate\t<number>\n    Step size. Default: 0.01."],
    "tj.spec.preprocess.steps": [
        "FIELD: steps <[]Object>",
        "One step: exactly one of the fields.",
        "dropna\t<Object>\n    Drop rows with nulls.",
    ],
    "tj.spec.evaluate.template": [
        "Parts of the pods. Fields: see spec.train.template.",
        "nodeSelector\t<map[string]string>\n    <no description>",
    ],
    "tj.spec.train.template": ["nodeSelector\t<map[string]string>\n    Labels that the node"],
    "tj.spec.evaluate.gates": ["metric\t<string> -required-", "min\t<number>\n    Lowest value"],
    "tj.status": ["phase\t<string>", "lastFailure\t<Object>\n    The newest failure."],
}


@pytest.mark.parametrize("path", EXPLAINED)
def test_kubectl_explains(path: str, control_plane: ControlPlane) -> None:
    told = control_plane.kubectl("explain", path).stdout

    for text in EXPLAINED[path]:
        assert text in told
    assert ("<no description>" in told) == ("Fields: see " in told)


def fields(node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, child in node.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields(child, f"{path}.{name}")
    for below in ("items", "additionalProperties"):
        if isinstance(node.get(below), dict):
            yield from fields(node[below], path)


def test_the_server_publishes_the_descriptions_of_every_field(
    control_plane: ControlPlane,
) -> None:
    document = control_plane.request("GET", f"/openapi/v3{API}")[1]
    schema = document["components"]["schemas"]["dev.trainingjob.v1alpha1.TrainingJob"]
    found = [
        found
        for part in ("spec", "status")
        for found in fields({"properties": {part: schema["properties"][part]}}, "tj")
    ]

    assert len(found) > 500
    ours = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    ours = {part: ours[part] for part in ("spec", "status")}
    assert {path: node.get("description") for path, node in found} == {
        path: node.get("description") for path, node in fields({"properties": ours}, "tj")
    }


# --- the definition itself -----------------------------------------------------------------------


def loose() -> dict[str, Any]:
    """A definition that lets everything pass, as an older one might."""
    definition = crd()
    (version,) = definition["spec"]["versions"]
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    properties = {"spec": anything, "status": anything}
    version["schema"] = {"openAPIV3Schema": {"type": "object", "properties": properties}}
    return definition


TEXT = "train-is-text"
# Parts of a spec that the definition of today refuses, and where.
LOOSE: dict[str, tuple[dict[str, Any], str]] = {
    "too-many-nodes": ({"train": {"model": {"mlp": {}}, "nodes": 5000}}, "spec.train.nodes: "),
    "no-task": (
        {"task": None},
        "spec: task must be set, unless the job only uses an accepted model",
    ),
    "mount-over-root": (
        {
            "train": {
                "model": {"mlp": {}},
                "template": {
                    "volumes": [{"name": "a", "emptyDir": {}}],
                    "volumeMounts": [{"name": "a", "mountPath": "/"}],
                },
            }
        },
        "spec.train.template.volumeMounts[0].mountPath: must be an absolute path",
    ),
    "a-rule": ({"preprocess": None}, "spec: either preprocess or train.dataset must be set"),
    "n" * 70: ({}, "metadata.name: must have at most 63 characters"),
    TEXT: ({"train": "please"}, "spec.train: must be an object, not a string"),
}


@pytest.fixture(scope="module")
def upgraded() -> Iterator[tuple[ControlPlane, Jobs, str]]:
    """A control plane with jobs of the loose definition, and then `kubectl apply -f crds/`."""
    with ControlPlane() as control_plane:
        text = json.dumps(loose())
        control_plane.kubectl("apply", "-f", "-", input=text)
        control_plane.kubectl("wait", "--for=condition=Established", "crd", "--all")
        jobs = Jobs(control_plane, control_plane.namespace())
        for name, (spec, _) in LOOSE.items():
            manifest = copy.deepcopy(GOOD["minimal"])
            manifest["spec"] |= spec
            manifest["spec"] = {k: v for k, v in manifest["spec"].items() if v is not None}
            jobs.create(manifest, name=name)
        jobs.create(GOOD["minimal"], name="fine")
        told = control_plane.kubectl("apply", "-f", CRDS).stdout
        # The API server goes by a new definition a moment after it has taken it.
        refused = {"spec": {"policy": 7}}
        path = f"{jobs.path('fine')}?dryRun=All"
        wait_for("it", lambda: control_plane.request("PATCH", path, refused)[0] == 422)
        yield control_plane, jobs, told


def test_kubectl_applies_the_definition_over_an_older_one_and_again(upgraded: Any) -> None:
    control_plane, _, told = upgraded
    annotations = control_plane.request("GET", DEFINITION)[1]["metadata"]["annotations"]

    assert "trainingjobs.trainingjob.dev configured" in told
    assert sum(map(len, annotations.values())) < ANNOTATIONS_LIMIT / 1.2
    for arguments in ((), ("--server-side", "--force-conflicts")):
        version = control_plane.request("GET", DEFINITION)[1]["metadata"]["generation"]
        control_plane.kubectl("apply", *arguments, "-f", CRDS)
        assert control_plane.request("GET", DEFINITION)[1]["metadata"]["generation"] == version
        diff = ("diff", *arguments, "-f", CRDS)
        assert control_plane.kubectl(*diff).stdout == ""


def test_the_definition_is_accepted_by_the_server_in_full(upgraded: Any) -> None:
    control_plane, _, _ = upgraded
    conditions = control_plane.request("GET", DEFINITION)[1]["status"]["conditions"]

    assert {c["type"]: c["status"] for c in conditions} == {
        "NamesAccepted": "True",
        "Established": "True",
    }


@pytest.mark.parametrize("name", LOOSE)
def test_what_a_looser_definition_let_pass_is_read_told_and_deleted(
    name: str, upgraded: Any
) -> None:
    control_plane, jobs, _ = upgraded
    stored = jobs.get(name)

    found = read_stored(json.dumps(stored).encode())

    assert isinstance(found, Unreadable)
    assert found.message.startswith(LOOSE[name][1])
    assert found.status == Status()
    # What was wrong before may stay wrong: the operator can write what it has to say. Only where
    # rules expect an object and find none, the server evaluates them in vain.
    status = {"phase": "Failed", "message": found.message}
    body = stored | {"status": Status.model_validate(status).to_dict()}
    code, answer = control_plane.request("PUT", jobs.path(name, "status"), body)
    assert code == (422 if name == TEXT else 200), answer
    assert jobs.get(name)["status"]["message"] == ("" if name == TEXT else found.message)
    # And it cannot be made worse.
    assert control_plane.request("PATCH", jobs.path(name), {"spec": {"policy": 7}})[0] == 422
    assert control_plane.request("DELETE", jobs.path(name))[0] == 200


def test_a_good_job_of_before_is_read_with_the_defaults_of_today(upgraded: Any) -> None:
    _, jobs, _ = upgraded

    found = read_stored(json.dumps(jobs.get("fine")).encode())

    assert isinstance(found, TrainingJob)
    assert found.spec == TrainingJob.from_dict(GOOD["minimal"]).spec

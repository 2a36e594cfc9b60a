"""The corpus sent to an API server: its verdict is pydantic's, and it takes the pods, too."""

from __future__ import annotations

import copy
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from tests.cluster.controlplane import ControlPlane
from tests.unit.api.corpus import BAD, GOOD, as_served, each_bad, each_good, good
from trainingjob.api.errors import check_manifest
from trainingjob.api.v1alpha1 import Spec, TrainingJob
from trainingjob.cluster.resources import MADE
from trainingjob.core import Settings, stages

Place = tuple[int | str, ...]
STRICT = "?dryRun=All&fieldValidation=Strict"
# Where the server cannot name the field. Its verdict is the same nonetheless.
UNNAMED = {
    "it looks for a kind of that name before it looks at the object": {
        "api-version-missing",
        "api-version-of-another-group",
        "api-version-too-new",
        "kind-missing",
    },
    "it reads metadata before it has an object whose fields have names": {
        "annotation-is-a-boolean",
        "label-is-a-number",
        "metadata-missing",
        "name-is-a-number",
        "namespace-leads-out-of-the-storage",
    },
    "JSON has no such number": {
        "affinity-nan",
        "fillna-value-nan",
        "gate-max-infinite",
        "gate-min-nan",
        "learning-rate-infinite",
        "nodes-beyond-doubles",
        "test-nan",
    },
}
JOB_NAMESPACE = "team-vision"  # of good/metadata


def as_json(value: Any) -> str:
    """As kubectl writes it: 2 for 2.0."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e21
        return int(value) if whole else value

    return json.dumps(plain(value))


def names(message: str, field: str) -> bool:
    """Whether it is this very field, or of an object in place of a list, what is in it.

    The server has ``limits.cpu`` for ``limits[cpu]``, and ``inputs[a]`` for what a rule refuses.
    """
    written = re.escape(re.sub(r"\[([^\]]*[^\]\d][^\]]*)\]", r".\1", field))
    message = re.sub(r"(?<=\w)\[([a-z]\w*)\]", r".\1", message)
    found = re.search(rf'(?<![\w.]){written}[":]|unknown field "{written}\.\w+"', message)
    return found is not None


@pytest.fixture(scope="module")
def home(control_plane: ControlPlane) -> str:
    """A namespace with what jobs and pods of the corpus refer to, as far as admission asks."""
    name = control_plane.namespace()
    for path, body in (
        ("/api/v1/namespaces", {"metadata": {"name": JOB_NAMESPACE}}),
        (
            f"/api/v1/namespaces/{name}/serviceaccounts",
            {"metadata": {"name": "trainingjob-spark"}},
        ),
        (
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            {"metadata": {"name": "batch.low"}, "value": 1},
        ),
        (
            "/apis/node.k8s.io/v1/runtimeclasses",
            {"metadata": {"name": "nvidia"}, "handler": "nvidia"},
        ),
    ):
        status, answer = control_plane.request("POST", path, body)
        assert status in (201, 409), answer
    return name


def send(control_plane: ControlPlane, namespace: str, obj: Any) -> tuple[int, str]:
    """As `kubectl apply --dry-run=server` does it: the status code, and what the server says."""
    given = obj.get("metadata", {}).get("namespace", namespace)
    path = f"/apis/trainingjob.dev/v1alpha1/namespaces/{quote(given, safe='')}/trainingjobs"
    status, answer = control_plane.request("POST", path + STRICT, as_json(obj))
    return status, answer.get("message", "")


@each_good
def test_the_server_accepts_a_good_manifest(
    name: str, control_plane: ControlPlane, home: str
) -> None:
    assert send(control_plane, home, GOOD[name]) == (201, "")


@each_bad
def test_the_server_refuses_a_bad_manifest_and_names_the_field(
    name: str, control_plane: ControlPlane, home: str
) -> None:
    status, message = send(control_plane, home, BAD[name].obj)
    (problem,) = check_manifest(BAD[name].obj)[1]
    alone = {rule.message for rule in Spec.rules if (rule.cel, rule.schema) == (None, None)}
    # The operator refuses it.
    if problem.message in alone or check_manifest(as_served(BAD[name].obj))[0] is not None:
        assert (status, message) == (201, "")
        return

    assert 400 <= status < 500, message
    assert names(message, BAD[name].field) == (name not in set().union(*UNNAMED.values()))


def test_the_exceptions_are_a_handful_and_in_the_corpus() -> None:
    assert len(UNNAMED) <= 5
    assert sum(map(len, UNNAMED.values())) <= 16
    assert set().union(*UNNAMED.values()) <= set(BAD)


def test_the_server_tells_what_the_models_tell(control_plane: ControlPlane, home: str) -> None:
    """Rules have one message for both."""
    job, (problem,) = check_manifest(BAD["requests-above-limits"].obj)

    assert job is None
    assert send(control_plane, home, BAD["requests-above-limits"].obj) == (
        422,
        'TrainingJob.trainingjob.dev "digits" is invalid: '
        f"spec.train.resources: Invalid value: {problem.message}",
    )


def places(value: Any, path: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every value below a value, and where."""
    items = value.items() if isinstance(value, dict) else ()
    for key, item in enumerate(value) if isinstance(value, list) else items:
        yield (*path, key), item
        yield from places(item, (*path, key))


def unnumbered(place: Place) -> Place:
    return tuple(part if isinstance(part, str) else 0 for part in place)


def test_the_verdicts_are_equal_for_manifests_put_together_from_parts_of_the_corpus(
    control_plane: ControlPlane, home: str
) -> None:
    """Two parts of a good manifest are replaced by what other manifests have in their place."""
    parts = defaultdict(list)
    for obj in (*GOOD.values(), *(bad.obj for bad in BAD.values())):
        for place, value in places(obj):
            parts[unnumbered(place)].append(value)
    choose, different, accepted = random.Random(7).choice, [], 0
    for _ in range(300):
        obj = copy.deepcopy(GOOD[choose(list(GOOD))])
        for _ in range(2):
            place, _ = choose([found for found in places(obj["spec"]) if found[0]])
            parent = obj["spec"]
            for part in place[:-1]:
                parent = parent[part]
            parent[place[-1]] = copy.deepcopy(choose(parts["spec", *unnumbered(place)]))
        status, message = send(control_plane, home, obj)
        job, problems = check_manifest(as_served(obj))
        accepted += status == 201
        if status == 201 and any(": search: " in str(problem) for problem in problems):
            # Which settings train takes the operator alone knows: tests/unit/api/test_crd.py. All
            # else must be right.
            del obj["spec"]["train"]["search"]
            job, problems = check_manifest(as_served(obj))
        if (status == 201) != (job is not None):
            different.append((obj, [*map(str, problems)], message))
    assert different == []
    assert 100 < accepted < 290


@each_good
def test_what_a_good_manifest_becomes_is_accepted_too(
    name: str, control_plane: ControlPlane, home: str
) -> None:
    """Nothing is found out only when the pods of the third stage are made. What this API server has
    not, `test_kserve.py` tries where it is."""
    obj = GOOD[name] | {"metadata": GOOD[name]["metadata"] | {"namespace": home, "uid": "u-1"}}
    job, problems = check_manifest(obj)
    assert job is not None, problems
    for child in some_children(job):
        if MADE[child["kind"]].optional:
            continue
        path = MADE[child["kind"]].path(home)
        status, answer = control_plane.request("POST", path + STRICT, child)
        assert status == 201, answer["message"]


HARDWARE = (Path(__file__).parents[2] / "docs/hardware.md").read_text("utf-8")
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", HARDWARE, re.DOTALL)]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_the_examples_of_the_page_on_hardware_are_accepted_and_so_are_their_pods(
    example: dict[str, Any], control_plane: ControlPlane, home: str
) -> None:
    obj = good("minimal")
    obj["metadata"] |= {"namespace": home, "uid": "u-1"}
    obj["spec"] |= example
    assert send(control_plane, home, obj) == (201, "")
    job, problems = check_manifest(obj)
    assert job is not None, problems
    for child in some_children(job):
        path = MADE[child["kind"]].path(home)
        status, answer = control_plane.request("POST", path + STRICT, child)
        assert status == 201, answer["message"]


def test_the_page_on_hardware_has_an_example_of_each_kind() -> None:
    assert len(EXAMPLES) >= 8
    shown = str(EXAMPLES)
    for word in ("cpu", "nvidia.com/gpu", "google.com/tpu", "ephemeral", "rdma/", "resourceClaims"):
        assert word in shown


def some_children(job: TrainingJob) -> list[dict[str, Any]]:
    """The network, and the first and last pod, of each stage."""
    found = []
    for stage in stages.of(job):
        pods = stage.pods(job, 1, Settings())
        found += [*stage.others(job, Settings()), *pods[:1], *pods[-1:]]
    return found

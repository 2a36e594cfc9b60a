"""check_manifest and problems: words for people, whatever they are given."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.unit.api.corpus import BAD, GOOD, good
from trainingjob.api.errors import Problem, check_manifest, problems
from trainingjob.api.payload import StageResult
from trainingjob.api.v1alpha1 import Status, TrainingJob


def told(obj: object) -> list[str]:
    job, found = check_manifest(obj)
    assert (job is None) == bool(found)
    return [str(problem) for problem in found]


def manifest(**train: Any) -> dict[str, Any]:
    obj = good("minimal")
    obj["spec"]["train"] |= train
    return obj


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else []


def recursive() -> Any:
    loop: list[Any] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (None, "manifest: must be an object, not null"),
        ([], "manifest: must be an object, not a list"),
        ("TrainingJob", "manifest: must be an object, not a string"),
        (7, "manifest: must be an object, not an integer"),
        ({1: 2}, "manifest: keys must be strings, not an integer"),
        ({None: 2}, "manifest: keys must be strings, not null"),
        ({("a",): 2}, "manifest: keys must be strings, not a tuple"),
        ({"spec": {True: 2}}, "spec: keys must be strings, not a boolean"),
        ({"spec": datetime.date(2026, 1, 31)}, "spec: must be a JSON value, not a date"),
        ({"spec": {"a": {1, 2}}}, "spec.a: must be a JSON value, not a set"),
        ({"spec": b"x"}, "spec: must be a JSON value, not a bytes"),
        ({"spec": float("nan")}, "spec: must be a finite number"),
        ({"spec": 10**400}, "spec: must be a finite number"),
        ({"spec": -(10**5000)}, "spec: must be a finite number"),
        (recursive(), "[0][0][0][0][0][0][0][0]: is nested too deeply"),
        (nested(500), "[0][0][0][0][0][0][0][0]: is nested too deeply"),
        (["x" * 2_000_000], "manifest: must not be larger than 1500000 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 99 else "",
)
def test_what_is_no_manifest_at_all_is_told_in_one_line(obj: object, message: str) -> None:
    assert told(obj) == [message]


def test_all_faults_are_told_at_once() -> None:
    obj = manifest(nodes=0, epochs="3", trian=1)
    del obj["spec"]["storage"]

    assert told(obj) == [
        "spec.storage: required field is missing",
        "spec.train.nodes: must be greater than or equal to 1, not 0",
        "spec.train.epochs: must be an integer, not a string: remove the quotes",
        'spec.train.trian: unknown field "trian"',
    ]


@pytest.mark.parametrize(
    ("given_name", "meant"),
    [
        ("batch_size", "batchSize"),
        ("batchsize", "batchSize"),
        ("BATCHSIZE", "batchSize"),
        ("procPerNode", "procsPerNode"),
        ("procs_per_node", "procsPerNode"),
        ("early_stoping", "earlyStopping"),
        ("optimiser", "optimizer"),
        ("epoch", "epochs"),
    ],
)
def test_a_misspelt_field_is_recognized(given_name: str, meant: str) -> None:
    assert told(manifest(**{given_name: 1})) == [
        f'spec.train.{given_name}: unknown field "{given_name}", did you mean "{meant}"?'
    ]


def test_what_resembles_nothing_is_only_called_unknown() -> None:
    assert told(manifest(zzz=1)) == ['spec.train.zzz: unknown field "zzz"']


def test_names_of_other_alphabets_are_told_as_they_are_written() -> None:
    assert told(manifest(größe=1)) == ['spec.train[größe]: unknown field "größe"']


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"\ud800": 1}, "spec.train: keys must be valid Unicode text"),
        ({"image": "a\ud800"}, "spec.train.image: must be valid Unicode text"),
        (
            {"resources": {"limits": {"\udfff": 1}}},
            "spec.train.resources.limits: keys must be valid Unicode text",
        ),
    ],
)
def test_text_that_no_terminal_can_print_is_told_by_its_place(train: Any, message: str) -> None:
    assert told(manifest(**train)) == [message]


def test_a_long_name_is_cut() -> None:
    (message,) = told(manifest(**{"x" * 500: 1}))

    assert len(message) < 200


SECRET = "hunter2" * 6000


@pytest.mark.parametrize(
    "train",
    [
        {"env": [{"name": "TOKEN", "value": SECRET}]},
        {"env": [{"name": "TOKEN", "value": {"nested": SECRET}}]},
        {"env": [{"name": SECRET, "value": "x"}]},
        {"image": SECRET},
        {"command": [SECRET]},
        {"dataset": {"uri": f"s3://key:{SECRET}@bucket"}},
        {"template": {"nodeSelector": {"a": SECRET}}},
    ],
)
def test_values_of_text_fields_are_not_repeated(train: dict[str, Any]) -> None:
    messages = told(manifest(**train))

    assert messages
    assert "hunter2" not in "".join(messages)


def test_values_of_choices_are_repeated_up_to_60_characters() -> None:
    (message,) = told(manifest(precision="half" * 100))

    assert message.startswith('spec.train.precision: must be one of "auto", "fp32", "bf16", not "h')
    assert len(message) < 140


def test_status_is_ignored_as_the_server_does_on_create() -> None:
    obj = good("minimal") | {"status": {"phase": "Nonsense", "startTime": 7}}

    job, found = check_manifest(obj)

    assert found == []
    assert job is not None
    assert job.status == Status()


def test_what_it_is_given_is_not_changed() -> None:
    obj = good("explicit-nulls") | {"status": {}}

    check_manifest(obj)

    assert obj == GOOD["explicit-nulls"] | {"status": {}}


@pytest.mark.parametrize("value", [0, 1, -1, 2**31])
def test_integers_are_numbers(value: int) -> None:
    obj = good("minimal")
    obj["spec"]["evaluate"] = {"gates": [{"metric": "log_loss", "max": value}]}

    assert told(obj) == []


def test_faults_of_other_objects_are_told_in_the_same_words() -> None:
    with pytest.raises(ValidationError) as caught:
        Status.model_validate({"startTime": "yesterday", "phase": "Succeded", "conditions": [{}]})

    assert problems(caught.value, Status) == [
        Problem(
            "phase",
            'must be one of "Pending", "Preprocessing", "Training", "Evaluating", "Deploying", '
            '"Predicting", "Suspended", "Deleting", "Succeeded", "Failed", not "Succeded", did '
            'you mean "Succeeded"?',
        ),
        Problem("conditions[0].type", "required field is missing"),
        Problem("conditions[0].status", "required field is missing"),
        Problem("conditions[0].reason", "required field is missing"),
        Problem("conditions[0].lastTransitionTime", "required field is missing"),
        Problem("startTime", "must be a time in RFC 3339"),
    ]


def test_the_result_of_a_pod_is_told_likewise() -> None:
    with pytest.raises(ValidationError) as caught:
        StageResult.model_validate({"outputs": {"uri": 7, "rows": {"train": "x"}}})

    assert [str(problem) for problem in problems(caught.value, StageResult)] == [
        "outputs.uri: must be a string, not an integer: put it in quotes",
        "outputs.rows.train: must be an integer, not a string",
    ]


# --- whatever it is given ---------------------------------------------------------------------

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, -(2**64), 10**400, 0, 1, -1]),
    st.floats(),
    st.text(max_size=20),
    st.text(st.characters(categories=["Cs", "Cc", "Zs", "Lo"]), max_size=5),
    st.sampled_from(["x" * 70_000, "..", "pvc://a/../b", "TRAININGJOB_X", "spark.master", ""]),
    st.dates(),
    st.binary(max_size=3),
)
KEYS = st.one_of(
    st.sampled_from(["value", "name", "uri", "mlp", "cpu", "int", "[key]", "constrained-str"]),
    st.text(max_size=8),
    st.integers(),
    st.none(),
)
JUNK = st.recursive(
    ODD,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything below a node."""
    if not isinstance(node, dict | list):
        return []
    keys = list(node) if isinstance(node, dict) else list(range(len(node)))[:3]
    return [p for key in keys for p in [(*path, key), *places(node[key], (*path, key))]]


def mutate(obj: Any, draw: Any) -> None:
    path = draw(st.sampled_from(places(obj)))
    node = obj
    for key in path[:-1]:
        node = node[key]
    match draw(st.sampled_from(["delete", "replace", "add", "repeat"])):
        case "delete":
            del node[path[-1]]
        case "replace":
            node[path[-1]] = draw(JUNK)
        case "add" if isinstance(node, dict):
            node[draw(KEYS)] = draw(JUNK)
        case "add":
            node.append(draw(JUNK))
        case _ if isinstance(node, list):
            node.append(node[path[-1]])


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_manifest_however_odd_gets_anything_but_a_job_or_problems(data: st.DataObject) -> None:
    obj = good(data.draw(st.sampled_from(["whole-pipeline", "template", "step-fillna", "env"])))
    for _ in range(data.draw(st.integers(1, 3))):
        mutate(obj, data.draw)

    job, found = check_manifest(obj)

    if job is not None:
        assert found == []
        assert TrainingJob.from_dict(job.to_dict()) == job
    else:
        assert found
    for problem in found:
        assert problem.field
        assert problem.message
        assert len(str(problem)) < 2000


@settings(max_examples=200, deadline=None)
@given(JUNK)
def test_nothing_that_yaml_can_hold_raises(obj: object) -> None:
    assert told(obj)


def test_the_credentials_of_a_url_are_not_repeated() -> None:
    _, found = check_manifest(BAD["code-git-credentials-in-url"].obj)
    assert found and not any("hunter2" in str(problem) for problem in found)

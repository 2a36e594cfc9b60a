"""From a pod's facts to words: the table is complete and every row says what to do."""

from __future__ import annotations

import json

import pytest

from trainingjob.api.v1alpha1 import REASONS
from trainingjob.core import PodView, diagnose, remedies, terms
from trainingjob.core.diagnose import failure_of, result_of, waiting_of
from trainingjob.core.policy.retries import budget_of

LABELS = {
    "trainingjob.dev/stage": "train",
    "trainingjob.dev/attempt": "1",
    "trainingjob.dev/index": "0",
}


def view(phase: str, **status: object) -> PodView:
    pod = {"metadata": {"name": "p", "labels": LABELS}, "status": {"phase": phase, **status}}
    return PodView.from_dict(pod)


def ours(state: dict[str, object]) -> dict[str, object]:
    """The status of the stage's own container."""
    return {"containerStatuses": [{"name": "train", "state": state}]}


def terminated(code: int, **more: object) -> dict[str, object]:
    return ours({"terminated": {"exitCode": code, **more}})


@pytest.mark.parametrize(
    ("situation", "status", "reason"),
    [
        ("killed", terminated(137), "ProcessKilled"),
        ("killed for memory", terminated(137, reason="OOMKilled"), "OutOfMemory"),
        ("segmentation fault", terminated(139), "ScriptFailed"),
        ("exit code 3", terminated(3), "ScriptFailed"),
        ("no such command", terminated(127), "CommandNotFound"),
        ("cannot execute", terminated(126), "CommandNotFound"),
        ("evicted", {"reason": "Evicted"}, "Disrupted"),
        ("node lost", {"reason": "NodeLost"}, "NodeLost"),
        ("failed without a word", {}, "PodLost"),
        (
            "drained",
            {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "Drain"}]},
            "Disrupted",
        ),
        (
            "a report of its own",
            terminated(1, message=json.dumps({"error": {"reason": "DiskFull", "message": "m"}})),
            "DiskFull",
        ),
        (
            "a killed process's report comes before the exit code",
            terminated(
                137, message=json.dumps({"error": {"reason": "LossNotFinite", "message": "m"}})
            ),
            "LossNotFinite",
        ),
        ("log text for a message", terminated(1, message="Traceback …"), "ScriptFailed"),
    ],
)
def test_failed_pods(situation, status, reason):
    failure = failure_of(view("Failed", **status))
    assert failure is not None
    assert failure.reason == reason, situation
    assert failure.with_remedy().endswith(REASONS[reason].remedy)


@pytest.mark.parametrize("phase", ["Pending", "Running", "Succeeded"])
def test_pods_that_have_not_failed(phase):
    assert failure_of(view(phase)) is None


ABNORMAL = sorted(word for word, term in terms.WAITING.items() if term.reason is not None)


@pytest.mark.parametrize("waiting", ABNORMAL)
def test_every_waiting_reason_is_told(waiting):
    state = {
        "containerStatuses": [
            {"name": "train", "state": {"waiting": {"reason": waiting, "message": "m"}}}
        ]
    }
    failure = waiting_of(view("Pending", **state))
    assert failure is not None
    assert failure.message == "pod p waits: m"


@pytest.mark.parametrize("normal", ["ContainerCreating", "PodInitializing", ""])
def test_normal_waiting_is_no_failure(normal):
    state = ours({"waiting": {"reason": normal}})
    assert waiting_of(view("Pending", **state)) is None


@pytest.mark.parametrize(
    "message",
    ["[1, 2]", '"text"', "null", '{"result": {"outputs": 5}}', "{" * 3000, '{"result": NaN}'],
)
def test_unusable_results(message):
    assert result_of(view("Succeeded", **terminated(0, message=message))) is None


@pytest.mark.parametrize("name", sorted(REASONS))
def test_every_reason_has_a_class_with_a_rule_and_a_remedy(name):
    reason = REASONS[name]
    budget_of(reason.failure_class)
    assert reason.remedy and not reason.remedy.endswith(".")


def test_tables_name_known_reasons_only():
    tables = (terms.POD, terms.WAITING, terms.ENDED, terms.SCHEDULING)
    told = {term.reason for table in tables for term in table.values()}
    assert told - {None} <= set(REASONS)


def test_rights_that_the_operator_lacks_are_told_for_deletions_as_for_creations():
    words = (
        'pods "digits-train-1-0" is forbidden: User "system:serviceaccount:ops:operator" cannot '
        '{} resource "pods" in API group "" in the namespace "team"'
    )
    made = diagnose.refusal_of("digits-train-1-0", words.format("create"))
    left = diagnose.not_deleted("digits-train-1-0", words.format("delete"), answered=True)
    assert (made.reason, left.reason) == ("OperatorForbidden", "OperatorForbidden")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("the server could not find the requested resource", "KServeMissing"),
        ('namespaces "team" not found', "ApiUnavailable"),
    ],
)
def test_an_api_that_is_not_there_is_told_from_a_namespace_that_is_gone(
    message: str, reason: str
) -> None:
    found = diagnose.not_there("InferenceService", "digits", message)
    assert (found.name, found.reason) == ("digits", reason)
    assert message in found.message


@pytest.mark.parametrize(
    ("reason", "message", "remedy"),
    [
        (
            "InputUnreadable",
            "train.model.pretrained: file:///m is no model to go on from: model.pt is pickled",
            "name a folder in train.model.pretrained.uri as save_pretrained leaves it",
        ),
        (
            "SettingUnsuitable",
            "train.model.pretrained: file:///m is quantized, and cannot be trained: take another",
            "name another model in train.model.pretrained.uri",
        ),
        (
            "InputMalformed",
            "preprocess.tokenize.from: /m/tokenizer.json is no tokenizer.json of Hugging Face's",
            "take the files of a tokenizer as save_pretrained leaves them",
        ),
        ("TextInvalid", "/d/a.txt has 9 bytes, and a document has at most 8", "or clean the files"),
    ],
)
def test_what_to_do_about_a_file_that_is_no_table_is_of_its_kind(reason, message, remedy):
    assert remedies.of(reason, message).startswith(remedy)
    assert remedies.of(reason, "/d/a.csv: line 2") == REASONS[reason].remedy

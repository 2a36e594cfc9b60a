"""A language model may be judged by a gang, which is one unit as that of training is."""

from __future__ import annotations

import json
from typing import Any

from trainingjob.core.pods import PodView

from .world import RESULTS, World, disrupted, ended, running, world

MODEL = {"architecture": "llama", "layers": 1, "hidden": 8, "heads": 1}
METRICS = {"metrics": [{"name": name, "value": 2.0} for name in ("perplexity", "bits_per_byte")]}


def judging(**evaluate: Any) -> World:
    w = world(
        task={"type": "languageModel", "text": "body"},
        preprocess={
            "input": {"uri": "pvc://datasets/texts", "format": "text"},
            "tokenize": {"vocabSize": 300, "sequenceLength": 16},
        },
        train={
            "model": {
                "transformer": {"architecture": "llama", "layers": 1, "hidden": 8, "heads": 1}
            }
        },
        evaluate=evaluate,
    )
    w.finish("preprocess")
    w.finish("train")
    return w


def variables(pod: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in pod["spec"]["containers"][0]["env"]}


def test_its_pods_meet_where_nobody_else_gets_in() -> None:
    w = judging(nodes=3, procsPerNode=2, resources={"requests": {"cpu": 4}})
    pods = w.of("evaluate")
    assert len(pods) == 3
    assert list(w.children) == [
        ("NetworkPolicy", "digits-stages"),
        ("Service", "digits-evaluate"),
    ]
    for index, pod in enumerate(pods):
        its = variables(pod)
        assert its["MASTER_ADDR"] == "digits-evaluate.team.svc"
        assert (its["WORLD_SIZE"], its["NODE_RANK"]) == ("6", str(index))
        assert its["OMP_NUM_THREADS"] == "2"
        told = json.loads(its["TRAININGJOB_STAGE"].replace("$$", "$"))
        assert (told["nodes"], told["procsPerNode"]) == (3, 2)


def test_a_single_process_is_told_nothing_of_a_gang() -> None:
    w = judging(nodes=1)
    (pod,) = w.of("evaluate")
    its = variables(pod)
    assert "MASTER_ADDR" not in its
    assert list(w.children) == [("NetworkPolicy", "digits-stages")]
    assert "nodes" not in json.loads(its["TRAININGJOB_STAGE"].replace("$$", "$"))


def test_the_loss_of_a_pod_is_another_attempt_of_all() -> None:
    w = judging(nodes=2)
    for pod in w.of("evaluate"):
        running(pod, 1)
    w.settle()
    disrupted(w.of("evaluate")[1], 2)
    w.settle()
    stage = w.stage("evaluate")
    assert (stage["attempt"], stage["failures"]["disruption"]) == (2, 1)
    assert {PodView.from_dict(pod).attempt for pod in w.of("evaluate")} == {2}

    first, other = w.of("evaluate")
    ended(first, 3, message=json.dumps({"result": RESULTS["evaluate"] | METRICS}))
    ended(other, 3)
    w.settle()
    assert w.status["phase"] == "Succeeded"

"""How the processes of a gang find each other: one table of frameworks."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from trainingjob.core import Settings, frameworks, names, stages

from .world import job

TRAIN = stages.named("train")
OWN = {"nodes": 3, "script": {"inline": "pass"}}
FOUND = "digits-train-1-{}.digits-train-pods"


def env(spec: dict[str, Any], index: int = 0, attempt: int = 1) -> dict[str, str]:
    (pod,) = TRAIN.pods(job(train=spec), attempt, Settings(), [index])
    declared = pod["spec"]["containers"][0]["env"]
    return {v["name"]: v["value"] for v in declared if "value" in v}


def test_each_worker_of_tensorflow_finds_all_by_the_names_of_their_pods() -> None:
    seen = [json.loads(env(OWN, index)["TF_CONFIG"]) for index in range(3)]
    workers = [FOUND.format(index) + ":29502" for index in range(3)]
    assert [one["cluster"] for one in seen] == [{"worker": workers}] * 3
    assert [one["task"] for one in seen] == [{"type": "worker", "index": i} for i in range(3)]


def test_the_names_are_those_of_the_pods_and_a_service_selects_them_all() -> None:
    made = job(train=OWN)
    (pod,) = TRAIN.pods(made, 1, Settings(), [2])
    spec = pod["spec"]
    assert f"{spec['hostname']}.{spec['subdomain']}" == FOUND.format(2)
    policy, peers = TRAIN.others(made, Settings())
    assert (policy["kind"], peers["kind"]) == ("NetworkPolicy", "Service")
    assert names.is_child("digits", policy["metadata"]["name"])
    assert peers["metadata"]["name"] == spec["subdomain"]
    assert names.is_child("digits", peers["metadata"]["name"])
    assert peers["spec"]["clusterIP"] == "None"
    assert peers["spec"]["publishNotReadyAddresses"] is True
    assert peers["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert env(OWN, 2)["MASTER_ADDR"] == FOUND.format(0) + ".team.svc"
    assert env(OWN, 2, attempt=7)["MASTER_ADDR"].startswith("digits-train-7-0.")


def test_the_names_fit_whatever_the_job_is_called() -> None:
    long = TRAIN.pods(
        job(train=OWN).model_copy(
            update={"metadata": job().metadata.model_copy(update={"name": "j" * 63})}
        ),
        999999,
        Settings(),
        [999],
    )[0]["spec"]
    assert len(long["hostname"]) == 63 == len(long["subdomain"])
    assert long["hostname"].endswith("-train-999999-999")


def test_a_process_of_jax_finds_its_coordinator() -> None:
    seen = env(OWN, 2)
    assert seen["JAX_COORDINATOR_ADDRESS"] == "$(MASTER_ADDR):29501"
    assert (seen["JAX_NUM_PROCESSES"], seen["JAX_PROCESS_ID"]) == ("3", "2")


def test_hosts_of_tpus_know_each_other_where_the_gang_has_some() -> None:
    asks = OWN | {"resources": {"limits": {"google.com/tpu": 4}}}
    seen = env(asks, 1)
    hosts = ",".join(FOUND.format(index) for index in range(3))
    assert (seen["TPU_WORKER_ID"], seen["TPU_WORKER_HOSTNAMES"]) == ("1", hosts)
    assert "TPU_WORKER_ID" not in env(OWN)


ALONE = [
    ("one pod", OWN | {"nodes": 1}),
    ("several processes a pod", OWN | {"procsPerNode": 2}),
    ("our training", {"nodes": 3, "model": {"mlp": {}}}),
]


@pytest.mark.parametrize(("what", "spec"), ALONE, ids=[one[0] for one in ALONE])
def test_there_is_nothing_for_tensorflow_and_jax_in(what: str, spec: dict[str, Any]) -> None:
    assert not {"TF_CONFIG", "JAX_COORDINATOR_ADDRESS"} & env(spec).keys()


def test_too_many_workers_for_a_variable_have_none() -> None:
    assert "TF_CONFIG" in env(OWN | {"nodes": 128})
    assert "TF_CONFIG" not in env(OWN | {"nodes": 129})


def test_our_own_training_has_no_more_services_than_before() -> None:
    assert [child["kind"] for child in TRAIN.others(job(), Settings())] == [
        "NetworkPolicy",
        "Service",
    ]


def test_what_the_user_sets_stays() -> None:
    spec = OWN | {"env": [{"name": "TF_CONFIG", "value": "{}"}]}
    assert env(spec)["TF_CONFIG"] == "{}"


def test_on_one_machine_each_has_a_port_of_its_own() -> None:
    ports: dict[int, int] = {}
    free = itertools.count(20001)

    def port(number: int) -> int:
        return ports.setdefault(number, next(free))

    seen = [frameworks.here(env(OWN, index), port) for index in range(3)]
    workers = [json.loads(one["TF_CONFIG"])["cluster"]["worker"] for one in seen]
    assert workers[0] == workers[1] == workers[2]
    every = [*workers[0], seen[0]["JAX_COORDINATOR_ADDRESS"]]
    every.append(f"{seen[0]['MASTER_ADDR']}:{seen[0]['MASTER_PORT']}")
    assert len({*every}) == 5
    assert all(address.startswith("127.0.0.1:2") for address in every)


@pytest.mark.parametrize("name", ["TF_CONFIG", "JAX_COORDINATOR_ADDRESS"])
def test_on_one_machine_what_the_user_sets_stays(name: str) -> None:
    given = '{"cluster":{"worker":["a.example:29502"]}}'
    assert frameworks.here({name: given}, lambda number: number)[name] == given

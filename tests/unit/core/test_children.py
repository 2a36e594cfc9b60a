"""The pods and Services that a job becomes."""

from __future__ import annotations

import json
import re

import kubernetes_validate
import pytest

from trainingjob.api.payload import STAGE_PAYLOAD
from trainingjob.core import Settings, names, stages

from .world import job, manifest

SCRIPT = "import os\nprint('$(HOME)', '$$', \"ü\")\n"
TEMPLATE = {
    "labels": {"team": "vision", "sidecar.istio.io/inject": "false"},
    "annotations": {"note": "ü", "cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "priorityClassName": "high",
    "volumes": [{"name": "cache", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}],
    "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
    "imagePullSecrets": [{"name": "registry"}],
    "terminationGracePeriodSeconds": 120,
}
JOBS = {
    "the usual job": {},
    "pandas, with a script of a ConfigMap": {
        "preprocess": {
            "engine": "pandas",
            "input": {"uri": "pvc://training/in.csv", "format": "csv"},
            "script": {"configMap": {"name": "code", "key": "clean.py"}},
            "driver": {"resources": {"limits": {"memory": "2Gi", "cpu": 2}}},
            "template": TEMPLATE,
        }
    },
    "own code with GPUs": {
        "train": {
            "nodes": 2,
            "procsPerNode": 4,
            "script": {"inline": SCRIPT},
            "args": ["--lr", "$(LR)"],
            "env": [{"name": "LR", "value": "0.1"}],
            "resources": {"limits": {"nvidia.com/gpu": 4, "cpu": "8"}},
            "template": TEMPLATE,
        }
    },
    "a user's own image": {
        "train": {"image": "mine:1", "command": ["torchrun"], "args": ["train.py"]}
    },
    "scratch of a class and of the node": {
        "preprocess": {
            "input": {"uri": "pvc://training/in.csv", "format": "csv"},
            "template": {"scratch": {"size": "500Gi", "storageClassName": "ssd"}},
        },
        "train": {"model": {"mlp": {}}, "template": {"scratch": {"size": "20Gi"}}},
    },
    "a file on this machine": {"storage": {"uri": "file:///srv/$runs"}},
    "in S3": {
        "storage": {"uri": "s3://models/$runs"},
        "preprocess": {
            "engine": "pandas",
            "input": {"uri": "s3://raw/digits.csv", "format": "csv"},
        },
    },
    "in HDFS": {
        "storage": {
            "uri": "hdfs://namenode:8020/runs",
            "hdfs": {"configMap": {"name": "hadoop-conf"}, "user": "trainer"},
        },
    },
    "in HDFS with Kerberos": {
        "storage": {
            "uri": "hdfs://analytics/runs",
            "hdfs": {
                "configMap": {"name": "hadoop-conf"},
                "kerberos": {
                    "principal": "trainer@EXAMPLE.COM",
                    "keytabSecret": {"name": "trainer", "key": "a.keytab"},
                },
            },
        },
    },
    "own image, in S3": {
        "storage": {"uri": "s3://models/runs"},
        "preprocess": None,
        "evaluate": None,
        "train": {
            "image": "theirs:1",
            "command": ["train"],
            "dataset": {"uri": "pvc://datasets/digits"},
        },
    },
}


def all_children(name: str) -> list[dict]:
    made = job(**JOBS[name])
    return [
        child
        for stage in stages.of(made)
        for child in [
            *stage.others(made, Settings()),
            *stage.pods(made, 1, Settings(status_url="http://op/x")),
        ]
    ]


def all_pods(name: str) -> list[dict]:
    return [child for child in all_children(name) if child["kind"] == "Pod"]


@pytest.mark.parametrize("version", ["1.30", "1.37"])
@pytest.mark.parametrize("name", JOBS)
def test_kubernetes_accepts_every_child(name, version):
    for child in all_children(name):
        kubernetes_validate.validate(child, version, strict=True)


@pytest.mark.parametrize("name", JOBS)
def test_every_pod_is_restricted(name):
    for pod in all_children(name):
        if pod["kind"] != "Pod":
            continue
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        assert spec["restartPolicy"] == "Never"
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["readOnlyRootFilesystem"] is True
        assert not any("hostPath" in volume for volume in spec["volumes"])


def test_tmp_is_a_volume_of_the_class_that_is_asked_for_or_a_share_of_the_node():
    found = {}
    for pod in all_pods("scratch of a class and of the node"):
        (container,) = pod["spec"]["containers"]
        (at_tmp,) = [m["name"] for m in container["volumeMounts"] if m["mountPath"] == "/tmp"]
        (volume,) = [v for v in pod["spec"]["volumes"] if v["name"] == at_tmp]
        found[container["name"]] = volume
        assert "scratch" not in pod["spec"]
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "ssd",
        "resources": {"requests": {"storage": "500Gi"}},
    }
    assert found == {
        "preprocess": {
            "name": "trainingjob-tmp",
            "ephemeral": {"volumeClaimTemplate": {"spec": claim}},
        },
        "train": {"name": "trainingjob-tmp", "emptyDir": {"sizeLimit": "20Gi"}},
        "evaluate": {"name": "trainingjob-tmp", "emptyDir": {"sizeLimit": "100Gi"}},
    }


def test_no_folder_of_ours_is_without_a_bound():
    bounds = {}
    for name in JOBS:
        for pod in all_pods(name):
            ours = [v for v in pod.get("spec", {}).get("volumes", ()) if v["name"] != "cache"]
            for volume in (v for v in ours if "emptyDir" in v):
                bounds[name, pod["metadata"]["name"], volume["name"]] = volume["emptyDir"].get(
                    "sizeLimit"
                )
    assert len(bounds) > 20 and None not in bounds.values()


def test_what_the_container_may_have_bounds_its_folders():
    limits = {"memory": "3Gi", "ephemeral-storage": "7Gi"}
    made = job(train={"resources": {"limits": limits}, "model": {"mlp": {"hidden": [8]}}})
    pod = stages.named("train").pods(made, 1, Settings())[0]
    found = {v["name"]: v.get("emptyDir") for v in pod["spec"]["volumes"]}
    assert found["trainingjob-tmp"] == {"sizeLimit": "7Gi"}
    assert found["trainingjob-shm"] == {"medium": "Memory", "sizeLimit": "3Gi"}


def test_the_users_labels_stand_beside_ours_and_never_over_them():
    labels, ours = (
        next(
            pod["metadata"]["labels"]
            for pod in all_children(name)
            if pod["metadata"]["name"] == "digits-train-1-0"
        )
        for name in ("own code with GPUs", "the usual job")
    )
    assert labels == TEMPLATE["labels"] | ours
    pod = all_pods("pandas, with a script of a ConfigMap")[0]
    found = dict(pod["metadata"]["annotations"])
    assert re.fullmatch("[0-9a-f]{8}", found.pop("trainingjob.dev/template")), "which one it is"
    assert found == TEMPLATE["annotations"] | {
        "kubectl.kubernetes.io/default-container": "preprocess"
    }
    assert not {"labels", "annotations"} & {*pod["spec"]}


def test_only_a_spark_driver_has_an_api_token():
    tokens = {
        pod["metadata"]["labels"]["trainingjob.dev/stage"]: pod["spec"][
            "automountServiceAccountToken"
        ]
        for pod in all_pods("the usual job")
        if pod["kind"] == "Pod"
    }
    assert tokens == {"preprocess": True, "train": False, "evaluate": False}
    pandas = all_pods("pandas, with a script of a ConfigMap")[0]
    assert pandas["spec"]["automountServiceAccountToken"] is False


def env(pod: dict) -> dict[str, str]:
    """The last of equal names wins, as in a kubelet."""
    declared = pod["spec"]["containers"][0]["env"]
    return {v["name"]: v["value"] for v in declared if "value" in v}


def expand(text: str, known: dict[str, str]) -> str:
    """Kubernetes' expansion of $(NAME), as its third_party/forked/golang/expansion does it."""

    def one(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return known.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", one, text)


def test_the_payload_survives_the_kubelets_expansion():
    pod = next(
        child
        for child in all_children("own code with GPUs")
        if child["metadata"]["name"] == "digits-train-1-1"
    )
    payload = json.loads(expand(env(pod)[STAGE_PAYLOAD], env(pod) | {"HOME": "/root"}))
    assert payload["script"]["inline"] == SCRIPT
    assert payload["args"] == ["--lr", "$(LR)"]


def test_the_path_of_a_mounted_script_is_filled_in_by_the_kubelet():
    pod = all_pods("pandas, with a script of a ConfigMap")[0]
    payload = json.loads(expand(env(pod)[STAGE_PAYLOAD], env(pod)))
    assert payload["script"]["path"] == "/etc/trainingjob/script/script.py"


def test_own_code_without_a_dataset_is_not_told_of_one():
    script = {"train": {"script": {"inline": "pass"}}, "evaluate": None}
    seen = []
    for more in ({"preprocess": None}, {}):
        pod = stages.named("train").pods(job(**{**script, **more}), 1, Settings())[0]
        seen.append({name for name in env(pod) if "INPUT" in name})
    assert seen == [set(), {"TRAININGJOB_INPUT_DIR"}]


def test_pods_are_spread_with_those_of_their_stage_and_get_the_devices_they_claim():
    spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    claims = [
        {"name": "gpu", "resourceClaimTemplateName": "a100"},
        {"name": "link", "resourceClaimName": "nvlink", "request": "channel"},
    ]
    fragments = {"topologySpreadConstraints": [spread], "resourceClaims": claims}
    disk = {"name": "v", "ephemeral": {"size": "1Gi"}}
    made = job(
        preprocess={**job().spec.preprocess.to_dict(), "template": fragments},
        train={"model": {"mlp": {}}, "template": {**fragments, "volumes": [disk]}},
    )
    pod = stages.named("train").pods(made, 1, Settings())[0]
    own = {"trainingjob.dev/job": "digits", "trainingjob.dev/stage": "train"}
    (found,) = pod["spec"]["topologySpreadConstraints"]
    assert found == spread | {"labelSelector": {"matchLabels": own}}
    assert own.items() <= pod["metadata"]["labels"].items()
    assert pod["spec"]["resourceClaims"] == [
        claims[0],
        {"name": "link", "resourceClaimName": "nvlink"},
    ]
    got = pod["spec"]["containers"][0]["resources"]["claims"]
    assert got == [{"name": "gpu"}, {"name": "link", "request": "channel"}]
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    assert {"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": claim}}} in pod["spec"][
        "volumes"
    ]

    driver = stages.named("preprocess").pods(made, 1, Settings())[0]
    payload = json.loads(expand(env(driver)[STAGE_PAYLOAD], env(driver)))
    executor = payload["kubernetes"]["executorTemplate"]["spec"]
    (found,) = executor["topologySpreadConstraints"]
    assert found["labelSelector"]["matchLabels"]["trainingjob.dev/role"] == "executor"
    assert executor["containers"][0]["resources"]["claims"] == got


# code of the manifest -> that of the payload, as a container sees it
CODE: dict[str, tuple[dict, dict]] = {
    "of the storage": ({"uri": "pvc://sources/repo"}, {"uri": "pvc://sources/repo"}),
    "of a ConfigMap": ({"configMap": {"name": "repo"}}, {"path": "/etc/trainingjob/code"}),
    "of the manifest": ({"inline": {"a.py": "$(HOME)"}}, {"inline": {"a.py": "$(HOME)"}}),
}


@pytest.mark.parametrize("name", CODE)
def test_where_a_pod_finds_its_code(name: str) -> None:
    code, found = CODE[name]
    train = {"code": {**code, "workingDir": "src"}, "command": ["python", "a.py"], "image": "own:1"}
    made = job(train=train)
    pod = stages.named("train").pods(made, 1, Settings())[0]
    container = pod["spec"]["containers"][0]
    assert container["command"] == ["python", "-m", "trainingjob.runtime"], "ours brings it"
    payload = json.loads(expand(env(pod)[STAGE_PAYLOAD], env(pod) | {"HOME": "/root"}))
    assert (payload["code"], payload["workingDir"]) == (found, "src")
    volumes = {m["mountPath"]: m for m in container["volumeMounts"]}
    assert ("/mnt/claims/sources" in volumes) == ("uri" in code)
    assert ("/etc/trainingjob/code" in volumes) == ("configMap" in code)
    sources = [v["configMap"] for v in pod["spec"]["volumes"] if "configMap" in v]
    assert sources == ([{"name": "repo"}] if "configMap" in code else [])


def test_a_gang_finds_its_first_rank():
    pods = [
        c
        for c in all_children("own code with GPUs")
        if c["metadata"]["name"][:12] == "digits-train"
    ]
    service, first, second = pods
    assert service["spec"]["clusterIP"] == "None"
    assert first["spec"]["subdomain"] == service["metadata"]["name"]
    address = f"{first['spec']['hostname']}.{service['metadata']['name']}.team.svc"
    assert env(second)["MASTER_ADDR"] == address
    assert env(second)["WORLD_SIZE"] == "8"
    assert env(second)["PET_NODE_RANK"] == "1"
    assert "RANK" not in env(second), "several processes: torchrun or our launcher sets it"
    assert env(second)["OMP_NUM_THREADS"] == "2"
    assert env(first)["NODE_RANK"] == "0"


@pytest.mark.parametrize("name", JOBS)
def test_the_pods_of_a_job_are_alone(name):
    policies = [child for child in all_children(name) if child["kind"] == "NetworkPolicy"]
    assert policies and all(policy == policies[0] for policy in policies), "one for all stages"
    spec = policies[0]["spec"]
    assert spec["ingress"] == [{"from": [{"podSelector": spec["podSelector"]}]}]
    (exists,) = spec["podSelector"]["matchExpressions"]
    inside = spec["podSelector"]["matchLabels"]
    labels = [pod["metadata"]["labels"] for pod in all_pods(name)]
    labels.append(names.executor_labels(job(**JOBS[name]), "preprocess", 1))
    for its in labels:
        assert inside.items() <= its.items()
        assert exists["key"] in its
    (served,) = (
        child["spec"]["template"]["metadata"]["labels"]
        for child in stages.named("deploy").others(job(deploy={"deployment": {}}), Settings())
        if child["kind"] == "Deployment"
    )
    assert exists["key"] not in served, "whoever asks reaches what serves a model"


def test_an_evaluation_knows_its_gates_and_where_the_last_accepted_model_is_on_record():
    gate = {"metric": "accuracy", "min": 0.9, "noWorseThan": "lastAccepted", "tolerance": 0.01}
    for given in ([gate], None):
        spec = {"metrics": ["accuracy"]} | ({"gates": given} if given else {})
        (made,) = stages.named("evaluate").pods(job(evaluate=spec), 1, Settings())
        told = json.loads(env(made)[STAGE_PAYLOAD])
        assert told["gates"] == (given or [])
        assert told["accepted"] == "pvc://training/runs/team/digits/accepted"


def test_claims_are_mounted_once_where_the_stage_needs_them():
    driver = all_pods("the usual job")[0]
    mounts = {m["mountPath"] for m in driver["spec"]["containers"][0]["volumeMounts"]}
    assert {"/mnt/claims/datasets", "/mnt/claims/training", "/tmp"} <= mounts
    pandas = all_pods("pandas, with a script of a ConfigMap")[0]
    claims = [v for v in pandas["spec"]["volumes"] if "persistentVolumeClaim" in v]
    assert len(claims) == 1


def test_the_claim_of_a_given_tokenizer_is_mounted_as_well():
    words = job(
        task={"type": "languageModel", "text": "body"},
        preprocess={
            "input": {"uri": "pvc://datasets/texts.json", "format": "json"},
            "tokenize": {"from": "pvc://models/tokenizer.json", "sequenceLength": 64},
        },
        train={"command": ["python", "train.py"]},
        evaluate=None,
    )
    (pod,) = stages.named("preprocess").pods(words, 1, Settings())
    mounts = {mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]}
    assert {"/mnt/claims/datasets", "/mnt/claims/models", "/mnt/claims/training"} <= mounts


def test_a_pretrained_model_is_mounted_and_its_tokenizer_is_the_default():
    words = job(
        task={"type": "languageModel", "text": "body"},
        preprocess={
            "input": {"uri": "pvc://datasets/texts.json", "format": "json"},
            "tokenize": {"sequenceLength": 64},
        },
        train={"model": {"pretrained": {"uri": "pvc://models/llama"}}},
        evaluate=None,
    )
    for stage in ("preprocess", "train"):
        (pod,) = stages.named(stage).pods(words, 1, Settings())
        (container,) = pod["spec"]["containers"]
        assert "/mnt/claims/models" in {mount["mountPath"] for mount in container["volumeMounts"]}
        told = json.loads(next(e["value"] for e in container["env"] if e["name"] == STAGE_PAYLOAD))
        given = told["tokenize"]["from"] if stage == "preprocess" else told["model"]["pretrained"]
        assert given in ("pvc://models/llama", {"uri": "pvc://models/llama"})
        assert told.get("pretrained") == ("pvc://models/llama" if stage == "preprocess" else None)


def test_a_model_whose_folder_preprocess_does_not_read_is_not_told_to_it():
    words = job(
        task={"type": "languageModel", "text": "body"},
        preprocess={
            "input": {"uri": "pvc://datasets/texts.json", "format": "json"},
            "tokenize": {"from": "pvc://words/tokenizer.json", "sequenceLength": 64},
        },
        train={"model": {"pretrained": {"uri": "pvc://models/llama"}}},
        evaluate=None,
    )
    (pod,) = stages.named("preprocess").pods(words, 1, Settings())
    (container,) = pod["spec"]["containers"]
    assert "/mnt/claims/models" not in {mount["mountPath"] for mount in container["volumeMounts"]}
    told = json.loads(next(e["value"] for e in container["env"] if e["name"] == STAGE_PAYLOAD))
    assert "pretrained" not in told


def test_claims_of_further_tables_are_mounted_as_well():
    tables = {"orders": {"uri": "pvc://orders/all", "format": "csv"}}
    more = {"inputs": tables, "steps": [{"sql": {"query": "select * from orders"}}]}
    data = {"input": {"uri": "pvc://datasets/in.csv", "format": "csv"}, "engine": "spark", **more}
    (driver,) = stages.named("preprocess").pods(job(preprocess=data), 1, Settings())
    mounts = {m["mountPath"] for m in driver["spec"]["containers"][0]["volumeMounts"]}
    assert {"/mnt/claims/datasets", "/mnt/claims/orders", "/mnt/claims/training"} <= mounts
    variables = driver["spec"]["containers"][0]["env"]
    told = json.loads(next(v["value"] for v in variables if v["name"] == STAGE_PAYLOAD))
    assert list(told["inputs"]) == ["orders"]
    executor = told["kubernetes"]["executorTemplate"]["spec"]
    assert "orders" in json.dumps(executor["volumes"])


@pytest.mark.parametrize("engine", ["spark", "pandas"])
def test_claims_of_splits_in_files_are_mounted_wherever_data_is_read(engine):
    files = {"validation": "pvc://held-out/dev", "test": "pvc://exam/test.csv"}
    spec = {
        "engine": engine,
        "input": {"uri": "pvc://datasets/train.csv", "format": "csv"},
        "split": {"files": files},
    }
    (made,) = stages.named("preprocess").pods(job(preprocess=spec), 1, Settings())
    pods = [made]
    variables = {v["name"]: v.get("value") for v in made["spec"]["containers"][0]["env"]}
    told = json.loads(variables[STAGE_PAYLOAD])
    assert told["split"] == {"files": files}
    if engine == "spark":
        pods.append(told["kubernetes"]["executorTemplate"])
    for pod in pods:
        volumes = [v.get("persistentVolumeClaim") for v in pod["spec"]["volumes"]]
        claims = [volume["claimName"] for volume in volumes if volume]
        assert sorted(claims) == ["datasets", "exam", "held-out", "training"]


def test_user_code_sees_plain_paths():
    pods = all_pods("the usual job")
    train = next(c for c in pods if c["metadata"]["name"] == "digits-train-1-0")
    seen = {k: expand(v, env(train)) for k, v in env(train).items()}
    base = "/mnt/claims/training/runs/team/digits"
    assert seen["TRAININGJOB_INPUT_DIR"] == f"{base}/dataset"
    assert seen["TRAININGJOB_OUTPUT_DIR"] == f"{base}/model"
    assert seen["TRAININGJOB_CHECKPOINT_DIR"] == f"{base}/checkpoints"
    children = all_children("a file on this machine")
    local = next(c for c in children if c["metadata"]["name"] == "digits-train-1-0")
    assert (
        expand(env(local)["TRAININGJOB_OUTPUT_DIR"], env(local)) == "/srv/$runs/team/digits/model"
    )


def test_what_lies_in_s3_is_copied_into_the_pod_and_needs_no_claim():
    for pod in all_pods("in S3"):
        if pod["kind"] == "Pod":
            assert not [v for v in pod["spec"]["volumes"] if "persistentVolumeClaim" in v]
            assert env(pod)["TRAININGJOB_COPIES_DIR"].startswith("/tmp/"), "the root is read-only"
    train = next(c for c in all_children("in S3") if c["metadata"]["name"] == "digits-train-1-0")
    seen = {k: expand(v, env(train)) for k, v in env(train).items()}
    assert (
        seen["TRAININGJOB_OUTPUT_DIR"]
        == "/tmp/trainingjob-copies/s3/models/$runs/team/digits/model"
    )


def test_pods_reach_hdfs_by_hadoops_own_settings_and_others_do_not_have_them():
    for pod in (c for c in all_children("in HDFS") if c["kind"] == "Pod"):
        seen = env(pod)
        assert seen["HADOOP_USER_NAME"] == "trainer"
        volumes = {v["name"]: v.get("configMap") for v in pod["spec"]["volumes"]}
        mounts = {m["name"]: m for m in pod["spec"]["containers"][0]["volumeMounts"]}
        assert volumes["trainingjob-hadoop"] == {"name": "hadoop-conf"}
        assert mounts["trainingjob-hadoop"]["mountPath"] == seen["HADOOP_CONF_DIR"]
    hdfs = {"user": "trainer"}
    read = {"engine": "spark", "input": {"uri": "hdfs://analytics/in.csv", "format": "csv"}}
    made = job(storage={"uri": "pvc://training/runs", "hdfs": hdfs}, preprocess=read)
    for stage, reaches in (("preprocess", True), ("train", False)):
        (pod, *_) = stages.named(stage).pods(made, 1, Settings())
        assert ("HADOOP_USER_NAME" in env(pod)) is reaches
        assert "HADOOP_CONF_DIR" not in env(pod)
        if reaches:  # executors write the dataset
            told = json.loads(env(pod)["TRAININGJOB_STAGE"].replace("$$", "$"))["kubernetes"]
            (executor,) = told["executorTemplate"]["spec"]["containers"]
            assert {"name": "HADOOP_USER_NAME", "value": "trainer"} in executor["env"]


def test_pods_have_the_keytab_that_their_principal_needs_and_nobody_else_can_read_it():
    for pod in (c for c in all_children("in HDFS with Kerberos") if c["kind"] == "Pod"):
        seen = env(pod)
        volumes = {v["name"]: v for v in pod["spec"]["volumes"]}
        mounts = {m["name"]: m for m in pod["spec"]["containers"][0]["volumeMounts"]}
        assert volumes["trainingjob-keytab"]["secret"] == {
            "secretName": "trainer",
            "items": [{"key": "a.keytab", "path": "keytab"}],
            "defaultMode": 0o400,
        }
        assert mounts["trainingjob-keytab"]["readOnly"]
        assert seen["TRAININGJOB_KEYTAB"] == f"{mounts['trainingjob-keytab']['mountPath']}/keytab"
        assert seen["TRAININGJOB_PRINCIPAL"] == "trainer@EXAMPLE.COM"
        assert seen["KRB5_CONFIG"] == f"{seen['HADOOP_CONF_DIR']}/krb5.conf"
        assert "HADOOP_USER_NAME" not in seen


def test_a_users_own_image_is_told_where_in_s3_it_is_to_write():
    pod = next(c for c in all_children("own image, in S3") if c["kind"] == "Pod")
    seen = {k: expand(v, env(pod)) for k, v in env(pod).items()}
    assert seen["TRAININGJOB_OUTPUT_DIR"] == "s3://models/runs/team/digits/model"
    assert seen["TRAININGJOB_INPUT_DIR"] == "/mnt/claims/datasets/digits"


def test_own_code_is_told_what_its_folders_stand_for():
    for where, remote in (("s3://models/$runs", True), ("pvc://training/runs", False)):
        code = {"script": {"inline": "pass"}, "streamDataset": True}
        made = job(storage={"uri": where}, train=code)
        (pod, *_) = stages.named("train").pods(made, 1, Settings())
        seen = {k: expand(v, env(pod)) for k, v in env(pod).items()}
        assert json.loads(seen["TRAININGJOB_STAGE"])["streamDataset"] is True
        told = {name: uri for name, uri in seen.items() if name.endswith("T_URI")}
        assert told == (
            {
                "TRAININGJOB_INPUT_URI": "s3://models/$runs/team/digits/dataset",
                "TRAININGJOB_CHECKPOINT_URI": "s3://models/$runs/team/digits/checkpoints",
            }
            if remote
            else {}
        )


def test_a_users_own_image_runs_its_command_as_it_stands():
    container = next(
        c for c in all_children("a user's own image") if "-train-" in c["metadata"]["name"]
    )["spec"]["containers"][0]
    assert (container["image"], container["command"], container["args"]) == (
        "mine:1",
        ["torchrun"],
        ["train.py"],
    )


def test_fragments_of_the_user_are_kept():
    pod = all_pods("pandas, with a script of a ConfigMap")[0]
    assert pod["spec"]["nodeSelector"] == {"disk": "ssd"}
    assert pod["spec"]["terminationGracePeriodSeconds"] == 120
    assert pod["spec"]["containers"][0]["resources"] == {"limits": {"memory": "2Gi", "cpu": 2}}


def test_two_calls_share_nothing():
    made = job()
    first = stages.named("train").pods(made, 1, Settings())
    first[0]["spec"]["containers"][0]["env"].clear()
    first[0]["metadata"]["ownerReferences"][0]["uid"] = "changed"
    again = stages.named("train").pods(made, 1, Settings())
    assert again[0]["spec"]["containers"][0]["env"]
    assert again[0]["metadata"]["ownerReferences"][0]["uid"] == "uid-1"


@pytest.mark.parametrize("name", JOBS)
def test_a_child_shares_nothing_with_another(name):
    def parts(value):
        if isinstance(value, dict | list):
            yield id(value)
            for part in value.values() if isinstance(value, dict) else value:
                yield from parts(part)

    everything = all_children(name)
    seen = [part for child in everything for part in parts(child)]
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize(
    ("spec", "threads"),
    [
        ({"resources": {"limits": {"cpu": "4"}}}, "4"),
        ({"resources": {"requests": {"cpu": "2500m"}, "limits": {"cpu": "4"}}}, "2"),
        ({"resources": {"limits": {"cpu": "100m"}}}, "1"),
        ({"resources": {"limits": {"memory": "1Gi"}}}, None),
        ({}, None),
        (
            {
                "resources": {"limits": {"cpu": "4"}},
                "env": [{"name": "OMP_NUM_THREADS", "value": "3"}],
            },
            "3",
        ),
    ],
)
def test_an_evaluation_has_as_many_threads_as_cpus(spec, threads):
    (pod,) = stages.named("evaluate").pods(job(evaluate=spec), 1, Settings())
    assert env(pod).get("OMP_NUM_THREADS") == threads


# A kubelet puts together what values name, and what those name: some kilobytes would be terabytes.
LAUGHS = [{"name": "A", "value": "x" * 9000}] + [
    {"name": f"B{n}", "value": f"$({'A' if n == 0 else f'B{n - 1}'})" * 2000} for n in range(4)
]


@pytest.mark.parametrize("stage", ["preprocess", "train", "evaluate"])
def test_a_variable_is_its_value_whatever_it_names(stage):
    spec = manifest()["spec"][stage] | {"env": LAUGHS}
    pod = stages.named(stage).pods(job(**{stage: spec}), 1, Settings())[0]
    known = env(pod)
    for variable in LAUGHS:
        assert expand(known[variable["name"]], known) == variable["value"]


def test_nor_does_the_payload_name_what_a_secret_or_a_config_map_brings():
    """Of the names that the operator uses itself, where this job has none of the kind."""
    named = "$(TRAININGJOB_SCRIPT_FILE) $(TRAININGJOB_CODE_FILES)"
    train = {"script": {"inline": f"print('{named}')"}}
    pod = stages.named("train").pods(job(train=train), 1, Settings())[0]
    brought = {"TRAININGJOB_SCRIPT_FILE": "long", "TRAININGJOB_CODE_FILES": "long"}
    payload = json.loads(expand(env(pod)[STAGE_PAYLOAD], brought))
    assert payload["script"]["inline"] == f"print('{named}')"

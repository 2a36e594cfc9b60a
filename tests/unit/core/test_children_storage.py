"""Where a stage's pods find data: claims, S3, HDFS, and what own code is told of it."""

from __future__ import annotations

import json

import pytest

from trainingjob.api.payload import STAGE_PAYLOAD
from trainingjob.core import Settings, stages

from .children import all_children, all_pods, env, expand
from .world import job


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

"""Whole jobs in real pods: Helm installs the operator, kubectl applies the manifest."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from cryptography import x509

from tests.chart.test_docs import commands
from tests.cluster.build import ROOT
from tests.cluster.node.node import Node
from tests.cluster.node.volumes import volume
from tests.cluster.s3 import S3Server
from tests.cluster.wait import wait_for
from tests.git_server import certificate_of, repository, serving

from .jobs import EXAMPLES, JOB_SECONDS, Installation, Space
from .parts import PANDAS, metric, training


def predictions(folder: Path) -> list[dict[str, Any]]:
    """The rows of the files that the manifest names, in its order."""
    told = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))
    tables = [pq.read_table(folder / file["name"]) for file in told["files"]]
    return [row for table in tables for row in table.to_pylist()]


def test_one_node_of_two_processes(space: Space) -> None:
    """Of which neither rows nor checkpoints are kept, and whose model predicts in another form."""
    source = {"uri": "pvc://datasets/digits.csv", "format": "csv"}
    space.example(
        "digits/job.yaml",
        preprocess=PANDAS,
        train=training(
            nodes=1, procsPerNode=2, epochs=10, export={"quantize": {"int8": {"maxDrop": 0.1}}}
        ),
        predict={"input": source, "keep": ["target"], "variant": "int8"},
        policy={"retain": {"checkpoints": "never", "datasets": "onFailure"}},
    )
    status = space.succeeds("digits")
    assert metric(status, "accuracy") >= 0.9
    stage = status["stages"][-1]
    assert (stage["name"], stage["attempt"]) == ("predict", 1), space.story("digits")
    rows = predictions(space.artefacts("digits") / "predictions")
    assert stage["outputs"]["rows"] == {"predicted": len(rows), "unpredicted": 0}
    assert len(rows) == len((space.datasets / "digits.csv").read_text().splitlines()) - 1
    right = sum(row["target"] == row["prediction"] for row in rows)
    assert right >= 0.9 * len(rows)
    cleanup = space.cleaned("digits")
    assert cleanup["phase"] == "Succeeded", space.story("digits")
    left = [path for path in space.artefacts("digits").rglob("*") if path.is_file()]
    kept = {path.relative_to(space.artefacts("digits")).as_posix() for path in left}
    assert "model/model.safetensors" in kept
    rows = {path for path in kept if path.startswith(("dataset/", "checkpoints/"))}
    assert rows == {"dataset/manifest.json"}


# As somebody else's program in the cluster asks: by the Service's name.
ASK = """
import sys, urllib.request
body = sys.stdin.buffer.read()
with urllib.request.urlopen(sys.argv[1], data=body, timeout=30) as answer:
    sys.stdout.write(answer.read().decode())
"""


def answers(space: Space, name: str, card: dict[str, Any]) -> list[float]:
    """What the Service predicts for the raw rows that evaluation has kept."""
    raw = card["dataset"]["raw"]
    kinds = {"double": "FP64", "bigint": "INT64", "boolean": "BOOL"}
    inputs = [
        {
            "name": column,
            "shape": [len(raw["rows"])],
            "datatype": kinds.get(raw["columns"][column], "BYTES"),
            "data": [row[place] for row in raw["rows"]],
        }
        for place, column in enumerate(raw["needed"])
    ]
    url = f"http://{name}:8080/v2/models/{name}/infer"
    told = space.control_plane.kubectl(
        *("exec", "--namespace", space.name, "--stdin", f"deployment/{name}", "--"),
        *("python", "-c", ASK, url),
        input=json.dumps({"inputs": inputs}),
    )
    (prediction,) = json.loads(told.stdout)["outputs"]
    return [float(value) for value in prediction["data"]]


def test_a_model_is_served_and_one_that_does_not_prove_itself_never_is(space: Space) -> None:
    deploy = {"deployment": {"replicas": 2}, "deadlineSeconds": 180}
    space.example("diabetes/job.yaml", deploy=deploy)
    status = space.succeeds("diabetes")
    assert status["deployment"]["replicas"] == {"desired": 2, "ready": 2}
    accepted = space.artefacts("diabetes") / "accepted"
    (folder,) = accepted.glob("[0-9a-f]*/")
    card = json.loads((folder / "trainingjob.json").read_text(encoding="utf-8"))
    judged = pytest.approx([value for (value,) in card["outputs"]], rel=1e-3)
    assert answers(space, "diabetes", card) == judged

    # The job goes, and the service stays.
    space.delete("trainingjobs", "diabetes")
    wait_for("its pods to go", lambda: not any(p.endswith("-1-0") for p in space.pods()))
    assert answers(space, "diabetes", card) == judged

    # The next one passes its gates, and its files are damaged before anybody serves it.
    train = yaml.safe_load((EXAMPLES / "diabetes/job.yaml").read_text())["spec"]["train"]
    passes = {"gates": [{"metric": "rmse", "max": 1000}]}
    space.example("diabetes/job.yaml", deploy=deploy, train=train | {"seed": 1}, evaluate=passes)
    found = wait_for(
        "the next model", lambda: {*accepted.glob("[0-9a-f]*/")} - {folder}, seconds=JOB_SECONDS
    )
    (weights,) = next(iter(found)).glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-8])
    status = space.ends("diabetes")
    assert status["reason"] == "RolloutFailed", space.story("diabetes")
    assert "ModelCorrupt" in status["message"]
    assert status["deployment"]["phase"] == "RolledBack"
    assert answers(space, "diabetes", card) == judged


def test_own_code_of_two_pods(space: Space) -> None:
    space.succeeds(space.example("own-code/job.yaml"))


def test_two_jobs_at_once(space: Space) -> None:
    for name in ("one", "two"):
        space.example("diabetes/job.yaml", name)
    for name in ("one", "two"):
        space.succeeds(name)


TRAIN = """
import os
import names

assert len(os.environ["HF_TOKEN"]) == 11
assert not any("GIT" in name for name in os.environ), "of the container before"
with open(os.environ["TRAININGJOB_OUTPUT_DIR"] + "/" + names.MODEL, "w") as file:
    file.write("a model")
"""


def test_credentials_from_a_secret_and_code_of_a_private_repository(
    space: Space, node: Node, tmp_path: Path
) -> None:
    """By TLS, with a certificate that only the Secret vouches for."""
    word, password, host = "s3cr3t-w0rd", "p4ssw0rd-of-git", node.network.host
    files = {"digits/train.py": TRAIN, "digits/names.py": "MODEL = 'model.bin'\n"}
    hash_ = repository(tmp_path / "git/team/models", files)
    certificate = certificate_of(tmp_path, x509.IPAddress(ip_address(host)))
    reader = {"password": password, "ca.crt": certificate[0].read_text(encoding="utf-8")}
    for name, data in {"hub": {"HF_TOKEN": word}, "reader": reader}.items():
        space.create("secrets", {"metadata": {"name": name}, "stringData": data})
    with serving(tmp_path / "git", certificate, host) as server:
        server.password = password
        source = {"url": f"{server.url}/team/models", "commit": hash_, "path": "digits"}
        train = {
            "nodes": 2,
            "code": {"git": source | {"credentialsSecret": {"name": "reader"}}},
            "command": ["python", "train.py"],
            "envFrom": [{"secretRef": {"name": "hub"}}],
        }
        name = space.example("digits/job.yaml", preprocess=PANDAS, train=train, evaluate=None)
        space.succeeds(name)
    told = json.dumps([space.job(name), space.list("pods")])
    assert word not in told and password not in told


def test_a_job_in_s3_with_credentials_from_a_secret(space: Space, node: Node) -> None:
    secret = {"envFrom": [{"secretRef": {"name": "s3"}}]}
    with S3Server(node.network.host) as server:
        space.create("secrets", {"metadata": {"name": "s3"}, "stringData": server.variables})
        server.put("models")
        server.put("raw-data")
        server.put("raw-data/digits.csv", (space.datasets / "digits.csv").read_bytes())
        preprocess = PANDAS | secret
        preprocess["input"] = {"uri": "s3://raw-data/*.csv", "format": "csv"}
        name = space.example(
            "digits/job.yaml",
            storage={"uri": "s3://models/runs"},
            preprocess=preprocess,
            train=training(epochs=10) | secret,
            evaluate={"metrics": ["accuracy"]} | secret,
        )
        assert metric(space.succeeds(name), "accuracy") >= 0.9
        found = server.get(f"models/runs/{space.name}/digits/evaluation/metrics.json")
    assert json.loads(found)["samples"] > 300


def test_the_first_job_of_the_page_for_installation(
    node: Node, installed: Installation, namespace: str
) -> None:
    for name in ("datasets", "training"):
        volume(node, namespace, name)  # in place of a storage class
    busybox = node.images.busybox()
    for _, *arguments in commands("The first job"):
        words = [word.replace("team-a", namespace) for word in arguments]
        if "deploy/first-job.yaml" in words:
            text = (ROOT / words[-1]).read_text(encoding="utf-8")
            text = text.replace("busybox:1.37", busybox)
            node.control_plane.kubectl(*words[:-1], "-", input=text)
        else:
            paths = [str(ROOT / word) if (ROOT / word).is_file() else word for word in words]
            told = node.control_plane.kubectl(*paths).stdout
    assert "diabetes" in told and "Succeeded" in told

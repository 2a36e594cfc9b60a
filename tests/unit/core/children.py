"""Jobs whose children are looked at."""

from __future__ import annotations

import re

from trainingjob.core import Settings, stages

from .world import job

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
GIT = {
    "url": "https://git.example.org/a/b",
    "commit": "1f3c9b0d2a4e5f60718293a4b5c6d7e8f9012345",
    "credentialsSecret": {"name": "reader"},
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
    "own code of a commit": {
        stage: more
        | {
            "code": {"git": GIT},
            "image": "own:1",
            "env": [{"name": "https_proxy", "value": "http://proxy:3128"}],
        }
        for stage, more in {
            "preprocess": {
                "engine": "pandas",
                "input": {"uri": "pvc://training/in.csv", "format": "csv"},
                "driver": {"resources": {"limits": {"memory": "2Gi", "cpu": 2}}},
            },
            "train": {
                "nodes": 2,
                "resources": {"limits": {"nvidia.com/gpu": 4, "cpu": "8"}},
                "envFrom": [{"secretRef": {"name": "hub"}}],
            },
            "evaluate": {},
        }.items()
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

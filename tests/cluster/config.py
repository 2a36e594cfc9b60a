"""Files and flags of the control plane's components."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from .build import BIN

# The range for benchmarks of networks: nobody's real addresses. No traffic ever goes there.
SERVICES = "198.18.0.0/16"

# What acts on TrainingJobs and their children, and no more: each controller costs memory and
# watches of its own.
CONTROLLERS = (
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
    "clusterrole-aggregation-controller",
    "namespace-controller",
    "garbage-collector-controller",
    "resourcequota-controller",
    "endpoints-controller",
    "endpointslice-controller",
    "deployment-controller",  # of served models
    "replicaset-controller",
)

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


def service_account_key() -> str:
    """A fresh key of P-256 as PEM.

    RFC 5915 by hand, because Python's library has nothing for it: the public half is optional, so
    the key is a random number. (One in 2^32 is too large, and the API server would say so.)
    """
    number = secrets.token_bytes(32)
    der = bytes.fromhex("30310201010420") + number + bytes.fromhex("a00a06082a8648ce3d030107")
    text = base64.b64encode(der).decode()
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN EC PRIVATE KEY-----", *lines, "-----END EC PRIVATE KEY-----", ""])


def token_file(users: Mapping[str, Sequence[str]], tokens: Mapping[str, str]) -> str:
    """The API server's list of users: token, name, uid, groups."""
    return "".join(
        f'{tokens[name]},{name},{name},"{",".join(groups)}"\n' for name, groups in users.items()
    )


def kubeconfig(server: str, ca_file: Path, user: str, token: str) -> str:
    """JSON, which is YAML."""
    name = "trainingjob-tests"
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": name, "cluster": {"server": server, "certificate-authority": str(ca_file)}}
            ],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
            "current-context": name,
        },
        indent=1,
    )


def etcd(folder: Path, port: int, peer_port: int) -> list[str | Path]:
    client = f"http://127.0.0.1:{port}"
    peer = f"http://127.0.0.1:{peer_port}"
    return [
        BIN / "etcd",
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        # It elects itself: the defaults are for a wide network and take a second.
        "--heartbeat-interval=20",
        "--election-timeout=200",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver(folder: Path, port: int, etcd_port: int, audit: bool) -> list[str | Path]:
    key = folder / "service-account.key"
    command: list[str | Path] = [
        BIN / "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'certs'}",  # makes its certificate itself
        "--endpoint-reconciler-type=none",  # a loopback address is no valid endpoint
        f"--service-cluster-ip-range={SERVICES}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={key}",
        f"--service-account-key-file={key}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--profiling=false",
    ]
    if audit:
        command += [
            f"--audit-policy-file={folder / 'audit-policy.json'}",
            f"--audit-log-path={folder / 'audit.log'}",
            "--audit-log-maxsize=10000",  # MB: one file, whatever happens
        ]
    return command


def controller_manager(
    folder: Path, controllers: Sequence[str], kubeconfig: Path, ca_file: Path, fast: bool
) -> list[str | Path]:
    qps, burst = (2000, 4000) if fast else (20, 30)
    return [
        BIN / "kube-controller-manager",
        f"--kubeconfig={kubeconfig}",
        f"--controllers={','.join(controllers)}",
        f"--service-account-private-key-file={folder / 'service-account.key'}",
        f"--root-ca-file={ca_file}",
        f"--kube-api-qps={qps}",
        f"--kube-api-burst={burst}",
        "--leader-elect=false",
        "--secure-port=0",
        "--profiling=false",
    ]

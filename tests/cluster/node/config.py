"""Files and flags of the node's components."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from ..build import BIN
from ..config import CONTROLLERS as CONTROL_PLANE_CONTROLLERS
from ..controlplane import ControlPlane
from . import packages
from .network import BRIDGE, Network

# Images of pods are named after this registry, wherever it listens: manifests stay the same.
REGISTRY = "trainingjob.test"
DOMAIN = "cluster.local"
SOCKET = "/run/containerd/containerd.sock"
KUBELET_PORT = 10250
GPU = "nvidia.com/gpu"

CONTROLLERS = (
    *CONTROL_PLANE_CONTROLLERS,
    "node-lifecycle-controller",  # takes the not-ready taint away
    "taint-eviction-controller",
    "pod-garbage-collector-controller",
    "persistentvolume-binder-controller",
    "persistentvolumeclaim-protection-controller",
    "persistentvolume-protection-controller",
    "statefulset-controller",
    "job-controller",
    "disruption-controller",
)


def users(node: str) -> dict[str, tuple[str, ...]]:
    """Everybody has the rights that they have in a real cluster, and no more."""
    return {
        "developer": (),
        f"system:node:{node}": ("system:nodes",),
        "system:kube-scheduler": (),
        "system:kube-proxy": (),
        "system:coredns": (),
    }


def apiserver(network: Network, certificate: Path, key: Path) -> list[str]:
    """Flags beside, and instead of, those of a control plane without nodes."""
    return [
        f"--advertise-address={network.host}",
        "--endpoint-reconciler-type=lease",  # the service `kubernetes` has an endpoint
        f"--service-cluster-ip-range={network.services}",
        "--authorization-mode=Node",  # beside RBAC: of some flags all values count
        "--enable-admission-plugins=NodeRestriction",
        # For logs, exec and port-forward.
        f"--kubelet-client-certificate={certificate}",
        f"--kubelet-client-key={key}",
        "--kubelet-preferred-address-types=InternalIP",
    ]


# --- containerd --------------------------------------------------------------------------------
def containerd(root: Path, folder: Path, pause: str, cri: bool = True) -> str:
    """config.toml. ``folder``: of this run; ``root``: keeps images between runs."""
    disabled = ["aufs", "btrfs", "devmapper", "native", "zfs"]
    plugins = [f"io.containerd.snapshotter.v1.{name}" for name in disabled]
    plugins += ["io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
    if not cri:
        plugins.append("io.containerd.grpc.v1.cri")
    return f"""\
version = 2
root = "{root}"
state = "/run/containerd"
disabled_plugins = {json.dumps(plugins)}

[grpc]
  address = "{SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Without CAP_SYS_RESOURCE nobody's score can be lowered.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    # The registry keeps them: once is enough.
    discard_unpacked_layers = true
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{packages.cni_folder()}"
    conf_dir = "{folder / "cni"}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{folder / "registries"}"
"""


def cni(network: Network) -> str:
    bridge: dict[str, Any] = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": network.pods, "gateway": network.bridge}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports]})


def registry_hosts(address: str) -> str:
    """hosts.toml: where the images of REGISTRY really are."""
    return f"""\
server = "http://{address}"

[host."http://{address}"]
  capabilities = ["pull", "resolve"]
"""


# --- Kubernetes --------------------------------------------------------------------------------
def kubeconfig(path: Path, server: str) -> str:
    """The kubeconfig of this machine, for use from within the node."""
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    loaded["clusters"][0]["cluster"]["server"] = server
    return json.dumps(loaded)


def kubelet(network: Network, folder: Path, cgroup: str) -> str:
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": network.node,
            "port": KUBELET_PORT,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(folder / "apiserver.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "containerRuntimeEndpoint": f"unix://{SOCKET}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{cgroup}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "clusterDNS": [network.bridge],
            "clusterDomain": DOMAIN,
            "resolvConf": "",
            "volumePluginDir": str(folder / "volume-plugins"),
            # The disk and the memory are also others': what they use is no reason to evict pods.
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
                "nodefs.inodesFree": "1%",
                "imagefs.inodesFree": "1%",
            },
            "imageGCHighThresholdPercent": 100,
            "serializeImagePulls": False,
            "nodeStatusUpdateFrequency": "2s",
            "nodeLeaseDurationSeconds": 40,
            # Nobody's score can be lowered here.
            "oomScoreAdj": 0,
            "shutdownGracePeriod": "0s",
        }
    )


def kubelet_command(network: Network, folder: Path, node: str) -> list[str | Path]:
    return [
        BIN / "kubelet",
        f"--config={folder / 'kubelet.json'}",
        f"--kubeconfig={folder / 'kubelet.kubeconfig'}",
        f"--root-dir={folder / 'kubelet'}",
        f"--cert-dir={folder / 'kubelet-certs'}",
        f"--hostname-override={node}",
        f"--node-ip={network.node}",
    ]


def scheduler_command(kubeconfig: Path) -> list[str | Path]:
    return [
        BIN / "kube-scheduler",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--secure-port=0",
        "--profiling=false",
        "--kube-api-qps=1000",
        "--kube-api-burst=1000",
    ]


def kube_proxy(network: Network, folder: Path, node: str) -> str:
    return json.dumps(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(folder / "kube-proxy.kubeconfig")},
            "mode": "iptables",
            "hostnameOverride": node,
            "bindAddress": network.node,
            "clusterCIDR": network.pods,
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
            "nodePortAddresses": [f"{network.node}/32"],
            "oomScoreAdj": 0,
            # The defaults of the kernel: only its first namespace may change some of them.
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
            "iptables": {"minSyncPeriod": "100ms"},
        }
    )


def kube_proxy_command(folder: Path) -> list[str | Path]:
    return [BIN / "kube-proxy", f"--config={folder / 'kube-proxy.json'}"]


# --- DNS and the registry ----------------------------------------------------------------------
def corefile(network: Network, folder: Path) -> str:
    """No upstream: there is no way out. No cache: pods come and go."""
    return f"""\
.:53 {{
    bind {network.bridge}
    errors
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {folder / "coredns.kubeconfig"}
        ttl 1
    }}
}}
"""


def coredns_command(folder: Path) -> list[str | Path]:
    return [BIN / "coredns", "-conf", folder / "Corefile"]


def allow_coredns(control_plane: ControlPlane) -> None:
    """What the addon manager would apply."""
    read = ["list", "watch"]
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": read},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
    ]
    name, rbac = "system:coredns", "rbac.authorization.k8s.io"
    role = {"metadata": {"name": name}, "rules": rules}
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": rbac, "kind": "User", "name": name}],
    }
    for plural, body in {"clusterroles": role, "clusterrolebindings": binding}.items():
        code, answer = control_plane.request("POST", f"/apis/{rbac}/v1/{plural}", body)
        assert code == 201, answer


def registry(folder: Path, address: str) -> str:
    return json.dumps(
        {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(folder)}},
            "http": {"addr": address},
        }
    )

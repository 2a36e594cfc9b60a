"""List the words by which Kubernetes and containerd say what is wrong with a pod, of their source.

``python -m tests.unit.core.terms MODULES > list.txt``, where MODULES is a Go module cache that has
k8s.io/kubernetes, k8s.io/api, k8s.io/cri-api or github.com/containerd/containerd/v2.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path

KUBELET = "k8s.io/kubernetes@*/pkg/kubelet/"
TOPOLOGY = KUBELET + "cm/topologymanager/topology_manager.go"
RUNTIME = KUBELET + "kuberuntime/kuberuntime_container.go"
PLUGINS = "k8s.io/kubernetes@*/pkg/scheduler/framework/plugins/names/names.go"
TYPES = "k8s.io/api@*/core/v1/types.go"
CONTAINERD = "github.com/containerd/containerd/v2@*/internal/cri/server/helpers.go"
HANDLERS, SYNC = KUBELET + "lifecycle/handlers.go", KUBELET + "container/sync_result.go"
CONTROLLERS = "k8s.io/kubernetes@*/pkg/controller/*/*.go"
EVICTION = "k8s.io/kubernetes@*/pkg/registry/core/pod/storage/eviction.go"
QUOTED = r'= "([A-Z][A-Za-z-]+)"'
# Where a word stands in a pod, the files that have it, and how.
SOURCES = (
    ("pod", KUBELET + "lifecycle/predicate.go", rf"^\t(?!InsufficientResourcePrefix)\w+ +{QUOTED}"),
    (
        "pod",
        KUBELET + "lifecycle/handlers.go",
        rf"^\t\w*(?:NotAdmittedReason|Unsupported) +{QUOTED}",
    ),
    ("pod", KUBELET + "cm/admission/errors.go", rf"ErrorReason\w+ +{QUOTED}"),
    ("pod", TOPOLOGY, rf"Error\w*TopologyAffinity\w* +{QUOTED}"),
    ("pod", TOPOLOGY, r"return \"(\w+Error)\""),
    ("pod", KUBELET + "nodeshutdown/nodeshutdown_manager*.go", rf"odeShutdown\w*Reason +{QUOTED}"),
    ("pod", KUBELET + "sysctl/allowlist.go", rf"ForbiddenReason +{QUOTED}"),
    ("pod", KUBELET + "volumemanager/volume_manager.go", rf"ExceededReason +{QUOTED}"),
    ("pod", KUBELET + "eviction/helpers.go", rf"^\tReason +{QUOTED}"),
    ("pod", KUBELET + "active_deadline.go", rf"^\treason +{QUOTED}"),
    ("pod", KUBELET + "events/event.go", rf"PreemptContainer +{QUOTED}"),
    ("pod", "k8s.io/kubernetes@*/pkg/util/node/node.go", rf"NodeUnreachablePodReason {QUOTED}"),
    ("pod", PLUGINS, r'^\t(?:NodeAffinity|NodeName|NodePorts|TaintToleration) += "(\w+)"'),
    ("waiting", KUBELET + "images/types.go", r'Err\w+ = errors.New\("(\w+)"\)'),
    ("waiting", RUNTIME, r'Err\w+ += errors.New\("(\w+Error)"\)'),
    (
        "waiting",
        KUBELET + "container/sync_result.go",
        r'Err(?:Crash|Run)\w+ += errors.New\("(\w+)"\)',
    ),
    ("waiting", KUBELET + "kubelet_pods.go", r'"(PodInitializing|ContainerCreating)"'),
    ("waiting", KUBELET + "kubelet.go", r'"(PodInitializing|ContainerCreating)"'),
    ("waiting", "k8s.io/cri-api@*/pkg/errors/errors.go", r'Err\w+ = errors.New\("(\w+)"\)'),
    ("ended", KUBELET + "container/runtime.go", rf"ContainerReasonStatusUnknown string {QUOTED}"),
    ("ended", CONTAINERD, rf"(?:Exit|Start)Reason {QUOTED}"),
    ("scheduling", TYPES, r'PodReason(?:Unsch|Schedul)\w+ = "(\w+)"'),
    ("disruption", TYPES, r'PodReason\w+By\w+ = "(\w+)"'),
    (
        "disruption",
        "k8s.io/kubernetes@*/pkg/controller/*/*.go",
        r'Reason: +"((?:Deletion|Eviction)By\w+)"',
    ),
    ("disruption", EVICTION, r'Reason: +"((?:Deletion|Eviction)By\w+)"'),
)


def main() -> None:
    """A line a word: where it stands, the word, and the modules that have it."""
    root, found = Path(sys.argv[1]), defaultdict(set)
    for place, pattern, expression in SOURCES:
        for path in sorted(root.glob(pattern)):
            if path.name.endswith("_test.go"):
                continue
            parts = path.relative_to(root).as_posix().split("/")
            module = next(part for part in parts if "@" in part)
            name = module if module[0] != "v" else f"containerd@{module.partition('@')[2]}"
            for match in re.finditer(expression, path.read_text(encoding="utf-8"), re.M):
                word = next(filter(None, match.groups()))
                found[place, word].add(name)
    for (place, word), modules in sorted(found.items()):
        print(place, word, ",".join(sorted(modules)))


if __name__ == "__main__":
    main()

"""Labels and annotations that users may put on the pods.

Much in a cluster obeys them: container runtimes, networks, webhooks, cloud identities, and this
operator. Nobody can list all that does, so what is allowed is listed: names without a prefix, which
Kubernetes leaves to users, and some keys that concern the job alone.
https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, StringConstraints
from pydantic.alias_generators import to_camel

from ..base import Rule
from .patterns import NO_NUL, LabelValue

# No dot: the runtimes' own annotations are `io.kubernetes.cri-o.Devices`, without a prefix.
_PLAIN = r"^[A-Za-z0-9]([-A-Za-z0-9_]{0,61}[A-Za-z0-9])?$"
# By these Spark finds its executors.
_SPARK = "spark-"

# In or out of a mesh, as its admission webhook reads it.
_MESHES = (
    "sidecar.istio.io/inject",
    "linkerd.io/inject",
    "kuma.io/sidecar-injection",
    "consul.hashicorp.com/connect-inject",
)
LABELS = (*_MESHES, "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class")
ANNOTATIONS = (
    *_MESHES,
    # Ports that a gang's ranks use by themselves.
    "traffic.sidecar.istio.io/excludeInboundPorts",
    "traffic.sidecar.istio.io/excludeOutboundPorts",
    "config.linkerd.io/skip-inbound-ports",
    "config.linkerd.io/skip-outbound-ports",
    "cluster-autoscaler.kubernetes.io/safe-to-evict",
    "karpenter.sh/do-not-disrupt",
    "prometheus.io/scrape",
    "prometheus.io/scheme",
    "prometheus.io/path",
    "prometheus.io/port",
)

_MOST = 32
PodLabels = Annotated[dict[str, LabelValue], Field(max_length=_MOST)]
PodAnnotations = Annotated[
    dict[str, Annotated[str, StringConstraints(max_length=512, pattern=NO_NUL)]],
    Field(max_length=_MOST),
]


def harmless(field: str, known: tuple[str, ...]) -> Rule:
    """A rule: the keys of an optional map are plain names, or among these."""
    name, plain = f"self.{to_camel(field)}", re.compile(_PLAIN)
    listed = ", ".join(f"'{key}'" for key in known)
    return Rule(
        cel=f"!has({name}) || {name}.all(k, k in [{listed}] || "
        f"(k.size() <= 63 && k.matches(r'{_PLAIN}') && !k.startsWith('{_SPARK}')))",
        message=f"{field} must have plain names as keys (letters, digits, - and _, "
        f"not {_SPARK}), or be of this list: {', '.join(known)}",
        holds=lambda self: all(
            key in known or (plain.fullmatch(key) and not key.startswith(_SPARK))
            for key in getattr(self, field) or ()
        ),
    )

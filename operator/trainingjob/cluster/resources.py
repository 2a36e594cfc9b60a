"""The resources that we deal with, and their paths."""

from __future__ import annotations

from dataclasses import dataclass

from ..api.v1alpha1 import API_VERSION, GROUP, PLURAL, VERSION
from ..core.names import LABEL_JOB


@dataclass(frozen=True)
class Resource:
    """A kind of object. ``selector`` restricts what is listed and watched of it."""

    group: str
    version: str
    plural: str
    selector: str = ""

    def path(self, namespace: str | None, name: str = "", sub: str = "") -> str:
        """URL path; all namespaces when ``namespace`` is None."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        place = f"/namespaces/{namespace}" if namespace is not None else ""
        return "/".join(filter(None, (f"{root}{place}/{self.plural}", name, sub)))


JOBS = Resource(GROUP, VERSION, PLURAL)
PODS = Resource("", "v1", "pods", LABEL_JOB)
SERVICES = Resource("", "v1", "services", LABEL_JOB)
POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies")
CLAIMS = Resource("", "v1", "persistentvolumeclaims")
SECRETS = Resource("", "v1", "secrets")
EVENTS = Resource("", "v1", "events")

WATCHED = (JOBS, PODS, SERVICES)

BY_KIND = {
    "Pod": PODS,
    "Service": SERVICES,
    "NetworkPolicy": POLICIES,
    "PersistentVolumeClaim": CLAIMS,
}
KIND_OF = {resource: kind for kind, resource in BY_KIND.items()}

# The public keys of the tokens of service accounts, which every service account may read.
KEYS = "/openid/v1/jwks"

# Where the API server says that it serves our resource.
DISCOVERY = f"/apis/{API_VERSION}"

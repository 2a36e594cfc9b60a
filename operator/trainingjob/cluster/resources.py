"""The resources that we deal with, and their paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..api.v1alpha1 import API_VERSION, GROUP, PLURAL, VERSION
from ..core import kinds
from ..core.kinds import Kind
from ..core.names import LABEL_JOB
from ..core.stages import STAGES


@dataclass(frozen=True)
class Resource:
    """A kind of object. ``selector`` restricts what is listed and watched of it; ``optional`` is as
    in `kinds.Kind`."""

    group: str
    version: str
    plural: str
    selector: str = ""
    optional: bool = False

    def path(self, namespace: str | None, name: str = "", sub: str = "") -> str:
        """URL path; all namespaces when ``namespace`` is None."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        place = f"/namespaces/{namespace}" if namespace is not None else ""
        return "/".join(filter(None, (f"{root}{place}/{self.plural}", name, sub)))


def _children(kind: Kind) -> Resource:
    group, _, version = kind.api_version.rpartition("/")
    return Resource(group, version, kind.plural, LABEL_JOB, kind.optional)


JOBS = Resource(GROUP, VERSION, PLURAL)
CLAIMS = Resource("", "v1", "persistentvolumeclaims")
SECRETS = Resource("", "v1", "secrets")
EVENTS = Resource("", "v1", "events")

_KINDS = dict.fromkeys([kinds.POD, *(kind for stage in STAGES for kind in stage.kinds)])
# Children by kind.
BY_KIND = {kind.name: _children(kind) for kind in _KINDS}
KIND_OF = {resource: name for name, resource in BY_KIND.items()}
PODS, SERVICES = BY_KIND[kinds.POD.name], BY_KIND[kinds.SERVICE.name]
# What the API server may not have. It is listed and not watched: a watch of what is not there would
# keep all others from being served.
LISTED = tuple(BY_KIND[kind.name] for kind in _KINDS if kind.optional)


def watched(*, deploys: bool) -> tuple[Resource, ...]:
    """What is watched, by an operator that has the rights to ``deploys`` or has not."""
    rooms = [stage for stage in STAGES if deploys or not stage.optional]
    found = dict.fromkeys([kinds.POD, *(kind for stage in rooms for kind in stage.kinds)])
    return (JOBS, *(BY_KIND[kind.name] for kind in found if not kind.optional))


# Older API servers have them as alphas, in another version.
POD_GROUPS = _children(kinds.POD_GROUP)
POD_GROUP_VERSIONS = ("v1beta1", "v1alpha2")

# What is made, watched or not.
MADE = {**BY_KIND, kinds.CLAIM.name: CLAIMS, kinds.POD_GROUP.name: POD_GROUPS}


def made(child: Mapping[str, Any]) -> Resource:
    """The resource of a child that is to be made, in the version that it is of."""
    return replace(MADE[child["kind"]], version=child["apiVersion"].rpartition("/")[2])


# The public keys of the tokens of service accounts, which every service account may read.
KEYS = "/openid/v1/jwks"

# Where the API server says that it serves our resource.
DISCOVERY = f"/apis/{API_VERSION}"

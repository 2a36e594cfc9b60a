"""Types that several parts of the spec share."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from .. import uris
from ..base import Model, Rule, exactly_one_of
from . import metadata
from .patterns import (
    CONFIG_MAP_KEY,
    DNS_LABEL,
    ENV_NAME,
    IMAGE,
    INPUT_URI,
    LABEL_KEY,
    MOUNT_PATH,
    NO_NUL,
    QUANTITY,
    RESOURCE,
    SUB_PATH,
    URI,
    Name,
    keys_match,
)
from .scheduling import Affinity, Labels, ResourceClaim, Toleration, TopologySpread

Column = Annotated[str, StringConstraints(min_length=1, max_length=253)]
Columns = Annotated[list[Column], Field(min_length=1, max_length=4096)]
Image = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=IMAGE)]
Quantity = (
    Annotated[str, StringConstraints(max_length=32, pattern=QUANTITY)]
    | Annotated[int, Field(ge=0, le=10**18)]
)
Quantities = Annotated[dict[str, Quantity], Field(max_length=32)]
Argument = Annotated[str, StringConstraints(max_length=4096, pattern=NO_NUL)]
Arguments = Annotated[list[Argument], Field(min_length=1, max_length=256)]
Uri = Annotated[str, StringConstraints(max_length=1024, pattern=URI)]
InputUri = Annotated[str, StringConstraints(max_length=1024, pattern=INPUT_URI)]

NO_PARENT = Rule(
    cel="!self.uri.split('/').exists(part, part == '..')",
    message="uri must not contain '..'",
    holds=lambda self: ".." not in self.uri.split("/"),
)


class Location(Model):
    """A place where data lies."""

    rules: ClassVar[tuple[Rule, ...]] = (NO_PARENT,)

    uri: Uri = Field(description=f"{uris.described()}.")


_UNITS = {
    "": 1,
    "m": Fraction(1, 1000),
    **{unit: 1000**power for power, unit in enumerate("kMGTP", 1)},
    **{f"{unit}i": 1024**power for power, unit in enumerate("KMGTP", 1)},
}
_LARGEST = 2**63 - 1


def amount(quantity: str | int) -> Fraction:
    """A quantity as Kubernetes reads it: in whole billionths, upwards, and not beyond 64 bits."""
    if isinstance(quantity, int):
        return Fraction(quantity)
    number = quantity.rstrip("mkiKMGTP")
    exact = Fraction(number) * _UNITS[quantity[len(number) :]]
    return min(Fraction(math.ceil(exact * 10**9), 10**9), Fraction(_LARGEST))


# Of these a node may promise more than it has. Devices and huge pages are counted in whole pieces.
_ELASTIC = ("cpu", "memory", "ephemeral-storage")


def _limited(resources: Resources) -> bool:
    limits = resources.limits or {}
    return all(
        amount(requested) <= amount(limits[name])
        for name, requested in (resources.requests or {}).items()
        if name in limits
    )


def _pieces_equal(resources: Resources) -> bool:
    limits = resources.limits or {}
    return all(
        name in _ELASTIC or (name in limits and amount(requested) == amount(limits[name]))
        for name, requested in (resources.requests or {}).items()
    )


def _pieces_whole(resources: Resources) -> bool:
    return all(
        name in _ELASTIC or isinstance(limit, int) or not {".", "m"} & {*limit}
        for name, limit in (resources.limits or {}).items()
    )


_CEL_ELASTIC = "k in [{}]".format(", ".join(f"'{name}'" for name in _ELASTIC))
_CEL_COMPARED = "quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k])))"


class Resources(Model):
    """What a container asks for, as in a pod."""

    rules: ClassVar[tuple[Rule, ...]] = (
        *(
            keys_match(
                field,
                RESOURCE,
                f"{field} must have resources as keys: cpu, memory, ephemeral-storage, "
                "hugepages-SIZE or, of devices, DOMAIN/NAME",
            )
            for field in ("requests", "limits")
        ),
        Rule(
            cel="!has(self.requests) || !has(self.limits) || "
            f"self.requests.all(k, !(k in self.limits) || {_CEL_COMPARED} <= 0)",
            message="requests must not be above limits",
            holds=_limited,
        ),
        Rule(
            cel=f"!has(self.requests) || self.requests.all(k, {_CEL_ELASTIC} || "
            f"(has(self.limits) && k in self.limits && {_CEL_COMPARED} == 0))",
            message="requests of devices and huge pages must be equal to limits; "
            "limits alone will do",
            holds=_pieces_equal,
        ),
        Rule(
            cel=f"!has(self.limits) || self.limits.all(k, {_CEL_ELASTIC} || "
            "!string(self.limits[k]).matches('[.m]'))",
            message="limits of devices and huge pages must be whole numbers",
            holds=_pieces_whole,
        ),
        Rule(
            cel="!has(self.limits) || !self.limits.exists(k, k.startsWith('hugepages-')) || "
            "['cpu', 'memory'].exists(k, k in self.limits || "
            "(has(self.requests) && k in self.requests))",
            message="huge pages need cpu or memory beside them",
            holds=lambda self: (
                not any(name.startswith("hugepages-") for name in self.limits or ())
                or bool({"cpu", "memory"} & {*(self.limits or ()), *(self.requests or ())})
            ),
        ),
    )

    requests: Quantities | None = Field(None, description="Guaranteed amounts, by resource name.")
    limits: Quantities | None = Field(
        None, description="Upper bounds, by resource name; GPUs (`nvidia.com/gpu`) go here."
    )


_RESERVED_PREFIXES = ("TRAININGJOB_", "PET_", "KUBEFLOW_TRAINER_")
RESERVED_ENV = (
    "MASTER_ADDR",
    "MASTER_PORT",
    "WORLD_SIZE",
    "NODE_RANK",
    "RANK",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "STATUS_URL",
)


class EnvVar(Model):
    """An environment variable of the stage's containers."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=" && ".join(f"!self.name.startsWith('{prefix}')" for prefix in _RESERVED_PREFIXES),
            message="names that begin with " + ", ".join(_RESERVED_PREFIXES) + " are reserved",
            holds=lambda self: not self.name.startswith(_RESERVED_PREFIXES),
        ),
        Rule(
            cel=f"!(self.name in [{', '.join(repr(name) for name in RESERVED_ENV)}])",
            message="names that the operator sets are reserved: " + ", ".join(RESERVED_ENV),
            holds=lambda self: self.name not in RESERVED_ENV,
        ),
    )

    name: Annotated[str, StringConstraints(max_length=253, pattern=ENV_NAME)] = Field(
        description="Name of the variable."
    )
    value: Annotated[str, StringConstraints(max_length=32768, pattern=NO_NUL)] = Field(
        "", description="Its value, taken literally."
    )


Env = Annotated[list[EnvVar], Field(max_length=256)]


class EnvSource(Model):
    """A Secret or a ConfigMap in the job's namespace."""

    name: Name = Field(description="Its name.")
    optional: bool = Field(False, description="Whether pods start without it.")


class EnvFrom(Model):
    """Environment variables from a Secret or a ConfigMap: one for each key."""

    rules: ClassVar[tuple[Rule, ...]] = (exactly_one_of("secret_ref", "config_map_ref"),)

    prefix: Annotated[str, StringConstraints(max_length=128, pattern=ENV_NAME)] | None = Field(
        None, description="What the names of the variables begin with, before the key."
    )
    secret_ref: EnvSource | None = Field(None, description="A Secret: credentials, tokens.")
    config_map_ref: EnvSource | None = Field(None, description="A ConfigMap.")


EnvFroms = Annotated[list[EnvFrom], Field(max_length=32)]
ENV_FROM = (
    "Environment variables from Secrets and ConfigMaps; `env` and the operator's own win over "
    "them. On one machine they have no effect."
)


class ConfigMapKey(Model):
    """A key of a ConfigMap in the job's namespace."""

    name: Name = Field(description="Name of the ConfigMap.")
    key: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=CONFIG_MAP_KEY)] = (
        Field(description="Key that holds the text.")
    )


class SecretKey(Model):
    """A key of a Secret in the job's namespace."""

    name: Name = Field(description="Name of the Secret.")
    key: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=CONFIG_MAP_KEY)] = (
        Field(description="Key that holds it.")
    )


class Script(Model):
    """Python source, given in the manifest or in a ConfigMap."""

    rules: ClassVar[tuple[Rule, ...]] = (exactly_one_of("inline", "config_map"),)

    # It travels in one environment variable, of which Linux allows 128 KiB.
    inline: (
        Annotated[str, StringConstraints(min_length=1, max_length=65536, pattern=NO_NUL)] | None
    ) = Field(None, description="The source itself.")
    config_map: ConfigMapKey | None = Field(None, description="Where the source lies.")


class ClaimVolume(Model):
    """A PersistentVolumeClaim."""

    claim_name: Name = Field(description="Name of the claim.")
    read_only: bool = Field(False, description="Mount without the right to write.")


class ConfigMapVolume(Model):
    """A ConfigMap, each key a file."""

    name: Name = Field(description="Name of the ConfigMap.")


class EmptyDirVolume(Model):
    """An empty folder that lives as long as the pod."""

    medium: Literal["", "Memory"] = Field("", description="`Memory` for a tmpfs.")
    size_limit: Quantity | None = Field(None, description="Upper bound of its size.")


class SecretVolume(Model):
    """A Secret, each key a file that cannot be written."""

    secret_name: Name = Field(description="Name of the Secret.")


class EphemeralVolume(Model):
    """A volume that is made for each pod, and goes with it."""

    outlined = True

    size: Quantity = Field(description="Room on it.")
    storage_class_name: Name | None = Field(
        None, description="Its StorageClass; the cluster's default when unset."
    )


class Volume(Model):
    """A volume of the pod: exactly one source."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of("persistent_volume_claim", "config_map", "empty_dir", "secret", "ephemeral"),
        Rule(
            cel="!self.name.startsWith('trainingjob-')",
            message="volume names that begin with trainingjob- are reserved",
            holds=lambda self: not self.name.startswith("trainingjob-"),
        ),
    )

    name: Annotated[str, StringConstraints(max_length=63, pattern=DNS_LABEL)] = Field(
        description="Name that volumeMounts refer to."
    )
    persistent_volume_claim: ClaimVolume | None = Field(None, description="A claim.")
    config_map: ConfigMapVolume | None = Field(None, description="A ConfigMap.")
    empty_dir: EmptyDirVolume | None = Field(None, description="An empty folder.")
    secret: SecretVolume | None = Field(None, description="A Secret; not with engine spark.")
    ephemeral: EphemeralVolume | None = Field(None, description="A disk of the pod's own.")


NOT_TINY = Rule(
    cel="quantity(string(self.size)).compareTo(quantity('1Mi')) >= 0",
    message="size must be at least 1Mi; it has a unit, as in 100Gi: without one it is bytes",
    holds=lambda self: amount(self.size) >= 2**20,
)


class Scratch(Model):
    """The disk at `/tmp` of each pod: what memory does not hold, copies of remote data, Spark's
    shuffle."""

    rules: ClassVar[tuple[Rule, ...]] = (NOT_TINY,)

    size: Quantity = Field(description="Room on it; a pod that needs more fails.")
    storage_class_name: Name | None = Field(
        None,
        description="StorageClass of a volume that is made for each pod and goes with it. Unset: "
        "the node's own disk.",
    )


# A folder of the node's disk, or of memory, that nobody has bounded is bounded by this.
SCRATCH_LIMIT = "100Gi"

# What the operator mounts itself, or what is the system's.
_RESERVED_FOLDERS = ("/dev", "/proc", "/sys", "/mnt/claims", "/etc/trainingjob")


def _steps_aside(mount: VolumeMount) -> bool:
    path = mount.mount_path.rstrip("/")
    return path != "/tmp" and not any(  # noqa: S108
        f"{path}/".startswith(f"{folder}/") for folder in _RESERVED_FOLDERS
    )


class VolumeMount(Model):
    """Where a volume appears in the container."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!self.mountPath.split('/').exists(part, part == '.' || part == '..')",
            message="mountPath must not contain '.' or '..'",
            holds=lambda self: not {".", ".."} & {*self.mount_path.split("/")},
        ),
        Rule(
            cel="!(self.mountPath in ['/tmp', '/tmp/']) && !["
            + ", ".join(f"'{folder}/'" for folder in _RESERVED_FOLDERS)
            + "].exists(folder, (self.mountPath + '/').startsWith(folder))",
            message="mountPath must not be /tmp, nor in " + ", ".join(_RESERVED_FOLDERS),
            holds=_steps_aside,
        ),
        Rule(
            cel="!has(self.subPath) || !self.subPath.split('/').exists(part, part == '..')",
            message="subPath must not contain '..'",
            holds=lambda self: ".." not in (self.sub_path or "").split("/"),
        ),
    )

    name: Annotated[str, StringConstraints(max_length=63, pattern=DNS_LABEL)] = Field(
        description="A name from volumes."
    )
    mount_path: Annotated[str, StringConstraints(max_length=1024, pattern=MOUNT_PATH)] = Field(
        description="Absolute path in the container."
    )
    sub_path: Annotated[str, StringConstraints(max_length=1024, pattern=SUB_PATH)] | None = Field(
        None, description="A path inside the volume."
    )
    read_only: bool = Field(False, description="Mount without the right to write.")


class PullSecret(Model):
    """A Secret with registry credentials."""

    name: Name = Field(description="Name of the Secret.")


class PodTemplate(Model):
    """The parts of the pod that users may set; the rest, security first, is the operator's."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.volumeMounts) || (has(self.volumes) && "
            "self.volumeMounts.all(m, self.volumes.exists(v, v.name == m.name)))",
            message="volumeMounts must name volumes of the template",
            holds=lambda self: (
                {mount.name for mount in self.volume_mounts or ()}
                <= {volume.name for volume in self.volumes or ()}
            ),
        ),
        keys_match("node_selector", LABEL_KEY, "nodeSelector must have names of labels as keys"),
        metadata.harmless("labels", metadata.LABELS),
        metadata.harmless("annotations", metadata.ANNOTATIONS),
    )

    labels: metadata.PodLabels | None = Field(
        None,
        description="Labels of the pods, of Spark's executors too, beside the operator's own. Keys "
        "are plain names such as `team`, or of these: "
        + ", ".join(f"`{key}`" for key in metadata.LABELS)
        + ".",
    )
    annotations: metadata.PodAnnotations | None = Field(
        None,
        description="Annotations of the pods, in the same way: plain names, or "
        + ", ".join(f"`{key}`" for key in metadata.ANNOTATIONS)
        + ".",
    )

    node_selector: Labels | None = Field(None, description="Labels that the node must have.")
    tolerations: Annotated[list[Toleration], Field(max_length=64)] | None = Field(
        None, description="Taints that the pod tolerates."
    )
    affinity: Affinity | None = Field(None, description="Nodes that it wants or shuns.")
    topology_spread_constraints: (
        Annotated[list[TopologySpread], Field(min_length=1, max_length=16)] | None
    ) = Field(None, description="How evenly the stage's pods are spread over nodes or zones.")
    scheduler_name: Name | None = Field(
        None, description="Who chooses the node; the cluster's own scheduler when unset."
    )
    resource_claims: Annotated[list[ResourceClaim], Field(min_length=1, max_length=16)] | None = (
        Field(None, description="Devices by dynamic resource allocation, for the container.")
    )
    priority_class_name: Name | None = Field(None, description="PriorityClass of the pods.")
    runtime_class_name: Name | None = Field(None, description="RuntimeClass of the pods.")
    image_pull_secrets: Annotated[list[PullSecret], Field(max_length=16)] | None = Field(
        None, description="Secrets for private registries."
    )
    volumes: Annotated[list[Volume], Field(max_length=32)] | None = Field(
        None, description="Further volumes."
    )
    volume_mounts: Annotated[list[VolumeMount], Field(max_length=32)] | None = Field(
        None, description="Where they are mounted."
    )
    scratch: Scratch | None = Field(
        None,
        description="The disk at `/tmp`, of Spark's executors too. Unset: the node's own, as much "
        f"as the limit of ephemeral-storage says, or {SCRATCH_LIMIT}.",
    )
    termination_grace_period_seconds: Annotated[int, Field(ge=1, le=3600)] | None = Field(
        None,
        description="Seconds between SIGTERM and SIGKILL: the time for a last checkpoint "
        "(30 when unset).",
    )

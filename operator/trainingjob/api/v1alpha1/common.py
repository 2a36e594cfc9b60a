"""Types that several parts of the spec share."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from ..base import Model, Rule, exactly_one_of

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
# Kubernetes' resource.Quantity without the exponent forms, which people do not write.
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$"
# Not `\s`: for the API server (RE2) that is ASCII only, for pydantic Unicode.
IMAGE = r"^[^\x00-\x20\x7f]+$"
URI = r"^(pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[^\x00-\x20\x7f]*)?|file:///[^\x00-\x20\x7f]*)$"
NO_NUL = r"^[^\x00]*$"  # no process takes one in its arguments or environment
MOUNT_PATH = r"^/[^\x00-\x20\x7f:]*$"
ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_.-]*$"
CONFIG_MAP_KEY = r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$"  # it is a file name: never `..`

Name = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=DNS_SUBDOMAIN)]
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

NO_PARENT = Rule(
    cel="!self.uri.split('/').exists(part, part == '..')",
    message="uri must not contain '..'",
    holds=lambda self: ".." not in self.uri.split("/"),
)


class Location(Model):
    """A place where data lies."""

    rules: ClassVar[tuple[Rule, ...]] = (NO_PARENT,)

    uri: Uri = Field(
        description="`pvc://CLAIM/path` for a PersistentVolumeClaim of the job's namespace "
        "(on one machine: a folder, see `--claim`), or `file:///path` (one machine only)."
    )


class Resources(Model):
    """What a container asks for, as in a pod."""

    requests: Quantities | None = Field(None, description="Guaranteed amounts, by resource name.")
    limits: Quantities | None = Field(
        None, description="Upper bounds, by resource name; GPUs (`nvidia.com/gpu`) go here."
    )


_RESERVED_PREFIXES = ("TRAININGJOB_", "PET_")
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
            message="names that begin with TRAININGJOB_ or PET_ are reserved",
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


class ConfigMapKey(Model):
    """A key of a ConfigMap in the job's namespace."""

    name: Name = Field(description="Name of the ConfigMap.")
    key: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=CONFIG_MAP_KEY)] = (
        Field(description="Key that holds the text.")
    )


class Script(Model):
    """Python source, given in the manifest or in a ConfigMap."""

    rules: ClassVar[tuple[Rule, ...]] = (exactly_one_of("inline", "config_map"),)

    # It travels in one environment variable, of which Linux allows 128 KiB.
    inline: (
        Annotated[str, StringConstraints(min_length=1, max_length=65536, pattern=NO_NUL)] | None
    ) = Field(None, description="The source itself.")
    config_map: ConfigMapKey | None = Field(None, description="Where the source lies.")


class Toleration(Model):
    """As in a pod."""

    key: Annotated[str, StringConstraints(max_length=316)] | None = Field(
        None, description="Taint key."
    )
    operator: Literal["Exists", "Equal"] | None = Field(
        None, description="How the key is compared; `Equal` when unset."
    )
    value: Annotated[str, StringConstraints(max_length=63)] | None = Field(
        None, description="Taint value."
    )
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Taint effect; every effect when unset."
    )
    toleration_seconds: Annotated[int, Field(ge=0, le=31536000)] | None = Field(
        None, description="How long a NoExecute taint is tolerated, in seconds."
    )


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


class Volume(Model):
    """A volume of the pod: exactly one source."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of("persistent_volume_claim", "config_map", "empty_dir"),
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


class VolumeMount(Model):
    """Where a volume appears in the container."""

    name: Annotated[str, StringConstraints(max_length=63, pattern=DNS_LABEL)] = Field(
        description="A name from volumes."
    )
    mount_path: Annotated[str, StringConstraints(max_length=1024, pattern=MOUNT_PATH)] = Field(
        description="Absolute path in the container."
    )
    sub_path: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
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
    )

    node_selector: (
        Annotated[dict[str, Annotated[str, StringConstraints(max_length=63)]], Field(max_length=64)]
        | None
    ) = Field(None, description="Labels that the node must have.")
    tolerations: Annotated[list[Toleration], Field(max_length=64)] | None = Field(
        None, description="Taints that the pod tolerates."
    )
    affinity: Annotated[dict[str, Any], Field(max_length=3)] | None = Field(
        None, description="Affinity, as in a pod (checked by the API server)."
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
    termination_grace_period_seconds: Annotated[int, Field(ge=1, le=3600)] | None = Field(
        None,
        description="Seconds between SIGTERM and SIGKILL: the time for a last checkpoint "
        "(30 when unset).",
    )

"""Types that several parts of the spec share."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from ..base import Model, Rule, exactly_one_of

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
# Kubernetes' resource.Quantity without the exponent forms, which people do not write.
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$"

Name = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=DNS_SUBDOMAIN)]
Column = Annotated[str, StringConstraints(min_length=1, max_length=253)]
Columns = Annotated[list[Column], Field(min_length=1, max_length=4096)]
Image = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\s]+$")]
Quantity = (
    Annotated[str, StringConstraints(max_length=32, pattern=QUANTITY)] | Annotated[int, Field(ge=0)]
)
Quantities = Annotated[dict[str, Quantity], Field(max_length=32)]
Argument = Annotated[str, StringConstraints(max_length=4096)]
Arguments = Annotated[list[Argument], Field(min_length=1, max_length=256)]
Uri = Annotated[
    str,
    StringConstraints(
        max_length=1024,
        pattern=r"^(pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[^\s]*)?|file:///[^\s]*)$",
    ),
]

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


class EnvVar(Model):
    """An environment variable of the stage's containers."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!self.name.startsWith('TRAININGJOB_')",
            message="names that begin with TRAININGJOB_ are reserved",
            holds=lambda self: not self.name.startswith("TRAININGJOB_"),
        ),
    )

    name: Annotated[
        str, StringConstraints(max_length=253, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")
    ] = Field(description="Name of the variable.")
    value: Annotated[str, StringConstraints(max_length=32768)] = Field(
        "", description="Its value, taken literally."
    )


Env = Annotated[list[EnvVar], Field(max_length=256)]


class ConfigMapKey(Model):
    """A key of a ConfigMap in the job's namespace."""

    name: Name = Field(description="Name of the ConfigMap.")
    key: Annotated[
        str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")
    ] = Field(description="Key that holds the text.")


class Script(Model):
    """Python source, given in the manifest or in a ConfigMap."""

    rules: ClassVar[tuple[Rule, ...]] = (exactly_one_of("inline", "config_map"),)

    # It travels in one environment variable, of which Linux allows 128 KiB.
    inline: Annotated[str, StringConstraints(min_length=1, max_length=65536)] | None = Field(
        None, description="The source itself."
    )
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
    mount_path: Annotated[str, StringConstraints(max_length=1024, pattern=r"^/[^\s:]*$")] = Field(
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

    node_selector: (
        Annotated[dict[str, Annotated[str, StringConstraints(max_length=63)]], Field(max_length=64)]
        | None
    ) = Field(None, description="Labels that the node must have.")
    tolerations: Annotated[list[Toleration], Field(max_length=64)] | None = Field(
        None, description="Taints that the pod tolerates."
    )
    affinity: dict[str, Any] | None = Field(
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

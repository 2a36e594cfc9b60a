"""Types that several parts of the spec share."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from .. import uris
from ..base import Model, Rule, exactly_one_of
from . import metadata
from .patterns import (
    CONFIG_MAP_KEY,
    ENV_NAME,
    IMAGE,
    INPUT_URI,
    LABEL_KEY,
    NO_NUL,
    URI,
    Name,
    keys_match,
)
from .scheduling import Affinity, Labels, ResourceClaim, Toleration, TopologySpread
from .volumes import SCRATCH_LIMIT, Scratch, Volume, VolumeMount

Column = Annotated[str, StringConstraints(min_length=1, max_length=253)]
Columns = Annotated[list[Column], Field(min_length=1, max_length=4096)]
Image = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=IMAGE)]
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

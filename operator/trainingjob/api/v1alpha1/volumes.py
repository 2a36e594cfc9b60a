"""Volumes of a pod, and where they appear in its container."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from ..base import Model, Rule, exactly_one_of
from .patterns import DNS_LABEL, MOUNT_PATH, SUB_PATH, Name
from .resources import Quantity, amount


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

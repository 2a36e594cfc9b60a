"""Where stages hand over to each other, and how what is remote is reached."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from .. import uris
from ..base import Model, Rule, exactly_one_of
from .common import NO_PARENT, SecretKey, Uri
from .patterns import HADOOP_USER, PRINCIPAL, Name
from .resources import Quantity
from .volumes import NOT_TINY, ConfigMapVolume


class Kerberos(Model):
    """Who pods are to a cluster with Kerberos."""

    principal: Annotated[str, StringConstraints(max_length=255, pattern=PRINCIPAL)] = Field(
        description="As `trainer@EXAMPLE.COM`."
    )
    keytab_secret: SecretKey = Field(
        description="The principal's keytab. On one machine: the one that `KRB5_CLIENT_KTNAME` "
        "names, else the ticket of `kinit`."
    )


class Hdfs(Model):
    """How pods reach HDFS, wherever the job has a URI of it."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.configMap) || has(self.user)",
            message="hdfs must have configMap, user or both",
            holds=lambda self: self.config_map is not None or self.user is not None,
        ),
        Rule(
            cel="!has(self.kerberos) || has(self.configMap)",
            message="kerberos needs configMap, with core-site.xml, hdfs-site.xml and krb5.conf",
            holds=lambda self: self.kerberos is None or self.config_map is not None,
        ),
        Rule(
            cel="!has(self.kerberos) || !has(self.user)",
            message="user is for a cluster without Kerberos: kerberos.principal says who pods are",
            holds=lambda self: self.kerberos is None or self.user is None,
        ),
    )

    config_map: ConfigMapVolume | None = Field(
        None,
        description="ConfigMap with Hadoop's `core-site.xml` and `hdfs-site.xml`, which know the "
        "name services, and Kerberos' `krb5.conf`. On one machine it may follow in the manifest's "
        "file; else the shell's `HADOOP_CONF_DIR` counts.",
    )
    user: Annotated[str, StringConstraints(max_length=64, pattern=HADOOP_USER)] | None = Field(
        None,
        description="Who pods are to a cluster without Kerberos. Unset: who they are on their own "
        "machine.",
    )
    kerberos: Kerberos | None = Field(None, description="For a cluster with Kerberos.")


class NewClaim(Model):
    """A PersistentVolumeClaim that the operator makes for the job: `<job>-storage`."""

    rules: ClassVar[tuple[Rule, ...]] = (NOT_TINY,)

    size: Quantity = Field(description="Room on it. A claim that is there is never resized.")
    storage_class_name: Name | None = Field(
        None, description="Its StorageClass, as for SSD or HDD. Unset: the cluster's default."
    )
    access_modes: (
        Annotated[
            list[Literal["ReadWriteOnce", "ReadWriteMany"]], Field(min_length=1, max_length=2)
        ]
        | None
    ) = Field(
        None,
        description="Unset: ReadWriteMany where several pods use it at a time (engine spark, "
        "`train.nodes` above 1, `deploy`), else ReadWriteOnce.",
    )
    when_deleted: Literal["keep", "delete"] | None = Field(
        None,
        description="What becomes of the claim, and all that is on it, when the job is deleted. A "
        "later job of the same name goes on with one that was kept. Unset: keep.",
    )


class Storage(Model):
    """Where stages hand over to each other: `<uri>/<namespace>/<job>/`."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of("uri", "pvc"),
        Rule(
            cel="!has(self.uri) || !self.uri.split('/').exists(part, part == '..')",
            message=NO_PARENT.message,
            holds=lambda self: self.uri is None or NO_PARENT.holds(self),
        ),
    )

    uri: Uri | None = Field(None, description=f"{uris.described()}.")
    pvc: NewClaim | None = Field(
        None,
        description="A claim that the operator makes, in place of `uri`. On one machine: a folder.",
    )
    hdfs: Hdfs | None = Field(
        None, description=f"How `{uris.HDFS.start}` is reached, for all stages and all URIs."
    )

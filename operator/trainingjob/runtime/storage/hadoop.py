"""What Hadoop's exceptions mean, by the names that Java gives them; Spark tells them, too."""

from __future__ import annotations

import re

from trainingjob.api.v1alpha1.reasons import ReasonName

from ..base.errors import StageFailure
from ..base.text import one_line
from . import kerberos

# A sign in the text -> the reason, and what to say: {name} is the cluster, {said} what Java says.
# The first that fits.
_MEANINGS: tuple[tuple[str, ReasonName, str], ...] = (
    ("AccessControlException", "StorageUnavailable", "access is denied: {said}"),
    (
        "QuotaExceededException",
        "DiskFull",
        "a quota is used up: {said}; remove what is not needed, or have it raised: hdfs dfsadmin "
        "-setQuota for files, -setSpaceQuota for bytes",
    ),
    (
        "ParentNotDirectoryException",
        "StorageUnavailable",
        "a file is where a folder should be: {said}",
    ),
    (
        "No NameNode hosts found",
        "StorageUnavailable",
        "{name} is no name service that is known here: its settings are in Hadoop's hdfs-site.xml, "
        "which storage.hdfs.configMap can bring; of a host also give the port",
    ),
    (
        "SafeModeException",
        "StorageFailed",
        "the NameNode is in safe mode: it ends when the DataNodes have reported, or by "
        "hdfs dfsadmin -safemode leave",
    ),
    ("BlockMissingException", "StorageFailed", "no DataNode that has the data answers: {said}"),
    ("All DataNodes failed", "StorageFailed", "no DataNode that has the data answers"),
    ("could only be written to 0", "StorageFailed", "no DataNode takes the data"),
    ("Failed to complete file", "StorageFailed", "no DataNode takes the data"),
    ("Connection refused", "StorageFailed", "no NameNode answers at {name}"),
    ("failed to lookup address", "StorageFailed", "there is no host of the name {name}"),
)
_STANDBY = "StandbyException"
# Spark's own servers refuse connections, too.
_OF_HADOOP = re.compile(r"\borg\.apache\.hadoop\.(hdfs|ipc|security)\.")


def meaning(text: str, name: str) -> tuple[ReasonName, str] | None:
    """The reason and the words for an error about the cluster ``name``; None for one that may pass
    by itself and says so best itself."""
    found = kerberos.meaning(text)
    if found is not None:
        return found
    if _STANDBY in text:
        return "StorageFailed", _not_active(name)
    for sign, reason, words in _MEANINGS:
        if sign in text:
            return reason, words.format(name=name, said=java_says(text, sign))
    return None


def _not_active(name: str) -> str:
    if ":" not in name:
        return f"no NameNode of {name} is active"
    return (
        f"the NameNode at {name} is not the active one: name the name service, whose settings are "
        "in Hadoop's hdfs-site.xml, which storage.hdfs.configMap can bring"
    )


def java_says(text: str, kind: str) -> str:
    """The message of the exception ``kind``, without Java's stack."""
    found = re.search(rf'{kind}(?:: |", ")(.*?)(?:\\n|\n|"\)|$)', text)
    return one_line(found[1].replace('\\"', '"')) if found else ""


def failure_of_spark(text: str) -> StageFailure | None:
    """What failed in Spark because of the storage; None for everything else."""
    found = meaning(text, "the cluster") if _OF_HADOOP.search(text) else None
    return StageFailure(found[0], f"HDFS: {found[1]}") if found else None

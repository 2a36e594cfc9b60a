"""Who a pod is to a cluster with Kerberos: by a keytab, else by the ticket that its machine has."""

from __future__ import annotations

import os
import re

from trainingjob.api.payload import KEYTAB, KRB5_CONFIG, PRINCIPAL
from trainingjob.api.v1alpha1.reasons import ReasonName

from ..base.text import one_line

_NO_TICKET = "the cluster wants Kerberos: set storage.hdfs.kerberos, or on one machine use kinit"
_NO_KEY = "{keytab} is not there, or has no key of {principal}: correct storage.hdfs.kerberos"
_OLD_KEY = (
    "the Kerberos server has another key for {principal} than the keytab, as after a change of its "
    "password: make the keytab anew"
)
# A sign in what Kerberos' own library, or Java, says -> the reason, and what to say: {said} is the
# last of their words. The first that fits.
_MEANINGS: tuple[tuple[str, ReasonName, str], ...] = (
    ("No Kerberos credentials", "StorageUnavailable", _NO_TICKET),
    ("SIMPLE authentication is not enabled", "StorageUnavailable", _NO_TICKET),
    ("No credentials cache found", "StorageUnavailable", _NO_KEY),
    ("Unable to obtain password from user", "StorageUnavailable", _NO_KEY),
    ("Decrypt integrity check failed", "StorageUnavailable", _OLD_KEY),
    ("reauthentication failed", "StorageUnavailable", _OLD_KEY),
    ("not found in Kerberos database", "StorageUnavailable", "{said}: correct the principal"),
    (
        "Clock skew too great",
        "StorageUnavailable",
        "the clock of this machine and that of the Kerberos server differ by more than they may, "
        "mostly five minutes: set them by NTP",
    ),
    (
        "icket expired",
        "StorageUnavailable",
        "the Kerberos ticket has expired: use kinit again, or a keytab, which is good for longer",
    ),
    (
        "Cannot find KDC",
        "StorageUnavailable",
        "{said}: krb5.conf, which storage.hdfs.configMap brings, does not name it",
    ),
    ("Cannot contact any KDC", "StorageFailed", "{said}: the Kerberos server does not answer"),
    (
        "Failed to load libgssapi",
        "StorageUnavailable",
        "the image lacks Kerberos' library: add Debian's libgssapi-krb5-2, or krb5-libs of Red Hat",
    ),
)


def keytab() -> tuple[str, str] | None:
    """The principal and the path of its keytab; None without."""
    principal, path = os.environ.get(PRINCIPAL), os.environ.get(KEYTAB, "").removeprefix("FILE:")
    return (principal, path) if principal and path else None


def meaning(text: str) -> tuple[ReasonName, str] | None:
    """The reason and the words for an error of Kerberos; None for every other."""
    for sign, reason, words in _MEANINGS:
        if sign in text:
            principal, path = keytab() or ("the principal", "the keytab")
            words = words.format(principal=principal, keytab=path, said=_said(text, sign))
            return reason, words
    return None


def _said(text: str, sign: str) -> str:
    """From the last colon before the sign to the end of the sentence."""
    found = re.search(rf"([^:\n]*{re.escape(sign)}.*?)(?:\"\)|\n|$)", text)
    return one_line(found[1].replace('\\"', '"')) if found else ""


def spark_settings() -> dict[str, str]:
    """By which Spark's driver logs in; it gets tokens for its executors."""
    found = keytab()
    if found is None:
        return {}
    principal, path = found
    realm = principal.rpartition("@")[2]
    return {
        "spark.kerberos.principal": principal,
        "spark.kerberos.keytab": path,
        # Executors have no files of Hadoop's and of Kerberos': without the first they do not show
        # their tokens to DataNodes, and without a realm Java's client does not start. No KDC is
        # asked.
        "spark.hadoop.hadoop.security.authentication": "kerberos",
        "spark.executor.defaultJavaOptions": f"-Djava.security.krb5.realm={realm} "
        "-Djava.security.krb5.kdc=localhost",
    }


def java_options() -> list[str]:
    """Java does not look at the variable."""
    config = os.environ.get(KRB5_CONFIG)
    return [f'"-Djava.security.krb5.conf={config}"'] if config else []

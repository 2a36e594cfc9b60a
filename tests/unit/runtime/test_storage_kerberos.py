"""Who a pod is to a cluster with Kerberos, and what its errors mean that no test server makes."""

from __future__ import annotations

import pytest

from trainingjob.runtime.storage import kerberos
from trainingjob.runtime.storage.hadoop import failure_of_spark, meaning


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, None),
        ({"TRAININGJOB_PRINCIPAL": "t@R", "TRAININGJOB_KEYTAB": ""}, None),
        ({"TRAININGJOB_PRINCIPAL": "t@R", "TRAININGJOB_KEYTAB": "/k"}, ("t@R", "/k")),
        ({"TRAININGJOB_PRINCIPAL": "t@R", "TRAININGJOB_KEYTAB": "FILE:/k"}, ("t@R", "/k")),
    ],
)
def test_a_keytab_is_used_where_there_is_one(
    env: dict[str, str], expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TRAININGJOB_PRINCIPAL", "TRAININGJOB_KEYTAB"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert kerberos.keytab() == expected
    assert ("spark.kerberos.keytab" in kerberos.spark_settings()) is (expected is not None)


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (
            'OperationFailed("Failed to load libgssapi_krb")',
            "StorageUnavailable",
            "the image lacks Kerberos' library",
        ),
        (
            'GSSAPIError(X, 25, "Unspecified GSS failure.  Minor code may provide more: '
            'Server hdfs/nn@R not found in Kerberos database")',
            "StorageUnavailable",
            "Server hdfs/nn@R not found in Kerberos database: correct",
        ),
        (
            'GSSAPIError(X, 25, "No credentials were supplied: Preauthentication failed")',
            "StorageUnavailable",
            "make the keytab anew",
        ),
    ],
)
def test_what_kerberos_refuses_has_a_reason(error: str, reason: str, words: str) -> None:
    found = meaning(error, "ns")
    assert found is not None
    assert found[0] == reason
    assert words in found[1]
    assert not found[1].endswith('"')


def test_what_kerberos_refuses_spark_has_the_same_reason() -> None:
    failure = failure_of_spark(
        "An error occurred while calling o30.parquet.\n: org.apache.hadoop.security."
        "AccessControlException: SIMPLE authentication is not enabled.  Available:[TOKEN, KERBEROS]"
    )
    assert failure is not None
    assert failure.reason == "StorageUnavailable"
    assert "the cluster wants Kerberos" in failure.message

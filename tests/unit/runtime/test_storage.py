"""What remote places say, as reasons; where copies lie; how S3 is reached."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path
from typing import Any

import pytest
from obstore.exceptions import GenericError, PermissionDeniedError, UnauthenticatedError

from trainingjob.api.uris import Uri
from trainingjob.runtime import storage
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.storage import az, copies, gs, objects, s3
from trainingjob.runtime.storage.hadoop import failure_of_spark
from trainingjob.runtime.storage.hdfs import Cluster
from trainingjob.runtime.storage.s3 import Bucket
from trainingjob.runtime.storage.streams import RemoteFile, ahead

RPC = 'RPCError("org.apache.hadoop.{}", "{}\\n\\tat org.apache.hadoop.hdfs.A(B.java:1)")'


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (GenericError("<Code>NoSuchBucket</Code>"), "StorageUnavailable", "no such bucket"),
        (GenericError("<Code>ExpiredToken</Code>"), "StorageUnavailable", "have expired"),
        (GenericError("<Code>RequestTimeTooSkewed</Code>"), "StorageUnavailable", "clock"),
        (PermissionDeniedError("HEAD: 403"), "StorageUnavailable", "access is denied"),
        (UnauthenticatedError("GET: 401"), "StorageUnavailable", "access is denied"),
        (
            PermissionDeniedError("<Code>SignatureDoesNotMatch</Code>"),
            "StorageUnavailable",
            "the secret key is wrong",
        ),
        (GenericError("Error performing PUT http://169.254.169.254/x"), "StorageUnavailable", "no"),
        (GenericError("an incorrectly configured region"), "StorageUnavailable", "AWS_REGION"),
        (
            GenericError("malformed; the region 'eu-west-2' is wrong; expecting 'eu-west-1'"),
            "StorageUnavailable",
            "AWS_REGION",
        ),
        (GenericError("503: SlowDown\n\nDebug source:\nX"), "StorageFailed", "b/x: 503: SlowDown"),
    ],
)
def test_what_s3_refuses_has_a_reason(error: Exception, reason: str, words: str) -> None:
    with pytest.raises(StageFailure) as told, Bucket("b")._failures("x"):
        raise error
    assert told.value.reason == reason
    assert words in told.value.message
    assert told.value.message.startswith("s3://b/x: ")
    assert "Debug" not in told.value.message


@pytest.mark.parametrize(
    ("place", "said", "reason", "words"),
    [
        (gs, "<Code>AccessDenied</Code>", "StorageUnavailable", "set GOOGLE_SERVICE_ACCOUNT_KEY"),
        (gs, "status code: 403 Forbidden: {}", "StorageUnavailable", "access is denied"),
        (
            gs,
            "Error performing token request: http://metadata.google.internal/computeMetadata",
            "StorageUnavailable",
            "there are no credentials: set GOOGLE_SERVICE_ACCOUNT_KEY",
        ),
        (gs, '{"error":"invalid_grant"}', "StorageUnavailable", "or the clock of this machine"),
        (gs, "status code: 503 Service Unavailable", "StorageFailed", "503 Service Unavailable"),
        (
            az,
            "<Code>AuthenticationFailed</Code> Signature not valid in the specified time frame: "
            "Signed expiry time [Sat, 28 Nov 2026] must be after signed start time",
            "StorageUnavailable",
            "AZURE_STORAGE_SAS_TOKEN has expired",
        ),
        (
            az,
            "<Code>AuthenticationFailed</Code> Request date header too old: 'Sat, 28 Nov 2026'",
            "StorageUnavailable",
            "the clock of this machine",
        ),
        (az, "<Code>AuthorizationPermissionMismatch</Code>", "StorageUnavailable", "no role"),
        (az, "Error performing GET http://169.254.169.254/", "StorageUnavailable", "credentials"),
        (az, "status code: 503 ServerBusy", "StorageFailed", "503 ServerBusy"),
    ],
)
def test_what_googles_and_azures_stores_refuse_has_a_reason(
    place: Any, said: str, reason: str, words: str
) -> None:
    store = (place.Bucket if place is gs else place.Container)("b")
    with pytest.raises(StageFailure) as told, store._failures("x"):
        raise GenericError(said)
    assert told.value.reason == reason
    assert words in told.value.message
    assert told.value.message.startswith(f"{store.scheme.start}b/x: ")


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (
            RPC.format("security.AccessControlException", 'user=me, inode=\\"/a\\":root'),
            "StorageUnavailable",
            'access is denied: user=me, inode="/a":root',
        ),
        (RPC.format("hdfs.protocol.DSQuotaExceededException", "of /a"), "DiskFull", "up: of /a;"),
        (RPC.format("ipc.StandbyException", "x"), "StorageFailed", "no NameNode of ns is active"),
        (RPC.format("ipc.RetriableException", "in a moment"), "StorageFailed", "ns/x: in a moment"),
        ('OperationFailed("Failed to complete file in time")', "StorageFailed", "takes the data"),
        ('DataTransferError("All DataNodes failed: [x]")', "StorageFailed", "no DataNode that has"),
    ],
)
def test_what_hdfs_refuses_has_a_reason(error: str, reason: str, words: str) -> None:
    with pytest.raises(StageFailure) as told, Cluster("ns")._failures("x"):
        raise RuntimeError(error)
    assert told.value.reason == reason
    assert told.value.message.endswith(words) or words in told.value.message
    assert "\n" not in told.value.message
    assert ".java" not in told.value.message


JAVA = "An error occurred while calling o30.parquet.\n: {}\n\tat org.apache.hadoop.hdfs.A(B.java:1)"


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (
            "org.apache.hadoop.security.AccessControlException: Permission denied: user=x",
            "StorageUnavailable",
            "HDFS: access is denied: Permission denied: user=x",
        ),
        (
            "org.apache.hadoop.hdfs.server.namenode.SafeModeException: Cannot create directory /x",
            "StorageFailed",
            "HDFS: the NameNode is in safe mode: it ends when the DataNodes have reported, or by "
            "hdfs dfsadmin -safemode leave",
        ),
        (
            "org.apache.hadoop.hdfs.protocol.NSQuotaExceededException: The quota of /q is exceeded",
            "DiskFull",
            "HDFS: a quota is used up: The quota of /q is exceeded; remove what is not needed, or "
            "have it raised: hdfs dfsadmin -setQuota for files, -setSpaceQuota for bytes",
        ),
        (
            "org.apache.spark.SparkException: [FAILED_READ_FILE]\n\tat x\nCaused by: "
            "org.apache.hadoop.hdfs.BlockMissingException: Could not obtain block: 7 file=/a.csv",
            "StorageFailed",
            "HDFS: no DataNode that has the data answers: Could not obtain block: 7 file=/a.csv",
        ),
    ],
)
def test_what_hdfs_refuses_spark_has_the_same_reason(error: str, reason: str, words: str) -> None:
    failure = failure_of_spark(JAVA.format(error))
    assert failure is not None
    assert (failure.reason, failure.message) == (reason, words)


S3A = (
    "An error occurred while calling o30.parquet.\n: {}\n\tat org.apache.hadoop.fs.s3a.A(B.java:1)"
)


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (
            "java.nio.file.AccessDeniedException: s3://b/in.csv: getFileStatus: software.amazon."
            "awssdk.services.s3.model.S3Exception: (Service: S3, Status Code: 403, AccessDenied)",
            "StorageUnavailable",
            "s3://b/in.csv: access is denied",
        ),
        (
            "org.apache.hadoop.fs.s3a.UnknownStoreException: `s3://gone/x': NoSuchBucket",
            "StorageUnavailable",
            "s3://gone/x: there is no such bucket",
        ),
        (
            "org.apache.hadoop.fs.s3a.AWSRedirectException: Received permanent redirect for "
            "s3://b/x: PermanentRedirect (Service: S3, Status Code: 301)",
            "StorageUnavailable",
            "s3://b/x: the bucket is in another region: set AWS_REGION",
        ),
        (
            "software.amazon.awssdk.core.exception.SdkClientException: Unable to load credentials "
            "from any of the providers",
            "StorageUnavailable",
            "S3: there are no credentials",
        ),
        (
            "org.apache.hadoop.fs.s3a.AWSStatus500Exception: getFileStatus on s3://b/x: (Service: "
            "S3, Status Code: 503)",
            "StorageFailed",
            "s3://b/x: getFileStatus on s3://b/x: (Service: S3, Status Code: 503)",
        ),
    ],
)
def test_what_s3_refuses_spark_has_the_same_reason(error: str, reason: str, words: str) -> None:
    failure = s3.failure_of_spark(S3A.format(error))
    assert failure is not None
    assert failure.reason == reason
    assert failure.message.startswith(words)


def test_what_spark_fails_of_by_itself_is_not_s3s() -> None:
    assert s3.failure_of_spark("An error\n: org.apache.spark.SparkException: s3://b/x") is None


@pytest.mark.parametrize(
    "error",
    [
        "An error occurred while calling o1.x\n: java.net.ConnectException: Connection refused",
        "org.apache.spark.SparkException: Failed to connect to executor",
        "[UNRESOLVED_COLUMN] SafeMode",
    ],
)
def test_what_is_sparks_own_is_not_the_storages(error: str) -> None:
    assert failure_of_spark(error) is None


@pytest.mark.parametrize("place", [Bucket("b"), Cluster("ns")], ids=["S3", "HDFS"])
def test_the_pods_own_disk_is_not_the_storages_fault(place: Bucket | Cluster) -> None:
    with pytest.raises(OSError, match="No space") as told, place._failures("x"):
        raise OSError(28, "No space left on device")
    assert told.value.errno == 28


def test_spark_is_told_of_copies_as_what_they_are_copies_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAININGJOB_COPIES_DIR", str(tmp_path))
    place = storage.resolve("hdfs://name:8020/a b/in.csv")
    assert ":" not in str(place)
    copies._known.add(place)  # it was brought
    assert storage.spark_uri(place) == "hdfs://name:8020/a b/in.csv"
    assert storage.from_spark("hdfs://name:8020/a%20b/in.csv") == str(place)
    for path in (Path("/srv/a b.csv"), "/srv/a b.csv"):
        assert storage.spark_uri(path) == "file:///srv/a b.csv"
    assert storage.from_spark("file:/srv/a%20b.csv") == "/srv/a b.csv"


def test_no_path_leads_out_of_its_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAININGJOB_CLAIMS_DIR", str(tmp_path))
    (tmp_path / "runs").mkdir()
    assert storage.resolve("pvc://runs//etc/x") == tmp_path / "runs/etc/x"
    with pytest.raises(StageFailure, match="claim other of pvc://other/x is not mounted"):
        storage.resolve("pvc://other/x")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("data", ["data/a.csv", "data/b/c.csv", "data/b/d.txt"]),
        ("data/", ["data/a.csv", "data/b/c.csv", "data/b/d.txt"]),
        ("data/*.csv", ["data/a.csv"]),
        ("data/*", ["data/a.csv", "data/b/c.csv", "data/b/d.txt"]),
        ("data/?/*.csv", ["data/b/c.csv"]),
        ("data/[a].csv", ["data/a.csv"]),
        ("data/a.csv", ["data/a.csv"]),
        ("", ["data/a.csv", "data/b/c.csv", "data/b/d.txt"]),
        ("dat", []),
    ],
)
def test_a_uri_names_files_as_a_shell_does(
    path: str, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Place:
        def find(self, base: str) -> dict[str, int]:
            there = {"data/a.csv": 1, "data/b/c.csv": 2, "data/b/d.txt": 3}
            below = f"{base}/" if base else ""
            return {f: n for f, n in there.items() if f == base or f.startswith(below)}

    monkeypatch.setattr(copies, "connect", lambda uri: Place())
    assert list(copies._found(Uri.parse(f"s3://bucket/{path}"))) == found


class Counted:
    """A remote file of known bytes that counts what is asked for."""

    data = bytes(range(256)) * 100_000

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def read(self, path: str, start: int, end: int) -> bytes:
        self.asked.append((start, end))
        return self.data[start:end]


@pytest.mark.parametrize(
    "held", [[], [(0, 100)], [(5, 50), (1_000_000, 25_600_000)], [(0, 20_000_000)]]
)
def test_a_remote_file_reads_as_any_other(held: list[tuple[int, int]]) -> None:
    remote = Counted()
    file = RemoteFile(remote, "x", len(remote.data))  # type: ignore[arg-type]
    file.hold(held)
    brought = len(remote.asked)
    real = io.BytesIO(remote.data)
    rng = random.Random(7)
    for _ in range(100):
        where = rng.choice([0, 10, 49, 2_000_000, 8_388_600, 8_388_608, 25_599_990])
        size = rng.choice([0, 1, 20, 5000, 9_000_000])
        for one in (real, file):
            one.seek(where)
        assert file.read(size) == real.read(size), (where, size)
        assert file.tell() == real.tell()
    assert file.seek(-5, os.SEEK_END) == real.seek(-5, os.SEEK_END)
    assert file.read() == real.read()
    asked = remote.asked[brought:]
    assert not [one for one in asked for start, end in held if start <= one[0] and one[1] <= end]


def test_what_is_near_is_brought_together_and_what_is_large_in_pieces() -> None:
    remote = Counted()
    file = RemoteFile(remote, "x", len(remote.data))  # type: ignore[arg-type]
    file.hold([(100, 200), (0, 90), (9_000_000, 20_000_000)])
    assert sorted(remote.asked) == [
        (0, 200),
        (9_000_000, 17_388_608),
        (17_388_608, 20_000_000),
    ]


def test_the_next_is_made_while_one_is_used() -> None:
    made: list[int] = []

    def make(item: int) -> int:
        made.append(item)
        if item == 3:
            raise ValueError("the third")
        return item * item

    seen = []
    with pytest.raises(ValueError, match="the third"):
        for item, square in ahead([1, 2, 3, 4], make):
            seen.append((item, square))
            assert len(made) <= item + 1, "one ahead, no more"
    assert seen == [(1, 1), (2, 4)]
    assert 4 not in made
    assert list(ahead([], make)) == []


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, {"access_key_id": "D", "secret_access_key": "S", "region": "eu-north-1"}),
        ({"AWS_PROFILE": "work"}, {"access_key_id": "W", "session_token": "T", "region": "x-1"}),
        ({"AWS_ACCESS_KEY_ID": "E", "AWS_REGION": "y-2"}, {"region": "y-2"}),
        ({"AWS_PROFILE": "nobody", "AWS_ENDPOINT_URL": "http://s3"}, {"endpoint": "http://s3"}),
    ],
)
def test_credentials_come_from_variables_or_else_from_a_profile(
    env: dict[str, str], expected: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(
        "[default]\naws_access_key_id = D\naws_secret_access_key = S\n"
        "[work]\naws_access_key_id = W\naws_secret_access_key = %x\naws_session_token = T\n"
    )
    (tmp_path / ".aws/config").write_text(
        "[default]\nregion = eu-north-1\n[profile work]\nregion = x-1\n"
    )
    for name, value in {**env, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    settings, options = s3._settings(), objects.client(s3.endpoint())
    assert expected.items() <= settings.items()
    assert ("access_key_id" in settings) is ("access_key_id" in expected)
    assert options.get("allow_http", False) is ("AWS_ENDPOINT_URL" in env)


@pytest.mark.parametrize("says_so", [True, False])
@pytest.mark.parametrize(("there", "swapped"), [("one", True), ("other", False)])
def test_a_server_without_conditions_is_asked_before(
    there: str, swapped: bool, says_so: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    put: list[bytes] = []

    def refused(store: object, path: str, data: bytes, mode: object = None, **_: object) -> None:
        if mode is not None and says_so:
            raise GenericError("Server returned non-2xx status code: 501 Not Implemented")
        put.append(data)

    monkeypatch.setattr(objects.obstore, "put", refused)
    monkeypatch.setattr(objects.obstore, "head", lambda store, path: {"e_tag": there})
    assert Bucket("b").swap("x", b"new", "one") is swapped
    assert put == [b"new"] * swapped


@pytest.mark.parametrize("place", [s3.Bucket, gs.Bucket, az.Container])
def test_a_machine_without_an_identity_has_no_credentials(place: Any) -> None:
    """The library asks the machine last; outside of a cloud nobody answers there."""
    said = (
        "Error performing token request: Error performing GET http://169.254.169.254/x in 5s\n\n"
        "Debug source:\nuri: Some(\n    http://169.254.169.254/x,\n), kind: TimedOut"
    )
    failed = pytest.raises(StageFailure, match="there are no credentials")
    with failed as told, place("b")._failures("x"):
        raise GenericError(said)
    assert told.value.reason == "StorageUnavailable"


@pytest.mark.parametrize("endpoint", ["http://no such", "http://[x", "http://", "http://%41"])
def test_an_endpoint_that_is_none_is_told_and_ends_nothing(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library panics, which is no Exception of Python's."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with pytest.raises(StageFailure, match="the endpoint in the variables is no address") as told:
        Bucket("b").find("x")
    assert told.value.reason == "StorageUnavailable"


def test_credentials_in_an_address_are_in_no_message() -> None:
    said = (
        "Error performing list request\n\nDebug source:\nuri: Some(\n    "
        "http://AKIA:SE@CRET@127.0.0.1:1/b,\n), kind: ConnectionRefused"
    )
    with pytest.raises(StageFailure) as told, Bucket("b")._failures("x"):
        raise GenericError(said)
    assert told.value.message == "s3://b/x: nobody answers at 127.0.0.1:1"


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("GET http://AKIA:SE@CRET@h:1/b?x=y@z: no", "GET http://h:1/b?x=y@z: no"),
        ("git+ssh://token@h/x, s3://b/a@b", "git+ssh://h/x, s3://b/a@b"),
        ("mail of a@b.c, hdfs://nn:1/x", "mail of a@b.c, hdfs://nn:1/x"),
    ],
)
def test_no_failure_tells_the_credentials_of_a_url(message: str, told: str) -> None:
    failure = StageFailure("StorageFailed", message)
    assert failure.message == str(failure) == told

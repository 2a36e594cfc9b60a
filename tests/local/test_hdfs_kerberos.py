"""Jobs on an HDFS that wants Kerberos and encrypts what goes over its wires, on a real one with a
real Kerberos server."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.hdfs import serve
from tests.cluster.hdfs.kerberos import REALM, SecureHdfs
from tests.cluster.hdfs.server import start_java, stop_java
from tests.cluster.process import free_ports
from tests.tables import tell
from trainingjob.runtime import storage
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.storage import hdfs, kerberos
from trainingjob.runtime.storage.remote import _connected

from .harness import rows
from .test_hdfs_example import run_example
from .test_s3 import text

TRAINER = f"trainer@{REALM}"


@pytest.fixture(scope="module")
def server() -> Iterator[SecureHdfs]:
    with SecureHdfs() as made:
        made.put("/data/in.csv", text(rows()))
        for folder in ("/data", "/late"):
            made.files.mkdirs(made.path(folder))
            made.files.setOwner(made.path(folder), "trainer", "trainer")
            made.files.setPermission(made.path(folder), made.permission("700"))
        made.put("/secret/in.csv", b"x")
        made.files.setPermission(made.path("/secret"), made.permission("700"))
        yield made


@pytest.fixture
def pod(
    server: SecureHdfs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., None]]:
    """This process as a pod that has seen nothing yet; called, one that has these."""
    conf = tmp_path / "conf"
    conf.mkdir()
    for name, content in server.conf().items():
        (conf / name).write_text(content)
    given = {
        "TRAININGJOB_COPIES_DIR": tmp_path / "copies",
        "HADOOP_CONF_DIR": conf,
        "KRB5_CONFIG": conf / "krb5.conf",
        "KRB5CCNAME": f"FILE:{tmp_path}/ticket",
        "TRAININGJOB_PRINCIPAL": TRAINER,
        "TRAININGJOB_KEYTAB": server.trainer,
    }

    def become(**variables: object) -> None:
        for name, value in (given | variables).items():
            monkeypatch.setenv(name, str(value))

    become()
    _connected.cache_clear()
    yield become
    _connected.cache_clear()


def test_the_example_runs_by_the_commands_that_make_hdfs_says(
    tmp_path: Path, server: SecureHdfs
) -> None:
    """Spark reads and writes, Python trains and judges; nothing of this machine is used but the
    keytab."""
    serve.prepare(server)
    done = run_example(serve.said(server), tmp_path, KRB5CCNAME=f"FILE:{tmp_path}/none")
    assert done["status"]["phase"] == "Succeeded"
    place = "/runs/default/wine-kerberos"
    assert f"{place}/evaluation/metrics.json" in server.keys(place)
    for name in ("dataset/manifest.json", "model/config.json"):
        status = server.files.getFileStatus(server.path(f"{place}/{name}"))
        assert status.getOwner() == "trainer"


def test_executors_need_a_token_and_no_keytab(
    server: SecureHdfs, pod: Callable[..., None], tmp_path: Path
) -> None:
    """A Java process as an executor is in its pod, that knows nothing of Kerberos: it is given the
    driver's settings and its token, as Spark does it."""
    settings = kerberos.spark_settings()
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    gateway, process = start_java(folder, *settings["spark.executor.defaultJavaOptions"].split())
    try:
        spark, hadoop = gateway.jvm.org.apache.spark, gateway.jvm.org.apache.hadoop
        conf = spark.SparkConf(False)
        for name, value in settings.items():
            if name.startswith("spark.hadoop."):
                conf.set(name, value)
        spark.deploy.SparkHadoopUtil.get().addDelegationTokens(server.tokens(), conf)
        # A task has the driver's settings of Hadoop.
        told = hadoop.conf.Configuration()
        for name, value in server.client().items():
            told.set(name, value)
        path = hadoop.fs.Path(f"{server.service}/data/in.csv")
        assert bytes(path.getFileSystem(told).open(path).readAllBytes()) == text(rows())
    finally:
        stop_java(gateway, process)


# --- what is wrong --------------------------------------------------------------------------------


def other_principal(server: SecureHdfs, folder: Path) -> dict[str, object]:
    return {"TRAININGJOB_PRINCIPAL": f"other@{REALM}"}


def no_ticket(server: SecureHdfs, folder: Path) -> dict[str, object]:
    return {"TRAININGJOB_KEYTAB": ""}


def no_keytab(server: SecureHdfs, folder: Path) -> dict[str, object]:
    return {"TRAININGJOB_KEYTAB": folder / "nothing"}


def no_such_principal(server: SecureHdfs, folder: Path) -> dict[str, object]:
    keytab = server.keytab("gone")
    server.kdc.deletePrincipal(f"gone@{REALM}")
    return {"TRAININGJOB_PRINCIPAL": f"gone@{REALM}", "TRAININGJOB_KEYTAB": keytab}


def old_key(server: SecureHdfs, folder: Path) -> dict[str, object]:
    keytab = server.keytab("changed")
    server.kdc.deletePrincipal(f"changed@{REALM}")
    server.kdc.createPrincipal(f"changed@{REALM}", "another")
    return {"TRAININGJOB_PRINCIPAL": f"changed@{REALM}", "TRAININGJOB_KEYTAB": keytab}


def expired(server: SecureHdfs, folder: Path) -> dict[str, object]:
    server.ticket(TRAINER, server.trainer, folder / "expired", seconds=1)
    time.sleep(2)
    return {"TRAININGJOB_KEYTAB": "", "KRB5CCNAME": f"FILE:{folder}/expired"}


def krb5(server: SecureHdfs, folder: Path, old: str, new: str) -> dict[str, object]:
    content = server.krb5.read_text()
    assert old in content
    (folder / "other.conf").write_text(content.replace(old, new))
    return {"KRB5_CONFIG": folder / "other.conf"}


def no_realm(server: SecureHdfs, folder: Path) -> dict[str, object]:
    return krb5(server, folder, f"{REALM} = {{", "OTHER.COM = {")


def no_kdc(server: SecureHdfs, folder: Path) -> dict[str, object]:
    (line,) = (line for line in server.krb5.read_text().splitlines() if "kdc = " in line)
    return krb5(server, folder, line, f"kdc = 127.0.0.1:{free_ports(1)[0]}")


def skewed(server: SecureHdfs, folder: Path) -> dict[str, object]:
    server.clock_skew(-1)
    return {}


@pytest.mark.parametrize(
    ("what", "change", "reason", "words"),
    [
        ("no ticket", no_ticket, "StorageUnavailable", "set storage.hdfs.kerberos, or on one"),
        (
            "no keytab",
            no_keytab,
            "StorageUnavailable",
            "nothing is not there, or has no key of trainer@",
        ),
        (
            "a keytab of somebody else",
            other_principal,
            "StorageUnavailable",
            f"trainer.keytab is not there, or has no key of other@{REALM}",
        ),
        (
            "no such principal",
            no_such_principal,
            "StorageUnavailable",
            f"Client 'gone@{REALM}' not found in Kerberos database",
        ),
        ("an old key", old_key, "StorageUnavailable", "make the keytab anew"),
        ("a ticket that has expired", expired, "StorageUnavailable", "use kinit again"),
        ("a clock that is wrong", skewed, "StorageUnavailable", "set them by NTP"),
        (
            "a realm that krb5.conf lacks",
            no_realm,
            "StorageUnavailable",
            f'Cannot find KDC for realm "{REALM}": krb5.conf, which',
        ),
        ("no Kerberos server", no_kdc, "StorageFailed", "the Kerberos server does not answer"),
    ],
)
def test_why_kerberos_does_not_let_a_pod_in(
    server: SecureHdfs,
    pod: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    change: Callable[[SecureHdfs, Path], dict[str, object]],
    reason: str,
    words: str,
) -> None:
    monkeypatch.setattr(hdfs, "_PATIENCE_SECONDS", 0.1)
    pod(**change(server, tmp_path))
    began = time.monotonic()
    try:
        with pytest.raises(StageFailure) as error:
            storage.fetch(f"{server.service}/data/in.csv")
    finally:
        server.clock_skew(300)
    seconds = time.monotonic() - began
    failure = error.value
    tell(what, seconds, {"phase": "Failed", "reason": failure.reason, "message": failure.message})
    assert failure.reason == reason
    assert words in failure.message
    assert failure.message.startswith("hdfs://analytics/data/in.csv: ")
    assert "\n" not in failure.message
    assert seconds < 10


def test_rights_are_those_of_the_principal(server: SecureHdfs, pod: Callable[..., None]) -> None:
    assert storage.fetch(f"{server.service}/data/in.csv").read_bytes() == text(rows())
    with pytest.raises(StageFailure, match="Permission denied: user=trainer") as error:
        storage.fetch(f"{server.service}/secret/in.csv")
    assert error.value.reason == "StorageUnavailable"


def test_a_keytab_outlives_its_tickets(
    server: SecureHdfs, pod: Callable[..., None], tmp_path: Path
) -> None:
    """A connection that is made when the ticket has long expired."""
    with server.tickets_for(2):
        storage.fetch(f"{server.service}/data/in.csv")
        time.sleep(3)
        server.fail_over()
        with storage.write_aside(storage.resolve(f"{server.service}/late/model")) as folder:
            (folder / "x").write_text("late")
    assert server.get("/late/model/x") == b"late"

"""HDFS on a bad day: what is tried again, how often, and what of it is done twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.storage import hdfs
from trainingjob.runtime.storage.hdfs import Cluster

RPC = 'RPCError("org.apache.hadoop.{}", "x\\n\\tat org.apache.hadoop.hdfs.A(B.java:1)")'
STANDBY = RuntimeError(RPC.format("ipc.StandbyException"))
DENIED = RuntimeError(RPC.format("security.AccessControlException"))


class Client:
    """A cluster that has these files, and fails as ``faults`` say: before a call, or, where it is
    told so, after it was done."""

    def __init__(self, *faults: Exception | None, after: bool = False) -> None:
        self.faults, self.after = [*faults], after
        self.files = {"/a/.x.aside"}
        self.calls = 0

    def _call(self, do: Callable[[], Any]) -> Any:
        self.calls += 1
        fault = self.faults.pop(0) if self.faults else None
        if fault and not self.after:
            raise fault
        found = do()
        if fault:
            raise fault
        return found

    def get_file_info(self, path: str) -> Any:
        return self._call(lambda: self._info(path))

    def _info(self, path: str) -> Any:
        if path not in self.files:
            raise FileNotFoundError(path)
        return SimpleNamespace(isdir=False, length=5)

    def rename(self, source: str, target: str, overwrite: bool = False) -> None:
        self._call(lambda: self._rename(source, target))

    def _rename(self, source: str, target: str) -> None:
        self._info(source)
        self.files = {target, *self.files} - {source}


def cluster(client: Client, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(hdfs, "_WAITS", (0.01, 0.02, 0.03))
    made = Cluster("ns")
    made.__dict__["_client"] = client
    return made


def test_what_may_pass_by_itself_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(STANDBY, STANDBY, STANDBY, None)
    assert cluster(client, monkeypatch).find("a/.x.aside") == {"a/.x.aside": 5}
    assert client.calls == 4


@pytest.mark.parametrize(("fault", "calls"), [(DENIED, 1), (STANDBY, 5)])
def test_what_does_not_pass_is_told(
    fault: Exception, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(*[fault] * 9)
    with pytest.raises(StageFailure, match="hdfs://ns/x: "):
        cluster(client, monkeypatch).find("x")
    assert client.calls == calls


def test_nobody_waits_longer_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """A try that takes as long as the last one would be too late."""
    now = [0.0]
    clock = SimpleNamespace(
        monotonic=lambda: now[0], sleep=lambda wait: now.__setitem__(0, now[0] + wait)
    )
    client = Client(*[STANDBY] * 9)
    place = cluster(client, monkeypatch)
    monkeypatch.setattr(hdfs, "time", clock)
    slow, client.get_file_info = client.get_file_info, lambda path: (clock.sleep(3), slow(path))[1]
    with pytest.raises(StageFailure):
        place.find("x")
    assert now[0] <= hdfs._PATIENCE_SECONDS
    assert client.calls == 2


def test_an_answer_that_was_lost_is_not_asked_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(STANDBY, None, None, after=True)
    cluster(client, monkeypatch)._rename("a/.x.aside", "a/x")
    assert client.files == {"/a/x"}


def test_what_was_never_there_is_not_renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    began = time.monotonic()
    with pytest.raises(StageFailure, match="hdfs://ns/a/y: "):
        cluster(client, monkeypatch)._rename("a/.y.aside", "a/y")
    assert client.files == {"/a/.x.aside"}
    assert time.monotonic() - began < 5


def test_a_file_is_written_anew_when_its_first_try_broke(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(b"whole")
    written: list[bytes] = []

    class Writer:
        def __enter__(self) -> Writer:
            written.append(b"")
            return self

        def __exit__(self, *_: object) -> None:
            if len(written) == 1:
                raise RuntimeError('OperationFailed("Failed to complete file in time")')

        def write(self, piece: bytes) -> None:
            written[-1] += piece

    place = cluster(Client(), monkeypatch)
    options: list[Any] = []
    place._client.create = lambda path, given: options.append(given) or Writer()
    place._write(tmp_path / "x", "a/.x.aside")
    assert written == [b"whole", b"whole"]
    assert len(options) == 2


class Folders:
    """Files and folders with their times, as HDFS has them."""

    def __init__(self, *paths: str) -> None:
        self.times = dict.fromkeys(paths, 1)

    def delete(self, path: str, recursive: bool = False) -> bool:
        if path not in self.times:
            return False
        below = [other for other in self.times if other.startswith(f"{path}/")]
        if below and not recursive:
            raise RuntimeError(RPC.format("fs.PathIsNotEmptyDirectoryException"))
        for one in (path, *below):
            del self.times[one]
        return True

    def rename(self, source: str, target: str, overwrite: bool = False) -> None:
        if source not in self.times:
            raise FileNotFoundError(source)
        if target in self.times and not overwrite:
            raise FileExistsError(target)
        self.times[target] = self.times.pop(source)

    def get_file_info(self, path: str) -> Any:
        if path not in self.times:
            raise FileNotFoundError(path)
        return SimpleNamespace(isdir=False, length=0, modification_time=self.times[path])


def test_folders_above_a_dataset_are_somebody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be of a quota or an encryption zone, and have rights."""
    above = ("/user", "/user/alice", "/user/alice/ml")
    folders = Folders(*above, "/user/alice/ml/job", "/user/alice/ml/job/train")
    folders.times["/user/alice/ml/job/train/a"] = 1
    place = cluster(folders, monkeypatch)  # type: ignore[arg-type]
    place.discard(["user/alice/ml/job/train/a"], "user/alice/ml/job")
    assert {*folders.times} == {*above}


def test_a_lock_that_somebody_else_has_taken_meanwhile_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folders = Folders("/d/.lock")
    place = cluster(folders, monkeypatch)  # type: ignore[arg-type]
    place._unlock("/d/.lock", 1)
    assert not folders.times, "its own"
    place._unlock("/d/.lock", 1)
    folders.times["/d/.lock"] = 2
    place._unlock("/d/.lock", 1)
    assert folders.times == {"/d/.lock": 2}

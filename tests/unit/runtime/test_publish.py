"""A folder that its manifest makes what it is: killed at every step, of two writers, with what
others have left."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from trainingjob.runtime import storage
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import (
    MANIFEST,
    DataFile,
    DatasetManifest,
    SplitInfo,
    fetch,
)
from trainingjob.runtime.storage import publish
from trainingjob.runtime.storage.publish import Publication, publishing

NAMES = ("train/a", "train/b", "fold-1/train/c")


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


class Steps:
    """Whoever counts to ``last`` is killed before that step; the step ``fails`` does that."""

    def __init__(self) -> None:
        self.done, self.last, self.fails = 0, 10**9, 0

    def one(self) -> None:
        self.done += 1
        if self.done > self.last:
            raise Killed
        if self.done == self.fails:
            raise OSError(errno.EIO, "no luck")


class Store:
    """As S3: no folders, and what is put is there at once. Kills as it is told to."""

    def __init__(self, steps: Steps) -> None:
        self.files: dict[str, bytes] = {}
        self.steps = steps
        self.deaf = False

    def find(self, path: str) -> Mapping[str, int]:
        found = self.files.items()
        return {p: len(d) for p, d in found if p == path or p.startswith(f"{path}/")}

    def read(self, path: str, start: int, end: int) -> bytes:
        return self.files[path][start:end]

    def put(self, source: Path, path: str) -> None:
        self.steps.one()
        self.files[path] = source.read_bytes()

    def discard(self, paths: Sequence[str], root: str) -> None:
        for path in paths:
            self.steps.one()
            self.files.pop(path, None)

    def state(self, path: str) -> str | None:
        data = self.files.get(path)
        return None if data is None else hashlib.md5(data).hexdigest()

    def swap(self, path: str, data: bytes, before: str | None) -> bool:
        self.steps.one()
        if self.state(path) != before:
            return False
        self.files[path] = data
        self.steps.one()
        return not self.deaf


class World:
    """A place of either kind, and what a reader sees there."""

    def __init__(self, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps = Steps()
        self.store = Store(self.steps) if kind == "remote" else None
        self.folder = folder
        if self.store is None:
            self.target = folder / "dataset"
            for owner, name in (
                (os, "link"),
                (Path, "replace"),
                (Path, "unlink"),
                (Path, "rmdir"),
                (Path, "mkdir"),
                (publish.disk, "sync_file"),
            ):
                monkeypatch.setattr(owner, name, self.counted(getattr(owner, name)))
        else:
            monkeypatch.setenv("TRAININGJOB_COPIES_DIR", str(folder / "copies"))
            monkeypatch.setattr(publish, "connect", lambda uri: self.store)
            self.target = storage.resolve("s3://bucket/runs/dataset")

    def counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counts(*args: Any, **options: Any) -> Any:
            self.steps.one()
            return call(*args, **options)

        return counts

    def files(self) -> dict[str, str]:
        """What is there, by name."""
        if self.store is not None:
            found = self.store.files.items()
            return {p.removeprefix("runs/dataset/"): data.decode() for p, data in found}
        paths = [path for path in self.target.rglob("*") if path.is_file()]
        return {path.relative_to(self.target).as_posix(): path.read_text() for path in paths}

    def read(self) -> str | None:
        """Which dataset a reader has: all of its files, or none when there is no manifest."""
        files = self.files()
        if MANIFEST not in files:
            return None
        kind, *names = files[MANIFEST].split()
        assert {files[name] for name in names} == {kind}
        return kind

    def publish(self, kind: str) -> None:
        with publishing(self.target, MANIFEST) as new:
            names = put(new, kind)
            assert new.commit(" ".join([kind, *names]), names)


def put(new: Publication, kind: str) -> list[str]:
    """Some of it by somebody else, who was told by pickle, as a task of Spark's is."""
    for name in NAMES[:2]:
        pickle.loads(pickle.dumps(new.place)).write(f"{name}-{new.place.stamp}", kind)
    new.place.below("fold-1").write(f"train/c-{new.place.stamp}", kind)
    return [f"{name}-{new.place.stamp}" for name in NAMES]


@pytest.fixture(params=["disk", "remote"])
def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    made = World(request.param, tmp_path, monkeypatch)
    yield made
    made.steps.last = 10**9


@pytest.mark.parametrize("old", ["old", None])
def test_a_step_that_fails_leaves_the_old_or_the_new_as_a_whole(
    world: World, old: str | None
) -> None:
    """Also where it was done and the answer got lost, and after the commit."""
    if old is not None:
        world.publish(old)
    seen = []
    for number in range(1, 1000):
        world.steps.done, world.steps.fails = 0, number
        try:
            with publishing(world.target, MANIFEST) as new:
                names = put(new, "new")
                assert new.commit(" ".join(["new", *names]), [*names, "plain"])
                new.place.write("plain", "new")
        except (OSError, StageFailure):
            seen.append(world.read())
        else:
            if world.steps.done < number:
                break
    assert {*seen} == {old, "new"}


@pytest.mark.parametrize("old", ["old", None])
def test_a_writer_that_is_killed_at_any_step_leaves_the_old_or_the_new(
    world: World, old: str | None
) -> None:
    """And the next one sweeps what it has left."""
    seen = []
    for survived in range(200):
        world.steps.last = 10**9
        if old is not None:
            world.publish(old)
        world.steps.done, world.steps.last = 0, survived
        try:
            world.publish("new")
        except Killed:
            seen.append(world.read())
            world.steps.last = 10**9
            world.publish("next")
            assert world.read() == "next"
            assert len(world.files()) == 1 + len(NAMES), (survived, world.files())
            if old is None:
                new = Publication(world.target, MANIFEST)
                new.place.discard(new.place.files())
        else:
            break
    assert len(seen) > 4, seen
    assert {*seen} == {old, "new"}
    assert seen.index("new") == seen.count(old), "first the old one, then the new one"


def test_of_two_writers_the_first_wins_and_the_other_is_told(world: World) -> None:
    for old in (None, "old"):
        if old:
            world.publish(old)
        one, other = (Publication(world.target, MANIFEST) for _ in range(2))
        of_one, of_other = put(one, "one"), put(other, "other")
        assert one.commit(" ".join(["one", *of_one]), of_one)
        assert world.read() == "one"
        of_other += put(other, "other")  # tasks that are late
        assert not other.commit(" ".join(["other", *of_other]), of_other)
        other.withdraw()
        assert {*world.files()} == {*of_one, MANIFEST}
        assert world.read() == "one"


def test_of_the_other_nothing_stays_when_it_fails(world: World) -> None:
    world.publish("old")
    before = world.files()
    with pytest.raises(StageFailure), publishing(world.target, MANIFEST) as new:
        put(new, "new")
        raise StageFailure("DiskFull", "no more")
    assert world.files() == before


def test_what_comes_while_others_commit_is_not_swept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be of a writer who began after that."""
    late: list[str] = []
    swap = publish.Place.swap

    def and_then(self: publish.Place, *args: Any) -> bool:
        done = swap(self, *args)
        late.extend(put(Publication(world.target, MANIFEST), "late"))
        return done

    world.publish("old")
    monkeypatch.setattr(publish.Place, "swap", and_then)
    world.publish("new")
    assert world.read() == "new"
    assert {*late} <= {*world.files()}


def test_an_answer_that_got_lost_is_no_defeat(tmp_path: Path, monkeypatch: Any) -> None:
    world = World("remote", tmp_path, monkeypatch)
    assert world.store is not None
    world.store.deaf = True
    world.publish("new")
    assert world.read() == "new"


def test_a_file_system_without_links_and_locks_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(publish.disk.fcntl, "flock", refused)
    world = World("disk", tmp_path, monkeypatch)
    for kind in ("one", "two"):
        world.publish(kind)
        assert world.read() == kind


@pytest.mark.parametrize(
    ("mine", "other", "reason", "words"),
    [
        ("u-1", "u-1", "StorageFailed", "another attempt wrote the dataset at the same time"),
        ("u-1", "u-2", "StorageUnavailable", "another job (uid u-2) wrote its dataset there"),
        ("9" * 36, "9" * 36 + "-3", "StorageFailed", "another attempt"),
        ("u-1", None, "StorageFailed", "another attempt"),
    ],
)
def test_who_was_first_is_told(
    tmp_path: Path, mine: str, other: str | None, reason: str, words: str
) -> None:
    def manifest(writer: str | None, stamp: str) -> DatasetManifest:
        return DatasetManifest(
            label="y",
            task="regression",
            features=[],
            columns={},
            splits={},
            writer=writer,
            stamp=stamp,
        )

    one, new = (Publication(tmp_path / "dataset", MANIFEST) for _ in range(2))
    manifest(other, "a").publish(one)
    with pytest.raises(StageFailure) as told:
        manifest(mine, "b").publish(new)
    assert told.value.reason == reason
    assert words in told.value.message
    assert str(tmp_path) in told.value.message


def test_own_code_gets_what_the_manifest_names_and_of_other_folders_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(Steps())
    monkeypatch.setenv("TRAININGJOB_COPIES_DIR", str(tmp_path))
    monkeypatch.setattr(storage.copies, "connect", lambda uri: store)
    manifest = DatasetManifest(
        label="y",
        task="regression",
        features=[],
        columns={},
        splits={
            "train": SplitInfo(
                rows=1, files=[DataFile(name="a.parquet", rows=1, bytes=1, sha256="x")]
            )
        },
    )
    store.files = {f"ours/train/{name}.parquet": b"1" for name in ("a", "late")}
    store.files |= {"ours/manifest.json": manifest.text.encode(), "mine/b.parquet": b"1"}
    for folder in ("ours", "mine"):
        fetch(f"s3://bucket/{folder}")
    found = {path.relative_to(tmp_path / "s3/bucket").as_posix() for path in files_of(tmp_path)}
    assert found == {"ours/manifest.json", "ours/train/a.parquet", "mine/b.parquet"}


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]

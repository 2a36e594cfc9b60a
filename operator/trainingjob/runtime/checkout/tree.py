"""The files of a commit, written as they are: no filter, no hook and no setting of git's has a part
in it, and no link is made. A link to another file of the tree becomes a copy of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from dulwich.index import validate_path_element_hfs, validate_path_element_ntfs
from dulwich.object_store import DiskObjectStore
from dulwich.objects import S_ISGITLINK, Blob, Commit, ObjectID, ShaFile, Tag, Tree, parse_tree

from trainingjob.api.payload import CodeRef, GitRef
from trainingjob.api.printable import escaped

from ..base.errors import StageFailure
from ..base.text import cut, listed
from ..storage.code import MOST_BYTES, MOST_DEPTH, MOST_FILES, place, too_much

# As Linux has it: more of them go in a circle.
_MOST_LINKS = 40
_LONGEST_NAME = 255

Entries = Mapping[str, tuple[int, ObjectID]]


@dataclass
class Written:
    """How much, and what is to be said of it."""

    files: int = 0
    size: int = 0
    notes: list[str] = field(default_factory=list)


def write(objects: DiskObjectStore, git: GitRef, target: Path) -> Written:
    """The files into ``target``, which is empty. Raises StageFailure: RepositoryInvalid,
    ScriptMissing, ScriptInvalid; MemoryError, OSError."""
    try:
        return _Tree(objects, git).write(target)
    except (StageFailure, MemoryError, OSError):
        raise
    except Exception as error:
        # dulwich has no one type for what it cannot read.
        what = f"{git.url} has a commit that cannot be read ({type(error).__name__}: {error})"
        raise StageFailure("RepositoryInvalid", cut(what, 500)) from error


class _Tree:
    def __init__(self, objects: DiskObjectStore, git: GitRef) -> None:
        self._objects, self._git = objects, git
        commit = self._object(ObjectID(git.commit.encode()))
        if isinstance(commit, Tag):
            self._refuse(f"{git.commit} is a tag: give the commit, {commit.object[1].decode()}")
        if not isinstance(commit, Commit):
            self._refuse(f"{git.commit} is a {commit.type_name.decode()} and no commit")
        self._root: ObjectID = commit.tree
        self._links: list[str] = []
        self._modules: list[str] = []
        self._read: dict[ObjectID, Entries] = {}
        self._folders = 0
        self._written = Written()

    def write(self, target: Path) -> Written:
        parts = (self._git.path or "").split("/") if self._git.path else []
        found = self._at([], parts)
        if found is None:
            have = listed([escaped(name) for name in self._entries(self._root)])
            words = f"{self._where(whole=True)} has no folder {self._git.path}; it has {have}"
            raise StageFailure("ScriptMissing", words)
        where, mode, key = found
        if not stat.S_ISDIR(mode):
            raise StageFailure("ScriptMissing", f"{self._where()} is a file, and code is a folder")
        self._write(where, key, [], target)
        if not self._written.files:
            raise StageFailure("ScriptMissing", f"there are no files of code in {self._where()}")
        if self._modules:
            words = f"{listed(self._modules)}: submodules are not fetched: their folders are empty"
            self._written.notes.append(words)
        if self._links:
            self._written.notes.append(f"{listed(self._links)}: in place of links there are copies")
        return self._written

    def _write(self, where: list[str], key: ObjectID, at: list[str], target: Path) -> None:
        """What the folder ``where`` of the tree has into ``target``, the code's folder ``at``."""
        self._folders += 1
        for name, (mode, object_) in self._entries(key).items():
            here = escaped("/".join([*at, name]))
            if len(at) >= MOST_DEPTH:
                raise too_much(
                    f"{cut(here, 100)} lies more than {MOST_DEPTH} folders deep", self._where()
                )
            inner, path = [*where, name], target / name
            if stat.S_ISLNK(mode):
                inner, mode, object_ = self._meant(where, name, object_, here)
                self._links.append(here)
            if S_ISGITLINK(mode):
                path.mkdir()
                self._modules.append(here)
            elif stat.S_ISDIR(mode):
                path.mkdir()
                self._write(inner, object_, [*at, name], path)
            elif stat.S_ISREG(mode):
                self._write_file(object_, path)
            else:
                self._refuse(f"{here} has the mode {mode:o}, which is neither file nor folder")
            if self._folders + len(self._modules) + self._written.files > 4 * MOST_FILES:
                raise too_much(f"more than {4 * MOST_FILES} files and folders", self._where())

    def _write_file(self, key: ObjectID, path: Path) -> None:
        blob = self._object(key)
        if not isinstance(blob, Blob):
            self._refuse(f"{path.name} is a {blob.type_name.decode()} and no file")
        data = blob.as_raw_string()
        self._written.files += 1
        self._written.size += len(data)
        if self._written.files > MOST_FILES:
            raise too_much(f"more than {MOST_FILES} files", self._where())
        if self._written.size > MOST_BYTES:
            raise too_much(f"more than {MOST_BYTES // 2**20} MiB", self._where())
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)

    def _meant(
        self, where: list[str], name: str, key: ObjectID, here: str
    ) -> tuple[list[str], int, ObjectID]:
        """What a link leads to. Raises StageFailure(ScriptInvalid)."""
        found = self._at(where, [name])
        if found is not None:
            return found
        target = cut(escaped(self._target(key)), 100)
        raise StageFailure(
            "ScriptInvalid",
            f"{here} of {self._where()} is a link to {target}, which the repository does not have: "
            "commit the file itself, or name a folder without the link in code.git.path",
        )

    def _at(
        self, start: Sequence[str], parts: Sequence[str]
    ) -> tuple[list[str], int, ObjectID] | None:
        """What lies at ``parts`` from the folder ``start``, which has no links on its way, and
        where that is once links are followed; None where there is nothing, or nothing inside."""
        links, waiting = 0, [*reversed(parts)]
        way: list[tuple[str, int, ObjectID]] = []
        for name in start:
            way.append((name, *self._entries(way[-1][2] if way else self._root)[name]))
        while waiting:
            name = waiting.pop()
            mode, key = way[-1][1:] if way else (stat.S_IFDIR, self._root)
            if name in ("", "."):
                continue
            if name == "..":
                if not way:
                    return None
                way.pop()
                continue
            if not stat.S_ISDIR(mode) or (found := self._entries(key).get(name)) is None:
                return None
            if not stat.S_ISLNK(found[0]):
                way.append((name, *found))
                continue
            links += 1
            target = self._target(found[1])
            if links > _MOST_LINKS or target.startswith("/"):
                return None
            waiting += reversed(target.split("/"))
        mode, key = way[-1][1:] if way else (stat.S_IFDIR, self._root)
        return [name for name, *_ in way], mode, key

    def _target(self, key: ObjectID) -> str:
        return self._object(key).as_raw_string()[:4096].decode(errors="replace")

    def _entries(self, key: ObjectID) -> Entries:
        """By name. Raises StageFailure(RepositoryInvalid) for what git would not have made."""
        if key not in self._read:
            tree = self._object(key)
            if not isinstance(tree, Tree):
                self._refuse(f"{key.decode()} is a {tree.type_name.decode()} and no folder")
            self._read[key] = dict(self._checked(tree))
        return self._read[key]

    def _checked(self, tree: Tree) -> Iterator[tuple[str, tuple[int, ObjectID]]]:
        seen = set()
        # A Tree of dulwich's has the last one of a name.
        for name, mode, key in parse_tree(tree.as_raw_string(), 20):
            shown = ascii(name.decode(errors="replace"))[:100]
            good = validate_path_element_hfs(name) and validate_path_element_ntfs(name)
            if not good or b"/" in name or b"\0" in name or len(name) > _LONGEST_NAME:
                self._refuse(f"a file is called {shown}, which may be harmful")
            if name in seen:
                self._refuse(f"there are two files {shown} in one folder")
            seen.add(name)
            if len(seen) > 4 * MOST_FILES:
                raise too_much(f"more than {4 * MOST_FILES} files in one folder", self._where())
            yield name.decode(), (mode, ObjectID(key))

    def _object(self, key: ObjectID) -> ShaFile:
        try:
            return self._objects[key]
        except KeyError:
            self._refuse(f"the server has not sent {key.decode()}, which belongs to it")

    def _where(self, *, whole: bool = False) -> str:
        git = self._git.model_copy(update={"path": None}) if whole else self._git
        return place(CodeRef(git=git))

    def _refuse(self, what: str) -> NoReturn:
        raise StageFailure("RepositoryInvalid", f"{self._where(whole=True)}: {what}")

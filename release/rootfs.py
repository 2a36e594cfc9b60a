"""What is in an image: of its layers together, the files that tell of packages."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from .envelope import ReleaseError

_STATUS = "var/lib/dpkg/status"
_LARGEST = 64 * 2**20  # of a file that tells of packages
_LARGEST_JAR = 2**30
_LARGEST_PROPERTIES = 2**16
# By zlib and those who call it, beside their own errors.
_UNREADABLE = (OSError, EOFError, ValueError, zlib.error)

Coordinates = tuple[str, str, str]  # group, name, version


@dataclass
class Contents:
    """``id``: sha256 of the configuration; ``texts``: what tells of packages, by path; ``jars``: by
    path what is in them, group "" where only the file's name tells."""

    reference: str
    id: str
    labels: dict[str, str]
    texts: dict[str, str] = field(default_factory=dict)
    jars: dict[str, list[Coordinates]] = field(default_factory=dict)


def read(path: Path) -> Contents:
    """Of an archive of `docker save`, `podman save` or `buildah push … docker-archive:FILE`.

    Raises ReleaseError."""
    try:
        with tarfile.open(path) as archive:
            (image,) = json.load(_member(archive, "manifest.json"))
            config = _member(archive, image["Config"]).read()
            labels = json.loads(config).get("config", {}).get("Labels") or {}
            reference = (image.get("RepoTags") or [path.stem])[0]
            found = Contents(reference, hashlib.sha256(config).hexdigest(), labels)
            for layer in image["Layers"]:
                # A link where two images share a layer.
                with tarfile.open(fileobj=_member(archive, layer)) as files:
                    _apply(files, found)
    except (*_UNREADABLE, KeyError, TypeError, AttributeError, tarfile.TarError) as error:
        raise ReleaseError(f"{path} is no archive of one image (docker save): {error}") from None
    if not found.texts:
        raise ReleaseError(f"{path} has no package of Debian's or Python's: nothing to describe")
    return found


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file


def _apply(files: tarfile.TarFile, found: Contents) -> None:
    """A layer on top of those before. ``.wh.NAME`` removes NAME of these, ``.wh..wh..opq`` all that
    its folder has of them: https://github.com/opencontainers/image-spec/blob/main/layer.md"""
    members = [(PurePosixPath("/", member.name), member) for member in files.getmembers()]
    for path, _ in members:
        if path.name == ".wh..wh..opq":
            _remove(found, path.parent)
        elif path.name.startswith(".wh."):
            _remove(found, path.with_name(path.name.removeprefix(".wh.")))
    for path, member in members:
        if member.isfile() and not path.name.startswith(".wh."):
            _keep(files, member, str(path.relative_to("/")), found)


def _remove(found: Contents, gone: PurePosixPath) -> None:
    for kept in (found.texts, found.jars):
        for path in [path for path in kept if PurePosixPath("/", path).is_relative_to(gone)]:
            del kept[path]


def _keep(files: tarfile.TarFile, member: tarfile.TarInfo, path: str, found: Contents) -> None:
    tells = path in (_STATUS, "etc/os-release", "usr/lib/os-release")
    tells = tells or path.startswith("var/lib/dpkg/status.d/")
    if tells or path.endswith(".dist-info/METADATA"):
        if member.size > _LARGEST:
            raise ValueError(f"{path} has {member.size} bytes")
        found.texts[path] = _read(files, member).decode(errors="replace")
    elif path.endswith(".jar") and member.size <= _LARGEST_JAR:
        found.jars[path] = _coordinates(path, _read(files, member))


def _read(files: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = files.extractfile(member)
    return file.read() if file is not None else b""


def _coordinates(path: str, data: bytes) -> list[Coordinates]:
    """Of the jar, and of the libraries that were packed into it."""
    stem = PurePosixPath(path).stem
    found = [
        (about.get("groupId", ""), about["artifactId"], about.get("version", ""))
        for about in _properties(data)
        if about.get("artifactId")
    ]
    # A classifier may follow, as in netty-4.2-linux-x86_64.
    if any(stem == name or stem.startswith(f"{name}-{version}") for _, name, version in found):
        return found
    name, dash, version = stem.rpartition("-")
    named = ("", name, version) if dash and version[:1].isdigit() else ("", stem, "")
    return [named, *found]


def _properties(data: bytes) -> Iterator[dict[str, Any]]:
    """What Maven has written into a jar; one of several libraries has several."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as jar:
            for name in sorted(jar.namelist()):
                if name.startswith("META-INF/maven/") and name.endswith("/pom.properties"):
                    with jar.open(name) as file:
                        lines = file.read(_LARGEST_PROPERTIES).decode(errors="replace").splitlines()
                    yield dict(line.split("=", 1) for line in lines if "=" in line)
    except (*_UNREADABLE, RuntimeError, zipfile.BadZipFile):
        return  # encrypted, damaged, or no zip: its name tells

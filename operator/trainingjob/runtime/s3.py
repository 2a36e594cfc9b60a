"""Objects of an S3 bucket as files: a stage works on a copy in its pod.

Reading, ``download`` brings what lies below a URI; writing, ``upload`` replaces it by a finished
folder. S3 has no rename: files that say that a folder is complete (``*.json``) go last, and the old
ones first, so that a reader sees the old folder, none, or the new one. Credentials, region and
endpoint are those of the AWS SDKs' own variables:
https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html
"""

from __future__ import annotations

import fnmatch
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from trainingjob.api.payload import S3_DIR

from .base.errors import StageFailure

SCHEME = "s3://"
_GLOB = re.compile(r"[*?\[]")

# What does not pass by itself: what the SDK calls it -> what to say.
_REFUSED = {
    "NO_SUCH_BUCKET": "there is no such bucket",
    "ACCESS_DENIED": "access is denied: check the credentials, which envFrom can bring",
    "INVALID_ACCESS_KEY_ID": "the access key does not exist",
    "SIGNATURE_DOES_NOT_MATCH": "the secret key is wrong",
    "UNRECOGNIZED_CLIENT": "the credentials are not valid",
    "EXPIRED_TOKEN": "the credentials have expired",
}


def place(uri: str) -> Path:
    """Where this pod has its copy."""
    return _root() / uri.removeprefix(SCHEME)


def is_copy(path: Path) -> bool:
    """Whether a path lies in a copy."""
    return path.is_relative_to(_root())


def download(uri: str) -> Path:
    """Bring the object, the folder or, with ``*?[``, all that fit, where ``place`` says; what is
    not there is not brought. Raises StageFailure."""
    from pyarrow import fs

    key = uri.removeprefix(SCHEME).rstrip("/")
    with _failures(uri):
        wanted = list(_found(key))
        for remote in wanted:
            local = _root() / remote
            local.parent.mkdir(parents=True, exist_ok=True)
            fs.copy_files(
                remote,
                str(local),
                source_filesystem=_connect(),
                destination_filesystem=fs.LocalFileSystem(),
            )
    return place(uri)


def upload(copy: Path) -> None:
    """Make the bucket have what the copy, a folder or a file, has, and nothing else below it.
    Raises StageFailure."""
    key = copy.relative_to(_root()).as_posix()
    alone = copy.is_file()  # an object is replaced as a whole
    files = [copy] if alone else [path for path in copy.rglob("*") if path.is_file()]
    with _failures(SCHEME + key):
        if not alone:
            _clear(key)
        for path in sorted(files, key=lambda path: (path.suffix == ".json", path)):
            _put(path)


def remove(path: Path) -> None:
    """Remove from the bucket what the copy ``path`` stands for. Raises StageFailure."""
    key = path.relative_to(_root()).as_posix()
    with _failures(SCHEME + key):
        _clear(key)


def _found(key: str) -> Iterator[str]:
    """The objects that a key, a folder's key or a pattern names. Raises StageFailure when there is
    no such bucket."""
    from pyarrow import fs

    parts = key.split("/")
    literal = next((i for i, part in enumerate(parts) if _GLOB.search(part)), len(parts))
    base = "/".join(parts[:literal])
    info = _connect().get_file_info(base)
    if info.type == fs.FileType.File:
        yield base
    elif info.type == fs.FileType.Directory:
        for entry in _connect().get_file_info(fs.FileSelector(base, recursive=True)):
            if entry.type == fs.FileType.File and _fits(entry.path.split("/"), parts):
                yield entry.path
    elif _connect().get_file_info(parts[0]).type == fs.FileType.NotFound:
        raise StageFailure("StorageUnavailable", f"{SCHEME}{key}: there is no such bucket")


def _fits(path: list[str], pattern: list[str]) -> bool:
    """Whether the path, or a folder that it is in, fits the pattern, part by part as in a shell."""
    return len(path) >= len(pattern) and all(
        fnmatch.fnmatchcase(part, wanted) if _GLOB.search(wanted) else part == wanted
        for part, wanted in zip(path, pattern, strict=False)
    )


def _put(path: Path) -> None:
    from pyarrow import fs

    fs.copy_files(
        str(path),
        path.relative_to(_root()).as_posix(),
        source_filesystem=fs.LocalFileSystem(),
        destination_filesystem=_connect(),
    )


def _clear(key: str) -> None:
    from pyarrow import fs

    client = _connect()
    found = client.get_file_info(fs.FileSelector(key, recursive=True, allow_not_found=True))
    # What makes it complete goes first.
    for entry in found:
        if entry.extension == "json":
            client.delete_file(entry.path)
    if found:
        client.delete_dir(key)


@cache
def _connect():  # type: ignore[no-untyped-def]  # pyarrow has no types
    from pyarrow import fs

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    scheme, _, address = endpoint.rpartition("://")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return fs.S3FileSystem(
        region=region or ("us-east-1" if endpoint else None),
        endpoint_override=address or None,
        scheme=scheme or "https",
        background_writes=False,
    )


@contextmanager
def _failures(uri: str) -> Iterator[None]:
    """Turn the client's errors into StageFailures."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # the pod's own disk
            raise
        text = str(error)
        for name, words in _REFUSED.items():
            if name in text:
                raise StageFailure("StorageUnavailable", f"{uri}: {words}") from error
        words = " ".join(text.split())[:500]
        raise StageFailure("StorageFailed", f"{uri}: {words}") from error


def _root() -> Path:
    return Path(os.environ.get(S3_DIR) or Path(tempfile.gettempdir()) / "trainingjob-s3")

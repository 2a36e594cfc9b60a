"""A bucket of S3, or of a server that speaks its protocol.

S3 has no rename: of a folder, files that say that it is complete (``*.json``) go last, and the old
ones first. Credentials, region and endpoint are those of the AWS SDKs' own variables:
https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pyarrow import fs

from trainingjob.api.uris import S3

from ..base.errors import StageFailure

# What does not pass by itself: what the SDK calls it -> what to say.
_REFUSED = {
    "NO_SUCH_BUCKET": "there is no such bucket",
    "ACCESS_DENIED": "access is denied: check the credentials, which envFrom can bring",
    "INVALID_ACCESS_KEY_ID": "the access key does not exist",
    "SIGNATURE_DOES_NOT_MATCH": "the secret key is wrong",
    "UNRECOGNIZED_CLIENT": "the credentials are not valid",
    "EXPIRED_TOKEN": "the credentials have expired",
}
_DISK = fs.LocalFileSystem()


class Bucket:
    """See ``Remote``."""

    def __init__(self, name: str) -> None:
        self._name, self._client = name, _connect()

    def find(self, path: str) -> Iterable[str]:
        with self._failures(path):
            info = self._client.get_file_info(self._at(path))
            if info.type == fs.FileType.File:
                return [path]
            if info.type == fs.FileType.Directory:
                return [self._key(e) for e in self._below(path) if e.type == fs.FileType.File]
            if self._client.get_file_info(self._name).type == fs.FileType.NotFound:
                raise StageFailure(
                    "StorageUnavailable", f"{self._uri(path)}: there is no such bucket"
                )
        return []

    def get(self, path: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._failures(path):
            fs.copy_files(
                self._at(path),
                str(target),
                source_filesystem=self._client,
                destination_filesystem=_DISK,
            )

    def put(self, source: Path, path: str) -> None:
        with self._failures(path):
            fs.copy_files(
                str(source),
                self._at(path),
                source_filesystem=_DISK,
                destination_filesystem=self._client,
            )

    def replace(self, source: Path, path: str) -> None:
        self.remove(path)
        files = [file for file in source.rglob("*") if file.is_file()]
        for file in sorted(files, key=lambda file: (file.suffix == ".json", file)):
            self.put(file, f"{path}/{file.relative_to(source).as_posix()}")

    def remove(self, path: str) -> None:
        with self._failures(path):
            found = self._below(path)
            # What makes it complete goes first.
            for entry in found:
                if entry.extension == "json":
                    self._client.delete_file(entry.path)
            if found:
                self._client.delete_dir(self._at(path))

    def _below(self, path: str) -> list[fs.FileInfo]:
        selector = fs.FileSelector(self._at(path), recursive=True, allow_not_found=True)
        return self._client.get_file_info(selector)

    def _at(self, path: str) -> str:
        return f"{self._name}/{path}".rstrip("/")

    def _key(self, entry: fs.FileInfo) -> str:
        return entry.path.removeprefix(f"{self._name}/")

    def _uri(self, path: str) -> str:
        return f"{S3.start}{self._name}/{path}"

    @contextmanager
    def _failures(self, path: str) -> Iterator[None]:
        """Turn the client's errors into StageFailures."""
        try:
            yield
        except OSError as error:
            if error.errno is not None:  # the pod's own disk
                raise
            text, uri = str(error), self._uri(path)
            for name, words in _REFUSED.items():
                if name in text:
                    raise StageFailure("StorageUnavailable", f"{uri}: {words}") from error
            words = " ".join(text.split())[:500]
            raise StageFailure("StorageFailed", f"{uri}: {words}") from error


def _connect() -> fs.S3FileSystem:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    scheme, _, address = endpoint.rpartition("://")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return fs.S3FileSystem(
        region=region or ("us-east-1" if endpoint else None),
        endpoint_override=address or None,
        scheme=scheme or "https",
        background_writes=False,
    )

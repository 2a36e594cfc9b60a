"""A store of objects: what S3's, Google's and Azure's have in common, as obstore speaks to them.

None has a rename: of a folder, files that say that it is complete (``*.json``) go last, and the old
ones first.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from trainingjob.api.uris import Scheme
from trainingjob.api.v1alpha1.reasons import ReasonName

from ..base.errors import StageFailure
from ..base.text import one_line
from ..base.within import files_in
from .remote import AT_ONCE

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutMode
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

# Why there is no connection, as the library's details have it -> the reason, and what to say of the
# host.
_UNREACHED: dict[str, tuple[ReasonName, str]] = {
    "InvalidCertificate(": (
        "StorageUnavailable",
        "nobody whom this machine trusts vouches for {}: name the file that has the certificate of "
        "its authority in SSL_CERT_FILE",
    ),
    '"dns error"': ("StorageFailed", "there is no host of the name {}"),
    "kind: ConnectionRefused": ("StorageFailed", "nobody answers at {}"),
    "kind: TimedOut": ("StorageFailed", "nobody answers at {} in time"),
}
_OF_RUST = "pyo3_runtime"  # the type of its panics cannot be imported
_HOST = re.compile(r"uri: Some\(\s*\w+://(?:[^/\s,]*@)?([^/\s,]+)")
# Of a list: an object that is not there has an error of its own.
_NO_PLACE = re.compile(r"list request: .* status code: 404 Not Found")
_DENIED = re.compile(r"status code: (401 Unauthorized|403 Forbidden)")
_UNCONDITIONAL = re.compile(r"501 Not Implemented|<Code>NotImplemented</Code>")
# A server that is out of breath gets it back; one that is not there is told within seconds.
RETRY: RetryConfig = {
    "max_retries": 6,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=3),
        "base": 2,
    },
}


# To learn that a line leads nowhere, once takes long enough.
_ONCE: RetryConfig = {**RETRY, "max_retries": 0}


def client(endpoint: str | None = None) -> ClientConfig:
    """How long a request may take. ``endpoint``: of a server that is not the provider's own."""
    found: ClientConfig = {
        "connect_timeout": timedelta(seconds=5),
        "read_timeout": timedelta(seconds=30),
        # Of a whole request: the size of an object must not decide.
        "timeout": timedelta(hours=1),
    }
    if endpoint:
        found["allow_http"] = endpoint.startswith("http:")
    return found


class Objects:
    """See ``Remote``. A subclass is a provider's bucket, or container."""

    scheme: ClassVar[Scheme]
    # What does not pass by itself: what the server or the library says -> what to say.
    refused: ClassVar[Mapping[str, str]]
    # What is named before the path.
    called: ClassVar[str] = "bucket"
    # What to say when it is not said why somebody is not let in.
    denied: ClassVar[str]
    # What of an object tells one from the next of its name.
    state_of: ClassVar[Literal["e_tag", "version"]] = "e_tag"

    def __init__(self, name: str) -> None:
        self._name = name

    @abstractmethod
    def _open(self, name: str, retry: RetryConfig) -> ObjectStore:
        """Connect. Raises BaseError."""

    @cached_property
    def _store(self) -> ObjectStore:
        try:
            obstore.head(self._open(self._name, _ONCE), "x")
        except (BaseError, FileNotFoundError) as error:
            if "kind: TimedOut" in str(error):
                raise
        except BaseException as error:
            if type(error).__module__ != _OF_RUST:
                raise
            # The address of the server, which comes by a variable, is none: it gives up at once.
            raise StageFailure(
                "StorageUnavailable",
                f"{self.scheme.start}{self._name}: the endpoint in the variables is no address, "
                "as https://HOST:PORT is",
            ) from None
        return self._open(self._name, RETRY)

    def find(self, path: str) -> Mapping[str, int]:
        with self._failures(path):
            found = self._head(path) if path else None
            # A folder, or nothing, or there is not even the bucket: the list tells.
            return self._below(path) if found is None else {path: found["size"]}

    def read(self, path: str, start: int, end: int) -> bytes:
        with self._failures(path):
            return bytes(obstore.get_range(self._store, path, start=start, end=end))

    def put(self, source: Path, path: str) -> None:
        with self._failures(path):
            obstore.put(self._store, path, source)

    def replace(self, source: Path, path: str) -> None:
        self.remove(path)
        files = [source / name for name in files_in(source)]
        places = {file: f"{path}/{file.relative_to(source).as_posix()}" for file in files}
        markers = sorted(file for file in files if file.suffix == ".json")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            rest = (file for file in files if file not in markers)
            list(pool.map(lambda file: self.put(file, places[file]), rest))
        for file in markers:
            self.put(file, places[file])

    def remove(self, path: str) -> None:
        with self._failures(path):
            found = [*self._below(path), path]
            # What makes a folder complete goes first.
            markers = [key for key in found if key.endswith(".json")]
            self._delete(markers)
            self._delete([key for key in found if key not in set(markers)])

    def discard(self, paths: Sequence[str], root: str) -> None:
        with self._failures(paths[0] if paths else ""):
            self._delete(paths)

    def state(self, path: str) -> str | None:
        with self._failures(path):
            found = self._head(path)
            if found is None:
                self._below(path)  # or there is not even the bucket: the list tells
                return None
            return found[self.state_of] or ""

    def swap(self, path: str, data: bytes, before: str | None) -> bool:
        mode: PutMode = "create"
        if before is not None:
            mode = {"version": before} if self.state_of == "version" else {"e_tag": before}
        with self._failures(path):
            # There are servers without conditions; some say so, some take them and look away.
            if self.state(path) != before:
                return False
            try:
                obstore.put(self._store, path, data, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            except BaseError as error:
                if not _UNCONDITIONAL.search(str(error)):
                    raise
                # Then it is a matter of a moment.
                obstore.put(self._store, path, data, use_multipart=False)
            return True

    def _head(self, path: str) -> ObjectMeta | None:
        """About an object; None when there is none."""
        store = self._store
        try:
            return obstore.head(store, path)
        except FileNotFoundError:
            return None
        except BaseError:
            self._below(path)  # to this the server says in words what is wrong
            raise

    def _delete(self, paths: Sequence[str]) -> None:
        """Those that are there."""
        if not paths:
            return
        try:
            obstore.delete(self._store, list(paths))
        except FileNotFoundError:  # then others may be there yet: not all take many at once
            for path in paths:
                with suppress(FileNotFoundError):
                    obstore.delete(self._store, path)

    def _below(self, path: str) -> dict[str, int]:
        batches = obstore.list(self._store, path)
        return {found["path"]: found["size"] for batch in batches for found in batch}

    @contextmanager
    def _failures(self, path: str) -> Iterator[None]:
        """Turn the library's errors into StageFailures."""
        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            if getattr(error, "errno", None) is not None:  # the pod's own disk
                raise
            text, _, details = str(error).partition("\n\nDebug source")
            uri = f"{self.scheme.start}{self._name}/{path}"
            for name, words in self.refused.items():
                if name in text:
                    raise StageFailure("StorageUnavailable", f"{uri}: {words}") from error
            for name, (reason, words) in _UNREACHED.items():
                if name in details:
                    host = _HOST.search(details)
                    words = words.format(host[1] if host else "the server")
                    raise StageFailure(reason, f"{uri}: {words}") from error
            if isinstance(error, PermissionDeniedError | UnauthenticatedError) or _DENIED.search(
                text
            ):
                raise StageFailure("StorageUnavailable", f"{uri}: {self.denied}") from error
            if _NO_PLACE.search(text):
                words = f"there is no such {self.called}"
                raise StageFailure("StorageUnavailable", f"{uri}: {words}") from error
            raise StageFailure("StorageFailed", f"{uri}: {one_line(text)}") from error

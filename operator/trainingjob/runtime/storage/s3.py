"""A bucket of S3, or of a server that speaks its protocol.

S3 has no rename: of a folder, files that say that it is complete (``*.json``) go last, and the old
ones first. Credentials, region and endpoint are those of the AWS SDKs' own variables, or of the
profile in ``~/.aws``:
https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from trainingjob.api.uris import S3

from ..base.errors import StageFailure
from ..base.text import one_line
from .remote import AT_ONCE

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutMode
    from obstore.store import ClientConfig, RetryConfig, S3Config

_REGION = "the bucket is in another region: set AWS_REGION"
_NOBODY = (
    "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, which envFrom can "
    "bring"
)
# What does not pass by itself: what the server or the library says -> what to say.
_REFUSED = {
    "NoSuchBucket": "there is no such bucket",
    "is wrong; expecting": _REGION,
    "InvalidAccessKeyId": "the access key does not exist",
    "UserNotFound": "the access key does not exist",
    "SignatureDoesNotMatch": "the secret key is wrong",
    "InvalidToken": "the credentials are not valid",
    "ExpiredToken": "the credentials have expired",
    "RequestTimeTooSkewed": "the clock of this machine is wrong by too much",
    "AccessDenied": "access is denied: check the credentials, which envFrom can bring",
    "incorrectly configured region": _REGION,
    "Status Code: 301": _REGION,
    # Where the library looks last; and what Java says.
    "169.254.169.254": _NOBODY,
    "Unable to load credentials": _NOBODY,
}
# Java's own words: those of Hadoop's client, and of the SDK beneath it.
_OF_SPARK = re.compile(r"\borg\.apache\.hadoop\.fs\.s3a\.|\bsoftware\.amazon\.awssdk\.")
_SAID = re.compile(r"\b(?:fs\.s3a|awssdk)(?:\.\w+)*(?:Exception|Error): ([^\n]+)")
_URI = re.compile(rf"\b{S3.start}[^\s:,']+")
_UNCONDITIONAL = re.compile(r"501 Not Implemented|<Code>NotImplemented</Code>")
# A server that is out of breath gets it back; one that is not there is told within seconds.
_RETRY: RetryConfig = {
    "max_retries": 6,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=3),
        "base": 2,
    },
}


class Bucket:
    """See ``Remote``."""

    def __init__(self, name: str) -> None:
        self._name = name
        settings, client = _settings()
        self._store = S3Store(name, config=settings, client_options=client, retry_config=_RETRY)

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
        files = [file for file in source.rglob("*") if file.is_file()]
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
            for keys in (markers, [key for key in found if key not in set(markers)]):
                if keys:
                    obstore.delete(self._store, keys)

    def discard(self, paths: Sequence[str], root: str) -> None:
        with self._failures(paths[0] if paths else ""):
            if paths:
                obstore.delete(self._store, list(paths))

    def state(self, path: str) -> str | None:
        with self._failures(path):
            found = self._head(path)
            if found is None:
                self._below(path)  # or there is not even the bucket: the list tells
                return None
            return found["e_tag"] or ""

    def swap(self, path: str, data: bytes, before: str | None) -> bool:
        mode: PutMode = "create" if before is None else {"e_tag": before}
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
        try:
            return obstore.head(self._store, path)
        except FileNotFoundError:
            return None
        except BaseError:
            self._below(path)  # to this the server says in words what is wrong
            raise

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
            text, uri = (
                str(error).partition("\n\nDebug source")[0],
                f"{S3.start}{self._name}/{path}",
            )
            for name, words in _REFUSED.items():
                if name in text:
                    raise StageFailure("StorageUnavailable", f"{uri}: {words}") from error
            if isinstance(error, PermissionDeniedError | UnauthenticatedError):
                words = _REFUSED["AccessDenied"]
                raise StageFailure("StorageUnavailable", f"{uri}: {words}") from error
            raise StageFailure("StorageFailed", f"{uri}: {one_line(text)}") from error


def _settings() -> tuple[S3Config, ClientConfig]:
    """What the library does not read of the variables by itself, and how long it may take."""
    given = os.environ
    client: ClientConfig = {
        "connect_timeout": timedelta(seconds=5),
        "read_timeout": timedelta(seconds=30),
        # Of a whole request: the size of an object must not decide.
        "timeout": timedelta(hours=1),
    }
    settings: S3Config = {}
    if at := endpoint():
        settings["endpoint"] = at
        client["allow_http"] = at.startswith("http:")
    profile = _profile()
    if not given.get("AWS_ACCESS_KEY_ID") and "aws_access_key_id" in profile:
        settings["access_key_id"] = profile["aws_access_key_id"]
        settings["secret_access_key"] = profile.get("aws_secret_access_key", "")
        if "aws_session_token" in profile:
            settings["session_token"] = profile["aws_session_token"]
    settings["region"] = region()
    return settings, client


def endpoint() -> str | None:
    """Of a server that is not AWS's own."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def region() -> str:
    """Where buckets are looked for."""
    given = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return given or _profile().get("region") or "us-east-1"


def failure_of_spark(text: str) -> StageFailure | None:
    """What failed in Spark because of S3; None for everything else."""
    if not _OF_SPARK.search(text):
        return None
    uri = _URI.search(text)
    where = uri[0] if uri else "S3"
    for name, words in _REFUSED.items():
        if name in text:
            return StageFailure("StorageUnavailable", f"{where}: {words}")
    said = _SAID.search(text)
    return StageFailure("StorageFailed", f"{where}: {one_line(said[1] if said else text)}")


def _profile() -> dict[str, str]:
    """The settings of $AWS_PROFILE, or of the default profile; empty without."""
    name = os.environ.get("AWS_PROFILE") or "default"
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    folder = Path(os.environ.get("HOME") or "/") / ".aws"
    files = [
        os.environ.get("AWS_CONFIG_FILE") or folder / "config",
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or folder / "credentials",
    ]
    try:
        parser.read(files, encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError):
        return {}
    found: dict[str, str] = {}
    for section in (f"profile {name}", name):
        if parser.has_section(section):
            found |= dict(parser[section])
    return found

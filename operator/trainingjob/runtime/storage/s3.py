"""A bucket of S3, or of a server that speaks its protocol.

Credentials, region and endpoint are those of the AWS SDKs' own variables, or of the
profile in ``~/.aws``:
https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html
"""

from __future__ import annotations

import configparser
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from obstore.store import S3Store

from trainingjob.api.uris import S3

from ..base.errors import StageFailure
from ..base.text import one_line
from .objects import Objects, client

if TYPE_CHECKING:
    from obstore.store import RetryConfig, S3Config

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


class Bucket(Objects):
    """See ``Remote``."""

    scheme = S3
    refused = _REFUSED
    denied = _REFUSED["AccessDenied"]

    def _open(self, name: str, retry: RetryConfig) -> S3Store:
        return S3Store(
            name, config=_settings(), client_options=client(endpoint()), retry_config=retry
        )


def _settings() -> S3Config:
    """What the library does not read of the variables by itself."""
    settings: S3Config = {}
    if at := endpoint():
        settings["endpoint"] = at
    profile = _profile()
    if not os.environ.get("AWS_ACCESS_KEY_ID") and "aws_access_key_id" in profile:
        settings["access_key_id"] = profile["aws_access_key_id"]
        settings["secret_access_key"] = profile.get("aws_secret_access_key", "")
        if "aws_session_token" in profile:
            settings["session_token"] = profile["aws_session_token"]
    settings["region"] = region()
    return settings


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

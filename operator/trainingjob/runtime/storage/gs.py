"""A bucket of Google Cloud Storage.

Who is let in is said by the variables of Google's own libraries, or by the machine:
https://cloud.google.com/docs/authentication/application-default-credentials
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from obstore.store import GCSStore

from trainingjob.api.uris import GS

from .objects import Objects, client

if TYPE_CHECKING:
    from obstore.store import GCSConfig, RetryConfig

_NOBODY = "set GOOGLE_SERVICE_ACCOUNT_KEY, which envFrom can bring, or give the pods an identity"


# https://cloud.google.com/storage/docs/xml-api/reference-status
_REFUSED = {
    "NoSuchBucket": "there is no such bucket",
    "specified bucket does not exist": "there is no such bucket",
    "invalid_grant": "the key of the service account is not valid, or the clock of this "
    "machine is wrong",
    "InvalidAuthentication": "the credentials are not valid",
    "ExpiredToken": "the credentials have expired",
    "UserProjectAccountProblem": "the project's account is closed",
    "AccessDenied": f"access is denied: {_NOBODY}",
    # Where the library looks last.
    "metadata.google.internal": f"there are no credentials: {_NOBODY}",
    "169.254.169.254": f"there are no credentials: {_NOBODY}",
    "Unable to decode service account": "GOOGLE_SERVICE_ACCOUNT_KEY is not the JSON of a key",
    "Error reading pem file": "the private key in GOOGLE_SERVICE_ACCOUNT_KEY is damaged",
    "Unable to open service account file": "there is no file where GOOGLE_SERVICE_ACCOUNT says",
}


class Bucket(Objects):
    """See ``Remote``."""

    scheme = GS
    refused = _REFUSED
    denied = _REFUSED["AccessDenied"]
    # Its conditions are about generations.
    state_of = "version"

    def _open(self, name: str, retry: RetryConfig) -> GCSStore:
        config: GCSConfig = {}
        # As Google's own libraries find an emulator, which lets everybody in.
        if at := os.environ.get("STORAGE_EMULATOR_HOST"):
            config["base_url"] = at if "://" in at else f"http://{at}"
            config["bearer_token"] = "anybody"  # noqa: S105 - no secret
        options = client(config.get("base_url"))
        return GCSStore(name, config=config, client_options=options, retry_config=retry)

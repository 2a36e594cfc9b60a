"""A container of Azure's blob storage; the account is one of the variables.

https://learn.microsoft.com/en-us/rest/api/storageservices/blob-service-error-codes
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from obstore.store import AzureStore

from trainingjob.api.uris import AZ

from .objects import Objects, client

if TYPE_CHECKING:
    from obstore.store import RetryConfig

_WHO = "AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_CLIENT_ID and its secret"
_NOBODY = f"set {_WHO}, which envFrom can bring, or give the pods an identity"


_REFUSED = {
    "ContainerNotFound": "there is no such container",
    "specified container does not exist": "there is no such container",
    "Account must be specified": "no account is named: set AZURE_STORAGE_ACCOUNT_NAME, which "
    "envFrom can bring",
    "Request date header too old": "the clock of this machine is wrong by too much",
    "Signed expiry time": "AZURE_STORAGE_SAS_TOKEN has expired",
    "AuthenticationFailed": "the account's key or token is wrong",
    "AuthorizationFailure": "the account's key or token is wrong",
    "AuthorizationPermissionMismatch": "these credentials have no role for its data",
    "AccountIsDisabled": "the account is disabled",
    "InvalidResourceName": "there can be no container of this name",
    "NoAuthenticationInformation": f"there are no credentials: {_NOBODY}",
    "Invalid Access Key": "AZURE_STORAGE_ACCOUNT_KEY is not a key in base64",
    "invalid_client": "AZURE_CLIENT_SECRET is wrong or has expired",
    # Where the library looks last.
    "169.254.169.254": f"there are no credentials: {_NOBODY}",
}


class Container(Objects):
    """See ``Remote``."""

    scheme = AZ
    refused = _REFUSED
    called = "container"
    denied = f"access is denied: {_NOBODY}"

    def _open(self, name: str, retry: RetryConfig) -> AzureStore:
        given = os.environ
        endpoint = given.get("AZURE_STORAGE_ENDPOINT") or given.get("AZURE_ENDPOINT")
        return AzureStore(name, client_options=client(endpoint), retry_config=retry)

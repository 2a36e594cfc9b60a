"""Who reports: the tokens by which pods show who they are.

The kubelet gets them from the API server, for our audience and bound to the pod. We check them by
the API server's public keys, which every service account may read, and ask for no right to.
https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any

import jwt

from ..cluster import ClusterError, Gateway
from ..core.names import STATUS_AUDIENCE

logger = logging.getLogger(__name__)

# What API servers sign with.
_ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
# All that API servers write have them: one without an end would be good for ever.
_REQUIRED = ["aud", "exp", "iat", "iss", "sub"]
# A token of a key that we do not know may be of a new one, or made up: no more calls than that.
_AGAIN_SECONDS = 10.0


class Untrusted(Exception):
    """The token is none of a pod, or not for us; the text says why."""


class Unverified(Exception):
    """The keys cannot be read now."""


@dataclass(frozen=True)
class Bearer:
    """The pod that a token is bound to."""

    namespace: str
    name: str
    uid: str


class Tokens:
    """Reads tokens; keeps the keys, and reads them anew when a token has another."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._keys: dict[str, jwt.PyJWK] = {}
        self._asked = float("-inf")
        self._reading = asyncio.Lock()
        # Why they could not be read when they were asked for last.
        self._fault = ""

    async def pod(self, token: str) -> Bearer:
        """The pod. Raises Untrusted, Unverified."""
        try:
            name = jwt.get_unverified_header(token).get("kid", "")
            key = self._keys.get(name) or await self._key(name)
            claims = jwt.decode(
                token,
                key,
                algorithms=_ALGORITHMS,
                audience=STATUS_AUDIENCE,
                options={"require": _REQUIRED},
            )
            return _bearer(claims)
        except jwt.PyJWTError as error:
            raise Untrusted(str(error)) from None
        except UnicodeError:
            raise Untrusted("it is no text") from None

    async def _key(self, name: str) -> jwt.PyJWK:
        async with self._reading:
            if name not in self._keys and time.monotonic() - self._asked >= _AGAIN_SECONDS:
                await self._read()
        if name in self._keys:
            return self._keys[name]
        if self._fault:
            raise Unverified(self._fault)
        raise Untrusted("it was not signed by this cluster's API server")

    async def _read(self) -> None:
        self._asked, self._fault = time.monotonic(), ""
        try:
            found = jwt.PyJWKSet.from_dict(await self._gateway.keys())
        except (ClusterError, jwt.PyJWTError, KeyError, TypeError) as error:
            logger.warning("no report of progress can be taken: %s", error)
            self._fault = str(error) or type(error).__name__
            return
        self._keys = {str(key.key_id): key for key in found.keys}


def _bearer(claims: dict[str, Any]) -> Bearer:
    bound = claims.get("kubernetes.io")
    pod = bound.get("pod") if isinstance(bound, dict) else None
    if not isinstance(bound, dict) or not isinstance(pod, dict):
        raise Untrusted("it is bound to no pod")
    told = (bound.get("namespace"), pod.get("name"), pod.get("uid"))
    found = [value for value in told if isinstance(value, str) and value]
    if len(found) < len(told):
        raise Untrusted("it does not say which pod it is bound to")
    return Bearer(*found)

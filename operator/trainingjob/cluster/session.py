"""HTTP with the API server: JSON in, JSON out, errors as ClusterError."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import (
    ConfigException,
    load_incluster_config,
    load_kube_config,
)

from .errors import ClusterError, TooLong, Unavailable, of_response

# What a call did: verb, resource, HTTP status (0: no answer), seconds.
OnCall = Callable[[str, str, int, float], None]

# Longer than the API server's own limit for a mutating call (34 s with its webhooks' 30 s), so
# that as a rule we hear how it ended.
_TIMEOUT = aiohttp.ClientTimeout(total=40, sock_connect=10)
# The API server serves a service account's calls with some tens of seats (priority and fairness);
# more at a time would only wait there.
_CONNECTIONS = 32
# The API server closes a connection that has been idle for 90 s, balancers before it after 50 or
# 60; aiohttp would after 15. Each costs both sides a handshake, as much as a call.
_IDLE_SECONDS = 45
_JSON = "application/json"


class Credentials:
    """Who we are, and where the API server is. Tokens are read anew as they rotate."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self.server: str = configuration.host.rstrip("/")
        self._ssl: ssl.SSLContext = RESTClientObject(configuration).ssl_context

    @classmethod
    async def load(cls, kubeconfig: Path | None) -> Credentials:
        """From a kubeconfig file, or the pod's service account when there is none.

        Raises ClusterError when neither can be used.
        """
        configuration = Configuration()
        try:
            if kubeconfig is None:
                load_incluster_config(client_configuration=configuration)
            else:
                await load_kube_config(
                    config_file=str(kubeconfig),
                    client_configuration=configuration,
                    persist_config=False,
                )
        except (ConfigException, OSError) as error:
            where = str(kubeconfig) if kubeconfig else "the service account of this pod"
            raise ClusterError(f"cannot use {where}: {error}") from None
        return cls(configuration)

    def session(
        self,
        *middlewares: aiohttp.ClientMiddlewareType,
        connections: int = _CONNECTIONS,
        response_class: type[aiohttp.ClientResponse] = aiohttp.ClientResponse,
    ) -> aiohttp.ClientSession:
        """A new session, of so many connections at a time (0: any number); whoever asks for it
        closes it."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections, ssl=self._ssl, keepalive_timeout=_IDLE_SECONDS
            ),
            headers={"User-Agent": "trainingjob-operator", "Accept": _JSON},
            timeout=_TIMEOUT,
            middlewares=(*middlewares, self._authorize),
            response_class=response_class,
        )

    async def _authorize(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        token = await self._configuration.get_api_key_with_prefix("BearerToken")
        if token:
            # RFC 6750 has "Bearer"; the library says "bearer" in some places.
            request.headers["Authorization"] = "Bearer " + token.split(" ", 1)[-1]
        return await handler(request)


class Api:
    """Calls of the API server. Used from one event loop."""

    def __init__(self, server: str, session: aiohttp.ClientSession, on_call: OnCall) -> None:
        self._server = server
        self._session = session
        self._on_call = on_call

    async def call(
        self,
        verb: str,
        path: str,
        *,
        resource: str = "",
        body: Any = None,
        params: Mapping[str, str] | None = None,
        accept: str = _JSON,
        content: str = _JSON,
    ) -> Any:
        """The parsed answer, which is JSON of the type ``accept``; ``body`` is of the type
        ``content``. Raises ClusterError; after Unavailable the call may yet have taken effect."""
        told, _ = await self.sized(
            verb, path, resource=resource, body=body, params=params, accept=accept, content=content
        )
        return told

    async def sized(
        self,
        verb: str,
        path: str,
        *,
        resource: str = "",
        body: Any = None,
        params: Mapping[str, str] | None = None,
        accept: str = _JSON,
        content: str = _JSON,
        most: int | None = None,
    ) -> tuple[Any, int]:
        """As ``call``, with the answer's size in bytes. Raises TooLong when it is larger than
        ``most``, of which no more is read."""
        begun, code = time.perf_counter(), 0
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = {"Accept": accept} | ({} if data is None else {"Content-Type": content})
        try:
            async with self._session.request(
                verb, self._server + path, data=data, params=params, headers=headers
            ) as response:
                code = response.status
                text = await _read(response, most)
                told = _parse(text)
                if code >= 400:
                    raise of_response(code, told, response.headers.get("Retry-After"))
                if told is None:
                    raise Unavailable("the API server's answer is no JSON", code)
                return told, len(text)
        except (aiohttp.ClientError, OSError) as error:
            # OSError includes TimeoutError.
            raise Unavailable(f"no answer from the API server: {_words(error)}") from None
        finally:
            self._on_call(verb, resource, code, time.perf_counter() - begun)


async def connect(api: Api, path: str, patience: float, notify: Callable[[str], None]) -> None:
    """Wait until the API server answers at ``path``; ``notify`` is told why it does not yet.

    ``patience`` is the seconds between two tries.
    """
    while True:
        try:
            await api.call("GET", path, resource="discovery")
            return
        except ClusterError as error:
            notify(str(error))
            await asyncio.sleep(patience)


async def _read(response: aiohttp.ClientResponse, most: int | None) -> bytes:
    if most is None:
        return await response.read()
    chunks, size = [], 0
    # What is read is unpacked already.
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > most:
            raise TooLong(f"the answer has more than {most} bytes", response.status)
    return b"".join(chunks)


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__

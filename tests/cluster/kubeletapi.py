"""The requests of the fake kubelet: pods watched with one connection, written with a few."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from .context import refuse_unknown

MERGE = "application/merge-patch+json"
# The answer to a write is of no use: as little of it as the API server can give.
SHORT = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
# The server's word for: not now, again later.
LATER = (429, 500, 503, 504)
CONNECTIONS = 16
NODE_RESOURCES = {"cpu": "64", "memory": "256Gi", "pods": "1000", "nvidia.com/gpu": "8"}


class Gone(Exception):
    """The watch has lost its place: list again."""


class KubeletApi:
    """One aiohttp session. Writes are repeated until the API server has said yes or no."""

    def __init__(self, kubeconfig: Path, namespaces: Sequence[str] | None) -> None:
        loaded = yaml.safe_load(refuse_unknown(kubeconfig).read_text(encoding="utf-8"))
        cluster = loaded["clusters"][0]["cluster"]
        self._server = cluster["server"]
        self._token = loaded["users"][0]["user"]["token"]
        self._tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._namespaces = None if namespaces is None else frozenset(namespaces)
        self._nodes: set[str] = set()
        self.writes = 0

    async def __aenter__(self) -> KubeletApi:
        self._session = aiohttp.ClientSession(
            base_url=self._server,
            headers={
                "Authorization": f"Bearer {self._token}",
                "User-Agent": "fake-kubelet/1",
            },
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=CONNECTIONS + 1),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=330),
            read_bufsize=2**20,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    # --- reading -------------------------------------------------------------------------------
    @property
    def _pods(self) -> str:
        if self._namespaces is not None and len(self._namespaces) == 1:
            return f"/api/v1/namespaces/{next(iter(self._namespaces))}/pods"
        return "/api/v1/pods"

    def _ours(self, pod: dict[str, Any]) -> bool:
        return self._namespaces is None or pod["metadata"]["namespace"] in self._namespaces

    async def list(self) -> tuple[list[dict[str, Any]], str]:
        """The pods, and the resource version at which to watch on."""
        async with self._session.get(self._pods) as response:
            response.raise_for_status()
            body = await response.json()
        return [pod for pod in body["items"] if self._ours(pod)], body["metadata"][
            "resourceVersion"
        ]

    async def watch(self, version: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Events since a version; raises Gone, or an aiohttp.ClientError, at its end."""
        while True:
            query = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": "300"}
            query["resourceVersion"] = version
            async with self._session.get(self._pods, params=query) as response:
                if response.status == 410:
                    raise Gone
                response.raise_for_status()
                rest = b""
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        event = json.loads(line)
                        kind, pod = event["type"], event["object"]
                        if kind == "ERROR":
                            raise Gone
                        version = pod["metadata"]["resourceVersion"]
                        if kind != "BOOKMARK" and self._ours(pod):
                            yield kind, pod

    # --- writing -------------------------------------------------------------------------------
    async def patch_status(self, pod: dict[str, Any], status: dict[str, Any]) -> None:
        # The uid: a pod of the same name may have taken its place.
        body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}
        await self._write("PATCH", f"{_path(pod)}/status", body)

    async def bind(self, pod: dict[str, Any], node: str) -> None:
        await self._make_node(node)
        meta = pod["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta["name"], "uid": meta["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        await self._write("POST", f"{_path(pod)}/binding", body)

    async def delete(self, pod: dict[str, Any], grace: int | None = None) -> None:
        body: dict[str, Any] = {"preconditions": {"uid": pod["metadata"]["uid"]}}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        await self._write("DELETE", _path(pod), body)

    async def delete_node(self, node: str) -> None:
        self._nodes.discard(node)
        await self._write("DELETE", f"/api/v1/nodes/{node}")

    async def _make_node(self, name: str) -> None:
        if name in self._nodes:
            return
        self._nodes.add(name)
        conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {
                "capacity": NODE_RESOURCES,
                "allocatable": NODE_RESOURCES,
                "conditions": conditions,
            },
        }
        await self._write("POST", "/api/v1/nodes", body)

    async def _write(self, method: str, path: str, body: Any = None) -> None:
        """Until it has been answered. That its object is gone or another one is no error."""
        headers = {"Accept": SHORT, "Content-Type": MERGE if method == "PATCH" else _JSON}
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        pause = 0.05
        while True:
            self.writes += 1
            try:
                async with self._session.request(
                    method, path, data=data, headers=headers
                ) as response:
                    answer = await response.read()
                    status = response.status
            except (aiohttp.ClientError, TimeoutError):
                status = 503
            if status not in LATER:
                break
            await asyncio.sleep(pause)
            pause = min(2 * pause, 1.0)
        if status == 422 and _ANOTHER in answer:
            return
        if status >= 400 and status not in (404, 409):
            raise RuntimeError(f"{method} {path}: {status} {answer.decode(errors='replace')}")


_JSON = "application/json"
# A patch of the status of a pod that is another one by now.
_ANOTHER = b'"field": "metadata.uid"'


def _path(pod: dict[str, Any]) -> str:
    meta = pod["metadata"]
    return f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"

"""The writes and lists of the operator: one method for each thing that it does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from math import ceil
from typing import Any

from ..core.names import FIELD_MANAGER
from .errors import Conflict, NotFound, TooLong, Unavailable
from .resources import (
    EVENTS,
    JOBS,
    KEYS,
    POD_GROUP_VERSIONS,
    POD_GROUPS,
    PODS,
    SECRETS,
    Resource,
    made,
)
from .session import Api

# Of a page, which as Python has it takes up to ten times as much: objects of 10 KB are listed as
# fast as the API server can, and those of a megabyte, the largest that there are, one by one.
_PAGE_BYTES = 2**20
# Objects. The first page shows how large they are, and the following ones may differ.
_FIRST_PAGE = 10
_LARGEST_PAGE = 100
# About one object.
_MOST_EVENTS = 100
_MANAGER = {"fieldManager": FIELD_MANAGER}


class Gateway:
    """Children, status and events of jobs. Every method raises ClusterError."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(self, child: Mapping[str, Any]) -> dict[str, Any]:
        """Make a child."""
        resource = made(child)
        path = resource.path(child["metadata"]["namespace"])
        return await self._call("POST", resource, path, body=child, params=_MANAGER)

    async def get(self, child: Mapping[str, Any]) -> dict[str, Any]:
        """The object that has the child's name."""
        resource = made(child)
        meta = child["metadata"]
        return await self._call("GET", resource, resource.path(meta["namespace"], meta["name"]))

    async def apply(self, child: Mapping[str, Any]) -> dict[str, Any]:
        """Make the child, or bring it up to date, on the server's side. Raises Conflict when
        somebody else has set something of it otherwise, or it is not of its ``resourceVersion``."""
        resource = made(child)
        meta = child["metadata"]
        path = resource.path(meta["namespace"], meta["name"])
        answer: dict[str, Any] = await self._api.call(
            "PATCH",
            path,
            resource=resource.plural,
            body=child,
            params=_MANAGER,
            content="application/apply-patch+yaml",
        )
        return answer

    async def pod(self, namespace: str, name: str) -> dict[str, Any] | None:
        """The pod of that name; None when there is none."""
        try:
            return await self._call("GET", PODS, PODS.path(namespace, name))
        except NotFound:
            return None

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        uid: str,
        *,
        version: int | None = None,
        force: bool = False,
    ) -> dict[str, Any] | None:
        """Delete this very object, a pod with its own grace period or, by ``force``, none; None
        when it is gone already.

        Raises Conflict when another one has its name by now, or it is not of that ``version``;
        Unavailable when it is there all the same.
        """
        preconditions = {"uid": uid}
        if version is not None:
            preconditions["resourceVersion"] = str(version)
        body: dict[str, Any] = {"preconditions": preconditions}
        if force:
            body["gracePeriodSeconds"] = 0
        path = resource.path(namespace, name)
        try:
            try:
                return await self._call("DELETE", resource, path, body=body)
            except Conflict as error:
                # Webhooks and a write at the same moment are answered so, too.
                if version is not None or not await self._is(uid, resource, path):
                    raise
                raise Unavailable(str(error), error.code) from None
        except NotFound:
            return None

    async def _is(self, uid: str, resource: Resource, path: str) -> bool:
        """Whether what lies there is this very object. Raises NotFound when there is nothing."""
        found = await self._call("GET", resource, path)
        return bool(found["metadata"]["uid"] == uid)

    async def write_status(
        self, job: Mapping[str, Any], *, dry_run: bool = False
    ) -> dict[str, Any]:
        """Store the job's status, or only see what would be stored. Raises Conflict unless ``job``
        has the newest version."""
        meta = job["metadata"]
        path = JOBS.path(meta["namespace"], meta["name"], "status")
        params = _MANAGER | ({"dryRun": "All"} if dry_run else {})
        return await self._call(
            "PUT", JOBS, path, body=job, params=params, name=f"{JOBS.plural}/status"
        )

    async def events_of(self, namespace: str, uid: str) -> list[dict[str, Any]]:
        """Core v1 Events about the object with this uid: the last ones are among them, as the API
        server keeps them for an hour and counts those that come again."""
        params = {"fieldSelector": f"involvedObject.uid={uid}", "limit": str(_MOST_EVENTS)}
        page = await self._call("GET", EVENTS, EVENTS.path(namespace), params=params)
        return list(page.get("items") or ())

    async def record(self, event: Mapping[str, Any]) -> None:
        """Make a core v1 Event."""
        path = EVENTS.path(event["metadata"]["namespace"])
        await self._call("POST", EVENTS, path, body=event, params=_MANAGER)

    async def secret(self, namespace: str, name: str) -> dict[str, Any]:
        """The Secret."""
        return await self._call("GET", SECRETS, SECRETS.path(namespace, name))

    async def write_secret(self, secret: Mapping[str, Any]) -> dict[str, Any]:
        """Store it. Raises Conflict unless ``secret`` has the newest version."""
        meta = secret["metadata"]
        path = SECRETS.path(meta["namespace"], meta["name"])
        return await self._call("PUT", SECRETS, path, body=secret, params=_MANAGER)

    async def keys(self) -> dict[str, Any]:
        """The JSON Web Key Set by which the API server signs tokens of service accounts."""
        kind = "application/jwk-set+json"
        answer: dict[str, Any] = await self._api.call("GET", KEYS, resource="keys", accept=kind)
        return answer

    async def pod_groups(self) -> str:
        """The apiVersion in which the API server has PodGroups; "" where it has none."""
        for version in POD_GROUP_VERSIONS:
            name = f"{POD_GROUPS.group}/{version}"
            with suppress(NotFound):
                found = await self._api.call("GET", f"/apis/{name}", resource="discovery")
                if any(one["name"] == POD_GROUPS.plural for one in found["resources"]):
                    return name
        return ""

    async def pages(
        self, resource: Resource, namespace: str | None, selector: str = ""
    ) -> AsyncIterator[tuple[list[dict[str, Any]], int]]:
        """All objects, or those that ``selector`` chooses, as they are now: page by page, each
        with the version of the list as a whole. A page is empty when the next one is asked for."""
        params: dict[str, str] = {}
        if selector := selector or resource.selector:
            params["labelSelector"] = selector
        limit = _FIRST_PAGE
        while True:
            params["limit"] = str(limit)
            try:
                page, size = await self._api.sized(
                    "GET",
                    resource.path(namespace),
                    resource=resource.plural,
                    params=params,
                    most=2 * _PAGE_BYTES if limit > 1 else None,
                )
            except TooLong:
                limit = max(1, limit // 4)
                continue
            items, meta = page.get("items") or [], page["metadata"]
            yield items, int(meta["resourceVersion"])
            items.clear()
            if not meta.get("continue"):
                return
            params["continue"] = meta["continue"]
            fitting = ceil(limit * _PAGE_BYTES / max(1, size))
            limit = max(1, min(fitting, 2 * limit, _LARGEST_PAGE))

    async def job(self, namespace: str, name: str) -> dict[str, Any] | None:
        """The job; None when there is none. As a list, which asks for no right of its own."""
        params = {"fieldSelector": f"metadata.name={name}"}
        page = await self._call("GET", JOBS, JOBS.path(namespace), params=params)
        return next(iter(page.get("items") or ()), None)

    async def _call(
        self,
        verb: str,
        resource: Resource,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        name: str = "",
    ) -> dict[str, Any]:
        answer: dict[str, Any] = await self._api.call(
            verb, path, resource=name or resource.plural, body=body, params=params
        )
        return answer

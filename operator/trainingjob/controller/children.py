"""The children of a job, as it was decided: made, brought up to date, deleted."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..api.v1alpha1 import TrainingJob
from ..cluster import (
    PODS,
    AlreadyExists,
    Cache,
    ClusterError,
    Conflict,
    Gateway,
    NotFound,
    Refused,
    Unavailable,
)
from ..cluster.resources import CLAIMS, Resource
from ..cluster.resources import made as resource_of
from ..core import Blocker, PodView, Settings, applied, claim, diagnose, ownership, signing

logger = logging.getLogger(__name__)

# To apply what has changed since it was read.
_TRIES = 3


class Children:
    """Decides nothing. What is in the way of a child is told as a Blocker."""

    def __init__(self, cache: Cache, gateway: Gateway, settings: Settings) -> None:
        self._cache = cache
        self._gateway = gateway
        self.settings = settings

    async def look_for_pod_groups(self) -> None:
        """Have gangs scheduled as a whole where the API server can. Raises ClusterError."""
        found = await self._gateway.pod_groups()
        self.settings = replace(self.settings, pod_groups=found)
        if found:
            logger.info("gangs have PodGroups of %s", found)
        else:
            logger.warning(
                "the API server has no PodGroups (of Kubernetes 1.37, with the feature gate "
                "GenericWorkload): the pods of gangs are scheduled one by one"
            )

    def kserve(self, *, there: bool) -> None:
        """Whether the API server has what KServe serves by; known before any job is looked at."""
        if there != (self.settings.kserve == "there"):
            logger.info("KServe is %sthere", "" if there else "not ")
        self.settings = replace(self.settings, kserve="there" if there else "missing")

    async def make(
        self, job: TrainingJob, child: Mapping[str, Any], discarded: deque[str]
    ) -> Blocker | None:
        """What is in the way, if anything is. ``discarded`` takes the uid of a pod that was altered
        as it was made."""
        if applied.is_applied(child):
            return await self._bring(child)
        name, kind, resource = child["metadata"]["name"], child["kind"], resource_of(child)
        if resource == PODS:
            child = signing.signed(job, child, self.settings.signing_key)
        try:
            made, new = await self._made(resource, child)
        except NotFound as error:
            # The namespace is gone, or what was there a moment ago: the watch will show it.
            if resource.optional:  # or the API server is another one by now
                await self.look_for_pod_groups()
            return diagnose.no_answer(name, str(error))
        except (Unavailable, Conflict) as error:
            # A conflict is nobody's fault: of a quota, others are counted by it at this moment.
            logger.warning("%s %s: %s", kind, name, error)
            return diagnose.no_answer(name, str(error))
        except Refused as error:
            return diagnose.refusal_of(name, str(error))
        if resource == PODS and new and (changes := ownership.changes(child, made)):
            # Whatever goes by what was changed would not find it. It never was one of ours.
            meta = made["metadata"]
            discarded.append(meta["uid"])
            await self._discard(made)
            return diagnose.altered(name, changes)
        if resource == CLAIMS:
            return claim.blocker(child, made)
        owner = ownership.owner_of(made)
        if owner is None or owner != ownership.owner_of(child):
            return diagnose.conflict_of(name, kind, ownership.whose(job, made))
        # Of a new one that is known already.
        if (
            resource == PODS
            and not new
            and not ownership.is_ours(job, made, self.settings.signing_key)
        ):
            return diagnose.conflict_of(name, kind, "this operator has not made")
        if not resource.optional:
            # Of pods `byname` says which are there all the same.
            self._cache.answered(resource, made, lives=not new and resource != PODS)
        return None

    async def remove(self, namespace: str, pod: PodView) -> Blocker | None:
        """Delete it; what stands in the way is answered: it keeps no status from being written."""
        try:
            await self.delete(namespace, pod)
        except ClusterError as error:
            logger.warning("pod %s cannot be deleted: %s", pod.name, error)
            answered = not isinstance(error, Unavailable)
            return diagnose.not_deleted(pod.name, str(error), answered=answered)
        return None

    async def delete(self, namespace: str, pod: PodView, *, force: bool = False) -> bool:
        """Whether it was there to be deleted. Raises ClusterError."""
        try:
            left = await self._gateway.delete(PODS, namespace, pod.name, pod.uid, force=force)
        except Conflict:
            left = None
        if left is not None and _stays(left["metadata"]):
            self._cache.answered(PODS, left)
        else:
            # Another pod, or one that was removed with this very call.
            self._cache.forget(PODS, (namespace, pod.name), pod.uid)
        return left is not None

    async def _bring(self, child: Mapping[str, Any]) -> Blocker | None:
        """Apply a child that stands longer than its job: what is there is brought up to date."""
        meta, kind = child["metadata"], child["kind"]
        try:
            made = await self._applied(child)
            if isinstance(made, Blocker):
                return made
        except (NotFound, Unavailable) as error:
            logger.warning("%s %s: %s", kind, meta["name"], error)
            if isinstance(error, NotFound) and resource_of(child).optional:
                return diagnose.not_there(kind, meta["name"], str(error))
            return diagnose.no_answer(meta["name"], str(error))
        except Conflict as error:
            # Of a field that is somebody else's; else it has changed meanwhile, and is read again.
            return diagnose.not_applied(kind, meta["name"], str(error))
        except Refused as error:
            return diagnose.refusal_of(meta["name"], str(error))
        self._cache.answered(resource_of(child), made, lives=True)
        return None

    async def _applied(self, child: Mapping[str, Any]) -> dict[str, Any] | Blocker:
        """Raises ClusterError."""
        meta = child["metadata"]
        for left in reversed(range(_TRIES)):
            found: dict[str, Any] | None = None
            with suppress(NotFound):
                found = await self._gateway.get(child)
            wanted = applied.body(child, found, lambda name: self._is_there(meta, name))
            if isinstance(wanted, Blocker):
                return wanted
            try:
                return await self._gateway.apply(wanted)
            except Conflict:  # its controller writes into its status all the time
                if not left:
                    raise
        raise AssertionError("not reached")

    def _is_there(self, meta: Mapping[str, Any], name: str) -> bool:
        return self._cache.job((meta["namespace"], name)) is not None

    async def _made(
        self, resource: Resource, child: Mapping[str, Any]
    ) -> tuple[dict[str, Any], bool]:
        """The child that is there, and whether it is new. A claim is looked for first: a quota
        refuses another one before the API server says that there is one of this name."""
        if resource == CLAIMS:
            with suppress(NotFound):
                return await self._gateway.get(child), False
        try:
            return await self._gateway.create(child), True
        except AlreadyExists:
            return await self._gateway.get(child), False

    async def _discard(self, pod: Mapping[str, Any]) -> None:
        meta = pod["metadata"]
        try:
            await self._gateway.delete(PODS, meta["namespace"], meta["name"], meta["uid"])
        except ClusterError as error:
            logger.warning("pod %s cannot be deleted: %s", meta["name"], error)


def _stays(meta: Mapping[str, Any]) -> bool:
    """Whether an object is there yet, by the metadata that its deletion was answered with: without
    grace nothing but a finalizer keeps it."""
    grace = meta.get("deletionGracePeriodSeconds") != 0
    return bool(meta.get("resourceVersion") and (grace or meta.get("finalizers")))

"""Pods that are read by their names, as no watch and no list can be relied upon for them: somebody
may have taken the label off by which they are found."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from functools import partial

from ..api.v1alpha1 import TrainingJob
from ..cluster import PODS, Cache, Gateway, Key
from ..core import ownership
from ..core.names import LABEL_JOB
from .lanes import Lanes

logger = logging.getLogger(__name__)

# How often pods are read that no watch tells of.
SECONDS = 5.0


class ByName:
    """One rule: what is one of the job's pods in every respect is kept, and read again until it is
    gone; all else is nobody's, and forgotten at once."""

    def __init__(self, cache: Cache, gateway: Gateway, signing_key: bytes, lanes: Lanes) -> None:
        self._cache = cache
        self._gateway = gateway
        self._signing_key = signing_key
        self._lanes = lanes

    async def find(
        self, key: Key, job: TrainingJob, names: Iterable[str], but: Collection[str]
    ) -> bool:
        """Read these pods into the cache, ``but`` those with these uids. Whether any of them is
        there and the job's own. Raises ClusterError."""
        looks = (partial(self._look, key, job, name, but) for name in names)
        return any(await self._lanes.all(key[0], looks))

    async def _look(self, key: Key, job: TrainingJob, name: str, but: Collection[str]) -> bool:
        known = name in self._cache.unwatched(key, job.metadata.uid)
        pod = await self._gateway.pod(key[0], name)
        ours = pod is not None and ownership.is_ours(job, pod, self._signing_key)
        if pod is None or not ours or pod["metadata"]["uid"] in but:
            self._cache.lost(PODS, (key[0], name))
            return False
        self._cache.found(PODS, pod)
        if not known and LABEL_JOB not in (pod["metadata"].get("labels") or {}):
            logger.warning(
                "%s/%s: pod %s has lost the label %s; it is looked at every %.0f s",
                *(*key, name, LABEL_JOB, SECONDS),
            )
        return True

"""What we know of the cluster: the newest version of every job and child.

Three sources feed it: watch events, the answers to our own writes (so that we read them at once),
and lists from time to time (watches can lose deletions). Whatever is older than what is here is
ignored: versions of one resource can be compared as numbers.
https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from sys import intern
from typing import Any

from ..api.v1alpha1 import API_VERSION, GROUP, KIND
from ..core import ChildView, PodView, Rest, at_rest, kinds, ownership
from ..core.accepted import named_by
from ..core.names import LABEL_JOB
from ..core.ownership import Owner
from .resources import BY_KIND, JOBS, KIND_OF, PODS, Resource

Key = tuple[str, str]  # namespace, name

# Deleted objects are remembered, lest a late answer bring one back; so many are enough to outlast
# any answer.
_REMEMBERED = 10_000
# Answers that a watch has not told yet; it is some milliseconds behind.
_MOST_ANSWERS = 1000

_SERVERS = [kind.name for kind in kinds.SERVERS]

# Bytes of jobs that are kept as JSON: those of some thousand that are under way.
_KEPT_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A job as JSON, which takes a tenth of the memory of parsed objects; ``data`` is None where
    it is to be read again when it is needed.

    ``names``: the URI of the accepted model that it is to use, if it names one and is not over.
    ``rest``: that it needs nothing as it stands. ``looked_at``: that nobody has to see for himself.
    """

    uid: str
    version: int
    data: bytes | None
    phase: str
    begun: bool
    names: str = ""
    rest: Rest | None = None
    looked_at: bool = False


@dataclass(frozen=True, slots=True)
class StoredChild:
    """A child that is named and owned as one of the job's, or as its Spark driver's. ``watched``:
    it bears the label by which watches and lists find it."""

    uid: str
    version: int
    job: Key
    owner: Owner
    view: PodView | ChildView
    watched: bool = True


class Cache:
    """Synchronous throughout: between two awaits of its users it is consistent."""

    def __init__(self) -> None:
        self._jobs: dict[Key, StoredJob] = {}
        self._kept = 0
        # Of those that name an accepted model.
        self._named: dict[Key, str] = {}
        self._children: dict[Resource, dict[Key, StoredChild]] = {}
        self._by_owner: dict[Owner, set[tuple[Resource, Key]]] = {}
        # The uids of the pods that count, by the uid of their job.
        self._trusted: dict[str, frozenset[str]] = {}
        self._gone: dict[str, None] = {}
        # What calls of ours were answered with, and the watch has not told yet: the uid by version.
        self._answers: dict[tuple[Resource, int], str] = {}

    def job(self, key: Key) -> StoredJob | None:
        """The job, None when there is none."""
        return self._jobs.get(key)

    def jobs(self) -> list[Key]:
        """All jobs."""
        return list(self._jobs)

    def phases(self) -> Counter[str]:
        """Number of jobs by phase."""
        return Counter(job.phase for job in self._jobs.values())

    def begun(self, key: Key) -> bool:
        """Whether the job has been acted on: it has a status or a child."""
        job = self._jobs.get(key)
        owned = job is not None and ownership.job_owner(*key, job.uid) in self._by_owner
        return job is not None and (job.begun or owned)

    def pods(self, key: Key, uid: str) -> tuple[PodView, ...]:
        """Pods that are named and owned as those of the job with this uid. Whether we have made
        them is for `ownership.counts` to say."""
        return self._pods(ownership.job_owner(*key, uid))

    def executors(self, key: Key, pods: Iterable[PodView]) -> tuple[PodView, ...]:
        """Spark's executors: pods that one of the job's ``pods`` owns."""
        owners = (ownership.driver_owner(key[0], pod) for pod in pods)
        return tuple(view for owner in owners for view in self._pods(owner))

    def children(self, key: Key, uid: str) -> tuple[ChildView, ...]:
        """Children of the job with this uid that are no pods, and what others of its name left,
        by kind and name."""
        owners = (ownership.job_owner(*key, uid), ownership.holder(*key))
        views = (view for owner in owners for view in self._views(owner))
        found = [view for view in views if isinstance(view, ChildView)]
        found += [made for view in found for made in self._workloads(key[0], view) if made != view]
        return tuple(sorted(found, key=lambda view: (view.kind, view.name)))

    def servers(self, key: Key, children: Iterable[ChildView], name: str) -> tuple[PodView, ...]:
        """Pods of what serves by that name among the job's ``children``, of the template that it
        has. The job may have left others, by another `deploy.name`."""
        served = (child for child in children if child.kind in _SERVERS and child.name == name)
        return tuple(
            pod
            for child in served
            for workload in self._workloads(key[0], child)
            for made in self._views(ownership.maker(key[0], workload))
            if isinstance(made, ChildView) and made.rollout == child.rollout
            for pod in self._pods(ownership.maker(key[0], made))
        )

    def deployments(self, namespace: str) -> tuple[ChildView, ...]:
        """All that serve a model in a namespace, whatever job holds them."""
        return tuple(
            child.view
            for kind in kinds.SERVERS
            for (where, _), child in self._children.get(BY_KIND[kind.name], {}).items()
            if where == namespace and isinstance(child.view, ChildView)
        )

    def named(self, namespace: str) -> tuple[str, ...]:
        """URIs of the accepted models that jobs of a namespace name which are not over."""
        found = (uri for (where, _), uri in self._named.items() if where == namespace)
        return tuple(dict.fromkeys(found))

    def decides(self, resource: Resource, key: Key) -> bool:
        """Whether what is now of that key may decide something at once; what is gone always may."""
        known = self._known(resource, key)
        view = known.view if isinstance(known, StoredChild) else None
        return not isinstance(view, PodView) or view.decides

    def trust(self, uid: str, pods: Iterable[PodView]) -> None:
        """Of the job with this uid, these pods count, and no others."""
        found = frozenset(pod.uid for pod in pods)
        if found:
            self._trusted[uid] = found
        else:
            self._trusted.pop(uid, None)

    def reporter(self, key: Key, uid: str) -> tuple[Key, str, PodView] | None:
        """The pod of that key, if its uid is that, it counts and is not over, of a job that is
        there: the job's key and uid, and the pod."""
        child = self._children.get(PODS, {}).get(key)
        if child is None or child.uid != uid or not isinstance(child.view, PodView):
            return None
        if child.view.index < 0 or child.view.over:
            return None
        job = self._jobs.get(child.job)
        if job is None or ownership.job_owner(*child.job, job.uid) != child.owner:
            return None
        return (child.job, job.uid, child.view) if uid in self._trusted.get(job.uid, ()) else None

    def apply(self, resource: Resource, obj: Mapping[str, Any]) -> Key | None:
        """Take the object in; the key of the job that this changes something for."""
        meta = obj["metadata"]
        key: Key = (meta["namespace"], meta["name"])
        version = int(meta["resourceVersion"])
        known = self._known(resource, key)
        if meta["uid"] in self._gone or (known is not None and known.version >= version):
            return None
        if resource == JOBS:
            if known is not None and known.uid != meta["uid"]:
                self._trusted.pop(known.uid, None)
            self._put(key, self._stored_job(obj, version, first=known is None))
            return key
        child = _stored_child(resource, obj, version)
        before = self._drop_child(resource, key)
        if child is None:
            return before.job if before else None
        self._children.setdefault(resource, {})[key] = child
        self._by_owner.setdefault(child.owner, set()).add((resource, key))
        same = before is not None and replace(before, version=version) == child
        return None if same else child.job

    def answered(self, resource: Resource, obj: Mapping[str, Any], *, lives: bool = False) -> None:
        """As ``apply``, of what a call of ours was answered with. ``lives``: it was there before,
        also where a watch has told that it is gone, as of one that loses our label for a while."""
        meta = obj["metadata"]
        if lives and "deletionTimestamp" not in meta:
            self._gone.pop(meta["uid"], None)
        key, version = (meta["namespace"], meta["name"]), int(meta["resourceVersion"])
        before = self._known(resource, key)
        self.apply(resource, obj)
        after = self._known(resource, key)
        if after is not None and after is not before and after.version == version:
            self._answers[resource, version] = meta["uid"]
            if len(self._answers) > _MOST_ANSWERS:
                del self._answers[next(iter(self._answers))]

    def answer(self, resource: Resource, version: int) -> str | None:
        """The uid of the object that a call of ours was answered with, if it is here as of this
        version; it is asked for once, when the watch tells the same."""
        return self._answers.pop((resource, version), None)

    def found(self, resource: Resource, obj: Mapping[str, Any]) -> Key | None:
        """As ``apply``, of what was read by its name just now. One without our label left the watch
        with it, as if it had been deleted."""
        if LABEL_JOB not in (obj["metadata"].get("labels") or {}):
            self._gone.pop(obj["metadata"]["uid"], None)
        return self.apply(resource, obj)

    def lost(self, resource: Resource, key: Key) -> None:
        """There is none of that name, though a watch did not say so."""
        known = self._known(resource, key)
        if isinstance(known, StoredChild) and not known.watched:
            self.forget(resource, key, known.uid)

    def unwatched(self, key: Key, uid: str) -> list[str]:
        """Names of the pods of the job with this uid that no watch tells of."""
        found = self._by_owner.get(ownership.job_owner(*key, uid), ())
        return sorted(k[1] for r, k in found if not self._children[r][k].watched)

    def hold(self, job: Mapping[str, Any]) -> None:
        """Have the data of a job that was read for it, until ``let_go``."""
        meta = job["metadata"]
        key: Key = (meta["namespace"], meta["name"])
        known, version = self._jobs.get(key), int(meta["resourceVersion"])
        if meta["uid"] in self._gone or (known is not None and known.version > version):
            return
        rest, looked_at = at_rest(job), known is not None and known.looked_at
        self._put(key, _stored(job, version, _json(job), rest, looked_at))

    def let_go(self, key: Key, version: int | None = None) -> None:
        """The data of the job is not needed now. With ``version``: this one was looked at, and
        nothing has to be done; else that is not known."""
        job = self._jobs.get(key)
        if job is None:
            return
        if job.version == version:
            self._put(key, replace(job, looked_at=True, data=None if job.rest else job.data))
        elif self._kept > _KEPT_BYTES:
            self._put(key, replace(job, data=None))

    def remove(self, resource: Resource, obj: Mapping[str, Any]) -> Key | None:
        """The object is gone; the key of the job that this changes something for."""
        meta = obj["metadata"]
        return self.forget(resource, (meta["namespace"], meta["name"]), meta["uid"])

    def forget(self, resource: Resource, key: Key, uid: str) -> Key | None:
        """As ``remove``, by key and uid."""
        self._gone[uid] = None
        if len(self._gone) > _REMEMBERED:
            del self._gone[next(iter(self._gone))]
        known = self._known(resource, key)
        if known is None or known.uid != uid:
            return None
        if resource == JOBS:
            self._put(key, None)
            self._trusted.pop(uid, None)
            return key
        child = self._drop_child(resource, key)
        return child.job if child else None

    async def replace(
        self,
        resource: Resource,
        namespace: str | None,
        pages: AsyncIterable[tuple[list[dict[str, Any]], int]],
    ) -> set[Key]:
        """Take in a list; what is not in it and not newer than it is gone.

        The keys of the jobs that this changes something for.
        """
        present: set[Key] = set()
        changed: set[Key] = set()
        listed = 0
        async for items, version in pages:
            listed = version
            for obj in items:
                present.add((obj["metadata"]["namespace"], obj["metadata"]["name"]))
                job = self.apply(resource, obj)
                if job is not None:
                    changed.add(job)
        for key in [*(self._jobs if resource == JOBS else self._children.get(resource, ()))]:
            stored = self._known(resource, key)
            in_scope = namespace is None or key[0] == namespace
            if isinstance(stored, StoredChild) and not stored.watched:
                continue
            if stored and in_scope and key not in present and stored.version <= listed:
                job = self.forget(resource, key, stored.uid)
                if job is not None:
                    changed.add(job)
        return changed

    def _pods(self, owner: Owner) -> tuple[PodView, ...]:
        """By name: what is decided does not hang on who else there is."""
        found = (view for view in self._views(owner) if isinstance(view, PodView))
        return tuple(sorted(found, key=lambda view: view.name))

    def _workloads(self, namespace: str, child: ChildView) -> Iterator[ChildView]:
        """The Deployments whose pods serve: the ``child`` itself, or those that KServe has made."""
        if child.kind == kinds.DEPLOYMENT.name:
            yield child
        elif child.kind == kinds.INFERENCE_SERVICE.name:
            made = self._views(ownership.maker(namespace, child))
            yield from (view for view in made if isinstance(view, ChildView))

    def _views(self, owner: Owner) -> Iterator[PodView | ChildView]:
        return (self._children[r][key].view for r, key in self._by_owner.get(owner, ()))

    def _stored_job(self, obj: Mapping[str, Any], version: int, *, first: bool) -> StoredJob:
        """What is at rest as it is seen first was left so by an operator before us. Later on, we
        look at each version."""
        rest = at_rest(obj)
        looked_at = rest is not None and (first or rest.pods == "any")
        room = self._kept < _KEPT_BYTES and not looked_at
        return _stored(obj, version, _json(obj) if room else None, rest, looked_at)

    def _put(self, key: Key, job: StoredJob | None) -> None:
        before = self._jobs.pop(key, None) if job is None else self._jobs.get(key)
        for stored, sign in ((before, -1), (job, 1)):
            if stored is not None and stored.data is not None:
                self._kept += sign * len(stored.data)
        self._named.pop(key, None)
        if job is not None:
            self._jobs[key] = job
            if job.names:
                self._named[key] = job.names

    def _known(self, resource: Resource, key: Key) -> StoredJob | StoredChild | None:
        if resource == JOBS:
            return self._jobs.get(key)
        return self._children.get(resource, {}).get(key)

    def _drop_child(self, resource: Resource, key: Key) -> StoredChild | None:
        child = self._children.get(resource, {}).pop(key, None)
        if child is not None:
            siblings = self._by_owner[child.owner]
            siblings.discard((resource, key))
            if not siblings:
                del self._by_owner[child.owner]
        return child


def _stored(
    obj: Mapping[str, Any],
    version: int,
    data: bytes | None,
    rest: Rest | None,
    looked_at: bool,
) -> StoredJob:
    status = obj.get("status") or {}
    return StoredJob(
        uid=obj["metadata"]["uid"],
        version=version,
        data=data,
        phase=intern(status.get("phase") or "Pending"),
        # The CRD's defaults give every job a status; only we say which generation it is about.
        begun=bool(status.get("observedGeneration")),
        names=named_by(obj),
        rest=rest,
        looked_at=looked_at,
    )


def _json(obj: Mapping[str, Any]) -> bytes:
    # Who set which field is of no use to us, nor are annotations of others: kubectl's has all of
    # the spec once more. They are often the larger part.
    meta = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    meta["annotations"] = {
        name: value
        for name, value in (meta.get("annotations") or {}).items()
        if name.startswith(f"{GROUP}/")
    }
    # The items of a list do not say what they are.
    whole = {**obj, "apiVersion": API_VERSION, "kind": KIND, "metadata": meta}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


def _stored_child(resource: Resource, obj: Mapping[str, Any], version: int) -> StoredChild | None:
    """None for what is not a job's: other people's objects may carry our labels."""
    meta = obj["metadata"]
    owner = ownership.owner_of(obj)
    if owner is None:
        return None
    found: tuple[str, PodView | ChildView] | None
    if resource == PODS:
        found = ownership.pod_of(obj, owner)
    else:
        found = ownership.child_of(KIND_OF[resource], obj, owner)
    if found is None:
        return None
    job, view = found
    return StoredChild(
        uid=meta["uid"],
        version=version,
        job=(owner.namespace, job),
        owner=owner,
        view=view,
        watched=resource != PODS or LABEL_JOB in (meta.get("labels") or {}),
    )

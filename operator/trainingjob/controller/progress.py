"""What pods report while they run: heard over TLS, from pods of our jobs alone, and kept in memory.

The wire format is Kubeflow Trainer's. A report that is lost is followed by another.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from math import ceil

from aiohttp import web

from ..api.payload import ProgressReport, SealKey
from ..cluster import Cache, Key
from ..core import PodView, stages
from ..core.progress import Reported, newest, reported
from .buckets import Buckets
from .listener import Listener
from .tokens import Tokens, Untrusted, Unverified

# Of a report that was sent; ours have some hundred.
_MOST_BYTES = 8 * 1024
# Of one pod, a second; ours report every five, and Kubeflow's callback as seldom.
_RATE, _BURST = 2.0, 10
# A pod that reports without a pause is heard, but not acted upon more often.
_PAUSE_SECONDS = 1.0


class Reports:
    """The newest report of each job, by the job's uid."""

    def __init__(self) -> None:
        # None: nobody listens.
        self.since: datetime | None = None
        self._newest: dict[str, Reported] = {}

    def of(self, uid: str) -> Reported | None:
        """The newest one."""
        return self._newest.get(uid)

    def take(self, uid: str, report: Reported) -> bool:
        """Keep it if it is news; whether it was."""
        before = self._newest.get(uid)
        self._newest[uid] = newest(before, report)
        return self._newest[uid] is not before

    def forget(self, uid: str) -> None:
        """The job is over, or gone."""
        self._newest.pop(uid, None)


class Receiver:
    """Takes reports; ``notify`` is told of the job, and after how many seconds to look at it,
    ``answered`` of each answer's HTTP status. A GET is answered with the key of the job's test
    split, to pods that may read it; ``seal_key`` has it by the job's uid, or ""."""

    def __init__(
        self,
        cache: Cache,
        tokens: Tokens,
        reports: Reports,
        notify: Callable[[Key, float], None],
        answered: Callable[[int], None],
        seal_key: Callable[[str], str] = lambda _: "",
    ) -> None:
        self._cache = cache
        self._tokens = tokens
        self._reports = reports
        self._notify = notify
        self._answered = answered
        self._seal_key = seal_key
        # By the uid of the pod.
        self._rates: Buckets[str] = Buckets(_RATE, _BURST)
        self._heard: set[str] = set()

    async def receive(self, request: web.BaseRequest) -> web.Response:
        """The answer. Every path is the same: the token tells the pod."""
        answer = await self._authenticated(request)
        self._answered(answer.status)
        return answer

    def malformed(self) -> None:
        """Somebody has sent what is no HTTP."""
        self._answered(400)

    async def _authenticated(self, request: web.BaseRequest) -> web.Response:
        if request.method not in ("POST", "GET"):
            return _answer(405, "reports are posted")
        if (request.content_length or 0) > _MOST_BYTES:
            return _answer(413, f"a report has at most {_MOST_BYTES} bytes")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return _answer(401, "a bearer token is needed")
        try:
            pod = await self._tokens.pod(token.strip())
        except Untrusted as error:
            return _answer(401, f"the token is not accepted: {error}")
        except Unverified:
            return _answer(503, "tokens cannot be checked now")
        found = self._cache.reporter((pod.namespace, pod.name), pod.uid)
        if found is None:
            return _answer(403, "the pod is of no TrainingJob that is served here")
        # One at a time and not too often, before anything of it is read.
        wait = 1.0 if pod.uid in self._heard else self._rates.wait(pod.uid, time.monotonic())
        if wait:
            return _answer(429, "the pod reports too often", {"Retry-After": str(ceil(wait))})
        if request.method == "GET":
            return self._sealed_by(*found)
        self._heard.add(pod.uid)
        try:
            return await self._take(request, *found)
        finally:
            self._heard.discard(pod.uid)

    def _sealed_by(self, job: Key, uid: str, view: PodView) -> web.Response:
        if not stages.unseals(view.stage):
            return _answer(403, f"a pod of stage {view.stage} reads no test split that is sealed")
        key = self._seal_key(uid)
        if not key:
            return _answer(
                500, "the operator's key is kept in no Secret: nobody could read it then"
            )
        return web.json_response(SealKey(key=key).to_dict(), headers={"Cache-Control": "no-store"})

    async def _take(
        self, request: web.BaseRequest, job: Key, uid: str, view: PodView
    ) -> web.Response:
        body = b""
        try:
            async for some in request.content.iter_any():
                body += some
                if len(body) > _MOST_BYTES:
                    return _answer(413, f"a report has at most {_MOST_BYTES} bytes")
            report = ProgressReport.model_validate_json(body)
            told = reported(report, view.stage, view.attempt, view.index, datetime.now(UTC))
        except ValueError:
            return _answer(400, "the body is no report of progress")
        if self._reports.take(uid, told):
            self._notify(job, _PAUSE_SECONDS)
        return _answer(200, "")


async def serve(
    receiver: Receiver, port: int, tls: ssl.SSLContext, refused: Callable[[], None]
) -> Listener:
    """Serve it; whoever calls closes it. Raises OSError when the port is taken."""
    listener = Listener(web.Server(receiver.receive), malformed=receiver.malformed, refused=refused)
    await listener.start(port, tls)
    return listener


def _answer(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=text + "\n" if text else "", headers=headers)

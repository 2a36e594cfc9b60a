"""What pods report while they run: heard over TLS, from pods of our jobs alone, and kept in memory.

The wire format is Kubeflow Trainer's. A report that is lost is followed by another.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime

from aiohttp import web

from ..api.payload import ProgressReport
from ..cluster import Cache, Key
from ..core.progress import Reported, newest, reported
from .tokens import Tokens, Untrusted, Unverified

_MOST_BYTES = 64 * 1024
# A pod that reports without a pause is heard, but not acted upon more often.
_PAUSE_SECONDS = 1.0
_END_SECONDS = 1.0


class Reports:
    """The newest report of each job, by the job's uid."""

    def __init__(self) -> None:
        # None: nobody listens.
        self.since: datetime | None = None
        self._newest: dict[str, Reported] = {}

    def of(self, uid: str) -> Reported | None:
        """The newest one."""
        return self._newest.get(uid)

    def take(self, uid: str, told: Reported) -> bool:
        """Keep it if it is news; whether it was."""
        before = self._newest.get(uid)
        self._newest[uid] = newest(before, told)
        return self._newest[uid] is not before

    def forget(self, uid: str) -> None:
        """The job is over, or gone."""
        self._newest.pop(uid, None)


class Receiver:
    """Takes reports; ``notify`` is told of the job, and after how many seconds to look at it,
    ``answered`` of each answer's HTTP status."""

    def __init__(
        self,
        cache: Cache,
        tokens: Tokens,
        reports: Reports,
        notify: Callable[[Key, float], None],
        answered: Callable[[int], None],
    ) -> None:
        self._cache = cache
        self._tokens = tokens
        self._reports = reports
        self._notify = notify
        self._answered = answered

    def application(self) -> web.Application:
        """Every path is the same: the token tells the pod."""
        app = web.Application(client_max_size=_MOST_BYTES)
        app.router.add_post("/{path:.*}", self._receive)
        return app

    async def _receive(self, request: web.Request) -> web.Response:
        answer = await self._take(request)
        self._answered(answer.status)
        return answer

    async def _take(self, request: web.Request) -> web.Response:
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
        job, uid, view = found
        try:
            report = ProgressReport.model_validate_json(await request.read())
            told = reported(report, view.stage, view.attempt, view.index, datetime.now(UTC))
        except ValueError:
            return _answer(400, "the body is no report of progress")
        if self._reports.take(uid, told):
            self._notify(job, _PAUSE_SECONDS)
        return _answer(200, "")


async def serve(app: web.Application, port: int, tls: ssl.SSLContext) -> web.AppRunner:
    """Serve it; whoever calls ends it. Raises OSError when the port is taken."""
    # A client that is slow to send does not hold up our end.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_END_SECONDS)
    await runner.setup()
    await web.TCPSite(runner, port=port, ssl_context=tls).start()
    return runner


def _answer(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text + "\n" if text else "")

"""Many runs side by side, each of one job with an operator of its own, on one API server."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import aiohttp

from tests.cluster.behaviour import Behaviour, succeed
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet
from trainingjob.cluster.resources import BY_KIND, watched
from trainingjob.controller.certificate import Authority

from . import oracle, scenarios
from .faults import Fault
from .oracle import Seen
from .process import Process
from .proxy import Proxy, Wire
from .scenarios import Scenario
from .trails import Trail, Trails

_JOBS = "/apis/trainingjob.dev/v1alpha1/namespaces/{}/trainingjobs"
_SECRET = "status"
# On a machine that is busy with other things.
_DEADLINE_SECONDS = 60.0


@dataclass(frozen=True)
class Case:
    """``point``: the write or event that the fault befalls; see `Wire`."""

    scenario: str
    fault: Fault | None = None
    point: tuple[str, int] | None = None

    @property
    def name(self) -> str:
        if self.fault is None or self.point is None:
            return f"{self.scenario}: undisturbed"
        nth = f" #{self.point[1]}" if self.point[1] > 1 else ""
        return f"{self.scenario}: {self.fault.name}: {self.point[0]}{nth}"


@dataclass
class Result:
    """``wrong``: which properties do not hold; ``reached``: the fault came to pass; ``seconds``:
    from the job's creation to its end; ``longer``: so much longer than undisturbed, without the
    time that the fault itself takes. ``seen`` and ``wire``: of an undisturbed run alone, as all
    that was seen in thousands of runs is too much to keep."""

    case: Case
    wrong: list[str]
    reached: bool
    seconds: float
    longer: float
    seen: Seen | None = None
    wire: Wire | None = None


class Runs:
    """An asynchronous context manager. ``beside``: how many runs at a time."""

    def __init__(self, control_plane: ControlPlane, beside: int = 8) -> None:
        self._plane = control_plane
        self._beside = beside
        self._fates: dict[str, Behaviour] = {}
        self._numbers = 0
        self._stack = contextlib.AsyncExitStack()
        self._plain: dict[str, Result] = {}

    async def __aenter__(self) -> Self:
        enter = self._stack.enter_async_context
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._proxy = await enter(Proxy(self._plane))
        self._session = await enter(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=False, limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
                headers={"Authorization": f"Bearer {self._plane.token()}"},
                read_bufsize=2**20,
            )
        )
        self._trails = await enter(Trails(self._plane, self._session))
        kubelet = FakeKubelet(self._plane, None, 0.05, self._fate)
        await asyncio.to_thread(kubelet.__enter__)
        self._stack.push_async_callback(asyncio.to_thread, kubelet.__exit__, None)
        self._authority = Authority.make(datetime.now(UTC)).data
        self._places: asyncio.Queue[str] = asyncio.Queue()
        for place in await asyncio.gather(*(self._place() for _ in range(self._beside))):
            self._places.put_nowait(place)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def undisturbed(self) -> dict[str, Result]:
        """Each scenario without a fault: what the others are held against."""
        found = await self.all([Case(scenario.name) for scenario in scenarios.SCENARIOS])
        self._plain = {result.case.scenario: result for result in found}
        return self._plain

    async def all(
        self, cases: Iterable[Case], tell: Callable[[Result], None] = lambda _: None
    ) -> list[Result]:
        """In the order of the cases; ``tell`` gets each as it comes."""
        return await asyncio.gather(*(self._in_turn(case, tell) for case in cases))

    async def _in_turn(self, case: Case, tell: Callable[[Result], None]) -> Result:
        namespace = await self._places.get()
        try:
            result = await self._run(case, namespace)
        finally:
            self._places.put_nowait(namespace)
        tell(result)
        return result

    # --- one run -------------------------------------------------------------------------------
    async def _run(self, case: Case, namespace: str) -> Result:
        scenario = scenarios.BY_NAME[case.scenario]
        self._numbers += 1
        job = f"j{self._numbers:05}"
        self._let_live(scenario, job)
        wire = Wire(job, namespace, case.fault, case.point)
        trail = self._trails.of(namespace, job)
        lives = _Lives(self._proxy, wire, namespace, self._folder / f"{job}.log")
        await lives.start()
        try:
            await self._until(lambda: wire.watched == len(watched(deploys=False)), "the watches")
            begun = time.monotonic()
            wire.born = await self._create(scenario, job, namespace)
            late, ended = await self._story(scenario, job, wire, trail)
            await self._quiet(wire, ended)
            seen = Seen(
                job=job,
                namespace=namespace,
                calls=wire.calls,
                trail=trail,
                children=await self._children(job, namespace),
                log=lives.log(),
                ended=ended,
                left=time.monotonic() - max(wire.told, ended),
                code=lives.code(),
                late=late,
            )
        finally:
            await lives.end()
            self._proxy.forget(wire)
            self._trails.forget(namespace, job)
            await self._ask("DELETE", f"{_JOBS.format(namespace)}/{job}")
        return self._result(case, seen, wire, ended - begun)

    def _result(self, case: Case, seen: Seen, wire: Wire, seconds: float) -> Result:
        plain = self._plain.get(case.scenario)
        if plain is None or plain.seen is None:
            return Result(case, oracle.faults_of(seen, seen), True, seconds, 0.0, seen, wire)
        lasts = case.fault.lasts if case.fault else 0.0
        longer = max(0.0, seconds - plain.seconds - lasts)
        wrong = oracle.faults_of(seen, plain.seen)
        return Result(case, wrong, wire.reached, seconds, longer)

    async def _story(
        self, scenario: Scenario, job: str, wire: Wire, trail: Trail
    ) -> tuple[str, float]:
        """What came too late, and when the end came."""

        async def ask(verb: str, body: Any) -> None:
            await self._ask(verb, f"{_JOBS.format(wire.namespace)}/{job}", body)

        allowed = _DEADLINE_SECONDS + (wire.fault.lasts if wire.fault else 0.0)
        try:
            async with asyncio.timeout(allowed):
                if scenario.acts is not None:
                    await scenario.acts(trail, ask)
                if scenario.over is not None:
                    ended = await trail.until(scenario.over)
                else:
                    ended = await trail.until_gone()
                    await self._until_no_child(job, wire.namespace)
        except TimeoutError:
            status = trail.last.get("status")
            return f"not at its end after {allowed:.0f} s; the status is {status}", time.monotonic()
        return "", ended

    async def _quiet(self, wire: Wire, ended: float) -> None:
        """Until nothing has been written for a while, or it is clear that this does not happen."""
        limit = time.monotonic() + 10.0
        while (now := time.monotonic()) < limit:
            quiet = now - max(wire.told, ended)
            if quiet >= oracle.QUIET_SECONDS:
                return
            await asyncio.sleep(oracle.QUIET_SECONDS - quiet + 0.01)

    async def _until_no_child(self, job: str, namespace: str) -> None:
        while await self._children(job, namespace):
            await asyncio.sleep(0.1)

    async def _until(self, holds: Any, what: str) -> None:
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while not holds():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {_DEADLINE_SECONDS:.0f} s for {what}")
            await asyncio.sleep(0.01)

    # --- the API server ------------------------------------------------------------------------
    async def _create(self, scenario: Scenario, job: str, namespace: str) -> int:
        made = await self._ask("POST", _JOBS.format(namespace), scenario.job(job))
        return int(made["metadata"]["resourceVersion"])

    async def _children(self, job: str, namespace: str) -> list[dict[str, Any]]:
        found = []
        for kind, resource in BY_KIND.items():
            query = f"?labelSelector=trainingjob.dev/job={job}"
            told = await self._ask("GET", resource.path(namespace) + query)
            found += [item | {"kind": kind} for item in told.get("items") or ()]
        return found

    async def _ask(self, verb: str, path: str, body: Any = None) -> Any:
        kind = "application/merge-patch+json" if verb == "PATCH" else "application/json"
        headers = {"Content-Type": kind} if body is not None else None
        async with self._session.request(
            verb, self._plane.server + path, json=body, headers=headers
        ) as answer:
            told = await answer.json(content_type=None)
            if answer.status >= 400 and answer.status != 404:
                raise RuntimeError(f"{verb} {path}: {told}")
            return told

    async def _place(self) -> str:
        """A namespace, with the Secret of an operator that was there before."""
        name = await asyncio.to_thread(self._plane.namespace)
        secret = {"metadata": {"name": _SECRET}, "type": "Opaque", "data": self._authority}
        await self._ask("POST", f"/api/v1/namespaces/{name}/secrets", secret)
        return name

    # --- pods ----------------------------------------------------------------------------------
    def _let_live(self, scenario: Scenario, job: str) -> None:
        for name, fate in scenario.fates.items():
            meets = fate.meets.format(job=job)
            self._fates[f"{job}-{name}"] = _meeting(fate, meets) if meets else fate

    def _fate(self, pod: dict[str, Any]) -> Behaviour:
        return self._fates.get(pod["metadata"]["name"], succeed())


class _Lives:
    """One operator, and another one when it has crashed."""

    def __init__(self, proxy: Proxy, wire: Wire, namespace: str, log: Path) -> None:
        self._proxy = proxy
        self._wire = wire
        self._namespace = namespace
        self._log = log
        self._processes: list[Process] = []
        self._next: asyncio.Task[None] | None = None
        wire.crash, wire.end, wire.join = self._crash, self._end, self._join

    async def start(self) -> None:
        arguments: Sequence[str] = (
            f"--kubeconfig={self._proxy.kubeconfig(self._wire)}",
            f"--namespace={self._namespace}",
            "--http-port=0",
            "--status-url=https://127.0.0.1:1",
            "--status-port=0",
            f"--status-secret={self._namespace}/{_SECRET}",
        )
        times = self._wire.fault.times if self._wire.fault else {}
        self._processes.append(await asyncio.to_thread(Process, arguments, times, self._log))

    def _crash(self) -> None:
        """Called in the midst of a request: nothing that it still asks for is heard."""
        self._processes[-1].kill()
        self._wire.alive.clear()
        self._join()

    def _end(self) -> None:
        """In order, which takes it a moment."""
        self._processes[-1].end()
        self._join()

    def _join(self) -> None:
        self._next = asyncio.get_running_loop().create_task(self.start())

    def code(self) -> int | None:
        """Of one that was not to end."""
        return self._processes[-1].code

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    async def end(self) -> None:
        if self._next is not None:
            await self._next
        for process in self._processes:
            process.kill()
            await asyncio.to_thread(process.bury)
        self._log.unlink(missing_ok=True)


def _meeting(fate: Behaviour, meets: str) -> Behaviour:
    return succeed(fate.seconds, fate.message, meets)

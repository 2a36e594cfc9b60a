"""The operator on a real control plane with a fake kubelet: writes, latency, bursts, restarts.

What is measured runs on the same two cores as the API server, etcd, the controllers and the fake
kubelet. Ratios are against a script that makes the same objects with no controller at all.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import ssl
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.cluster.behaviour import Behaviour, run, succeed
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet
from tests.integration.harness import JOBS, Namespace, Operator, gang, manifest
from tests.integration.test_progress import Pod, to_listen
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.cluster.resources import MADE, PODS
from trainingjob.core import Settings, stages

POD_SECONDS = 0.2
BURST = int(os.environ.get("BENCH_JOBS", "200"))
ROUNDS = 3
ALONE = 60
IDLE_SECONDS = float(os.environ.get("BENCH_IDLE_SECONDS", "300"))
PRESENT = 1000
REPORTS, REPORTERS = 1000, 20

# For a pod; what takes longer counts as so much where others attack.
PATIENCE_SECONDS = 60

# As many at a time as the operator has workers.
PARALLEL = 8


class Client:
    """A bare asynchronous client of the API server, as a script would have."""

    def __init__(self, control_plane: ControlPlane, session: aiohttp.ClientSession) -> None:
        self._server = control_plane.server
        self._session = session

    async def post(self, path: str, body: Any) -> dict[str, Any]:
        async with self._session.post(self._server + path, json=body) as answer:
            told: dict[str, Any] = await answer.json()
            assert answer.status in (200, 201), told
            return told

    async def put(self, path: str, body: Any) -> dict[str, Any]:
        async with self._session.put(self._server + path, json=body) as answer:
            told: dict[str, Any] = await answer.json()
            assert answer.status == 200, told
            return told

    async def get(self, path: str) -> dict[str, Any]:
        async with self._session.get(self._server + path) as answer:
            told: dict[str, Any] = await answer.json()
            return told

    async def watch(self, path: str) -> AsyncIterator[tuple[str, dict[str, Any], float]]:
        """Events from now on, each with the moment at which it was read."""
        version = (await self.get(path))["metadata"]["resourceVersion"]
        while True:  # the API server ends watches that do not keep up
            params = {"watch": "1", "resourceVersion": version}
            async with self._session.get(self._server + path, params=params) as answer:
                rest = b""
                async for chunk in answer.content.iter_any():
                    now = time.perf_counter()
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        event = json.loads(line)
                        version = event["object"]["metadata"]["resourceVersion"]
                        yield event["type"], event["object"], now


@asynccontextmanager
async def client(control_plane: ControlPlane) -> AsyncIterator[Client]:
    tls = ssl.create_default_context(cafile=control_plane.ca_file)
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {control_plane.token()}"},
        connector=aiohttp.TCPConnector(ssl=tls, limit=64),
        timeout=aiohttp.ClientTimeout(total=None),
        read_bufsize=2**20,
    ) as session:
        yield Client(control_plane, session)


# --- bursts ---------------------------------------------------------------------------------


async def burst_of_operator(control_plane: ControlPlane, namespace: str) -> dict[str, float]:
    """Seconds until every job has its verdict, and how far the verdicts lag behind the pods."""
    last_pod: dict[str, float] = {}
    verdict: dict[str, float] = {}
    pods = f"/api/v1/namespaces/{namespace}/pods"
    jobs = f"/{JOBS}/namespaces/{namespace}/trainingjobs"
    async with client(control_plane) as api:
        done = asyncio.Event()

        async def follow_pods() -> None:
            async for _, pod, now in api.watch(pods):
                if pod.get("status", {}).get("phase") == "Succeeded":
                    last_pod[pod["metadata"]["labels"]["trainingjob.dev/job"]] = now

        async def follow_jobs() -> None:
            async for _, job, now in api.watch(jobs):
                if job.get("status", {}).get("phase") == "Succeeded":
                    verdict.setdefault(job["metadata"]["name"], now)
                    if len(verdict) == BURST:
                        done.set()

        followers = [asyncio.create_task(follow_pods()), asyncio.create_task(follow_jobs())]
        await asyncio.sleep(0.5)  # both watch by then
        begun = time.perf_counter()
        await in_parallel(
            [lambda n=n: api.post(jobs, gang(5, f"job-{n}")) for n in range(BURST)]  # type: ignore[misc]
        )
        await until(done, followers)
        seconds = max(verdict.values()) - begun
    lags = sorted(verdict[name] - last_pod[name] for name in verdict)
    return {"seconds": seconds, "lag p50": quantile(lags, 0.5), "lag p99": quantile(lags, 0.99)}


async def burst_of_script(
    control_plane: ControlPlane, namespace: str, *, kinds: Sequence[str], verdict: bool = True
) -> float:
    """Seconds until all pods of the same objects have ended; nobody decides anything. Of objects
    that are no pods those of these ``kinds``; ``verdict``: of each job it is written down."""
    ended: Counter[str] = Counter()
    made: dict[str, dict[str, Any]] = {}
    left = set(range(BURST))
    jobs = f"/{JOBS}/namespaces/{namespace}/trainingjobs"
    async with client(control_plane) as api:
        done = asyncio.Event()

        async def end(name: str) -> None:
            if verdict:
                whole = made[name] | {"status": {"phase": "Succeeded"}}
                await api.put(f"{jobs}/{name}/status", whole)
            left.discard(int(name.removeprefix("job-")))
            if not left:
                done.set()

        async def follow() -> None:
            async with asyncio.TaskGroup() as ends:
                async for _, pod, _ in api.watch(f"/api/v1/namespaces/{namespace}/pods"):
                    if pod.get("status", {}).get("phase") == "Succeeded":
                        name = pod["metadata"]["labels"]["trainingjob.dev/job"]
                        ended[name] += 1
                        if ended[name] == 5:
                            ends.create_task(end(name))

        async def one(number: int) -> None:
            made[f"job-{number}"] = await api.post(jobs, gang(5, f"job-{number}"))
            job = TrainingJob.from_dict(made[f"job-{number}"])
            for child in stages.named("train").others(job, Settings()):
                if child["kind"] in kinds:
                    await api.post(MADE[child["kind"]].path(namespace), child)
            made_pods = stages.named("train").pods(job, 1, Settings())
            await asyncio.gather(*(api.post(PODS.path(namespace), pod) for pod in made_pods))

        follower = asyncio.create_task(follow())
        await asyncio.sleep(0.5)
        begun = time.perf_counter()
        await in_parallel([lambda n=n: one(n) for n in range(BURST)])  # type: ignore[misc]
        await until(done, [follower])
        return time.perf_counter() - begun


async def until(done: asyncio.Event, followers: list[asyncio.Task[None]]) -> None:
    """Wait for the end, or for the end of one that follows: then there was an error."""
    end = asyncio.create_task(done.wait())
    over, _ = await asyncio.wait(
        [end, *followers], timeout=300, return_when=asyncio.FIRST_COMPLETED
    )
    for follower in followers:
        if follower in over:
            follower.result()
        follower.cancel()
    assert end in over, "not done in 5 minutes"


async def in_parallel(calls: list[Callable[[], Any]]) -> None:
    todo = list(reversed(calls))

    async def work() -> None:
        while todo:
            await todo.pop()()

    await asyncio.gather(*(work() for _ in range(PARALLEL)))


def bursts(control_plane: ControlPlane) -> None:
    ratios, bares, lags, cpu, rates = [], [], [], [], []
    for number in range(ROUNDS):
        scripts = []
        for kinds in (), ("NetworkPolicy", "Service"):
            namespace = control_plane.namespace()
            with FakeKubelet(control_plane, [namespace], POD_SECONDS):
                burst = burst_of_script(control_plane, namespace, kinds=kinds, verdict=not kinds)
                scripts.append(asyncio.run(burst))
            clear(control_plane, namespace)
        barest, script = scripts
        namespace = control_plane.namespace()
        operator = Operator(control_plane.kubeconfig(), [namespace])
        with FakeKubelet(control_plane, [namespace], POD_SECONDS):
            try:
                operator.start()
                before = operator.metric("process_cpu_seconds_total")
                told = asyncio.run(burst_of_operator(control_plane, namespace))
                used = operator.metric("process_cpu_seconds_total") - before
                memory = operator.metric("process_resident_memory_bytes") / 2**20
            finally:
                operator.kill()
        clear(control_plane, namespace)
        ratios.append(script / told["seconds"])
        bares.append(barest / told["seconds"])
        lags.append(told["lag p99"])
        cpu.append(1000 * used / BURST)
        rates.append(60 * BURST / told["seconds"])
        print(
            f"  round {number}: script {script:.1f} s, bare {barest:.1f} s, "
            f"operator {told['seconds']:.1f} s ({rates[-1]:.0f} jobs a minute), "
            f"lag p50 {told['lag p50']:.2f} s p99 {told['lag p99']:.2f} s, "
            f"CPU {cpu[-1]:.1f} ms a job, {memory:.0f} MiB",
            file=sys.stderr,
            flush=True,
        )
    print(
        f"{BURST} five-pod jobs at once: {statistics.median(rates):.0f} jobs a minute, "
        f"{statistics.median(ratios):.2f} of a script that makes the same objects (goal ≥ 0.85), "
        f"{statistics.median(bares):.2f} of one that makes pods and writes verdicts alone"
    )
    print(f"status lag behind the last pod, p99: {statistics.median(lags):.2f} s (goal ≤ 1.5)")
    print(f"operator CPU a job: {statistics.median(cpu):.1f} ms (goal ≤ 30)")


def clear(control_plane: ControlPlane, namespace: str) -> None:
    """Remove everything, and wait for it: the next round starts as this one did."""
    control_plane.request("DELETE", f"/api/v1/namespaces/{namespace}")
    while control_plane.request("GET", f"/api/v1/namespaces/{namespace}")[0] != 404:
        time.sleep(0.2)


# --- latency --------------------------------------------------------------------------------


async def latencies(
    control_plane: ControlPlane, namespace: str, prefix: str = "alone", ends: float | None = None
) -> tuple[list[float], list[float]]:
    """Milliseconds from a job's creation to its first pod, and from the end of a stage to the
    first pod of the next, one job at a time: ALONE of them, or as many as begin before ``ends``."""
    first: list[float] = []
    handover: list[float] = []
    jobs = f"/{JOBS}/namespaces/{namespace}/trainingjobs"
    async with client(control_plane) as api:
        seen: dict[tuple[str, str], float] = {}
        news = asyncio.Event()

        async def follow() -> None:
            async for kind, pod, now in api.watch(f"/api/v1/namespaces/{namespace}/pods"):
                name = pod["metadata"]["name"]
                if kind == "ADDED":
                    seen.setdefault((name, "made"), now)
                if pod.get("status", {}).get("phase") == "Succeeded":
                    seen.setdefault((name, "over"), now)
                news.set()

        async def moment(pod: str, what: str) -> float:
            while (pod, what) not in seen:
                news.clear()
                await asyncio.wait_for(news.wait(), PATIENCE_SECONDS)
            return seen[pod, what]

        follower = asyncio.create_task(follow())
        await asyncio.sleep(0.5)
        for number in itertools.count():
            if number > ALONE if ends is None else time.monotonic() > ends:
                break
            name = f"{prefix}-{number}"
            try:
                begun = time.perf_counter()
                await api.post(jobs, manifest(name))
                first.append(1000 * (await moment(f"{name}-preprocess-1-0", "made") - begun))
                for before, after in (("preprocess", "train"), ("train", "evaluate")):
                    over = await moment(f"{name}-{before}-1-0", "over")
                    made = await moment(f"{name}-{after}-1-0", "made")
                    handover.append(1000 * (made - over))
                await moment(f"{name}-evaluate-1-0", "over")
            except (TimeoutError, aiohttp.ClientError):
                if ends is None:
                    raise
                handover.append(1000 * PATIENCE_SECONDS)
            await asyncio.sleep(0.2)
        follower.cancel()
    # The API server holds the first object of a new CRD back for 2 s.
    return first[1:], handover[2:]


def alone(control_plane: ControlPlane) -> None:
    namespace = control_plane.namespace()
    operator = Operator(control_plane.kubeconfig(), [namespace])
    with FakeKubelet(control_plane, [namespace], POD_SECONDS):
        try:
            operator.start()
            first, handover = asyncio.run(latencies(control_plane, namespace))
        finally:
            operator.kill()
    clear(control_plane, namespace)
    for what, found in (("create → first pod", first), ("stage hand-over", handover)):
        p50, p99 = quantile(found, 0.5), quantile(found, 0.99)
        print(f"{what}: p50 {p50:.0f} ms (goal ≤ 60), p99 {p99:.0f} ms (goal ≤ 150)")


# --- writes ---------------------------------------------------------------------------------


def writes(control_plane: ControlPlane) -> None:
    """By the audit log: every request that was no read, the operator's and everybody else's."""
    for what, seconds, job in (
        ("gang of five, pods of 0.2 s", 0.2, gang(5, "counted")),
        ("gang of five, pods of 3 s", 3.0, gang(5, "counted")),
        ("gang of five of own code, pods of 3 s", 3.0, gang(5, "counted", train=_own_code())),
        ("three stages, five pods of 0.2 s", 0.2, _three_stages()),
        ("three stages, five pods of 3 s", 3.0, _three_stages()),
    ):
        space = Namespace(control_plane, control_plane.namespace())
        operator = Operator(control_plane.kubeconfig("operator"), [space.name])
        with FakeKubelet(control_plane, [space.name], seconds):
            try:
                operator.start()
                space.run(job)
                space.wait("counted", phase="Succeeded")
                time.sleep(2)  # whatever would still follow
            finally:
                operator.kill()
        everybody = written_by(control_plane, space.name)
        total = sum(everybody["operator"].values())
        every = sum(sum(counted.values()) for counted in everybody.values())
        print(f"API writes, {what}: P + {total - 5} (goal ≤ P + 5), of all parties {every}")
        for writer, counted in everybody.items():
            detail = ", ".join(f"{count} {name}" for name, count in counted.most_common())
            print(f"  {writer}: {detail}")
        clear(control_plane, space.name)


def _three_stages() -> dict[str, Any]:
    return manifest("counted", train={"nodes": 3, "model": {"mlp": {"hidden": [64]}}})


def _own_code() -> dict[str, Any]:
    dataset = {"uri": "pvc://datasets/digits"}
    return {"nodes": 5, "dataset": dataset, "script": {"inline": "pass"}}


def written(control_plane: ControlPlane, namespace: str) -> Counter[str]:
    """By the operator."""
    return written_by(control_plane, namespace)["operator"]


def written_by(control_plane: ControlPlane, namespace: str) -> dict[str, Counter[str]]:
    """By everybody who wrote."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for event in control_plane.audit_events():
        target = event.get("objectRef") or {}
        wrote = event["verb"] not in ("get", "list", "watch")
        done = event["stage"] == "ResponseComplete"
        if wrote and done and target.get("namespace") == namespace:
            writer = event["user"]["username"].rpartition(":")[2]
            # What all of a controller manager do, by the part of it.
            part = re.search(r"/([a-z-]+controller)$", event.get("userAgent", ""))
            sub = f"/{target['subresource']}" if "subresource" in target else ""
            code = (event.get("responseStatus") or {}).get("code", 0)
            refused = f" (refused: {code})" if code >= 400 else ""
            name = f"{event['verb']} {target['resource']}{sub}{refused}"
            found[part[1] if part else writer][name] += 1
    return found


# --- many at rest ---------------------------------------------------------------------------


def at_rest(control_plane: ControlPlane) -> None:
    """No write while nothing changes, neither at rest nor at a start among a thousand jobs."""
    space = Namespace(control_plane, control_plane.namespace())

    def script(pod: dict[str, Any]) -> Behaviour:
        return run() if "running" in pod["metadata"]["name"] else succeed()

    operator = Operator(control_plane.kubeconfig("operator"), [space.name])
    with FakeKubelet(control_plane, [space.name], 0.05, script):
        try:
            operator.start()
            for number in range(500):
                space.run(gang(2, f"finished-{number}"))
            for number in range(100):
                space.run(gang(2, f"running-{number}"))
            while operator.metric("trainingjob_jobs", phase="Succeeded") < 500:
                time.sleep(0.5)
            time.sleep(15)
            before = sum(written(control_plane, space.name).values())
            cpu = operator.metric("process_cpu_seconds_total")
            time.sleep(IDLE_SECONDS)
            after = sum(written(control_plane, space.name).values())
            used = operator.metric("process_cpu_seconds_total") - cpu
            print(
                f"{IDLE_SECONDS:.0f} s at rest, 500 finished and 100 running jobs: "
                f"{after - before} writes (goal 0), CPU {100 * used / IDLE_SECONDS:.2f} %"
            )
            for number in range(PRESENT - 600):
                space.run(gang(2, f"more-{number}"))
            while operator.metric("trainingjob_jobs", phase="Succeeded") < PRESENT - 100:
                time.sleep(0.5)
            time.sleep(15)
            operator.kill()
            before = sum(written(control_plane, space.name).values())
            begun = time.perf_counter()
            operator.start()
            while operator.metric("trainingjob_reconciles_total") < PRESENT:
                time.sleep(0.05)
            seconds = time.perf_counter() - begun
            time.sleep(5)
            after = sum(written(control_plane, space.name).values())
            memory = operator.metric("process_resident_memory_bytes") / 2**20
            print(
                f"start among {PRESENT} jobs: all reconciled after {seconds:.1f} s (goal ≤ 10), "
                f"{after - before} writes (goal 0), {memory:.0f} MiB (goal ≤ 150)"
            )
        finally:
            operator.kill()


def reports(control_plane: ControlPlane) -> None:
    """What a report of progress costs: each over a connection of its own, as pods send them."""
    space = Namespace(control_plane, control_plane.namespace())
    arguments = to_listen("127.0.0.1", space.name, "nothing")
    operator = Operator(control_plane.kubeconfig(), [space.name], arguments)
    with (
        FakeKubelet(control_plane, [space.name], script=lambda _: run()),
        tempfile.TemporaryDirectory() as folder,
    ):
        try:
            operator.start()
            space.run(gang(REPORTERS))
            space.wait("gang", phase="Training", reason="Running")
            pods = [Pod(space, f"gang-train-1-{n}", Path(folder)) for n in range(REPORTERS)]
            before = operator.metric("process_cpu_seconds_total")
            begun = time.perf_counter()
            for step in range(REPORTS):
                # No more than a pod, and all of an address, may send.
                time.sleep(max(0.0, begun + step / REPORTERS / 2 - time.perf_counter()))
                metrics = [{"name": "step", "value": str(step)}]
                report = json.dumps({"trainerStatus": {"metrics": metrics}}).encode()
                assert pods[step % REPORTERS].post(report) == 200
            used = operator.metric("process_cpu_seconds_total") - before
        finally:
            operator.kill()
    clear(control_plane, space.name)
    print(f"a report of progress: {1000 * used / REPORTS:.1f} ms of the operator's CPU")


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


PARTS = {"alone": alone, "bursts": bursts, "reports": reports, "writes": writes, "rest": at_rest}


def main() -> None:
    wanted = os.environ.get("BENCH_OPERATOR", ",".join(PARTS)).split(",")
    users = {"operator": ("system:masters",)}
    with ControlPlane(crd=True, fast=True) as control_plane:
        for part in ("alone", "bursts", "reports"):
            if part in wanted:
                PARTS[part](control_plane)
    with ControlPlane(crd=True, fast=True, audit=True, users=users) as control_plane:
        for part in ("writes", "rest"):
            if part in wanted:
                PARTS[part](control_plane)


if __name__ == "__main__":
    main()

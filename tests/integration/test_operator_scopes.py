"""One namespace's failure is nobody else's, and a part that is dead ends the process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet
from tests.cluster.faults import SILENCE, Fault, Faults
from tests.cluster.wait import wait_for

from .harness import Namespace, Operator, gang
from .test_rbac import applied, rendered

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SOON = 20.0  # a pause of 15 s between two tries, and the rest
TIMES = {"blind_seconds": 1.0}


@pytest.fixture(scope="module")
def faults(control_plane: ControlPlane) -> Iterator[Faults]:
    with Faults(control_plane) as faults:
        yield faults


@pytest.fixture(autouse=True)
def _no_fault(faults: Faults) -> Iterator[None]:
    yield
    faults.fault = lambda path, watch: None


@pytest.fixture
def spaces(control_plane: ControlPlane) -> Iterator[tuple[Namespace, Namespace]]:
    made = [Namespace(control_plane, control_plane.namespace()) for _ in range(2)]
    yield made[0], made[1]
    for space in made:
        control_plane.request("DELETE", f"/api/v1/namespaces/{space.name}")


@contextlib.contextmanager
def running(kubeconfig: Path, *spaces: Namespace) -> Iterator[Operator]:
    made = Operator(kubeconfig, [space.name for space in spaces], times=TIMES)
    try:
        yield made.start()
    finally:
        made.kill()
    assert "Traceback" not in made.log(), made.log()


def is_served(space: Namespace, name: str, seconds: float = SOON) -> None:
    """A new job there is acted on."""
    space.run(gang(1, name))
    wait_for(f"{space.name} to be served", space.pods, seconds)
    space.wait(name, reason="Starting", seconds=seconds)
    space.delete("trainingjobs", name)
    wait_for("its pods to go", lambda: not space.pods())


def up(operator: Operator, space: Namespace) -> bool:
    return operator.metric("trainingjob_scope_up", namespace=space.name) == 1


def told_of(operator: Operator, space: Namespace) -> list[str]:
    """The log about the namespace."""
    return [line for line in operator.log().splitlines() if f"namespace {space.name}:" in line]


def without(objects: list[dict[str, Any]], space: Namespace, resource: str) -> str:
    """The rights, but for the one to list this resource there."""
    kept = yaml.safe_load(yaml.safe_dump(objects))
    for obj in kept:
        if obj["kind"] == "Role" and obj["metadata"]["namespace"] == space.name:
            for rule in obj["rules"]:
                if rule["resources"] == [resource]:
                    rule["verbs"] = ["create"]
    return yaml.safe_dump_all(kept)


def test_a_namespace_that_is_deleted_and_comes_back_is_nobody_elses_business(
    control_plane: ControlPlane, faults: Faults, spaces: tuple[Namespace, Namespace]
) -> None:
    ours, gone = spaces
    home = control_plane.namespace()
    objects = rendered(control_plane, home, f"namespaces={{{ours.name},{gone.name}}}")
    user = applied(control_plane, home, objects)
    with running(faults.kubeconfig(user), ours, gone) as operator:
        is_served(gone, "first")
        path = f"/api/v1/namespaces/{gone.name}"
        control_plane.request("DELETE", path)
        wait_for("it to be gone", lambda: control_plane.request("GET", path)[0] == 404)
        faults.cut()

        wait_for("it to be told", lambda: not up(operator, gone))
        is_served(ours, "meanwhile")
        code, text = operator.http("/readyz")
        assert (code, text.splitlines()[0]) == (200, "ok")
        assert f"namespace {gone.name}: cannot watch" in text
        assert "forbidden" in text
        assert operator.http("/healthz") == (200, "ok\n")
        assert len(told_of(operator, gone)) == 2  # that it was served at first, and not now

        assert operator.stop() == 0
        operator.start()
        assert up(operator, ours)
        assert not up(operator, gone)
        is_served(ours, "after-a-restart")

        control_plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": gone.name}})
        control_plane.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(objects))
        wait_for("it to be served again", lambda: up(operator, gone), SOON)
        is_served(gone, "again")
        (_, back) = told_of(operator, gone)[2:]
        assert "serving 0 jobs" in back


@pytest.mark.parametrize("resource", ["trainingjobs", "pods", "services"])
def test_a_right_that_is_missing_at_the_start_is_told_in_a_line_until_it_is_given(
    control_plane: ControlPlane, spaces: tuple[Namespace, Namespace], resource: str
) -> None:
    ours, other = spaces
    home = control_plane.namespace()
    objects = rendered(control_plane, home, f"namespaces={{{ours.name},{other.name}}}")
    control_plane.kubectl("apply", "-f", "-", input=without(objects, other, resource))
    control_plane.service_account_kubeconfig(home, "trainingjob-operator")
    user = f"system:serviceaccount:{home}:trainingjob-operator"
    with running(control_plane.kubeconfig(user), ours, other) as operator:
        is_served(ours, "meanwhile")
        assert not up(operator, other)
        (line,) = told_of(operator, other)
        assert f"cannot watch {resource}: " in line
        assert f'cannot list resource "{resource}"' in line
        assert "give the operator's service account its rights there" in line

        control_plane.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(objects))
        wait_for("it to be served", lambda: up(operator, other), SOON)
        is_served(other, "then")


def test_jobs_whose_pods_cannot_be_seen_are_left_alone(
    control_plane: ControlPlane, faults: Faults, spaces: tuple[Namespace, Namespace]
) -> None:
    """Else they would be failed for pods that do not start; as the other's is, at that time."""
    ours, blind = spaces
    brief = {"startupDeadlineSeconds": 3}
    with running(faults.kubeconfig(), ours, blind) as operator:
        blind.run(gang(1, policy=brief))
        pod = blind.wait_for_pod("gang-train-1-0")["metadata"]["name"]
        faults.fault = lambda path, watch: 403 if path.endswith(f"{blind.name}/pods") else None
        faults.cut()
        wait_for("it to be told", lambda: not up(operator, blind))
        ours.run(gang(1, policy=brief))
        ours.wait("gang", phase="Failed", reason="StartupDeadlineExceeded")
        assert blind.status("gang")["reason"] == "Starting"

        with FakeKubelet(control_plane, [blind.name], 0.05):
            wait_for("its end", lambda: _phase(blind, pod) == "Succeeded")
            faults.fault = lambda path, watch: None
            blind.wait("gang", phase="Succeeded", seconds=SOON)


def _phase(space: Namespace, pod: str) -> str:
    found = space.get("pods", pod) or {}
    return str(found.get("status", {}).get("phase"))


def error(code: int) -> bytes:
    status = '{"kind":"Status","status":"Failure","message":"a fault of the test","code":%d}'
    return b'{"type":"ERROR","object":%s}\n' % (status % code).encode()


# In the log, when it breaks; None: it is too ordinary to be told.
@pytest.mark.parametrize(
    ("what", "fault", "line", "words"),
    [
        ("etcd has lost its leader", None, error(500), "was ended: a fault of the test"),
        ("its place in the history is gone", None, error(410), None),
        ("something before it talks", None, b"upstream connect error\n", "is no JSON"),
        ("half a line", None, b'{"type":"MODIFIED","object":{"metadata":{"na', None),
        ("the kind is not there", 404, b"", "see that the CRD is installed"),
        ("no seat for it", 429, b"", "a fault of the test"),
        ("the history is gone, by the status", 410, b"", None),
        ("its token is not known", 401, b"", "the operator's token is not accepted"),
        ("something before it fails", 502, b"", "a fault of the test"),
        ("something before it answers", "<html>log in</html>", b"", "text/html and no JSON"),
    ],
)
def test_what_befalls_one_watch_passes_and_the_others_do_not_notice(
    faults: Faults,
    spaces: tuple[Namespace, Namespace],
    what: str,
    fault: Fault,
    line: bytes,
    words: str | None,
) -> None:
    ours, hit = spaces
    path = f"/api/v1/namespaces/{hit.name}/pods"
    met = 0

    def one(asked: str, watch: bool) -> Fault:
        nonlocal met
        # Three times, and then it is over.
        if fault is None or asked != path or met >= 3:
            return None
        met += 1
        return fault

    with running(faults.kubeconfig(), ours, hit) as operator:
        log = len(operator.log())
        faults.fault = one
        if line:
            faults.tell(path, line)
        if words:
            if fault is not None:
                faults.cut()
            wait_for("it to be told", lambda: words in operator.log())
        else:
            faults.cut()
        is_served(ours, "meanwhile")
        if words:
            wait_for("it to be told", lambda: "served again" in operator.log())
        wait_for("its end", lambda: met == 3 or fault is None)
        is_served(hit, "then")
        wait_for("all to be well", lambda: operator.http("/readyz") == (200, "ok\n"))
        said = operator.log()[log:].splitlines()
        assert len(said) == (2 if words else 0), said
        assert ours.name not in "".join(said)


def test_a_crd_that_is_deleted_and_comes_back_is_told_in_a_line() -> None:
    with ControlPlane(crd=True) as alone:
        space = Namespace(alone, alone.namespace())
        with running(alone.kubeconfig(), space) as operator:
            alone.request("DELETE", f"{CRDS}/trainingjobs.trainingjob.dev")
            wait_for("it to be told", lambda: operator.http("/readyz")[0] == 503)
            assert "cannot watch trainingjobs" in operator.http("/readyz")[1]
            assert operator.http("/healthz") == (200, "ok\n")
            alone.install_crd()
            operator.wait_until_ready()
            is_served(space, "then")
            said = told_of(operator, space)[1:]
        assert len(said) == 2
        assert "see that the CRD is installed" in said[0]
        assert said[1].endswith("served again")


def test_a_watch_is_held_for_everything_in_many_namespaces(
    control_plane: ControlPlane, namespace: str
) -> None:
    """More than the connections that one would think of: three for each."""
    names = [namespace, *(f"absent-{number}" for number in range(14))]
    operator = Operator(control_plane.kubeconfig(), names)
    try:
        operator.start()
        assert operator.metric("trainingjob_scope_up") == len(names)
        is_served(Namespace(control_plane, namespace), "job")
    finally:
        operator.kill()


def kopf_cannot_start(path: str, watch: bool) -> Fault:
    return 404 if path == "/apis" else None


@pytest.mark.parametrize(
    ("what", "times", "fault", "words"),
    [
        ("kopf falls", {}, kopf_cannot_start, "resource observer has ended"),
        (
            "a watch shows no sign of life",
            {"silent_seconds": 2.0},
            None,
            "is dead: no sign of life for 2 s",
        ),
    ],
)
def test_a_part_that_is_dead_ends_the_process_with_one_line(
    faults: Faults,
    namespace: str,
    what: str,
    times: dict[str, float],
    fault: Callable[[str, bool], Fault] | None,
    words: str,
) -> None:
    if fault is not None:
        faults.fault = fault
    operator = Operator(faults.kubeconfig(), [namespace], times=times)
    operator.start(ready=False)

    assert operator.wait(40) == 1
    errors = [line for line in operator.log().splitlines() if "ERROR" in line]
    assert len(errors) == 1
    assert words in errors[0]
    assert "Traceback" not in operator.log()


def test_the_answer_of_a_server_that_never_comes_is_told(
    faults: Faults, spaces: tuple[Namespace, Namespace]
) -> None:
    ours, silent = spaces
    path = f"/api/v1/namespaces/{silent.name}/pods"
    faults.fault = lambda asked, watch: SILENCE if asked == path else None
    operator = Operator(faults.kubeconfig(), [ours.name, silent.name])
    try:
        operator.start(ready=False)
        is_served(ours, "meanwhile", seconds=SOON)
        assert operator.http("/readyz")[0] == 503  # until it is known
    finally:
        operator.kill()

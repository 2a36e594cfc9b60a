"""Gangs with PodGroups, on API servers that have them and on one that has none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import behaviour
from tests.cluster.behaviour import Behaviour
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet

from .harness import Namespace, gang, operator

# Of Kubernetes 1.36; from 1.37 on it is a beta.
POD_GROUPS = (
    "--feature-gates=GenericWorkload=true",
    "--runtime-config=scheduling.k8s.io/v1alpha2=true",
)
PATH = "/apis/scheduling.k8s.io/v1alpha2/namespaces"


@pytest.fixture(scope="module")
def grouping() -> Iterator[ControlPlane]:
    with ControlPlane(crd=True, flags=POD_GROUPS) as control_plane:
        yield control_plane


def test_a_gang_has_a_group_which_each_of_its_attempts_uses(grouping: ControlPlane) -> None:
    space = Namespace(grouping, grouping.namespace())
    fates = {
        "gang-train-1-0": behaviour.run(),
        "gang-train-1-1": behaviour.fail(3),
        "gang-train-2-0": behaviour.run(),
    }

    def script(pod: dict[str, Any]) -> Behaviour:
        return fates.get(pod["metadata"]["name"], behaviour.succeed())

    with (
        FakeKubelet(grouping, [space.name], 0.05, script),
        operator(grouping, space.name, arguments=["--pod-groups"]) as served,
    ):
        space.run(gang(2))
        space.run(gang(1, "lone"))
        pod = space.wait_for_pod("gang-train-2-0")
        assert pod["spec"]["schedulingGroup"] == {"podGroupName": "gang-train-of-2"}
        group = grouping.request("GET", f"{PATH}/{space.name}/podgroups/gang-train-of-2")[1]
        assert group["spec"]["schedulingPolicy"] == {"gang": {"minCount": 2}}
        assert group["metadata"]["ownerReferences"] == pod["metadata"]["ownerReferences"]
        space.wait("lone", phase="Succeeded")
        assert "schedulingGroup" not in space.wait_for_pod("lone-train-1-0")["spec"]
        assert "gangs have PodGroups of scheduling.k8s.io/v1alpha2" in served.log()
        # Somebody else's, in the way.
        policy = {"schedulingPolicy": {"gang": {"minCount": 1}}}
        theirs = {"metadata": {"name": "other-train-of-2"}, "spec": policy}
        assert grouping.request("POST", f"{PATH}/{space.name}/podgroups", theirs)[0] == 201
        space.run(gang(2, "other"))
        status = space.wait("other", reason="NameConflict")
        assert "PodGroup other-train-of-2" in status["message"]


def test_without_them_the_operator_says_so_and_gangs_run(
    control_plane: ControlPlane, namespace: str, kubelet: FakeKubelet
) -> None:
    space = Namespace(control_plane, namespace)
    with operator(control_plane, namespace, arguments=["--pod-groups"]) as served:
        space.run(gang(2))
        space.wait("gang", phase="Succeeded")
        assert "the API server has no PodGroups" in served.log()

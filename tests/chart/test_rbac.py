"""Who may do what once the chart is installed, as the API server decides it."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from tests.cluster.controlplane import ControlPlane
from tests.cluster.wait import wait_for

from .conftest import USERS
from .helm import RELEASE
from .release import JOB, JOBS, Release
from .variants import ONLY_NAMESPACED

GROUP = "trainingjob.dev"
READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete", "deletecollection")
# (group, resource, verb)
Rights = set[tuple[str, str, str]]


def rights(group: str, resource: str, *verbs: str) -> Rights:
    return {(group, resource, verb) for verb in verbs}


OPERATOR = {
    *rights(GROUP, "trainingjobs", "delete", "list", "watch"),
    *rights(GROUP, "trainingjobs/status", "update"),
    *rights("", "pods", "create", "delete", *READ),
    *rights("", "services", "create", *READ),
    *rights("networking.k8s.io", "networkpolicies", "create", *READ),
    *rights("", "events", "create", "list"),
}
# To serve models.
DEPLOY = {
    *rights("", "services", "patch"),
    *rights("apps", "deployments", "create", "patch", *READ),
    *rights("apps", "replicasets", "list", "watch"),
    *rights("policy", "poddisruptionbudgets", "create", "patch", *READ),
}
KSERVE = rights("serving.kserve.io", "inferenceservices", "create", "get", "list", "patch")
POD_GROUPS = rights("scheduling.k8s.io", "podgroups", "create", "get")
CLAIMS = rights("", "persistentvolumeclaims", "create", "get")
STATUS = {("", "secrets", "get"), ("", "secrets", "update")}
SPARK = rights("", "pods", "create", "delete", "deletecollection", *READ)


def rights_of(cluster: ControlPlane, home: str, account: str, namespace: str) -> Rights:
    """All rights of a service account in a namespace, beside what everybody may."""
    found: list[Rights] = []
    for name in (account, "default"):
        cluster.service_account_kubeconfig(home, name)
        status, answer = cluster.request(
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
            {"spec": {"namespace": namespace}},
            user=f"system:serviceaccount:{home}:{name}",
        )
        assert status == 201, answer
        assert not answer["status"]["incomplete"]
        found.append(
            {
                (group, resource, verb)
                for rule in answer["status"]["resourceRules"]
                for group in rule["apiGroups"]
                for resource in rule["resources"]
                for verb in rule["verbs"]
                # A name in a rule must be that of our Secret.
                if not rule.get("resourceNames") or rule["resourceNames"] == [f"{RELEASE}-status"]
            }
        )
    return found[0] - found[1]


def test_an_operator_of_the_cluster_may_do_exactly_this_everywhere(
    cluster: ControlPlane, home: str, team: str
) -> None:
    Release(cluster, home).install()
    assert rights_of(cluster, home, RELEASE, team) == OPERATOR | CLAIMS
    assert rights_of(cluster, home, RELEASE, "kube-system") == OPERATOR | CLAIMS
    assert rights_of(cluster, home, RELEASE, home) == OPERATOR | CLAIMS | STATUS


def test_an_operator_of_a_namespace_may_do_exactly_this_there_and_nothing_elsewhere(
    cluster: ControlPlane, home: str, team: str
) -> None:
    less = {"claims": {"create": False}, "podEvents": {"enabled": False}}
    deploy = {"enabled": True, "kserve": {"enabled": True}}
    more = {"deploy": deploy, "podGroups": {"enabled": True}}
    Release(cluster, home).install({"namespaces": [team], **more, **less})
    every = OPERATOR | DEPLOY | KSERVE | POD_GROUPS
    assert rights_of(cluster, home, RELEASE, team) == every - {("", "events", "list")}
    assert rights_of(cluster, home, RELEASE, home) == STATUS
    assert rights_of(cluster, home, RELEASE, "kube-system") == set()


def test_spark_drivers_may_do_exactly_this_in_their_own_namespace_and_nothing_elsewhere(
    cluster: ControlPlane, home: str, team: str
) -> None:
    Release(cluster, home).install({"spark": {"namespaces": [team]}})
    assert rights_of(cluster, team, "trainingjob-spark", team) == SPARK
    assert rights_of(cluster, team, "trainingjob-spark", home) == set()


# --- people ------------------------------------------------------------------------------------
class Question(NamedTuple):
    """As `kubectl auth can-i VERB RESOURCE` asks it."""

    verb: str
    resource: str
    group: str = GROUP
    subresource: str = ""


def may(cluster: ControlPlane, user: str, namespace: str, question: Question) -> bool:
    attributes = {**question._asdict(), "namespace": namespace}
    status, answer = cluster.request(
        "POST",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        {"spec": {"resourceAttributes": attributes}},
        user=f"user-{user}",
    )
    assert status == 201, answer
    allowed: bool = answer["status"]["allowed"]
    return allowed


CREATE = Question("create", "trainingjobs")
LIST = Question("list", "trainingjobs")
CREATE_PODS = Question("create", "pods", "")
PEOPLE: dict[str, dict[Question, bool]] = {
    "view": {
        **{Question(verb, "trainingjobs"): True for verb in READ},
        **{Question(verb, "trainingjobs"): False for verb in WRITE},
        Question("get", "trainingjobs", subresource="status"): True,
        Question("update", "trainingjobs", subresource="status"): False,
    },
    "edit": {
        **{Question(verb, "trainingjobs"): True for verb in (*READ, *WRITE)},
        Question("update", "trainingjobs", subresource="status"): False,
        Question("patch", "trainingjobs", subresource="status"): False,
    },
    "admin": {
        **{Question(verb, "trainingjobs"): True for verb in (*READ, *WRITE)},
        Question("update", "trainingjobs", subresource="status"): False,
    },
    "nobody": {Question(verb, "trainingjobs"): False for verb in (*READ, *WRITE)},
}


@pytest.fixture
def bound(cluster: ControlPlane, home: str, team: str) -> str:
    """A namespace in which each user has the role of the same name, with the chart installed."""
    for user in USERS:
        if user != "nobody":
            bind(cluster, team, user, user)
    Release(cluster, home).install()
    # A controller carries our rules over into the cluster's own roles.
    wait_for("the aggregated roles", lambda: may(cluster, "edit", team, CREATE))
    wait_for("the aggregated roles", lambda: may(cluster, "view", team, LIST))
    return team


def bind(cluster: ControlPlane, namespace: str, user: str, role: str) -> None:
    cluster.kubectl(
        *("create", "rolebinding", f"{user}-{role}", f"--clusterrole={role}"),
        *(f"--user=user-{user}", "--namespace", namespace),
    )


def test_people_may_do_with_jobs_what_their_role_says_and_only_where_they_have_it(
    cluster: ControlPlane, bound: str
) -> None:
    elsewhere = cluster.namespace()
    for user, questions in PEOPLE.items():
        for question, allowed in questions.items():
            assert may(cluster, user, bound, question) is allowed, (user, question)
            assert not may(cluster, user, elsewhere, question), (user, question)


def test_nobody_may_make_jobs_who_may_not_make_pods(cluster: ControlPlane, bound: str) -> None:
    # Bound by itself, too: else who binds it could give what they do not have.
    bind(cluster, bound, "nobody", f"{RELEASE}-edit")
    wait_for("the binding", lambda: may(cluster, "nobody", bound, CREATE))
    elsewhere = cluster.namespace()
    for user in USERS:
        for namespace in (bound, elsewhere):
            question = may(cluster, user, namespace, CREATE)
            assert question is may(cluster, user, namespace, CREATE_PODS), (user, namespace)


def test_the_answers_hold_when_somebody_tries(cluster: ControlPlane, bound: str) -> None:
    path = f"{JOBS}/namespaces/{bound}/trainingjobs"
    as_viewer = cluster.request("POST", path, JOB, user="user-view")
    as_editor = cluster.request("POST", path, JOB, user="user-edit")
    assert (as_viewer[0], as_editor[0]) == (403, 201)
    status: dict[str, Any] = {"status": {"phase": "Succeeded"}}
    tried = cluster.request("PATCH", f"{path}/digits/status", status, user="user-edit")
    assert tried[0] == 403
    # The ordinary address does not write status.
    cluster.request("PATCH", f"{path}/digits", status, user="user-edit")
    job = cluster.request("GET", f"{path}/digits", user="user-view")[1]
    assert job.get("status", {}).get("phase") != "Succeeded"


def test_kubectl_agrees(cluster: ControlPlane, bound: str) -> None:
    for user, answer in (("edit", "yes"), ("view", "no")):
        done = cluster.kubectl(
            *("auth", "can-i", "create", "trainingjobs.trainingjob.dev", "--namespace", bound),
            user=f"user-{user}",
            check=False,
        )
        assert done.stdout.strip() == answer


def test_without_user_roles_the_clusters_own_roles_stay_as_they_are(
    cluster: ControlPlane, home: str, team: str
) -> None:
    bind(cluster, team, "edit", "edit")
    Release(cluster, home).install(
        {"namespaces": [team], "userRoles": ONLY_NAMESPACED["userRoles"]}
    )
    # Nothing to wait for: the controller acts on ClusterRoles, and there is no new one.
    assert not may(cluster, "edit", team, CREATE)
    listed = cluster.kubectl("get", "clusterroles", "-o", "name").stdout
    assert "trainingjob" not in listed

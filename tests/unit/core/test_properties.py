"""What must hold whatever happens, in whatever order."""

from __future__ import annotations

import copy

from hypothesis import given, settings
from hypothesis import strategies as st

from trainingjob.core import plan, status

from .world import World, at, disrupted, ended, failed, manifest, running, succeeded

# What may happen to a pod of the first attempt; later attempts succeed.
FATES = {
    "succeeds": succeeded,
    "killed": lambda pod, s: ended(pod, s, code=137),
    "drained": disrupted,
    "code 3": lambda pod, s: failed(pod, s, "ScriptFailed", code=3),
    "bad data": lambda pod, s: failed(pod, s, "FeatureHasNulls"),
}
fates = st.dictionaries(
    st.sampled_from(["digits-preprocess-1-0", "digits-train-1-0", "digits-train-1-1"]),
    st.sampled_from(sorted(FATES)),
    max_size=1,
)
# Each number is a moment: who acts next, or what the operator forgets.
moments = st.lists(st.integers(min_value=0, max_value=9), min_size=1, max_size=60)


def waits_for_its_peers(pod: dict, fate: dict[str, str]) -> bool:
    """A rank cannot finish a collective in which another one is going to fail."""
    gang = pod["metadata"]["name"].rpartition("-")[0]
    return any(name.startswith(gang + "-") and doom != "succeeds" for name, doom in fate.items())


def live(fate: dict[str, str], order: list[int]) -> World:
    """Run a job to its end, its events in the given order; afterwards in a plain one."""
    world = World(manifest(evaluate={"gates": [{"metric": "accuracy", "min": 0.9}]}))
    go_on(world, fate, [*order, *range(10), *([0, 1, 2, 3, 4, 5, 1] * 12)])
    world.settle()
    return world


def go_on(world: World, fate: dict[str, str], order: list[int]) -> None:
    """What happens to a job at these moments."""
    for moment in order:
        world.seconds += 1
        waiting = [p for p in world.pods.values() if p["status"]["phase"] == "Pending"]
        active = [p for p in world.pods.values() if p["status"]["phase"] == "Running"]
        if moment in (0, 6):
            world.act()
        elif moment == 1:
            world.record()
        elif moment in (2, 7) and waiting:
            running(waiting[int(moment + world.seconds) % len(waiting)], world.seconds)
        elif moment in (3, 8) and active:
            pod = active[int(moment + world.seconds) % len(active)]
            doom = fate.get(pod["metadata"]["name"], "succeeds")
            if doom != "succeeds" or not waits_for_its_peers(pod, fate):
                FATES[doom](pod, world.seconds)
        elif moment == 4:
            world.reconcile()
        elif moment == 5:  # the operator dies between two writes of one plan
            todo = plan(world.observe(), at(world.seconds))
            for child in todo.create[:1]:
                world.create(child)
            for view in todo.delete[:1]:
                world.pods.pop(view.name, None)
        elif moment == 9:  # a stale moment: the status is computed and not stored
            status(world.observe(), at(world.seconds))


def outcome(world: World) -> dict[str, object]:
    """The status without its times, which depend on the order by nature."""
    failure = world.status.get("lastFailure", {})
    return {
        "phase": world.status["phase"],
        "reason": world.status["reason"],
        "message": world.status["message"],
        "evaluation": world.status.get("evaluation"),
        "failure": {key: failure.get(key) for key in ("stage", "attempt", "reason", "pod")},
        "stages": [
            {
                key: stage.get(key)
                for key in ("name", "phase", "attempt", "failures", "outputs", "reason")
            }
            for stage in world.status["stages"]
        ],
    }


@settings(max_examples=150, deadline=None)
@given(fate=fates, order=moments)
def test_any_order_of_events_ends_in_the_same_status(fate, order):
    assert outcome(live(fate, order)) == outcome(live(fate, []))


@settings(max_examples=100, deadline=None)
@given(fate=fates, order=moments)
def test_an_applied_plan_leaves_nothing_to_plan(fate, order):
    world = World()
    for moment in order:
        world.seconds += 1
        pods = [p for p in world.pods.values() if p["status"]["phase"] in ("Pending", "Running")]
        if pods and moment % 2:
            pod = pods[moment % len(pods)]
            FATES[fate.get(pod["metadata"]["name"], "succeeds")](pod, world.seconds)
        world.settle()
        assert plan(world.observe(), at(world.seconds)).empty or world.status["phase"] in (
            "Succeeded",
            "Failed",
        )
        world.act()
        assert plan(world.observe(), at(world.seconds)).empty


@settings(max_examples=100, deadline=None)
@given(
    fate=fates,
    order=moments,
    after=st.lists(st.sampled_from(["delete", "fail", "run"]), max_size=6),
    asked=st.booleans(),
)
def test_a_status_never_leaves_a_terminal_phase_unasked(fate, order, after, asked):
    world = live(fate, order)
    if asked:  # for what was done already
        world.manifest["metadata"]["annotations"] = {"trainingjob.dev/rerun": "preprocess:1"}
        world.status["rerun"] = "preprocess:1"
    final = copy.deepcopy(world.status)
    assert final["phase"] in ("Succeeded", "Failed")
    for what in after:
        world.seconds += 1000
        for name in list(world.pods)[:1]:
            if what == "delete":
                del world.pods[name]
            elif what == "fail":
                ended(world.pods[name], world.seconds, code=1)
            else:
                running(world.pods[name], world.seconds)
        world.settle()
        assert world.status == final


@settings(max_examples=50, deadline=None)
@given(fate=fates, order=moments)
def test_what_is_given_is_never_changed(fate, order):
    world = live(fate, order[:10])
    observation = world.observe()
    before = copy.deepcopy(observation)
    status(observation, at(world.seconds))
    plan(observation, at(world.seconds))
    assert observation == before


def test_the_simulation_reaches_restarts_and_failures():
    """The properties above would prove little if every job simply succeeded."""
    reached = {
        (live({pod: fate}, []).status["phase"], fate)
        for pod in ("digits-preprocess-1-0", "digits-train-1-1")
        for fate in FATES
    }
    assert ("Failed", "bad data") in reached
    assert ("Succeeded", "killed") in reached
    assert live({"digits-train-1-0": "killed"}, []).stage("train")["attempt"] == 2

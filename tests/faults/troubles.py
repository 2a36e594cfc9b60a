"""A cluster in which some things go wrong by chance before all goes well, and a job that people
touch meanwhile."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.podstatus import report
from tests.unit.core.world import World, at, disrupted, ended, failed, own_status, running, stamp
from trainingjob.api.errors import check_manifest
from trainingjob.api.payload import STAGE_PAYLOAD
from trainingjob.api.v1alpha1 import REASONS
from trainingjob.core import Blocker, diagnose, plan

Pod = dict[str, Any]
Fate = Callable[["Troubled", Pod], None]

# What an admission, a quota or a name that is taken answers to one that makes a child.
REFUSALS: tuple[Callable[[str], Blocker], ...] = (
    lambda name: diagnose.refusal_of(name, 'pods "x" is forbidden: exceeded quota: q'),
    lambda name: diagnose.refusal_of(name, "violates PodSecurity"),
    lambda name: diagnose.refusal_of(name, ""),
    lambda name: diagnose.no_answer(name, "timed out"),
    lambda name: diagnose.conflict_of(name, "Pod", "is not of this job"),
)
GARBAGE = ("", "{", "null", "[]", '"\\ud800"', '{"result": 7}', '{"error": {}}', "x" * 4096)
NUMBERS = (0, -1, 1e308, 0.5, 2**70, "NaN", None)


@dataclass
class Troubled(World):
    """``troubles`` are left, of which each pod, child or turn may have one."""

    roll: random.Random = field(default_factory=random.Random)
    troubles: int = 0

    def act(self) -> None:
        """Apply the plan, as far as the API server lets it pass."""
        todo = plan(self.observe(), at(self.seconds))
        self.blockers = ()
        for child in todo.create:
            if self.happens(0.1):
                name = child["metadata"]["name"]
                self.blockers += (self.roll.choice(REFUSALS)(name),)
                break
            self.create(child)
        for pod in (*todo.delete, *todo.force):
            self.pods.pop(pod.name, None)

    def happens(self, chance: float) -> bool:
        """Whether something goes wrong now."""
        found = self.troubles > 0 and self.roll.random() < chance
        self.troubles -= found
        return found

    def go_on(self) -> None:
        """Time passes, and everybody but the operator acts."""
        for pod in [*self.pods.values()]:
            self._lives(pod)
        if self.happens(0.1):
            self.roll.choice(PEOPLE)(self)
        # Somebody sets the operator's clock.
        step = self.roll.choice((-3600, 3600)) if self.happens(0.05) else 0
        due = plan(self.observe(), at(self.seconds)).requeue_after
        self.seconds = max(0.0, self.seconds + step + min(max(due or 0.0, 100.0), 100_000.0))

    def _lives(self, pod: Pod) -> None:
        phase = pod["status"]["phase"]
        if phase == "Pending":
            (self.roll.choice(BEFORE) if self.happens(0.1) else _begins)(self, pod)
        elif phase == "Running":
            (self.roll.choice(WHILE) if self.happens(0.2) else _ends)(self, pod)


def _begins(w: Troubled, pod: Pod) -> None:
    running(pod, w.seconds)


def _ends(w: Troubled, pod: Pod) -> None:
    ended(pod, w.seconds, message=_message(pod))


def _message(pod: Pod) -> str:
    """What our runtime reports; somebody else's says nothing."""
    variables = pod["spec"]["containers"][0].get("env", ())
    return report(pod) if any(v["name"] == STAGE_PAYLOAD for v in variables) else ""


def _waits(w: Troubled, pod: Pod) -> None:
    reason = w.roll.choice(("ImagePullBackOff", "CreateContainerConfigError", "PodInitializing"))
    state = {"waiting": {"reason": reason, "message": "a line\nand another"}}
    pod["status"]["containerStatuses"] = [own_status(pod, state)]


def _has_no_node(_: Troubled, pod: Pod) -> None:
    why = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    pod["status"]["conditions"] = [why]


def _is_not_let_in(w: Troubled, pod: Pod) -> None:
    reason = w.roll.choice(("OutOfcpu", "UnexpectedAdmissionError", "NodeAffinity", "Evicted"))
    pod["status"] = {"phase": "Failed", "reason": reason, "message": "the node has none"}


def _vanishes(w: Troubled, pod: Pod) -> None:
    """Somebody deletes it."""
    name = pod["metadata"]["name"]
    del w.pods[name]
    w.created.remove(name)  # another may bear its name


def _breaks(w: Troubled, pod: Pod) -> None:
    failed(pod, w.seconds, w.roll.choice([*sorted(REASONS), "NoReasonOfOurs"]))


def _is_killed(w: Troubled, pod: Pod) -> None:
    reason = w.roll.choice(("", "OOMKilled", "ContainerStatusUnknown", "StartError"))
    ended(pod, w.seconds, code=w.roll.choice((1, 128, 137, 143)), reason=reason)


def _talks_nonsense(w: Troubled, pod: Pod) -> None:
    ended(pod, w.seconds, code=w.roll.choice((0, 1)), message=w.roll.choice(GARBAGE))


def _judges_oddly(w: Troubled, pod: Pod) -> None:
    told = json.loads(_message(pod) or "{}")
    for metric in told.get("result", {}).get("metrics", ()):
        metric["value"] = w.roll.choice(NUMBERS)
    ended(pod, w.seconds, message=json.dumps(told) if told else "")


BEFORE: tuple[Fate, ...] = (_waits, _has_no_node, _is_not_let_in, _vanishes)
WHILE: tuple[Fate, ...] = (
    lambda w, pod: disrupted(pod, w.seconds),
    _is_not_let_in,
    _vanishes,
    _breaks,
    _is_killed,
    _talks_nonsense,
    _judges_oddly,
)


def _suspend(w: Troubled) -> None:
    _change(w, {"suspend": not w.manifest["spec"].get("suspend")})


def _delete(w: Troubled) -> None:
    w.manifest["metadata"]["deletionTimestamp"] = stamp(w.seconds)
    w.manifest["metadata"]["generation"] += 1


def _set_policy(w: Troubled) -> None:
    _change(w, {"policy": {"retries": {"application": w.roll.randint(0, 3)}}})


def _rerun(w: Troubled) -> None:
    asked = f"{w.roll.choice(('preprocess', 'train', 'evaluate'))}:{w.seconds:.0f}"
    w.manifest["metadata"]["annotations"] = {"trainingjob.dev/rerun": asked}


PEOPLE: tuple[Callable[[Troubled], None], ...] = (_suspend, _delete, _set_policy, _rerun)


def _change(w: Troubled, part: Mapping[str, Any]) -> None:
    """What the API server would not take is not changed."""
    given = {k: v for k, v in w.manifest.items() if k != "status"}
    if check_manifest({**given, "spec": {**w.manifest["spec"], **part}})[0] is not None:
        w.manifest["spec"] |= part
        w.manifest["metadata"]["generation"] += 1

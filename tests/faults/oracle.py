"""What must hold whatever went wrong: properties of what the API server has seen and stored, none
of them by the operator's own code."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .names import short
from .proxy import Call
from .trails import Trail

DIAGRAM = Path(__file__).parents[2] / "docs/reliability.md"
_ROW = re.compile(r"^\| `?([A-Z]\w+|a new job|a rerun)`? \| ((?:`\w+`(?:, )?)+) \|$", re.MULTILINE)
# Not how many pods have ended: when the first one has told its result, others may not have yet.
# What is a moment, a name that the API server gives, or hangs on them.
_VOLATILE = {"uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"}
_OF_STATUS = ("phase", "reason", "message", "evaluation", "checkpoint", "rerun")
_OF_STAGE = ("name", "phase", "attempt", "reason", "message", "failures", "outputs")
_OF_FAILURE = ("stage", "attempt", "class", "reason", "message", "rank", "pod", "exitCode")
_OF_ATTEMPT = ("stage", "attempt", "reason")


@dataclass
class Seen:
    """One run of a scenario: all that can be said of it."""

    job: str
    namespace: str
    calls: list[Call]
    trail: Trail
    children: list[dict[str, Any]]
    log: str
    ended: float  # when the end came
    left: float  # seconds without a write at the end
    code: int | None = None  # of an operator that ended by itself
    late: str = ""  # what did not come in time


Property = Callable[[Seen, Seen], Iterator[str]]


def comes_to_its_end(seen: Seen, _: Seen) -> Iterator[str]:
    """The job ends, and nothing has to be done by hand."""
    if seen.late:
        yield seen.late


def ends_as_undisturbed(seen: Seen, plain: Seen) -> Iterator[str]:
    """Status and children are those of a run in which nothing went wrong."""
    ours, theirs = end(seen), end(plain)
    for name in sorted(ours.keys() | theirs.keys()):
        yield from _differences(name, ours.get(name), theirs.get(name))


def makes_each_child_once(seen: Seen, plain: Seen) -> Iterator[str]:
    """The API server has made each child once, and none that was not to be."""
    made, wanted = _made(seen), _made(plain)
    for key in sorted(made.keys() | wanted.keys()):
        if made[key] != wanted[key] and not (made[key] == 0 and _given_up(seen, key)):
            yield f"{key}: {made[key]} times and not {wanted[key]}"


def _given_up(seen: Seen, key: str) -> bool:
    """Whether it is a pod that was asked for in vain until another attempt took its place."""
    pod = re.fullmatch(r"create pod (.+)-(\d+)-(\d+)", key)
    asked = any(call.word.key == key and not call.done for call in seen.calls)
    return bool(pod and asked and _made(seen)[f"create pod {pod[1]}-{int(pod[2]) + 1}-{pod[3]}"])


def deletes_nothing_else(seen: Seen, plain: Seen) -> Iterator[str]:
    """Only what goes in an undisturbed run is deleted."""
    gone, wanted = ({c.word.key for c in s.calls if _of(c, "delete")} for s in (seen, plain))
    yield from sorted(f"{key}: it was not to go" for key in gone - wanted)


def follows_the_diagram(seen: Seen, _: Seen) -> Iterator[str]:
    """Phases change as docs/reliability.md says, no attempt is taken back, and a stage begins when
    the one before has succeeded."""
    allowed, before, attempts = diagram(), "a new job", Counter[str]()
    for _, job in seen.trail.versions:
        status = job.get("status") or {}
        phase = status.get("phase") or "Pending"
        asked = (job["metadata"].get("annotations") or {}).get("trainingjob.dev/rerun")
        if before in ("Succeeded", "Failed") and asked and status.get("rerun") == asked:
            before = "a rerun"
        if phase != before and phase not in allowed.get(before, ()):
            yield f"{before} was followed by {phase}"
        before = phase
        done = True
        for stage in status.get("stages") or ():
            name, attempt = stage["name"], stage.get("attempt", 1)
            if attempt < attempts[name]:
                yield f"{name}: attempt {attempt} after {attempts[name]}"
            attempts[name] = attempt
            if not done and stage.get("phase") not in (None, "Pending"):
                yield f"{name} is {stage['phase']} before the stage before it has succeeded"
            done = stage.get("phase") == "Succeeded"


def is_quiet_at_the_end(seen: Seen, _: Seen) -> Iterator[str]:
    """When all is done nothing more is written."""
    if seen.left < QUIET_SECONDS and not seen.late:
        last = [f"{c.word.key} ({c.code}) +{c.moment - seen.ended:.1f} s" for c in seen.calls[-4:]]
        yield f"the last write came {seen.left:.1f} s before we left: {', '.join(last)}"


def has_no_bug(seen: Seen, _: Seen) -> Iterator[str]:
    """The operator tells no traceback and does not end by itself."""
    if "Traceback" in seen.log or "this is a bug" in seen.log:
        yield seen.log[-3000:]
    if seen.code is not None:
        yield f"the operator ended with {seen.code}: {seen.log[-1000:]}"


PROPERTIES: tuple[Property, ...] = (
    comes_to_its_end,
    ends_as_undisturbed,
    makes_each_child_once,
    deletes_nothing_else,
    follows_the_diagram,
    is_quiet_at_the_end,
    has_no_bug,
)
# As long as the longest wait of the operator for company of a change.
QUIET_SECONDS = 1.0


def faults_of(seen: Seen, plain: Seen) -> list[str]:
    """What does not hold, in words that begin with the property's."""
    return [
        f"{held.__name__.replace('_', ' ')}: {words}"
        for held in PROPERTIES
        for words in held(seen, plain)
    ]


def end(seen: Seen) -> dict[str, Any]:
    """How all stands at the end, without moments and names that are others in each run."""
    found: dict[str, Any] = {}
    if not seen.trail.gone and seen.trail.last:
        status = seen.trail.last.get("status") or {}
        found["status"] = {name: status.get(name) for name in _OF_STATUS}
        found["conditions"] = {
            c["type"]: (c["status"], c["reason"]) for c in status.get("conditions") or ()
        }
        found["failure"] = _part(status.get("lastFailure") or {}, _OF_FAILURE)
        found["history"] = [_part(a, _OF_ATTEMPT) for a in status.get("history") or ()]
        for stage in status.get("stages") or ():
            found[f"stage {stage['name']}"] = _part(stage, _OF_STAGE)
    for child in seen.children:
        meta = child["metadata"]
        key = f"{child['kind']} {short(meta['name'], seen.job)}"
        kept = {name: value for name, value in meta.items() if name not in _VOLATILE}
        signed = meta.get("annotations") or {}
        kept["annotations"] = {k: v for k, v in signed.items() if not k.endswith("/signature")}
        phase = (child.get("status") or {}).get("phase")
        found[key] = {"metadata": kept, "phase": phase, "spec": child["spec"]}
    return {name: _plain(value, seen) for name, value in found.items()}


def _differences(place: str, one: Any, other: Any) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(one.keys() | other.keys()):
            yield from _differences(f"{place}.{name}", one.get(name), other.get(name))
    elif one != other:
        yield f"{place} is {str(one)[:300]} and not {str(other)[:300]}"


def diagram() -> dict[str, set[str]]:
    """From the page: phase -> those that may follow it."""
    rows = _ROW.findall(DIAGRAM.read_text(encoding="utf-8"))
    return {before: set(re.findall(r"`(\w+)`", after)) for before, after in rows}


def _part(obj: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: obj[name] for name in names if name in obj}


# Of pods and Services: addresses, signatures, tokens' names, digests of uids.
_NAMES = re.compile(
    r"t-[0-9a-f]{8}|kube-api-access-\w{5}|198\.18\.\d+\.\d+|v1:[0-9a-f]+"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
)


def _plain(value: Any, seen: Seen) -> Any:
    text = json.dumps(value, sort_keys=True).replace(seen.job, "JOB")
    return json.loads(_NAMES.sub("…", text.replace(seen.namespace, "NAMESPACE")))


def _of(call: Call, verb: str) -> bool:
    return call.done and call.word.verb == verb and call.word.kind != "event"


def _made(seen: Seen) -> Counter[str]:
    return Counter(call.word.key for call in seen.calls if _of(call, "create"))

"""What a fake kubelet does to a pod: a script's vocabulary."""

from __future__ import annotations

import math
import signal
from dataclasses import dataclass

FOREVER = math.inf
NO_MEMORY = "The node was low on resource: memory."


@dataclass(frozen=True)
class Behaviour:
    """One pod's life. The functions below are the usual ones.

    A pod that is not bound to a node is deleted by the API server at once. So a pod is bound where
    its end takes time (``grace``, ``stuck``, ``node_lost``), or where ``node`` says so.
    """

    start: bool = True  # False: nobody ever touches it
    delay: float = 0.0  # seconds before anything happens
    unschedulable: str = ""  # the scheduler's message
    waiting: tuple[str, str] | None = None  # reason and message of a container that does not start
    crashed: str | None = None  # it is started again and again: its last termination message
    ready: bool = True  # as its readiness probe has it, while it runs
    node: str = ""
    meets: str = ""  # the pod that must be there before its seconds begin, as ranks wait for ranks
    seconds: float | None = None  # it runs; None: the kubelet's `duration`; FOREVER: until told
    exit_code: int = 0
    reason: str = ""  # of the container's end; Completed or Error when empty
    message: str | None = None  # termination message; None: a good report when the code is 0
    pod_reason: str = ""  # why the pod as a whole has failed
    pod_message: str = ""
    disrupted: tuple[str, str] | None = None  # reason and message of the condition
    deleted: bool = False  # the API is asked to delete it when its seconds are over
    grace: float = 0.0  # seconds from the deletion to the end of its processes
    stuck: bool = False  # its deletion never comes to an end
    node_lost: bool = False  # the node goes away after `seconds`, and nobody reports any more

    @property
    def bound(self) -> bool:
        return bool(self.node or self.grace or self.stuck or self.node_lost or self.deleted)


def succeed(after: float | None = None, message: str | None = None, meets: str = "") -> Behaviour:
    """Exit with 0 and a termination message; without one it is a good report of the stage."""
    return Behaviour(seconds=after, message=message, meets=meets)


def run(grace: float = 0.0) -> Behaviour:
    """Run until told (``FakeKubelet.tell``)."""
    return Behaviour(seconds=FOREVER, grace=grace)


def fail(code: int = 1, message: str = "", after: float | None = None) -> Behaviour:
    return Behaviour(seconds=after, exit_code=code, message=message)


def die(number: int = signal.SIGKILL, message: str = "", after: float | None = None) -> Behaviour:
    """Of a signal, which a container runtime tells as 128 + N."""
    return Behaviour(seconds=after, exit_code=128 + number, message=message)


def out_of_memory(after: float | None = None) -> Behaviour:
    return Behaviour(seconds=after, exit_code=137, reason="OOMKilled", message="")


def image_pull_fails(message: str = 'Back-off pulling image "nowhere/nothing:1"') -> Behaviour:
    return Behaviour(waiting=("ImagePullBackOff", message))


def config_error(message: str = 'secret "nothing" not found') -> Behaviour:
    return Behaviour(waiting=("CreateContainerConfigError", message))


def unschedulable(message: str = "0/1 nodes are available: 1 Insufficient cpu.") -> Behaviour:
    return Behaviour(unschedulable=message)


def crash_loop(message: str) -> Behaviour:
    """Of a pod that is always started again: it fails each time, with this message."""
    return Behaviour(crashed=message)


def unready() -> Behaviour:
    """It runs, and its readiness probe fails."""
    return Behaviour(seconds=FOREVER, ready=False)


def evicted(message: str = NO_MEMORY, after: float | None = None) -> Behaviour:
    """By its kubelet: the pod fails and stays."""
    return Behaviour(
        seconds=after,
        exit_code=137,
        message="",
        pod_reason="Evicted",
        pod_message=message,
        disrupted=("TerminationByKubelet", message),
    )


def preempted(after: float | None = None, grace: float = 0.0) -> Behaviour:
    """By the scheduler: the pod is deleted."""
    message = "default-scheduler: preempting to accommodate a higher priority pod"
    return Behaviour(
        seconds=after, disrupted=("PreemptionByScheduler", message), deleted=True, grace=grace
    )


def stuck() -> Behaviour:
    """Run, and once deleted stay Terminating: somebody must delete it by force."""
    return Behaviour(seconds=FOREVER, stuck=True)


def node_lost(after: float | None = None) -> Behaviour:
    """Its node goes away: the pod stays Running, is deleted by the taint manager, and lingers."""
    return Behaviour(
        seconds=after,
        node_lost=True,
        disrupted=("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"),
    )


def never() -> Behaviour:
    """Nobody ever touches it: Pending without a word."""
    return Behaviour(start=False)

"""A control plane to try things on, until Ctrl-C: ``python -m tests.cluster [--fake-kubelet]``."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading

from .build import BIN, BuildError
from .controlplane import ControlPlane
from .fakekubelet import FakeKubelet
from .process import ComponentError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument(
        "--fake-kubelet",
        action="store_true",
        help="play the nodes: every pod runs for a moment and succeeds with a good report",
    )
    parser.add_argument("--duration", type=float, default=2.0, help="seconds that a pod runs")
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        run(arguments, stop)
    except (BuildError, ComponentError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def run(arguments: argparse.Namespace, stop: threading.Event) -> None:
    with contextlib.ExitStack() as stack:
        control_plane = stack.enter_context(ControlPlane(crd=True))
        if arguments.fake_kubelet:
            stack.enter_context(FakeKubelet(control_plane, duration=arguments.duration))
        print(f"export KUBECONFIG={control_plane.kubeconfig()}")
        print(f"export PATH={BIN}:$PATH    # kubectl, helm")
        print("# a real control plane without nodes, on the loopback; Ctrl-C ends it", flush=True)
        while not stop.wait(1.0):
            control_plane.check()


if __name__ == "__main__":
    sys.exit(main())

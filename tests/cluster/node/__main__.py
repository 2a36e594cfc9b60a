"""A real node to try things on, until Ctrl-C: ``python -m tests.cluster.node [--images]``."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from ..build import BIN, BuildError
from ..process import ComponentError
from .errors import NodeError
from .images import NAMES
from .node import Node
from .storage import CACHE, Storage


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.node", description=__doc__)
    parser.add_argument(
        "--images", action="store_true", help="build our images, too, and print their names"
    )
    parser.add_argument("--gpus", type=int, default=8, help="how many GPUs the node says it has")
    parser.add_argument(
        "--storage", type=Path, default=CACHE, help="where images are kept; one node in each"
    )
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with Node(gpus=arguments.gpus, storage=Storage(arguments.storage)) as node:
            for name in NAMES if arguments.images else ():
                print(f"# image: {node.images.ours(name)}", flush=True)
            print(f"# image: {node.images.busybox()}")
            print(f"# logs: {node.folder}")
            print(f"export KUBECONFIG={node.control_plane.kubeconfig()}")
            print(f"export PATH={BIN}:$PATH    # kubectl, helm")
            print("# pods, services and this machine reach each other; Ctrl-C ends it", flush=True)
            while not stop.wait(1.0):
                node.check()
    except (BuildError, ComponentError, NodeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

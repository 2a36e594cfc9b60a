"""Addresses and devices of a node: a cable to this machine, a bridge for its pods.

    this machine                      the node's network namespace
    tj-node-N  198.19.N.1  --------   uplink  198.19.N.2
                                      pods    198.18.2N.1/24     bridge of the pods, and DNS
                                      services 198.18.(2N+1).0/24

The range for benchmarks of networks (RFC 2544): nobody's real addresses. The node has no route to
anywhere else: what runs in a pod reaches the node, its pods and this machine's end of the cable.
"""

from __future__ import annotations

from dataclasses import dataclass

from .command import run
from .errors import NodeError
from .packages import program

PREFIX = "tj-node-"
SLOTS = 128  # as many nodes can be on one machine side by side
UPLINK = "uplink"
BRIDGE = "pods"


@dataclass(frozen=True)
class Network:
    slot: int

    @property
    def link(self) -> str:
        return f"{PREFIX}{self.slot}"

    @property
    def host(self) -> str:
        """This machine, as the node and its pods see it: the API server, the registry."""
        return f"198.19.{self.slot}.1"

    @property
    def node(self) -> str:
        return f"198.19.{self.slot}.2"

    @property
    def pods(self) -> str:
        return f"198.18.{2 * self.slot}.0/24"

    @property
    def bridge(self) -> str:
        """The gateway of the pods; DNS listens here."""
        return f"198.18.{2 * self.slot}.1"

    @property
    def services(self) -> str:
        return f"198.18.{2 * self.slot + 1}.0/24"


def connect(pid: int) -> Network:
    """Lay the cable to the namespace of a process, and make the bridge in it.

    The name of the device reserves the addresses: whoever comes second takes the next ones.
    """
    ip = program("ip")
    for slot in range(SLOTS):
        network = Network(slot)
        try:
            peer = ["peer", "name", UPLINK, "netns", str(pid)]
            run([ip, "link", "add", network.link, "type", "veth", *peer])
        except NodeError as error:
            if "File exists" in str(error):
                continue
            raise
        _batch(
            [ip],
            f"address add {network.host}/30 dev {network.link}",
            f"link set {network.link} up",
            f"route add {network.pods} via {network.node}",
            f"route add {network.services} via {network.node}",
        )
        _batch(
            [program("nsenter"), "--target", str(pid), "--net", "--", ip],
            "link set lo up",
            f"address add {network.node}/30 dev {UPLINK}",
            f"link set {UPLINK} up",
            f"link add {BRIDGE} type bridge",
            f"address add {network.bridge}/24 dev {BRIDGE}",
            f"link set {BRIDGE} up",
        )
        return network
    raise NodeError(f"{SLOTS} nodes run already: `ip link` shows {PREFIX}*")


def disconnect(network: Network) -> None:
    """Now, and not when the kernel comes to it after the end of the namespace."""
    try:
        run([program("ip"), "link", "delete", network.link])
    except NodeError as error:
        if "Cannot find device" not in str(error):
            raise


def _batch(command: list[str], *lines: str) -> None:
    run([*command, "-batch", "-"], input="\n".join([*lines, ""]))

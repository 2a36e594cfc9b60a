"""Where a process stands in the gang, as torch's own variables tell it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass


def is_loopback(address: str) -> bool:
    """Whether the gang's address is this machine's own: then every rank is on it."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


@dataclass(frozen=True)
class Place:
    """Of ``world`` processes over all nodes, this is ``rank``."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    address: str = "127.0.0.1"
    port: int = 29500

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Place:
        """From the variables that the launcher sets."""
        return cls(
            rank=int(env["RANK"]),
            world=int(env["WORLD_SIZE"]),
            local_rank=int(env["LOCAL_RANK"]),
            local_world=int(env["LOCAL_WORLD_SIZE"]),
            address=env["MASTER_ADDR"],
            port=int(env["MASTER_PORT"]),
        )

    @property
    def on_this_machine(self) -> tuple[int, int]:
        """This process's number among those of the machine, and how many they are."""
        if is_loopback(self.address):
            return self.rank, self.world
        return self.local_rank, self.local_world

"""This pod's place in the gang, and what its processes see."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..base import cpus
from .place import is_loopback
from .processes import Command


@dataclass(frozen=True)
class Node:
    """``processes`` of the gang's ranks run here."""

    index: int
    processes: int
    env: Mapping[str, str]

    @classmethod
    def from_env(cls, nodes: int, processes: int, environ: Mapping[str, str]) -> Node:
        """From the variables that the pod was given, one of ``nodes`` of so many ``processes``."""
        world = int(environ.get("WORLD_SIZE", nodes * processes))
        address = environ.get("MASTER_ADDR", "127.0.0.1")
        env = {
            "MASTER_ADDR": address,
            "MASTER_PORT": "29500",
            **environ,
            "WORLD_SIZE": str(world),
            "PYTHONUNBUFFERED": "1",
            # torchrun lies beside the interpreter.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', os.defpath)}",
            # With it, torchrun's second attempt on the same port hangs.
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        }
        # On one machine the ranks share its cores. A pod of several that asks for no CPU of its
        # own may share its machine with anybody: one thread a rank, as torchrun has it.
        together = is_loopback(address)
        env.setdefault(
            "OMP_NUM_THREADS", str(max(1, cpus.available() // world)) if together else "1"
        )
        if together and Path("/sys/class/net/lo").exists():
            # Else gloo takes the address of the host's name, which may not be one of ours.
            env.setdefault("GLOO_SOCKET_IFNAME", "lo")
        return cls(int(environ.get("NODE_RANK", "0")), processes, env)

    @property
    def alone(self) -> bool:
        """Whether the gang has one process."""
        return self.env["WORLD_SIZE"] == "1"

    def seeing(self, variables: Mapping[str, str]) -> Node:
        """The same with more variables."""
        return replace(self, env={**self.env, **variables})

    def per_rank(self, arguments: Sequence[str], cwd: Path | None = None) -> list[Command]:
        """A command for each rank of the node, with the variables of init_process_group()."""
        commands = []
        for local in range(self.processes):
            rank = self.index * self.processes + local
            own = {"RANK": rank, "LOCAL_RANK": local, "LOCAL_WORLD_SIZE": self.processes}
            env = {**self.env, **{name: str(value) for name, value in own.items()}}
            commands.append(Command(arguments, env, cwd, rank))
        return commands

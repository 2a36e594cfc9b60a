"""A rank whose peer is gone says so, also when it is torch itself that talks to the peer."""

from __future__ import annotations

import socket
import subprocess
import sys

RANK = """
import os, sys
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from trainingjob.runtime.gang import ranks

dist.init_process_group("gloo")
net = torch.nn.Linear(512, 512)
fully_shard(net, mesh=init_device_mesh("cpu", (2,)))
optimizer = torch.optim.SGD(net.parameters())
try:
    for step in range(100_000):
        if step == 20 and dist.get_rank() == 1:
            os._exit(9)
        net(torch.ones(8, 512)).sum().backward()
        optimizer.step()
except RuntimeError as error:
    failure = ranks.as_failure(error, "train")
    print(failure.reason, failure.message, sep="|", flush=True)
os._exit(0)
"""


def test_a_rank_of_sharded_weights_whose_peer_dies_says_that_it_lost_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    gang = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", RANK],
            env=variables | {"RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told, _ = gang[0].communicate(timeout=120)
    assert gang[1].wait() == 9
    assert told.startswith("PeerLost|lost the connection to the others: "), told

"""What a user would write by hand, as a yardstick: DDP over tensors that are in memory.

python bare_ddp.py DATASET EPOCHS BATCH
"""

import os
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def main() -> None:
    folder, epochs, batch = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    table = pq.read_table(folder / "train").to_pandas()
    y = torch.tensor(table.pop("label").to_numpy())
    x = torch.tensor(table.to_numpy(), dtype=torch.float32)
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(x.shape[1], 64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, int(y.max()) + 1),
    )
    model = DistributedDataParallel(network)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    mine = batch // world
    for epoch in range(epochs):
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(epoch))
        for start in range(0, len(y), batch):
            rows = order[start + rank * mine : start + (rank + 1) * mine]
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
        if rank == 0:
            with Path(os.environ["EPOCH_TIMES"]).open("a") as file:
                file.write(f"{time.perf_counter()}\n")
    del model
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

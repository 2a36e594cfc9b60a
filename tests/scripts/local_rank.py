"""As scripts before torchrun: the launcher tells the rank by `--local-rank`."""

import argparse
import os

import digits
import torch
import torch.distributed as dist
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--local-rank", "--local_rank", type=int, required=True)
options = parser.parse_args()
dist.init_process_group("gloo", init_method="env://")
assert options.local_rank == int(os.environ.get("LOCAL_RANK", options.local_rank))

torch.manual_seed(1)
features, classes = map(torch.from_numpy, digits.load("train"))
rank, world = dist.get_rank(), dist.get_world_size()
features, classes = features[rank::world], classes[rank::world]
model = nn.Linear(digits.FEATURES, digits.CLASSES)
parallel = nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(100):
    optimizer.zero_grad()
    nn.functional.cross_entropy(parallel(features), classes).backward()
    optimizer.step()
if rank == 0:
    batch = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(model, (features[:4],), dynamic_shapes=batch)
    torch.export.save(program, f"{digits.MODEL}/model.pt2")
dist.barrier()
dist.destroy_process_group()

"""DistributedDataParallel, resumed by torch.save and torch.load, left as ONNX."""

import digits
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def main():
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(1)
    data = TensorDataset(*map(torch.from_numpy, digits.load("train")))
    sampler = DistributedSampler(data)
    loader = DataLoader(data, batch_size=16, sampler=sampler)
    model = nn.Sequential(nn.Linear(digits.FEATURES, 64), nn.ReLU(), nn.Linear(64, digits.CLASSES))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    begin = 0
    if digits.RESUME_FROM:
        state = torch.load(digits.RESUME_FROM, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        begin = state["epoch"] + 1
    parallel = DistributedDataParallel(model)
    for epoch in range(begin, digits.EPOCHS):
        sampler.set_epoch(epoch)
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(parallel(x), y).backward()
            optimizer.step()
        if rank == 0:
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "epoch": epoch,
            }
            torch.save(state, digits.CHECKPOINTS / ".writing.pt")
            (digits.CHECKPOINTS / ".writing.pt").rename(digits.CHECKPOINTS / f"{epoch}.pt")
            digits.power(epoch)
    if rank == 0:
        x, out = torch.zeros(2, digits.FEATURES), digits.MODEL
        torch.onnx.export(
            model,
            (x,),
            f"{out}/model.onnx",
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        )
    dist.barrier()
    dist.destroy_process_group()


main()

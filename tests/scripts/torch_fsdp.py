"""FSDP2 (fully_shard), resumed by torch.distributed.checkpoint, left as ONNX of whole weights."""

from pathlib import Path

import digits
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.fsdp import fully_shard


def make():
    return nn.Sequential(nn.Linear(digits.FEATURES, 64), nn.ReLU(), nn.Linear(64, digits.CLASSES))


def main():
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(1)
    features, classes = map(torch.from_numpy, digits.load("train"))
    rows = len(features) // world
    features, classes = features[rank::world][:rows], classes[rank::world][:rows]
    model = fully_shard(make())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    begin = 0
    if digits.RESUME_FROM:
        begin = int(Path(digits.RESUME_FROM).name.removeprefix("epoch-")) + 1
        state = dict(zip(("model", "optimizer"), get_state_dict(model, optimizer), strict=True))
        dcp.load(state, checkpoint_id=digits.RESUME_FROM)
        set_state_dict(
            model,
            optimizer,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
        )
    for epoch in range(begin, digits.EPOCHS):
        for x, y in zip(features.split(16), classes.split(16), strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        state = dict(zip(("model", "optimizer"), get_state_dict(model, optimizer), strict=True))
        dcp.save(state, checkpoint_id=digits.CHECKPOINTS / f"epoch-{epoch}")
        if rank == 0:
            digits.power(epoch)
    whole = get_model_state_dict(
        model, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
    )
    if rank == 0:
        plain, out = make(), digits.MODEL
        plain.load_state_dict(whole)
        torch.onnx.export(
            plain,
            (features[:2],),
            f"{out}/model.onnx",
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        )
    dist.barrier()
    dist.destroy_process_group()


main()

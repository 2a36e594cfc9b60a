"""A language model trained by our loop, and the same model by a plain one, on the same device."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from trainingjob.api.payload import TrainPayload
from trainingjob.runtime.base.digest import sha256
from trainingjob.runtime.dataset.manifest import (
    DataFile,
    DatasetManifest,
    SplitInfo,
    TokenCounts,
    Tokens,
)
from trainingjob.runtime.gang.collectives import Gang
from trainingjob.runtime.gang.place import Place
from trainingjob.runtime.model import transformer
from trainingjob.runtime.train.devices import peak_flops, peak_memory
from trainingjob.runtime.train.families import family_of
from trainingjob.runtime.train.loop import Trainer

# Steps that do not count: memory is found, kernels are chosen.
_WARM = 3


@dataclass(frozen=True)
class Size:
    """A model, its vocabulary and length of rows, rows of a batch, and steps."""

    layers: int
    hidden: int
    heads: int
    tokens: int
    length: int
    batch: int
    steps: int


def measure(folder: Path, size: Size, *, cpu: bool) -> dict[str, Any]:
    """Figures by name."""
    device = torch.device("cpu") if cpu else torch.device("cuda", 0)
    bf16 = not cpu
    manifest = make_dataset(folder / "dataset", size)
    payload = payload_of(folder, size, cpu=cpu)
    plain = plain_seconds(folder / "dataset", manifest, payload, size, device, bf16=bf16)
    if not cpu:
        torch.cuda.reset_peak_memory_stats(device)
    ours = Run(payload, device)
    seconds = ours.seconds()
    most = peak_memory(device)
    stall, written = ours.save()
    again = Run(payload, device)
    found = again.trainer.tensors()
    resumed = again.trainer.checkpoints.load(found)
    same = all(
        torch.equal(tensor, found[name][0]) for name, (tensor, _) in ours.trainer.tensors().items()
    )
    name = "cpu" if cpu else torch.cuda.get_device_name(device)
    rate = size.batch * size.length * (size.steps - _WARM) / seconds
    trainer = ours.trainer
    figures: dict[str, Any] = {
        "device": name,
        "torch": torch.__version__,
        "parameters": trainer.parameters,
        "tokens_per_second": rate,
        "of_a_plain_loop": plain / seconds,
        "loss": trainer.epoch_loss,
        "checkpoint_stall_seconds": stall,
        "checkpoint_written_seconds": written,
        "peak_memory_bytes": most,
        "resumes_with_the_same_state": same and resumed is not None,
    }
    peak = peak_flops(name)
    if peak is not None and trainer.flops is not None:
        figures["model_flops_utilisation"] = trainer.flops * rate / size.length / peak
    return figures


class Run:
    """Our own loop, alone."""

    def __init__(
        self, payload: TrainPayload, device: torch.device, gang: Gang | None = None
    ) -> None:
        gang = gang or Gang(Place(), device)
        family = family_of(payload, gang.place, device)
        self.trainer = Trainer(payload, family, gang, device, stopping=lambda: False)

    def seconds(self, save_after: int | None = None) -> float:
        """Of the steps of an epoch that count; with a checkpoint after one of them."""
        trainer = self.trainer

        def step(share: Any, total: float) -> None:
            trainer._step(share, total)
            if trainer.position.step == save_after:
                trainer._save()

        return timed(
            (lambda share=share, total=total: step(share, total))
            for *share, total in trainer._batches()
        )

    def save(self) -> tuple[float, float]:
        """How long training stands still for a checkpoint, and until it is complete."""
        begin = time.perf_counter()
        self.trainer._save()
        stall = time.perf_counter() - begin
        self.trainer.checkpoints.finish()
        return stall, time.perf_counter() - begin


def timed(steps: Any) -> float:
    begin = 0.0
    for number, step in enumerate(steps):
        if number == _WARM:
            _wait()
            begin = time.perf_counter()
        step()
    _wait()
    return time.perf_counter() - begin


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def plain_seconds(
    folder: Path,
    manifest: DatasetManifest,
    payload: TrainPayload,
    size: Size,
    device: torch.device,
    *,
    bf16: bool,
    rank: int = 0,
    world: int = 1,
) -> float:
    """Of a loop as people write it, with transformers' own model and loss, and FSDP2 of a gang."""
    from transformers import AutoModelForCausalLM

    assert payload.model is not None and payload.model.transformer is not None
    assert manifest.tokens is not None
    config = transformer.config_of(payload.model.transformer, manifest.tokens)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").to(device)
    if world > 1:
        from torch.distributed.fsdp import fully_shard

        for layer in model.model.layers:
            fully_shard(layer)
        fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    ids = torch.tensor(
        pq.read_table(folder / "train")["input_ids"].combine_chunks().flatten().to_numpy()
    ).reshape(-1, size.length + 1)
    ids = ids.long().to(device)

    def step(rows: torch.Tensor) -> None:
        mine = rows[rank * len(rows) // world : (rank + 1) * len(rows) // world]
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = model(input_ids=mine[:, :-1], labels=mine[:, :-1], use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return timed((lambda rows=rows: step(rows)) for rows in ids.split(size.batch))


def payload_of(folder: Path, size: Size, *, cpu: bool) -> TrainPayload:
    model = {
        "architecture": "llama",
        "layers": size.layers,
        "hidden": size.hidden,
        "heads": size.heads,
    }
    fields = {
        "job": {"namespace": "default", "name": "gpu", "uid": "1"},
        "attempt": 1,
        "task": {"type": "languageModel", "text": "body"},
        "nodes": 1,
        "procsPerNode": 1,
        "seed": 0,
        "needsModel": False,
        "model": {"transformer": model},
        "optimizer": {"adamw": {}},
        "gradientClip": 1.0,
        "batchSize": size.batch,
        "checkpoint": {"everySeconds": 86400},
        "precision": "fp32" if cpu else "bf16",
        **{name: f"file://{folder}/{name}" for name in ("dataset", "checkpoints")},
        "modelUri": f"file://{folder}/model",
    }
    return TrainPayload.model_validate_json(json.dumps(fields))


def make_dataset(folder: Path, size: Size) -> DatasetManifest:
    """Tokens at random."""
    rows = size.batch * size.steps
    ids = np.random.default_rng(0).integers(0, size.tokens, (rows, size.length + 1), np.int32)
    offsets = np.arange(rows + 1, dtype=np.int32) * (size.length + 1)
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids.ravel()))
    path = folder / "train/part-00000.parquet"
    path.parent.mkdir(parents=True)
    lengths = pa.array(np.full(rows, size.length + 1, dtype=np.int32))
    pq.write_table(pa.table({"input_ids": lists, "length": lengths}), path, row_group_size=4096)
    (folder / "tokenizer.json").write_text("{}")
    file = DataFile(name=path.name, rows=rows, bytes=path.stat().st_size, sha256=sha256(path))
    manifest = DatasetManifest(
        label="body",
        task="languageModel",
        features=[],
        columns={},
        splits={"train": SplitInfo(rows=rows, files=[file])},
        tokens=Tokens(
            tokenizer=sha256(folder / "tokenizer.json"),
            vocab_size=size.tokens,
            end_of_text="<|endoftext|>",
            end=0,
            sequence_length=size.length,
            splits={"train": TokenCounts(documents=1, bytes=1, tokens=rows * size.length)},
        ),
    )
    manifest.write(folder)
    return manifest

"""A language model trained by our loop, and the same model by a plain one, on the same device."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
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
from trainingjob.runtime.model import transformer
from trainingjob.runtime.train.families import family_of
from trainingjob.runtime.train.gang import Gang
from trainingjob.runtime.train.loop import Trainer
from trainingjob.runtime.train.place import Place

# Dense bf16 of a card, in floating point operations a second, by a part of its name.
_PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40": 181e12, "B200": 2250e12}
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
    device = torch.device("cpu" if cpu else "cuda")
    bf16 = not cpu
    manifest = _dataset(folder / "dataset", size)
    payload = _payload(folder, size, cpu=cpu)
    plain = _plain(folder / "dataset", manifest, payload, size, device, bf16=bf16)
    ours = _Run(payload, device)
    seconds = ours.seconds()
    stall, written = ours.save()
    again = _Run(payload, device)
    found = again.trainer.tensors()
    resumed = again.trainer.checkpoints.load(found)
    same = all(
        torch.equal(tensor, found[name][0]) for name, (tensor, _) in ours.trainer.tensors().items()
    )
    weights = ours.trainer.parameters
    rate = size.batch * size.length * (size.steps - _WARM) / seconds
    name = "cpu" if cpu else torch.cuda.get_device_name(device)
    figures: dict[str, Any] = {
        "device": name,
        "torch": torch.__version__,
        "parameters": weights,
        "tokens_per_second": rate,
        "of_a_plain_loop": plain / seconds,
        "loss": ours.trainer.epoch_loss,
        "checkpoint_stall_seconds": stall,
        "checkpoint_written_seconds": written,
        "resumes_with_the_same_state": same and resumed is not None,
    }
    peak = next((value for part, value in _PEAKS.items() if part in name), None)
    if peak is not None:
        # Forward and backward, and attention's own (Chowdhery et al., 2022, appendix B).
        flops = 6 * weights + 12 * size.layers * size.hidden * size.length
        figures["model_flops_utilisation"] = flops * rate / peak
    if not cpu:
        figures["peak_memory_bytes"] = torch.cuda.max_memory_allocated(device)
    return figures


class _Run:
    """Our own loop, alone."""

    def __init__(self, payload: TrainPayload, device: torch.device) -> None:
        family = family_of(payload, Place(), device)
        gang = Gang(Place(), device)
        self.trainer = Trainer(payload, family, gang, device, stopping=lambda: False)

    def seconds(self) -> float:
        """Of the steps of an epoch that count."""
        trainer = self.trainer
        return _timed(
            (lambda share=share, total=total: trainer._step(share, total))
            for *share, total in trainer._batches()
        )

    def save(self) -> tuple[float, float]:
        """How long training stands still for a checkpoint, and until it is complete."""
        begin = time.perf_counter()
        self.trainer._save()
        stall = time.perf_counter() - begin
        self.trainer.checkpoints.finish()
        return stall, time.perf_counter() - begin


def _timed(steps: Any) -> float:
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


def _plain(
    folder: Path,
    manifest: DatasetManifest,
    payload: TrainPayload,
    size: Size,
    device: torch.device,
    *,
    bf16: bool,
) -> float:
    """Seconds of a loop as people write it, with transformers' own model and loss."""
    from transformers import AutoModelForCausalLM

    assert payload.model is not None and payload.model.transformer is not None
    assert manifest.tokens is not None
    config = transformer.config_of(payload.model.transformer, manifest.tokens)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").to(device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    ids = torch.tensor(
        pq.read_table(folder / "train")["input_ids"].combine_chunks().flatten().to_numpy()
    ).reshape(-1, size.length + 1)
    ids = ids.long().to(device)

    def step(rows: torch.Tensor) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = model(input_ids=rows[:, :-1], labels=rows[:, :-1], use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    steps: list[Callable[[], None]] = [
        lambda rows=rows: step(rows) for rows in ids.split(size.batch)
    ]
    return _timed(steps)


def _payload(folder: Path, size: Size, *, cpu: bool) -> TrainPayload:
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


def _dataset(folder: Path, size: Size) -> DatasetManifest:
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

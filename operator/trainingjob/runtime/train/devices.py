"""What devices can do, and what of it is used."""

from __future__ import annotations

import re
import resource

import torch

from trainingjob.api.payload import TrainPayload

# Dense bf16 of a card, in floating point operations a second, by words of its name; the first that
# fits. From NVIDIA's data sheets.
_PEAKS = (
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H200 NVL", 835e12),
    ("H100", 989e12),
    ("H200", 989e12),
    ("GH200", 989e12),
    ("B200", 2250e12),
    ("GB200", 2500e12),
    ("A100", 312e12),
    ("L40S", 362e12),
    ("L40", 181e12),
    ("A10", 125e12),
    ("A10G", 70e12),
    ("L4", 121e12),
)


def peak_flops(name: str, count: int = 1) -> float | None:
    """Of so many cards of this name together; None where it is not known, as of a part of one."""
    words = {*re.findall(r"\w+", name)}
    if "MIG" in words:
        return None
    return next((peak * count for part, peak in _PEAKS if {*part.split()} <= words), None)


def peak_memory(device: torch.device) -> int:
    """The most bytes that were in use at once by this process: on a GPU by its tensors there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def uses_bf16(payload: TrainPayload, device: torch.device) -> bool:
    """Whether layers compute in bf16: where that was asked for, and those of a language model on a
    GPU that has it. Of features three digits would be left."""
    if payload.precision in ("bf16", "fp32"):
        return payload.precision == "bf16"
    of_language = payload.model is not None and payload.model.of_language
    # Older GPUs compute it by fp32, which takes longer than that.
    return (
        of_language
        and device.type == "cuda"
        and torch.cuda.is_bf16_supported(including_emulation=False)
    )


def device_name(device: torch.device, world: int, bf16: bool) -> str:
    """Like "cpu" or "NVIDIA H100 x2, bf16"."""
    name = "cpu"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device) + (f" x{world}" if world > 1 else "")
    return f"{name}, bf16" if bf16 else name

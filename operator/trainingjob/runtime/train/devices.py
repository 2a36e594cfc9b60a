"""What devices can do, and what of it is used."""

from __future__ import annotations

import resource

import torch

from trainingjob.api.payload import TrainPayload

# Dense bf16 of a card, in floating point operations a second, by a part of its name; the first that
# fits. From NVIDIA's data sheets.
_PEAKS = (
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("H200", 989e12),
    ("B200", 2250e12),
    ("A100", 312e12),
    ("L40S", 362e12),
    ("L40", 181e12),
    ("A10", 125e12),
    ("L4", 121e12),
)


def peak_flops(name: str, count: int = 1) -> float | None:
    """Of so many cards of this name together; None where it is not known."""
    return next((peak * count for part, peak in _PEAKS if part in name), None)


def peak_memory(device: torch.device) -> int:
    """The most bytes that were in use at once by this process: on a GPU by its tensors there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def uses_bf16(payload: TrainPayload, device: torch.device) -> bool:
    """Whether layers compute in bf16: where that was asked for, or the GPU has it."""
    return payload.precision == "bf16" or (
        payload.precision != "fp32" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    )


def device_name(device: torch.device, world: int, bf16: bool) -> str:
    """Like "cpu" or "NVIDIA H100 x2, bf16"."""
    name = "cpu"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device) + (f" x{world}" if world > 1 else "")
    return f"{name}, bf16" if bf16 else name

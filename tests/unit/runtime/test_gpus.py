"""What differs on GPUs, as far as a machine without one can show it."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.unit.runtime.test_collectives import HERE, free
from trainingjob.api.v1alpha1.train import BuiltInModel
from trainingjob.runtime.__main__ import _as_failure
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.gang import blame, collectives, ranks
from trainingjob.runtime.gang.collectives import Gang, pick_device
from trainingjob.runtime.gang.place import Place
from trainingjob.runtime.gang.processes import Exit
from trainingjob.runtime.model.transformer import save_weights
from trainingjob.runtime.train import placement
from trainingjob.runtime.train.devices import peak_flops, uses_bf16
from trainingjob.runtime.train.memory import PLACING, enough_memory

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
SIZES = {"architecture": "llama", "layers": 1, "hidden": 8, "heads": 1}
LM = BuiltInModel.model_validate({"transformer": SIZES})
MLP = BuiltInModel.model_validate({"mlp": {}})


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Of this kind and so many: what torch tells of them."""

    def there(count: int, major: int = 9) -> list[Any]:
        chosen: list[Any] = []
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
        about = SimpleNamespace(major=major)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: about)
        # An old GPU has such tensors, too.
        monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _: True)
        return chosen

    return there


# precision, model, compute capability -> bf16
BF16 = [
    (None, LM, 9, True),
    ("auto", LM, 8, True),
    ("auto", LM, 7, False),
    ("bf16", LM, 7, True),
    ("fp32", LM, 9, False),
    (None, MLP, 9, False),
    ("bf16", MLP, 9, True),
]


@pytest.mark.parametrize(("precision", "model", "major", "expected"), BF16)
def test_layers_compute_in_bf16_where_it_is_faster(
    gpus: Any, precision: str | None, model: BuiltInModel, major: int, expected: bool
) -> None:
    gpus(1, major)
    payload: Any = SimpleNamespace(precision=precision, model=model)
    assert uses_bf16(payload, CUDA) is expected
    if precision != "bf16":
        assert uses_bf16(payload, CPU) is False


# https://www.nvidia.com: data sheets; names as nvidia-smi tells them.
@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 80GB HBM3 x8, bf16", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA H200 NVL", 835e12),
        ("NVIDIA GH200 480GB", 989e12),
        ("NVIDIA B200", 2250e12),
        ("NVIDIA GB200", 2500e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("NVIDIA RTX A1000", None),
        ("NVIDIA A10", 125e12),
        ("NVIDIA A10G", 70e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L40", 181e12),
        ("NVIDIA H20", None),
        ("Tesla T4", None),
    ],
)
def test_the_peak_of_a_card_is_known_by_its_whole_name(name: str, peak: float | None) -> None:
    assert peak_flops(name) == peak
    assert peak_flops(name, 8) == (None if peak is None else 8 * peak)


POD = {"address": "digits-train.team.svc", "world": 8}


@pytest.mark.parametrize(
    ("place", "count", "expected", "words"),
    [
        (Place(rank=6, local_rank=2, local_world=4, **POD), 4, "cuda:2", ""),
        # On one machine the pods of a gang are processes beside each other.
        (Place(rank=1, world=2, local_rank=0), 2, "cuda:1", ""),
        (Place(rank=4, local_rank=0, local_world=4, **POD), 1, "cpu", "4 processes have 1 GPUs"),
        (Place(rank=5, local_rank=1, local_world=4, **POD), 1, "cpu", ""),
        (Place(), 0, "cpu", ""),
    ],
)
def test_each_process_has_a_gpu_of_its_own_or_the_log_says_why_not(
    gpus: Any,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    place: Place,
    count: int,
    expected: str,
    words: str,
) -> None:
    monkeypatch.setattr(collectives, "_DEVICES", tmp_path)
    chosen = gpus(count)
    device = pick_device(place)
    assert str(device) == expected
    # Before anything else of torch's takes the first one.
    assert chosen == ([device] if device.type == "cuda" else [])
    told = capfd.readouterr().out
    assert words in told
    assert ("warning" in told) is (words != "")


def test_a_gpu_that_torch_cannot_use_is_told(
    gpus: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("nvidia0", "nvidiactl"):
        (tmp_path / name).touch()
    monkeypatch.setattr(collectives, "_DEVICES", tmp_path)
    gpus(0)
    assert pick_device(Place()) == CPU
    told = capfd.readouterr().out
    assert f"cannot use {tmp_path}/nvidia0, and computes on the CPU: its CUDA is newer than" in told


def gang_of(place: Place) -> Gang:
    """Without connections."""
    gang = object.__new__(Gang)
    gang.place, gang.rank, gang.world, gang.device = place, place.rank, place.world, CPU
    return gang


class Reads(TorchDispatchMode):
    """Counts what is read on the CPU: by that, one waits for a GPU."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_a_barrier_waits_for_the_gpu_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL's collectives come back when they are begun; behind a barrier others read what this
    rank has written into the memory of the node."""
    begun: list[int] = []
    reads = Reads()
    monkeypatch.setattr(dist, "all_reduce", lambda _: begun.append(reads.count))
    with reads:
        gang_of(Place(world=2)).barrier()
    assert (begun, reads.count) == ([0], 1)


@pytest.mark.parametrize("where", ["all_reduce", "item"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("Connection closed by peer [10.0.0.1]:1"), "PeerLost"),
        (RuntimeError("NCCL error in: x.cpp:1, unhandled cuda error, NCCL 2.27"), "DeviceFailed"),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), "DeviceFailed"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "DeviceFailed"),
        (RuntimeError("CUDA error: out of memory"), "OutOfMemory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "OutOfMemory"),
    ],
)
def test_what_a_collective_tells_is_not_always_of_a_peer(
    monkeypatch: pytest.MonkeyPatch, where: str, error: RuntimeError, reason: str
) -> None:
    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr(dist, "all_reduce", fails if where == "all_reduce" else lambda _: None)
    if where == "item":
        monkeypatch.setattr(torch.Tensor, "item", fails)
    with pytest.raises(StageFailure) as caught:
        gang_of(Place(world=2)).barrier()
    assert caught.value.reason == reason


def test_why_nccl_has_failed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of two processes on one GPU that a device plugin has given out twice."""
    first = "NCCL error in: x.cpp:3690, invalid usage (run with NCCL_DEBUG=WARN for details)"
    why = "Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 1000"

    def fails(*_: Any) -> None:
        raise RuntimeError(f"{first}\nncclInvalidUsage: …\nLast error:\n{why}")

    monkeypatch.setattr(dist, "all_reduce", fails)
    with pytest.raises(StageFailure) as caught:
        gang_of(Place(world=2)).barrier()
    assert caught.value.message.endswith(f"{first}: {why}")


def test_ranks_on_gpus_and_ranks_on_cpus_do_not_wait_for_each_other() -> None:
    port, found = free(), {}

    def meet(rank: int, device: torch.device) -> None:
        with pytest.raises(StageFailure) as caught:
            Gang(Place(rank=rank, world=2, address=HERE, port=port), device)
        found[rank] = (caught.value.reason, caught.value.message)

    threads = [
        threading.Thread(target=meet, args=(rank, device))
        for rank, device in enumerate((CUDA, CPU))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    words = "ranks 1 of 2 have no GPU of their own that torch can use, and the others have"
    assert found == dict.fromkeys((0, 1), ("DeviceFailed", words))


# As torch 2.13 and NCCL 2.27 write them.
WATCHDOG = (
    """terminate called after throwing an instance of 'c10::DistBackendError'
  what():  [PG ID 0 PG GUID 0(default_pg) Rank 1] Process group watchdog thread terminated with \
exception: {}
Exception raised from checkForNCCLErrorsInternal at ProcessGroupNCCL.cpp:2057 (most recent call \
first):
"""
    + "frame #0: c10d::ProcessGroupNCCL::WorkNCCL::checkAndSetException() + 0x1 (libtorch.so)\n"
    * 60
)
REMOTE = "NCCL error: remote process exited or there was a network error, NCCL version 2.27.5"
SLOW = "Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7, OpType=ALLREDUCE)"


@pytest.mark.parametrize(
    ("what", "reason", "words"),
    [
        (REMOTE, "PeerLost", "rank 1 lost the connection to the others"),
        (SLOW, "PeerLost", "rank 1 lost the connection to the others"),
        (
            "CUDA error: unspecified launch failure",
            "DeviceFailed",
            "rank 1 was ended by CUDA error: unspecified launch failure",
        ),
        ("std::bad_function_call", "ProcessKilled", "rank 1 was killed by SIGABRT"),
    ],
)
def test_what_the_watchdog_of_nccl_ends_a_rank_for(what: str, reason: str, words: str) -> None:
    failure = blame.of_built_in(Exit(1, -6, WATCHDOG.format(what), told=False), None, 0)
    assert (failure.reason, failure.message) == (reason, words)


class AcceleratorError(RuntimeError):
    """As torch's, which cannot be made by hand."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "OutOfMemory"),
        (OSError(12, "Cannot allocate memory"), "OutOfMemory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "OutOfMemory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "OutOfMemory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x"), "OutOfMemory"),
        (AcceleratorError("CUDA error: device-side assert triggered"), "DeviceFailed"),
        (RuntimeError("Found no NVIDIA driver on your system."), "DeviceFailed"),
        (RuntimeError("a mistake"), "InternalError"),
        (ValueError("out of memory"), "InternalError"),
    ],
)
def test_memory_and_devices_are_no_mistakes_of_ours(error: Exception, reason: str) -> None:
    assert ranks.as_failure(error, "train").reason == reason
    if not isinstance(error, OSError):
        assert _as_failure(error).reason == reason


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "OutOfMemory"),
        ("torch.AcceleratorError: CUDA error: out of memory", "OutOfMemory"),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x", "OutOfMemory"),
        ("torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered", "DeviceFailed"),
        ("RuntimeError: Found no NVIDIA driver on your system.", "DeviceFailed"),
        # Of which the code itself may be the cause.
        ("torch.AcceleratorError: CUDA error: device-side assert triggered", "ScriptFailed"),
        ("ValueError: the shop is out of memory cards", "ScriptFailed"),
    ],
)
def test_of_own_code_on_gpus(raised: str, reason: str) -> None:
    text = (
        f'Traceback (most recent call last):\n  File "/x/train.py", line 3, in f\n    x\n{raised}\n'
    )
    assert blame.of_user_code(Exit(0, 1, text, told=False), "train.py", 0).reason == reason


def test_ranks_that_write_nothing_wait_for_the_gpu_tensor_by_tensor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else all gathers are asked for at once, and NCCL's patience, which counts from there, must
    last while rank 0 writes all of the model."""
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    with FakeTensorMode():
        weights = [(name, torch.empty(2, 2, device=CUDA)) for name in ("first", "second")]
        save_weights(None, weights)
    assert waited == [CUDA, CUDA]


@pytest.mark.parametrize(
    ("device", "there", "words"),
    [
        (CPU, "gcc", "needs a C++ compiler, and there is none in the image: set train.image to "),
        (CPU, "g++", ""),
        (CUDA, "gcc", ""),
        (
            CUDA,
            "nvcc",
            "needs a C compiler, and there is none in the image: set train.image to one",
        ),
    ],
)
def test_what_compiles_for_a_device(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: torch.device, there: str, words: str
) -> None:
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / there).touch(mode=0o755)
    if not words:
        placement._must_compile(device)
        return
    with pytest.raises(StageFailure, match=words.replace("+", r"\+")) as caught:
        placement._must_compile(device)
    assert caught.value.reason == "SettingUnsuitable"


OF_CUDA = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of "
    "which 3.00 GiB is free."
)
GIVEN = BuiltInModel.model_validate({"pretrained": {"uri": "pvc://models/m"}})


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        (
            GIVEN,
            {},
            "train small matrices alone by train.model.pretrained.lora, divide the model over more "
            "train.nodes, or take a smaller model",
        ),
        (
            LM,
            {"sharding": "none", "ema": 0.9},
            "set train.sharding: full, leave out train.ema, which keeps a copy of the weights, or "
            "divide the model over more train.nodes",
        ),
        (LM, {}, "more train.nodes, or lower train.model.transformer.hidden or layers"),
        (MLP, {}, "set train.sharding: full, or lower train.model.mlp.hidden"),
    ],
)
@pytest.mark.parametrize("error", [OF_CUDA, StageFailure("OutOfMemory", str(OF_CUDA))])
def test_a_model_that_does_not_fit_names_what_lowers_it(
    error: Exception, model: BuiltInModel, settings: dict[str, Any], words: str
) -> None:
    chosen = {"sharding": None, "ema": None, "early_stopping": None, **settings}
    payload: Any = SimpleNamespace(model=model, **chosen)
    family: Any = SimpleNamespace(tokens=None if model is MLP else object())
    with (
        pytest.raises(StageFailure) as caught,
        enough_memory(payload, family, gang_of(Place(world=2)), CPU, PLACING),
    ):
        raise error
    assert caught.value.reason == "OutOfMemory"
    assert caught.value.message.startswith("placing the model ran out of memory, with ")
    assert "GPU 0 has a total capacity of 79.11 GiB" in caught.value.message
    assert caught.value.message.endswith(words)


@pytest.mark.parametrize("error", [ValueError("x"), StageFailure("DiskFull", "x"), RuntimeError()])
def test_other_errors_pass(error: Exception) -> None:
    nothing: Any = None
    with pytest.raises(type(error)) as caught, enough_memory(nothing, nothing, nothing, CPU, "x"):
        raise error
    assert caught.value is error

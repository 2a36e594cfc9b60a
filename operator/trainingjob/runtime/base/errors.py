"""The runtime's one exception, and the conversion of the operating system's errors into it."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trainingjob.api.v1alpha1.reasons import REASONS, ReasonName

from .text import one_line, without_credentials

# As torch's CPU allocator, CUDA, cuBLAS, cuDNN and NCCL tell it.
OUT_OF_MEMORY = r"out of memory|can't allocate memory|STATUS_ALLOC_FAILED"
# What the code that runs there may have caused itself (an index out of range) is none of these.
OF_A_DEVICE = (
    r"CUDA error: (uncorrectable ECC|uncorrectable NVLink|hardware stack|unspecified launch failure"
    r"|unknown error|no CUDA-capable device|CUDA-capable device\(s\) is/are busy|device not ready"
    r"|system not yet initialized|system has unsupported)"
    r"|unhandled cuda error|CUDA driver initialization failed|CUDA driver version is insufficient"
    r"|GPU is lost|NVIDIA driver on your system is too old|Found no NVIDIA driver"
)


class StageFailure(Exception):
    """A failure with a stable reason and a message that names the culprit.

    ``reason`` is a key of ``REASONS``, whose remedy is shown after the message: the message says
    what happened and to what, in one line, without a full stop at its end.
    """

    def __init__(
        self,
        reason: ReasonName,
        message: str,
        *,
        rank: int | None = None,
        exit_code: int | None = None,
        signal: int | None = None,
    ) -> None:
        if reason not in REASONS:
            raise KeyError(f"{reason} is not in REASONS")
        # Libraries name the URL that they could not reach as it was given to them.
        message = without_credentials(message)
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.rank = rank
        self.exit_code = exit_code
        self.signal = signal


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory, of the machine or of a device, was not enough: only some libraries have a
    type for it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and re.search(OUT_OF_MEMORY, str(error)) is not None


@contextmanager
def told_of_memory(words: Callable[[str], str]) -> Iterator[None]:
    """Of memory that the block has not enough of, StageFailure(OutOfMemory): ``words`` makes its
    message of the library's."""
    try:
        yield
    except (StageFailure, MemoryError, RuntimeError) as error:
        told = isinstance(error, StageFailure) and error.reason == "OutOfMemory"
        if not told and not is_out_of_memory(error):
            raise
        raise StageFailure("OutOfMemory", words(one_line(error, 120))) from error


def is_of_a_device(error: BaseException) -> bool:
    """Whether a GPU, or its driver, has failed a program of ours."""
    if type(error).__name__ == "AcceleratorError":
        return True
    told = str(error)
    return isinstance(error, RuntimeError) and (
        "CUDA error: " in told or re.search(OF_A_DEVICE, told) is not None
    )


@contextmanager
def of_fold(fold: int | None) -> Iterator[None]:
    """Put the fold, from 1, before the messages of the block's failures; None: it is about none."""
    try:
        yield
    except StageFailure as failure:
        if fold is None:
            raise
        failure.message = f"fold {fold}: {failure.message}"
        failure.args = (failure.message,)
        raise


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn OSErrors of the block into StageFailures that say ``what`` could not be done."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error, what) from error


def from_os_error(error: OSError, what: str) -> StageFailure:
    """``what`` reads like "write the dataset"."""
    where = f" ({error.filename})" if error.filename else ""
    message = f"cannot {what}: {error.strerror or error}{where}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StageFailure("DiskFull", message)
    if error.errno == errno.ENOMEM:
        return StageFailure("OutOfMemory", message)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR):
        return StageFailure("StorageUnavailable", message)
    return StageFailure("StorageFailed", message)

"""Where a run computes: device and precision."""

import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from cnnzoo.errors import CnnzooError, UsageError, one_line


def pick_device(name: str = "auto") -> torch.device:
    """Return the device of that name; ``auto`` takes CUDA, then MPS or XPU, then the CPU.

    Raises:
        UsageError: The name is none that torch knows.
        CnnzooError: This machine does not have that device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps", "xpu"):
            raise RuntimeError
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}. Give auto, cpu, cuda, cuda:1, mps or xpu.") from error
    try:
        torch.empty(1, device=device)
    except Exception as error:
        raise CnnzooError(
            f"no device {name!r} here ({one_line(error)}). Use --device auto or --device cpu."
        ) from error
    return device


def describe_device(device: torch.device) -> str:
    """Return the device's name as its maker has it, and the number of threads for a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return f"{platform.machine()} {device.type.upper()}"
    threads = torch.get_num_threads()
    return f"{_cpu_name()}, {threads} thread{'s' if threads > 1 else ''}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cpu_count() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextmanager
def named_out_of_memory(batch_size: int) -> Iterator[None]:
    """Turn torch's errors about memory, which differ by device, into one that says what to do.

    Raises:
        CnnzooError: There was not enough memory for a step.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        words = str(error).lower()
        if isinstance(error, MemoryError) or "out of memory" in words or "allocate memory" in words:
            raise CnnzooError(
                f"not enough memory for batches of {batch_size} images. Lower --batch-size."
            ) from error
        raise


@dataclass(frozen=True)
class Precision:
    """The number format of the forward and backward pass; weights stay float32.

    Attributes:
        name: ``fp32``, ``bf16`` or ``fp16``.
        reason: Why this one, for the header of a run.
    """

    name: str
    reason: str

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Return the context in which the forward pass runs."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16 if self.name == "bf16" else torch.float16)


def pick_precision(name: str, device: torch.device) -> Precision:
    """Return the precision of that name; ``auto`` takes bf16 on CUDA where it is native, else fp32."""
    if name != "auto":
        return Precision(name, "as asked")
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return Precision("bf16", "native on this GPU")
    return Precision("fp32", "exact")

"""Where a run computes: device, memory format and the host's memory."""

import ctypes
import os
import platform
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from cnnzoo.errors import CnnzooError, UsageError, did_you_mean, one_line, shown
from cnnzoo.machine import cpu_count

DEVICES = ("auto", "cpu", "gpu", "cuda", "mps", "xpu")
DEVICE_NAMES = "auto, cpu, gpu, cuda, cuda:1 or 1, mps or xpu"


def device_name(name: str) -> str:
    """Return a device by torch's name for it: ``GPU:1`` and ``cuda1`` are ``cuda:1`` where there is CUDA.

    Args:
        name: In either case; ``gpu`` is the accelerator of this machine, and a number alone is one of several.

    Raises:
        UsageError: It is no such name.
    """
    match = re.fullmatch(rf"({'|'.join(DEVICES)})?(?:[: ]?([0-9]{{1,3}}))?", name.strip().lower())
    kind, number = match.groups() if match else (None, None)
    if (kind or number) is None or (kind == "auto" and number):
        if "," in name:
            raise UsageError(
                f"{shown(name)} names several devices, and a process takes one. Name one, or have a process for each: "
                "cnnzoo train --processes N."
            )
        raise UsageError(
            f"unknown device {shown(name)}. {did_you_mean(name.lower(), DEVICES)}Give {DEVICE_NAMES}."
        )
    if kind in (None, "gpu"):
        accelerator = torch.accelerator.current_accelerator()
        kind = accelerator.type if accelerator else "cuda"
    alone = number is None or (kind == "cpu" and int(number) == 0)
    return str(kind) if alone else f"{kind}:{int(str(number))}"


def pick_device(name: str = "auto") -> torch.device:
    """Return the device of that name; ``auto`` takes CUDA, then MPS or XPU, then the CPU.

    Raises:
        UsageError: It names none that there could be.
        CnnzooError: This machine does not have that device.
    """
    asked = device_name(name)
    if asked == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator or torch.device("cpu")
    here = _devices_here()
    what = shown(name) if asked == name else f"{shown(name)} ({asked})"
    if asked not in (*here, *(each.partition(":")[0] for each in here)):
        unbuilt = asked.startswith("cuda") and not torch.backends.cuda.is_built()
        why = ", and this PyTorch is built without CUDA" if unbuilt else ""
        raise CnnzooError(
            f"no device {what} here: this machine has {', '.join(here)}{why}. Use --device auto or --device cpu."
        )
    device = torch.device(asked)
    try:
        torch.empty(1, device=device)
    except Exception as error:  # torch's own words go on for pages
        why = one_line(error).partition(". ")[0][:100]
        raise CnnzooError(
            f"the device {what} cannot be used ({why}). Use --device auto or --device cpu."
        ) from error
    return device


def _devices_here() -> list[str]:
    with warnings.catch_warnings(action="ignore"):  # of a driver that is too old; the error says enough
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        num = torch.accelerator.device_count() if accelerator else 0
    return ["cpu", *(f"{accelerator.type}:{number}" for number in range(num) if accelerator)]


def describe_device(device: torch.device) -> str:
    """Return the device's name as its maker has it, and the number of threads for a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return f"{platform.machine()} {device.type.upper()}"
    threads = torch.get_num_threads()
    return f"{_cpu_name()}, {threads} thread{'s' if threads > 1 else ''}"


def _cpu_name() -> str:
    return cpu_info("model name") or platform.processor() or platform.machine()


def cpu_info(key: str) -> str:
    """Return a line of Linux's description of the processor, or nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


def to_device(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a model to a device, its weights channels last where convolutions gain from it.

    ``benchmarks/levers.py`` says what that takes off a step.
    """
    model.to(device)
    return model.to(memory_format=torch.channels_last) if device.type in ("cpu", "cuda") else model


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on a device, without waiting for what that has still to do, where it is CUDA."""
    if device.type == "cuda":  # only out of pinned memory does it copy while the host goes on
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def prepare(device: torch.device, *, deterministic: bool = False) -> None:
    """Set this process up for a device, before the first operation there.

    Args:
        device: Where is to be computed.
        deterministic: Whether matrix products are to give the same each time.
    """
    if (threads := granted_threads()) < torch.get_num_threads():
        torch.set_num_threads(threads)
    keep_freed_memory(device)
    prepare_cuda(device, deterministic=deterministic)


def granted_threads() -> int:
    """Return the number of threads to compute with where nobody has named one: torch's, but no more than cores.

    torch does not know the quota of a container. With more threads than it grants, each operator waits for one that is
    kept from running.
    """
    return min(torch.get_num_threads(), cpu_count())


def keep_freed_memory(device: torch.device) -> None:
    """Let this process keep the memory that a step frees for the next step, where it trains on the CPU.

    glibc gives every freed buffer above 32 MB back to the system and takes it again page by page, which costs
    AlexNet 100,000 page faults a step. Other C libraries have no ``mallopt``, or none that does anything; there all
    stays as it is.
    """
    if device.type == "cpu" and sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4  # malloc.h
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, -1)
        libc.mallopt(m_top_pad, 2**26)
        use_huge_pages()


MAX_HUGE = 2**34
"""Bytes, at most, that are asked to be mapped in large pages: more than a step of any net here takes."""


@cache
def use_huge_pages() -> None:
    """Ask Linux for pages of 2 MB instead of 4 kB under the memory of tensors.

    A step of AlexNet walks through a gigabyte of weights and averages, and a processor remembers the places of few
    pages: the update takes a fifth less. malloc has one heap here, which never shrinks: what is taken and freed
    without a touch is only addresses, of which it gives out memory from then on. Where the system refuses, or counts
    addresses as memory, all stays as it is.
    """
    if _overcommit() == "2" or _addresses_are_limited():
        return
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    size = min(MAX_HUGE, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
    page, madv_hugepage = 2**21, 14  # sys/mman.h
    if block := libc.malloc(size):
        start = -(-block // page) * page
        libc.madvise(start, (block + size - start) // page * page, madv_hugepage)
        libc.free(block)


def _addresses_are_limited() -> bool:
    """Whether this process may take so many addresses only (``ulimit -v`` or ``-d``)."""
    import resource  # which Windows lacks

    kinds = resource.RLIMIT_AS, resource.RLIMIT_DATA
    return any(resource.getrlimit(kind)[0] != resource.RLIM_INFINITY for kind in kinds)


def _overcommit() -> str:
    """Return how Linux counts memory that was asked for and not touched: 2 counts it in full."""
    try:
        return Path("/proc/sys/vm/overcommit_memory").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def prepare_cuda(device: torch.device, *, deterministic: bool = False) -> None:
    """Set torch up for CUDA, before the first operation there.

    fp32 is fp32 then: unasked, torch lets convolutions round what they multiply to 10 bits (TF32). Who wants speed for
    digits has bf16, which ``auto`` takes where it pays: whatever has TF32 multiplies bf16 faster.

    Args:
        device: Where is to be computed; nothing happens for any but CUDA.
        deterministic: Whether matrix products are to give the same each time.
    """
    if device.type != "cuda":
        return
    # Under its newer name (fp32_precision) torch's own readers of the older one would raise errors.
    torch.backends.cudnn.allow_tf32 = False
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts


@contextmanager
def deterministic(enabled: bool) -> Iterator[None]:
    """Have torch take only operations whose result is the same each time, where ``enabled``, else the fastest.

    On the CPU they are so anyway. On CUDA it costs speed, and some operations have no such form. Without it cuDNN tries
    its algorithms on each new size of a batch, and goes on with the fastest, which may be another one in another run.

    Raises:
        CnnzooError: The net has an operation without one.
    """
    was_enabled, tried = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(enabled or was_enabled)
    torch.backends.cudnn.benchmark = not (enabled or was_enabled)
    try:
        yield
    except RuntimeError as error:
        if enabled and "deterministic" in str(error):
            raise CnnzooError(
                f"this net has an operation that cannot be deterministic ({one_line(error)}). "
                "Leave --deterministic out."
            ) from error
        raise
    finally:
        torch.backends.cudnn.benchmark = tried
        torch.use_deterministic_algorithms(was_enabled)


@contextmanager
def explain_oom(batch_size: int) -> Iterator[None]:
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

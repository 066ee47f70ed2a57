"""The number format of the forward and backward pass, and whether bf16 pays on this machine."""

import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import torch

from cnnzoo.device import cpu_info, describe_device
from cnnzoo.files import cache_folder


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
        return torch.autocast(device.type, dtype=self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """What convolutions and matrix products compute in."""
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.name]


LARGE_NET = 10_000_000
"""Multiply-adds per image from which a net is large, so that bf16 can gain. LeNet has 0.4 million and is slower in it,
since turning numbers into another format takes longer than to multiply them; AlexNet has 1,100 million."""

PAYS_FROM = 1.3
"""How many times as fast a matrix product must be in bf16: the rest of a step gains nothing, and conversions cost."""

SIDE, ROUNDS = 1024, 5
"""The matrix product that is timed, of so many rows and columns, and how often in each format."""


def pick_precision(name: str, device: torch.device, mult_adds: int) -> Precision:
    """Return the precision of that name; ``auto`` takes bf16 where it is faster here and the net is large, else fp32.

    Args:
        name: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        device: Where it is to compute.
        mult_adds: Of the net, an image.
    """
    if name != "auto":
        return Precision(name, "as asked")
    if mult_adds < LARGE_NET:
        return Precision("fp32", "the net is too small to gain from bf16")
    if not (speedup := bf16_speedup(device)):
        return Precision("fp32", "this device has no native bf16")
    if speedup < PAYS_FROM:
        here = f"bf16 is {speedup:.2f} times as fast on this machine"
        return Precision("fp32", f"{here}, and pays from {PAYS_FROM} on")
    return Precision("bf16", f"{speedup:.1f} times as fast as fp32 on this machine")


_STUDY: ContextVar[Path | None] = ContextVar("study", default=None)


@contextmanager
def decided_once(study: Path) -> Iterator[None]:
    """Have ``auto`` go by what the first run of a study has measured, on whichever machine the study goes on.

    Args:
        study: Its folder, in which that is kept.
    """
    token = _STUDY.set(study)
    try:
        yield
    finally:
        _STUDY.reset(token)


def bf16_speedup(device: torch.device) -> float:
    """Return how many times as fast as in fp32 a matrix product is in bf16; 0 where a device has no native bf16.

    It is measured once, and kept in the user's cache folder by processor, threads and torch's version, so that two
    runs agree; within ``decided_once`` in the study's folder, too.
    """
    flags = hashlib.sha256(cpu_info("flags").encode()).hexdigest()[:8]
    machine = f"{describe_device(device)}, torch {torch.__version__}, {flags}"
    file = cache_folder() / "bf16" / f"{hashlib.sha256(machine.encode()).hexdigest()[:16]}.json"

    def here() -> float:
        return _kept(file, machine, lambda: _measured(device)) if _has_native_bf16(device) else 0.0

    study = _STUDY.get()
    return _kept(study / "bf16.json", machine, here) if study else here()


def _has_native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Linux calls them flags on x86 and Features on Arm. Emulated, a product may take a hundred times as long.
    known = {*cpu_info("flags").split(), *cpu_info("Features").split()}
    return device.type == "cpu" and not known.isdisjoint({"amx_bf16", "avx512_bf16", "bf16"})


def _measured(device: torch.device) -> float:
    """Time a matrix product in both formats, in turns, so that a busy machine slows both; the fastest of each count."""
    fastest = {torch.float32: math.inf, torch.bfloat16: math.inf}
    factors = {dtype: torch.ones(SIDE, SIDE, device=device, dtype=dtype) for dtype in fastest}
    for round_number in range(1 + ROUNDS):
        for dtype, factor in factors.items():
            seconds = seconds_of(lambda: factor @ factor, device)  # noqa: B023  (called at once)
            if round_number:  # the first one makes the kernel
                fastest[dtype] = min(fastest[dtype], seconds)
    return round(fastest[torch.float32] / fastest[torch.bfloat16], 3)


def seconds_of(do: Callable[[], object], device: torch.device) -> float:
    """Return how long something takes on a device, its work there included."""
    wait_for(device)
    started = time.perf_counter()
    do()
    wait_for(device)
    return time.perf_counter() - started


def wait_for(device: torch.device) -> None:
    """Wait until a device has done its work: where it is not the CPU, a call returns before."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _kept(file: Path, machine: str, measure: Callable[[], float]) -> float:
    """Return the speedup that a file has, else measure it and keep it there; of several at once the first one stays."""
    if (speedup := _read(file)) is not None:
        return speedup
    speedup = measure()
    with suppress(OSError):  # where nothing can be kept it is measured each time
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".") as beside:
            ours = Path(beside, file.name)
            ours.write_text(
                json.dumps({"bf16_speedup": speedup, "machine": machine}) + "\n", encoding="utf-8"
            )
            try:
                os.link(ours, file)
            except FileExistsError:
                if _read(file) is None:  # damaged
                    ours.replace(file)
            except OSError:  # a file system without links
                ours.replace(file)
    return speedup if (first := _read(file)) is None else first


def _read(file: Path) -> float | None:
    try:
        speedup = json.loads(file.read_text(encoding="utf-8"))["bf16_speedup"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return float(speedup) if isinstance(speedup, int | float) and 0 <= speedup < math.inf else None

"""The number format of the forward and backward pass."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from cnnzoo.device import cpu_info


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
"""Multiply-adds per image from which a net is large, so that bf16 gains. LeNet has 0.4 million and is slower in bf16,
since turning numbers into another format takes longer than to multiply them; AlexNet has 1,100 million."""


def pick_precision(name: str, device: torch.device, mult_adds: int) -> Precision:
    """Return the precision of that name; ``auto`` takes bf16 where it is native and the net is large, else fp32.

    Args:
        name: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        device: Where it is to compute.
        mult_adds: Of the net, an image.
    """
    if name != "auto":
        return Precision(name, "as asked")
    if not _has_native_bf16(device):
        return Precision("fp32", "this device has no native bf16")
    if mult_adds < LARGE_NET:
        return Precision("fp32", "the net is too small to gain from bf16")
    return Precision("bf16", "native on this device, and the net is large enough to gain")


def _has_native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and not {"amx_bf16", "avx512_bf16"}.isdisjoint(cpu_info("flags").split())

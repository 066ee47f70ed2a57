"""What several networks are made of: activations, poolings, large layers, and the size that they leave."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnzoo.errors import CnnzooError

Activation = Literal["sigmoid", "tanh", "relu"]
Pooling = Literal["avg", "max"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": partial(nn.ReLU, inplace=True),  # nothing needs what it overwrites: a percent of AlexNet's step
}
_POOLINGS = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}


def make_pooling(kind: Pooling, *, overlap: bool) -> nn.Module:
    """Halve the sides of ``(N, C, H, W)``: windows 2 apart, 3 wide where they overlap, else 2 wide.

    Krizhevsky et al. 2012, section 3.4: z = 3 and s = 2 instead of z = s = 2.
    """
    return _POOLINGS[kind](kernel_size=3 if overlap else 2, stride=2)


class LocalResponseNorm(nn.LocalResponseNorm):
    """torch's, computed in float32 where activations are halves: as such the squares of large ones are infinite."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, C, H, W)`` of the same shape."""
        return super().forward(x.float() if x.dtype in (torch.float16, torch.bfloat16) else x)


def response_norm() -> nn.Module:
    """Local response normalisation with k = 2, n = 5, α = 1e-4, β = 0.75 (Krizhevsky et al. 2012, section 3.3).

    The paper divides by (k + α Σ a²)^β. PyTorch divides its alpha by n first, hence α·n here.
    """
    return LocalResponseNorm(size=5, alpha=5 * 1e-4, beta=0.75, k=2.0)


class Linear(nn.Linear):
    """torch's, of which an optimizer may keep a copy of the weight in the format that products are computed in.

    Autocast makes such a copy in each step, and turns the copy's gradient into float32: of AlexNet's layers 0.7 GB
    that are moved for nothing but the format.

    Attributes:
        copy: bf16 ``(out_features, in_features)``, a leaf whose gradient stands for the weight's; None for no copy.
    """

    copy: Tensor | None = None
    _copied_version = -1

    def keep_copy(self) -> Tensor:
        """Make the copy, which is used from now on within autocast, and return it."""
        self.copy = self.weight.detach().to(torch.bfloat16).requires_grad_()
        self.note_copied()
        return self.copy

    def note_copied(self) -> None:
        """Take the copy for that of the weight as it is now."""
        self._copied_version = self.weight._version

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, out_features)`` of ``(N, in_features)``."""
        if self.copy is None or not torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        if self._copied_version != self.weight._version:  # somebody else has changed it, as loading does
            with torch.no_grad():
                self.copy.copy_(self.weight)
            self.note_copied()
        return F.linear(x, self.copy, self.bias)


def feature_size(features: nn.Sequential, image_size: int) -> int:
    """Return the pixels a side that ``features`` makes of images with ``image_size`` pixels a side.

    Raises:
        CnnzooError: Nothing is left of such an image; the message names the smallest that works.
    """

    def after(size: int) -> int:
        for layer in features:
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
                kernel, stride, padding, dilation = (
                    value if isinstance(value, int) else int(value[0])
                    for value in (
                        layer.kernel_size,
                        layer.stride,
                        layer.padding,
                        getattr(layer, "dilation", 1),
                    )
                )
                size = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
                if size < 1:
                    return 0
        return size

    if (side := after(image_size)) < 1:
        smallest = image_size + 1
        while after(smallest) < 1:
            smallest += 1
        raise CnnzooError(
            f"images of {image_size}x{image_size} are too small for this net, which needs at least "
            f"{smallest}x{smallest}. Change --image-size."
        )
    return side

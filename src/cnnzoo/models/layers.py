"""What several networks are made of: activations, poolings, large layers, and the size that they leave."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
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


class Conv2d(nn.Conv2d):
    """torch's, of which a first layer with a stride is computed in bf16 as one of stride 1 over blocks of pixels.

    Such a layer has few channels, and a processor's units for products of bf16 take 16 or 32 of them at once: of
    AlexNet's convolutions conv1 is the one that takes far longer than its arithmetic. Weights and their names are as
    they are.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, out_channels, H', W')`` of ``(N, in_channels, H, W)``."""
        if self._is_first() and _is_square(x) and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            images = x.to(torch.get_autocast_dtype("cpu"))
            return blockwise_conv2d(images, self.weight, self.bias, self.stride[0])
        return super().forward(x)

    def _is_first(self) -> bool:
        """Whether it has few channels and a stride, and is square and plain otherwise."""
        plain = self.padding == (0, 0) and self.dilation == (1, 1) and self.groups == 1
        square = self.kernel_size[0] == self.kernel_size[1] and self.stride[0] == self.stride[1]
        return plain and square and self.stride[0] > 1 and self.in_channels <= 4


def _is_square(images: Tensor) -> bool:
    return images.ndim == 4 and images.shape[-1] == images.shape[-2]


def blockwise_conv2d(images: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Convolve without padding, block by block of ``stride`` by ``stride`` pixels, which become channels.

    The same sums in another order: a kernel of 11 at stride 4 is one of 12, its last row and column zero, over 3 blocks
    each way.

    Args:
        images: ``(N, C, H, W)``, square.
        weight: ``(K, C, k, k)``.
        bias: ``(K,)`` or None.
        stride: Of the convolution.

    Returns:
        ``(N, K, (H - k) // stride + 1, (W - k) // stride + 1)``.
    """
    kernel = weight.shape[-1]
    blocks = -(-kernel // stride)
    outputs = (images.shape[-1] - kernel) // stride + 1
    grown = (outputs - 1 + blocks) * stride - images.shape[
        -1
    ]  # less than 0 where the last pixels are not reached
    grown_kernel = blocks * stride - kernel
    return F.conv2d(
        F.pixel_unshuffle(F.pad(images, (0, grown, 0, grown)), stride).contiguous(
            memory_format=torch.channels_last
        ),
        F.pixel_unshuffle(F.pad(weight, (0, grown_kernel, 0, grown_kernel)), stride),
        bias,
    )


class Features(nn.Sequential):
    """Layers one after the other, but for a ReLU before a max pooling, which is computed after it.

    The largest of some numbers, cut off at 0, is the largest of those cut off at 0: the same numbers and the same
    gradients, from a quarter of the work. Whoever looks on, by hooks or by torch.fx, sees the layers as they stand.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, C', H', W')`` of ``(N, C, H, W)``."""
        layers = [*self]
        for i, (layer, after) in enumerate(pairwise(self)):
            swaps = isinstance(layer, nn.ReLU) and isinstance(after, nn.MaxPool2d)
            if swaps and isinstance(x, Tensor) and not (is_watched(layer) or is_watched(after)):
                layers[i : i + 2] = after, layer
        for layer in layers:
            x = layer(x)
        return x


def is_watched(module: nn.Module) -> bool:
    """Whether a module has hooks, which see what it takes or gives."""
    own = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    return any(own) or torch.nn.modules.module._has_any_global_hook()


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

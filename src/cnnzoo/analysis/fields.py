"""Which part of an image a unit of a net can see, found by its gradient: behind branches, too.

``receptive_field.py`` works out the size by arithmetic, along layers that follow each other. A gradient needs to know
no layer: the pixels by which a unit changes are those that its gradient reaches.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnzoo.analysis.features import run_layers
from cnnzoo.analysis.summary.receptive_field import Pointwise

NUM_NOISES = 1
"""Images of noise beside the one that is asked about: what is not linear hides other pixels in each of them.

One is enough where layers are modules, which ``_linear`` knows.
"""


class Box(NamedTuple):
    """A part of an image, in pixels: rows ``top`` to ``bottom``, columns ``left`` to ``right``, the ends left out."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows of it."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns of it."""
        return self.right - self.left


def receptive_fields(model: nn.Module, image: Tensor, count: int | None = None) -> list[Box | None]:
    """Return what the unit in the middle of each layer's maps sees of an image.

    Of a layer that puts out a vector or rows of tokens, what all of its numbers together see.

    Args:
        model: Takes images.
        image: As the net takes it, ``(C, H, W)``.
        count: Of the first so many layers only: each costs a backward pass.

    Returns:
        For each entry of ``features(model, image)``, the image's own among them, the box; None where no gradient
        reaches the image.

    Raises:
        CnnzooError: The net cannot take such an image.
    """
    with _linear(model):
        images, outputs = _outputs(model, image)
        return [_seen(output, images, _middle(output)) for output in outputs[:count]]


def field_of_unit(model: nn.Module, image: Tensor, layer: int, unit: tuple[int, ...]) -> Box | None:
    """Return what one unit sees of an image.

    Args:
        model: Takes images.
        image: As the net takes it, ``(C, H, W)``.
        layer: Index in ``features(model, image)``, in which the image itself is 0.
        unit: Its place in that layer's output without the batch: ``(channel, row, column)`` of maps, ``(index,)`` of a
            vector.

    Raises:
        CnnzooError: The net cannot take such an image.
        IndexError: There is no such layer or unit.
    """
    with _linear(model):
        images, outputs = _outputs(model, image)
        output = outputs[layer]
        if len(unit) != output.ndim - 1:
            raise IndexError(f"a unit of this layer has {output.ndim - 1} coordinates, not {len(unit)}")
        return _seen(output, images, (slice(None), *unit))


def _outputs(model: nn.Module, image: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Run the image and noise like it, ``(N, C, H, W)``; return them and what each layer made of them."""
    place = next((tensor.device for tensor in model.parameters()), image.device)
    generator = torch.Generator().manual_seed(0)
    noises = torch.randn(NUM_NOISES, *image.shape, generator=generator)
    images = torch.cat([image.detach().to("cpu", torch.float32)[None], noises]).to(place).requires_grad_()
    first = images.clone()  # which a layer may change in place
    outputs: list[Tensor] = [first]
    with torch.enable_grad():
        run_layers(model, first, lambda _name, _module, output: outputs.append(output.clone()))
    return images, outputs


def _middle(output: Tensor) -> tuple[Any, ...]:
    return (..., output.shape[-2] // 2, output.shape[-1] // 2) if output.ndim > 3 else (...,)


def _seen(output: Tensor, images: Tensor, units: tuple[Any, ...]) -> Box | None:
    chosen = output[units]
    if not chosen.requires_grad:
        return None
    # By random numbers, since the gradients of what a norm puts out cancel in a plain sum.
    weights = torch.rand(chosen.shape, generator=torch.Generator().manual_seed(1)).to(chosen) + 0.5
    (gradient,) = torch.autograd.grad((chosen * weights).sum(), images, retain_graph=True, allow_unused=True)
    if gradient is None or not (is_seen := gradient.ne(0).any(0).any(0)).any():
        return None
    rows, columns = is_seen.any(1).nonzero().flatten(), is_seen.any(0).nonzero().flatten()
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


@contextmanager
def _linear(model: nn.Module) -> Iterator[None]:
    """Have layers hand on gradients that would stop them where they are flat: ReLUs their input, maxima the mean."""
    taken: dict[nn.Module, Tensor] = {}

    def take(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        taken[module] = inputs[0]
        return inputs[0].clone(), *inputs[1:]  # which the layer may change in place

    def give(module: nn.Module, _inputs: object, answer: object) -> object:
        before = taken.pop(module)
        if isinstance(module, Pointwise):
            return before
        if isinstance(module, nn.AdaptiveMaxPool2d):
            return F.adaptive_avg_pool2d(before, module.output_size)
        assert isinstance(module, nn.MaxPool2d)
        if module.return_indices or module.dilation not in (1, (1, 1)):
            return answer
        return F.avg_pool2d(before, module.kernel_size, module.stride, module.padding, module.ceil_mode)

    kinds = (Pointwise, nn.MaxPool2d, nn.AdaptiveMaxPool2d)
    hooks = [
        hook
        for module in model.modules()
        if isinstance(module, kinds) and not any(module.children())
        for hook in (module.register_forward_pre_hook(take), module.register_forward_hook(give))
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

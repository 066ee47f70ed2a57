"""What one output of a layer sees of the image: windows, receptive fields, and how a side's pixels come about."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

Sizes = tuple[int, ...]
"""One number for each spatial direction, ``(height, width)`` for images; or the shape of a tensor."""

Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d

TransposedConv = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d

Pool = nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d | nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d

AdaptivePool = nn.AdaptiveAvgPool1d | nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool1d | nn.AdaptiveMaxPool2d

_BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d

Norm = _BatchNorm | nn.GroupNorm | nn.LayerNorm

Pointwise = (  # an output depends on one position of the input only
    nn.Identity | nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d | nn.AlphaDropout
    | nn.Sigmoid | nn.Tanh | nn.ReLU | nn.ReLU6 | nn.LeakyReLU | nn.PReLU | nn.ELU | nn.SELU | nn.CELU
    | nn.GELU | nn.SiLU | nn.Mish | nn.Hardswish | nn.Hardsigmoid | nn.Hardtanh | nn.Softplus | nn.Softsign
    | nn.LocalResponseNorm
)  # fmt: skip


@dataclass(frozen=True)
class Window:
    """What a convolution or pooling looks through, in one direction."""

    kernel: int
    stride: int
    padding: int = 0  # both sides together
    dilation: int = 1
    ceil: bool = False

    def arithmetic(self, before: int, after: int) -> str | None:
        """Write out how a side of ``before`` pixels becomes one of ``after``."""
        added = f" + 2·{self.padding // 2}" if self.padding % 2 == 0 else f" + {self.padding}"
        reach = f"{self.dilation}·({self.kernel} − 1) − 1" if self.dilation > 1 else f"{self.kernel}"
        quotient = f"({before}{added if self.padding else ''} − {reach})/{self.stride}"
        span = before + self.padding - self.dilation * (self.kernel - 1) - 1
        steps = -(-span // self.stride) if self.ceil else span // self.stride
        if span % self.stride:
            quotient = f"⌈{quotient}⌉" if self.ceil else f"⌊{quotient}⌋"
        return equation(f"{quotient} + 1", steps + 1, after)


def windows_of(module: nn.Module, before: Sequence[int], after: Sequence[int]) -> tuple[Window, ...]:
    """Return a layer's window in each direction, none if it has none; it makes ``after`` of ``before``."""

    def each(value: Any) -> Sizes:  # noqa: ANN401
        return (value,) * len(before) if isinstance(value, int) else tuple(value)

    if isinstance(module, AdaptivePool):
        if len(before) != len(after) or any(b % a for b, a in zip(before, after, strict=True)):
            return ()  # its windows are not all alike
        return tuple(Window(b // a, b // a) for b, a in zip(before, after, strict=True))
    if not isinstance(module, Conv | Pool):
        return ()
    kernel, dilation = each(module.kernel_size), each(getattr(module, "dilation", 1))
    if isinstance(module.padding, str):
        same = module.padding == "same"
        padding = tuple(same * d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    else:
        padding = tuple(2 * p for p in each(module.padding))
    if len(kernel) != len(before):
        return ()  # images without a batch: their sides are elsewhere in the shape
    ceil = getattr(module, "ceil_mode", False)
    sizes = zip(kernel, each(module.stride), padding, dilation, strict=True)
    return tuple(Window(*numbers, ceil=ceil) for numbers in sizes)


def equation(text: str, value: int, real: int) -> str | None:
    """Return ``text = value``, or None where the layer really has another number."""
    return f"{text} = {value:,}" if value == real else None


@dataclass(frozen=True)
class Field:
    """The part of the image that one element of a tensor depends on.

    Attributes:
        size: Pixels a side.
        jump: Pixels of the image from this element to its neighbour.
        flattened: Once the positions stand in one row: pixels from the first to the last of them.
    """

    size: Sizes
    jump: Sizes
    flattened: Sizes | None = None


class FieldTracker:
    """Follows receptive fields along the tensors themselves, from the images through one layer after another.

    Each tensor carries its field with it. One that no known layer made (a sum, a functional call) has none,
    nor has one that was changed in place since. So no wrong number can come about.
    """

    def __init__(self) -> None:
        self.fields: list[Field | None] = []  # one for each use of a layer, in order
        self._arriving: Field | None = None

    def follow(self, images: Tensor, model: nn.Module) -> None:
        """Start from ``images`` and listen to every layer, which is what torchinfo takes for one."""
        one = (1,) * (images.dim() - 2)
        _attach(images, Field(size=one, jump=one))
        for module in model.modules():
            if not any(module.children()):
                module.register_forward_pre_hook(self._before)
                module.register_forward_hook(self._after)

    def _before(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        del module
        self._arriving = _attached(inputs[0]) if len(inputs) == 1 else None

    def _after(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401
        seen = None
        if isinstance(output, Tensor):
            if self._arriving:
                seen = _grown(self._arriving, module, tuple(inputs[0].shape), tuple(output.shape))
            _attach(output, seen)
        self.fields.append(seen)


def _attach(tensor: Tensor, seen: Field | None) -> None:
    setattr(tensor, _FIELD, (seen, tensor._version))


def _attached(tensor: Any) -> Field | None:  # noqa: ANN401
    seen, version = getattr(tensor, _FIELD, (None, None))
    return seen if version == getattr(tensor, "_version", None) else None


_FIELD = "_cnnzoo_receptive_field"


def _grown(seen: Field, module: nn.Module, before: Sizes, after: Sizes) -> Field | None:
    """Return the field behind a layer that makes shape ``after`` of ``before``; None if that is not known."""
    if isinstance(module, Pointwise) or (isinstance(module, _BatchNorm) and module.track_running_stats):
        return seen
    if (
        isinstance(module, nn.Flatten)
        and not seen.flattened
        and (module.start_dim, module.end_dim) == (1, -1)
    ):
        between = ((n - 1) * j for n, j in zip(before[2:], seen.jump, strict=True))
        return replace(seen, flattened=tuple(between))
    if isinstance(module, nn.Linear) and seen.flattened:  # each output looks at all positions
        everything = (r + n for r, n in zip(seen.size, seen.flattened, strict=True))
        return replace(seen, size=tuple(everything), flattened=(0,) * len(seen.size))
    windows = windows_of(module, before[2:], after[2:])
    if not windows or seen.flattened:
        return None
    return Field(
        size=tuple(
            r + w.dilation * (w.kernel - 1) * j for r, w, j in zip(seen.size, windows, seen.jump, strict=True)
        ),
        jump=tuple(j * w.stride for w, j in zip(windows, seen.jump, strict=True)),
    )

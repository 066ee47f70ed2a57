"""The arithmetic of one number that a layer puts out, written out with the numbers of a real image.

What ``summary --teach`` says in general, of one unit: which numbers it takes, by what each is multiplied, and that the
sum is the very number that the net computed. Each is computed anew here, in float64, and compared with the net's own;
where a layer does something else than is known of its kind, that is said and no wrong sum is shown.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cnnzoo.analysis.explore.written import MAX_TERMS, apply_curve, in_product, number, products, total_of
from cnnzoo.analysis.features import HANDS_ON

MAX_PARTS = 8
"""Channels of a window, or inputs of a vector, that are written out: those that give most."""

Unit = tuple[int, ...]
"""A number's place in a layer's output without the batch: ``(channel, row, column)`` or ``(index,)``."""


@dataclass(frozen=True)
class Contribution:
    """What one channel, or one number, of a layer's input gives to a number of its output.

    Attributes:
        name: Which one.
        inputs: The window on it, rows of numbers; padding counts as 0.
        weights: What each of them is multiplied by; None where nothing is, as in pooling.
        total: What it gives.
        sign: What is done to each number with that of the weights at its place.
    """

    name: str
    inputs: list[list[float]]
    weights: list[list[float]] | None
    total: float
    sign: Literal["×", "−"] = "×"


@dataclass(frozen=True)
class Told:
    """How one number came about.

    Attributes:
        value: The number, as the net computed it.
        rule: What its layer does, in a sentence.
        lines: The arithmetic, with the real numbers, a line for each step; empty where it is not known.
        parts: The windows and kernels of it, those first that give most.
    """

    value: float
    rule: str
    lines: tuple[str, ...] = ()
    parts: tuple[Contribution, ...] = ()


@dataclass
class _Draft:
    """What is known of a number before it is compared with the net's own."""

    total: float
    rule: str
    lines: list[str] = field(default_factory=list)
    parts: list[Contribution] = field(default_factory=list)


def tell_number(module: nn.Module, taken: Tensor, given: Tensor, unit: Unit) -> Told:
    """Write out the arithmetic of one number.

    Args:
        module: The layer, in evaluation mode.
        taken: What it took, without the batch: ``(C, H, W)`` or ``(D,)``.
        given: What it put out, likewise.
        unit: Which number of that.

    Raises:
        IndexError: There is no such number.
    """
    if len(unit) != given.ndim or any(not 0 <= at < side for at, side in zip(unit, given.shape, strict=True)):
        raise IndexError(f"there is no unit {unit} in {tuple(given.shape)}")
    value = given[unit].item()
    kind = type(module).__name__
    with torch.no_grad():
        draft = _draft(module, taken.double(), given, unit)
    if draft is None:
        return Told(value, f"{kind}: how such a layer computes a number is not written out here.")
    if not math.isclose(draft.total, value, rel_tol=1e-3, abs_tol=1e-4 * max(1.0, _largest(draft))):
        return Told(value, f"{kind}: this layer does something else than is known of its kind.")
    return Told(value, draft.rule, tuple(draft.lines), tuple(draft.parts))


def _largest(draft: _Draft) -> float:
    return max((abs(part.total) for part in draft.parts), default=abs(draft.total))


def _draft(module: nn.Module, taken: Tensor, given: Tensor, unit: Unit) -> _Draft | None:
    """Return the arithmetic of a layer of a known kind."""
    for kinds, draft in _KINDS:
        if isinstance(module, kinds):
            return draft(module, taken, given, unit)
    codes = getattr(module, "codes", None)
    if isinstance(codes, Tensor) and codes.ndim == 2 and taken.shape == codes.shape[1:]:
        return _distance(taken, codes.double().to(taken.device), unit)
    curve = apply_curve(module, taken[unit].item()) if taken.shape == given.shape else None
    return _Draft(curve[0], curve[1], [curve[2]]) if curve else None


def _convolution(module: nn.Conv2d, taken: Tensor, _: Tensor, unit: Unit) -> _Draft | None:
    if module.padding_mode != "zeros" or taken.ndim != 3:
        return None
    whole: Callable[[], Tensor] | None = getattr(module, "kernels", None)  # of one that does not see all maps
    kernels = whole() if whole else module.weight
    out, row, column = unit
    kernel = kernels[out].double().to(taken.device)  # (C / groups, h, w)
    window = _window(module, taken, row, column)
    per_group = kernel.shape[0]
    first = out // (module.out_channels // module.groups) * per_group
    window = window[first : first + per_group]
    bias = 0.0 if module.bias is None else module.bias[out].item()
    sums = (window * kernel).sum((1, 2))
    is_seen = kernel.flatten(1).ne(0).any(1)
    seen = [index for index in sums.abs().argsort(descending=True).tolist() if is_seen[index]]
    parts = [
        Contribution(
            f"map {first + index}" if taken.shape[0] > 1 else "the image",
            window[index].tolist(),
            kernel[index].tolist(),
            sums[index].item(),
        )
        for index in seen[:MAX_PARTS]
    ]
    rest = sum(sums[index].item() for index in seen[MAX_PARTS:])
    total = sums.sum().item() + bias
    h, w = kernel.shape[1:]
    of = f" of {len(seen)} map{'s' * (len(seen) != 1)}" if taken.shape[0] > 1 else ""
    if len(seen) < taken.shape[0]:
        of += f" (of {taken.shape[0]}; it does not see the others)"
    rule = (
        f"Convolution: each number in the {h}×{w} window{of} times the number of the kernel at its place, all summed"
        + (", plus the bias." if module.bias is not None else ".")
    )
    lines = [
        f"{part.name}: {products(_flat(part.inputs), _flat(part.weights or []))} = {number(part.total)}"
        for part in parts
    ]
    return _Draft(
        total,
        rule,
        [*lines, _closing(parts, rest, len(seen), bias, module.bias is not None, total, "maps")],
        parts,
    )


def _linear(module: nn.Linear, taken: Tensor, _: Tensor, unit: Unit) -> _Draft:
    *at, out = unit
    inputs = taken[tuple(at)]
    weights = module.weight[out].double().to(taken.device)
    bias = 0.0 if module.bias is None else module.bias[out].item()
    given_by = inputs * weights
    order = given_by.abs().argsort(descending=True).tolist()[:MAX_PARTS]
    parts = [
        Contribution(
            f"input {index}", [[inputs[index].item()]], [[weights[index].item()]], given_by[index].item()
        )
        for index in order
    ]
    total = given_by.sum().item() + bias
    rest = given_by.sum().item() - sum(part.total for part in parts)
    rule = f"Fully connected: each of the {len(inputs):,} inputs times its weight, all summed" + (
        ", plus the bias." if module.bias is not None else "."
    )
    lines = [
        f"{part.name}: {products(part.inputs[0], (part.weights or [[]])[0])} = {number(part.total)}"
        for part in parts
    ]
    return _Draft(
        total,
        rule,
        [*lines, _closing(parts, rest, len(inputs), bias, module.bias is not None, total, "inputs")],
        parts,
    )


def _closing(
    parts: list[Contribution], rest: float, num: int, bias: float, has_bias: bool, total: float, things: str
) -> str:
    """Return the last line of a sum: its parts, the many that are not written out, and the bias."""
    values, names = [part.total for part in parts], [part.name for part in parts]
    if num > len(parts):
        values.append(rest)
        names.append(f"the other {num - len(parts):,} {things} together")
    if has_bias:
        values.append(bias)
        names.append("bias")
    return f"{total_of(values, names=names)} = {number(total)}"


def _pooling(
    module: nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d,
    taken: Tensor,
    given: Tensor,
    unit: Unit,
) -> _Draft | None:
    if taken.ndim != 3 or given.ndim != 3:
        return None
    channel, row, column = unit
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        rows, columns = (
            slice(at * side // num, -(-(at + 1) * side // num))
            for at, side, num in zip((row, column), taken.shape[1:], given.shape[1:], strict=True)
        )
        window = taken[channel, rows, columns]
    else:
        window = _window(module, taken, row, column)[channel]
    inputs = window.tolist()
    h, w = window.shape
    if isinstance(module, nn.MaxPool2d | nn.AdaptiveMaxPool2d):
        finite = [value for value in _flat(inputs) if math.isfinite(value)]
        total = max(finite)
        inputs = [[value if math.isfinite(value) else 0.0 for value in line] for line in inputs]
        line = f"max({', '.join(map(number, finite))}) = {number(total)}"
        return _Draft(
            total,
            f"Max pooling: the largest number in the {h}×{w} window.",
            [line],
            [Contribution(f"map {channel}", inputs, None, total)],
        )
    plain = _flat(inputs)
    mean = sum(plain) / len(plain)
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if isinstance(weight, Tensor) and isinstance(
        bias, Tensor
    ):  # LeNet-5's sub-sampling (LeCun et al. 1998, II.B)
        summed, w_, b_ = sum(plain), weight[channel].item(), bias[channel].item()
        total = summed * w_ + b_
        lines = [
            f"{total_of(plain)} = {number(summed)}",
            f"{number(summed)}·{in_product(w_)} {total_of([0.0, b_]).removeprefix('0 ')} = {number(total)}",
        ]
        rule = f"Sub-sampling: the sum of the {h}×{w} window, times the map's coefficient, plus its bias."
        return _Draft(total, rule, lines, [Contribution(f"map {channel}", inputs, None, total)])
    few = plain[:MAX_TERMS]
    more = f" + {len(plain) - len(few):,} more" if len(plain) > len(few) else ""
    line = f"({total_of(few)}{more})/{len(plain)} = {number(mean)}"
    return _Draft(
        mean,
        f"Average pooling: the mean of the {h}×{w} window.",
        [line],
        [Contribution(f"map {channel}", inputs, None, mean)],
    )


def _window(module: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d, taken: Tensor, row: int, column: int) -> Tensor:
    """Return what a kernel lies on, ``(C, h, w)``, beyond the edges 0, or for maxima minus infinity."""

    def pair(value: object) -> tuple[int, int]:
        return (value, value) if isinstance(value, int) else (value[0], value[1])  # type: ignore[index]

    kernel, stride = pair(module.kernel_size), pair(module.stride)
    dilation = pair(getattr(module, "dilation", 1))
    if isinstance(module.padding, str):
        same = module.padding == "same"
        padding = tuple(same * d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True))
    else:
        padding = pair(module.padding)
    outside = -math.inf if isinstance(module, nn.MaxPool2d) else 0.0
    window = taken.new_full((taken.shape[0], *kernel), outside)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            y = row * stride[0] - padding[0] + i * dilation[0]
            x = column * stride[1] - padding[1] + j * dilation[1]
            if 0 <= y < taken.shape[1] and 0 <= x < taken.shape[2]:
                window[:, i, j] = taken[:, y, x]
    return window


def _batch_norm(
    module: nn.BatchNorm1d | nn.BatchNorm2d, taken: Tensor, given: Tensor, unit: Unit
) -> _Draft | None:
    if module.running_mean is None or module.running_var is None or taken.shape != given.shape:
        return None
    channel = unit[0]
    x, mean = taken[unit].item(), module.running_mean[channel].item()
    variance = module.running_var[channel].item()
    scale = 1.0 if module.weight is None else module.weight[channel].item()
    shift = 0.0 if module.bias is None else module.bias[channel].item()
    total = (x - mean) / math.sqrt(variance + module.eps) * scale + shift
    line = (
        f"({number(x)} − {in_product(mean)})/√({number(variance)} + {module.eps:g})·{in_product(scale)} "
        f"{total_of([0.0, shift]).removeprefix('0 ')} = {number(total)}"
    )
    rule = (
        "Batch normalisation: less the mean that its map had in training, divided by the root of its variance, times a "
        "learnt scale, plus a learnt shift."
    )
    return _Draft(total, rule, [line])


def _response_norm(module: nn.LocalResponseNorm, taken: Tensor, _: Tensor, unit: Unit) -> _Draft | None:
    if taken.ndim != 3:
        return None
    channel, row, column = unit
    low, high = channel - module.size // 2, channel + (module.size - 1) // 2
    neighbours = taken[max(low, 0) : high + 1, row, column].tolist()
    squares = sum(value * value for value in neighbours)
    x = taken[unit].item()
    total = x / (module.k + module.alpha / module.size * squares) ** module.beta
    below = f"({module.k:g} + {module.alpha / module.size:g}·{number(squares)})^{module.beta:g}"
    line = f"{number(x)}/{below} = {number(total)}"
    rule = (
        f"Local response normalisation: divided by a power of the squares of {len(neighbours)} neighbouring maps "
        "at the same place."
    )
    return _Draft(total, rule, [line])


def _handed_on(module: nn.Module, taken: Tensor, given: Tensor, unit: Unit) -> _Draft | None:
    if taken.numel() != given.numel():
        return None
    flat = 0
    for at, side in zip(unit, given.shape, strict=True):
        flat = flat * side + at
    value = taken.flatten()[flat].item()
    place = []
    for side in reversed(taken.shape):
        flat, at = divmod(flat, side)
        place.append(at)
    where = ", ".join(map(str, reversed(place)))
    what = {
        nn.Flatten: "Flatten: maps laid out in one row. This is the number at",
        nn.Identity: "Identity: hands on the number at",
    }.get(
        type(module),
        f"{type(module).__name__}: once trained it hands on what it is given. This is the number at",
    )
    return _Draft(value, f"{what} ({where}) of the layer before.", [f"{number(value)} = {number(value)}"])


def _distance(taken: Tensor, codes: Tensor, unit: Unit) -> _Draft:
    code = codes[unit[0]]
    squares = (taken - code).square()
    order = squares.argsort(descending=True).tolist()[:MAX_PARTS]
    rest = squares.sum().item() - sum(squares[index].item() for index in order)
    lines = [
        f"input {index}: ({number(taken[index].item())} − {in_product(code[index].item())})² = "
        f"{number(squares[index].item())}"
        for index in order
    ]
    total = -squares.sum().item()
    values = [squares[index].item() for index in order]
    names = [f"input {index}" for index in order]
    if len(code) > len(order):
        values.append(rest)
        names.append(f"the other {len(code) - len(order)} inputs together")
    lines.append(f"−({total_of(values, names=names)}) = {number(total)}")
    rows = (
        (12, 7) if len(code) == 84 else (1, len(code))
    )  # LeNet-5's codes are characters of 7×12 (LeCun 1998, Fig. 3)
    part = Contribution(
        "the layer before, and the code of the class",
        taken.view(rows).tolist(),
        code.view(rows).tolist(),
        total,
        "−",
    )
    rule = (
        f"Euclidean RBF: minus the squared distance of the {len(code)} inputs to the code of the class, so that 0 "
        "would be a perfect match (LeCun et al. 1998, eq. 7)."
    )
    return _Draft(total, rule, lines, [part])


def _flat(rows: list[list[float]]) -> list[float]:
    return [value for row in rows for value in row]


_KINDS: tuple[tuple[Any, Callable[[Any, Tensor, Tensor, Unit], _Draft | None]], ...] = (
    (nn.Conv2d, _convolution),
    (nn.Linear, _linear),
    (nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d, _pooling),
    (nn.BatchNorm1d | nn.BatchNorm2d, _batch_norm),
    (nn.LocalResponseNorm, _response_norm),
    (HANDS_ON, _handed_on),
)

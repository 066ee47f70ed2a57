"""The arithmetic of an element written out: numbers, sums of them, and activations."""

import math
from collections.abc import Callable

from torch import nn

_CURVES: dict[str, tuple[str, str, Callable[[float], float]]] = {
    "ReLU": ("what is negative becomes 0", "max(0, {x})", lambda x: max(0.0, x)),
    "ReLU6": ("kept between 0 and 6", "min(max(0, {x}), 6)", lambda x: min(max(0.0, x), 6.0)),
    "Sigmoid": ("a curve from 0 to 1", "1/(1 + e^(−{p}))", lambda x: 1 / (1 + math.exp(-max(x, -700.0)))),
    "Tanh": ("a curve from −1 to 1", "tanh({x})", math.tanh),
    "ScaledTanh": (
        "a curve from −1.7159 to 1.7159, by which ±1 stays ±1 (LeCun et al. 1998, appendix A)",
        "1.7159·tanh(2/3·{p})",
        lambda x: 1.7159 * math.tanh(x * 2 / 3),
    ),
    "SiLU": (
        "the number times its own sigmoid",
        "{x}/(1 + e^(−{p}))",
        lambda x: x / (1 + math.exp(-max(x, -700.0))),
    ),
    "GELU": (
        "the number times the share of a normal distribution below it",
        "{x}·Φ({x})",
        lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    ),
    "Hardswish": (
        "a straight-line sketch of x·sigmoid(x)",
        "{x}·min(max(0, {p} + 3), 6)/6",
        lambda x: x * min(max(0.0, x + 3), 6.0) / 6,
    ),
    "Hardsigmoid": (
        "a straight-line sketch of the sigmoid",
        "min(max(0, {p} + 3), 6)/6",
        lambda x: min(max(0.0, x + 3), 6.0) / 6,
    ),
}

MAX_TERMS = 121
"""Products of one channel that are written out: an 11×11 kernel, AlexNet's first, has so many."""


def number(value: float) -> str:
    """Return a number in four significant digits, as it is written in a sum."""
    text = f"{value:.4g}" if value and not 1e-4 <= abs(value) < 1e6 else f"{value:.{_places(value)}f}"
    return text.replace("-", "−") if value else "0"


def _places(value: float) -> int:
    return max(0, min(4, 3 - math.floor(math.log10(abs(value))))) if value else 0


def in_product(value: float) -> str:
    """Return a number as a factor: in brackets where it is negative."""
    return f"({number(value)})" if value < 0 else number(value)


def total_of(values: list[float], *, names: list[str] | None = None) -> str:
    """Return ``0.5 − 0.25 + 1``, each with its name behind it where there are names."""
    text = ""
    for index, value in enumerate(values):
        sign = (" − " if value < 0 else " + ") if index else ("−" if value < 0 else "")
        text += sign + number(abs(value)) + (f" ({names[index]})" if names else "")
    return text or "0"


def products(inputs: list[float], weights: list[float]) -> str:
    """Return ``0.5·2 + 1·(−3)``, so many of them as MAX_TERMS says."""
    few = list(zip(inputs, weights, strict=True))[:MAX_TERMS]
    text = " + ".join(
        f"{number(x)}·{in_product(w)}" if x >= 0 else f"({number(x)})·{in_product(w)}" for x, w in few
    )
    return text + (f" + {len(inputs) - len(few):,} more" if len(inputs) > len(few) else "")


def apply_curve(module: nn.Module, x: float) -> tuple[float, str, str] | None:
    """Return what an activation makes of a number, its rule and the arithmetic; None of one that is not known."""
    name = type(module).__name__
    if isinstance(module, nn.LeakyReLU):
        slope = module.negative_slope
        total = x if x >= 0 else slope * x
        text = (
            f"{number(x)} is not negative, and stays"
            if x >= 0
            else f"{slope:g}·({number(x)}) = {number(total)}"
        )
        return total, f"LeakyReLU: what is negative is multiplied by {slope:g}.", text
    if name not in _CURVES:
        return None
    what, formula, curve = _CURVES[name]
    total = curve(x)
    text = formula.format(x=number(x), p=in_product(x))
    return total, f"{name}: {what}.", f"{text} = {number(total)}"

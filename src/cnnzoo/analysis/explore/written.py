"""Numbers, and sums of them, as a person writes them down."""

import math

MOST_TERMS = 121
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
    """Return ``0.5·2 + 1·(−3)``, so many of them as MOST_TERMS says."""
    few = list(zip(inputs, weights, strict=True))[:MOST_TERMS]
    text = " + ".join(
        f"{number(x)}·{in_product(w)}" if x >= 0 else f"({number(x)})·{in_product(w)}" for x, w in few
    )
    return text + (f" + {len(inputs) - len(few):,} more" if len(inputs) > len(few) else "")

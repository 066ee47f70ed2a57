"""95% intervals: of a share, and of a mean."""

import math
from collections.abc import Sequence
from statistics import mean, stdev


def wilson_interval(correct: int, num: int) -> tuple[float, float]:
    """Return the 95% interval of a share of ``correct`` among ``num``, as fractions.

    The score interval of E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical
    Inference", JASA 22(158), 1927, with z = 1.959964.
    """
    z = 1.959963984540054
    share = correct / num
    centre = share + z * z / (2 * num)
    spread = z * math.sqrt(share * (1 - share) / num + z * z / (4 * num * num))
    low, high = ((centre + sign * spread) / (1 + z * z / num) for sign in (-1, 1))
    return max(low, 0.0), min(high, 1.0)


def t_quantile(degrees: int) -> float:
    """Return the 97.5% quantile of Student's t distribution."""
    from scipy.special import (
        stdtrit,
    )  # imported here: its import takes time, and most commands have no use for it

    return float(stdtrit(degrees, 0.975))


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95% interval of the mean of two or more values, by Student's t."""
    half = t_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half

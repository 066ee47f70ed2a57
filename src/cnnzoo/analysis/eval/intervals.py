"""95% intervals: of a share, and of a mean."""

import math
from collections.abc import Sequence
from statistics import NormalDist, mean, stdev


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


_T = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
)
"""The 97.5% quantile of Student's t for 1 to 20 degrees of freedom (NIST/SEMATECH e-Handbook of Statistical Methods,
1.3.6.7.2), to four places."""


def t_quantile(degrees: int) -> float:
    """Return the 97.5% quantile of Student's t distribution, to three places.

    Above 20 degrees of freedom by three terms of its expansion about the normal one's (Abramowitz and Stegun, Handbook
    of Mathematical Functions, 1964, 26.7.5).
    """
    if degrees <= len(_T):
        return _T[degrees - 1]
    z = NormalDist().inv_cdf(0.975)
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95% interval of the mean of two or more values, by Student's t."""
    half = t_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half

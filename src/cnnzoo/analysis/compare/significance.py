"""Whether a difference is more than chance: of two nets, of two settings over their seeds, and of many at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING

from cnnzoo.analysis.eval.intervals import t_interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ALPHA = 0.05
"""Below so large a p a difference counts as real."""

POWER = 0.8
"""How often a difference is to be found that is there, where the seeds that it takes are reckoned."""

FLIPS_FROM = 8
"""Seeds from which signs are flipped: the smallest p of n seeds is 2/2^n, which of five is still above ALPHA."""

MAX_FLIPS = 2**16
"""Sign flips that are all tried; where there are more, so many are drawn at random."""

MAX_SEEDS = 10_000
"""Beyond so many it is not said how many seeds it would take."""

_NO_SPREAD = 1e-12  # of accuracies: what is left of a difference of 0 in floating point

MCNEMAR = "McNemar, exact"
PAIRED_T = "Student's t, paired"
SIGN_FLIP = "sign flips"
WELCH = "Welch's t"
PERMUTATION = "permutation of the runs"


@dataclass(frozen=True)
class Significance:
    """What a test makes of a difference.

    Attributes:
        test: Which one: MCNEMAR, PAIRED_T, SIGN_FLIP, WELCH or PERMUTATION.
        p_value: How often chance alone gives a difference that is as large; two-sided.
        low: Lower end of the 95% interval of the difference, as a fraction; None where there is none.
        high: Upper end.
        effect_size: The difference in standard deviations (Cohen's d), of the differences by seed where they are
            paired, else of both sides pooled; None where there is no spread.
        seeds_needed: Seeds of each side that would find this difference in POWER of the cases at ALPHA, were it the
            true one; None where that is not known or above MAX_SEEDS.
        only_first: Images on which the first net alone is right; of McNemar's test.
        only_second: Images on which the second alone is right.
    """

    test: str
    p_value: float
    low: float | None = None
    high: float | None = None
    effect_size: float | None = None
    seeds_needed: int | None = None
    only_first: int | None = None
    only_second: int | None = None


def compare_nets(first: "NDArray[np.bool_]", second: "NDArray[np.bool_]") -> Significance:
    """Compare two nets on the same images by McNemar's exact test.

    The images on which one of the two alone is right are tosses of a coin, were the nets equally good: p is that of the
    binomial distribution (Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12, 1947; for classifiers: T. G. Dietterich, "Approximate statistical tests for
    comparing supervised classification learning algorithms", Neural Computation 10, 1998, section 3.1).

    Args:
        first: Whether the first net is right, of each image ``(N,)``.
        second: Whether the second is.
    """
    from statsmodels.stats.contingency_tables import mcnemar

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    table = [[int((first & second).sum()), only_first], [only_second, int((~first & ~second).sum())]]
    p_value = float(mcnemar(table, exact=True).pvalue)
    return Significance(MCNEMAR, p_value, only_first=only_first, only_second=only_second)


def compare_by_seed(first: Sequence[float], second: Sequence[float]) -> Significance:
    """Compare two settings by what their runs of the same seeds have reached.

    Below FLIPS_FROM seeds by Student's t test of the differences (W. S. Gosset, "The probable error of a mean",
    Biometrika 6, 1908); from there on, and where all differences are the same, by flipping their signs, which takes
    them for no more than symmetric (R. A. Fisher, "The Design of Experiments", 1935, section 21): of up to MAX_FLIPS
    flips all are tried.

    Args:
        first: Accuracies of the first setting, two at least.
        second: Those of the second, in the same order of seeds.
    """
    from scipy.stats import ttest_rel

    differences = [after - before for before, after in zip(first, second, strict=True)]
    num, spread = len(differences), stdev(differences)
    if spread < _NO_SPREAD:  # then t is infinite, or nothing over nothing
        return Significance(SIGN_FLIP, _permuted((differences,), "samples"))
    if num < FLIPS_FROM:
        test, p_value = PAIRED_T, float(ttest_rel(second, first).pvalue)
    else:
        test, p_value = SIGN_FLIP, _permuted((differences,), "samples")
    low, high = t_interval(differences)
    effect = mean(differences) / spread
    return Significance(test, p_value, low, high, effect, seeds_needed(effect, paired=True))


def compare_unpaired(first: Sequence[float], second: Sequence[float]) -> Significance:
    """Compare two settings whose runs have other seeds, by Welch's t test.

    B. L. Welch, "The generalization of 'Student's' problem when several different population variances are involved",
    Biometrika 34, 1947. Where no side has any spread, by permuting the runs.

    Args:
        first: Accuracies of the first setting, two at least.
        second: Those of the second, likewise.
    """
    from scipy.stats import ttest_ind

    difference = mean(second) - mean(first)
    pooled = math.sqrt((stdev(first) ** 2 + stdev(second) ** 2) / 2)
    if pooled < _NO_SPREAD:  # as above
        return Significance(PERMUTATION, _permuted((first, second), "independent"))
    result = ttest_ind(second, first, equal_var=False)
    low, high = result.confidence_interval(0.95)
    effect = difference / pooled
    return Significance(
        WELCH, float(result.pvalue), float(low), float(high), effect, seeds_needed(effect, paired=False)
    )


def _permuted(samples: "tuple[Sequence[float], ...]", kind: str) -> float:
    """Return the two-sided p of a difference of means, or of a mean, among all orders or signs of the values."""
    import numpy as np
    from scipy.stats import permutation_test

    def difference(*values: "NDArray[np.float64]", axis: int) -> "NDArray[np.float64]":
        first, *others = (np.asarray(each.mean(axis=axis)) for each in values)
        return others[0] - first if others else first

    # As whole numbers of _NO_SPREAD, whose sums are exact: else equal sums differ by what floating point leaves.
    plain = [np.rint(np.asarray(sample) / _NO_SPREAD) for sample in samples]
    result = permutation_test(
        plain, difference, permutation_type=kind, vectorized=True, n_resamples=MAX_FLIPS, batch=4096, rng=0
    )
    return float(result.pvalue)


def seeds_needed(effect_size: float, *, paired: bool) -> int | None:
    """Return the fewest seeds with which a t test finds a difference in POWER of the cases at ALPHA, two-sided.

    Args:
        effect_size: The difference in standard deviations, as Significance has it.
        paired: Whether the seeds are the same on both sides; else they are so many on each.

    Returns:
        None where there is no difference, or more than MAX_SEEDS are needed.
    """
    from statsmodels.stats.power import TTestIndPower, TTestPower

    test = TTestPower() if paired else TTestIndPower()

    def is_enough(num: int) -> bool:
        power = float(test.power(abs(effect_size), num, ALPHA))
        # Of a difference of many standard deviations, of which three seeds are enough, it may have no value.
        return power >= POWER or (math.isnan(power) and num > 2)

    # Its own solve_power does not find every root.
    many = 2
    while not is_enough(many):
        if many >= MAX_SEEDS:
            return None
        many = min(2 * many, MAX_SEEDS)
    few = max(many // 2, 1)
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if is_enough(middle) else (middle, many)
    return many


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for how many they are: the chance that any is wrong stays below ALPHA.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    # By hand: statsmodels has it, whose import takes two seconds, and collects garbage at each call.
    corrected, so_far = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        so_far = corrected[i] = min(max(so_far, (len(p_values) - rank) * p_values[i]), 1.0)
    return corrected

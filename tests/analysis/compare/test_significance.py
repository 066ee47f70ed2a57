"""The statistics: each against its definition, reckoned in another way."""

import math
from fractions import Fraction
from itertools import product
from statistics import mean

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.power import TTestIndPower, TTestPower

from cnnzoo.analysis.compare.significance import (
    MAX_SEEDS,
    compare_by_seed,
    compare_nets,
    compare_unpaired,
    holm,
    seeds_needed,
)

counts = st.integers(0, 300)
accuracies = st.integers(0, 40).map(lambda num: num / 1000)


@settings(max_examples=200, deadline=None)
@given(counts, counts, counts, counts)
def test_mcnemars_p_is_that_of_statsmodels_and_of_coins(
    both: int, first: int, second: int, none: int
) -> None:
    one = np.repeat([True, True, False, False], [both, first, second, none])
    two = np.repeat([True, False, True, False], [both, first, second, none])
    result = compare_nets(one, two)
    assert (result.only_first, result.only_second) == (first, second)
    theirs = mcnemar([[both, first], [second, none]], exact=True).pvalue
    assert result.p_value == theirs
    num = first + second
    tail = sum(math.comb(num, heads) for heads in range(min(first, second) + 1))
    assert result.p_value == pytest.approx(float(min(Fraction(1), Fraction(2 * tail, 2**num))), rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(accuracies, accuracies), min_size=8, max_size=10))
@example(
    [*[(0.0, 0.0)] * 5, (0.0, 0.005), (0.0, 0.008), (0.014, 0.001)]
)  # 0.013 is not 0.005 + 0.008 in binary
def test_sign_flips_are_all_flips(pairs: list[tuple[float, float]]) -> None:
    first, second = zip(*pairs, strict=True)
    # In thousandths, so that nothing is rounded.
    differences = [round(1000 * (after - before)) for before, after in pairs]
    sums = [
        sum(sign * d for sign, d in zip(signs, differences, strict=True))
        for signs in product((-1, 1), repeat=len(differences))
    ]
    expected = sum(abs(flipped) >= abs(sum(differences)) for flipped in sums) / len(sums)
    result = compare_by_seed(first, second)
    assert result.test == "sign flips"
    assert result.p_value == pytest.approx(expected)


def test_of_more_seeds_than_can_all_be_flipped_some_are_drawn_the_same_each_time() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.01, (2, 20))
    one, two = (compare_by_seed(*values.tolist()) for _ in range(2))
    assert one == two
    assert one.p_value == pytest.approx(stats.ttest_rel(*values).pvalue, abs=0.02)


def test_students_t_by_hand() -> None:
    first, second = [0.90, 0.91, 0.92, 0.90], [0.92, 0.91, 0.95, 0.93]
    differences = np.subtract(second, first)
    t = differences.mean() / (differences.std(ddof=1) / 2)
    result = compare_by_seed(first, second)
    assert result.p_value == pytest.approx(2 * stats.t.sf(t, 3))
    assert result.effect_size == pytest.approx(t / 2)
    assert result.low == pytest.approx(
        differences.mean() - stats.t.ppf(0.975, 3) * differences.std(ddof=1) / 2, abs=1e-5
    )
    assert compare_by_seed(second, first).p_value == pytest.approx(result.p_value)


@pytest.mark.parametrize(("num", "p_value"), [(2, 0.5), (5, 0.0625), (8, 2 / 256)])
def test_the_same_difference_in_every_seed_is_as_certain_as_its_seeds_are_many(
    num: int, p_value: float
) -> None:
    result = compare_by_seed([0.1 * seed for seed in range(num)], [0.1 * seed + 0.02 for seed in range(num)])
    assert (result.test, result.p_value, result.effect_size) == ("sign flips", p_value, None)


def test_welch_takes_spreads_as_they_are_and_permutes_what_has_none() -> None:
    first, second = [0.5, 0.6, 0.55], [0.52, 0.53, 0.525, 0.524]
    result = compare_unpaired(first, second)
    theirs = stats.ttest_ind(second, first, equal_var=False)
    assert result.test == "Welch's t"
    assert result.p_value == pytest.approx(theirs.pvalue)
    assert result.low is not None
    assert result.high is not None
    assert result.low < mean(second) - mean(first) < result.high
    flat = compare_unpaired([0.5] * 3, [0.6] * 3)
    assert flat.test == "permutation of the runs"
    assert flat.p_value == pytest.approx(2 / math.comb(6, 3))
    assert compare_unpaired([0.5] * 3, [0.5] * 3).p_value == 1


@settings(max_examples=10, deadline=None)  # statsmodels collects garbage at each call
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_multiplies_the_smallest_by_their_number_the_next_by_one_less_and_so_on(
    p_values: list[float],
) -> None:
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    expected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        expected[place] = largest
    assert holm(p_values) == pytest.approx(expected)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("effect", [0.08, 0.3, 0.5, 1.05, -2.0, 3.0])
def test_so_many_seeds_are_the_fewest_that_have_the_power(effect: float, paired: bool) -> None:
    test = TTestPower() if paired else TTestIndPower()
    num = seeds_needed(effect, paired=paired)
    assert num is not None
    assert test.power(abs(effect), num, 0.05) >= 0.8
    assert num == 2 or test.power(abs(effect), num - 1, 0.05) < 0.8
    assert num == math.ceil(test.solve_power(abs(effect), power=0.8, alpha=0.05))


def test_the_textbooks_34_pairs_find_half_a_standard_deviation() -> None:
    assert seeds_needed(0.5, paired=True) == 34  # Cohen 1988, table 2.4.1; G*Power
    assert seeds_needed(0.5, paired=False) == 64


def test_what_no_number_of_seeds_finds_has_none() -> None:
    assert seeds_needed(0.0, paired=True) is None
    assert seeds_needed(0.01, paired=True) is None
    assert seeds_needed(0.03, paired=True) in range(MAX_SEEDS)
    assert seeds_needed(1e9, paired=True) in (2, 3)

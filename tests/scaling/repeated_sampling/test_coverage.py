"""Coverage against exact fractions, simulation and SciPy."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, bootstrap, hypergeom

from paperworks.scaling import coverage, pass_at_k


def exact(n: int, c: int, k: int) -> float:
    return float(1 - Fraction(comb(n - c, k), comb(n, k)))


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int, int]:
    n = draw(st.integers(1, 3000))
    return n, draw(st.integers(0, n)), draw(st.integers(1, n))


@given(counts())
def test_equals_the_ratio_of_binomials(case: tuple[int, int, int]) -> None:
    n, c, k = case
    assert pass_at_k(n, c, k) == pytest.approx(exact(n, c, k), rel=2e-13, abs=0)


@pytest.mark.parametrize(
    ("n", "c", "k"),
    # Both sides of the switch from factors to Stirling, few wrong samples to spare, and sizes at
    # which log-gamma in its usual form has lost most of its digits.
    [
        (129, 64, 65), (145, 65, 65), (146, 65, 65), (147, 66, 66), (200, 65, 120),
        (10_000, 64, 64), (10_000, 65, 65), (10_000, 1, 1), (10_000, 9_000, 1_000),
        (3_700_000, 65, 65), (3_700_000, 100, 1000), (3_700_000, 1, 3),
    ],
)  # fmt: skip
def test_keeps_its_digits(n: int, c: int, k: int) -> None:
    assert pass_at_k(n, c, k) == pytest.approx(exact(n, c, k), rel=1e-15 * max(64, n), abs=0)


def test_is_the_chance_that_a_subset_holds_a_right_sample() -> None:
    right = [True, False, False, True, False, False, False]
    for k in range(1, 8):
        subsets = list(itertools.combinations(right, k))
        share = sum(any(subset) for subset in subsets) / len(subsets)
        assert pass_at_k(7, 2, k) == pytest.approx(share)


def test_agrees_with_scipy_over_many_problems() -> None:
    rng = np.random.default_rng(0)
    n = rng.integers(400, 5000, 500)
    c = rng.binomial(n, rng.beta(0.3, 2, 500))
    k = np.array([1, 7, 64, 65, 200, 400])
    expected = -np.expm1(hypergeom.logpmf(0, n[:, None], c[:, None], k))
    np.testing.assert_allclose(pass_at_k(n, c, k), expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("p", [0.01, 0.3, 0.9])
def test_is_unbiased(p: float) -> None:
    n, k = 30, 8
    c = np.arange(n + 1)
    mean = binom.pmf(c, n, p) @ pass_at_k(n, c, k)
    assert mean == pytest.approx(1 - (1 - p) ** k, rel=1e-12)


@given(counts())
def test_rises_with_k_and_with_c(case: tuple[int, int, int]) -> None:
    n, c, k = case
    assert pass_at_k(n, c, 1) == pytest.approx(c / n)
    if k < n:
        assert pass_at_k(n, c, k) <= pass_at_k(n, c, k + 1) + 1e-13
    if c < n:
        assert pass_at_k(n, c, k) <= pass_at_k(n, c + 1, k) + 1e-13


def test_shapes_follow_the_input() -> None:
    assert pass_at_k(10, 3, 2).shape == ()
    assert pass_at_k(10, [3, 4], 2).shape == (2,)
    assert pass_at_k(10, 3, [1, 2, 3]).shape == (3,)
    assert pass_at_k([10, 12], [3, 4], [1, 2, 3]).shape == (2, 3)
    assert pass_at_k(np.float32(10), np.array([3.0], np.float32), [2]).dtype == np.float64


def test_coverage_is_the_mean_over_problems_in_any_order() -> None:
    n, c = np.array([20, 30, 30, 20, 20]), np.array([1, 5, 5, 0, 20])
    result = coverage(n, c, [1, 10])
    np.testing.assert_allclose(result.coverage, pass_at_k(n, c, [1, 10]).mean(0))
    assert result.problems == 5
    again = coverage(n[::-1], c[::-1], [1, 10])
    np.testing.assert_allclose([again.low, again.high], [result.low, result.high])


def test_interval_agrees_with_scipys_bootstrap() -> None:
    rng = np.random.default_rng(1)
    c = rng.binomial(100, rng.beta(0.4, 2, 60))
    ours = coverage(100, c, [1, 10], resamples=20_000)
    for at, k in enumerate((1, 10)):
        theirs = bootstrap(
            (pass_at_k(100, c, k),), np.mean, n_resamples=20_000, method="BCa", rng=2
        ).confidence_interval
        assert ours.low[at] == pytest.approx(theirs.low, abs=0.004)
        assert ours.high[at] == pytest.approx(theirs.high, abs=0.004)


def test_interval_covers_as_often_as_it_says() -> None:
    # 400 sets of 100 problems from a skewed law of difficulty; the truth is 1 - E[(1-p)^k].
    rng = np.random.default_rng(3)
    a, b, k, sets = 0.5, 4.0, 5, 400
    truth = 1 - np.prod([(b + i) / (a + b + i) for i in range(k)])
    hits = 0
    for seed in range(sets):
        c = rng.binomial(50, rng.beta(a, b, 100))
        result = coverage(50, c, k, confidence=0.9, resamples=500, rng=seed)
        hits += bool(result.low[0] <= truth <= result.high[0])
    # Two-sided binomial bound at 1 in 1000 around 90 %, with 2 points for the bootstrap's own bias.
    assert binom.ppf(0.0005, sets, 0.88) <= hits <= binom.ppf(0.9995, sets, 0.92)


def test_interval_has_no_width_where_all_problems_are_alike() -> None:
    result = coverage(10, [4, 4, 4], [1, 3])
    np.testing.assert_allclose(result.low, result.coverage)
    np.testing.assert_allclose(result.high, result.coverage)


@pytest.mark.parametrize(
    ("n", "c", "k", "words"),
    [
        (10, 11, 1, r"c must be <= n, got c = 11 of n = 10 at problem 0"),
        ([10, 5], [1, 6], 1, r"c = 6 of n = 5 at problem 1"),
        ([10, 5], [1, 1], 6, r"k = 6 where 1 of 2 problem\(s\) have fewer samples \(the fewest: 5"),
        (10, -1, 1, r"c must be >= 0, got -1"),
        (0, 0, 1, r"n must be >= 1, got 0"),
        (10, 1, 0, r"k must be >= 1, got 0"),
        (10, 1.5, 1, r"c must be whole numbers, got 1\.5"),
        (10, np.nan, 1, r"c must be whole numbers, got nan"),
        (10, np.inf, 1, r"c must be whole numbers, got inf"),
        (10, [True, False], 1, r"count them first"),
        (10, ["1"], 1, r"array of <U1"),
        ([10, 10], [1, 2, 3], 1, r"same length, got 2 and 3"),
        (10, [[1, 2]], 1, r"one-dimensional, got shapes \(\), \(1, 2\), \(\)"),
        ([], [], 1, r"nothing to count"),
    ],
)  # fmt: skip
def test_refuses(n: object, c: object, k: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pass_at_k(n, c, k)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=words):
        coverage(n, c, k)  # type: ignore[arg-type]


def test_refuses_levels_and_draws_out_of_range() -> None:
    with pytest.raises(ValueError, match="confidence must be between 0 and 1, got 95"):
        coverage(10, [1, 2], 1, confidence=95)
    with pytest.raises(ValueError, match="resamples must be >= 1, got 0"):
        coverage(10, [1, 2], 1, resamples=0)

"""The exponentiated power law against known constants, curve_fit and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import curve_fit
from scipy.stats import binom

from paperworks.scaling import CoverageLaw, coverage, log_spaced
from paperworks.scaling.repeated_sampling.gompertz import fit_gompertz


@given(st.floats(-12, -0.5), st.floats(-0.8, -0.1))
def test_finds_the_constants_of_an_exact_law(a: float, b: float) -> None:
    k = log_spaced(10_000)
    law = CoverageLaw.fit(k, np.exp(a * k**b))
    assert law.converged
    assert (law.a, law.b) == (pytest.approx(a, rel=1e-6), pytest.approx(b, rel=1e-6))
    assert law.rmse < 1e-9
    np.testing.assert_allclose(law(k), np.exp(a * k**b), rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_is_the_least_squares_fit_of_curve_fit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    c = rng.binomial(1000, rng.beta(0.2, 3, 80))
    k = log_spaced(1000)
    curve = coverage(1000, c, k).coverage
    law = CoverageLaw.fit(k, curve)
    (a, b), _ = curve_fit(lambda k, a, b: np.exp(a * k**b), k.astype(float), curve, p0=(-3, -0.3))
    assert (law.a, law.b) == (pytest.approx(a, rel=1e-5), pytest.approx(b, rel=1e-5))


def test_fits_many_curves_as_it_fits_one() -> None:
    rng = np.random.default_rng(0)
    x = np.log(log_spaced(500))
    curves = np.clip(
        np.exp(-np.exp(rng.normal(1, 0.5, (50, 1)) - rng.uniform(0.1, 0.6, (50, 1)) * x))
        + rng.normal(0, 0.02, (50, x.size)), 0, 1,
    )  # fmt: skip
    together = fit_gompertz(x, curves)
    assert together.converged.all()
    for row, curve in enumerate(curves):
        alone = fit_gompertz(x, curve[None]).parameters[0]
        np.testing.assert_allclose(together.parameters[row], alone, rtol=1e-6, atol=1e-9)


def test_points_at_0_and_1_count() -> None:
    k = np.array([1, 2, 4, 8, 16, 32])
    inner = np.array([0.0, 0.1, 0.4, 0.7, 0.95, 1.0])
    law = CoverageLaw.fit(k, inner)
    assert law.converged
    best = law.rmse
    # A minimum of the squared error over all six points: any step away is worse.
    for da, db in ((1.02, 1), (0.98, 1), (1, 1.02), (1, 0.98)):
        other = np.exp(law.a * da * k ** (law.b * db))
        assert np.sqrt(((other - inner) ** 2).mean()) > best


def test_predicts_with_an_interval_around_the_curve() -> None:
    rng = np.random.default_rng(1)
    c = rng.binomial(200, rng.beta(0.3, 2, 100))
    for law in (
        CoverageLaw.fit_counts(200, c),
        CoverageLaw.fit(log_spaced(200), coverage(200, c, log_spaced(200)).coverage),
    ):
        ahead = law.predict([1, 200, 10_000])
        assert (ahead.low <= ahead.coverage).all()
        assert (ahead.coverage <= ahead.high).all()
        np.testing.assert_allclose(ahead.coverage, law([1, 200, 10_000]))
        wide, narrow = law.predict([10_000], confidence=0.99), law.predict([10_000], confidence=0.5)
        assert wide.high - wide.low > narrow.high - narrow.low


def test_delta_method_agrees_with_curve_fits_covariance() -> None:
    rng = np.random.default_rng(2)
    k = log_spaced(1000)
    curve = np.clip(np.exp(-4 * k**-0.3) + rng.normal(0, 0.01, k.size), 0, 1)
    law = CoverageLaw.fit(k, curve)
    _, covariance = curve_fit(
        lambda k, alpha, b: np.exp(-np.exp(alpha) * k**b), k.astype(float), curve, p0=(1, -0.3)
    )
    np.testing.assert_allclose(law.covariance, covariance, rtol=1e-3)


def test_delta_interval_covers_where_errors_are_independent() -> None:
    rng = np.random.default_rng(4)
    k = log_spaced(300)
    truth = np.exp(-3 * k**-0.35)
    repeats, hits, reached = 300, 0, 0
    need = math.ceil((math.log(0.9) / -3) ** (1 / -0.35))
    for _ in range(repeats):
        law = CoverageLaw.fit(k, np.clip(truth + rng.normal(0, 0.01, k.size), 0, 1))
        ahead = law.predict([1000], confidence=0.9)
        hits += bool(ahead.low[0] <= math.exp(-3 * 1000**-0.35) <= ahead.high[0])
        reach = law.samples_to_reach(0.9, confidence=0.9)
        reached += reach.low <= need <= reach.high
    low, high = binom.ppf([0.0005, 0.9995], repeats, 0.9)
    assert low - 3 <= hits <= high + 3
    assert low - 3 <= reached <= high + 3


def test_bootstrap_interval_covers_the_law_of_all_problems() -> None:
    # Problems whose difficulty makes exp(a k^b) nearly exact; the truth is a fit to very many.
    rng = np.random.default_rng(5)
    k = log_spaced(100, 15)
    everyone = CoverageLaw.fit(k, coverage(100, _draw(rng, 400_000), k, resamples=1).coverage)
    repeats, hits = 200, 0
    for seed in range(repeats):
        law = CoverageLaw.fit_counts(100, _draw(rng, 150), k, resamples=300, rng=seed)
        ahead = law.predict([300], confidence=0.9)
        hits += bool(ahead.low[0] <= everyone([300])[0] <= ahead.high[0])
    # Percentiles of a bootstrap are short by a few points at this size.
    assert binom.ppf(0.0005, repeats, 0.86) <= hits <= binom.ppf(0.9995, repeats, 0.93)


def _draw(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.binomial(100, rng.beta(0.35, 2.0, size))


@given(st.floats(-8, -0.5), st.floats(-0.9, -0.2), st.floats(0.05, 0.97))
def test_samples_to_reach_is_the_least_whole_number(a: float, b: float, target: float) -> None:
    k = log_spaced(1000)
    law = CoverageLaw.fit(k, np.exp(a * k**b))
    reach = law.samples_to_reach(target)
    assert reach.reachable
    assert law(reach.samples) >= target * (1 - 1e-9)
    if 1 < reach.samples < 1e9:
        assert law(reach.samples - 1) < target * (1 + 1e-7)
    assert reach.low <= reach.samples <= reach.high
    assert reach.extrapolated == (reach.samples > 1000)


def test_what_cannot_be_reached_says_so() -> None:
    k = log_spaced(100)
    rising = CoverageLaw.fit(k, np.exp(-2.0 * k**-0.4))
    never = rising.samples_to_reach(1.0)
    assert never.samples == math.inf
    assert not never.reachable
    assert never.extrapolated
    falling = CoverageLaw.fit(k, np.exp(-0.5 * k**0.1))
    assert falling.b > 0
    assert falling.samples_to_reach(0.9).samples == math.inf
    assert falling.samples_to_reach(0.5).samples == 1.0


def test_bootstrap_of_reach_may_end_in_infinity() -> None:
    # Two problems: some resamples hold only the one that is always solved.
    law = CoverageLaw.fit_counts(10, [2, 10, 10], resamples=500)
    assert law.failed_draws > 0
    assert len(law.draws) == 500 - law.failed_draws


def test_draws_repeat_with_their_seed() -> None:
    one = CoverageLaw.fit_counts(50, [1, 2, 30, 8], resamples=50, rng=7)
    two = CoverageLaw.fit_counts(50, [1, 2, 30, 8], resamples=50, rng=np.random.default_rng(7))
    other = CoverageLaw.fit_counts(50, [1, 2, 30, 8], resamples=50, rng=8)
    np.testing.assert_array_equal(one.draws, two.draws)
    assert not np.array_equal(one.draws, other.draws)


def test_points_are_the_papers() -> None:
    k = log_spaced(10_000)
    assert (k[0], k[-1], k.size) == (1, 10_000, 37)
    assert (np.diff(k) > 0).all()


@pytest.mark.parametrize(
    ("k", "curve", "words"),
    [
        ([1, 2], [0.0, 0.0], "no problem was solved"),
        ([1, 2], [1.0, 1.0], "every problem was solved"),
        ([1, 2, 3], [0.0, 0.5, 1.0], r"1 point\(s\) lie between 0 and 1"),
        ([2, 2], [0.4, 0.5], "two different k"),
        ([1, 2], [10, 20], "give fractions, not per cent"),
        ([0, 2], [0.1, 0.2], "k must be finite numbers >= 1, got"),
        ([1, np.nan], [0.1, 0.2], "k must be finite"),
        ([1, 2], [0.1, np.nan], r"coverage must be in \[0, 1\], got nan"),
        ([1, 2, 3], [0.1, 0.2], r"got shapes \(3,\) and \(2,\)"),
    ],
)  # fmt: skip
def test_refuses_curves(k: list[float], curve: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CoverageLaw.fit(k, curve)


def test_refuses_targets_and_k_out_of_range() -> None:
    law = CoverageLaw.fit([1, 10, 100], [0.1, 0.3, 0.5])
    for target in (0, -0.1, 1.1, 90, math.nan):
        with pytest.raises(ValueError, match=r"target must be in \(0, 1\]"):
            law.samples_to_reach(target)
    with pytest.raises(ValueError, match="k must be finite numbers >= 1"):
        law.predict([0.5])
    with pytest.raises(ValueError, match="confidence must be between 0 and 1"):
        law.predict([1], confidence=1.0)
    with pytest.raises(ValueError, match="no problem was solved"):
        CoverageLaw.fit_counts(10, [0, 0])
    with pytest.raises(ValueError, match="largest and points must be >= 1, got 0 and 40"):
        log_spaced(0)

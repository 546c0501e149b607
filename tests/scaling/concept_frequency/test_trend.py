from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from paperworks.claims.concept_frequency import published_table
from paperworks.scaling import bin_means, compare_trends, fit_log_linear
from paperworks.scaling.concept_frequency.rivals import LAWS
from paperworks.scaling.concept_frequency.trend import Correlation


def noisy(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    f = np.round(10 ** rng.uniform(0, 5, n))
    return f, 0.1 + 0.12 * np.log10(f) + rng.normal(0, 0.1, n)


@given(st.integers(0, 10_000))
def test_line_and_tests_are_scipys(seed: int) -> None:
    f, y = noisy(30, seed)
    f[:3] = 0
    trend = fit_log_linear(f, y, resamples=5, rng=0)
    x, kept = np.log10(f[3:]), y[3:]
    line = stats.linregress(x, kept)
    assert trend.slope == pytest.approx(line.slope)
    assert trend.intercept == pytest.approx(line.intercept)
    assert (trend.zeros, trend.concepts) == (3, 27)
    for ours, theirs in (
        (trend.pearson, stats.pearsonr(x, kept)),
        (trend.spearman, stats.spearmanr(x, kept)),
    ):
        assert ours.r == pytest.approx(theirs.statistic)
        assert ours.p == pytest.approx(theirs.pvalue)
    assert trend.pearson.t == pytest.approx(line.slope / line.stderr)
    residual = kept - line.intercept - line.slope * x
    assert trend.rmse == pytest.approx(np.sqrt(np.mean(residual**2)))


def test_zeros_taken_as_one() -> None:
    f = np.array([0, 0, 1, 10, 100, 1000])
    y = np.array([0.0, 0.1, 0.2, 0.3, 0.5, 0.6])
    line = stats.linregress(np.log10(np.maximum(f, 1)), y)
    trend = fit_log_linear(f, y, zeros="one", resamples=5, rng=0)
    assert (trend.slope, trend.intercept) == pytest.approx((line.slope, line.intercept))
    assert (trend.zeros, trend.concepts) == (2, 6)


def test_the_partial_correlation_is_the_t_test_of_a_regression() -> None:
    rng = np.random.default_rng(1)
    f, y = noisy(60, 1)
    s = 0.3 * np.log10(f) + rng.normal(0, 0.3, 60)
    y = y + 0.5 * s
    trend = fit_log_linear(f, y, similarity=s, resamples=5, rng=0)
    design = np.column_stack([np.ones(60), np.log10(f), s])
    beta, rss, *_ = np.linalg.lstsq(design, y, rcond=None)
    error = np.sqrt(rss[0] / 57 * np.linalg.inv(design.T @ design)[1, 1])
    assert trend.partial is not None
    assert trend.partial.t == pytest.approx(beta[1] / error)
    assert trend.partial.dof == 57
    # What similarity explains in full is no trend.
    only = fit_log_linear(f, 2 * s, similarity=s, resamples=5, rng=0)
    assert only.partial is not None
    assert only.partial.r == 0
    assert only.pearson.r > 0.5


def test_the_interval_of_the_slope_covers_it() -> None:
    hits = 0
    for seed in range(200):
        f, y = noisy(80, seed)
        trend = fit_log_linear(f, y, resamples=300, rng=seed)
        assert trend.slope_low < trend.slope < trend.slope_high
        hits += trend.slope_low <= 0.12 <= trend.slope_high
    # 95 %, less what the percentile bootstrap lacks at 80 concepts.
    assert stats.binom.cdf(hits, 200, 0.94) > 1e-3
    assert stats.binom.sf(hits - 1, 200, 0.96) > 1e-3


def test_predictions_come_from_the_draws() -> None:
    f, y = noisy(80)
    trend = fit_log_linear(f, y, resamples=400, rng=0)
    again = fit_log_linear(f, y, resamples=400, rng=0)
    np.testing.assert_array_equal(trend.draws, again.draws)
    found = trend.predict([1, 1e8])
    np.testing.assert_allclose(found.accuracy, trend.intercept + trend.slope * np.array([0, 8]))
    ends = trend.draws @ np.array([[1, 1], [0, 8]])
    np.testing.assert_allclose(found.low, np.quantile(ends, 0.025, axis=0))
    np.testing.assert_allclose(found.high, np.quantile(ends, 0.975, axis=0))
    assert trend(trend.frequency_for(0.5)) == pytest.approx(0.5)
    assert trend(7 * trend.factor_for(0.2)) == pytest.approx(trend(7) + 0.2)
    with pytest.raises(ValueError, match="must be > 0, got"):
        trend.predict([0])


def test_a_trend_that_does_not_rise_needs_no_finite_data() -> None:
    trend = fit_log_linear([1, 10, 100, 1000], [0.4, 0.3, 0.2, 0.1], resamples=5, rng=0)
    assert trend.factor_for(0.1) == trend.frequency_for(0.9) == np.inf
    flat = fit_log_linear([1, 10, 100, 1000], [0.4] * 4, resamples=5, rng=0)
    assert (flat.pearson.r, flat.pearson.p) == (0, 1)
    steep = fit_log_linear([1, 10, 100, 1000], [0, 1e-9, 2e-9, 3e-9], resamples=5, rng=0)
    assert steep.factor_for(1.0) == np.inf  # 10^(10^9) is more than a float holds


def test_a_perfect_correlation_has_p_zero() -> None:
    found = Correlation.test(1.0, 3)
    assert (found.t, found.p) == (np.inf, 0)


# Figure 2 of the paper and the plots of its repository print these correlations of bin means.
FIGURE = {
    ("cc3m", "RN50", 1): 0.96,
    ("cc3m", "ViT-B-16", 1): 0.97,
    ("cc12m", "RN50", 1): 0.94,
    ("cc12m", "ViT-B-16", 1): 0.92,
    ("laion400m", "ViT-B-32", 2): 0.99,
    ("laion400m", "ViT-B-16", 2): 0.98,
    ("laion400m", "ViT-L-14", 2): 0.94,
}


@pytest.mark.parametrize(("pretraining", "model", "skip"), FIGURE)
def test_the_papers_correlations_come_back(pretraining: str, model: str, skip: int) -> None:
    table = published_table()
    found = bin_means(
        np.array(table[pretraining], dtype=float),
        np.array(table[f"{model} {pretraining}"], dtype=float),
        skip_low=skip,
    )
    assert round(found.pearson.r, 2) == FIGURE[pretraining, model, skip]
    assert found.pearson.p < 0.05  # the figure's two stars
    assert found.count.sum() == 4469


def test_empty_bins_are_left_out() -> None:
    f = [1, 2, 3, 4, 1e6, 2e6, 3e6]
    found = bin_means(f, [0.1, 0.2, 0.2, 0.3, 0.5, 0.6, 0.7], bins=8, skip_low=0, skip_high=0)
    assert np.isnan(found.accuracy[found.count == 0]).all()
    assert found.used.sum() == (found.count > 0).sum() < 8
    with pytest.raises(ValueError, match="needs 3 bins with concepts, got 2"):
        bin_means([1, 1, 1, 1e6, 1e6], [0.1, 0.1, 0.1, 0.2, 0.2], bins=8, skip_low=0, skip_high=0)


TRUTHS = {
    "log-linear": lambda x: 0.1 + 0.15 * x,
    "linear": lambda x: 0.1 + 2e-6 * 10**x,
    "constant": lambda x: 0.3 + 0 * x,
    "power": lambda x: 0.02 * 10 ** (0.3 * x),
    "sigmoid": lambda x: 0.1 + 0.7 / (1 + np.exp(-(x - 2) / 0.4)),
}


@pytest.mark.parametrize("law", LAWS)
def test_every_law_finds_a_curve_of_its_own(law: str) -> None:
    x = np.linspace(0, 5, 40)
    fitted = LAWS[law](x[::2], TRUTHS[law](x[::2]))
    np.testing.assert_allclose(fitted(x), TRUTHS[law](x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("law", LAWS)
def test_the_true_law_has_the_least_error_or_one_that_holds_it(law: str) -> None:
    rng = np.random.default_rng(5)
    x = rng.uniform(0, 5, 400)
    y = TRUTHS[law](x) + rng.normal(0, 0.02, 400)
    laws = [law, *(other for other in LAWS if other != law)]
    found = compare_trends(10**x, y, laws=laws, folds=4, repeats=1, rng=0)
    assert found.rmse[0] < found.rmse.min() * 1.02
    assert found.rmse[0] == pytest.approx(0.02, rel=0.15)
    wrong = [i for i, other in enumerate(found.laws) if other == "constant" and law != "constant"]
    assert all(found.low[i] > 0 for i in wrong)
    squares = found.rmse**2
    np.testing.assert_allclose(found.excess, squares - squares[0], atol=1e-15)
    assert (found.low <= found.excess).all()
    assert (found.excess <= found.high).all()


def test_held_out_concepts_are_not_seen() -> None:
    # A constant fitted without the fold has a larger error than one fitted to all.
    y = np.array([0.0, 1.0] * 10)
    found = compare_trends(np.arange(1, 21), y, laws=["constant"], folds=10, repeats=1, rng=0)
    assert found.rmse[0] > y.std()


@pytest.mark.parametrize(
    ("frequency", "accuracy", "more", "why"),
    [
        ([1, 2, 3], [0.1, 0.2], {}, r"one length, got shapes \(3,\) and \(2,\)"),
        ([[1, 2]], [[0.1, 0.2]], {}, "1-d and of one length"),
        ([1, -2, 3, 4], [0.1] * 4, {}, r"frequency must be finite and >= 0, got \[-2.\]"),
        ([1, 2, 3, 4], [0.1, np.nan, 0.2, 0.3], {}, "accuracy must be finite, got nan"),
        ([0, 0, 3, 4], [0.1] * 4, {}, "needs 4 concepts and 2 different frequencies"),
        ([5, 5, 5, 5], [0.1] * 4, {}, "got 4 concepts with 1"),
        ([1, 2, 3, 4], [0.1] * 4, {"zeros": "skip"}, "zeros must be one of drop, one, got 'skip'"),
        ([1, 2, 3, 4], [0.1] * 4, {"similarity": [1]}, "frequency and similarity"),
        ([1, 2, 3, 4], [0.1] * 4, {"confidence": 1.0}, r"confidence must be in \(0, 1\)"),
    ],
)
def test_bad_input_is_named(frequency: list, accuracy: list, more: dict, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        fit_log_linear(frequency, accuracy, **more)


def test_bad_comparisons_are_named() -> None:
    f, y = noisy(20)
    with pytest.raises(ValueError, match=r"laws must be some of log-linear, .*got \['cubic'\]"):
        compare_trends(f, y, laws=["cubic"])
    with pytest.raises(ValueError, match="two concepts a fold, got 15 folds"):
        compare_trends(f, y, folds=15)

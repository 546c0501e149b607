"""The choice of shape against its formula, and against curves whose shape is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.stats import t as student

from paperworks.scaling.learning_curves.curve import check_points
from paperworks.scaling.learning_curves.selection import (
    SHAPES,
    admissible,
    criterion,
    draw,
    fit_robust,
    most_constants,
    redraw,
    weigh,
)
from paperworks.scaling.learning_curves.shapes import Shape


def table(noise: float, shape: Shape, seed: int = 0, n: int = 14):
    x = np.geomspace(30, 1e6, n)
    constants = {
        Shape(): lambda x: 4 * x**-0.3,
        Shape(floor=True): lambda x: 0.05 + 4 * x**-0.4,
        Shape(plateau=True): lambda x: 0.9 * (1 + x / 500) ** -0.4,
        Shape(plateau=True, floor=True): lambda x: 0.05 + 0.85 * (1 + x / 500) ** -0.6,
    }[shape]
    rng = np.random.default_rng(seed)
    return check_points(x, constants(x) * np.exp(noise * rng.standard_normal(n)), None)


def test_criterion_is_schwarzs() -> None:
    """Beside statsmodels' BIC of the same line: they differ by the variance's n and a constant."""
    sm = pytest.importorskip("statsmodels.api")
    points = table(0.02, Shape())
    x = np.log(points.size)
    for design in (np.ones_like(x)[:, None], np.stack([np.ones_like(x), x], 1)):
        peer = sm.OLS(np.log(points.error), design).fit()
        n, p = design.shape
        ours = criterion(n, p, peer.ssr / (n - p))
        expected = peer.bic - n * math.log(2 * math.pi) - n + n * math.log(n / (n - p))
        assert ours == pytest.approx(expected)


@pytest.mark.parametrize("shape", SHAPES[:4], ids=str)
def test_finds_the_shape_of_a_curve(shape: Shape) -> None:
    found = [weigh(SHAPES, table(0.01, shape, seed), None)[0].shape for seed in range(6)]
    assert found.count(shape) >= 5, found


def test_weights_are_shares_in_the_order_of_the_criterion() -> None:
    candidates = weigh(SHAPES, table(0.03, SHAPES[1]), None)
    assert len(candidates) == 6
    assert sum(each.weight for each in candidates) == pytest.approx(1)
    values = [each.criterion for each in candidates]
    assert values == sorted(values)
    expected = np.exp(-(np.array(values) - values[0]) / 2)
    np.testing.assert_allclose([c.weight for c in candidates], expected / expected.sum())


def test_few_sizes_allow_few_constants() -> None:
    points = check_points([10, 20, 40, 80, 160], [0.5, 0.4, 0.32, 0.26, 0.21], None)
    three = [Shape(), Shape(floor=True), Shape(plateau=True)]
    assert admissible(SHAPES, points, None) == three
    # A given chance leaves room for one more.
    assert set(admissible(SHAPES, points, 0.9)) > set(three)
    assert [most_constants(n, n) for n in (3, 4, 5, 6, 8, 10, 12)] == [2, 3, 3, 3, 4, 5, 6]
    # 30 rows, but a curve of five constants cannot be told from three sizes.
    points = check_points(np.repeat([10, 20, 40], 10), np.repeat([0.5, 0.4, 0.3], 10), None)
    assert admissible(SHAPES, points, None) == [Shape()]
    assert Shape(plateau=True) in admissible(
        SHAPES, check_points(np.repeat([10, 20, 40], 10), np.repeat([0.5, 0.4, 0.3], 10), None), 0.9
    )


def test_the_robust_fit_is_scipys_with_hubers_loss() -> None:
    points = table(0.05, SHAPES[3], seed=3)
    law = SHAPES[3].law()
    fit = fit_robust(law, points.logx, points.error, law.start(points.logx, points.error))
    assert fit.converged

    def residuals(theta: np.ndarray) -> np.ndarray:
        return law.evaluate(theta[None], points.logx)[0][0] - np.log(points.error)

    peer = least_squares(residuals, fit.theta, loss="huber", f_scale=fit.delta, xtol=1e-14)
    assert fit.loss == pytest.approx(peer.cost, rel=1e-9)
    np.testing.assert_allclose(fit.theta, peer.x, rtol=1e-4)
    # And the turning point is 1.345 of the residuals' robust deviations, of the fit it belongs to.
    error = residuals(fit.theta)
    spread = 1.4826 * np.median(np.abs(error)) * math.sqrt(14 / 10)
    assert fit.delta == pytest.approx(1.345 * spread, rel=0.2)


def test_an_outlier_hardly_moves_it() -> None:
    clean = table(0.01, SHAPES[1])
    spoilt = clean.error.copy()
    spoilt[6] *= 1.8
    law = SHAPES[1].law()

    def exponent(error: np.ndarray) -> float:
        return float(fit_robust(law, clean.logx, error, law.start(clean.logx, error)).theta[2])

    assert exponent(spoilt) == pytest.approx(exponent(clean.error), abs=0.02)
    plain = least_squares(
        lambda t: law.evaluate(t[None], clean.logx)[0][0] - np.log(spoilt),
        law.theta({"E": 0.05, "A": 4.0, "alpha": 0.4}),
    )
    assert abs(plain.x[2] - 0.4) > 2 * abs(exponent(spoilt) - 0.4)


def test_draws_spread_as_least_squares_says() -> None:
    """For a straight line the spread of the exponent is known: sigma / sqrt(sum (x - mean)^2)."""
    x = np.geomspace(10, 1e5, 30)
    sigma = 0.05
    rng = np.random.default_rng(1)
    points = check_points(x, 2 * x**-0.3 * np.exp(sigma * rng.standard_normal(30)), None)
    law = Shape().law()
    fit = fit_robust(law, points.logx, points.error, law.start(points.logx, points.error))
    plain = replace(fit, delta=math.inf)
    draws = redraw(law, points.logx, points.error, plain, None, 4000, np.random.default_rng(0))
    measured = np.log(points.error) - law.evaluate(fit.theta[None], points.logx)[0][0]
    sigma_hat = math.sqrt(measured @ measured / 28)
    centred = np.log(x) - np.log(x).mean()
    expected = sigma_hat / math.sqrt(centred @ centred)
    # Student's t has a standard deviation of sqrt(28 / 26) of the normal's.
    assert draws[:, 1].std() == pytest.approx(expected * math.sqrt(28 / 26), rel=0.05)


def test_draws_of_few_points_are_as_wide_as_students() -> None:
    rng = np.random.default_rng(1)
    x = np.geomspace(10, 1e5, 6)
    points = check_points(x, 2 * x**-0.3 * np.exp(0.05 * rng.standard_normal(6)), None)
    law = Shape().law()
    fit = fit_robust(law, points.logx, points.error, law.start(points.logx, points.error))
    plain = replace(fit, delta=math.inf)
    draws = redraw(law, points.logx, points.error, plain, None, 8000, np.random.default_rng(0))
    left = np.log(points.error) - law.evaluate(fit.theta[None], points.logx)[0][0]
    error = math.sqrt(left @ left / 4 / ((np.log(x) - np.log(x).mean()) ** 2).sum())
    reach = np.quantile(np.abs(draws[:, 1] - fit.theta[1]), 0.95)
    assert reach == pytest.approx(student.ppf(0.975, 4) * error, rel=0.15)


def test_draws_come_from_all_shapes_by_their_weights() -> None:
    points = table(0.1, SHAPES[1], seed=5)
    candidates = weigh(SHAPES, points, None)
    constants = draw(candidates, points, None, 1000, np.random.default_rng(0))
    assert constants.alpha.size == 1000
    with_plateau = sum(each.weight for each in candidates if each.shape.plateau)
    assert np.mean(np.isfinite(constants.chance)) == pytest.approx(with_plateau, abs=0.03)


def test_whole_runs_are_resampled() -> None:
    """Points of one run that err together: resampling rows would be too sure."""
    rng = np.random.default_rng(0)
    x = np.tile(np.geomspace(100, 1e5, 6), 12)
    run = np.repeat(np.arange(12), 6)
    shift = rng.normal(0, 0.2, 12)[run]
    points = check_points(x, 3 * x**-0.4 * np.exp(shift + rng.normal(0, 0.01, 72)), run)
    law = Shape().law()
    fit = fit_robust(law, points.logx, points.error, law.start(points.logx, points.error))
    args = (law, points.logx, points.error, fit)
    by_run = redraw(*args, points.runs, 500, np.random.default_rng(0))
    by_row = redraw(*args, None, 500, np.random.default_rng(0))
    middle = np.log(x).mean()
    height = [(each[:, 0] - each[:, 1] * middle).std() for each in (by_run, by_row)]
    assert height[0] == pytest.approx(shift[::6].std() / math.sqrt(12), rel=0.35)
    assert height[0] > 1.7 * height[1]

"""The batched solver against SciPy's, and against itself one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import least_squares

from paperworks.scaling.fitting import LAWS
from paperworks.scaling.fitting.solve import minimise, residuals

LAW = LAWS["chinchilla"]


def data(seed: int, n: int = 60, noise: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logx = rng.uniform(np.log(1e7), np.log(1e10), (n, 2))
    true = LAW.theta({"E": 1.8, "A": 480.0, "alpha": 0.35, "B": 2100.0, "beta": 0.37})
    y = np.exp(LAW.evaluate(true[None], logx)[0][0] + noise * rng.standard_t(2, n))
    return logx, y


def huber(error: np.ndarray, delta: float) -> np.ndarray:
    size = np.abs(error)
    return np.where(size <= delta, size**2 / 2, delta * (size - delta / 2))


@pytest.mark.parametrize("delta", [0.003, 0.02, math.inf])
@pytest.mark.parametrize("space", ["log", "linear"])
@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("seed", range(3))
def test_finds_the_minimum_of_scipy(seed: int, space: str, delta: float) -> None:
    logx, y = data(seed)
    start = LAW.start(logx, y)
    ours = minimise(LAW, logx, y, start, delta=delta, space=space)
    best = int(np.argmin(ours.loss))

    def errors(theta: np.ndarray) -> np.ndarray:
        log_y = LAW.evaluate(theta[None], logx)[0][0]
        return log_y - np.log(y) if space == "log" else np.exp(log_y) - y

    loss = {} if math.isinf(delta) else {"loss": "huber", "f_scale": delta}
    theirs = least_squares(
        errors, ours.theta[best], bounds=LAW.bounds, xtol=1e-12, ftol=1e-12, gtol=1e-12, **loss
    )
    assert ours.loss[best] == pytest.approx(huber(errors(ours.theta[best]), delta).sum(), rel=1e-9)
    assert ours.loss[best] <= theirs.cost * (1 + 1e-7)
    # Nor does SciPy end lower from the same starts.
    for i in range(0, len(start), 16):
        begin = np.clip(start[i], *LAW.bounds)
        their = least_squares(errors, begin, bounds=LAW.bounds, x_scale="jac", **loss)
        assert ours.loss[best] <= their.cost * (1 + 1e-7)


def test_a_batch_is_its_rows_one_by_one() -> None:
    logx, y = data(0)
    rng = np.random.default_rng(0)
    starts = LAW.start(logx, y)[:20]
    weights = rng.multinomial(60, np.full(60, 1 / 60), size=20).astype(float)
    curves = y * np.exp(rng.normal(0, 0.01, (20, 60)))
    together = minimise(LAW, logx, curves, starts, weights=weights, delta=0.01)
    for i in range(20):
        alone = minimise(
            LAW, logx, curves[i], starts[i : i + 1], weights=weights[i : i + 1], delta=0.01
        )
        np.testing.assert_allclose(together.theta[i], alone.theta[0], rtol=1e-6)


def test_weights_count_as_often_as_rows_do() -> None:
    logx, y = data(1)
    times = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60))
    start = LAW.start(logx, y)[20:21]
    weighted = minimise(LAW, logx, y, start, weights=times[None].astype(float), delta=0.02)
    rows = np.repeat(np.arange(60), times)
    repeated = minimise(LAW, logx[rows], y[rows], start, delta=0.02)
    np.testing.assert_allclose(weighted.theta, repeated.theta, rtol=1e-6)
    assert weighted.loss == pytest.approx(repeated.loss, rel=1e-9)


def test_bounds_hold_and_what_pushes_against_them_stays() -> None:
    """A curve with no offset, and one that rises: E ends at its bound, alpha at 0."""
    law = LAWS["power-offset"]
    logx = np.linspace(1, 10, 30)[:, None]
    falling = np.exp(2 - 0.3 * logx[:, 0])
    found = minimise(law, logx, falling, law.start(logx, falling))
    best = found.theta[np.argmin(found.loss)]
    assert best[2] == pytest.approx(0.3, rel=1e-5)
    assert np.exp(best[0]) < 1e-6
    rising = np.exp(0.3 * logx[:, 0])
    found = minimise(law, logx, rising, law.start(logx, rising))
    low, high = law.bounds
    assert ((found.theta >= low) & (found.theta <= high)).all()
    assert found.converged[np.argmin(found.loss)]
    assert found.theta[np.argmin(found.loss), 2] == pytest.approx(0.0, abs=1e-6)


def test_what_did_not_converge_says_so() -> None:
    logx, y = data(0)
    assert not minimise(LAW, logx, y, LAW.start(logx, y)[:5], max_iterations=1).converged.any()


def test_residuals_are_those_of_the_space() -> None:
    logx, y = data(0)
    theta = LAW.start(logx, y)[:1]
    log_y = LAW.evaluate(theta, logx)[0]
    np.testing.assert_allclose(residuals(LAW, logx, y, theta, "log"), log_y - np.log(y))
    np.testing.assert_allclose(residuals(LAW, logx, y, theta, "linear"), np.exp(log_y) - y)

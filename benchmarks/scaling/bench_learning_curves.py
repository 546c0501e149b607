"""A learning curve with intervals, and a joint fit, beside loops over SciPy's ``curve_fit``.

No kept library finds the regions of a learning curve. The peer is what one would write: SciPy's
``curve_fit`` of the same six shapes from the same data-driven start, the best by the same
criterion, and a bootstrap of its residuals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.optimize import curve_fit

from paperworks.scaling import LearningCurve, SharedExponent

RESAMPLES = 200


def table(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    size = np.geomspace(30, 1e6, n)
    error = 0.03 + 0.87 * (1 + size / 400) ** -0.5
    return size, error * np.exp(0.03 * rng.standard_normal(n))


def _power(x: Any, a: float, alpha: float) -> Any:
    return a - alpha * x


def _floor(x: Any, e: float, a: float, alpha: float) -> Any:
    return np.logaddexp(e, a - alpha * x)


def _plateau(x: Any, g: float, alpha: float, d: float) -> Any:
    return g - alpha * np.logaddexp(0, x - d)


def _three(x: Any, e: float, g: float, alpha: float, d: float) -> Any:
    return np.logaddexp(e, g - alpha * np.logaddexp(0, x - d))


def _bend(x: Any, g: float, alpha: float, d: float, s: float) -> Any:
    width = np.exp(s)
    return g - alpha * width * np.logaddexp(0, (x - d) / width)


def _full(x: Any, e: float, g: float, alpha: float, d: float, s: float) -> Any:
    return np.logaddexp(e, _bend(x, g, alpha, d, s))


def scipy_loop(size: np.ndarray, error: np.ndarray) -> tuple[float, float, float, float]:
    """Exponent with its interval, and rms of the fit."""
    x, y = np.log(size), np.log(error)
    low, top, middle, n = y.min() - 0.7, y.max(), x.mean(), len(x)
    laws: list[tuple[Callable[..., Any], list[float], int]] = [
        (_power, [top, 0.3], 1),
        (_floor, [low, top + 1, 0.4], 2),
        (_plateau, [top, 0.3, middle], 1),
        (_three, [low, top, 0.4, middle], 2),
        (_bend, [top, 0.3, middle, 0.0], 1),
        (_full, [low, top, 0.4, middle, 0.0], 2),
    ]
    best: Any = (math.inf,)
    for law, start, at in laws:
        try:
            theta, _ = curve_fit(law, x, y, p0=start, maxfev=20_000)
        except RuntimeError:
            continue
        rss = float(np.sum((law(x, *theta) - y) ** 2))
        value = n * math.log(rss / (n - len(theta))) + len(theta) * math.log(n)
        if value < best[0]:
            best = (value, law, theta, at, rss)
    _, law, theta, at, rss = best
    fitted, rng = law(x, *theta), np.random.default_rng(0)
    left = (y - fitted) * math.sqrt(n / (n - len(theta)))
    found = []
    for _ in range(RESAMPLES):
        try:
            again, _ = curve_fit(law, x, fitted + rng.choice(left, n), p0=theta, maxfev=5000)
        except RuntimeError:
            continue
        found.append(again[at])
    low, high = np.quantile(found, [0.025, 0.975])
    return float(theta[at]), float(low), float(high), math.sqrt(rss / n)


def ours(size: np.ndarray, error: np.ndarray) -> tuple[float, float, float, float]:
    curve = LearningCurve.fit(size, error, resamples=RESAMPLES)
    return curve.exponent.value, curve.exponent.low, curve.exponent.high, curve.rms


@pytest.mark.parametrize("contender", ["paperworks", "scipy curve_fit, a loop"])
@pytest.mark.parametrize("n", [14, 100, 1000])
def test_curve(race: Callable[..., Any], n: int, contender: str) -> None:
    size, error = table(n)
    find = ours if contender == "paperworks" else scipy_loop
    value, low, high, rms = race(
        lambda: find(size, error),
        group=f"learning curve of {n} points, {RESAMPLES} resamples",
        contender=contender,
        ours=contender == "paperworks",
        rounds=3 if n < 1000 else 1,
        note=lambda found: (
            f"exponent {found[0]:.3f} ({found[1]:.3f} to {found[2]:.3f}), rms {found[3]:.4f}"
        ),
    )
    assert low <= value <= high
    assert rms < 0.05


@pytest.mark.parametrize("learners", [2, 8])
def test_shared(race: Callable[..., Any], learners: int) -> None:
    size = np.tile(np.geomspace(100, 1e5, 10), learners)
    rng = np.random.default_rng(0)
    height = np.repeat(np.linspace(1, 3, learners), 10)
    error = (0.02 + height * size**-0.35) * np.exp(0.02 * rng.standard_normal(size.size))
    names = np.repeat([f"learner {k}" for k in range(learners)], 10)
    found = race(
        lambda: SharedExponent.fit(size, error, names, resamples=RESAMPLES),
        group=f"one exponent of {learners} learners, {RESAMPLES} resamples",
        contender="paperworks",
        ours=True,
        note=lambda found: f"exponent {found.exponent.value:.3f}, weight {found.weight:.2f}",
    )
    assert found.exponent.value == pytest.approx(0.35, abs=0.05)

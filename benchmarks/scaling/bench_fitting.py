"""A bootstrap of a scaling law: ours in batches, and the loop over SciPy's ``least_squares``.

Both minimise Huber's loss of log y with the analytic Jacobian, on the same resampled runs, from
the best fit to all of them. SciPy takes a resample's distinct rows, with their multiplicities in
its ``loss``. The note is how far the worst loss lies above the lower of both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.optimize import least_squares

from paperworks.scaling.fitting import LAWS, fit_law
from paperworks.scaling.fitting.fit import best_fit
from paperworks.scaling.fitting.solve import minimise

DELTA, DRAWS = 0.02, 100
TRUE: dict[str, dict[str, float]] = {
    "power-offset": {"E": 0.5, "A": 30.0, "alpha": 0.4},
    "chinchilla": {"E": 1.8, "A": 480.0, "alpha": 0.35, "B": 2100.0, "beta": 0.37},
}


@cache
def problem(name: str, n: int) -> Any:
    law, rng = LAWS[name], np.random.default_rng(0)
    low, high = (1e7, 1e10) if len(law.variables) > 1 else (10.0, 1e6)
    logx = rng.uniform(np.log(low), np.log(high), (n, len(law.variables)))
    exact = law.evaluate(law.theta(TRUE[name])[None], logx)[0][0]
    y = np.exp(exact + 0.02 * rng.standard_t(3, n))
    theta, _, _ = best_fit(law, logx, y, law.start(logx, y), DELTA, "log")
    times = rng.multinomial(n, np.full(n, 1 / n), size=DRAWS).astype(float)
    return law, logx, y, theta, times


def ours(name: str, n: int) -> np.ndarray:
    law, logx, y, theta, times = problem(name, n)
    start = np.repeat(theta[None], DRAWS, 0)
    return minimise(law, logx, y, start, weights=times, delta=DELTA, tolerance=1e-7).loss


def scipy(name: str, n: int) -> np.ndarray:
    law, logx, y, theta, times = problem(name, n)
    low, high = law.bounds
    found = []
    for each in times:
        drawn = each > 0
        rows, goal, weight = logx[drawn], np.log(y[drawn]), each[drawn]

        def error(at: np.ndarray, rows: Any = rows, goal: Any = goal) -> np.ndarray:
            return law.evaluate(at[None], rows)[0][0] - goal

        def slope(at: np.ndarray, rows: Any = rows) -> np.ndarray:
            return law.evaluate(at[None], rows)[1][0]

        def huber(z: np.ndarray, weight: Any = weight) -> np.ndarray:
            far = np.maximum(z, 1.0)
            root = np.sqrt(far)
            return weight * np.stack(
                [
                    np.where(z <= 1, z, 2 * root - 1),
                    np.where(z <= 1, 1.0, 1 / root),
                    np.where(z <= 1, 0.0, -0.5 / (far * root)),
                ]
            )

        found.append(
            least_squares(
                error, theta, slope, bounds=(low, high), x_scale="jac",
                loss=huber, f_scale=DELTA, ftol=1e-7, xtol=1e-7, gtol=1e-9,
            ).cost
        )  # fmt: skip
    return np.array(found)


CONTENDERS: dict[str, tuple[bool, Callable[[str, int], np.ndarray]]] = {
    "minimise": (True, ours),
    "scipy least_squares": (False, scipy),
}


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("n", [50, 500, 10_000])
@pytest.mark.parametrize("name", TRUE)
def test_bootstrap(race: Any, name: str, n: int, contender: str) -> None:
    is_ours, run = CONTENDERS[contender]
    losses = [each(name, n) for _, each in CONTENDERS.values()]
    least = np.minimum(*losses)
    race(
        lambda: run(name, n),
        group=f"{DRAWS} resamples of {n:,} runs, {name}",
        contender=contender,
        ours=is_ours,
        rounds=3,
        warmup=0,
        note=lambda loss: f"{(loss / least - 1).max():.0e} above",
    )


def test_whole_fit(race: Any) -> None:
    """What the command does with 10,000 runs: every start, and 1,000 resamples."""
    law, logx, y, _, _ = problem("chinchilla", 10_000)
    columns = dict(zip(law.variables, np.exp(logx.T), strict=True))
    race(
        lambda: fit_law("chinchilla", columns, y),
        group="10,000 runs, all starts, 1,000 resamples, chinchilla",
        contender="fit_law",
        ours=True,
        rounds=1,
        warmup=0,
    )

"""The trajectory law solved for the loss, and fitted with intervals.

No library fits L(N, S, B), and the paper has no repository. The peers are
what one writes with SciPy: for the loss, its bracketing root finder over whole arrays
(``scipy.optimize.elementwise.find_root``) and a loop over ``brentq``; for the fit, a loop over
``scipy.optimize.least_squares`` with the same law, the same derivatives, the same starts to begin
with and the same drawn data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq, elementwise, least_squares

from paperworks.scaling import TrajectoryLaw
from paperworks.scaling.recipe.laws import TRAJECTORY, Centred
from paperworks.scaling.recipe.resample import fit_runs

LAW = TrajectoryLaw(6.5e13, 0.077, 2.1e3, 0.76, 2.1e8, 0.21)
DRAWS = 100


def points(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    low, high = np.log([[1e6, 1e2, 1e4], [1e11, 1e6, 1e7]])
    N, S, B = np.exp(rng.uniform(low, high, (count, 3))).T
    return N, S, B


def off(loss: Any, N: Any, S: Any, B: Any) -> Any:
    critical = LAW.B_star / loss ** (1 / LAW.alpha_B)
    steps = S / (1 + critical / B)
    return loss - (LAW.N_c / N) ** LAW.alpha_N - (LAW.S_c / steps) ** LAW.alpha_S


def by_elementwise(N: np.ndarray, S: np.ndarray, B: np.ndarray) -> np.ndarray:
    low = LAW.minimum_loss_after(N, S)
    return elementwise.find_root(off, (low * 0.999, low * 1e6), args=(N, S, B)).x


def by_brentq(N: np.ndarray, S: np.ndarray, B: np.ndarray) -> np.ndarray:
    low = LAW.minimum_loss_after(N, S)
    return np.array(
        [
            brentq(off, a * 0.999, a * 1e6, args=tuple(at))
            for a, *at in zip(low, N, S, B, strict=True)
        ]
    )


SOLVERS: dict[str, Callable[..., np.ndarray]] = {
    "paperworks": LAW.loss,
    "scipy find_root, whole arrays": by_elementwise,
    "scipy brentq, a loop": by_brentq,
}


@pytest.mark.parametrize("count", [1000, 100_000])
@pytest.mark.parametrize("contender", SOLVERS)
def test_solve(race: Callable[..., Any], contender: str, count: int) -> None:
    if contender.startswith("scipy brentq") and count > 10_000:
        pytest.skip("a loop over so many points takes minutes")
    at = points(count)
    race(
        lambda: SOLVERS[contender](*at),
        group=f"loss at {count:,} points",
        contender=contender,
        ours=contender == "paperworks",
        note=lambda loss: f"residual {np.abs(off(loss, *at) / loss).max():.0e}",
    )


def runs(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eight runs of ``rows`` rows: log N, S, B, the losses and the runs."""
    each = [(1e6, 2.0**k) for k in (16, 18, 19, 20, 22)]
    each += [(3e6, 2.0**19), (1e7, 2.0**19), (6e7, 2.0**19)]
    N, B = np.repeat(each, rows, axis=0).T
    S = np.tile(np.geomspace(500, 1e5, rows), len(each))
    noise = np.random.default_rng(1).normal(0, 0.003, S.size)
    return (
        np.log(np.stack([N, S, B], 1)),
        LAW.loss(N, S, B) * np.exp(noise),
        np.repeat(np.arange(len(each)), rows),
    )


def ours(logx: np.ndarray, y: np.ndarray, run: np.ndarray) -> np.ndarray:
    centre = Centred.of(logx, y)
    law = centre.law()
    fit = fit_runs(law, logx, y, law.start(logx, y), run, resamples=DRAWS)
    return centre.outward(fit.draws)


def by_least_squares(logx: np.ndarray, y: np.ndarray, run: np.ndarray) -> np.ndarray:
    centre = Centred.of(logx, y)
    law = centre.law()
    low, high = law.bounds

    def fit(start: np.ndarray, target: np.ndarray, scale: float) -> Any:
        return least_squares(
            lambda theta: law.evaluate(theta[None], logx)[0][0] - target,
            np.clip(start, low, high),
            jac=lambda theta: law.evaluate(theta[None], logx)[1][0],
            bounds=(low, high),
            loss="huber",
            f_scale=scale,
            x_scale="jac",
        )

    starts = [fit(start, np.log(y), 0.004) for start in law.start(logx, y)]
    best = min(starts, key=lambda found: found.cost)
    error = law.evaluate(best.x[None], logx)[0][0] - np.log(y)
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(DRAWS):
        turn = rng.choice([-1.0, 1.0], run.max() + 1)[run]
        draws.append(fit(best.x, np.log(y) + error - turn * error, 0.004).x)
    return centre.outward(np.array(draws))


FITS = {"paperworks": ours, "scipy least_squares, a loop": by_least_squares}


@pytest.mark.parametrize("rows", [20, 100])
@pytest.mark.parametrize("contender", FITS)
def test_fit(race: Callable[..., Any], contender: str, rows: int) -> None:
    data = runs(rows)
    alpha = [p.name for p in TRAJECTORY.parameters].index("alpha_N")
    race(
        lambda: FITS[contender](*data),
        group=f"six constants with {DRAWS} draws, {8 * rows} rows",
        contender=contender,
        ours=contender == "paperworks",
        rounds=1,
        warmup=0,
        note=lambda d: f"alpha_N {np.median(d[:, alpha]):.4f} +- {d[:, alpha].std():.4f}",
    )

"""The bivariate law with intervals, beside what one writes with SciPy.

No library fits this law. The peer is ``scipy.optimize.least_squares`` with the loss ``soft_l1`` on
log L and its analytic Jacobian, from six starts, and once from the best for each of 200 resamples:
the same work, in a loop. Both start from the same data and must find the same constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.optimize import least_squares, minimize_scalar

from paperworks.scaling import Composition, EncoderDecoderLaw

TRUE = EncoderDecoderLaw(0.2, 0.2, 0.35, 1.2, 2.5e8, 3e8)
RESAMPLES = 200


def draw(runs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    n_e, n_d = np.exp(rng.uniform(np.log(2e7), np.log(2e9), (2, runs)))
    return n_e, n_d, TRUE(n_e, n_d) * np.exp(rng.normal(0, 0.002, runs))


def loop(n_e: np.ndarray, n_d: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    u, v, y = np.log(n_e / TRUE.N_e_bar), np.log(n_d / TRUE.N_d_bar), np.log(loss)
    everywhere = np.ones_like(u)

    def residual(theta: np.ndarray, rows: Any) -> np.ndarray:
        alpha, p_e, p_d, floor = np.exp(theta)
        return np.log(alpha * np.exp(-p_e * u[rows] - p_d * v[rows]) + floor) - y[rows]

    def jacobian(theta: np.ndarray, rows: Any) -> np.ndarray:
        alpha, p_e, p_d, floor = np.exp(theta)
        term = alpha * np.exp(-p_e * u[rows] - p_d * v[rows])
        slopes = (term, -term * u[rows] * p_e, -term * v[rows] * p_d, floor * everywhere[rows])
        return np.stack(slopes, 1) / (term + floor)[:, None]

    def fit(start: np.ndarray, rows: Any) -> Any:
        return least_squares(
            residual, start, jac=jacobian, loss="soft_l1", f_scale=0.003, args=(rows,)
        )

    starts = [
        np.log([a * loss.min(), p, p, f * loss.min()])
        for a, p, f in ((0.1, 0.1, 0.9), (0.1, 0.3, 0.9), (0.3, 0.1, 0.6), (0.3, 0.3, 0.6),
                        (0.6, 0.1, 0.3), (0.6, 0.3, 0.3))
    ]  # fmt: skip
    best = min((fit(start, slice(None)) for start in starts), key=lambda found: found.cost)
    rng = np.random.default_rng(1)
    draws = [fit(best.x, rng.integers(0, len(y), len(y))).x for _ in range(RESAMPLES)]
    return np.exp(best.x), np.exp(np.array(draws)).std(0)


def ours(n_e: np.ndarray, n_d: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    law = EncoderDecoderLaw.fit(
        n_e, n_d, loss, N_e_bar=TRUE.N_e_bar, N_d_bar=TRUE.N_d_bar, resamples=RESAMPLES
    )
    assert law.converged
    assert law.source is not None
    return np.array([law.alpha, law.p_e, law.p_d, law.L_inf]), law.source.draws[:, 2:].std(0)


CONTENDERS: dict[str, Callable[..., Any]] = {
    "paperworks": ours,
    "scipy least_squares, a loop": loop,
}


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("runs", [20, 200, 2_000])
def test_fit_with_intervals(race: Callable[..., Any], runs: int, contender: str) -> None:
    data = draw(runs)
    found, _ = race(
        lambda: CONTENDERS[contender](*data),
        group=f"bivariate law with {RESAMPLES} resamples, {runs:,} runs",
        contender=contender,
        ours=contender == "paperworks",
        rounds=3,
        note=lambda result: "p_e {1:.4f}, p_d {2:.4f}, L_inf {3:.4f}".format(*result[0]),
    )
    wanted = (TRUE.alpha, TRUE.p_e, TRUE.p_d, TRUE.L_inf)
    np.testing.assert_allclose(found, wanted, rtol=0.15)


@pytest.mark.parametrize("contender", ["paperworks", "scipy minimize_scalar, open"])
@pytest.mark.parametrize("budgets", [10, 100])
def test_splits_of_a_mixture(race: Callable[..., Any], budgets: int, contender: str) -> None:
    """Ours looks between the sets' own best splits; the peer over all shares."""
    other = EncoderDecoderLaw(0.5, 0.05, 0.4, 1.5, 2.5e8, 3e8)
    mixed = Composition({"one": TRUE, "two": other}).mixture()
    sizes = np.geomspace(1e7, 1e12, budgets)

    def peer() -> list[float]:
        return [
            float(
                minimize_scalar(
                    lambda s, b=b: float(mixed(b * s, b * (1 - s))),
                    bounds=(1e-6, 1 - 1e-6),
                    method="bounded",
                    options={"xatol": 1e-10},
                ).x
            )
            for b in sizes
        ]

    def mine() -> list[float]:
        return [mixed.optimal_split(float(b)).share for b in sizes]

    shares = race(
        mine if contender == "paperworks" else peer,
        group=f"best split of a mixture, {budgets} budgets",
        contender=contender,
        ours=contender == "paperworks",
    )
    np.testing.assert_allclose(shares, mine(), atol=1e-5)

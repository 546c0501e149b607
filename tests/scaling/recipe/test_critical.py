"""The critical batch: published constants, brute force, and what it asks for."""

from __future__ import annotations

import numpy as np
import pytest
from published_runs import KAPLAN, LADDER, SU, made
from scipy.optimize import brentq, curve_fit

from paperworks.scaling import MissingRunsError, RunLog, TrajectoryLaw, fit_critical_batch


@pytest.mark.parametrize("constants", [KAPLAN, SU], ids=["Kaplan", "Su"])
def test_published_constants(constants: dict[str, float]) -> None:
    found = fit_critical_batch(made(constants, LADDER, rows=60), resamples=50)
    assert found.fit.converged
    assert found.B_star.value == pytest.approx(constants["B_star"], rel=0.03)
    assert found.alpha_B.value == pytest.approx(constants["alpha_B"], rel=0.01)
    at = np.array([3.2, 4.0])
    exact = TrajectoryLaw(**constants).critical_batch(at)
    np.testing.assert_allclose(found(at).value, exact, rtol=0.01)
    assert np.all(found(at).low <= exact * 1.01)
    assert np.all(found(at).high >= exact * 0.99)


def test_levels_by_brute_force() -> None:
    """Steps to each loss by root finding in the law, and the hyperbola by SciPy."""
    law = TrajectoryLaw(**SU)
    found = fit_critical_batch(made(SU, LADDER, rows=80), resamples=20)
    for level in found.levels[2:-1]:
        B = np.array(level.batches)
        exact = [
            brentq(lambda s, b=b, at=level.loss: float(law.loss(1e6, s, b)) - at, 1, 1e7) for b in B
        ]
        np.testing.assert_allclose(level.steps, exact, rtol=2e-3)
        (s_min, e_min), _ = curve_fit(
            lambda b, s, e: np.log(np.exp(s) + np.exp(e) / b),
            B,
            np.log(exact),
            p0=(np.log(exact[-1]), np.log(exact[0] * B[0])),
        )
        s_min, e_min = np.exp([s_min, e_min])
        assert level.min_steps == pytest.approx(s_min, rel=0.02)
        assert level.min_tokens == pytest.approx(e_min, rel=0.02)
        assert level.critical_batch == pytest.approx(
            float(law.critical_batch(level.loss)), rel=0.03
        )


def test_unit_of_the_batch() -> None:
    log = made(SU, LADDER, noise=0.002, rows=30)
    thousands = RunLog(log.run, log.N, log.B / 1000, log.S, log.loss)
    one, other = (fit_critical_batch(each, resamples=20) for each in (log, thousands))
    assert other.B_star.value == pytest.approx(one.B_star.value / 1000, rel=1e-4)
    assert other.alpha_B.value == pytest.approx(one.alpha_B.value, rel=1e-5)


def test_noise_is_not_taken_for_progress() -> None:
    """The least loss so far is too low where losses are noisy; the falling curve is not."""
    exact = float(TrajectoryLaw(**SU).critical_batch(3.6))
    ratios = [
        float(fit_critical_batch(made(SU, LADDER, noise=0.004, seed=s), resamples=20)(3.6).value)
        / exact
        for s in range(8)
    ]
    assert abs(np.log(ratios).mean()) < 0.12


def test_what_it_asks_for() -> None:
    with pytest.raises(
        MissingRunsError,
        match=r"the critical batch needs runs of N = 1,000,000 at 1 more batch size that reach "
        r"loss [\d.]+ \(there is B = 65,536, 262,144\)",
    ):
        fit_critical_batch(made(SU, LADDER[:2]))
    near = [(1e6, b) for b in (1e5, 1.2e5, 1.5e5)]
    with pytest.raises(
        MissingRunsError, match=r"400,000 tokens or more .* factor of 1.5, 4 is the"
    ):
        fit_critical_batch(made(SU, near))
    log = made(SU, LADDER[:3])
    apart = log.where((log.B > 1e5) | (log.S < 600))  # the smallest batch hardly begins
    with pytest.raises(MissingRunsError, match=r"longer runs .* only 2 batch sizes reach a common"):
        fit_critical_batch(apart)


def test_rows_that_saw_data_again_do_not_count() -> None:
    log = made(SU, LADDER)
    data = log.B * 2e4
    spoilt = np.where(log.S > 2e4, 1.5 * log.loss, log.loss)  # as if the runs overfitted then
    limited = RunLog(log.run, log.N, log.B, log.S, spoilt, data)
    kept = log.where(log.S <= 2e4)
    one, other = (fit_critical_batch(each, resamples=20) for each in (limited, kept))
    assert one.B_star.value == pytest.approx(other.B_star.value, rel=1e-9)


def test_bad_input() -> None:
    log = made(SU, LADDER)
    with pytest.raises(ValueError, match="levels must be >= 2, got 1"):
        fit_critical_batch(log, levels=1)
    with pytest.raises(ValueError, match="loss must be finite and > 0, got -1"):
        fit_critical_batch(log, resamples=5)(-1)

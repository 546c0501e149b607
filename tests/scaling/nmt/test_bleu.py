"""BLEU against loss: NumPy's line and a grid as oracles, and where BLEU stops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from paperworks.scaling.nmt.bleu import LEVELLED, POWER, BleuLaw, compare_bleu_laws


def models(law: BleuLaw, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    loss = rng.uniform(1.2, 2.2, 24)
    return loss, law(loss) * np.exp(rng.normal(0, noise, 24))


def test_least_squares_is_the_line_through_the_logarithms() -> None:
    loss, bleu = models(BleuLaw(70.0, 1.7), 0.02)
    slope, height = np.polyfit(np.log(loss), np.log(bleu), 1)
    law = BleuLaw.fit(loss, bleu, delta=math.inf, resamples=200)
    assert law.p == pytest.approx(-slope, rel=1e-7)
    assert law.c == pytest.approx(math.exp(height), rel=1e-7)
    assert law.L_stop == 0
    # The interval against the textbook's standard error.
    x = np.log(loss) - np.log(loss).mean()
    error = np.sqrt(((np.log(bleu) - height - slope * np.log(loss)) ** 2).sum() / 22 / (x @ x))
    found = law.intervals["p"]
    assert found.low < 1.7 < found.high
    assert 2 < (found.high - found.low) / error < 8


def test_finds_where_bleu_stops() -> None:
    loss, bleu = models(BleuLaw(70.0, 1.7, L_stop=1.6), 0.01)
    law = BleuLaw.fit(loss, bleu, levels_off=True, delta=math.inf, resamples=200)

    def cost(stop: float) -> float:
        x = np.log(np.maximum(loss, stop))
        design = np.stack([np.ones_like(x), x], 1)
        return float(np.linalg.lstsq(design, np.log(bleu), rcond=None)[1][0])

    grid = np.linspace(1.25, 2.1, 20_001)
    best = grid[np.argmin([cost(each) for each in grid])]
    assert law.L_stop == pytest.approx(best, abs=2e-4)
    found = law.intervals
    assert found["L_stop"].low <= law.L_stop <= found["L_stop"].high
    assert found["L_stop"].low < 1.6 < found["L_stop"].high


@pytest.mark.parametrize("law", [POWER, LEVELLED], ids=lambda law: law.name)
def test_derivatives_are_those_of_differences(law) -> None:  # type: ignore[no-untyped-def]
    theta = np.array([4.1, 1.6, -0.5])[: len(law.parameters)]
    logx = np.log(1 / np.array([1.2, 1.5, 1.9, 2.4]))[:, None]
    value, jacobian = law.evaluate(theta[None], logx)
    for i in range(4):
        wanted = approx_fprime(theta, lambda t, i=i: law.evaluate(t[None], logx)[0][0, i], 1e-7)
        np.testing.assert_allclose(jacobian[0, i], wanted, atol=1e-5)
    c, p = math.exp(theta[0]), theta[1]
    stop = math.exp(0.5) if law is LEVELLED else 0.0
    np.testing.assert_allclose(
        np.exp(value[0]), c * np.maximum([1.2, 1.5, 1.9, 2.4], stop) ** -p, rtol=1e-12
    )


def test_the_best_models_say_which_law_holds() -> None:
    rising = compare_bleu_laws(*models(BleuLaw(70.0, 1.7), 0.01), resamples=20)
    assert rising.ranked["bleu-power"].rms < 0.03
    assert abs(rising.ranked["bleu-power"].bias) < 0.03
    loss, bleu = models(BleuLaw(70.0, 1.7, L_stop=1.65), 0.01)
    stopped = compare_bleu_laws(loss, bleu, resamples=20)
    assert next(iter(stopped.ranked)) == "bleu-levelled"
    assert stopped.ranked["bleu-power"].bias > 0.05
    held = stopped.ranked["bleu-power"].held_out
    assert loss[held].max() < loss[~held].min()


def test_the_loss_for_a_bleu_gives_that_bleu() -> None:
    law = BleuLaw(70.0, 1.7, L_stop=1.6)
    for bleu in (20.0, 30.0, float(law(1.6)) - 1e-9):
        assert float(law(law.loss_for(bleu))) == pytest.approx(bleu)
    assert law.loss_for(float(law(1.6)) + 0.1) == 0.0


def test_predicts_with_an_interval() -> None:
    loss, bleu = models(BleuLaw(70.0, 1.7), 0.02)
    law = BleuLaw.fit(loss, bleu, resamples=100)
    curve, one = law.predict([1.1]), law.predict([1.1], new_run=True)
    assert curve.value[0] == pytest.approx(float(law(1.1)))
    assert curve.low[0] < 70 * 1.1**-1.7 < curve.high[0]
    assert one.high[0] - one.low[0] > curve.high[0] - curve.low[0]


def test_refuses_what_it_cannot_answer() -> None:
    loss = np.linspace(1.2, 2, 8)
    with pytest.raises(ValueError, match="loss must be finite and > 0, got 0"):
        BleuLaw.fit([0.0, *loss[1:]], loss)
    with pytest.raises(ValueError, match="y must be finite and > 0"):
        BleuLaw.fit(loss, 0 * loss)
    with pytest.raises(ValueError, match="c must be finite and > 0, got -1"):
        BleuLaw(-1, 2)
    with pytest.raises(ValueError, match="p must be finite, got nan"):
        BleuLaw(1, math.nan)
    with pytest.raises(ValueError, match="L_stop must be finite and >= 0, got -2"):
        BleuLaw(1, 2, -2)
    with pytest.raises(ValueError, match="bleu must be finite and > 0, got 0"):
        BleuLaw(60, 2).loss_for(0)
    with pytest.raises(ValueError, match="BLEU does not rise as the loss falls"):
        BleuLaw(60, -0.5).loss_for(30)
    with pytest.raises(ValueError, match="knows no runs"):
        BleuLaw(60, 2).predict(1.5)

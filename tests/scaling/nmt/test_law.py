"""The bivariate law: SciPy and brute force as oracles, recovery from noisy runs, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import least_squares, minimize_scalar

from paperworks.scaling.fitting import LAWS
from paperworks.scaling.nmt.law import TOTAL, EncoderDecoderLaw, compare_with_total
from paperworks.scaling.nmt.split import best_layers

# A layer of width 1024 with a hidden layer of 8192. One of the decoder has a second attention,
# 4 width^2 more.
ENCODER_LAYER, DECODER_LAYER = 21e6, 25.2e6

laws = st.builds(
    EncoderDecoderLaw,
    alpha=st.floats(0.01, 3),
    p_e=st.floats(0.01, 1),
    p_d=st.floats(0.01, 1),
    L_inf=st.floats(0, 3),
    N_e_bar=st.floats(1e5, 1e10),
    N_d_bar=st.floats(1e5, 1e10),
)


def design() -> tuple[np.ndarray, np.ndarray]:
    """The paper's ways of scaling: the encoder alone, the decoder alone, and both."""
    depths = [(e, 6) for e in (2, 4, 6, 12, 24, 36, 48)]
    depths += [(6, d) for d in (2, 4, 12, 24, 36, 48)]
    depths += [(n, n) for n in (2, 4, 8, 12, 18, 24, 36)]
    e, d = np.array(depths).T
    return e * ENCODER_LAYER, d * DECODER_LAYER


def test_the_law_is_its_formula() -> None:
    law = EncoderDecoderLaw(0.3, 0.2, 0.4, 1.5, 1e8, 3e8)
    for n_e, n_d in [(1e8, 3e8), (2e7, 9e8), (4e9, 1e6)]:
        wanted = 0.3 * (1e8 / n_e) ** 0.2 * (3e8 / n_d) ** 0.4 + 1.5
        assert float(law(n_e, n_d)) == pytest.approx(wanted, rel=1e-14)
    # alpha is the reducible loss of the reference model.
    assert float(law(1e8, 3e8)) - law.L_inf == pytest.approx(law.alpha, rel=1e-14)
    assert law([1e8, 2e8], [[1e8], [2e8], [3e8]]).shape == (3, 2)


@given(laws, st.floats(1e6, 1e11))
def test_the_best_split_is_the_minimum_that_scipy_finds(
    law: EncoderDecoderLaw, budget: float
) -> None:
    split = law.optimal_split(budget)

    def reducible(logit: float) -> float:
        share = 1 / (1 + math.exp(-logit))
        n_e, n_d = budget * share, budget * (1 - share)
        return law.p_e * math.log(law.N_e_bar / n_e) + law.p_d * math.log(law.N_d_bar / n_d)

    found = minimize_scalar(reducible, bounds=(-8, 8), method="bounded", options={"xatol": 1e-10})
    assert split.share == pytest.approx(1 / (1 + math.exp(-found.x)), abs=1e-4)
    assert split.encoder + split.decoder == pytest.approx(budget)
    assert split.loss == pytest.approx(float(law(split.encoder, split.decoder)), rel=1e-12)
    least = law.L_inf + law.alpha * math.exp(found.fun)
    assert split.loss == pytest.approx(least, rel=1e-9)


@given(laws, st.floats(1e6, 1e11), st.floats(0.02, 0.98))
def test_a_fixed_share_keeps_the_exponent_and_pays_a_factor(
    law: EncoderDecoderLaw, budget: float, share: float
) -> None:
    def left(size: float, part: float) -> float:
        return float(law(size * part, size * (1 - part))) - law.L_inf

    best = law.optimal_split(budget).share
    factor = float(law.reducible(budget, share) / law.reducible(budget, best))
    assert float(law.penalty(share)) == pytest.approx(factor, rel=1e-9)
    assert float(law.penalty(share)) >= 1 - 1e-12
    # The exponent of the budget, from two budgets; the constant of the paper's alpha*.
    slope = -math.log(float(law.reducible(2 * budget, share) / law.reducible(budget, share)))
    assert slope / math.log(2) == pytest.approx(law.p_e + law.p_d, rel=1e-9)
    both = law.p_e + law.p_d
    star = (
        law.alpha
        * (law.N_e_bar * both / law.p_e) ** law.p_e
        * (law.N_d_bar * both / law.p_d) ** law.p_d
    )
    assert float(law.reducible(budget, best)) == pytest.approx(star * budget**-both, rel=1e-9)
    if law.alpha > 0.1 and left(budget, share) > 1e-6:
        assert float(law.reducible(budget, share)) == pytest.approx(left(budget, share), rel=1e-6)


@given(laws, st.floats(1.0001, 5), st.none() | st.floats(0.05, 0.95))
def test_the_budget_for_a_loss_gives_that_loss(
    law: EncoderDecoderLaw, times: float, share: float | None
) -> None:
    goal = law.L_inf + law.alpha / times
    budget = law.budget_for(goal, share=share)
    part = law.optimal_split(1.0).share if share is None else share
    assert float(law(budget * part, budget * (1 - part))) == pytest.approx(goal, rel=1e-9)


def test_no_size_reaches_the_floor() -> None:
    law = EncoderDecoderLaw(0.3, 0.2, 0.4, 1.5, 1e8, 3e8)
    assert law.budget_for(1.5) == math.inf
    assert law.budget_for(1.0) == math.inf


@given(laws, st.floats(1e5, 1e10), st.floats(1e5, 1e10))
def test_reference_sizes_do_not_move_the_curve(
    law: EncoderDecoderLaw, n_e: float, n_d: float
) -> None:
    other = law.referred_to(n_e, n_d)
    assert float(other(n_e, n_d)) - other.L_inf == pytest.approx(other.alpha, rel=1e-9, abs=1e-12)
    for point in [(1e6, 1e9), (1e9, 1e6), (3e7, 3e7)]:
        assert float(other(*point)) == pytest.approx(float(law(*point)), rel=1e-8)
    if other.alpha > 1e-6 * (1 + other.L_inf):
        assert other.optimal_split(1e8).share == pytest.approx(law.optimal_split(1e8).share)


def test_best_layers_is_the_best_of_all_pairs() -> None:
    law = EncoderDecoderLaw(0.3, 0.15, 0.35, 1.5, 1e8, 1e8)
    for budget in (4.7e7, 2e8, 9.1e8, 3e9):
        every = [
            (float(law(e * ENCODER_LAYER, d * DECODER_LAYER)), e, d)
            for e in range(1, 150)
            for d in range(1, 150)
            if e * ENCODER_LAYER + d * DECODER_LAYER <= budget
        ]
        loss, e, d = min(every)
        found = law.best_layers(budget, ENCODER_LAYER, DECODER_LAYER)
        assert (found.encoder_layers, found.decoder_layers) == (e, d)
        assert found.loss == pytest.approx(loss)
        assert found.encoder == e * ENCODER_LAYER
        assert found.decoder == d * DECODER_LAYER
    # Three times 0.1 is more than 0.3 in binary, and yet 0.3 pays for three layers.
    steep = EncoderDecoderLaw(0.3, 0.9, 0.01, 1.5, 1.0, 1.0)
    exact = steep.best_layers(0.3, 0.1, 0.1)
    assert (exact.encoder_layers, exact.decoder_layers) == (2, 1)


# Constants such as language pairs have; the noise is what the paper gives for one training, 0.003.
CONSTANTS = [(0.14, 0.18, 0.32, 1.32), (0.22, 0.05, 0.44, 0.94), (0.30, 0.30, 0.26, 1.70)]


@pytest.mark.parametrize("constants", CONSTANTS)
def test_recovers_constants_from_runs_that_they_made(
    constants: tuple[float, float, float, float],
) -> None:
    n_e, n_d = design()
    bars = 12 * ENCODER_LAYER, 12 * DECODER_LAYER
    made = EncoderDecoderLaw(*constants, *bars)
    rng = np.random.default_rng(5)
    loss = made(n_e, n_d) + rng.normal(0, 0.003, n_e.size)
    law = EncoderDecoderLaw.fit(
        n_e, n_d, loss, N_e_bar=bars[0], N_d_bar=bars[1], resamples=300, delta=math.inf
    )
    assert law.converged

    # SciPy, from the truth, in its own parametrization and with the same residuals.
    def residual(theta: np.ndarray) -> np.ndarray:
        alpha, p_e, p_d, floor = theta
        return np.log(alpha * (bars[0] / n_e) ** p_e * (bars[1] / n_d) ** p_d + floor) - np.log(
            loss
        )

    scipy = least_squares(residual, constants, xtol=1e-14, ftol=1e-14, gtol=1e-14)
    ours = (law.alpha, law.p_e, law.p_d, law.L_inf)
    np.testing.assert_allclose(ours, scipy.x, rtol=2e-5)
    # And the truth: within four standard errors, by SciPy's Jacobian.
    error = np.sqrt(np.diag(np.linalg.inv(scipy.jac.T @ scipy.jac)) * 2 * scipy.cost / 16)
    assert (np.abs(np.array(ours) - constants) < 4 * error).all()
    for name, estimate in law.intervals.items():
        at = ("alpha", "p_e", "p_d", "L_inf").index(name)
        assert estimate.low <= estimate.value <= estimate.high
        # A bootstrap's interval and the Jacobian's are of one size.
        assert 1.0 < (estimate.high - estimate.low) / error[at] < 12


def test_one_bad_run_does_not_carry_the_fit_away() -> None:
    n_e, n_d = design()
    made = EncoderDecoderLaw(0.2, 0.2, 0.4, 1.2, 2.5e8, 3e8)
    loss = made(n_e, n_d) + np.random.default_rng(0).normal(0, 0.002, n_e.size)
    loss[3] *= 1.5  # diverged
    robust = EncoderDecoderLaw.fit(n_e, n_d, loss, resamples=20)
    plain = EncoderDecoderLaw.fit(n_e, n_d, loss, resamples=20, delta=math.inf)
    others = np.arange(n_e.size) != 3

    def off(law: EncoderDecoderLaw) -> float:
        return float(np.abs(law(n_e, n_d) - made(n_e, n_d))[others].max())

    assert off(robust) < 0.01 < off(plain)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    n_e, n_d = design()
    made = EncoderDecoderLaw(0.2, 0.2, 0.4, 1.2, 2.5e8, 3e8)
    true = made.optimal_split(1e9)
    large = 60 * ENCODER_LAYER, 60 * DECODER_LAYER
    rng = np.random.default_rng(1)
    hits = np.zeros(3)
    times = 40
    for _ in range(times):
        loss = made(n_e, n_d) * np.exp(rng.normal(0, 0.002, n_e.size))
        law = EncoderDecoderLaw.fit(n_e, n_d, loss, resamples=200, confidence=0.9, delta=math.inf)
        split = law.optimal_split(1e9)
        assert split.share_interval is not None
        assert split.loss_interval is not None
        said = law.predict(*large)
        hits += [
            split.share_interval[0] <= true.share <= split.share_interval[1],
            split.loss_interval[0]
            <= float(made(split.encoder, split.decoder))
            <= split.loss_interval[1],
            said.low <= made(*large) <= said.high,
        ]
    # 90 % of 40; fewer than 29 hits has a chance below 1 in 1,000, and all 40 one of 1 in 70.
    assert (hits >= 29).all(), hits


def test_total_is_the_power_law_of_the_sum() -> None:
    n_e, n_d = design()
    values = {"E": 1.1, "A": 40.0, "alpha": 0.25}
    ours = TOTAL(values, {"Ne": n_e, "Nd": n_d})
    np.testing.assert_allclose(ours, 1.1 + 40 * (n_e + n_d) ** -0.25, rtol=1e-13)
    np.testing.assert_allclose(ours, LAWS["power-offset"](values, {"x": n_e + n_d}), rtol=1e-13)
    log_sizes, log_total = np.log(np.stack([n_e, n_d], 1)), np.log(n_e + n_d)[:, None]
    np.testing.assert_allclose(
        TOTAL.start(log_sizes, ours), LAWS["power-offset"].start(log_total, ours), rtol=1e-6
    )


@pytest.mark.parametrize("p_e", [0.05, 0.4])
def test_each_law_wins_on_runs_of_its_own(p_e: float) -> None:
    n_e, n_d = design()
    rng = np.random.default_rng(0)
    made = EncoderDecoderLaw(0.2, p_e, 0.4, 1.2, 2.5e8, 3e8)
    noise = np.exp(rng.normal(0, 0.002, n_e.size))
    ours = compare_with_total(n_e, n_d, made(n_e, n_d) * noise, resamples=20)
    assert next(iter(ours.ranked)) == "encoder-decoder"
    held = ours.ranked["encoder-decoder"].held_out
    assert (n_e + n_d)[held].min() > (n_e + n_d)[~held].max()
    totals = 1.1 + 40 * (n_e + n_d) ** -0.25
    theirs = compare_with_total(n_e, n_d, totals * noise, resamples=20)
    assert next(iter(theirs.ranked)) == "total-parameters"


def test_says_when_the_halves_cannot_be_told_apart() -> None:
    n = np.geomspace(1e7, 1e9, 12)
    loss = 1.2 + 30 * n**-0.3 * np.exp(np.random.default_rng(0).normal(0, 0.01, 12))
    law = EncoderDecoderLaw.fit(n, 1.2 * n, loss, resamples=50)
    assert any("N_e and N_d move together" in warning for warning in law.warnings)


def test_says_when_a_half_does_nothing() -> None:
    n_e, n_d = design()
    noise = np.random.default_rng(0).normal(0, 0.01, n_e.size)
    law = EncoderDecoderLaw.fit(n_e, n_d, 9 * n_d**-0.1 * n_e**0.02 * np.exp(noise), resamples=50)
    assert law.p_e == 0
    assert any(warning.startswith("p_e ends on its bound: 0") for warning in law.warnings)
    assert any("nothing in the data speaks for L_inf > 0" in each for each in law.warnings)
    assert law.optimal_split(1e9).share == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alpha": 0.0}, "alpha must be > 0, got 0.0"),
        ({"p_e": -0.1}, "p_e must be >= 0, got -0.1"),
        ({"L_inf": math.nan}, "L_inf must be finite, got nan"),
        ({"N_d_bar": 0.0}, "N_d_bar must be > 0, got 0.0"),
    ],
)
def test_refuses_constants_that_are_no_law(change: dict[str, float], words: str) -> None:
    good = {"alpha": 0.3, "p_e": 0.2, "p_d": 0.4, "L_inf": 1.5, "N_e_bar": 1e8, "N_d_bar": 1e8}
    with pytest.raises(ValueError, match=words):
        EncoderDecoderLaw(**good | change)


def test_refuses_what_it_cannot_answer() -> None:
    law = EncoderDecoderLaw(0.3, 0.2, 0.4, 1.5, 1e8, 3e8)
    flat = EncoderDecoderLaw(0.3, 0.0, 0.0, 1.5, 1e8, 3e8)
    n = np.geomspace(1e7, 1e8, 6)
    with pytest.raises(ValueError, match="budget must be finite and > 0, got -1"):
        law.optimal_split(-1)
    with pytest.raises(ValueError, match="both 0: the loss does not depend on size"):
        flat.optimal_split(1e8)
    with pytest.raises(ValueError, match="both 0: the loss does not depend on size"):
        flat.budget_for(1.6, share=0.5)
    with pytest.raises(ValueError, match=r"share must be between 0 and 1, got 1.2"):
        law.penalty(1.2)
    with pytest.raises(ValueError, match="loss must be finite, got nan"):
        law.budget_for(math.nan)
    with pytest.raises(ValueError, match="N_e must be finite and > 0, got 0"):
        law(0, 1e8)
    with pytest.raises(ValueError, match="made from constants and knows no runs"):
        law.predict(1e8, 1e8)
    with pytest.raises(ValueError, match="made from constants and knows no runs"):
        _ = law.intervals
    with pytest.raises(ValueError, match="needs more than 4 runs, got 4"):
        EncoderDecoderLaw.fit(n[:4], n[:4], n[:4])
    with pytest.raises(ValueError, match="N_d_bar must be finite and > 0, got 0"):
        EncoderDecoderLaw.fit(n, n[::-1], 1 + n**-0.1, N_d_bar=0, resamples=5)
    with pytest.raises(ValueError, match="does not pay for one layer of each, 3"):
        best_layers(law, 2.9, 1.0, 2.0)
    with pytest.raises(ValueError, match="decoder_layer must be finite and > 0, got 0"):
        best_layers(law, 2.9, 1.0, 0.0)
    with pytest.raises(ValueError, match="are both in the same unit"):
        best_layers(law, 1e9, 1.0, 2.0)


def test_one_exponent_of_zero_gives_all_to_the_other_half() -> None:
    law = EncoderDecoderLaw(0.3, 0.0, 0.4, 1.5, 1e8, 3e8)
    split = law.optimal_split(6e8)
    assert (split.share, split.encoder, split.decoder) == (0.0, 0.0, 6e8)
    assert split.loss == pytest.approx(0.3 * 0.5**0.4 + 1.5)
    assert law.penalty(1.0) == math.inf

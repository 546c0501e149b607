"""The whole recipe: predictions, their intervals, plans, and what is missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from published_runs import LADDER, SIZES, SU, made
from scipy.stats import binom

from paperworks.scaling import (
    MissingRunsError,
    Recipe,
    RunLog,
    TrajectoryLaw,
    estimate_recipe,
    missing_runs,
)

LAW = TrajectoryLaw(**SU)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return estimate_recipe(made(SU, noise=0.002), resamples=200)


@pytest.mark.parametrize("method", ["stepwise", "joint"])
def test_curve_of_a_large_model(method: str) -> None:
    found = estimate_recipe(made(SU, noise=0.002), method=method, resamples=100)
    S = np.geomspace(1e3, 2e5, 12)
    said = found.predict_curve(3.3e10, 4e6, S)
    np.testing.assert_allclose(said.value, LAW.loss(3.3e10, S, 4e6), rtol=0.02)
    assert np.all(said.low <= said.value)
    assert np.all(said.value <= said.high)
    assert said.beyond.max() == pytest.approx(550)
    wider = found.predict_curve(3.3e10, 4e6, S, new_run=True)
    assert np.mean(wider.high - wider.low) > np.mean(said.high - said.low)


def test_what_follows_agrees_with_the_law(recipe: Recipe) -> None:
    law = recipe.law
    assert float(recipe.minimum_loss(1e9).value) == pytest.approx(float(law.minimum_loss(1e9)))
    assert recipe.constants["alpha_N"].value == law.alpha_N
    S = recipe.steps_to([2.9, 3.0], 1e9, 1e6)
    assert S.value.shape == (2,)
    np.testing.assert_allclose(recipe.predict_curve(1e9, 1e6, S.value).value, [2.9, 3.0], rtol=1e-9)
    np.testing.assert_allclose(recipe.tokens_to([2.9, 3.0], 1e9, 1e6).value, 1e6 * S.value)
    after = recipe.minimum_loss(1e9, 1e4)
    assert float(after.low) <= float(after.value) <= float(after.high)
    assert float(after.value) > float(recipe.minimum_loss(1e9).value)
    critical = recipe.critical_batch(3.0)
    exact = float(LAW.critical_batch(3.0))
    assert 0.9 * critical.low < exact < 1.1 * critical.high


@pytest.mark.parametrize("method", ["stepwise", "joint"])
def test_interval_covers(method: str) -> None:
    """90 % intervals of a large model's loss, over repeated sets of runs with their own luck."""
    runs = LADDER + SIZES + [(2e6, 2.0**18), (2e7, 2.0**20)]
    exact = float(LAW.loss(1e9, 5e4, 2**20))
    repeats, inside = 20, 0
    for seed in range(repeats):
        log = made(SU, runs, noise=0.002, rows=15, seed=seed)
        rng = np.random.default_rng(1000 + seed)
        luck = dict(zip(log.runs, rng.normal(0, 0.003, len(log.runs)), strict=True))
        shifted = log.loss * np.exp([luck[name] for name in log.run])
        lucky = RunLog(log.run, log.N, log.B, log.S, shifted)
        found = estimate_recipe(lucky, method=method, confidence=0.9, resamples=60)
        said = found.predict_curve(1e9, 2**20, [5e4])
        inside += bool(said.low[0] <= exact <= said.high[0])
    assert inside >= binom.ppf(0.01, repeats, 0.85)


def test_plan(recipe: Recipe) -> None:
    plan = recipe.plan(1e9, 2.9)
    assert plan.batch.value == pytest.approx(plan.critical_batch.value)
    assert plan.steps.value == pytest.approx(2 * plan.min_steps.value)
    assert plan.tokens.value == pytest.approx(2 * plan.min_tokens.value)
    assert plan.steps.low <= plan.steps.value <= plan.steps.high
    hurried = recipe.plan(1e9, 2.9, time_weight=0.8)
    assert hurried.batch.value == pytest.approx(4 * plan.batch.value)
    assert hurried.steps.value < plan.steps.value
    assert hurried.tokens.value > plan.tokens.value
    within = recipe.plan(1e9, 2.9, max_steps=1.5 * plan.min_steps.value)
    assert within.steps.value == pytest.approx(1.5 * plan.min_steps.value)
    own = recipe.plan(1e9, 2.9, batch=1e6)
    assert own.batch.value == own.batch.low == 1e6
    assert own.tokens.value == pytest.approx(1e6 * own.steps.value)


def test_plan_refuses(recipe: Recipe) -> None:
    with pytest.raises(ValueError, match=r"ends at [\d.]+ and does not reach 1; take a larger"):
        recipe.plan(1e9, 1)
    with pytest.raises(ValueError, match=r"within 10 steps, [\d,]+ is the least"):
        recipe.plan(1e9, 2.9, max_steps=10)
    with pytest.raises(ValueError, match="at most one of batch, time_weight and max_steps"):
        recipe.plan(1e9, 2.9, batch=1, max_steps=1)
    with pytest.raises(ValueError, match="batch must be > 0 tokens, got -5"):
        recipe.plan(1e9, 2.9, batch=-5)
    with pytest.raises(ValueError, match="time_weight must be between 0 and 1"):
        recipe.plan(1e9, 2.9, time_weight=0)


def test_never(recipe: Recipe) -> None:
    """A loss below what the model ends at is out of reach in every draw."""
    steps = recipe.steps_to(0.8, 1e9, 1e6)
    assert math.isinf(steps.value)
    assert math.isinf(steps.low)


def test_missing_runs() -> None:
    missing = missing_runs(made(SU, LADDER[:2]))
    assert set(missing) == {"size", "data", "critical", "steps"}
    with pytest.raises(MissingRunsError, match="the critical batch needs"):
        estimate_recipe(made(SU, LADDER[:2]))
    with pytest.raises(MissingRunsError, match="the steps law needs curves of 2 more model sizes"):
        estimate_recipe(made(SU, LADDER))
    assert set(missing_runs(made(SU))) == {"size", "data"}
    with pytest.raises(ValueError, match="method must be 'stepwise' or 'joint', got 'both'"):
        estimate_recipe(made(SU), method="both")


def test_all_steps_at_once() -> None:
    """A log with converged runs and limited training sets takes every step."""
    log = made(SU, noise=0.001)
    N = np.repeat([1e5, 1e6, 1e7], 2)
    S = np.tile([5e8, 1e9], 3)
    D = np.repeat([1e8, 1e9, 1e10], 3)
    least = (5.4e13 / D) ** 0.095 * np.tile([1.2, 1.0, 1.1], 3)
    everything = RunLog(
        np.concatenate([log.run, [f"long{n:g}" for n in N], [f"data{d:g}" for d in D]]),
        np.concatenate([log.N, N, np.full(9, 1e9)]),
        np.concatenate([log.B, np.full(15, 2.0**20)]),
        np.concatenate([log.S, S, np.tile([1e6, 2e6, 3e6], 3)]),
        np.concatenate([log.loss, LAW.loss(N, S, 2**20), least]),
        np.concatenate([np.full(log.S.size + 6, 1e18), D]),
    )
    found = estimate_recipe(everything, resamples=50)
    assert found.missing == {}
    assert found.size is not None
    assert found.data is not None
    assert found.data.parameters["alpha"].value == pytest.approx(0.095, rel=1e-6)
    assert found.constants["alpha_N"].value == found.size.parameters["alpha"].value
    assert found.constants["N_c"].value == pytest.approx(SU["N_c"], rel=0.05)

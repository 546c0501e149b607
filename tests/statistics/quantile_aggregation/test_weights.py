"""Learned weights: optima by linear programming, problems with a known answer, invariances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning

from paperworks.statistics import QuantileAggregator, quantile_scores

LEVELS = np.array([0.1, 0.3, 0.5, 0.7, 0.9])


# Whole batches go on getting better by a hair.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def fit(P, y, X=None, **settings):
    """Learn the weights of precomputed predictions; large steps on whole batches, for speed."""
    settings = {
        "weights": "global",
        "random_state": 0,
        "crossing_penalty": 0.0,
        "batch_size": 10_000,
        "lr": 0.01,
        "patience": 60,
        **settings,
    }
    return QuantileAggregator("precomputed", LEVELS, **settings).fit(X, y, P)


def noisy_models(n=600, seed=0):
    """Three models of standard normal noise about a signal that each sees differently."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(n, 3))
    y = signal @ [0.6, 0.3, 0.1] + 0.3 * rng.standard_normal(n)
    return signal[:, :, None] + 0.5 * norm.ppf(LEVELS), y


def optimum(P, y, resolution):
    """The least mean pinball loss over convex weights, by SciPy's linear programming.

    Unknowns are the weights and both parts of the errors; levels are solved one by one, but for
    coarse weights, which they share.
    """
    n, _, m = P.shape
    total = 0.0
    problems = [range(m)] if resolution == "coarse" else [[t] for t in range(m)]
    for levels in problems:
        blocks = []
        for t in levels:
            blocks.append(P.reshape(n, -1) if resolution == "fine" else P[:, :, t])
        design = np.vstack(blocks)
        k, rows = design.shape[1], len(design)
        tau = np.repeat(LEVELS[list(levels)], n)
        A = np.hstack([design, np.eye(rows), -np.eye(rows)])
        A = np.vstack([A, np.concatenate([np.ones(k), np.zeros(2 * rows)])])
        b = np.concatenate([np.tile(y, len(levels)), [1.0]])
        total += linprog(np.concatenate([np.zeros(k), tau, 1 - tau]), A_eq=A, b_eq=b).fun
    return total / (n * m)


@pytest.mark.parametrize("resolution", ["coarse", "medium", "fine"])
def test_global_weights_come_near_the_optimum_of_linear_programming(resolution):
    P, y = noisy_models(300)
    # Repeated rows: those that stop the training are the same as those of training, nearly.
    model = fit(
        np.tile(P, (20, 1, 1)),
        np.tile(y, 20),
        resolution=resolution,
        validation_fraction=0.5,
        patience=500,
        lr=0.02,
    )
    found = quantile_scores(y, model.predict(None, P), LEVELS).wis / 2
    best = optimum(P, y, resolution)
    average = quantile_scores(y, P.mean(axis=1), LEVELS).wis / 2
    assert best < average
    # Of the gain that convex weights can bring at all, nine tenths and more. Sorting may add a
    # little to it, so the optimum is no strict bound.
    assert best - 0.02 * (average - best) <= found <= best + 0.1 * (average - best)


def test_coarse_weights_find_the_better_model():
    rng = np.random.default_rng(0)
    y = rng.normal(size=500)
    P = np.stack([np.tile(norm.ppf(LEVELS), (500, 1)), np.tile(norm.ppf(LEVELS) + 3, (500, 1))], 1)
    model = fit(P, y, resolution="coarse")
    weights = model.model_weights()
    assert weights.shape == (2,)
    assert weights[0] > 0.95


def test_medium_weights_differ_by_level_where_coarse_cannot():
    """One model is right about the lower tail, the other about the upper one."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=2000)
    good = norm.ppf(LEVELS)
    P = np.stack([np.where(LEVELS < 0.5, good, good + 2), np.where(LEVELS > 0.5, good, good - 2)])
    P = np.tile(P, (2000, 1, 1))
    medium = fit(P, y, resolution="medium")
    coarse = fit(P, y, resolution="coarse")
    assert medium.model_weights()[0, 0] > 0.9
    assert medium.model_weights()[1, -1] > 0.9
    assert -medium.score(None, y, P) < 0.8 * -coarse.score(None, y, P)


def test_fine_weights_use_other_levels():
    """A model whose quantiles are too narrow by half: its outer levels serve as the inner ones."""
    rng = np.random.default_rng(0)
    y = 0.5 * rng.normal(size=2000)
    P = np.tile(norm.ppf(LEVELS), (2000, 1, 1))  # twice too wide, so that mixing can narrow it
    fine = fit(P, y, resolution="fine")
    medium = fit(P, y, resolution="medium")
    truth = 0.5 * norm.ppf(LEVELS)
    np.testing.assert_allclose(fine.predict(None, P[:1])[0], truth, atol=0.08)
    np.testing.assert_allclose(medium.predict(None, P[:1])[0], norm.ppf(LEVELS), atol=1e-6)
    weights = fine.model_weights()
    assert weights.shape == (1, 5, 5)
    assert weights[0, :, 0].argmax() != 0 or weights[0, 0, 0] < 0.9


@pytest.mark.parametrize("resolution", ["coarse", "medium", "fine"])
def test_local_weights_follow_x_where_global_cannot(resolution):
    """One model is right for x < 0, the other for x > 0."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(800, 1))
    y = rng.normal(size=800)
    good = norm.ppf(LEVELS)[None]
    left = X < 0
    P = np.stack([np.where(left, good, good + 4), np.where(left, good + 4, good)], axis=1)
    local = fit(P, y, X, weights="local", resolution=resolution)
    share = local.model_weights([[-0.7], [0.7]])
    if resolution == "medium":
        share = share[:, :, 2]
    elif resolution == "fine":
        share = share.sum(axis=2)[:, :, 2]
    assert share[0, 0] > 0.9
    assert share[1, 1] > 0.9
    best = quantile_scores(y, np.tile(good, (800, 1)), LEVELS).wis
    assert -local.score(X, y, P) < 1.1 * best
    assert -fit(P, y, X, resolution=resolution).score(X, y, P) > 1.3 * best


@pytest.mark.parametrize("resolution", ["coarse", "medium", "fine"])
@pytest.mark.parametrize("weights", ["local", "global"])
def test_predictions_are_the_weighted_sums(weights, resolution):
    P, y = noisy_models()
    X = np.random.default_rng(1).normal(size=(len(y), 2))
    model = fit(
        P,
        y,
        X,
        weights=weights,
        resolution=resolution,
        non_crossing=None,
        max_epochs=40,
        patience=5,
    )
    w = model.model_weights(X if weights == "local" else None)
    assert (w >= 0).all()
    axes = {"coarse": (-1,), "medium": (-2,), "fine": (-3, -2)}[resolution]
    np.testing.assert_allclose(w.sum(axis=axes), 1, rtol=1e-12)
    if weights == "global":
        w = np.broadcast_to(w, (len(y), *w.shape))
    sums = {"coarse": "ij,ijt->it", "medium": "ijt,ijt->it", "fine": "ijst,ijs->it"}[resolution]
    np.testing.assert_allclose(model.predict(X, P), np.einsum(sums, w, P), rtol=1e-10, atol=1e-12)


def test_units_do_not_matter():
    P, y = noisy_models()
    X = np.random.default_rng(1).normal(size=(len(y), 2))
    settings = {"weights": "local", "max_epochs": 30, "patience": 30, "crossing_penalty": 1.0}
    with pytest.warns(ConvergenceWarning, match="still getting better"):
        plain = fit(P, y, X, **settings)
    scaled = fit(1000 * P + 5e4, 1000 * y + 5e4, 7 * X - 3, **settings)
    assert not plain.converged_
    np.testing.assert_allclose(
        scaled.predict(7 * X - 3, 1000 * P + 5e4),
        1000 * plain.predict(X, P) + 5e4,
        atol=1000 * 0.02,
    )


def test_equal_models_share_the_weight():
    P, y = noisy_models()
    model = fit(P[:, [0, 0]], y, resolution="coarse")
    np.testing.assert_allclose(model.model_weights(), 0.5)
    np.testing.assert_allclose(model.predict(None, P[:, [0, 0]]), P[:, 0], rtol=1e-9)


def crossing_models(n=600, seed=0):
    """Models whose quantiles cross on many rows."""
    P, y = noisy_models(n, seed)
    return P + 0.4 * np.random.default_rng(seed + 1).normal(size=P.shape), y


def test_the_penalty_keeps_raw_quantiles_apart():
    P, y = crossing_models()

    def crossing(**settings):
        model = fit(P, y, resolution="fine", non_crossing=None, **settings)
        return quantile_scores(y, model.predict(None, P), LEVELS).crossing

    free, mild, strong = (
        crossing(),
        crossing(crossing_penalty=3.0),
        crossing(crossing_penalty=30.0, margin=0.05),
    )
    assert free > mild > strong
    adaptive = crossing(crossing_penalty=30.0, margin=0.2, adaptive_margin=True)
    assert adaptive < mild


@pytest.mark.parametrize("operator", ["sort", "isotonic", "minmax"])
def test_training_through_an_operator_learns_for_what_it_returns(operator):
    """On the rows of training the loss behind the operator is lower than without."""
    P, y = crossing_models(400)
    settings = {
        "resolution": "medium",
        "non_crossing": operator,
        "patience": 500,
        "validation_fraction": 0.02,
    }
    after = fit(P, y, **settings)
    through = fit(P, y, train_through=True, **settings)
    assert not np.allclose(after.model_weights(), through.model_weights(), atol=1e-4)
    assert through.score(None, y, P) > after.score(None, y, P)
    assert (np.diff(through.predict(None, P), axis=1) >= 0).all()


def test_a_constant_target_is_predicted():
    P = np.full((20, 2, 5), 3.0)
    model = fit(P, np.full(20, 3.0), np.arange(20.0)[:, None], weights="local")
    np.testing.assert_allclose(model.predict([[5.0]], P[:1]), 3.0)

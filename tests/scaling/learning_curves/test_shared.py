"""One exponent for several learners, against SciPy's joint fit and curves of known exponents."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.optimize._numdiff import approx_derivative

from paperworks.scaling import LearningCurve, SharedExponent
from paperworks.scaling.learning_curves.selection import SHAPES, Points
from paperworks.scaling.learning_curves.shared import _law, _table

SIZE = np.geomspace(100, 25_600, 9)


def tables(exponents: dict[str, float], noise: float, floor: float = 0.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    size = np.tile(SIZE, len(exponents))
    learner = np.repeat(list(exponents), SIZE.size)
    height = dict(zip(exponents, (2.0, 3.0, 1.5, 4.0), strict=False))
    error = np.concatenate(
        [floor + height[name] * SIZE**-alpha for name, alpha in exponents.items()]
    )
    return size, error * np.exp(noise * rng.standard_normal(size.size)), learner


def test_finds_the_one_exponent() -> None:
    size, error, learner = tables({"a": 0.4, "b": 0.4, "c": 0.4}, 0.02, floor=0.03)
    found = SharedExponent.fit(size, error, learner, resamples=300)
    assert found.learners == ("a", "b", "c")
    assert str(found.shape) == "power law, floor"
    assert found.converged
    assert found.weight > 0.9
    assert found.exponent.low < 0.4 < found.exponent.high
    assert found.exponent.value == pytest.approx(0.4, abs=0.03)
    # Pooling is worth it: the one is surer than each alone.
    width = found.exponent.high - found.exponent.low
    assert all(width < each.high - each.low for each in found.own_exponents.values())
    assert found.floor("b").value == pytest.approx(0.03, abs=0.01)


def test_says_where_one_is_not_enough() -> None:
    size, error, learner = tables({"a": 0.2, "b": 0.3, "c": 0.4}, 0.02)
    found = SharedExponent.fit(size, error, learner, resamples=100)
    assert found.weight < 0.01
    assert found.rms > 3 * found.own_rms
    for name, truth in (("a", 0.2), ("b", 0.3), ("c", 0.4)):
        assert found.own_exponents[name].value == pytest.approx(truth, abs=0.02)


def test_one_exponent_is_rarely_denied_where_it_is_true() -> None:
    denied = [
        SharedExponent.fit(*tables({"a": 0.3, "b": 0.3}, 0.03, seed=seed), resamples=5).weight < 0.5
        for seed in range(12)
    ]
    assert sum(denied) <= 3


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("shape", SHAPES[:4], ids=str)
def test_derivatives(shape, shared: bool) -> None:
    parts = [Points(SIZE, 2 * SIZE**-0.3, None), Points(SIZE[:5], 3 * SIZE[:5] ** -0.3, None)]
    law = _law(parts, shape, shared, 0.9)
    logx, _ = _table(parts)
    values = {"alpha": 0.3, "E": np.log(0.05), "A": np.log(2.0), "d": np.log(400.0)}
    rng = np.random.default_rng(0)
    theta = np.array([values[p.name] for p in law.parameters]) + 0.1 * rng.random(
        len(law.parameters)
    )
    _, jacobian = law.evaluate(theta[None], logx)
    numeric = approx_derivative(
        lambda t: law.evaluate(t[None], logx)[0][0], theta, method="3-point"
    )
    np.testing.assert_allclose(jacobian[0], numeric, rtol=1e-6, atol=1e-8)


def test_is_scipys_joint_fit() -> None:
    size, error, learner = tables({"a": 0.35, "b": 0.35}, 0.03, floor=0.02)
    found = SharedExponent.fit(size, error, learner, resamples=5)
    which = (learner == "b").astype(int)

    def residuals(theta: np.ndarray) -> np.ndarray:
        alpha, floors, heights = theta[0], np.exp(theta[1:3]), theta[3:5]
        law = floors[which] + np.exp(heights[which] - alpha * np.log(size))
        return np.log(law / error)

    peer = least_squares(
        residuals, [0.35, np.log(0.02), np.log(0.02), np.log(2), np.log(3)],
        loss="huber", f_scale=found._shared.fit.delta, xtol=1e-14, ftol=1e-14,
    )  # fmt: skip
    assert found._shared.fit.loss == pytest.approx(peer.cost, rel=1e-7)
    assert found.exponent.value == pytest.approx(peer.x[0], rel=1e-3)


def test_own_exponents_are_those_of_curves_alone() -> None:
    size, error, learner = tables({"a": 0.2, "b": 0.4}, 0.005)
    found = SharedExponent.fit(size, error, learner, resamples=5)
    for name in "ab":
        alone = LearningCurve.fit(size[learner == name], error[learner == name], resamples=5)
        assert str(alone.shape) == "power law"
        assert found.own_exponents[name].value == pytest.approx(alone.exponent.value, rel=0.01)
        own = found.predict(1e6, name, own=True).value
        assert float(own) == pytest.approx(float(alone(1e6)), rel=0.05)


def test_names_and_rows_in_any_order() -> None:
    size, error, learner = tables({"a": 0.3, "b": 0.3}, 0.02)
    order = np.random.default_rng(0).permutation(size.size)
    first = SharedExponent.fit(size, error, learner, resamples=20)
    other = SharedExponent.fit(size[order], error[order], learner[order], resamples=20)
    assert other.exponent.value == pytest.approx(first.exponent.value, rel=1e-9)
    np.testing.assert_allclose(other.predict(SIZE, "b").value, first.predict(SIZE, "b").value)
    said = first.predict([[1e3, 1e6]], "b")
    assert said.value.shape == (1, 2)
    assert said.beyond.tolist() == [[1.0, pytest.approx(1e6 / 25_600)]]


def test_runs_are_kept_with_their_rows() -> None:
    """Runs that differ in height alone, given in a shuffled order."""
    rng = np.random.default_rng(0)
    size, run = np.tile(SIZE, 10), np.repeat(np.arange(10), SIZE.size)
    learner = np.where(run % 2, "a", "b")
    error = 3 * size**-0.3 * np.exp(rng.normal(0, 0.2, 10)[run] + rng.normal(0, 0.005, 90))
    order = rng.permutation(90)
    found = SharedExponent.fit(
        size[order], error[order], learner[order], runs=run[order], resamples=200
    )
    said = found.predict(2000, "a")
    assert np.log(said.high / said.low) > 0.15
    # Whole runs move the height and leave the exponent where it is.
    assert found.exponent.high - found.exponent.low < 0.02


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learner": ["a"] * 18}, "at least two learners, got a"),
        ({"learner": ["a"] * 3}, "learner of each of 18 rows"),
        ({"learner": ["a"] * 15 + ["b"] * 3}, "learner 'b': a learning curve needs at least 4"),
        ({"chance": -1}, "chance must be > 0"),
        ({"confidence": 0}, "confidence must be between 0 and 1"),
    ],
)
def test_bad_input(change: dict, words: str) -> None:
    size, error, learner = tables({"a": 0.3, "b": 0.3}, 0.02)
    with pytest.raises(ValueError, match=words):
        SharedExponent.fit(**{"size": size, "error": error, "learner": learner, **change})


def test_bad_questions() -> None:
    found = SharedExponent.fit(*tables({"a": 0.3, "b": 0.3}, 0.02), resamples=5)
    with pytest.raises(ValueError, match="no learner is called 'c'"):
        found.predict(100, "c")
    with pytest.raises(ValueError, match="size must be finite and > 0"):
        found.predict(0, "a")

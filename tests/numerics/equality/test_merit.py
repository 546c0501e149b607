"""The merit function against finite differences, and feasibility against linear algebra."""

import numpy as np
import pytest
import scipy.sparse as sp

from paperworks.claims._cutest import PROBLEMS
from paperworks.numerics.equality import differentiate, feasibility
from paperworks.numerics.equality.inputs import read_problem
from paperworks.numerics.equality.kkt import KKTSystem, Work
from paperworks.numerics.equality.merit import Penalties, evaluate, merit, slope, with_multipliers


def at_a_point(name, seed=0):
    chosen = PROBLEMS[name]
    fun, rule = differentiate(chosen.fun), differentiate(chosen.constraints)
    problem, x = read_problem(fun, chosen.x0, (), None, None, None, rule)
    rng = np.random.default_rng(seed)
    x = x + 0.1 * rng.standard_normal(x.size)
    return problem, evaluate(problem, x, rng.standard_normal(problem.m)), rng


@pytest.mark.parametrize("name", ["HS7", "HS40", "HS77", "HS111LNP"])
@pytest.mark.parametrize(("shift", "gamma"), [(0.0, 0.0), (0.7, 0.02)])
def test_the_slope_is_the_derivative_of_the_merit(name, shift, gamma):
    """Also for inexact directions: it is read off the residual of the system."""
    problem, point, rng = at_a_point(name)
    A = KKTSystem(problem.curvature(point.x, point.multipliers), point.G, Work(), shift, gamma)
    b = -np.concatenate([point.g, point.c])
    z = rng.standard_normal(A.size)
    residual = b - A.product(z)
    penalties = Penalties(eta1=3.0, eta2=0.2, delta=0.1)
    found = slope(point, z, residual, b, shift, gamma).at(penalties)
    n, h = problem.n, 1e-5

    def along(t):
        return merit(
            evaluate(problem, point.x + t * z[:n], point.multipliers + t * z[n:]), penalties
        )

    expected = (along(h) - along(-h)) / (2 * h)
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_update_of_penalties_and_accuracy():
    after = Penalties(1.0, 0.1, 0.1).tightened(1.5)
    assert (after.eta1, after.eta2, after.delta) == pytest.approx((2.25, 0.1 / 1.5, 0.1 / 1.5**4))
    assert Penalties(1e13, 0.1, 0.1).spent
    assert Penalties(1.0, 1e-13, 0.1).spent
    assert not after.spent


def test_other_multipliers_at_the_same_place():
    problem, point, rng = at_a_point("HS40")
    multipliers = rng.standard_normal(3)
    moved = with_multipliers(point, multipliers)
    np.testing.assert_allclose(moved.g, evaluate(problem, point.x, multipliers).g)


def test_first_multipliers_bring_the_gradient_nearest_to_zero():
    _, point, rng = at_a_point("HS79")
    best = feasibility.first_multipliers(point.g_f, point.G)
    least = np.linalg.norm(point.g_f + point.G.T @ best)
    for _ in range(20):
        other = best + 0.1 * rng.standard_normal(best.size)
        assert np.linalg.norm(point.g_f + point.G.T @ other) > least


@pytest.mark.parametrize("large", [False, True])
def test_dependent_rows_are_found_and_named(large, monkeypatch):
    rng = np.random.default_rng(0)
    G = rng.standard_normal((6, 9))
    G[4] = 2 * G[1] - G[3]
    if large:
        monkeypatch.setattr(feasibility, "DENSE", 0)
    rank, rows = feasibility.dependent(sp.csr_array(G) if large else G, rng)
    assert rows == [1, 3, 4]
    assert rank == (-1 if large else 5)
    rank, rows = feasibility.dependent(np.delete(G, 4, 0), rng)
    assert (rank, rows) == (5, [])


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("damp", [0.0, 0.5])
def test_least_squares_by_both_ways(sparse, damp, monkeypatch):
    rng = np.random.default_rng(1)
    G, y = rng.standard_normal((4, 7)), rng.standard_normal(4)
    if sparse:
        monkeypatch.setattr(feasibility, "DENSE", 0)
    found = feasibility.least_squares(sp.csr_array(G) if sparse else G, y, damp=damp)
    expected = G.T @ np.linalg.solve(G @ G.T + damp**2 * np.eye(4), y)
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_restoration_reaches_the_constraints_or_their_least_violation():
    problem, point, _ = at_a_point("HS79")
    x, reached = feasibility.restore(problem, point.x, 1e-10)
    assert reached
    assert np.linalg.norm(problem.value(x)[1]) <= 1e-10
    rule = {"type": "eq", "fun": lambda x: np.array([x[0] - 1, x[0] + 1, x[1] ** 2])}
    problem, x0 = read_problem(lambda x: x @ x, [3.0, 2.0], (), None, None, None, rule)
    x, reached = feasibility.restore(problem, x0, 1e-10)
    assert not reached
    assert x[0] == pytest.approx(0.0, abs=1e-6)
    assert np.linalg.norm(problem.value(x)[1]) == pytest.approx(np.sqrt(2), rel=1e-6)

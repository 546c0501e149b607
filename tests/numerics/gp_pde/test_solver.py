"""The whole solver: accuracy, frequencies, memory, randomness, callbacks, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from paperworks.numerics import GPSolver, PDEOperator

X = np.linspace(0, 1, 64)


def multi_scale(x):
    return np.sin(x) + 0.1 * np.sin(20 * x) + 0.05 * np.cos(100 * x)


def its_source(x):
    return -np.sin(x) - 40 * np.sin(20 * x) - 500 * np.cos(100 * x)


def relative(got, exact):
    return np.linalg.norm(got - exact) / np.linalg.norm(exact)


@pytest.mark.parametrize("kernel", ["student-t", "gaussian"])
def test_a_problem_of_the_paper(kernel):
    """sin(6x) cos(100x): lines at 94 and 106 radians, on the paper's grid of a shorter interval."""
    x = np.linspace(0, 2, 130)

    def exact(x):
        return np.sin(6 * x) * np.cos(100 * x)

    def source(x):
        return -10036 * exact(x) - 1200 * np.cos(6 * x) * np.sin(100 * x)

    solver = GPSolver(PDEOperator.poisson(1), x, kernel=kernel, max_frequency=20)
    solution = solver.solve(source, exact)
    fine = np.linspace(0, 2, 333)
    assert solution.converged
    assert relative(solution.predict(fine), exact(fine)) < 1e-5
    found = solution.spectrum()["frequency"][:4]
    assert len(solution.spectrum()["frequency"]) < 10  # of 30
    for line in (94, 106):  # an interval of 2 tells lines half a cycle apart
        assert np.abs(found - line / (2 * np.pi)).min() < 0.1
    slope = 6 * np.cos(6 * fine) * np.cos(100 * fine) - 100 * np.sin(6 * fine) * np.sin(100 * fine)
    assert relative(solution.predict(fine, 1), slope) < 1e-4


def test_learning_beats_the_kernel_it_starts_from():
    """sin(100 x) at four points a period, where the starting mixture leaves half a per cent."""
    x = np.linspace(0, 2, 130)
    exact = np.sin(100 * x)
    solver = GPSolver(PDEOperator.poisson(1), x, max_frequency=20)
    before = solver.solve(-1e4 * exact, exact, rounds=0)
    after = solver.solve(-1e4 * exact, exact)
    assert relative(after.values, exact) < 1e-3 * relative(before.values, exact)
    assert after.spectrum()["frequency"][0] == pytest.approx(100 / (2 * np.pi), rel=1e-3)
    assert after.withheld < before.withheld


def test_the_papers_ascent_goes_where_it_should():
    x = np.linspace(0, 1, 40)
    exact = np.sin(20 * x)
    solver = GPSolver(PDEOperator.poisson(1), x, kernel="gaussian", components=8, max_frequency=6)
    reports = []
    solution = solver.solve(
        -400 * exact,
        exact,
        method="joint",
        iterations=400,
        learning_rate=0.05,
        rounds=4,
        callback=reports.append,
    )
    assert solution.method == "joint"
    assert [each.number for each in reports] == [100, 200, 300, 400]
    assert reports[-1].log_prior > reports[0].log_prior
    assert relative(solution.values, exact) < 0.5  # of a field that starts at zero
    assert not solution.converged  # its residual is far from rounding


class Largest(TorchDispatchMode):
    """The largest tensor that any operation returns."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else (out,):
            if isinstance(each, torch.Tensor):
                self.numel = max(self.numel, each.numel())
        return out


def test_nothing_larger_than_the_grid_is_formed():
    for n in (20, 40):
        grid = (np.linspace(0, 1, n), np.linspace(0, 1, n + 1))
        solver = GPSolver(PDEOperator.allen_cahn(2), grid, components=8)
        with Largest() as largest:
            solution = solver.solve(1.0, 0.0, rounds=1, iterations=5)
            solution.predict(np.random.default_rng(0).random((2, 2)), (1, 0), return_std=True)
        # n x n matrices, the grid, and 8 components at n distances; N x N would be 400 times it.
        assert largest.numel <= 2 * n * (n + 1)


def test_random_starts_differ_and_repeat():
    solver = GPSolver(PDEOperator.poisson(1), X, components=12)
    first, again, other, even = (
        solver.solve(its_source, multi_scale, rounds=0, rng=rng).values
        for rng in (1, np.random.default_rng(1), 2, None)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0
    assert np.abs(first - even).max() > 0


def test_callbacks_see_every_round_and_may_stop():
    solver = GPSolver(PDEOperator.poisson(1), X, components=12)
    seen = []
    solution = solver.solve(
        its_source, multi_scale, callback=lambda r: seen.append(r) or len(seen) == 2
    )
    assert tuple(seen) == solution.rounds
    assert [each.number for each in seen] == [0, 1]
    assert "round 1: residual" in str(seen[1])
    assert solution.withheld == min(each.withheld for each in seen)


def test_arrays_functions_numbers_and_tensors_are_the_same():
    solver = GPSolver(PDEOperator.poisson(1), X, components=6)
    values = its_source(X)
    expected = solver.solve(values, multi_scale(X), rounds=0).values
    boundary = np.full(64, np.nan)  # only the faces are read
    boundary[[0, -1]] = multi_scale(X)[[0, -1]]
    for source in (its_source, torch.from_numpy(values), values.tolist()):
        got = solver.solve(source, boundary, rounds=0).values
        np.testing.assert_array_equal(got, expected)
    assert not np.shares_memory(expected, values)


def test_units_do_not_matter():
    """The same problem in other units of x and u."""
    plain = GPSolver(PDEOperator.poisson(1), X, components=12)
    other = GPSolver(PDEOperator.poisson(1), 1e3 * X, components=12)
    a = plain.solve(its_source(X), multi_scale(X), rounds=1)
    b = other.solve(1e-2 * its_source(X), 1e4 * multi_scale(X), rounds=1)
    assert relative(b.values / 1e4, multi_scale(X)) < 10 * relative(a.values, multi_scale(X))
    np.testing.assert_allclose(
        a.spectrum()["frequency"][:2], 1e3 * b.spectrum()["frequency"][:2], rtol=0.05, atol=0.1
    )


def test_a_zero_solution():
    solution = GPSolver(PDEOperator.poisson(2), (X[:20], X[:21])).solve(0.0, 0.0)
    assert solution.converged
    np.testing.assert_array_equal(solution.values, 0.0)
    assert solution.predict(np.array([[0.1, 0.1]]))[0] == 0.0


def test_an_equation_whose_terms_all_vanish():
    """Advection at rest: each term is zero, and so is the residual but for rounding."""
    solver = GPSolver(PDEOperator.advection(0.0), (X[:24], X[:20]), components=6)
    solution = solver.solve(0.0, lambda x, t: np.sin(9 * x) + 0 * t, rounds=1)
    assert solution.converged
    np.testing.assert_allclose(solution.values, np.sin(9 * X[:24])[:, None] + 0 * X[:20], atol=1e-3)


def test_a_nonlinear_part_that_does_not_depend_on_the_field():
    plain = GPSolver(PDEOperator.poisson(1), X, components=6).solve(its_source, rounds=0)
    shifted = PDEOperator({(2,): 1.0}, nonlinear=torch.ones_like)
    moved = GPSolver(shifted, X, components=6).solve(lambda x: its_source(x) + 1, rounds=0)
    np.testing.assert_allclose(plain.values, moved.values, atol=1e-9)


P1, P2 = PDEOperator.poisson(1), PDEOperator.poisson(2)
HOLE = np.zeros((10, 12))
HOLE[3, 4] = np.nan
GRID = (np.linspace(0, 1, 10), np.linspace(0, 1, 12))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: GPSolver(P2, X), "one array of points for each of the 2 coordinates"),
        (lambda: GPSolver(P1, X[::-1]), "axis 0 of the grid must increase"),
        (lambda: GPSolver(P1, [0.0, 1.0]), "at least 5 points, got shape"),
        (lambda: GPSolver(P1, [0, 1, np.nan, 3, 4]), "axis 0 of the grid has points that are not"),
        (lambda: GPSolver(P1, [0, 1, 1, 3, 4]), "must increase from point to point"),
        (lambda: GPSolver(P1, X, kernel="rbf"), "kernel must be one of"),
        (lambda: GPSolver(P1, X, dof=4), "dof must be an odd whole number >= 3, got 4"),
        (lambda: GPSolver(P1, X, dof=3), 'order 2, but kernel="student-t" with dof=3'),
        (lambda: GPSolver(P1, X, components=0), "components must be a whole number >= 1, got 0"),
        (lambda: GPSolver(P1, X, max_frequency=40.0), "at most 31.5.*a finer grid resolves more"),
        (lambda: GPSolver(P1, X, max_frequency=-1.0), "max_frequency must be > 0"),
        (lambda: GPSolver(P2, GRID).solve(np.zeros((12, 10))), r"\(12, 10\), but the grid is \(10"),
        (lambda: GPSolver(P2, GRID).solve(HOLE), r"nan at grid index \(3, 4\).*below 1e\+100"),
        (lambda: GPSolver(P2, GRID).solve(0.0, np.inf), r"boundary is inf at grid index \(0, 0\)"),
        (lambda: GPSolver(P2, GRID).solve(lambda x, y: np.zeros(3)), r"source returned shape \(3,"),
        (lambda: GPSolver(P2, GRID).solve("f"), "source must be real numbers"),
        (lambda: GPSolver(P2, GRID).solve(1j), "source must be real numbers"),
        (lambda: GPSolver(P1, X).solve(method="adam"), 'method must be "collocation" or "joint"'),
        (lambda: GPSolver(P1, X).solve(rounds=-1), "rounds must be a whole number >= 0, got -1"),
        (lambda: GPSolver(P1, X).solve(iterations=0), "iterations must be a whole number >= 1"),
        (lambda: GPSolver(P1, X).solve(learning_rate=0.0), "learning_rate must be > 0, got 0.0"),
        (lambda: GPSolver("poisson", X), "operator must be a PDEOperator, got 'poisson'"),
        (lambda: GPSolver(P2, None), "grid must be arrays of points, one for each coordinate"),
        (lambda: GPSolver(P2, (X, "ab")), "axis 1 of the grid must be numbers, got 'ab'"),
        (lambda: GPSolver(P1, X, max_frequency=(1, 2)), "a number, or 1 of them, got"),
        (lambda: GPSolver(P1, X, dof="5"), "dof must be an odd whole number >= 3, got '5'"),
        (lambda: GPSolver(P1, X).solve(1e200), r"source is 1e\+200 at grid index \(0,\)"),
        (lambda: PDEOperator({}), "terms must name at least one derivative"),
        (lambda: PDEOperator({(2, 0): 1.0, (2,): 1.0}), "has 1 entries, where others have 2"),
        (lambda: PDEOperator({(1, 1, 1, 1): 1.0}), "must have 1, 2 or 3 entries, got 4"),
        (lambda: PDEOperator({(-1,): 1.0}), "whole numbers >= 0"),
        (lambda: PDEOperator({(2,): np.nan}), r"coefficient of \(2,\) must be finite, got nan"),
        (lambda: PDEOperator({(2,): 1.0}, reads=((0,),)), "nonlinear is not given"),
        (lambda: PDEOperator({(2,): 1.0}, faces=("left",)), "faces must be 1 of"),
        (lambda: PDEOperator.poisson(4), "dim must be 1, 2 or 3, got 4"),
        (lambda: PDEOperator.heat(1, -1.0), "diffusivity must be > 0"),
        (lambda: PDEOperator.burgers(0.0), "viscosity must be > 0"),
        (
            lambda: GPSolver(PDEOperator({(2,): lambda x: 1 / (x - X[3])}), X).solve(1.0),
            r"coefficient of \(2,\) is not finite on the whole grid",
        ),
        (
            lambda: GPSolver(PDEOperator({(2,): 1.0}, nonlinear=lambda u: 1.0), X).solve(1.0),
            "nonlinear must return a tensor of the shape of its fields",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_predicting_a_derivative_that_is_not_there():
    solution = GPSolver(P1, X, components=6).solve(its_source, multi_scale, rounds=0)
    assert np.isfinite(solution.predict(X, 4)).all()
    with pytest.raises(ValueError, match="take a higher dof"):
        solution.predict(X, 5)
    with pytest.raises(ValueError, match="take a higher dof"):
        solution.predict(X, 3, return_std=True)

"""Manufactured solutions, with the right-hand side by SymPy; and the dense square system."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
import torch

from paperworks.numerics import GPSolver, PDEOperator

X, Y, Z = sympy.symbols("x y z")
COORDINATES = (X, Y, Z)


def manufactured(u, equation, grid):
    """Values of the solution and of the right-hand side on a grid."""
    symbols = COORDINATES[: len(grid)]
    mesh = np.meshgrid(*grid, indexing="ij")
    shape = mesh[0].shape
    return tuple(
        np.broadcast_to(sympy.lambdify(symbols, each, "numpy")(*mesh), shape)
        for each in (u, equation(u))
    )


def laplace(u):
    return sum(sympy.diff(u, s, 2) for s in u.free_symbols)


sin, cos = sympy.sin, sympy.cos
line, time = np.linspace(-1, 1, 40), np.linspace(0, 1, 30)
BOX = (np.linspace(-1, 1, 24), np.linspace(-1, 1, 22), np.linspace(-1, 1, 20))
CASES = {
    "Poisson 1-D": (
        PDEOperator.poisson(1),
        sin(20 * X) + X**2,
        lambda u: sympy.diff(u, X, 2),
        (np.linspace(-1, 1, 80),),
    ),
    "Poisson 2-D": (PDEOperator.poisson(2), sin(9 * X) * cos(7 * Y), laplace, (line, line)),
    "Poisson 3-D": (
        PDEOperator.poisson(3),
        sin(4 * X) * cos(3 * Y) * sin(2 * Z + 1),
        laplace,
        BOX,
    ),
    "Helmholtz 2-D": (
        PDEOperator.helmholtz(2, 3.0),
        sin(9 * X) * cos(7 * Y),
        lambda u: laplace(u) + 9 * u,
        (line, line),
    ),
    "Allen-Cahn 1-D": (
        PDEOperator.allen_cahn(1),
        3 * sin(12 * X),
        lambda u: sympy.diff(u, X, 2) + u * (u**2 - 1),
        (np.linspace(-1, 1, 70),),
    ),
    "Allen-Cahn 2-D": (
        PDEOperator.allen_cahn(2),
        sin(9 * X) * cos(7 * Y),
        lambda u: laplace(u) + u * (u**2 - 1),
        (line, line),
    ),
    "Allen-Cahn 3-D": (
        PDEOperator.allen_cahn(3),
        sin(4 * X) * cos(3 * Y) * sin(2 * Z + 1),
        lambda u: laplace(u) + u * (u**2 - 1),
        BOX,
    ),
    "advection": (
        PDEOperator.advection(3.0),
        sin(5 * (X - 3 * Y)),
        lambda u: 3 * sympy.diff(u, X) + sympy.diff(u, Y),
        (line, time),
    ),
    "advection, backwards": (
        PDEOperator.advection(-3.0),
        sin(5 * (X + 3 * Y)),
        lambda u: -3 * sympy.diff(u, X) + sympy.diff(u, Y),
        (line, time),
    ),
    "advection in the plane": (
        PDEOperator.advection(1.0, 0.5),
        sin(3 * (X - Z)) * cos(2 * Y - Z),
        lambda u: sympy.diff(u, X) + sympy.diff(u, Y) / 2 + sympy.diff(u, Z),
        tuple(1 + x for x in BOX),
    ),
    "heat": (
        PDEOperator.heat(1, 0.1),
        sin(6 * X) * sympy.exp(-Y),
        lambda u: sympy.diff(u, Y) - 0.1 * sympy.diff(u, X, 2),
        (line, time),
    ),
    "Burgers": (
        PDEOperator.burgers(0.1),
        sin(4 * X) * cos(2 * Y),
        lambda u: sympy.diff(u, Y) + u * sympy.diff(u, X) - 0.1 * sympy.diff(u, X, 2),
        (line, time),
    ),
    "varying coefficients and a mixed derivative": (
        PDEOperator(
            {(2, 0): lambda x, y: 2 + x * y, (0, 2): 1.0, (1, 1): 0.3, (1, 0): lambda x, y: y}
        ),
        sin(6 * X) * cos(5 * Y),
        lambda u: (
            (2 + X * Y) * sympy.diff(u, X, 2)
            + sympy.diff(u, Y, 2)
            + 0.3 * sympy.diff(u, X, Y)
            + Y * sympy.diff(u, X)
        ),
        (line, line),
    ),
    "fourth order": (
        PDEOperator({(4,): 1.0, (2,): 1.0}),
        sin(8 * X),
        lambda u: sympy.diff(u, X, 4) + sympy.diff(u, X, 2),
        (np.linspace(-1, 1, 50),),
    ),
}
SECOND_ORDER = [name for name in CASES if name != "fourth order"]


@pytest.mark.parametrize("name", SECOND_ORDER)
def test_manufactured_solutions(name):
    operator, u, equation, grid = CASES[name]
    exact, source = manufactured(u, equation, grid)
    solver = GPSolver(operator, grid, kernel="gaussian", components=10)
    solution = solver.solve(source, exact, rounds=4, iterations=25)
    # Twenty points an axis, and less than a period of some factors, leave more in 3-D.
    most = 3e-2 if operator.dim == 3 else 5e-4
    assert solution.converged
    error = np.linalg.norm(solution.values - exact) / np.linalg.norm(exact)
    assert error < most
    # The given nodes hold their values, and the withheld residual tells good from bad.
    given = np.ones(exact.shape, dtype=bool)
    given[
        tuple(
            slice(1 if f in ("lower", "both") else 0, -1 if f in ("upper", "both") else None)
            for f in operator.faces
        )
    ] = False
    np.testing.assert_array_equal(solution.values[given], exact[given])
    assert solution.withheld < 0.1


def test_fourth_order_needs_its_derivatives_and_says_so():
    operator, *_, grid = CASES["fourth order"]
    with pytest.raises(ValueError, match="dof=9"):
        GPSolver(operator, grid)
    # Two conditions at each end, of which values are only one: the discrete system is square, but
    # the equation has many solutions, so nothing is asked of the error.
    assert GPSolver(operator, grid, dof=9).solve(rounds=0).values.shape == (50,)


@pytest.mark.parametrize("dof", [5, 7, None])
def test_the_square_system_is_the_dense_one(dof):
    """Poisson on a small grid: interior rows of the N x N matrix, boundary rows of the identity."""
    from paperworks.numerics.gp_pde.axes import Axis, Basis
    from paperworks.numerics.gp_pde.collocation import collocate
    from paperworks.numerics.gp_pde.kernels import Mixture
    from paperworks.numerics.gp_pde.problem import read_problem

    grid = (np.linspace(0, 1, 7), np.linspace(0, 2, 8))
    rng = np.random.default_rng(0)
    source, boundary = rng.standard_normal((2, 7, 8))
    operator = PDEOperator({(2, 0): 1.0, (0, 2): 0.7, (1, 1): 0.2, (0, 0): -0.4})
    axes = tuple(Axis(torch.from_numpy(x)) for x in grid)
    bases = [Basis(axis, Mixture.spread(4, 1.5, dof, None), (1, 2), 1e-10) for axis in axes]
    D = [{m: basis.D[m].numpy() for m in (1, 2)} for basis in bases]
    big = (
        np.kron(D[0][2], np.eye(8))
        + 0.7 * np.kron(np.eye(7), D[1][2])
        + 0.2 * np.kron(D[0][1], D[1][1])
        - 0.4 * np.eye(56)
    )
    edge = np.ones((7, 8), dtype=bool)
    edge[1:-1, 1:-1] = False
    edge = edge.reshape(-1)
    big[edge] = np.eye(56)[edge]
    right = np.where(edge, boundary.reshape(-1), source.reshape(-1))
    expected = np.linalg.solve(big, right).reshape(7, 8)
    problem = read_problem(operator, axes, source, boundary)
    got = collocate(problem, bases)
    assert got.converged
    np.testing.assert_allclose(got.values.numpy(), expected, atol=1e-7 * np.abs(expected).max())


def test_the_jacobian_adds_what_is_linear_and_what_is_not():
    operator = PDEOperator({(2,): 1.0, (0,): 2.0}, nonlinear=lambda u: u**2)
    u = torch.tensor([1.0, -3.0], dtype=torch.float64)
    slopes = operator.slopes({(0,): u, (2,): u}, {(2,): 1.0, (0,): 2.0})
    assert slopes[2,] == 1.0
    np.testing.assert_allclose(slopes[0,], 2 + 2 * u)


def test_an_equation_without_solution_is_not_called_converged():
    """u'' + exp(u) = -1e4 with a sign that Newton cannot satisfy from here."""
    operator = PDEOperator({(2,): 1e-6}, nonlinear=lambda u: torch.exp(u))
    solution = GPSolver(operator, np.linspace(0, 1, 30), kernel="gaussian").solve(-1.0, 0.0)
    assert not solution.converged
    assert solution.residual > 1e-2
    assert np.isfinite(solution.values).all()

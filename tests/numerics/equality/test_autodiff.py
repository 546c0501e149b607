"""Derivatives from torch and JAX against closed forms, and in SciPy's hands."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from paperworks.numerics import differentiate, minimize_equality


def function(kind, backend):
    xp = torch if backend == "torch" else pytest.importorskip("jax.numpy")
    if kind == "scalar":
        return lambda x: xp.exp(x[0]) * x[1] ** 2 + xp.sin(x[2])
    return lambda x: xp.stack([x[0] * x[1], x[2] ** 3])


X = np.array([0.3, -1.2, 0.7])


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_scalar_function(backend):
    f = differentiate(function("scalar", backend), backend=backend)
    a, b, c = X
    e = np.exp(a)
    assert isinstance(f(X), float)
    assert f(X) == pytest.approx(e * b**2 + np.sin(c), rel=1e-14)
    np.testing.assert_allclose(f.jac(X), [e * b**2, 2 * e * b, np.cos(c)], rtol=1e-14)
    H = [[e * b**2, 2 * e * b, 0], [2 * e * b, 2 * e, 0], [0, 0, -np.sin(c)]]
    np.testing.assert_allclose(f.hess(X) @ np.eye(3), H, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_vector_function(backend):
    f = differentiate(function("vector", backend), backend=backend)
    np.testing.assert_allclose(f(X), [X[0] * X[1], X[2] ** 3], rtol=1e-14)
    np.testing.assert_allclose(f.jac(X), [[X[1], X[0], 0], [0, 0, 3 * X[2] ** 2]], rtol=1e-14)
    H = np.zeros((3, 3))
    H[0, 1] = H[1, 0] = 2.0
    H[2, 2] = -5 * 6 * X[2]
    np.testing.assert_allclose(f.hess(X, [2.0, -5.0]) @ np.eye(3), H, rtol=1e-13, atol=1e-15)
    rule = f.constraint([1.0, 2.0])
    np.testing.assert_allclose(rule.lb, rule.ub)
    np.testing.assert_allclose(rule.hess(X, np.array([2.0, -5.0])) @ np.ones(3), H @ np.ones(3))


def test_constant_and_linear_functions_have_no_curvature():
    flat = differentiate(lambda x: torch.tensor(3.0, dtype=x.dtype))
    np.testing.assert_array_equal(flat.jac(X), np.zeros(3))
    np.testing.assert_array_equal(flat.hess(X) @ X, np.zeros(3))
    linear = differentiate(lambda x: x.sum())
    np.testing.assert_array_equal(linear.jac(X), np.ones(3))
    np.testing.assert_array_equal(linear.hess(X) @ X, np.zeros(3))


def test_jax_keeps_its_own_precision_outside():
    jax = pytest.importorskip("jax")
    before = jax.numpy.ones(1).dtype
    differentiate(lambda x: x.sum(), backend="jax").jac(X)
    assert jax.numpy.ones(1).dtype == before


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_in_the_hands_of_both(backend):
    """Nearest point of a circle to (3, 4)."""
    target = np.array([3.0, 4.0])
    if backend == "jax":
        pytest.importorskip("jax")
    goal = torch.tensor(target) if backend == "torch" else target
    fun = differentiate(lambda x: ((x - goal) ** 2).sum(), backend=backend)
    circle = differentiate(lambda x: (x**2).sum(), backend=backend)
    for result in (
        minimize_equality(fun, [1.0, 0.0], constraints=circle.constraint(1.0), rng=0),
        minimize(
            fun,
            [1.0, 0.0],
            jac=fun.jac,
            hess=fun.hess,
            method="trust-constr",
            constraints=circle.constraint(1.0),
        ),
    ):
        np.testing.assert_allclose(result.x, [0.6, 0.8], atol=1e-5)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="tensorflow"):
        differentiate(lambda x: x, backend="tensorflow")
    with pytest.raises(ValueError, match="callable"):
        differentiate(3.0)
    with pytest.raises(TypeError, match="torch tensor, got float"):
        differentiate(lambda x: 1.0)(X)

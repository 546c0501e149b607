"""Derivatives of torch and JAX functions, in the forms that SciPy and `minimize_equality` take."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import NonlinearConstraint
from scipy.sparse.linalg import LinearOperator

Floats = NDArray[np.float64]
BACKENDS = ("torch", "jax")


class Differentiated:
    """A torch or JAX function with its derivatives, for NumPy arrays.

    Made by :func:`differentiate`. It can be given to `minimize_equality` as `fun`, or as a
    constraint ``function(x) == 0``; and its parts to any of SciPy's minimisers.

    Parameters
    ----------
    function : callable
        As given to :func:`differentiate`; kept as an attribute, as is `backend`.
    backend : {"torch", "jax"}
        Whose function it is.

    Examples
    --------
    >>> from paperworks.numerics import differentiate
    >>> f = differentiate(lambda x: x[0] ** 2 * x[1])
    >>> f([3.0, 2.0]), f.jac([3.0, 2.0]), f.hess([3.0, 2.0]) @ [1.0, 0.0]
    (18.0, array([12.,  9.]), array([4., 6.]))
    """

    def __init__(self, function: Callable[[Any], Any], backend: str) -> None:
        self.function, self.backend = function, backend
        self._tools = _Torch(function) if backend == "torch" else _Jax(function)

    def __call__(self, x: Any) -> Any:
        """The value at x (n,): a float, or an array (m,) where the function returns several."""
        value = self._tools.value(_vector(x))
        return float(value) if value.ndim == 0 else value.ravel()

    def jac(self, x: Any) -> Floats:
        """Gradient (n,) of a scalar function, or Jacobian (m, n)."""
        return self._tools.jacobian(_vector(x))

    def hess(self, x: Any, v: Any = None) -> LinearOperator:
        """Hessian of the function, or of ``v @ function``, as products."""
        x = _vector(x)
        product = self._tools.hessian_product(x, None if v is None else _vector(v))
        return LinearOperator((x.size, x.size), matvec=product, dtype=float)

    def constraint(self, value: Any = 0.0) -> NonlinearConstraint:
        """``function(x) == value`` as a constraint of SciPy."""
        return NonlinearConstraint(
            lambda x: np.atleast_1d(self(x)),
            value,
            value,
            jac=lambda x: np.atleast_2d(self.jac(x)),
            hess=lambda x, v: self.hess(x, np.atleast_1d(v)),
        )


def differentiate(function: Callable[[Any], Any], *, backend: str = "torch") -> Differentiated:
    """Derivatives of a torch or JAX function for `minimize_equality` and SciPy.

    Gradients and Jacobians by reverse mode; Hessian-vector products by reverse over reverse in
    torch, by forward over reverse in JAX, at the cost of a few gradients each.
    No Hessian is formed.

    Parameters
    ----------
    function : callable
        Takes a vector (n,) of float64 (a torch tensor, or a JAX array) and returns a number or a
        vector, built from operations of that framework.
    backend : {"torch", "jax"}
        JAX functions are compiled, and run with 64 bits inside, whatever JAX is set to outside.

    Returns
    -------
    Differentiated
        Callable; with ``jac(x)``, ``hess(x)`` and ``hess(x, v)``, and ``constraint(value)``, the
        function's equality constraint in SciPy's form.

    Raises
    ------
    ValueError
        For an unknown backend.
    ImportError
        Where JAX is asked for and not installed.

    Examples
    --------
    >>> import torch
    >>> from paperworks.numerics import differentiate, minimize_equality
    >>> fun = differentiate(lambda x: ((1 - x) ** 2).sum())
    >>> circle = differentiate(lambda x: x @ x)
    >>> result = minimize_equality(fun, [2.0, 0.5], constraints=circle.constraint(1.0), rng=0)
    >>> result.success, abs(result.x).round(4)
    (True, array([0.7071, 0.7071]))
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be 'torch' or 'jax', got {backend!r}")
    if not callable(function):
        raise ValueError(f"function must be callable, got {type(function).__name__}")
    return Differentiated(function, backend)


def _vector(x: Any) -> Floats:
    return np.atleast_1d(np.array(x, dtype=float))


class _Torch:
    def __init__(self, function: Callable[[Any], Any]) -> None:
        import torch

        self.torch, self.function = torch, function

    def _checked(self, x: Any) -> Any:
        value = self.function(x)
        if not isinstance(value, self.torch.Tensor):
            raise TypeError(
                f"function must return a torch tensor, got {type(value).__name__}; "
                "for JAX functions say backend='jax'"
            )
        return value.squeeze() if value.numel() == 1 and value.ndim < 2 else value

    def value(self, x: Floats) -> Floats:
        with self.torch.no_grad():
            return self._checked(self.torch.from_numpy(x)).numpy().astype(float)

    def jacobian(self, x: Floats) -> Floats:
        torch = self.torch
        z = torch.from_numpy(x).requires_grad_()
        value = self._checked(z)
        rows = []
        for one in value.reshape(-1):
            found = None
            if one.requires_grad:
                found = torch.autograd.grad(one, z, retain_graph=True, allow_unused=True)[0]
            rows.append(np.zeros_like(x) if found is None else found.numpy().astype(float))
        return rows[0] if value.ndim == 0 else np.stack(rows)

    def hessian_product(self, x: Floats, v: Floats | None) -> Callable[[Floats], Floats]:
        torch = self.torch
        z = torch.from_numpy(x).requires_grad_()
        value = self._checked(z)
        scalar = value if v is None else value.reshape(-1) @ torch.from_numpy(v)
        gradient = None
        if scalar.requires_grad:
            gradient = torch.autograd.grad(scalar, z, create_graph=True, allow_unused=True)[0]

        def product(p: Floats) -> Floats:
            if gradient is None or not gradient.requires_grad:
                return np.zeros_like(x)
            found = torch.autograd.grad(
                gradient,
                z,
                torch.from_numpy(np.ravel(p).astype(float)),
                retain_graph=True,
                allow_unused=True,
            )[0]
            return np.zeros_like(x) if found is None else found.numpy().astype(float)

        return product


class _Jax:
    def __init__(self, function: Callable[[Any], Any]) -> None:
        try:
            import jax
        except ImportError as error:
            raise ImportError("backend='jax' needs JAX: pip install jax") from error

        def whole(x: Any) -> Any:
            value = jax.numpy.asarray(function(x))
            return value.reshape(()) if value.size == 1 and value.ndim < 2 else value.reshape(-1)

        def product(x: Any, v: Any, p: Any) -> Any:
            gradient = jax.grad(lambda z: whole(z).reshape(-1) @ v)
            return jax.jvp(gradient, (x,), (p,))[1]

        # It was in jax.experimental before.
        home = jax if hasattr(jax, "enable_x64") else importlib.import_module("jax.experimental")
        self._wide = home.enable_x64
        self._value = jax.jit(whole)
        self._jacobian = jax.jit(jax.jacrev(whole))
        self._product = jax.jit(product)

    def value(self, x: Floats) -> Floats:
        with self._wide(True):
            return np.asarray(self._value(x), dtype=float)

    def jacobian(self, x: Floats) -> Floats:
        with self._wide(True):
            return np.asarray(self._jacobian(x), dtype=float)

    def hessian_product(self, x: Floats, v: Floats | None) -> Callable[[Floats], Floats]:
        weights = np.ones(1) if v is None else v

        def product(p: Floats) -> Floats:
            with self._wide(True):
                return np.asarray(self._product(x, weights, np.ravel(p).astype(float)), dtype=float)

        return product

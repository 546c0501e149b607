"""Numerical methods: transport, least squares, constrained minima, differential equations."""

from typing import TYPE_CHECKING, Any

from paperworks.numerics.equality import Differentiated, differentiate, minimize_equality
from paperworks.numerics.sinkhorn import SinkhornNewtonResult, sinkhorn_newton_sparse
from paperworks.numerics.sketching import (
    SketchedLstsqResult,
    hadamard_transform,
    sketch_rows,
    sketched_lstsq,
)

if TYPE_CHECKING:
    from paperworks.numerics.gp_pde import GPSolution, GPSolver, PDEOperator

__all__ = [
    "sinkhorn_newton_sparse",  # entropic optimal transport at small regularisation
    "SinkhornNewtonResult",
    "sketched_lstsq",  # least squares with many rows, on a random sketch of them
    "SketchedLstsqResult",
    "sketch_rows",  # how many rows a sketch needs for a bound on every coordinate
    "minimize_equality",  # smooth minimisation under equality constraints
    "differentiate",  # derivatives of torch and JAX functions for it, and for SciPy
    "Differentiated",
    "hadamard_transform",  # fast Walsh-Hadamard transform
    "GPSolver",  # differential equations by Gaussian processes that find their frequencies
    "PDEOperator",
    "GPSolution",
]


def __getattr__(name: str) -> Any:
    """What solves differential equations stands on torch, which takes seconds to load."""
    if name in ("GPSolution", "GPSolver", "PDEOperator"):
        from paperworks.numerics import gp_pde

        return getattr(gp_pde, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

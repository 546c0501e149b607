"""Numerical methods: optimal transport, least squares on sketches, constrained minima."""

from paperworks.numerics.equality import Differentiated, differentiate, minimize_equality
from paperworks.numerics.sinkhorn import SinkhornNewtonResult, sinkhorn_newton_sparse
from paperworks.numerics.sketching import (
    SketchedLstsqResult,
    hadamard_transform,
    sketch_rows,
    sketched_lstsq,
)

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
]

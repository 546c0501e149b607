"""Numerical methods: optimal transport, least squares on sketches, differential equations."""

from paperworks.numerics.gp_pde import GPSolution, GPSolver, PDEOperator
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
    "hadamard_transform",  # fast Walsh-Hadamard transform
    "GPSolver",  # differential equations by Gaussian processes that find their frequencies
    "PDEOperator",
    "GPSolution",
]

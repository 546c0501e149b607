"""Numerical methods: optimal transport."""

from paperworks.numerics.sinkhorn import SinkhornNewtonResult, sinkhorn_newton_sparse

__all__ = [
    "sinkhorn_newton_sparse",  # entropic optimal transport at small regularisation
    "SinkhornNewtonResult",
]

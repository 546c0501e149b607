"""Entropic optimal transport by Sinkhorn iterations and sparse Newton steps."""

from paperworks.numerics.sinkhorn.api import SinkhornNewtonResult, sinkhorn_newton_sparse

__all__ = ["sinkhorn_newton_sparse", "SinkhornNewtonResult"]

"""Exponential-integrator samplers: Zhang and Chen 2023, arXiv:2204.13902 (DEIS)."""

from paperworks.diffusion.deis.solvers import IPNDM, AdamsBashforth, RungeKutta, solver_named

__all__ = ["AdamsBashforth", "IPNDM", "RungeKutta", "solver_named"]

"""USF: Liu, Ning, Yang and Wang, "A Unified Sampling Framework for Solver Searching of Diffusion
Probabilistic Models", ICLR 2024, arXiv:2312.07243.

Solvers of few steps differ in a handful of choices, and each makes the same ones at all steps. Here
every step has its own (:class:`Decisions`), the known solvers are special cases (:mod:`.presets`),
and a search finds the schedule of a given number of evaluations (:func:`search_schedule`).
"""

from paperworks.diffusion.usf.coefficients import function_key, moves
from paperworks.diffusion.usf.decisions import Decisions, Step
from paperworks.diffusion.usf.objective import OnSamples
from paperworks.diffusion.usf.presets import (
    by_hand,
    ddim,
    deis,
    dpm_solver,
    dpm_solver_singlestep,
    unipc,
)
from paperworks.diffusion.usf.search import Found, search_schedule
from paperworks.diffusion.usf.solver import USFSolver

__all__ = [
    "Decisions",  # a solver schedule
    "Step",  # how one of its steps is made
    "USFSolver",  # the sampler that it is
    # the search for one
    "search_schedule",
    "OnSamples",  # what to search for
    "Found",
    # schedules made by hand
    "by_hand",
    "ddim",
    "dpm_solver",
    "dpm_solver_singlestep",
    "unipc",
    "deis",
    # what they come to
    "moves",
    "function_key",
]

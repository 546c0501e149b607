"""Differential equations by Gaussian processes with mixture spectra, on grids."""

from paperworks.numerics.gp_pde.operators import PDEOperator
from paperworks.numerics.gp_pde.solution import GPSolution
from paperworks.numerics.gp_pde.solver import GPSolver

__all__ = ["GPSolver", "PDEOperator", "GPSolution"]

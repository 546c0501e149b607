"""Equality-constrained minimisation by Newton steps that are solved by random sketches."""

from paperworks.numerics.equality.autodiff import Differentiated, differentiate
from paperworks.numerics.equality.solve import minimize_equality

__all__ = ["Differentiated", "differentiate", "minimize_equality"]

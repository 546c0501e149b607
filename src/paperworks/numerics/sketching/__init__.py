"""Least squares on random sketches of the rows, and the fast Hadamard transform below it."""

from paperworks.numerics.sketching.hadamard import hadamard_transform
from paperworks.numerics.sketching.lstsq import SketchedLstsqResult, sketched_lstsq
from paperworks.numerics.sketching.rows import sketch_rows

__all__ = ["sketched_lstsq", "SketchedLstsqResult", "sketch_rows", "hadamard_transform"]

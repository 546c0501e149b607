"""What a person hands in, checked and brought to tensors on the grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paperworks.numerics.gp_pde.axes import Axis, mesh
from paperworks.numerics.gp_pde.operators import Index, PDEOperator

LEAST_POINTS = 5
LARGEST = 1e100  # squares and derivatives of data must not overflow


@dataclass(frozen=True, eq=False)
class Problem:
    """An equation with its data on a grid; fields are float64 tensors of the grid's shape."""

    operator: PDEOperator
    axes: tuple[Axis, ...]
    source: Tensor
    boundary: Tensor  # zero where no value is given

    @property
    def shape(self) -> tuple[int, ...]:
        """Nodes of each axis."""
        return tuple(len(axis) for axis in self.axes)

    @cached_property
    def coefficients(self) -> dict[Index, float | Tensor]:
        """Those of the linear part, on the grid."""
        return self.operator.coefficients(mesh(self.axes))

    @cached_property
    def free(self) -> tuple[slice, ...]:
        """Where the field is unknown and the equation is asked: all but the given faces."""
        return free_nodes(self.operator)

    @cached_property
    def given(self) -> Tensor:
        """Where values are given, as a mask."""
        out = torch.ones(self.shape, dtype=torch.bool)
        out[self.free] = False
        return out


def free_nodes(operator: PDEOperator) -> tuple[slice, ...]:
    """The nodes of each axis that lie on no given face."""
    return tuple(
        slice(1 if face in ("lower", "both") else 0, -1 if face in ("upper", "both") else None)
        for face in operator.faces
    )


def read_axes(grid: Any, operator: PDEOperator) -> tuple[Axis, ...]:
    """One increasing array of points for each coordinate; a bare array is taken in 1-D."""
    if operator.dim == 1 and np.ndim(grid) == 1:
        grid = (grid,)
    if not np.iterable(grid):
        raise ValueError(f"grid must be arrays of points, one for each coordinate, got {grid!r}")
    grids = list(grid)
    if len(grids) != operator.dim:
        raise ValueError(
            f"grid must hold one array of points for each of the {operator.dim} coordinates of "
            f"{operator.name}, got {len(grids)}"
        )
    axes = []
    for i, points in enumerate(grids):
        try:
            x = np.array(points, dtype=np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"axis {i} of the grid must be numbers, got {points!r}") from None
        if x.ndim != 1 or len(x) < LEAST_POINTS:
            raise ValueError(
                f"axis {i} of the grid must be a row of at least {LEAST_POINTS} points, "
                f"got shape {x.shape}"
            )
        if not np.isfinite(x).all():
            raise ValueError(f"axis {i} of the grid has points that are not finite")
        if not (np.diff(x) > 0).all():
            raise ValueError(f"axis {i} of the grid must increase from point to point")
        axes.append(Axis(torch.from_numpy(x)))
    return tuple(axes)


def read_problem(
    operator: PDEOperator, axes: tuple[Axis, ...], source: Any, boundary: Any
) -> Problem:
    """Check source and boundary values against the grid."""
    shape = tuple(len(axis) for axis in axes)
    where = torch.ones(shape, dtype=torch.bool)
    where[free_nodes(operator)] = False
    values = _field(boundary, "boundary", axes, where)
    values[~where] = 0.0
    everywhere = torch.ones(shape, dtype=torch.bool)
    return Problem(operator, axes, _field(source, "source", axes, everywhere), values)


def _field(data: Any, name: str, axes: Sequence[Axis], used: Tensor) -> Tensor:
    """A number, a function of the coordinates, or an array of the grid's shape."""
    shape = tuple(len(axis) for axis in axes)
    if data is None:
        data = 0.0
    if callable(data):
        data = data(*mesh(axes))
        try:
            data = np.broadcast_to(np.asarray(data, dtype=np.float64), shape)
        except ValueError:
            raise ValueError(
                f"{name} returned shape {np.shape(data)} for coordinates that broadcast to the "
                f"grid's {shape}"
            ) from None
    if isinstance(data, Tensor):
        data = data.detach().cpu().numpy()
    array = np.asarray(data)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be real numbers, got dtype {array.dtype}")
    if array.shape not in ((), shape):
        raise ValueError(
            f"{name} has shape {array.shape}, but the grid is {shape}; give an array of the "
            "grid's shape, a number, or a function of the coordinates"
        )
    out = torch.from_numpy(np.array(np.broadcast_to(array, shape), dtype=np.float64))
    wrong = ~(out.abs() <= LARGEST) & used
    if wrong.any():
        where = tuple(int(i) for i in wrong.nonzero()[0])
        raise ValueError(
            f"{name} is {float(out[where])} at grid index {where}, and at {int(wrong.sum())} "
            f"nodes in all; it must be finite, and below {LARGEST:.0e}"
        )
    return out

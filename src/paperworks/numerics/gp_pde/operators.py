"""A differential equation on a box, said in a line.

``sum over a of c_a(x) d^a u + nonlinear(u, fields ...) = source(x)``: coefficients by multi-index,
and a pointwise function of some derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Index = tuple[int, ...]
FACES = ("both", "lower", "upper", "none")


class PDEOperator:
    r"""Left-hand side of a differential equation in one, two or three dimensions.

    ``sum_a c_a(x) d^a u(x) + nonlinear(d^b u(x), ...)``, where ``a`` and ``b`` are multi-indices:
    ``(2, 0)`` is the second derivative in the first coordinate of two.

    Parameters
    ----------
    terms : mapping of multi-index to coefficient
        The linear part. A coefficient is a number, or a function of the coordinates (arrays that
        broadcast to the grid) for one that varies.
    nonlinear : callable, optional
        A pointwise function in PyTorch's operations, called with the fields of `reads`, tensors
        of the grid's shape in float64. Its derivatives are taken automatically.
    reads : sequence of multi-index, optional
        Which derivatives `nonlinear` takes, in order. The default is u alone.
    faces : sequence of {"both", "lower", "upper", "none"}, optional
        For each coordinate, on which ends of the box values are given. The default is "both"
        where a second or higher derivative in it occurs, "lower" where only a first one does (an
        initial value, or an inflow), and "none" where it is not differentiated. For first-order
        terms of a negative coefficient that is the wrong end: name it.
    name : str, optional
        For messages.

    Raises
    ------
    ValueError
        For multi-indices of unequal or wrong length, for negative orders, and so on; the message
        names the value.

    Notes
    -----
    Ready-made: :meth:`poisson`, :meth:`helmholtz`, :meth:`allen_cahn`, :meth:`advection`,
    :meth:`heat`, :meth:`burgers`. Time is a coordinate like another.

    Examples
    --------
    Allen-Cahn in the plane, and a viscous Burgers equation in (x, t):

    >>> from paperworks.numerics import PDEOperator
    >>> allen_cahn = PDEOperator({(2, 0): 1.0, (0, 2): 1.0}, nonlinear=lambda u: u**3 - u)
    >>> allen_cahn.dim, allen_cahn.faces, allen_cahn.linear
    (2, ('both', 'both'), False)
    >>> burgers = PDEOperator(
    ...     {(0, 1): 1.0, (2, 0): -0.01},
    ...     nonlinear=lambda u, u_x: u * u_x,
    ...     reads=((0, 0), (1, 0)),
    ... )
    >>> burgers.faces, burgers.orders(0)
    (('both', 'lower'), (1, 2))
    """

    def __init__(
        self,
        terms: Mapping[Any, Any],
        *,
        nonlinear: Callable[..., Tensor] | None = None,
        reads: Sequence[Sequence[int]] | None = None,
        faces: Sequence[str] | None = None,
        name: str = "",
    ) -> None:
        if not terms:
            raise ValueError("terms must name at least one derivative, such as {(2,): 1.0}")
        self.terms: dict[Index, Any] = {_index(key): value for key, value in terms.items()}
        self.dim = len(next(iter(self.terms)))
        if not 1 <= self.dim <= 3:
            raise ValueError(f"multi-indices must have 1, 2 or 3 entries, got {self.dim}")
        if reads is not None and nonlinear is None:
            raise ValueError("reads names fields for nonlinear, but nonlinear is not given")
        self.nonlinear = nonlinear
        if nonlinear is None:
            self.reads: tuple[Index, ...] = ()
        else:
            self.reads = ((0,) * self.dim,) if reads is None else tuple(map(_index, reads))
        for index in (*self.terms, *self.reads):
            if len(index) != self.dim:
                raise ValueError(
                    f"multi-index {index} has {len(index)} entries, where others have {self.dim}"
                )
        for index, value in self.terms.items():
            if not callable(value) and not math.isfinite(value):
                raise ValueError(f"the coefficient of {index} must be finite, got {value}")
        self.name = name or "a PDE"
        self.faces = self._default_faces() if faces is None else tuple(faces)
        if len(self.faces) != self.dim or not set(self.faces) <= set(FACES):
            raise ValueError(f"faces must be {self.dim} of {FACES}, got {self.faces}")

    @property
    def linear(self) -> bool:
        """Whether there is no nonlinear part."""
        return self.nonlinear is None

    @property
    def indices(self) -> tuple[Index, ...]:
        """All multi-indices that occur."""
        return tuple(dict.fromkeys((*self.terms, *self.reads)))

    def orders(self, dim: int) -> tuple[int, ...]:
        """Orders of the derivatives in the coordinate `dim`, without zero."""
        return tuple(sorted({index[dim] for index in self.indices} - {0}))

    def _default_faces(self) -> tuple[str, ...]:
        highest = [max(self.orders(dim), default=0) for dim in range(self.dim)]
        return tuple("none" if h == 0 else "lower" if h == 1 else "both" for h in highest)

    def coefficients(self, coordinates: Sequence[np.ndarray]) -> dict[Index, float | Tensor]:
        """Numbers as they are; functions as tensors of the grid's shape."""
        shape = np.broadcast_shapes(*(each.shape for each in coordinates))
        out: dict[Index, float | Tensor] = {}
        for index, value in self.terms.items():
            if not callable(value):
                out[index] = float(value)
                continue
            array = np.broadcast_to(np.asarray(value(*coordinates), dtype=np.float64), shape)
            if not np.isfinite(array).all():
                raise ValueError(f"the coefficient of {index} is not finite on the whole grid")
            out[index] = torch.from_numpy(array.copy())
        return out

    def apply(
        self, fields: Mapping[Index, Tensor], coefficients: Mapping[Index, float | Tensor]
    ) -> Tensor:
        """The left-hand side on a grid, from the derivatives there."""
        out = sum(value * fields[index] for index, value in coefficients.items())
        if self.nonlinear is not None:
            out = out + self.nonlinear(*(fields[index] for index in self.reads))
        assert isinstance(out, Tensor)
        return out

    def slopes(
        self, fields: Mapping[Index, Tensor], coefficients: Mapping[Index, float | Tensor]
    ) -> dict[Index, float | Tensor]:
        """Derivatives of the left-hand side by each field: the coefficients of its Jacobian."""
        out: dict[Index, float | Tensor] = dict(coefficients)
        if self.nonlinear is None:
            return out
        leaves = [fields[index].detach().clone().requires_grad_(True) for index in self.reads]
        with torch.enable_grad():
            value = self.nonlinear(*leaves)
            if not isinstance(value, Tensor) or value.shape != leaves[0].shape:
                got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(
                    "nonlinear must return a tensor of the shape of its fields, "
                    f"{tuple(leaves[0].shape)}, got {got}"
                )
            if not value.requires_grad:  # a constant
                return out
            slopes = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
        for index, slope in zip(self.reads, slopes, strict=True):
            if slope is not None:
                out[index] = out.get(index, 0.0) + slope
        return out

    @classmethod
    def poisson(cls, dim: int) -> PDEOperator:
        """The Laplacian in `dim` dimensions."""
        return cls(_laplacian(dim), name=f"Poisson in {dim}-D")

    @classmethod
    def helmholtz(cls, dim: int, wavenumber: float) -> PDEOperator:
        """``laplacian(u) + wavenumber^2 u``."""
        terms = {**_laplacian(dim), (0,) * dim: float(wavenumber) ** 2}
        return cls(terms, name=f"Helmholtz in {dim}-D")

    @classmethod
    def allen_cahn(cls, dim: int, *, mobility: float = 1.0) -> PDEOperator:
        """``mobility laplacian(u) + u (u^2 - 1)``, the steady equation of the paper."""
        return cls(
            _laplacian(dim, mobility),
            nonlinear=lambda u: u * (u * u - 1.0),
            name=f"Allen-Cahn in {dim}-D",
        )

    @classmethod
    def advection(cls, *velocity: float) -> PDEOperator:
        """``velocity . grad(u) + u_t`` on (space, t), with values at t = 0 and at the inflow."""
        dim = len(velocity) + 1
        terms = {_unit(dim, i, 1): float(v) for i, v in enumerate(velocity)}
        faces = ["lower" if v > 0 else "upper" if v < 0 else "none" for v in velocity]
        terms[_unit(dim, dim - 1, 1)] = 1.0
        return cls(terms, faces=[*faces, "lower"], name=f"advection at {velocity}")

    @classmethod
    def heat(cls, space: int, diffusivity: float = 1.0) -> PDEOperator:
        """``u_t - diffusivity laplacian(u)`` on (space, t)."""
        if not diffusivity > 0:
            raise ValueError(f"diffusivity must be > 0, got {diffusivity}")
        terms = {_unit(space + 1, i, 2): -float(diffusivity) for i in range(space)}
        return cls({**terms, _unit(space + 1, space, 1): 1.0}, name=f"heat in {space}-D")

    @classmethod
    def burgers(cls, viscosity: float) -> PDEOperator:
        """``u_t + u u_x - viscosity u_xx`` on (x, t)."""
        if not viscosity > 0:
            raise ValueError(f"viscosity must be > 0, got {viscosity}")
        return cls(
            {(0, 1): 1.0, (2, 0): -float(viscosity)},
            nonlinear=lambda u, u_x: u * u_x,
            reads=((0, 0), (1, 0)),
            name="Burgers",
        )


def _index(key: Any) -> Index:
    orders = (key,) if isinstance(key, int) else tuple(key)
    if not all(isinstance(order, int | np.integer) and order >= 0 for order in orders):
        raise ValueError(f"a multi-index holds whole numbers >= 0, got {key!r}")
    return tuple(int(order) for order in orders)


def _unit(dim: int, i: int, order: int) -> Index:
    return tuple(order if j == i else 0 for j in range(dim))


def _laplacian(dim: int, factor: float = 1.0) -> dict[Index, Any]:
    if dim not in (1, 2, 3):
        raise ValueError(f"dim must be 1, 2 or 3, got {dim}")
    return {_unit(dim, i, 2): float(factor) for i in range(dim)}

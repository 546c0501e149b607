"""What a solve returns: the field, its derivatives and their variance anywhere, the spectrum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paperworks.numerics.gp_pde.axes import Axis, Basis, along
from paperworks.numerics.gp_pde.kernels import Mixture

CHUNK, ENTRIES = 4096, 4_000_000  # points at once, and entries of an array for them


@dataclass(frozen=True)
class Round:
    """One round of a solve: the equation solved under one kernel.

    Attributes
    ----------
    number : int
        0 is the kernel as it starts. For "joint": steps of Adam so far.
    residual : float
        Of the equation at the free nodes, rms, relative to its largest term.
    withheld : float
        The same at the nodes of given values, where the equation was not asked: an estimate of
        how good the kernel is, that no choice was made on but that of the round. For "joint",
        which asks the equation everywhere: by how much the given values are missed, rms.
    components : tuple of int
        Components left on each axis.
    log_prior : float
        Of the field that the kernel was learned from, up to a constant; nan for round 0. For
        "joint": the joint log probability.
    """

    number: int
    residual: float
    withheld: float
    components: tuple[int, ...]
    log_prior: float

    def __str__(self) -> str:
        return (
            f"round {self.number}: residual {self.residual:.1e}, withheld {self.withheld:.1e}, "
            f"components {self.components}"
        )


@dataclass(frozen=True, eq=False, repr=False)
class GPSolution:
    """The solution of a differential equation as a Gaussian process given its grid values.

    Attributes
    ----------
    values : float64 array of the grid's shape
        The field at the collocation points.
    grid : tuple of float64 arrays
        The points of each axis.
    converged : bool
        Whether the equation is met at the free nodes to 1e-6 of its largest term. It says that
        the discrete system is solved, not that the grid is fine enough: `withheld` hints at that.
    residual, withheld : float
        Of the equation, rms, relative to its largest term: at the free nodes, and at the nodes
        of given values, where the "collocation" method does not ask for it. For "joint" the first
        is over all nodes, relative to the source, and the second is the rms of the field minus
        the given values, which it meets only approximately.
    rounds : tuple of Round
        What happened, in order.
    method : {"collocation", "joint"}
        How it was found.

    Notes
    -----
    The variance is that of the process given the values on the grid. It says what interpolation
    between the nodes leaves open, not by how much the nodes are off.

    Examples
    --------
    >>> import numpy as np
    >>> from paperworks.numerics import GPSolver, PDEOperator
    >>> x = np.linspace(0, 1, 60)
    >>> solver = GPSolver(PDEOperator.poisson(1), x, components=12)
    >>> solution = solver.solve(-900 * np.sin(30 * x), boundary=np.sin(30 * x))
    >>> solution  # doctest: +ELLIPSIS
    GPSolution(60 nodes, converged, residual ..., withheld ...)
    >>> points = np.array([0.123, 0.5])
    >>> mean, std = solution.predict(points, return_std=True)
    >>> bool(np.abs(mean - np.sin(30 * points)).max() < 1e-4)
    True
    >>> round(float(solution.spectrum()["frequency"][0] * 2 * np.pi), 1)
    30.0
    """

    values: np.ndarray
    grid: tuple[np.ndarray, ...]
    converged: bool
    residual: float
    withheld: float
    rounds: tuple[Round, ...]
    method: str
    _axes: tuple[Axis, ...]
    _kernels: tuple[Mixture, ...]  # with the floor: what the field was solved under
    _learned: tuple[Mixture, ...]
    _jitter: float
    _scale: float  # of the field; kernels have a variance about 1

    def __repr__(self) -> str:
        nodes = " x ".join(map(str, self.values.shape))
        end = "converged" if self.converged else "not converged"
        return (
            f"GPSolution({nodes} nodes, {end}, residual {self.residual:.1e}, "
            f"withheld {self.withheld:.1e})"
        )

    @cached_property
    def _bases(self) -> list[Basis]:
        return [
            Basis(axis, kernel, (), self._jitter)
            for axis, kernel in zip(self._axes, self._kernels, strict=True)
        ]

    def _interpolation(self, dim: int, x: Tensor, order: int) -> tuple[Tensor, Tensor]:
        """``c inv(K)`` and the rows of ``c``, the covariance of points with an axis' nodes.

        An inverse is taken with its own axis' covariance before anything else is multiplied: the
        product is of moderate size, while the inverses of several axes together are not.
        """
        basis = self._bases[dim]
        cross = basis.cross(x, order)
        return torch.cholesky_solve(cross.T, basis.factor).T, cross

    def spectrum(self, axis: int = 0) -> dict[str, np.ndarray]:
        """The components that are left on an axis, the heaviest first.

        Parameters
        ----------
        axis : int
            Which coordinate.

        Returns
        -------
        dict of arrays of shape (components,)
            "frequency" in cycles per unit of x, "weight" as shares of 1, and "width", the scale
            of the spectral line, in the unit of the frequency.
        """
        return {key: value.copy() for key, value in self._learned[axis].spectrum.items()}

    def predict(
        self,
        points: Any,
        derivative: Sequence[int] | int | None = None,
        *,
        return_std: bool = False,
    ) -> Any:
        """Mean, and standard deviation, of the field or a derivative at scattered points.

        Parameters
        ----------
        points : (m, d) array, or (m,) in one dimension
            Anywhere; beyond the grid the process tends to its prior.
        derivative : multi-index, optional
            Such as ``(2, 0)``; the field itself by default.
        return_std : bool
            Whether to return the standard deviation too.

        Returns
        -------
        mean : (m,) float64 array
        std : (m,) float64 array
            Only with `return_std`.

        Notes
        -----
        ``O(m N / n_d + m sum n_i^2)`` time for N nodes; points are taken in
        blocks, so that memory does not grow with m.
        """
        order = self._order(derivative, return_std)
        x = torch.as_tensor(np.array(points, dtype=np.float64))
        if len(self.grid) == 1 and x.ndim == 1:
            x = x[:, None]
        if x.ndim != 2 or x.shape[1] != len(self.grid):
            raise ValueError(f"points must have shape (m, {len(self.grid)}), got {tuple(x.shape)}")
        if not torch.isfinite(x).all():
            raise ValueError("points must be finite")
        mean, std = np.empty(len(x)), np.empty(len(x))
        prior = self._scale**2 * float(
            np.prod([basis.variance(m) for basis, m in zip(self._bases, order, strict=True)])
        )
        field = torch.from_numpy(self.values)
        row = max(field.numel() // len(self.grid[-1]), *field.shape)
        for part in _parts(len(x), row):
            rows = [self._interpolation(dim, x[part, dim], order[dim]) for dim in range(len(order))]
            # Contract the last axis first for all points, then the others point by point.
            out = torch.tensordot(field, rows[-1][0], dims=([-1], [1]))
            for weights, _ in rows[-2::-1]:
                out = torch.einsum("...nm,mn->...m", out, weights)
            mean[part] = out.numpy()
            if return_std:
                explained = torch.full((len(out),), self._scale**2, dtype=torch.float64)
                for weights, cross in rows:
                    explained *= (weights * cross).sum(1)
                std[part] = (prior - explained).clamp_min(0.0).sqrt().numpy()
        return (mean, std) if return_std else mean

    def on_grid(self, *axes: Any, derivative: Sequence[int] | int | None = None) -> np.ndarray:
        """Mean of the field, or a derivative, on another grid.

        Parameters
        ----------
        *axes : arrays
            The points of each axis.
        derivative : multi-index, optional
            The field itself by default.

        Returns
        -------
        float64 array of shape ``(len(axes[0]), ...)``
        """
        order = self._order(derivative, False)
        if len(axes) != len(self.grid):
            raise ValueError(f"give {len(self.grid)} axes, got {len(axes)}")
        out = torch.from_numpy(self.values)
        for dim, points in enumerate(axes):
            x = torch.as_tensor(np.array(points, dtype=np.float64))
            if x.ndim != 1 or not torch.isfinite(x).all():
                raise ValueError(f"axis {dim} must be a row of finite points")
            out = along(self._interpolation(dim, x, order[dim])[0], out, dim)
        return out.numpy().copy()

    def _order(self, derivative: Any, squared: bool) -> tuple[int, ...]:
        dims = len(self.grid)
        if derivative is None:
            return (0,) * dims
        order = (derivative,) if isinstance(derivative, int) else tuple(derivative)
        if len(order) != dims or not all(isinstance(m, int) and m >= 0 for m in order):
            raise ValueError(f"derivative must be {dims} whole numbers >= 0, got {derivative!r}")
        smooth = min(kernel.order for kernel in self._kernels)
        # The mean has twice as many derivatives as the process, short of the last.
        if max(order) > (smooth if squared else 2 * smooth):
            raise ValueError(
                f"derivative {order} does not exist under this kernel; take a higher dof, or "
                'kernel="gaussian"'
            )
        return order


def _parts(count: int, row: int) -> Iterator[slice]:
    step = max(1, min(CHUNK, ENTRIES // max(row, 1)))
    for start in range(0, count, step):
        yield slice(start, start + step)

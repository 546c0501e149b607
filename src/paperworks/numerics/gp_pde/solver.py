"""Differential equations by Gaussian processes whose spectrum finds its own frequencies.

Fang, Cooley, Long, Li, Kirby and Zhe, "Solving High Frequency and Multi-Scale PDEs with Gaussian
Processes", ICLR 2024, arXiv:2311.04465 (GP-HM): a product of one spectral mixture per axis, weights
in the log domain, collocation on a grid, derivatives from the conditional mean, and the joint
probability of field, equation and boundary values maximised by Adam. ``method="joint"`` is that
(``joint.py``). What departs from it in the default, ``method="collocation"``:

- The precisions of equation and boundary values, which the paper's ascent lets grow, are taken to
  their limit: the field meets the equation at every free node (``collocation.py``). The kernel then
  maximises the paper's log prior of that field (``learning.py``), and the two alternate for a few
  rounds, in place of 10^5 to 10^6 steps of Adam.
- The field is solved under the learned mixture above a low floor of the starting one. Alone, a
  pruned kernel cannot represent, nor correct, what it has dropped.
- The equation is not asked at the nodes of given values. Its residual there says which round was
  best, and how far to trust the field in the next one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paperworks.numerics.gp_pde.axes import JITTER, Basis
from paperworks.numerics.gp_pde.collocation import Collocated, collocate
from paperworks.numerics.gp_pde.joint import ascend
from paperworks.numerics.gp_pde.kernels import KINDS, Mixture
from paperworks.numerics.gp_pde.learning import learn
from paperworks.numerics.gp_pde.operators import PDEOperator
from paperworks.numerics.gp_pde.problem import Problem, read_axes, read_problem
from paperworks.numerics.gp_pde.solution import GPSolution, Round

FLOOR = 1e-6  # weight of the starting mixture below the learned one
BAND = 0.6  # of Nyquist's frequency: the default band
WEIGHT_STEP = 5.0
# The field's own error, which the kernel should not fit, as part of the withheld residual.
TRUST, LEAST_JITTER, MOST_JITTER = 0.03, 1e-10, 1e-2
# Fields of two rounds that agree so far are the same.
SAME = 1e-11
# Rounds in a row that make the field no better.
PATIENCE = 2

Callback = Callable[[Round], Any]


@dataclass(frozen=True, eq=False)
class _Best:
    field: Collocated
    kernels: tuple[Mixture, ...]
    learned: tuple[Mixture, ...]


class GPSolver:
    r"""Solve differential equations whose solution oscillates fast or on several scales.

    The solution on a box in one, two or three dimensions is a Gaussian process with the covariance
    ``prod_i k_i(x_i - x_i')``. Each ``k_i`` is a mixture over frequencies, which are learned from
    the solution itself; those that are not needed vanish. All algebra is on the n_i x n_i matrices
    of the axes.

    Take a spectral or finite-difference method where the equation is smooth, known and the grid
    resolves it well, since these are quicker and need no frequencies (``docs/papers/gp-hm.md`` has
    the comparison); take finite elements on anything but a box.

    Parameters
    ----------
    operator : PDEOperator
        The left-hand side.
    grid : sequence of arrays, or one array in 1-D
        Increasing collocation points of each axis, ends of the box included. Evenly spaced axes
        are several times cheaper to learn on. Some three points per period of the highest
        frequency are needed.
    kernel : {"student-t", "gaussian"}
        Law of the spectral lines. "student-t" is the paper's preferred one; "gaussian" (the
        spectral mixture kernel) is smoother, and exacter where the solution is.
    dof : int
        Degrees of freedom of Student's t, odd. 5, as in the paper's code (Matern-5/2), allows
        derivatives of order 2 in each coordinate, ``dof = 2 p + 1`` those of order p.
    components : int
        Frequencies to start with on each axis; the paper's code has 30.
    max_frequency : float or sequence of float, optional
        Upper end of the starting band, in cycles per unit of x, for all axes or each. The default
        is 0.6 of what the grid can resolve.

    Raises
    ------
    ValueError
        Where the grid does not fit the operator, the kernel has too few derivatives for it, and so
        on; the message names the value.

    Notes
    -----
    N nodes, n_i of them on axis i, and Q components an axis: a round costs
    ``O(iterations (N sum n_i + sum n_i^3 + Q sum n_i))``, memory is ``O(N + sum n_i^2)``.

    References
    ----------
    .. [1] S. Fang, M. Cooley, D. Long, S. Li, R. Kirby and S. Zhe, "Solving High Frequency and
       Multi-Scale PDEs with Gaussian Processes", ICLR 2024, arXiv:2311.04465.

    Examples
    --------
    >>> import numpy as np
    >>> from paperworks.numerics import GPSolver, PDEOperator
    >>> def u(x):
    ...     return np.sin(40 * x) + 0.1 * np.sin(9 * x)
    >>> def f(x):
    ...     return -1600 * np.sin(40 * x) - 8.1 * np.sin(9 * x)
    >>> x = np.linspace(0, 2, 100)
    >>> solution = GPSolver(PDEOperator.poisson(1), x, kernel="gaussian").solve(f, boundary=u)
    >>> solution.converged, bool(np.abs(solution.values - u(x)).max() < 1e-5)
    (True, True)
    """

    def __init__(
        self,
        operator: PDEOperator,
        grid: Any,
        *,
        kernel: str = "student-t",
        dof: int = 5,
        components: int = 30,
        max_frequency: Any = None,
    ) -> None:
        if not isinstance(operator, PDEOperator):
            raise ValueError(f"operator must be a PDEOperator, got {operator!r}")
        if kernel not in KINDS:
            raise ValueError(f"kernel must be one of {KINDS}, got {kernel!r}")
        if not isinstance(dof, int) or dof < 3 or dof % 2 == 0:
            raise ValueError(f"dof must be an odd whole number >= 3, got {dof!r}")
        if not isinstance(components, int) or components < 1:
            raise ValueError(f"components must be a whole number >= 1, got {components!r}")
        self.operator = operator
        self.axes = read_axes(grid, operator)
        self.kernel, self.components = kernel, int(components)
        self.dof = None if kernel == "gaussian" else int(dof)
        highest = max(max(operator.orders(dim), default=0) for dim in range(operator.dim))
        if self.dof is not None and highest > (self.dof - 1) // 2:
            raise ValueError(
                f'{operator.name} has a derivative of order {highest}, but kernel="student-t" with '
                f"dof={dof} allows {(self.dof - 1) // 2}; take dof={2 * highest + 1} or "
                'kernel="gaussian"'
            )
        self.max_frequency = self._band(max_frequency)

    def _band(self, given: Any) -> tuple[float, ...]:
        if given is None:
            return tuple(BAND * axis.nyquist for axis in self.axes)
        try:
            band = np.broadcast_to(np.asarray(given, dtype=np.float64), (len(self.axes),))
        except (TypeError, ValueError):
            raise ValueError(
                f"max_frequency must be a number, or {len(self.axes)} of them, got {given!r}"
            ) from None
        for axis, highest in zip(self.axes, band, strict=True):
            if not 0 < highest <= axis.nyquist:
                raise ValueError(
                    f"max_frequency must be > 0 and at most {axis.nyquist:.6g}, the highest that "
                    f"the grid resolves, got {highest}; a finer grid resolves more"
                )
        return tuple(float(highest) for highest in band)

    def solve(
        self,
        source: Any = 0.0,
        boundary: Any = 0.0,
        *,
        method: str = "collocation",
        rounds: int = 5,
        iterations: int | None = None,
        learning_rate: float = 0.01,
        rng: Any = None,
        callback: Callback | None = None,
    ) -> GPSolution:
        """Solve for one source and one set of boundary (and initial) values.

        Parameters
        ----------
        source, boundary : array of the grid's shape, number, or function of the coordinates
            The right-hand side, and the values on the operator's faces. Of a boundary array only
            the faces are read, the rest may be anything. Functions get one array for each
            coordinate, which broadcast to the grid.
        method : {"collocation", "joint"}
            "joint" is the paper's ascent on field and kernel together: thousands of times slower,
            but it also takes conditions for which "collocation" is singular, since the prior fills
            in what they leave open.
        rounds : int
            Rounds of learning the kernel, for "collocation"; 0 keeps the starting mixture. For
            "joint" the callback is called so many times.
        iterations : int, optional
            Of L-BFGS in a round, 40 by default; of Adam in all for "joint", 20,000 by default (the
            paper's code runs 10^5 to 3 * 10^6).
        learning_rate : float
            Of Adam.
        rng : int, numpy.random.Generator or None
            None starts from evenly spaced frequencies, as the paper does; otherwise they are drawn
            one to a cell. Nothing else is random.
        callback : callable, optional
            Called with each :class:`Round` (``print`` shows progress). Where it returns True, no
            further round is made.

        Returns
        -------
        GPSolution

        Raises
        ------
        ValueError
            For data that do not fit the grid or are not finite; the message says where.
        """
        if method not in ("collocation", "joint"):
            raise ValueError(f'method must be "collocation" or "joint", got {method!r}')
        if rounds != int(rounds) or rounds < 0:
            raise ValueError(f"rounds must be a whole number >= 0, got {rounds}")
        if iterations is not None and (iterations != int(iterations) or iterations < 1):
            raise ValueError(f"iterations must be a whole number >= 1, got {iterations}")
        if not learning_rate > 0:
            raise ValueError(f"learning_rate must be > 0, got {learning_rate}")
        problem = read_problem(self.operator, self.axes, source, boundary)
        generator = None if rng is None else np.random.default_rng(rng)
        start = tuple(
            Mixture.spread(self.components, highest, self.dof, generator)
            for highest in self.max_frequency
        )
        if method == "joint":
            return ascend(
                problem,
                start,
                steps=20_000 if iterations is None else int(iterations),
                reports=max(1, int(rounds)),
                learning_rate=float(learning_rate),
                callback=callback,
            )
        return self._alternate(problem, start, int(rounds), int(iterations or 40), callback)

    def _alternate(
        self,
        problem: Problem,
        start: tuple[Mixture, ...],
        rounds: int,
        iterations: int,
        callback: Callback | None,
    ) -> GPSolution:
        best = self._solve_under(problem, start, None, None)
        history = [self._report(0, best, math.nan)]
        stop = callback is not None and callback(history[0]) is True
        weight_step, trust, failures = WEIGHT_STEP, TRUST, 0
        for number in range(1, rounds + 1):
            size = _size(best.field.values)
            if stop or size == 0.0 or not math.isfinite(best.field.withheld):
                break
            error = (trust * best.field.withheld) ** 2
            learned, value = learn(
                best.field.values / size,
                self.axes,
                best.learned,
                jitter=min(max(error, LEAST_JITTER), MOST_JITTER),
                iterations=iterations,
                weight_step=weight_step,
            )
            new = self._solve_under(problem, start, tuple(learned), best.field.values)
            history.append(self._report(number, new, -value))
            stop = callback is not None and callback(history[-1]) is True
            moved = _size(new.field.values - best.field.values)
            if new.field.withheld < best.field.withheld:
                best, failures = new, 0
            else:
                # Undo it; prune more slowly, and trust the field less.
                weight_step, trust, failures = weight_step / 4, trust * 10, failures + 1
            if moved <= SAME * size or failures == PATIENCE:
                break
        return GPSolution(
            values=best.field.values.numpy().copy(),
            grid=tuple(axis.points.numpy().copy() for axis in self.axes),
            converged=best.field.converged,
            residual=best.field.residual,
            withheld=best.field.withheld,
            rounds=tuple(history),
            method="collocation",
            _axes=self.axes,
            _kernels=best.kernels,
            _learned=best.learned,
            _jitter=JITTER,
            _scale=_size(best.field.values) or 1.0,
        )

    def _solve_under(
        self,
        problem: Problem,
        start: tuple[Mixture, ...],
        learned: tuple[Mixture, ...] | None,
        guess: Tensor | None,
    ) -> _Best:
        kernels = start
        if learned is not None:
            kernels = tuple(a.above(b, FLOOR) for a, b in zip(learned, start, strict=True))
        bases = [
            Basis(axis, kernel, self.operator.orders(dim), JITTER)
            for dim, (axis, kernel) in enumerate(zip(self.axes, kernels, strict=True))
        ]
        return _Best(collocate(problem, bases, guess), kernels, learned or start)

    @staticmethod
    def _report(number: int, state: _Best, log_prior: float) -> Round:
        return Round(
            number,
            state.field.residual,
            state.field.withheld,
            tuple(len(mixture) for mixture in state.learned),
            log_prior,
        )


def _size(field: Tensor) -> float:
    return float(torch.sqrt(field.square().mean()))

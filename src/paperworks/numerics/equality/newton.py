"""The loop: a Newton direction as exact as descent needs, a step along it, better penalties.

Algorithm 1 of the paper. Its state is a `Point` and its `Penalties`; what a direction took of
regularisation is in `Direction`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paperworks.numerics.equality import feasibility
from paperworks.numerics.equality.inputs import Curvature, Floats, Problem
from paperworks.numerics.equality.kkt import KKTSystem, Work
from paperworks.numerics.equality.merit import (
    Penalties,
    Point,
    Slope,
    evaluate,
    merit,
    slope,
    with_multipliers,
)
from paperworks.numerics.equality.settings import Settings
from paperworks.numerics.equality.solvers import Base

EPS = float(np.finfo(float).eps)
# A tangential step with less curvature than this, relative to the Hessian's, calls for a shift.
FLAT = 1e-8
FIRST_SHIFT = 1e-3  # in units of the Hessian's size
MAX_SHIFTS = 16  # eightfold each: fourteen powers of ten
MAX_SEARCHES = 4
FAR = 1e10  # a length of x, in units of the start's, that no solution is expected at


@dataclass
class Direction:
    """A direction along which the merit function descends, and what it took."""

    z: Floats
    slope: Slope
    penalties: Penalties
    shift: float


@dataclass
class Outcome:
    """How the loop ended."""

    point: Point
    status: int
    message: str
    iterations: int
    penalties: Penalties
    shift: float
    restorations: int
    history: dict[str, list[float]] = field(default_factory=dict)


class Newton:
    """One run on one problem."""

    def __init__(
        self, problem: Problem, settings: Settings, work: Work, rng: np.random.Generator
    ) -> None:
        self.problem, self.settings, self.work, self.rng = problem, settings, work, rng
        self.penalties = settings.penalties
        self.shift = 0.0
        self.restorations = 0
        self.length = 0.0
        names = ("kkt", "step", "eta1", "eta2", "delta", "shift", "products", "flops")
        self.history: dict[str, list[float]] = {name: [] for name in names}

    def run(self, point: Point, report: Callable[[Point, int], bool]) -> Outcome:
        """Iterate from a point; `report` is called after each step and may stop by True."""
        settings, iteration = self.settings, 0
        best, far = point, FAR * (1 + float(np.linalg.norm(point.x)))
        self.length = feasibility.extent(point.G)
        while True:
            if point.kkt <= settings.tol:
                return self._end(point, 0, "the KKT residual is below tol", iteration)
            if float(np.linalg.norm(point.x)) > far:
                message = (
                    f"it looks unbounded below: fun is {point.f:.3g}, and |x| grows without end"
                )
                return self._end(point, 5, message, iteration)
            if iteration >= settings.maxiter:
                return self._end(best, 1, f"maxiter = {settings.maxiter} reached", iteration)
            curvature = self.problem.curvature(point.x, point.multipliers)
            after, step = self._step(point, curvature)
            if after is None:
                after = self._restore(point)
                if isinstance(after, tuple):
                    status, message, at = after
                    return self._end(best if at is None else at, status, message, iteration)
            iteration += 1
            self._record(after, step)
            point = after
            best = point if point.kkt < best.kkt else best
            if report(point, iteration):
                return self._end(point, 3, "stopped by callback", iteration)

    def _step(self, point: Point, curvature: Curvature) -> tuple[Point | None, float]:
        """A direction and a step along it; where none helps, the same with larger shifts."""
        size = self._size(point, curvature)
        shift = self.shift if self.shift > 1e-3 * FIRST_SHIFT * size else 0.0
        for _ in range(MAX_SEARCHES):
            direction = self._direction(point, curvature, size, shift)
            if direction is None:
                break
            after, step = self._search(point, direction)
            if after is not None:
                self.penalties, used = direction.penalties, direction.shift
                # Steps cut short ask for more of it next time, good ones for less.
                if step < 1 / 4:
                    self.shift = max(8 * used, FIRST_SHIFT * size)
                else:
                    self.shift = used / 8 if step >= 1 / 2 else used
                return after, step
            shift = max(64 * direction.shift, FIRST_SHIFT * size)
        return None, 0.0

    # -- directions ---------------------------------------------------------------------------

    def _size(self, point: Point, curvature: Curvature) -> float:
        """What counts as large for a Hessian here: its own size, seen along a random vector.

        Where the Hessian vanishes, the gradient of the objective over the length of x stands in.
        """
        v = self.rng.standard_normal((self.problem.n, 1))
        self.work.products += 1
        self.work.flops += curvature.flops
        seen = float(np.linalg.norm(curvature.product(v)) / np.linalg.norm(v))
        slope = float(np.linalg.norm(point.g_f)) / (1 + float(np.linalg.norm(point.x)))
        return max(seen if np.isfinite(seen) else 0.0, 1e-2 * slope, 1e-8)

    def _direction(
        self, point: Point, curvature: Curvature, size: float, shift: float
    ) -> Direction | None:
        """A direction of descent, with the least shift from `shift` on that gives one."""
        b = -np.concatenate([point.g, point.c])
        gamma = 0.0
        for attempt in range(MAX_SHIFTS):
            system = KKTSystem(curvature, point.G, self.work, shift, gamma)
            found, solved = self._accurate(point, system, b, size, raises=12 + 4 * attempt)
            if found is not None:
                return found
            if not solved and gamma == 0.0:
                # Out of the solver's reach: as likely for dependent constraints as for curvature.
                gamma = 1e-8
            shift = 8 * shift if shift else FIRST_SHIFT * size
        return None

    def _accurate(
        self, point: Point, system: KKTSystem, b: Floats, size: float, raises: int
    ) -> tuple[Direction | None, bool]:
        """A direction of one system, sharpened until the merit descends along it.

        None where the shift must grow. The second answer is whether the solver got there.
        """
        settings, penalties = self.settings, self.penalties
        scale = float(np.linalg.norm(b))
        theta = min(1.0, np.sqrt(scale)) if settings.forcing == "superlinear" else 1.0
        solver: Base = settings.make(system, b)
        for raised in range(raises + 1):
            target = theta * penalties.delta * scale
            solved = solver.improve(target)
            if not solved and settings.backup is not None:
                self.work.fallbacks += 1
                backup = settings.backup(system, b, solver.z)
                solved = backup.improve(target)
                if backup.norm < solver.norm:
                    solver = backup
            if not np.isfinite(solver.z).all() or solver.norm > 0.9 * scale:
                return None, False
            if raised == 0 and _curves_down(solver, size):
                return None, solved
            along = slope(point, solver.z, solver.residual, b, system.shift, system.gamma)
            if along.at(penalties) <= -penalties.eta2 / 2 * scale**2:
                return Direction(solver.z, along, penalties, system.shift), solved
            if penalties.spent or (not solved and raised > 0):
                break
            penalties = penalties.tightened(settings.nu)
        return None, solved

    # -- steps --------------------------------------------------------------------------------

    def _search(self, point: Point, direction: Direction) -> tuple[Point | None, float]:
        """Backtracking on the merit function by Armijo's rule.

        Where the decrease it asks for is below the rounding of the merit function, the KKT
        residual judges instead.
        """
        n, penalties = self.problem.n, direction.penalties
        start = merit(point, penalties)
        fall = direction.slope.at(penalties)
        noise = 10 * EPS * (abs(point.f) + abs(start) + 1e-300)
        step = 1.0
        while step > 1e-10:
            z = step * direction.z
            after = evaluate(self.problem, point.x + z[:n], point.multipliers + z[n:])
            if after.finite:
                if merit(after, penalties) <= start + self.settings.beta * step * fall:
                    return after, step
                if -step * fall <= noise and after.kkt < (1 - 0.1 * step) * point.kkt:
                    return after, step
            step /= 2
        return None, 0.0

    def _restore(self, point: Point) -> Any:
        """A step that lessens ``|c|`` alone, or how the run ends: (status, message, point)."""
        tol = self.settings.tol
        violation = float(np.linalg.norm(point.c))
        if violation <= tol or self.restorations >= 10:
            why = "no step lessens the merit function any more"
            return 2, why + self._noise(point), None
        self.restorations += 1
        goal = max(0.1 * violation, 0.1 * tol)
        x, reached = feasibility.restore(self.problem, point.x, goal)
        if not reached:
            # A stationary point of |c| need not be a least one: try again from beside it.
            aside = self.rng.standard_normal(x.size)
            aside *= 1e-3 * (1 + float(np.linalg.norm(x))) / float(np.linalg.norm(aside))
            other, reached = feasibility.restore(self.problem, x + aside, goal)
            here, there = (np.linalg.norm(self.problem.value(z)[1]) for z in (x, other))
            x = other if there < (1 - 1e-6) * here else x
        after = evaluate(self.problem, x, point.multipliers)
        if not after.finite:
            return 2, "the constraints lead to where they are not finite", None
        after = with_multipliers(after, feasibility.first_multipliers(after.g_f, after.G))
        left = float(np.linalg.norm(after.c))
        usual = max(feasibility.extent(after.G), feasibility.extent(point.G), self.length)
        if not reached and left > tol and feasibility.stationary(after.c, after.G, 1e-5, usual):
            message = (
                f"the constraints look infeasible: their violation has a least value of {left:.3g} "
                "near here, and `multipliers` is its certificate c / |c|, with G^T c = 0"
            )
            return 4, message, with_multipliers(after, after.c / left)
        self.penalties = self.settings.penalties
        self.shift = 0.0
        return after

    def _noise(self, point: Point) -> str:
        if point.kkt < 1e3 * self.settings.tol:
            return "; it may be rounding: the KKT residual is near tol"
        return ""

    # -- records ------------------------------------------------------------------------------

    def _record(self, point: Point, step: float) -> None:
        row = {
            "kkt": point.kkt,
            "step": step,
            "eta1": self.penalties.eta1,
            "eta2": self.penalties.eta2,
            "delta": self.penalties.delta,
            "shift": self.shift,
            "products": float(self.work.products),
            "flops": self.work.flops,
        }
        for name, value in row.items():
            self.history[name].append(value)

    def _end(self, point: Point, status: int, message: str, iterations: int) -> Outcome:
        return Outcome(
            point,
            status,
            message,
            iterations,
            self.penalties,
            self.shift,
            self.restorations,
            self.history,
        )


def _curves_down(solver: Base, size: float) -> bool:
    """Whether the step runs along a direction, tangential to the constraints, of no curvature.

    With ``z = (d, dl)`` and ``A z = b - r``: ``d^T (H + shift) d = d^T (b - r)_1 - (G d)^T dl``.
    Only where that is not positive is d projected onto the tangent space and looked at anew.
    """
    system, n = solver.system, solver.system.n
    d, dl = solver.z[:n], solver.z[n:]
    Az = solver.b - solver.residual
    length = float(d @ d)
    bend = float(d @ Az[:n] - (Az[n:] + system.gamma * dl) @ dl)
    if length == 0.0 or bend >= FLAT * size * length:
        return False
    tangent = d - feasibility.least_squares(system.G, system.G @ d)
    left = float(tangent @ tangent)
    if left <= 1e-12 * length:
        return False
    bent = system.curvature.product(tangent[:, None])[:, 0] + system.shift * tangent
    solver.work.products += 1
    solver.work.flops += system.curvature.flops
    return float(tangent @ bent) < FLAT * size * left

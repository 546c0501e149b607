"""Solvers made by hand, as decisions: the special cases of the framework.

Each is a function of the times to stop at (see :mod:`paperworks.diffusion.timesteps`), so that
their steps compare at equal evaluations. The tests hold each to diffusers' scheduler of that name.
Orders count predictions, as in diffusers and the paper; DEIS counts the degree, one less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paperworks.diffusion.schedules import Floats, Schedule
from paperworks.diffusion.timesteps import SPACINGS, spaced
from paperworks.diffusion.usf.decisions import Decisions, Step

FEW = 15
"""Below so many steps diffusers ends DPM-Solver and DEIS with lower orders."""


def ddim(times: Sequence[float] | Floats) -> Decisions:
    """DDIM: order 1 throughout."""
    return _each(times, lambda order, last: Step())


def dpm_solver(
    times: Sequence[float] | Floats, order: int = 2, *, plus: bool = True, midpoint: bool = True
) -> Decisions:
    """DPM-Solver++, or DPM-Solver where not ``plus``, multistep of order 1 to 3.

    Parameters
    ----------
    times : (steps + 1,) float
    order : int
    plus : bool
        Whether data is expanded, or noise.
    midpoint : bool
        The scaling of steps of order 2; diffusers' ``solver_type``, "heun" where False.
    """
    _check(order, 3)

    def step(now: int, last: int) -> Step:
        now = min(now, order, last) if steps < FEW else min(now, order)
        scaling = {2: "bh2" if midpoint else "none", 3: "3m"}.get(now, "none")
        return Step(now, "data" if plus else "noise", scaling=scaling)

    steps = len(times) - 1
    return _each(times, step)


def dpm_solver_singlestep(
    times: Sequence[float] | Floats, order: int = 2, *, plus: bool = True, midpoint: bool = True
) -> Decisions:
    """DPM-Solver++, or DPM-Solver where not ``plus``, singlestep of order 1 to 3.

    One step of order n is n steps here, the later ones from where the first started. The last
    steps are of lower orders, so that any number of evaluations is used up. Parameters as in
    :func:`dpm_solver`.
    """
    _check(order, 3)
    steps = len(times) - 1
    full = (steps - 1) // order * order
    orders = [index % order + 1 for index in range(full)]
    orders += range(1, steps - full + 1)
    if order > 1 and steps % order == 0:
        orders[-1] = 1
    if order == 3 and steps % order == 0:
        orders[-2:] = [2, 1]

    def step(now: int, last: int) -> Step:
        own, prediction = orders[now - 1], "data" if plus else "noise"
        if own == 3 and midpoint:  # a first derivative alone, from the newest prediction
            return Step(2, prediction, start=2, points=((0,),))
        scaling = "bh2" if own == 2 and midpoint else "none"
        return Step(own, prediction, start=own - 1, scaling=scaling)

    return _each(times, step)


def unipc(
    times: Sequence[float] | Floats,
    order: int = 2,
    *,
    data: bool = True,
    variant: str = "bh2",
    corrector: bool = True,
) -> Decisions:
    """UniPC of order 1 to 4.

    Parameters
    ----------
    times : (steps + 1,) float
    order : int
    data : bool
        Whether data is expanded, or noise.
    variant : {"bh2", "bh1", "none"}
        How single derivatives are scaled; "none" is UniPC's variant of varying coefficients.
    corrector : bool
        UniPC, or UniP alone.
    """
    _check(order, 4)

    def step(now: int, last: int) -> Step:
        now = min(now, order, last)
        scaling = variant if now <= 2 else "none"
        prediction = "data" if data else "noise"
        return Step(now, prediction, scaling=scaling, corrector=corrector and last > 1)

    return _each(times, step)


def deis(
    times: Sequence[float] | Floats,
    order: int = 3,
    *,
    variable: str = "lambda",
    lower_order_final: bool = True,
) -> Decisions:
    """DEIS of order 1 to 4: tAB-DEIS, rhoAB-DEIS, iPNDM, and the one of diffusers.

    Parameters
    ----------
    times : (steps + 1,) float
    order : int
        One above the degree.
    variable : {"lambda", "t", "rho", "equal"}
        What the polynomial is in. For "lambda", diffusers' DEIS of order up to 3, that is a full
        Taylor expansion; "equal" is iPNDM.
    lower_order_final : bool
        Of "lambda", as in diffusers: whether fewer than 15 steps end with lower orders. The others
        never do.
    """
    _check(order, 4)
    diffusers = variable == "lambda"
    estimate = "taylor" if diffusers else f"adams-{variable}"
    lowered = diffusers and lower_order_final and len(times) - 1 < FEW

    def step(now: int, last: int) -> Step:
        return Step(min(now, order, last) if lowered else min(now, order), "noise", estimate)

    return _each(times, step)


BY_HAND: dict[str, Callable[[Floats], Decisions]] = {
    "DDIM": ddim,
    "DEIS (t, order 3)": lambda times: deis(times, 3, variable="t"),
    "DEIS (t, order 4)": lambda times: deis(times, 4, variable="t"),
    "DEIS (lambda, order 3)": lambda times: deis(times, 3),
    "DEIS (lambda, order 2) to the end": lambda times: deis(times, 2, lower_order_final=False),
    "DEIS (lambda, order 3) to the end": lambda times: deis(times, 3, lower_order_final=False),
    "DPM-Solver++ 2M": lambda times: dpm_solver(times, 2),
    "DPM-Solver++ 3M": lambda times: dpm_solver(times, 3),
    "UniPC 2": lambda times: unipc(times, 2),
    "UniPC 3": lambda times: unipc(times, 3),
}
"""The solvers that people choose from, by name."""


def by_hand(schedule: Schedule, steps: int) -> dict[str, Decisions]:
    """All of :data:`BY_HAND` at all spacings of time, by "solver, spacing".

    Examples
    --------
    >>> from paperworks.diffusion.schedules import LinearVP
    >>> len(by_hand(LinearVP(), 5))
    40
    """
    return {
        f"{name}, {spacing}": make(spaced(schedule, steps, spacing))
        for name, make in BY_HAND.items()
        for spacing in SPACINGS
    }


def _each(times: Sequence[float] | Floats, step: Callable[[int, int], Step]) -> Decisions:
    """``step(now, last)`` of every step, counted from 1 and, from the end, to 1."""
    count = len(times) - 1
    return Decisions(list(times), [step(i + 1, count - i) for i in range(count)])


def _check(order: int, most: int) -> None:
    if not 1 <= order <= most:
        raise ValueError(f"order must be 1 to {most}, got {order}")

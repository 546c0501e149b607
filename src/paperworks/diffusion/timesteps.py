"""Where a sampler stops on its way from noise to data: the spacings of time that papers use.

============  =================================================================================
uniform       equal steps of t
quadratic     equal steps of sqrt(t): DEIS's choice (Zhang and Chen 2023, arXiv:2204.13902) for
              few steps, as in DDIM; :func:`power` for any exponent
logrho        equal steps of log(sigma / alpha): DPM-Solver (Lu et al. 2022, arXiv:2206.00927)
karras        equal steps of (sigma / alpha)**(1 / 7): Karras et al. 2022, arXiv:2206.00364,
              equation 5; their schedule, whose time is sigma, wants it
============  =================================================================================

Each is a function of a schedule and a number of steps, and returns one more time than steps:
falling, the first ``t_max``, the last ``t_min``. For a model that was trained on discrete steps
:func:`spaced` makes them whole numbers without repeats.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from paperworks.diffusion.schedules import EDM, DiscreteVP, Floats, Schedule

Spacing = Callable[[Schedule, int], Floats]


def power(schedule: Schedule, steps: int, *, exponent: float) -> Floats:
    """Equal steps of ``t**(1 / exponent)``; above 1 they are shorter near the data.

    Returns
    -------
    (steps + 1,) float64
        From ``t_max`` to ``t_min``.

    Raises
    ------
    ValueError
        For less than one step, or an exponent that is not above 0.

    Examples
    --------
    >>> from paperworks.diffusion.schedules import LinearVP
    >>> power(LinearVP(t_min=0.01), 3, exponent=2).round(4).tolist()
    [1.0, 0.49, 0.16, 0.01]
    """
    return _ends(schedule, _fall(schedule.t_max, schedule.t_min, steps, exponent))


def log_rho(schedule: Schedule, steps: int) -> Floats:
    """Equal steps of ``log(sigma / alpha)``, (steps + 1,) float64; ValueError for no steps."""
    high, low = schedule.log_snr([schedule.t_max, schedule.t_min])
    return _ends(schedule, schedule.time_of_log_snr(_fall(high, low, steps)))


def power_of_rho(schedule: Schedule, steps: int, *, exponent: float = 7.0) -> Floats:
    """Equal steps of ``(sigma / alpha)**(1 / exponent)``, (steps + 1,) float64.

    Raises
    ------
    ValueError
        For less than one step, or an exponent that is not above 0.
    """
    high, low = schedule.rho([schedule.t_max, schedule.t_min])
    return _ends(schedule, schedule.time_of_rho(_fall(high, low, steps, exponent)))


SPACINGS: dict[str, Spacing] = {
    "uniform": partial(power, exponent=1.0),
    "quadratic": partial(power, exponent=2.0),
    "logrho": log_rho,
    "karras": power_of_rho,
}


def spaced(schedule: Schedule, steps: int, spacing: str | None = None) -> Floats:
    """Times for so many steps, by the name of their spacing; whole ones for :class:`DiscreteVP`.

    Parameters
    ----------
    schedule : Schedule
    steps : int
        At least 1.
    spacing : {"quadratic", "uniform", "logrho", "karras"}, optional
        See the head of this module. By default "quadratic", and "karras" for :class:`EDM`: along
        its time, sigma, quadratic steps would leave next to none for the small ones.

    Returns
    -------
    (steps + 1,) float64
        Falling from ``t_max`` to ``t_min``.

    Raises
    ------
    ValueError
        For an unknown spacing, less than one step, or more than a discrete schedule has.

    Examples
    --------
    >>> from paperworks.diffusion.schedules import DiscreteVP
    >>> spaced(DiscreteVP.linear(1000), 4).tolist()
    [999.0, 562.0, 250.0, 62.0, 0.0]
    """
    if spacing is None:
        spacing = "karras" if isinstance(schedule, EDM) else "quadratic"
    if spacing not in SPACINGS:
        raise ValueError(f"spacing must be one of {', '.join(SPACINGS)}; got {spacing!r}")
    times = SPACINGS[spacing](schedule, steps)
    return whole(schedule, times) if isinstance(schedule, DiscreteVP) else times


def whole(schedule: DiscreteVP, times: ArrayLike) -> Floats:
    """Falling times rounded to steps of the training, all different.

    Where two would round to the same step, the earlier one moves towards the noise, as far as
    there are steps left, and then the others towards the data.

    Raises
    ------
    ValueError
        If there are more times than steps of the training.
    """
    found = np.rint(np.asarray(times, np.float64))
    last = int(schedule.t_max)
    count = len(found)
    if count > last + 1:
        raise ValueError(
            f"{count - 1} steps need {count} different times, but the model was trained on "
            f"{last + 1}; ask for {last} steps or fewer"
        )
    # Less their least possible values, strictly falling times need only not rise.
    ladder = np.arange(count)
    level = np.maximum.accumulate((found + ladder)[::-1])[::-1]
    return np.minimum(level, last) - ladder


def _fall(high: float, low: float, steps: int, exponent: float = 1.0) -> Floats:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not exponent > 0:
        raise ValueError(f"exponent must be above 0, got {exponent}")
    if exponent == 1.0:
        return np.linspace(high, low, steps + 1)
    root = 1 / exponent
    return np.linspace(high**root, low**root, steps + 1) ** exponent


def _ends(schedule: Schedule, times: Floats) -> Floats:
    """The ends to the last bit, which going there and back by an inverse would lose."""
    times[0], times[-1] = schedule.t_max, schedule.t_min
    return times

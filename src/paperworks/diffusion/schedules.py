"""Noise schedules: how much of the data and how much noise a sample holds at each time.

``x_t = alpha(t) x_0 + sigma(t) eps`` with ``eps`` standard normal. A schedule is these two
functions on an interval of times, from nearly clean to nearly noise, with their inverses. All of it
is float64 and in closed form, so that a solver's error is its own.

=====================  ==========================================================================
:class:`LinearVP`      Song et al. 2021, arXiv:2011.13456: beta rises linearly in continuous time
:class:`CosineVP`      Nichol and Dhariwal 2021, arXiv:2102.09672, equation 17
:class:`DiscreteVP`    Ho et al. 2020, arXiv:2006.11239: any betas; between their steps log(alpha)
                       is linear, as in Lu et al. 2022, arXiv:2206.00927, appendix D.4
:class:`VE`            Song et al. 2021: sigma rises geometrically
:class:`EDM`           Karras et al. 2022, arXiv:2206.00364: time is sigma
:class:`FlowMatching`  Lipman et al. 2023, arXiv:2210.02747: a straight line from data to noise;
                       shifted as in Esser et al. 2024, arXiv:2403.03206, equation 23
=====================  ==========================================================================
"""
# ruff: noqa: D102 (the base class says what each function is)

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_WITHIN = 16  # parts of a step in which a schedule is looked at


class Schedule(ABC):
    """What solvers ask of a noise schedule.

    All functions take and return float64, scalars or arrays of any shape. Between ``t_min`` and
    ``t_max`` the signal-to-noise ratio falls strictly.
    """

    t_min: float
    """The cleanest time to integrate to; the noise there is too small to see."""
    t_max: float
    """The time to start from, where the data can no longer be seen."""
    _kept = False

    def __setattr__(self, name: str, value: object) -> None:
        if self._kept:
            raise AttributeError(
                f"{type(self).__name__}.{name} cannot be changed any more, since weights of this "
                "schedule are kept: make another schedule"
            )
        super().__setattr__(name, value)

    def keep(self) -> None:
        """Called where something is cached for this schedule: from then on it cannot be changed."""
        if not self._kept:
            self._kept = True

    @abstractmethod
    def alpha(self, t: ArrayLike) -> Floats:
        """The factor of the data."""

    @abstractmethod
    def sigma(self, t: ArrayLike) -> Floats:
        """The factor of the noise."""

    @abstractmethod
    def log_snr(self, t: ArrayLike) -> Floats:
        """``2 log(alpha / sigma)``, without the cancellation of taking it from these."""

    @abstractmethod
    def time_of_log_snr(self, value: ArrayLike) -> Floats:
        """The time at which the log signal-to-noise ratio is ``value``."""

    def rho(self, t: ArrayLike) -> Floats:
        """``sigma / alpha``: the time in which ``x / alpha`` moves along ``eps`` alone."""
        return np.exp(-0.5 * self.log_snr(t))

    def time_of_rho(self, value: ArrayLike) -> Floats:
        """The time at which ``sigma / alpha`` is ``value``."""
        return self.time_of_log_snr(-2 * np.log(value))

    @abstractmethod
    def time_of_alpha(self, value: ArrayLike) -> Floats:
        """The time at which alpha is ``value``.

        Raises
        ------
        ValueError
            If alpha is the same at all times.
        """

    @abstractmethod
    def time_of_sigma(self, value: ArrayLike) -> Floats:
        """The time at which sigma is ``value``."""

    def digest(self) -> str:
        """Twenty hexadecimal digits of the values: equal for schedules that are the same."""
        times = np.linspace(self.t_min, self.t_max, 65)
        values = np.concatenate([times, self.alpha(times), self.sigma(times)])
        return hashlib.sha256(values.round(9).tobytes()).hexdigest()[:20]

    def check(self, times: ArrayLike) -> Floats:
        """``times`` as float64, if solvers may step through them from noise to data.

        Raises
        ------
        ValueError
            If there are fewer than two, one is outside ``t_min`` to ``t_max`` or not finite, they
            do not fall strictly, or the signal-to-noise ratio does not rise along them and at 15
            times within each step, or is not finite; the step is named, counted from 1.
        """
        found = np.asarray(times, np.float64)
        if found.ndim != 1 or found.size < 2:
            raise ValueError(f"times must be a list of two or more, got shape {found.shape}")
        slack = 1e-12 * (self.t_max - self.t_min)
        outside = ~((found >= self.t_min - slack) & (found <= self.t_max + slack))
        if outside.any():
            at = int(outside.argmax())
            raise ValueError(
                f"time {found[at]}, where step {max(at, 1)} {'ends' if at else 'begins'}, is "
                f"outside {self.t_min} to {self.t_max}"
            )
        rising = np.diff(found) >= 0
        if rising.any():
            step = int(rising.argmax())
            raise ValueError(
                f"times must fall from noise to data, but step {step + 1} goes from {found[step]} "
                f"to {found[step + 1]}"
            )
        self._check_rising(found)
        return found

    def _check_rising(self, times: Floats) -> None:
        """Refuse times between which the log signal-to-noise ratio is not finite or falls."""
        places = np.arange(_WITHIN * (len(times) - 1) + 1) / _WITHIN
        fine = np.interp(places, np.arange(len(times)), times)
        with np.errstate(divide="ignore", invalid="ignore"):  # it is told below
            log_snr = self.log_snr(fine)
        endless = ~np.isfinite(log_snr)
        if endless.any():
            at = int(endless.argmax())
            raise ValueError(
                f"the log signal-to-noise ratio is {log_snr[at]} at time {fine[at]:.6g}, in step "
                f"{max(0, at - 1) // _WITHIN + 1}: neither alpha nor sigma may be 0 there"
            )
        # Whole steps must rise; within one, less than rounding is no fall.
        for each, least in ((_WITHIN, 0.0), (1, -1e-9)):
            stuck = np.diff(log_snr[::each]) <= least
            if stuck.any():
                at = int(stuck.argmax()) * each
                raise ValueError(
                    f"the schedule is not monotone: in step {at // _WITHIN + 1}, from time "
                    f"{fine[at]:.6g} to {fine[at + each]:.6g}, its log signal-to-noise ratio goes "
                    f"from {log_snr[at]:.6g} to {log_snr[at + each]:.6g}; it must rise"
                )


class _VariancePreserving(Schedule):
    """``alpha**2 + sigma**2 = 1``: all follows from log(alpha)."""

    @abstractmethod
    def log_alpha(self, t: ArrayLike) -> Floats:
        """The logarithm of alpha, at most 0."""

    @abstractmethod
    def time_of_log_alpha(self, value: ArrayLike) -> Floats:
        """The time at which log(alpha) is ``value``."""

    def alpha(self, t: ArrayLike) -> Floats:
        return np.exp(self.log_alpha(t))

    def sigma(self, t: ArrayLike) -> Floats:
        return np.sqrt(-np.expm1(2 * self.log_alpha(t)))

    def log_snr(self, t: ArrayLike) -> Floats:
        twice = 2 * self.log_alpha(t)
        return twice - np.log(-np.expm1(twice))

    def time_of_log_snr(self, value: ArrayLike) -> Floats:
        return self.time_of_log_alpha(-0.5 * np.logaddexp(0, np.negative(value)))

    def time_of_alpha(self, value: ArrayLike) -> Floats:
        return self.time_of_log_alpha(np.log(value))

    def time_of_sigma(self, value: ArrayLike) -> Floats:
        return self.time_of_log_alpha(0.5 * np.log1p(-np.square(value)))


class LinearVP(_VariancePreserving):
    """Variance preserving, ``beta(t) = beta_min + t (beta_max - beta_min)``.

    Parameters
    ----------
    beta_min, beta_max : float
        The defaults are the paper's.
    t_min, t_max : float
        The default 1e-3 is DEIS's and DPM-Solver's end for few steps.

    Examples
    --------
    >>> schedule = LinearVP()
    >>> round(float(schedule.time_of_alpha(schedule.alpha(0.3))), 12)
    0.3
    """

    def __init__(
        self,
        beta_min: float = 0.1,
        beta_max: float = 20.0,
        *,
        t_min: float = 1e-3,
        t_max: float = 1.0,
    ):
        if not 0 < beta_min < beta_max < math.inf:
            raise ValueError(
                f"0 < beta_min < beta_max < infinity must hold, got {beta_min} and {beta_max}"
            )
        self.beta_min, self.beta_max = beta_min, beta_max
        self.t_min, self.t_max = _interval(t_min, t_max)

    def log_alpha(self, t: ArrayLike) -> Floats:
        t = np.asarray(t, np.float64)
        return -0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min

    def time_of_log_alpha(self, value: ArrayLike) -> Floats:
        # The root of the quadratic in the form that does not cancel near 0.
        value = np.asarray(value, np.float64)
        slope = self.beta_max - self.beta_min
        return -4 * value / (self.beta_min + np.sqrt(self.beta_min**2 - 4 * slope * value))


class CosineVP(_VariancePreserving):
    """Variance preserving, ``alpha`` proportional to ``cos(pi / 2 (t + s) / (1 + s))``.

    Parameters
    ----------
    s : float
        Keeps the noise of the first steps from vanishing; the paper's value.
    t_min, t_max : float
        At 1 there would be no data left and no signal-to-noise ratio; 0.9946 is DPM-Solver's end.
    """

    def __init__(self, s: float = 0.008, *, t_min: float = 1e-3, t_max: float = 0.9946):
        if not 0 <= s < math.inf:
            raise ValueError(f"s must be >= 0 and finite, got {s}")
        if t_max >= 1:
            raise ValueError(f"t_max must be below 1, where nothing of the data is left: {t_max}")
        self.s = s
        self._turn = 0.5 * math.pi / (1 + s)
        self._start = s * self._turn
        self.t_min, self.t_max = _interval(t_min, t_max)

    def log_alpha(self, t: ArrayLike) -> Floats:
        # log(cos(start + turn) / cos(start)), in a form that does not cancel near 0.
        turn = self._turn * np.asarray(t, np.float64)
        return np.log1p(-2 * np.sin(turn / 2) ** 2 - math.tan(self._start) * np.sin(turn))

    def time_of_log_alpha(self, value: ArrayLike) -> Floats:
        cosine = np.exp(np.asarray(value, np.float64)) * math.cos(self._start)
        return (np.arccos(cosine) - self._start) / self._turn


class DiscreteVP(_VariancePreserving):
    """Variance preserving, of the betas that a model was trained with.

    Times count the training steps from 0, as in diffusers: step ``k`` has
    ``alpha**2 = prod(1 - betas[: k + 1])``. Between steps log(alpha) is linear.

    Parameters
    ----------
    betas : (steps,) float
        Each above 0 and below 1.

    Examples
    --------
    >>> schedule = DiscreteVP.linear(1000)
    >>> bool(np.isclose(schedule.alpha(0) ** 2, 1 - 1e-4))
    True
    """

    def __init__(self, betas: ArrayLike):
        betas = np.asarray(betas, np.float64)
        if betas.ndim != 1 or betas.size < 2:
            raise ValueError(f"betas must be a list of two or more, got shape {betas.shape}")
        bad = ~((betas > 0) & (betas < 1))
        if bad.any():
            step = int(bad.argmax())
            raise ValueError(f"betas must be above 0 and below 1, got {betas[step]} at {step}")
        self.betas = betas
        self._log_alpha = 0.5 * np.cumsum(np.log1p(-betas))
        self._steps = np.arange(betas.size, dtype=np.float64)
        self.t_min, self.t_max = 0.0, float(betas.size - 1)

    @classmethod
    def linear(
        cls, steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
    ) -> DiscreteVP:
        """The betas of DDPM."""
        return cls(np.linspace(beta_start, beta_end, steps))

    def log_alpha(self, t: ArrayLike) -> Floats:
        return np.interp(np.asarray(t, np.float64), self._steps, self._log_alpha)

    def time_of_log_alpha(self, value: ArrayLike) -> Floats:
        return np.interp(np.negative(value), -self._log_alpha, self._steps)


class _VarianceExploding(Schedule):
    """``alpha = 1``: all follows from sigma."""

    def alpha(self, t: ArrayLike) -> Floats:
        return np.ones_like(np.asarray(t, np.float64))

    def log_snr(self, t: ArrayLike) -> Floats:
        return -2 * np.log(self.sigma(t))

    def time_of_log_snr(self, value: ArrayLike) -> Floats:
        return self.time_of_sigma(np.exp(-0.5 * np.asarray(value, np.float64)))

    def time_of_alpha(self, value: ArrayLike) -> Floats:
        raise ValueError("alpha is 1 at all times of this schedule: ask by sigma or log_snr")


class VE(_VarianceExploding):
    """Variance exploding, ``sigma = sigma_min (sigma_max / sigma_min)**t``.

    Parameters
    ----------
    sigma_min, sigma_max : float
        The defaults are the paper's for CIFAR-10 with pixels in 0 to 1.
    """

    t_min, t_max = 0.0, 1.0

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 50.0):
        if not 0 < sigma_min < sigma_max < math.inf:
            raise ValueError(
                f"0 < sigma_min < sigma_max < infinity must hold, got {sigma_min} and {sigma_max}"
            )
        self.sigma_min, self.sigma_max = sigma_min, sigma_max

    def sigma(self, t: ArrayLike) -> Floats:
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** np.asarray(t, np.float64)

    def time_of_sigma(self, value: ArrayLike) -> Floats:
        ratio = self.sigma_max / self.sigma_min
        return np.log(np.asarray(value, np.float64) / self.sigma_min) / math.log(ratio)


class EDM(_VarianceExploding):
    """Time is sigma.

    Parameters
    ----------
    sigma_min, sigma_max : float
        The defaults are the paper's, for data of standard deviation 0.5.
    """

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0):
        self.t_min, self.t_max = _interval(sigma_min, sigma_max)

    def sigma(self, t: ArrayLike) -> Floats:
        return np.asarray(t, np.float64).copy()

    def time_of_sigma(self, value: ArrayLike) -> Floats:
        return np.asarray(value, np.float64).copy()


class FlowMatching(Schedule):
    """A straight line from data to noise: ``alpha = 1 - s``, ``sigma = s``.

    Parameters
    ----------
    shift : float
        ``s = shift t / (1 + (shift - 1) t)``; above 1 it spends more of the time near noise.
    t_min, t_max : float
        At 1 there would be no data left and no signal-to-noise ratio.
    """

    def __init__(self, shift: float = 1.0, *, t_min: float = 1e-3, t_max: float = 0.999):
        if not 0 < shift < math.inf:
            raise ValueError(f"shift must be > 0 and finite, got {shift}")
        if t_max >= 1:
            raise ValueError(f"t_max must be below 1, where nothing of the data is left: {t_max}")
        self.shift = shift
        self.t_min, self.t_max = _interval(t_min, t_max)

    def alpha(self, t: ArrayLike) -> Floats:
        t = np.asarray(t, np.float64)
        return (1 - t) / (1 + (self.shift - 1) * t)

    def sigma(self, t: ArrayLike) -> Floats:
        t = np.asarray(t, np.float64)
        return self.shift * t / (1 + (self.shift - 1) * t)

    def log_snr(self, t: ArrayLike) -> Floats:
        t = np.asarray(t, np.float64)
        return 2 * (np.log1p(-t) - np.log(self.shift * t))

    def time_of_log_snr(self, value: ArrayLike) -> Floats:
        return 1 / (1 + self.shift * np.exp(0.5 * np.asarray(value, np.float64)))

    def time_of_alpha(self, value: ArrayLike) -> Floats:
        return self.time_of_sigma(1 - np.asarray(value, np.float64))

    def time_of_sigma(self, value: ArrayLike) -> Floats:
        value = np.asarray(value, np.float64)
        return value / (self.shift - (self.shift - 1) * value)


def _interval(t_min: float, t_max: float) -> tuple[float, float]:
    if not 0 < t_min < t_max < math.inf:
        raise ValueError(f"0 < t_min < t_max < infinity must hold, got {t_min} and {t_max}")
    return t_min, t_max

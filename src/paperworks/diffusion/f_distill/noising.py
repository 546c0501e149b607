"""Samples diffused to random noise levels, as the losses of f-distill see them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from paperworks.diffusion.schedules import EDM, VE, DiscreteVP, Schedule
from paperworks.diffusion.timesteps import spaced

LEVELS = 1000
"""Steps of time between which the levels lie, or as many as the schedule has."""


@dataclass(frozen=True)
class Noisy:
    """A batch, ``x = alpha x0 + sigma noise``.

    Attributes
    ----------
    x, noise : (batch, ...) float
    t : (batch,) float
        Times of the schedule.
    alpha, sigma : (batch, 1, ...) float
    level : (batch,) float
        Where each sample lies among the noise levels, from 0 to below 1.
    """

    x: Tensor
    noise: Tensor
    t: Tensor
    alpha: Tensor
    sigma: Tensor
    level: Tensor


class Noising:
    """Draws noise levels and noise.

    Parameters
    ----------
    schedule : Schedule
    rng : torch.Generator
        Draws on its own device; the results are moved to that of ``like``.
    like : Tensor
        For its dtype and device.
    spacing : str, optional
        Levels are drawn evenly among the steps of :func:`paperworks.diffusion.timesteps.spaced`.
        By default these are uniform in time, and "karras" where the variance explodes.
    time_range : (float, float)
        The share of the steps to use, counted from the clean end.

    Raises
    ------
    ValueError
        For an unknown spacing, or a range that is not within 0 to 1.
    """

    def __init__(
        self,
        schedule: Schedule,
        rng: torch.Generator,
        like: Tensor,
        *,
        spacing: str | None = None,
        time_range: tuple[float, float] = (0.02, 0.98),
    ):
        low, high = time_range
        if not 0 <= low < high <= 1:
            raise ValueError(f"time_range must be (low, high) within 0 to 1, got {time_range}")
        if spacing is None:
            spacing = "karras" if isinstance(schedule, EDM | VE) else "uniform"
        steps = min(LEVELS, len(schedule.betas) - 1) if isinstance(schedule, DiscreteVP) else LEVELS
        first = int(low * steps)
        times = spaced(schedule, steps, spacing)[::-1][first : max(int(high * steps), first) + 1]
        self.rng, self.like = rng, like
        self.times, self.alphas, self.sigmas = (
            torch.from_numpy(each.copy()).to(like)
            for each in (times, schedule.alpha(times), schedule.sigma(times))
        )

    def __call__(self, x0: Tensor) -> Noisy:
        """Each sample of (batch, ...) diffused to a level of its own, differentiably."""
        which = self.indices(len(self.times), len(x0))
        t, alpha, sigma = self.times[which], self.alphas[which], self.sigmas[which]
        noise, column = self.noise(x0.shape), (-1, *[1] * (x0.ndim - 1))
        alpha, sigma = alpha.reshape(column), sigma.reshape(column)
        return Noisy(alpha * x0 + sigma * noise, noise, t, alpha, sigma, which / len(self.times))

    def noise(self, shape: tuple[int, ...], rng: torch.Generator | None = None) -> Tensor:
        """Standard normal, by ``rng`` or the generator of this object."""
        rng = self.rng if rng is None else rng
        found = torch.randn(shape, generator=rng, device=rng.device, dtype=self.like.dtype)
        return found.to(self.like.device)

    def indices(self, below: int, count: int) -> Tensor:
        """(count,) int64, even from 0 to ``below``, that excluded."""
        found = torch.randint(below, (count,), generator=self.rng, device=self.rng.device)
        return found.to(self.like.device)

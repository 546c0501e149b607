"""The space that a search goes through: schedules drawn at random, changed, crossed, and described
to a predictor.

Its choices are those of the paper, and the odds of an order those of the authors' configuration.
The rates of a change are our own: in a step one of six choices is drawn anew, at a rate of 0.1 or
0.3, where theirs draws each kind of choice by itself, at 0.3. Single-step starts are left out, as
in their search: a step begins where the last one ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from paperworks.diffusion.schedules import DiscreteVP, Floats, Schedule
from paperworks.diffusion.timesteps import SPACINGS, whole
from paperworks.diffusion.usf.decisions import ESTIMATES, PREDICTIONS, Decisions, Step

ORDERS = (0.2, 0.4, 0.3, 0.1)
"""How often order 1 to 4 is drawn."""
CHOICES = ("order", "prediction", "estimate", "points", "scaling", "corrector")
SCALED = ("bh1", "bh2", "exp+", "exp-")
FEATURES = 21
"""What a predictor sees of a step."""


@dataclass(frozen=True)
class Space:
    """All schedules of so many steps.

    Parameters
    ----------
    schedule : Schedule
        The noise schedule. Of :class:`DiscreteVP` the times are whole.
    steps : int
        And evaluations.

    Examples
    --------
    >>> from paperworks.diffusion.schedules import LinearVP
    >>> space, rng = Space(LinearVP(), 5), np.random.default_rng(0)
    >>> child = space.mutate(space.random(rng), rng)
    >>> len(child), space.features([child]).shape
    (5, (1, 5, 21))
    """

    schedule: Schedule
    steps: int

    def random(self, rng: Generator) -> Decisions:
        """Times between two of the usual spacings, and any choices."""
        one, two = (
            self._place(SPACINGS[name](self.schedule, self.steps))
            for name in rng.choice(list(SPACINGS), 2, replace=False)
        )
        mixed = one + rng.random() * (two - one)
        steps = [Step() for _ in range(self.steps)]
        for index in range(self.steps):
            for choice in CHOICES:
                steps[index] = self._redrawn(steps[index], choice, index, rng)
        return Decisions(self._jitter(self._times(mixed), 0.3, rng), steps)

    def mutate(self, decisions: Decisions, rng: Generator) -> Decisions:
        """A change here and there, at a rate that is itself drawn; never none."""
        rate = rng.choice((0.1, 0.3))
        while True:
            times = self._jitter(decisions.times, rate, rng)
            steps = [
                self._redrawn(step, choice, index, rng) if rng.random() < rate else step
                for index, step in enumerate(decisions.steps)
                for choice in [CHOICES[rng.integers(len(CHOICES))]]
            ]
            found = Decisions(times, steps)
            if found != decisions or self.steps == 1:
                return found

    def cross(self, one: Decisions, two: Decisions, rng: Generator) -> Decisions:
        """The times of one parent, and each step from either."""
        pairs = zip(one.steps, two.steps, strict=True)
        return Decisions(one.times, [pair[rng.integers(2)] for pair in pairs])

    def features(self, many: Sequence[Decisions]) -> Floats:
        """What a predictor sees of every step, (schedules, steps, 21) float64.

        Where it begins and ends, in log(alpha / sigma) from 0 to 1, and one-hot choices; those that
        do not matter at its order are 0.
        """
        found = np.zeros((len(many), self.steps, FEATURES))
        for row, decisions in zip(found, many, strict=True):
            place = self._place(decisions.times)
            row[:, 0], row[:, 1] = place[:-1], place[1:]
            row[:, 2] = np.diff(place) * self.steps
            for seen, step in zip(row, decisions.steps, strict=True):
                seen[2 + step.order] = 1.0
                seen[7] = step.corrector
                if step.order > 1 or step.corrector:
                    seen[8 + PREDICTIONS.index(step.prediction)] = 1.0
                    seen[10 + ESTIMATES.index(step.estimate)] = 1.0
                if step.points:
                    seen[14] = len(step.points[0]) / (step.order - 1)
                if step.scaling in SCALED:
                    seen[15 + SCALED.index(str(step.scaling))] = 1.0
                elif not isinstance(step.scaling, str):
                    seen[19] = step.scaling * 10
                seen[20] = step.scaling == "3m"
        return found

    def _place(self, times: Sequence[float] | Floats) -> Floats:
        """Times as parts of the way in log(alpha / sigma), 0 to 1."""
        found = self.schedule.log_snr(times)
        return (found - found[0]) / (found[-1] - found[0])

    def _times(self, place: Floats, kept: Floats | None = None) -> tuple[float, ...]:
        """The times at these places; those that are kept stay to the last bit."""
        low, high = self.schedule.log_snr([self.schedule.t_max, self.schedule.t_min])
        times = self.schedule.time_of_log_snr(low + place * (high - low))
        times[0], times[-1] = self.schedule.t_max, self.schedule.t_min
        if kept is not None:
            times = np.where(np.isnan(kept), times, kept)
        if isinstance(self.schedule, DiscreteVP):
            times = whole(self.schedule, times)
        return tuple(times.tolist())

    def _jitter(self, times: Sequence[float], rate: float, rng: Generator) -> tuple[float, ...]:
        """Some of the inner times moved, by a part of the way to the next one."""
        before = self._place(times)
        place = before.copy()
        for index in range(1, self.steps):
            if rng.random() < rate:
                part = np.clip(0.3 * rng.standard_normal(), -0.8, 0.8)
                next_ = place[index + 1] if part > 0 else place[index - 1]
                place[index] += abs(part) * (next_ - place[index])
        return self._times(place, np.where(place == before, times, np.nan))

    def _redrawn(self, step: Step, choice: str, index: int, rng: Generator) -> Step:
        """A step with one choice drawn anew, and the others as far as they still can be."""
        if choice == "order":
            order = min(1 + int(rng.choice(4, p=ORDERS)), index + 1)
            return replace(step, order=order, points=())
        if choice == "prediction":
            return replace(step, prediction=str(rng.choice(PREDICTIONS)))
        if choice == "estimate":
            # Taylor's as often as the three others, for most of the choices are its own.
            estimate = "taylor" if rng.random() < 0.5 else str(rng.choice(ESTIMATES[1:]))
            if estimate == "taylor":
                return replace(step, estimate=estimate)
            return replace(step, estimate=estimate, points=(), scaling="none")
        if choice == "corrector":
            last = index == self.steps - 1
            return replace(step, corrector=not last and bool(rng.random() < 0.5))
        if step.estimate != "taylor" or step.order == 1:
            return step
        if choice == "points":  # the first derivative's; the others need all that they have
            fewer = int(rng.integers(1, step.order))
            full = tuple(range(1, step.order))
            low = (full[:fewer], *[full] * (step.order - 2)) if fewer < len(full) else ()
            return replace(step, points=low)
        scaling: str | float = "none"
        drawn = rng.random()
        if drawn < 0.25:
            scaling = str(rng.choice(SCALED))
        elif drawn < 0.5:
            scaling = round(float(0.1 * rng.standard_normal()), 3)
        return replace(step, scaling=scaling)

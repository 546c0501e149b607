"""The sampler that decisions make."""

from __future__ import annotations

import numpy as np

from paperworks.diffusion.integrators import LinearCourse, Move
from paperworks.diffusion.schedules import Floats, Schedule
from paperworks.diffusion.solver import Course, Solver
from paperworks.diffusion.usf.coefficients import moves
from paperworks.diffusion.usf.decisions import Decisions, Step


class USFSolver(Solver):
    """A solver schedule as a :class:`Solver`, for :func:`paperworks.diffusion.sample`.

    Parameters
    ----------
    decisions : Decisions

    Notes
    -----
    One evaluation a step. All numbers are known before the first: a step is one pass over memory
    for each prediction that it uses. A schedule with steps that expand the data uses all of the
    predictions before, so N steps keep N predictions.

    Examples
    --------
    >>> import torch
    >>> from paperworks.diffusion.mixtures import GaussianMixture
    >>> from paperworks.diffusion.sampling import sample
    >>> from paperworks.diffusion.schedules import LinearVP
    >>> decisions = Decisions([1.0, 0.4, 0.001], [Step(), Step(order=2, prediction="data")])
    >>> noise = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()
    >>> model = GaussianMixture.ring(8).model(LinearVP())
    >>> solver = USFSolver(decisions)
    >>> sample(model, LinearVP(), noise, solver=solver, times=decisions.times).evaluations
    2
    """

    name = "usf"

    def __init__(self, decisions: Decisions):
        self.decisions = decisions

    def begin(self, schedule: Schedule, times: Floats) -> Course:
        """A course along the times of the decisions, or along the last of them.

        A run that begins later, as image to image does, has fewer predictions behind it: orders
        above that become lower.

        Raises
        ------
        ValueError
            For other times.
        """
        own = schedule.check(self.decisions.times)
        steps = len(times) - 1
        if steps > len(self.decisions) or not np.array_equal(own[-len(times) :], times):
            raise ValueError(
                f"the decisions are for the {len(self.decisions)} steps along "
                f"{list(self.decisions.times)}, got {steps} steps along {times.tolist()}: "
                "pass times=decisions.times"
            )
        rest = self.decisions.steps[-steps:]
        if steps < len(self.decisions):
            rest = [_within(step, there) for there, step in enumerate(rest, 1)]
        alpha = schedule.alpha(times)
        return LinearCourse(
            times[:-1],
            [
                Move(
                    True,
                    float(alpha[index + 1] / alpha[index]),
                    tuple(np.trim_zeros(alpha[index + 1] * row[index::-1], "b").tolist()),
                )
                for index, row in enumerate(moves(schedule, times, rest))
            ],
        )


def _within(step: Step, there: int) -> Step:
    """A step that makes do with so many predictions."""
    if step.reach <= there:
        return step
    if step.estimate != "taylor":
        return Step(there, step.prediction, step.estimate, corrector=step.corrector)
    return Step(
        min(step.order, there),
        step.prediction,
        scaling=step.scaling,
        corrector=step.corrector,
    )

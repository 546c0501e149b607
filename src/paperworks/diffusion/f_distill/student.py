"""The one-step generator that f-distill trains, and the pairs of the teacher to start it from."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from paperworks.diffusion.predictions import Prediction, noise_and_data
from paperworks.diffusion.sampling import sample
from paperworks.diffusion.schedules import Schedule
from paperworks.diffusion.solver import Solver


class OneStep(nn.Module):
    """A network as a generator: from standard normal noise to data in one evaluation.

    Parameters
    ----------
    network : nn.Module
        ``network(x, t)``, with an output of the shape of ``x`` (or an object that has it as
        ``.sample``, as models of diffusers return).
    schedule : Schedule
    prediction : str
        What the network predicts. "sample": its output is the data.
    start : float, optional
        The time at which it is asked; by default the schedule's last. The noise has the size that
        it has there.

    Raises
    ------
    ValueError
        For a start outside the schedule.

    Examples
    --------
    >>> import torch
    >>> from paperworks.diffusion.f_distill import PointNetwork
    >>> from paperworks.diffusion.schedules import LinearVP
    >>> student = OneStep(PointNetwork(LinearVP(), 2), LinearVP())
    >>> student(torch.zeros(5, 2)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        *,
        prediction: Prediction = "sample",
        start: float | None = None,
    ):
        super().__init__()
        self.network, self.prediction = network, prediction
        self.start = schedule.t_max if start is None else start
        if not schedule.t_min <= self.start <= schedule.t_max:
            raise ValueError(
                f"start must be a time of the schedule, {schedule.t_min} to {schedule.t_max}; got "
                f"{start}"
            )
        self.alpha, self.sigma = (
            float(schedule.alpha(self.start)),
            float(schedule.sigma(self.start)),
        )

    def forward(self, noise: Tensor) -> Tensor:
        """The data, (batch, ...), of standard normal noise of that shape."""
        x = self.sigma * noise
        output = evaluate(self.network, x, x.new_full((len(x),), self.start))
        return noise_and_data(output, self.prediction, x, self.alpha, self.sigma)[1]


def teacher_pairs(
    teacher: Callable[[Tensor, float], Tensor],
    schedule: Schedule,
    noise: Tensor,
    *,
    solver: Solver | str = "tab3",
    steps: int = 35,
    spacing: str | None = None,
    prediction: Prediction = "epsilon",
) -> tuple[Tensor, Tensor]:
    """What the teacher makes of noise along its probability flow: the pairs of DMD's regression.

    Parameters
    ----------
    teacher : callable
        ``teacher(x, t)`` with a float ``t``.
    schedule : Schedule
    noise : (count, ...) float
        Standard normal.
    solver, steps, spacing, prediction
        As in :func:`paperworks.diffusion.sampling.sample`.

    Returns
    -------
    (noise, samples)
        Both of the shape of ``noise``.

    Examples
    --------
    >>> import torch
    >>> from paperworks.diffusion.mixtures import GaussianMixture
    >>> from paperworks.diffusion.schedules import LinearVP
    >>> mixture, schedule = GaussianMixture.ring(8), LinearVP()
    >>> noise, samples = teacher_pairs(mixture.model(schedule), schedule, torch.randn(4, 2))
    >>> samples.shape
    torch.Size([4, 2])
    """
    start = float(schedule.sigma(schedule.t_max)) * noise
    found = sample(
        teacher, schedule, start,
        solver=solver, steps=steps, spacing=spacing, prediction=prediction,
    )  # fmt: skip
    return noise, found.x


def evaluate(network: Callable[[Tensor, Tensor], object], x: Tensor, t: Tensor) -> Tensor:
    """A network's output as a tensor, of diffusers' models too."""
    output = network(x, t)
    return output if isinstance(output, Tensor) else output.sample  # type: ignore[attr-defined]

"""What a sampler of diffusion models is made of: a solver, and the course it takes.

A :class:`Solver` is a method and its settings, without state: ``Solver.begin(schedule, times)``
starts a :class:`Course` along given times. A course names the times at which the network is asked,
takes what the network says of the noise, one evaluation after another, and answers with the sample
to ask about next. :func:`paperworks.diffusion.sampling.sample` and the diffusers schedulers of this
family drive the same courses.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from paperworks.diffusion.predictions import Prediction, convert
from paperworks.diffusion.schedules import Floats, Schedule


class Course(ABC):
    """One way from noise to data, taken evaluation by evaluation; used once."""

    times: Floats
    """(evaluations,) at which the network is asked, in order."""

    @abstractmethod
    def advance(self, noise: Tensor, x: Tensor) -> Tensor:
        """The sample to ask about next; after the last evaluation, the sample at the end.

        Parameters
        ----------
        noise, x : (batch, ...) float
            The noise predicted for the sample ``x`` that the call before returned, and that sample.

        Returns
        -------
        (batch, ...) float
            Of the dtype of ``x``.
        """


class Solver(ABC):
    """A method that goes from noise to data in few evaluations of the network."""

    name: str
    stages: int = 1
    """Evaluations that each step takes."""
    least_steps: int = 1
    """The fewest steps in which the method comes to its order."""

    @abstractmethod
    def begin(self, schedule: Schedule, times: Floats) -> Course:
        """A course along ``times``, falling, which :meth:`Schedule.check` has passed."""

    def check_steps(self, steps: int) -> None:
        """Refuse fewer steps than the method's order needs.

        Raises
        ------
        ValueError
            Naming both numbers.
        """
        if steps < self.least_steps:
            raise ValueError(
                f"{self.name} needs {self.least_steps} steps or more, got {steps}: "
                "take more steps or a lower order"
            )


def not_finite(values: Tensor) -> int:
    """How many values are NaN or infinite, in one pass where none are."""
    # A sum that is finite has finite terms.
    if math.isfinite(values.detach().sum()):
        return 0
    return int((~torch.isfinite(values)).sum())


def check_sample(x: Tensor, which: str) -> None:
    """Refuse a sample with values that are not finite.

    Raises
    ------
    ValueError
        "the sample" and ``which``.
    """
    bad = not_finite(x)
    if bad:
        raise ValueError(f"the sample {which} has {bad} values that are NaN or infinite")


def predicted_noise(
    output: Tensor,
    prediction: Prediction,
    x: Tensor,
    alpha: float,
    sigma: float,
    where: str,
) -> Tensor:
    """The noise that a network's output for ``x`` stands for, in the dtype of ``x``.

    Parameters
    ----------
    output, x : (batch, ...) float
    prediction : str
        What the network predicts.
    alpha, sigma : float
        Of the schedule at the time of ``x``.
    where : str
        Names the step in errors.

    Raises
    ------
    ValueError
        If the output has another shape than ``x``, or values that are not finite; where those of
        ``x`` are not either, it is that which is said.
    TypeError
        If the output is not a tensor.
    """
    if not isinstance(output, Tensor):
        raise TypeError(
            f"the model must return a tensor, got {type(output).__name__} {where}: for a network "
            "of diffusers pass `lambda x, t: network(x, t).sample`"
        )
    if output.shape != x.shape:
        raise ValueError(
            f"the model must return the shape of its input {tuple(x.shape)}, "
            f"got {tuple(output.shape)} {where}"
        )
    bad = not_finite(output)
    if bad:
        check_sample(x, f"that the model is asked about {where}")  # else the model is to blame
        raise ValueError(f"the model returned {bad} values that are NaN or infinite {where}")
    output = output.to(x.dtype)
    if prediction == "epsilon":
        return output
    return convert(output, x, alpha, sigma, source=prediction, target="epsilon")

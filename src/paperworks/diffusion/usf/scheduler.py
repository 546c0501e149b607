"""A solver schedule as a scheduler of diffusers, to be put in the place of another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paperworks.diffusion.scheduler import (
    SchedulerMixin,  # noqa: F401 (in a saved pipeline diffusers looks here for what it can load)
    SolverScheduler,
    register_to_config,
)
from paperworks.diffusion.schedules import Floats
from paperworks.diffusion.usf.decisions import Decisions
from paperworks.diffusion.usf.solver import USFSolver


class USFScheduler(SolverScheduler):
    """A solver schedule for any pipeline of diffusers that samples by a variance-preserving model.

    ``USFScheduler.from_config(pipe.scheduler.config, decisions="found.json")`` takes the betas and
    the prediction from the scheduler that is there. ``timestep_spacing``, ``steps_offset`` and
    ``clip_sample`` of that scheduler are not taken over.

    Parameters
    ----------
    decisions : Decisions, mapping, str or Path
        The schedule, or the JSON file that holds it; see
        :class:`paperworks.diffusion.usf.Decisions`. Its times are steps of the training, counted
        from 0. They have a default only since diffusers asks for one: without them it raises.
    num_train_timesteps : int
        Steps of the training.
    beta_start, beta_end : float
        Of the schedules "linear" and "scaled_linear".
    beta_schedule : {"linear", "scaled_linear", "squaredcos_cap_v2"}
        As in diffusers.
    trained_betas : sequence of float, optional
        In place of these three.
    prediction_type : {"epsilon", "sample", "v_prediction"}
        What the network predicts, whatever the decisions expand.
    rescale_betas_zero_snr : bool
        Shift the betas so that the last step is all noise, up to an alpha of ``2**-12`` or less.
    thresholding : bool
        Must be False: the data of a step are a combination of predictions here.

    Raises
    ------
    ValueError
        For no decisions, or such as cannot be; times outside the training's, or thresholding.
    ImportError
        Without diffusers: ``pip install 'paperworks[diffusion]'``.

    Notes
    -----
    Decisions have their own number of steps: ``set_timesteps`` takes that number, or none.

    Examples
    --------
    >>> from paperworks.diffusion.usf import Step
    >>> steps = [Step(corrector=True), Step(2, "data"), Step(3, "data")]
    >>> scheduler = USFScheduler(Decisions([999, 600, 200, 0], steps))
    >>> scheduler.set_timesteps(3)
    >>> scheduler.timesteps.tolist()
    [999, 600, 200]
    """

    @register_to_config
    def __init__(
        self,
        decisions: Decisions | Mapping[str, Any] | str | Path | None = None,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Sequence[float] | None = None,
        prediction_type: str = "epsilon",
        rescale_betas_zero_snr: bool = False,
        thresholding: bool = False,
    ):
        if decisions is None:
            raise ValueError(
                "decisions are missing: USFScheduler.from_config(config, decisions='found.json'), "
                "with the file of search_schedule or decisions of your own"
            )
        if isinstance(decisions, str | Path):
            decisions = Decisions.load(decisions)
        elif not isinstance(decisions, Decisions):
            decisions = Decisions.from_dict(decisions)
        self.register_to_config(decisions=decisions.to_dict())  # what is saved holds all of it
        self._set_up(USFSolver(decisions))
        self.decisions = decisions
        self.schedule.check(decisions.times)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        """Choose the times of a run: those of the decisions.

        Parameters
        ----------
        num_inference_steps : int, optional
            As many as the decisions have.
        device : str or torch.device, optional
            For ``timesteps``.

        Raises
        ------
        ValueError
            For another number of steps.
        """
        own = len(self.decisions)
        super().set_timesteps(own if num_inference_steps is None else num_inference_steps, device)

    def _along(self, steps: int) -> Floats:
        if steps != len(self.decisions):
            raise ValueError(
                f"the decisions have {len(self.decisions)} steps, got num_inference_steps={steps}: "
                f"ask for {len(self.decisions)}, or search for decisions of {steps}"
            )
        return np.array(self.decisions.times)

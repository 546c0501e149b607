"""DEIS as a scheduler of diffusers, to be put in the place of another one.

The solvers are :mod:`paperworks.diffusion.integrators`; this is their face in a pipeline. Unlike
diffusers' own ``DEISMultistepScheduler``, whose polynomial is in log(rho) and of degree 2 at most,
it has all the solvers of the paper, at the times of the paper.
"""

from __future__ import annotations

from collections.abc import Sequence

from paperworks.diffusion.integrators import solver_named
from paperworks.diffusion.scheduler import (
    SchedulerMixin,  # noqa: F401 (in a saved pipeline diffusers looks here for what it can load)
    SolverScheduler,
    register_to_config,
)
from paperworks.diffusion.schedules import Floats
from paperworks.diffusion.timesteps import spaced


class DEISScheduler(SolverScheduler):
    """The solvers of DEIS for any pipeline of diffusers that samples by a variance-preserving
    model.

    ``DEISScheduler.from_config(pipe.scheduler.config)`` takes the betas and the prediction from the
    scheduler that is there. The steps of time are the paper's, so ``timestep_spacing`` and
    ``steps_offset`` of that scheduler are not taken over; nor is ``clip_sample``, which no solver
    of higher order has.

    Parameters
    ----------
    num_train_timesteps : int
        Steps of the training.
    beta_start, beta_end : float
        Of the schedules "linear" and "scaled_linear".
    beta_schedule : {"linear", "scaled_linear", "squaredcos_cap_v2"}
        As in diffusers.
    trained_betas : sequence of float, optional
        In place of these three.
    solver : str
        A name of :mod:`paperworks.diffusion.integrators`. For strong guidance take "tab1" or
        "tab2".
    spacing : {"quadratic", "uniform", "logrho", "karras"}
        See :mod:`paperworks.diffusion.timesteps`.
    prediction_type : {"epsilon", "sample", "v_prediction"}
        What the network predicts.
    rescale_betas_zero_snr : bool
        Shift the betas so that the last step is all noise, up to an alpha of ``2**-12`` or less.
    thresholding : bool
        Must be False: the noise of thresholded data is no smooth function of time.

    Raises
    ------
    ValueError
        For an unknown name, or thresholding.
    ImportError
        Without diffusers: ``pip install 'paperworks[diffusion]'``.

    Notes
    -----
    ``set_timesteps`` counts steps; a Runge-Kutta solver asks the network ``order`` times in each,
    at times that are no whole numbers.

    Examples
    --------
    >>> scheduler = DEISScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    >>> scheduler.set_timesteps(4)
    >>> scheduler.timesteps.tolist()
    [999, 562, 250, 62]
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Sequence[float] | None = None,
        solver: str = "tab3",
        spacing: str = "quadratic",
        prediction_type: str = "epsilon",
        rescale_betas_zero_snr: bool = False,
        thresholding: bool = False,
    ):
        self._set_up(solver_named(solver))
        spaced(self.schedule, 1, spacing)  # a wrong name is told here

    def _along(self, steps: int) -> Floats:
        self.solver.check_steps(steps)
        return spaced(self.schedule, steps, self.config["spacing"])

"""What the schedulers of this family have in common: a solver's face in a pipeline of diffusers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paperworks.data.models import require
from paperworks.diffusion.schedules import DiscreteVP, Floats
from paperworks.diffusion.solver import Course, Solver, check_sample, predicted_noise

require("diffusion", "diffusers")

from diffusers.configuration_utils import ConfigMixin, register_to_config  # noqa: E402
from diffusers.schedulers.scheduling_utils import (  # noqa: E402
    KarrasDiffusionSchedulers,
    SchedulerMixin,
    SchedulerOutput,
)

__all__ = ["SolverScheduler", "register_to_config"]

PREDICTIONS = ("epsilon", "sample", "v_prediction")
_NO_BETAS = (
    "use_flow_sigmas", "shift", "base_shift", "sigma_data", "sigma_min", "sigma_max",
    "snr_shift_scale",
)  # fmt: skip
"""What a configuration says where noise is that of flow matching or EDM, or betas are not all."""
_DDPM = {
    "num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear",
    "trained_betas": None, "rescale_betas_zero_snr": False, "prediction_type": "epsilon",
}  # fmt: skip
_NEAR = 1e-3  # between a timestep and what float32, in which pipelines carry it, makes of it


class SolverScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """A solver as a scheduler of diffusers, for variance-preserving models of discrete steps.

    A scheduler of this family registers its parameters, the shared ones among them, and calls
    :meth:`_set_up`; it says by :meth:`_along` where a run of so many steps stops.
    """

    _compatibles = [each.name for each in KarrasDiffusionSchedulers]  # noqa: RUF012 (diffusers' way)
    order = 1

    @classmethod
    def from_config(
        cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any
    ) -> Any:
        """A scheduler for the model of another one, by that one's configuration.

        Parameters
        ----------
        config : mapping
            The ``config`` of a scheduler of diffusers.
        return_unused_kwargs : bool
            As in diffusers.
        **kwargs
            Parameters of this scheduler, in place of the configuration's.

        Raises
        ------
        ValueError
            If the model's noise is not that of betas: one of flow matching, of EDM or of
            consistency models.
        """
        if isinstance(config, Mapping):
            _check_config({**config, **kwargs})
            # Diffusers takes our own defaults for what the other scheduler had by default; but the
            # model was trained with that one's.
            defaults = set(config.get("_use_default_values", ())) - _DDPM.keys()
            config = {**config, "_use_default_values": sorted(defaults)}
        return super().from_config(config, return_unused_kwargs, **kwargs)

    def _set_up(self, solver: Solver) -> None:
        """Called by the constructor, when ``config`` has its arguments."""
        if self.config["thresholding"]:
            raise ValueError("thresholding must be False: from_config(config, thresholding=False)")
        self.schedule = schedule_of(self.config)
        self.solver = solver
        self.order = solver.stages
        self.init_noise_sigma = 1.0
        self.betas = torch.from_numpy(self.schedule.betas).float()
        steps = np.arange(len(self.betas))
        self.alphas_cumprod = torch.from_numpy(self.schedule.alpha(steps) ** 2).float()
        self.timesteps = torch.from_numpy(steps[::-1].copy())
        self.num_inference_steps: int | None = None
        self._times: Floats = np.empty(0)
        self._course: Course | None = None
        self._start = self._done = 0  # evaluations before the course, and of it
        self._begin_index: int | None = None

    @abstractmethod
    def _along(self, steps: int) -> Floats:
        """The times of a run of so many steps; ValueError if it cannot have as many."""

    @property
    def step_index(self) -> int | None:
        """Which of the timesteps is next; None before the first call of :meth:`step`."""
        return None if self._course is None else self._start + self._done

    @property
    def begin_index(self) -> int | None:
        """Where in the timesteps a pipeline begins, if it has said so."""
        return self._begin_index

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Say where in the timesteps the first call of :meth:`step` will be."""
        self._begin_index = begin_index

    def set_timesteps(
        self, num_inference_steps: int, device: str | torch.device | None = None
    ) -> None:
        """Choose the times of a run.

        Parameters
        ----------
        num_inference_steps : int
            Steps of the solver.
        device : str or torch.device, optional
            For ``timesteps``.

        Raises
        ------
        ValueError
            If the solver cannot take so many steps, or the model was trained on fewer.
        """
        self._times = self._along(num_inference_steps)
        asked = self.solver.begin(self.schedule, self._times).times
        kind = torch.int64 if (asked == np.rint(asked)).all() else torch.float32
        self.timesteps = torch.from_numpy(asked).to(device=device, dtype=kind)
        self.num_inference_steps = num_inference_steps
        self._course = self._begin_index = None

    def scale_model_input(self, sample: Tensor, timestep: Tensor | float | None = None) -> Tensor:
        """The sample as it is: the networks of this scheduler take it unscaled."""
        return sample

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor | float,
        sample: Tensor,
        eta: float = 0.0,
        use_clipped_model_output: bool | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[Tensor]:
        """The sample for the next timestep.

        Parameters
        ----------
        model_output, sample : (batch, ...) float
            What the network says of the sample, and that sample. Solvers of several steps keep the
            last outputs, so they must not be overwritten.
        timestep : float or Tensor
            Of ``timesteps``, where the first call may begin anywhere and the others follow in
            order.
        eta, use_clipped_model_output, generator
            Taken so that pipelines of other schedulers may pass them; these solvers add no
            noise, so ``eta`` must be 0.
        return_dict : bool
            Whether to return an object with ``prev_sample``, or a tuple.

        Raises
        ------
        ValueError
            Before :meth:`set_timesteps`, after the last step, for a timestep that is not the next
            one, for an ``eta`` that is not 0, or if the network returned NaN, infinity or another
            shape, or the last sample is not finite; the step is named.
        """
        if eta != 0:
            raise ValueError(f"eta must be 0 for a solver without noise, got {eta}")
        course, index = self._course or self._begin(timestep), self._done
        if index == len(course.times):
            raise ValueError("all steps are done: call set_timesteps to sample again")
        step = f"step {(self._start + index) // self.order + 1} of {self.num_inference_steps}"
        if not abs(float(timestep) - course.times[index]) <= _NEAR:
            raise ValueError(
                f"timestep {float(timestep):g} is not that of {step}, {course.times[index]:g}: "
                "call step with the timesteps in their order, after set_timesteps for a new run"
            )
        state = sample.float() if sample.dtype.itemsize < 4 else sample
        noise = predicted_noise(
            model_output,
            self.config["prediction_type"],
            state,
            float(self._alphas[index]),
            float(self._sigmas[index]),
            f"at {step}, timestep {course.times[index]:g}",
        )
        moved = course.advance(noise, state).to(sample.dtype)
        self._done += 1
        if self._done == len(course.times):
            check_sample(moved, f"after the last step, {step.removeprefix('step ')},")
        return SchedulerOutput(prev_sample=moved) if return_dict else (moved,)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Samples of given timesteps, ``alpha x0 + sigma noise``.

        Parameters
        ----------
        original_samples, noise : (batch, ...) float
        timesteps : (batch,), or a single one for all
        """
        shape = (-1,) + (1,) * (original_samples.dim() - 1)
        times = np.atleast_1d(timesteps.double().numpy(force=True))
        alpha, sigma = (
            torch.from_numpy(part(times)).to(original_samples).reshape(shape)
            for part in (self.schedule.alpha, self.schedule.sigma)
        )
        return alpha * original_samples + sigma * noise

    def __len__(self) -> int:
        return len(self.betas)

    def _begin(self, timestep: Tensor | float) -> Course:
        """A course from where the pipeline begins; it knows nothing of what would be before."""
        if self.num_inference_steps is None:
            raise ValueError("call set_timesteps before step")
        if self._begin_index is not None:
            step = self._begin_index // self.order
        else:  # a step's last stage may be at the time where the next one begins
            begins = self.timesteps[:: self.order].cpu()
            away = (begins - float(timestep)).abs()
            step = int(away.argmin())
            if not float(away[step]) <= _NEAR:
                raise ValueError(
                    f"timestep {float(timestep):g} is none where a step of this run begins: "
                    f"{', '.join(f'{each:g}' for each in begins.tolist())}"
                )
        course = self.solver.begin(self.schedule, self._times[step:])
        self._alphas = self.schedule.alpha(course.times)
        self._sigmas = self.schedule.sigma(course.times)
        self._course, self._start, self._done = course, step * self.order, 0
        return course


def schedule_of(config: Mapping[str, Any]) -> DiscreteVP:
    """The noise of a model, by the configuration of its scheduler; what it leaves out is DDPM's.

    Raises
    ------
    ValueError
        If that noise is not of betas, or the network predicts what these schedulers do not take.
    """
    _check_config(config)
    found = {**_DDPM, **config}
    if found["prediction_type"] not in PREDICTIONS:
        raise ValueError(
            f"prediction_type must be one of {', '.join(PREDICTIONS)}; got "
            f"{found['prediction_type']!r}"
        )
    return DiscreteVP(_betas(found))


def _check_config(config: Mapping[str, Any]) -> None:
    """Refuse what would be taken for betas and is none: the images would silently be wrong."""
    told = [f"{key}={config[key]!r}" for key in _NO_BETAS if config.get(key)]
    others = config.keys() - {"_class_name", "_diffusers_version", "_use_default_values"}
    betas = "beta_schedule" in others or config.get("trained_betas") is not None
    if others and not told and not betas:
        told = [f"no beta_schedule, but {', '.join(sorted(others))}"]
    if told:
        raise ValueError(
            f"the configuration has {', '.join(told)}: its model has not the noise of betas, which "
            "this scheduler is for; paperworks.diffusion.sample takes schedules of other kinds"
        )


def _betas(config: Mapping[str, Any]) -> Floats:
    steps, start, end = (config[key] for key in ("num_train_timesteps", "beta_start", "beta_end"))
    name = config["beta_schedule"]
    if config["trained_betas"] is not None:
        betas = np.asarray(config["trained_betas"], np.float64)
    elif name == "linear":
        betas = np.linspace(start, end, steps)
    elif name == "scaled_linear":
        betas = np.linspace(start**0.5, end**0.5, steps) ** 2
    elif name == "squaredcos_cap_v2":
        left = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - left[1:] / left[:-1], 0.999)
    else:
        raise ValueError(
            f"beta_schedule must be linear, scaled_linear or squaredcos_cap_v2, got {name!r}; "
            "pass others as trained_betas"
        )
    return _without_signal(betas) if config["rescale_betas_zero_snr"] else betas


def _without_signal(betas: Floats) -> Floats:
    """Lin et al. 2024, arXiv:2305.08891, algorithm 1, with a last alpha of 2**-12 in place of 0,
    as diffusers' solvers have it: at 0 sigma / alpha would be infinite. Where the alpha before is
    below that already, as of DDPM's own betas, the last one is half of it.
    """
    root = np.sqrt(np.cumprod(1 - betas))
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    root[-1] = 2.0**-12 if root[-2] > 2.0**-12 else root[-2] / 2
    return 1 - (root / np.concatenate([[1.0], root[:-1]])) ** 2

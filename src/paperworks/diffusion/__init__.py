"""Diffusion models: noise schedules, samplers of few steps, and distillation to one."""

from typing import TYPE_CHECKING, Any

from paperworks.diffusion.f_distill import FDistillTrainer
from paperworks.diffusion.mixtures import GaussianMixture
from paperworks.diffusion.sampling import Samples, sample
from paperworks.diffusion.schedules import (
    EDM,
    VE,
    CosineVP,
    DiscreteVP,
    FlowMatching,
    LinearVP,
    Schedule,
)
from paperworks.diffusion.usf import search_schedule

if TYPE_CHECKING:
    from paperworks.diffusion.deis import DEISScheduler
    from paperworks.diffusion.usf.scheduler import USFScheduler

__all__ = [
    # Sampling
    "sample",
    "Samples",
    "DEISScheduler",  # for pipelines of diffusers
    "USFScheduler",  # the same, of one's own decisions at every step
    "search_schedule",  # and how to find them
    # Distillation to one step
    "FDistillTrainer",
    # How much noise when
    "Schedule",
    "LinearVP",
    "CosineVP",
    "DiscreteVP",
    "VE",
    "EDM",
    "FlowMatching",
    # Data whose score is known
    "GaussianMixture",
]


def __getattr__(name: str) -> Any:
    """The schedulers load diffusers, which takes seconds and is an extra."""
    if name == "DEISScheduler":
        from paperworks.diffusion.deis import DEISScheduler

        return DEISScheduler
    if name == "USFScheduler":
        from paperworks.diffusion.usf.scheduler import USFScheduler

        return USFScheduler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

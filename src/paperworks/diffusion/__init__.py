"""Diffusion models: noise schedules, samplers of few steps, and distillation to one."""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from paperworks.diffusion.deis import DEISScheduler

__all__ = [
    # Sampling
    "sample",
    "Samples",
    "DEISScheduler",  # for pipelines of diffusers
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
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

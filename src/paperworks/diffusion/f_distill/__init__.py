"""f-distill: one-step generators by matching distributions under any f-divergence."""

from paperworks.diffusion.f_distill.divergences import (
    DIVERGENCES,
    Divergence,
    alpha_divergence,
    divergence_named,
    divergence_of,
)
from paperworks.diffusion.f_distill.networks import (
    FeatureDiscriminator,
    PointNetwork,
)
from paperworks.diffusion.f_distill.student import OneStep, teacher_pairs
from paperworks.diffusion.f_distill.trainer import FDistillTrainer
from paperworks.diffusion.f_distill.weighting import Weighting, normalized_variance

__all__ = [
    "FDistillTrainer",  # the method
    "OneStep",
    "teacher_pairs",
    # the divergences and their weights
    "DIVERGENCES",
    "Divergence",
    "alpha_divergence",
    "divergence_named",
    "divergence_of",
    "Weighting",
    "normalized_variance",
    # networks
    "FeatureDiscriminator",
    "PointNetwork",
]

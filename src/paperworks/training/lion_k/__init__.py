"""Lion-kappa: the optimizer, the kappas with their conjugates, and its continuous-time theory."""

from paperworks.training.lion_k.base import CustomKappa, Kappa
from paperworks.training.lion_k.dynamics import LionKFlow, Trajectory
from paperworks.training.lion_k.optimizer import LionK
from paperworks.training.lion_k.registry import KAPPAS, kappa

__all__ = [
    "LionK",  # the optimizer
    # kappas
    "kappa",
    "KAPPAS",
    "Kappa",
    "CustomKappa",
    # the theory, to be run
    "LionKFlow",
    "Trajectory",
]

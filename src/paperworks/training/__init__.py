"""Optimizers and training rules."""

from paperworks.training import lion_k
from paperworks.training.lion_k import LionK

__all__ = [
    "LionK",  # Lion and its family: weight decay as a constraint
    "lion_k",  # its kappas, their conjugates and feasible sets, its theory
]

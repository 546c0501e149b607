"""GBLM-Pruner: prune by weights, activations and gradients. See :mod:`.pruner`."""

from paperworks.compression.gblm.gradients import next_token_loss
from paperworks.compression.gblm.pruner import GBLMPruner

__all__ = ["GBLMPruner", "next_token_loss"]

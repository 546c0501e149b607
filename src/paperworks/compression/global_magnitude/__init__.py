"""Global magnitude pruning, in one go or gradually, and what it saves."""

from paperworks.compression.global_magnitude.flops import MultiplyAdds, multiply_adds
from paperworks.compression.global_magnitude.gradual import GradualPruning
from paperworks.compression.global_magnitude.pruner import GlobalMagnitudePruner

__all__ = ["GlobalMagnitudePruner", "GradualPruning", "MultiplyAdds", "multiply_adds"]

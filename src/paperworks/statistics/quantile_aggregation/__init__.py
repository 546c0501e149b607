"""Quantile regressors aggregated by learned weights, put in order, and calibrated."""

from paperworks.statistics.quantile_aggregation.aggregator import QuantileAggregator
from paperworks.statistics.quantile_aggregation.crossing import uncross
from paperworks.statistics.quantile_aggregation.networks import (
    GaussianQuantileNetwork,
    SimultaneousQuantileNetwork,
)
from paperworks.statistics.quantile_aggregation.scores import QuantileScores, quantile_scores

__all__ = [
    "QuantileAggregator",
    "GaussianQuantileNetwork",
    "SimultaneousQuantileNetwork",
    "uncross",
    "quantile_scores",
    "QuantileScores",
]

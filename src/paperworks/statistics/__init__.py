"""Estimators and guarantees of statistics."""

from paperworks.statistics.presto import (
    PrestoClassifier,
    PrestoClassifierCV,
    PrestoPath,
    presto_path,
)
from paperworks.statistics.quantile_aggregation import (
    GaussianQuantileNetwork,
    QuantileAggregator,
    QuantileScores,
    SimultaneousQuantileNetwork,
    quantile_scores,
    uncross,
)

__all__ = [
    "PrestoClassifier",
    "PrestoClassifierCV",
    "presto_path",
    "PrestoPath",
    "QuantileAggregator",
    "GaussianQuantileNetwork",
    "SimultaneousQuantileNetwork",
    "quantile_scores",
    "QuantileScores",
    "uncross",
]

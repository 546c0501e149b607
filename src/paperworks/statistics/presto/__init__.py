"""Ordinal regression for a rare last class, shrunk towards proportional odds (PRESTO)."""

from paperworks.statistics.presto.estimator import PrestoClassifier, PrestoClassifierCV
from paperworks.statistics.presto.path import PrestoPath, presto_path

__all__ = [
    "PrestoClassifier",
    "PrestoClassifierCV",
    "presto_path",
    "PrestoPath",
]

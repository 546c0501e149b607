"""Estimators and guarantees of statistics."""

from paperworks.statistics.adaptive import ReusableHoldout, plan_holdout
from paperworks.statistics.presto import (
    PrestoClassifier,
    PrestoClassifierCV,
    PrestoPath,
    presto_path,
)

__all__ = [
    "PrestoClassifier",
    "PrestoClassifierCV",
    "presto_path",
    "PrestoPath",
    "ReusableHoldout",
    "plan_holdout",
]

"""Estimators and guarantees of statistics."""

from paperworks.statistics.adaptive import ReusableHoldout, plan_holdout
from paperworks.statistics.presto import (
    PrestoClassifier,
    PrestoClassifierCV,
    PrestoPath,
    presto_path,
)
from paperworks.statistics.pretraining import (
    ComponentClassifier,
    ContrastiveClasses,
    ContrastiveModel,
    Diagnostics,
    ExcessRiskBound,
    FactorClasses,
    FactorModel,
    FiniteClasses,
    InformativeCondition,
    MixtureClasses,
    MixtureModel,
    PretrainedERM,
    excess_risk_bound,
    informative_condition,
    unlabelled_rows_needed,
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
    "PretrainedERM",
    "FactorModel",
    "MixtureModel",
    "ContrastiveModel",
    "ComponentClassifier",
    "Diagnostics",
    "informative_condition",
    "InformativeCondition",
    "excess_risk_bound",
    "ExcessRiskBound",
    "unlabelled_rows_needed",
    "FactorClasses",
    "MixtureClasses",
    "ContrastiveClasses",
    "FiniteClasses",
    "ReusableHoldout",
    "plan_holdout",
    "QuantileAggregator",
    "GaussianQuantileNetwork",
    "SimultaneousQuantileNetwork",
    "quantile_scores",
    "QuantileScores",
    "uncross",
]

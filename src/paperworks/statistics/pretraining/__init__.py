"""Pretraining by maximum likelihood on unlabelled rows, then ERM on few labels, and its bound."""

from paperworks.statistics.pretraining.bound import (
    ExcessRiskBound,
    excess_risk_bound,
    unlabelled_rows_needed,
)
from paperworks.statistics.pretraining.classes import (
    ContrastiveClasses,
    FactorClasses,
    FiniteClasses,
    MixtureClasses,
)
from paperworks.statistics.pretraining.components import ComponentClassifier
from paperworks.statistics.pretraining.contrastive import ContrastiveModel
from paperworks.statistics.pretraining.diagnostics import Check, Diagnostics
from paperworks.statistics.pretraining.estimator import PretrainedERM
from paperworks.statistics.pretraining.factor import FactorModel
from paperworks.statistics.pretraining.informative import (
    InformativeCondition,
    informative_condition,
)
from paperworks.statistics.pretraining.mixture import MixtureModel

__all__ = [
    "PretrainedERM",
    "FactorModel",
    "MixtureModel",
    "ContrastiveModel",
    "ComponentClassifier",
    "Diagnostics",
    "Check",
    "informative_condition",
    "InformativeCondition",
    "excess_risk_bound",
    "ExcessRiskBound",
    "unlabelled_rows_needed",
    "FactorClasses",
    "MixtureClasses",
    "ContrastiveClasses",
    "FiniteClasses",
]

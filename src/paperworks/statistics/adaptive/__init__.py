"""Answers that stay valid when each question depends on the answers before it."""

from paperworks.statistics.adaptive.accountant import plan_holdout
from paperworks.statistics.adaptive.answers import Answer, Status
from paperworks.statistics.adaptive.holdout import ReusableHoldout
from paperworks.statistics.adaptive.ledger import LedgerError
from paperworks.statistics.adaptive.mechanisms import (
    BudgetExhausted,
    Gaussian,
    Laplace,
    Splitting,
)
from paperworks.statistics.adaptive.thresholdout import Thresholdout
from paperworks.statistics.adaptive.weights import FiniteDomain, MultiplicativeWeights

__all__ = [
    "ReusableHoldout",
    "Answer",
    "Status",
    "BudgetExhausted",
    "LedgerError",
    "plan_holdout",
    "Splitting",
    "Laplace",
    "Gaussian",
    "Thresholdout",
    "MultiplicativeWeights",
    "FiniteDomain",
]

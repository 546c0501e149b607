"""The excess risk bound of pretraining by maximum likelihood and a predictor by ERM.

Ge, Tang, Fan and Jin (ICLR 2024, arXiv 2303.01566), their main theorem. With m unlabelled and n
labelled rows drawn independently, a loss of absolute value at most L, a class Phi of latent
variable models that holds the true one and is kappa^-1-informative, and a class Psi of label models
that holds the true one: with probability 1 - delta the excess risk of the two-phase estimator is at
most

    12 kappa L sqrt(log(2 N / delta) / m)  +  2 R_n  +  2 L sqrt(2 log(4 / delta) / n),

N the bracketing number of the observed densities of Phi at 1/m and R_n the largest Rademacher
complexity over Phi of the losses of Psi's predictors on n rows. The constants were derived again
for this module, each step as follows.

* Maximum likelihood (probability delta / 2). Bracket the densities by N pairs of functions at most
  1/m apart in L1. For an upper function u, E sqrt(prod u / p*) = (int sqrt(u p*))^m; by Markov
  and a union bound int (sqrt u - sqrt p*)^2 <= (1 + 2 log(2N/delta)) / m for the bracket of the
  maximum, hence TV(P, P*) <= 3 sqrt(log(2N/delta) / m), and the same for the Hellinger distance.
* Informative condition: TV of (x, y) under the estimate with its best label model is at most kappa
  times that. Swapping the measure under the risk twice costs 2 * 2L * TV: 12 kappa L sqrt(...).
* ERM (probability delta / 2): one bounded-difference inequality for the supremum over Psi and one
  for the best label model, delta / 4 each.

The labelled-only bound is the last step alone, on all predictors of Phi and Psi, with log(2/delta).

Both are worst cases, often above the largest possible loss; `ExcessRiskBound.vacuous` says so. Use
them for how risk *scales* with m, n and the classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from paperworks.statistics.checking import positive, probability, whole


class Classes(Protocol):
    """The complexity terms of a class of models and one of predictors."""

    @property
    def loss_bound(self) -> float:
        """L: the loss lies in [-L, L]."""

    def log_bracketing(self, m: int) -> float:
        """Log of the bracketing number at 1/m, in L1, of the observed densities."""

    def rademacher(self, n: int) -> float:
        """Rademacher complexity of the losses of a fixed model's predictors, at most."""

    def rademacher_supervised(self, n: int) -> float:
        """The same for the predictors of all models together."""


@dataclass(frozen=True)
class ExcessRiskBound:
    """A bound on the excess risk, by term.

    Parameters
    ----------
    total : float
        The bound: holds with probability 1 - delta.
    pretraining : float
        12 kappa L sqrt(log(2N/delta) / m).
    predictor : float
        2 R_n.
    confidence : float
        2 L sqrt(2 log(4/delta) / n).
    supervised : float
        The bound for learning from the labelled rows alone, at the same probability.
    loss_bound : float
        L.

    Examples
    --------
    >>> from paperworks.statistics import FiniteClasses
    >>> bound = excess_risk_bound(10**6, 10**4, FiniteClasses(20, 4), kappa=2.0)
    >>> round(bound.pretraining, 3), round(bound.predictor, 3), round(bound.confidence, 3)
    (0.062, 0.033, 0.059)
    """

    total: float
    pretraining: float
    predictor: float
    confidence: float
    supervised: float
    loss_bound: float

    @property
    def pays(self) -> bool:
        """Whether the bound is below that of labelled rows alone."""
        return self.total < self.supervised

    @property
    def vacuous(self) -> bool:
        """Whether the bound is no better than the width of the loss, 2 L."""
        return self.total >= 2 * self.loss_bound


def excess_risk_bound(
    m: int, n: int, classes: Classes, *, kappa: float, delta: float = 0.05
) -> ExcessRiskBound:
    """Bound the excess risk of pretraining on m rows and fitting a predictor on n.

    Parameters
    ----------
    m, n : int
        Unlabelled and labelled rows, drawn independently.
    classes : FactorClasses, MixtureClasses, ContrastiveClasses, FiniteClasses or like these
        What gives ``loss_bound``, ``log_bracketing(m)``, ``rademacher(n)`` and
        ``rademacher_supervised(n)``.
    kappa : float
        Of the informative condition, in total variation or (weakly) in Hellinger distance. What
        ``informative_condition`` measures is a lower bound of it: with that number the result is
        an estimate of the bound and no guarantee.
    delta : float, default=0.05
        Probability that the bound fails, at most.

    Returns
    -------
    ExcessRiskBound

    Raises
    ------
    ValueError
        If m or n is below 1, kappa not positive and finite, or delta not in (0, 1).

    Notes
    -----
    What is promised: over the draw of all m + n rows, P(excess risk > total) <= delta, *if* the
    true model is in Phi and the true label model in Psi, the likelihood is truly maximised, the
    predictor truly minimises the empirical risk over the Bayes predictors of Psi, pretraining saw
    no labelled row (``pretrain_on="unlabelled"``), and kappa is true.

    Source: arXiv 2303.01566, main theorem; constants derived again, see the module.

    Examples
    --------
    >>> from paperworks.statistics import FactorClasses
    >>> classes = FactorClasses(n_features=500, n_components=1, norm=1.0, label_norm=1.0)
    >>> bound = excess_risk_bound(10**9, 10**4, classes, kappa=1.5)
    >>> bound.pays, bound.vacuous
    (True, False)
    """
    whole("m", m, 1)
    whole("n", n, 1)
    positive("kappa", kappa)
    probability("delta", delta)
    if not hasattr(classes, "log_bracketing"):
        raise ValueError(
            f"classes must give the complexity terms, as FactorClasses(...) does, got {classes!r}"
        )
    L = positive("loss_bound", classes.loss_bound)
    log_n = positive("log_bracketing", classes.log_bracketing(m), zero=True)
    pretraining = 12 * kappa * L * np.sqrt((log_n + np.log(2 / delta)) / m)
    predictor = 2 * positive("rademacher", classes.rademacher(n), zero=True)
    confidence = 2 * L * np.sqrt(2 * np.log(4 / delta) / n)
    alone = 2 * positive("rademacher_supervised", classes.rademacher_supervised(n), zero=True)
    alone += 2 * L * np.sqrt(2 * np.log(2 / delta) / n)
    return ExcessRiskBound(
        total=float(pretraining + predictor + confidence),
        pretraining=float(pretraining),
        predictor=float(predictor),
        confidence=float(confidence),
        supervised=float(alone),
        loss_bound=L,
    )


def unlabelled_rows_needed(
    n: int, classes: Classes, *, kappa: float, delta: float = 0.05, at_most: int = 10**15
) -> int | None:
    """Smallest m from which the bound promises less than labelled rows alone.

    Parameters
    ----------
    n, classes, kappa, delta
        As in :func:`excess_risk_bound`.
    at_most : int, default=10**15
        Where the search ends.

    Returns
    -------
    int or None
        None where no m up to ``at_most`` is enough: the predictors on a fixed model are then
        nearly as complex as all together, or the bounds too loose to tell.

    Examples
    --------
    >>> from paperworks.statistics import FactorClasses
    >>> classes = FactorClasses(n_features=500, n_components=1, norm=1.0, label_norm=1.0)
    >>> needed = unlabelled_rows_needed(10**4, classes, kappa=1.5)
    >>> needed > 10**7
    True
    """
    low, high = 0, whole("at_most", at_most, 1)
    if not excess_risk_bound(high, n, classes, kappa=kappa, delta=delta).pays:
        return None
    while high - low > 1:  # the pretraining term falls in m, from the second row on at least
        middle = (low + high) // 2
        if excess_risk_bound(middle, n, classes, kappa=kappa, delta=delta).pays:
            high = middle
        else:
            low = middle
    return high

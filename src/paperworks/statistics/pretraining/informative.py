"""The informative condition as a number: how far the observed determines the latent.

Ge, Tang, Fan and Jin (ICLR 2024, arXiv 2303.01566), their main assumption. A class of latent
variable models is kappa^-1-informative about the true one if, for every member, some
transformation T of its latents (one that the predictors can undo) has

    TV(P_T(x, z), P*(x, z)) <= kappa * TV(P(x, s), P*(x, s)),

TV the total variation and s what is observed beside x (the sign of a contrastive pair). Weakly
informative is the same with the Hellinger distance on the right. Maximum likelihood makes the
right side small, so that a small kappa makes the representation good.

A supremum over a class cannot be computed. Two numbers stand for it, both at the fitted model in
place of the true one:

* `local`: the supremum over *small* changes of the parameters, in Hellinger distance on both
  sides. That is a ratio of Fisher informations, with and without the latents seen: the square of
  `local` is 1 / (1 - the largest fraction of missing information), after the transformations are
  taken out. It is exact for factors, and an average over rows for the other two models.
* `largest`: the largest ratio of total variations among members drawn at random at several
  distances. The left side is exact given the draws and the right side a Monte Carlo mean.

Both are lower bounds of the kappa of the whole class, and neither certifies it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from paperworks.statistics.checking import whole

FloatArray = NDArray[np.float64]

_SIZES = (0.03, 0.1, 0.3, 1.0)  # of a change, in standard deviations of the noise
_NOISY = 5.0  # a ratio counts where its denominator is this many standard errors from 0


class Alternative(NamedTuple):
    """Distances of one member of a class from another, in total variation."""

    observed: float
    error: float  # standard error of `observed`
    latent: float


class LatentModel(Protocol):
    """What a model gives to have its condition measured."""

    def local_kappa(self, X: FloatArray | None = None) -> float:
        """Largest ratio of Hellinger distances, latent over observed, for small changes."""

    def alternative(
        self, size: float, rng: np.random.Generator, n_samples: int, X: FloatArray | None = None
    ) -> Alternative:
        """Distances of a random member of the class, ``size`` away in units of the noise."""


@dataclass(frozen=True)
class InformativeCondition:
    """How informative what is observed is about the latents, at a fitted model.

    Parameters
    ----------
    local : float
        kappa for small changes, in Hellinger distance; infinite where some change of the
        parameters shows in the latents alone.
    largest : float
        The largest ratio of total variations among the members tried (NaN where every one was
        too close to tell from the fitted model).
    observed, latent : tuple of float
        The two distances of each member tried that counted.

    Examples
    --------
    >>> found = InformativeCondition(local=1.5, largest=1.8, observed=(0.1,), latent=(0.18,))
    >>> round(found.kappa, 2)
    2.12
    """

    local: float
    largest: float
    observed: tuple[float, ...] = field(repr=False)
    latent: tuple[float, ...] = field(repr=False)

    @property
    def kappa(self) -> float:
        """The larger of the two, with ``local`` carried to total variation (at most sqrt 2 more).

        A lower bound of the paper's kappa for the weak condition, as far as it was searched.
        """
        return float(np.fmax(np.sqrt(2) * self.local, self.largest))


def informative_condition(
    model: LatentModel,
    X: Any = None,
    *,
    n_alternatives: int = 40,
    n_samples: int = 4000,
    random_state: Any = 0,
) -> InformativeCondition:
    """Measure the informative condition at a fitted model.

    Parameters
    ----------
    model : FactorModel, MixtureModel or ContrastiveModel
        Fitted.
    X : (n, d) float or None
        Rows to average over. Contrastive models do not model x, and need them.
    n_alternatives : int, default=40
        Members of the class tried, a quarter each at changes of 0.03, 0.1, 0.3 and 1 standard
        deviations of the noise.
    n_samples : int, default=4000
        Draws for each.
    random_state : int, Generator or None, default=0
        Of the members and draws.

    Returns
    -------
    InformativeCondition

    Examples
    --------
    >>> import numpy as np
    >>> from paperworks.statistics import FactorModel
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(5000, 1)) @ np.full((1, 6), 2.0) + rng.normal(size=(5000, 6))
    >>> found = informative_condition(FactorModel(1).fit(X), n_alternatives=4)
    >>> round(found.local, 1)
    3.6
    """
    whole("n_alternatives", n_alternatives, 1)
    whole("n_samples", n_samples, 2)
    check_is_fitted(model)
    rng = np.random.default_rng(random_state)
    tried = [
        model.alternative(_SIZES[i % len(_SIZES)], rng, n_samples, X) for i in range(n_alternatives)
    ]
    seen = [each for each in tried if each.observed > _NOISY * each.error]
    ratios = [each.latent / each.observed for each in seen]
    return InformativeCondition(
        local=model.local_kappa(X),
        largest=max(ratios, default=float("nan")),
        observed=tuple(each.observed for each in seen),
        latent=tuple(each.latent for each in seen),
    )


def total_variation(log_p: FloatArray, log_q: FloatArray) -> tuple[float, float]:
    """TV(P, Q) and its standard error, from log-densities (n,) at draws from P.

    The mean of (1 - q/p)_+ : bounded by 1, unlike |1 - q/p| / 2, which has the same mean.
    """
    ratio = np.maximum(-np.expm1(np.minimum(log_q - log_p, 0.0)), 0.0)
    return float(ratio.mean()), float(ratio.std() / np.sqrt(len(ratio)))

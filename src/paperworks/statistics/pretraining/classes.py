"""Complexity terms of the three examples, and of finite classes.

Ge, Tang, Fan and Jin (ICLR 2024, arXiv 2303.01566). The examples have log N of the order of the
number of parameters (d r, K d, d r) and R_n of that of sqrt(r / n), sqrt(K / n), sqrt(r / n). The
bounds here have every constant, so that they can be computed and tested; they are our own. How each
comes about stands beside it. A ball of radius D in R^p is covered by (1 + 2 D / rho)^p balls of
radius rho.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import gammaln

from paperworks.statistics.checking import positive, whole


@dataclass(frozen=True)
class FiniteClasses:
    """Finitely many models and finitely many label models.

    Parameters
    ----------
    n_models : int
        |Phi|. Each density is its own bracket.
    n_predictors : int
        |Psi|. R_n <= L sqrt(2 log |Psi| / n) (Massart).
    loss_bound : float, default=1.0
        L: the loss lies in [-L, L].

    Examples
    --------
    >>> classes = FiniteClasses(n_models=100, n_predictors=4)
    >>> round(classes.log_bracketing(10), 2), round(classes.rademacher(100), 3)
    (4.61, 0.167)
    """

    n_models: int
    n_predictors: int
    loss_bound: float = 1.0

    def __post_init__(self) -> None:
        whole("n_models", self.n_models, 1)
        whole("n_predictors", self.n_predictors, 1)
        positive("loss_bound", self.loss_bound)

    def log_bracketing(self, m: int) -> float:
        """Log |Phi|, at any m."""
        return float(np.log(self.n_models))

    def rademacher(self, n: int) -> float:
        """L sqrt(2 log |Psi| / n)."""
        return float(self.loss_bound * np.sqrt(2 * np.log(self.n_predictors) / n))

    def rademacher_supervised(self, n: int) -> float:
        """L sqrt(2 log(|Phi| |Psi|) / n)."""
        together = np.log(self.n_models) + np.log(self.n_predictors)
        return float(self.loss_bound * np.sqrt(2 * together / n))


@dataclass(frozen=True)
class FactorClasses:
    """Factor models with noise of variance 1, and linear regression on their factors.

    Loadings of operator norm up to D; labels y = b . z + noise with |b| up to ``label_norm``; the
    loss is the squared error cut off at L.

    Parameters
    ----------
    n_features, n_components : int
        d and r.
    norm : float
        D, on features in units of the noise's standard deviation.
    label_norm : float
        Largest |b|.
    loss_bound : float, default=1.0
        L, where the squared error is cut off.

    Notes
    -----
    Covariances within factors exp(-t) and exp(t) of one another lie in one bracket of width
    2 sinh(t d), and loadings closer than (1 - exp(-t)) / (2 D) have such covariances:
    log N <= d r log(1 + 4 D^2 / (1 - exp(-t))) with 2 sinh(t d) = 1/m.

    The cut-off loss changes by at most 2 sqrt(L) per unit of prediction. The posterior mean is at
    most half of x's part in the subspace, E |E[z|x]|^2 <= r (1 + D^2) / 4, so that
    R_n <= sqrt(L r (1 + D^2) / n) |b|. All predictors together are linear in x with norm up to
    |b| / 2: d + r D^2 takes the place of r (1 + D^2).

    Examples
    --------
    >>> classes = FactorClasses(n_features=100, n_components=2, norm=1.0, label_norm=1.0)
    >>> classes.rademacher(1000) < classes.rademacher_supervised(1000)
    True
    """

    n_features: int
    n_components: int
    norm: float
    label_norm: float
    loss_bound: float = 1.0

    def __post_init__(self) -> None:
        whole("n_features", self.n_features, 1)
        whole("n_components", self.n_components, 1)
        for name in ("norm", "label_norm", "loss_bound"):
            positive(name, getattr(self, name))

    def log_bracketing(self, m: int) -> float:
        """Log of the bracketing number at 1/m; see Notes."""
        t = np.arcsinh(0.5 / m) / self.n_features
        cover = np.log1p(4 * self.norm**2 / -np.expm1(-t))
        return float(self.n_features * self.n_components * cover)

    def rademacher(self, n: int) -> float:
        """Rademacher complexity of regression on r factors; see Notes."""
        size = self.n_components * (1 + self.norm**2)
        return float(self.label_norm * np.sqrt(self.loss_bound * size / n))

    def rademacher_supervised(self, n: int) -> float:
        """Rademacher complexity of regression on d features; see Notes."""
        size = self.n_features + self.n_components * self.norm**2
        return float(self.label_norm * np.sqrt(self.loss_bound * size / n))


@dataclass(frozen=True)
class MixtureClasses:
    """Mixtures of K spherical Gaussians of variance 1, and one class for each component.

    Means of norm up to D, known weights; a row gets the class of most posterior probability, and
    the loss is 0 or 1.

    Parameters
    ----------
    n_features, n_components, n_classes : int
        d, K and C.
    norm : float
        D, in units of the standard deviation.

    Notes
    -----
    Means within rho of a centre c lie between phi(|x - c| + rho) and phi((|x - c| - rho)_+), phi
    the density by distance; rho is the largest with integrals at most 1/m apart, and
    log N <= K d log(1 + 2 D / rho). There are C^K predictors on a fixed model:
    R_n <= sqrt(2 K log C / n). For all together the rules that take the class of the most probable
    component are counted, a smaller class, so that the comparison errs in favour of labelled rows
    alone: they cut space by K (K - 1) / 2 hyperplanes, each of which divides n rows in at most
    (e n / (d + 1))^(d + 1) ways.

    Examples
    --------
    >>> classes = MixtureClasses(n_features=20, n_components=4, n_classes=2, norm=8.0)
    >>> classes.rademacher(1000) < classes.rademacher_supervised(1000)
    True
    """

    n_features: int
    n_components: int
    n_classes: int
    norm: float

    def __post_init__(self) -> None:
        whole("n_features", self.n_features, 1)
        whole("n_components", self.n_components, 1)
        whole("n_classes", self.n_classes, 2)
        positive("norm", self.norm)

    @property
    def loss_bound(self) -> float:
        """1: the loss is 0 or 1."""
        return 1.0

    def log_bracketing(self, m: int) -> float:
        """Log of the bracketing number at 1/m; see Notes."""
        d = self.n_features
        log_rho = brentq(lambda v: np.log(_width(np.exp(v), d)) + np.log(m), -60.0, 3.0)
        return float(self.n_components * d * np.log1p(2 * self.norm / np.exp(log_rho)))

    def rademacher(self, n: int) -> float:
        """sqrt(2 K log C / n)."""
        return float(np.sqrt(2 * self.n_components * np.log(self.n_classes) / n))

    def rademacher_supervised(self, n: int) -> float:
        """Rademacher complexity of all predictors together; see Notes."""
        d, K = self.n_features, self.n_components
        # Few rows can be divided in every way.
        ways = (d + 1) * np.log(np.e * n / (d + 1)) if n > d + 1 else n * np.log(2)
        together = min(K * (K - 1) / 2 * ways, n * np.log(K))
        return float(np.sqrt(2 * (together + K * np.log(self.n_classes)) / n))


def _width(rho: float, d: int) -> float:
    """Gap of the bracket of N(u, I_d), |u - c| <= rho: integral of its upper minus lower function.

    Over distance t from c, relative to the integral of t^(d-1) exp(-t^2/2).
    """
    log_total = (d / 2 - 1) * np.log(2) + gammaln(d / 2)

    def gap(t: float) -> float:
        if t < rho:  # the upper function is flat
            height = -np.expm1(-0.5 * (t + rho) ** 2)
            return float(height * np.exp((d - 1) * np.log(max(t, 1e-300)) - log_total))
        # exp(-(t - rho)^2/2) - exp(-(t + rho)^2/2), without cancellation.
        log_gap = -0.5 * (t - rho) ** 2 + np.log(-np.expm1(-2 * t * rho))
        return float(np.exp((d - 1) * np.log(t) + log_gap - log_total))

    peak = np.sqrt(d) + rho
    inside, _ = quad(gap, 0.0, rho)
    outside, _ = quad(gap, max(rho, peak - 12), peak + 12, limit=200, points=[peak])
    return float(inside + outside)


@dataclass(frozen=True)
class ContrastiveClasses:
    """Linear embeddings of pairs, and linear regression on the embedding.

    Embeddings f(x) = W x with |W| up to D and |x| up to R; labels y = b . f(x) + noise with |b| up
    to ``label_norm``; the loss is the squared error cut off at L.

    Parameters
    ----------
    n_features, n_components : int
        d and r.
    norm : float
        D.
    radius : float
        R.
    label_norm : float
        Largest |b|.
    variance : float, default=1.0
        Largest eigenvalue v of E[x x'].
    loss_bound : float, default=1.0
        L, where the squared error is cut off.

    Notes
    -----
    Matrices closer than rho change f(x) . f(x') by at most 2 D R^2 rho and the probability of a
    sign by a quarter of that: a bracket of width 2 D R^2 rho over both signs, so that
    log N <= d r log(1 + 4 D^2 R^2 m). With |f(x)|^2 at most r D^2 v on average,
    R_n <= 2 |b| D sqrt(L min(r v, R^2) / n); all embeddings together have d in place of r.

    Examples
    --------
    >>> classes = ContrastiveClasses(20, 2, norm=1.0, radius=5.0, label_norm=1.0)
    >>> round(classes.log_bracketing(1000))
    461
    """

    n_features: int
    n_components: int
    norm: float
    radius: float
    label_norm: float
    variance: float = 1.0
    loss_bound: float = 1.0

    def __post_init__(self) -> None:
        whole("n_features", self.n_features, 1)
        whole("n_components", self.n_components, 1)
        for name in ("norm", "radius", "label_norm", "variance", "loss_bound"):
            positive(name, getattr(self, name))

    def log_bracketing(self, m: int) -> float:
        """Log of the bracketing number at 1/m; see Notes."""
        cover = np.log1p(4 * self.norm**2 * self.radius**2 * m)
        return float(self.n_features * self.n_components * cover)

    def rademacher(self, n: int) -> float:
        """Rademacher complexity of regression on the embedding; see Notes."""
        return self._rademacher(self.n_components, n)

    def rademacher_supervised(self, n: int) -> float:
        """Rademacher complexity of regression on all embeddings together; see Notes."""
        return self._rademacher(self.n_features, n)

    def _rademacher(self, dimensions: int, n: int) -> float:
        size = min(dimensions * self.variance, self.radius**2)
        return float(2 * self.label_norm * self.norm * np.sqrt(self.loss_bound * size / n))

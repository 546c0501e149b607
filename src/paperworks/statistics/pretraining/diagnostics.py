"""The paper's assumptions, checked on rows: what can be seen of them, as numbers.

Ge, Tang, Fan and Jin (ICLR 2024, arXiv 2303.01566) assume that what is observed informs of the
latents (the module `informative`), that the true model is in the class, and that labels depend on
a row through its latents. None can be proved from data; each check says what it would notice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2
from sklearn.base import clone

from paperworks.statistics.checking import whole
from paperworks.statistics.pretraining.contrastive import ContrastiveModel
from paperworks.statistics.pretraining.factor import FactorModel
from paperworks.statistics.pretraining.informative import (
    InformativeCondition,
    informative_condition,
)
from paperworks.statistics.pretraining.mixture import MixtureModel

FloatArray = NDArray[np.float64]

_LEVEL = 0.05
_ROWS_A_FEATURE = 10  # from which the likelihood ratio follows its chi-squared law well enough


@dataclass(frozen=True)
class Check:
    """One assumption: what was measured, and whether it passes.

    Parameters
    ----------
    name : str
    value : float
        NaN where it could not be measured.
    need : str
        What ``value`` should be, in words.
    ok : bool or None
        None where it could not be measured.
    """

    name: str
    value: float
    need: str
    ok: bool | None

    def __str__(self) -> str:
        mark = {True: "ok", False: "NO", None: "--"}[self.ok]
        return f"{mark}  {self.name}: {self.value:.3g} (need {self.need})"


@dataclass(frozen=True)
class Diagnostics:
    """What ``PretrainedERM.diagnose`` found; prints as a short table.

    Parameters
    ----------
    model : str
        The representation's class.
    condition : InformativeCondition
        kappa as far as it was searched, a lower bound.
    checks : tuple of Check

    Examples
    --------
    >>> import numpy as np
    >>> from paperworks.statistics import FactorModel, PretrainedERM
    >>> rng = np.random.default_rng(0)
    >>> Z, B = rng.normal(size=(2000, 2)), rng.normal(size=(8, 2))
    >>> X = Z @ B.T + rng.normal(size=(2000, 8))
    >>> y = np.where(np.arange(2000) < 50, Z[:, 0], np.nan)
    >>> found = PretrainedERM().fit(X, y).diagnose(X, y, n_alternatives=4)
    >>> found.ok, [check.ok for check in found.checks]
    (True, [True, True, True, True])
    """

    model: str
    condition: InformativeCondition
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed (one that could not be made does not count)."""
        return all(check.ok is not False for check in self.checks)

    def __str__(self) -> str:
        found = self.condition
        head = f"{self.model}: kappa >= {found.kappa:.3g}"
        return "\n".join([head, *map(str, self.checks)])


def diagnose(
    model: Any,
    predictor: Any,
    X: FloatArray,
    X_labelled: FloatArray,
    y: NDArray,
    *,
    classifier: bool,
    n_alternatives: int,
    n_resamples: int,
    random_state: Any,
) -> Diagnostics:
    """Measure the condition and run the checks of a fitted model; see `PretrainedERM.diagnose`."""
    whole("n_resamples", n_resamples, 19)
    rng = np.random.default_rng(random_state)
    if isinstance(model, FactorModel):
        own = _of_factors(model, X)
    elif isinstance(model, MixtureModel):
        own = _of_mixture(model, X, X_labelled)
    elif isinstance(model, ContrastiveModel):
        own = _of_pairs(model, X)
    else:
        raise ValueError(
            f"diagnostics are for a FactorModel, a MixtureModel or a ContrastiveModel, not for "
            f"{type(model).__name__}"
        )
    condition = informative_condition(model, X, n_alternatives=n_alternatives, random_state=rng)
    p = latents_suffice(
        predictor,
        model.transform(X_labelled),
        X_labelled,
        y,
        classifier=classifier,
        n_resamples=n_resamples,
        rng=rng,
    )
    checks = (
        Check(
            "informative condition for small changes, local kappa",
            condition.local,
            "finite",
            bool(np.isfinite(condition.local)),
        ),
        *own,
        Check(
            "labels depend on rows through the representation, p-value",
            p,
            f"> {_LEVEL}",
            None if np.isnan(p) else p > _LEVEL,
        ),
    )
    return Diagnostics(type(model).__name__, condition, checks)


def _of_factors(model: FactorModel, X: FloatArray) -> tuple[Check, ...]:
    d = X.shape[1]
    weakest = float(model.strengths().min())
    if model.noise == "isotropic":
        # The noise as it would be estimated if the weakest factor were noise too.
        others = d - model.n_components_
        weakest = (1 + weakest) / ((others + 1 + weakest) / (others + 1)) - 1
    edge = noise_edge(model.n_samples_, d)
    p = fit_p_value(model, X)
    return (
        Check(
            "signal-to-noise ratio of the weakest factor",
            weakest,
            f"> {edge:.3g}, which noise alone reaches once in 20",
            weakest > edge,
        ),
        Check(
            "factor model against any covariance, p-value",
            p,
            f"> {_LEVEL} (needs {_ROWS_A_FEATURE} rows a feature)",
            None if np.isnan(p) else p > _LEVEL,
        ),
    )


def noise_edge(m: int, d: int) -> float:
    """How far noise of variance 1 lifts the largest of d sample variances above 1.

    The 95 % quantile for m rows, by Johnstone's (2001) centre and scale of the Tracy-Widom law.
    """
    rows, columns = np.sqrt(m - 1), np.sqrt(d)
    scale = (rows + columns) * (1 / rows + 1 / columns) ** (1 / 3)
    return float(((rows + columns) ** 2 + 0.9793 * scale) / m - 1)


def fit_p_value(model: FactorModel, X: FloatArray) -> float:
    """Likelihood-ratio test of the factor model, refitted to ``X``, against any covariance.

    With Bartlett's correction. NaN for fewer than ten rows a feature or no degree of freedom.
    """
    m, d = X.shape
    r = model.n_components_
    own = {"isotropic": 1, "diagonal": d}.get(str(model.noise), 0)
    freedom = d * (d + 1) // 2 - (d * r - r * (r - 1) // 2 + own)
    if m < _ROWS_A_FEATURE * d or freedom < 1:
        return float("nan")
    fitted = clone(model).set_params(n_components=r).fit(X)
    sample = np.cov(X.T, bias=True)
    product = np.linalg.solve(fitted.covariance(), sample)
    sign, log_det = np.linalg.slogdet(product)
    if sign <= 0:
        return float("nan")  # a feature is a combination of others
    ratio = (m - 1 - (2 * d + 5) / 6 - 2 * r / 3) * (np.trace(product) - log_det - d)
    return float(chi2.sf(max(ratio, 0.0), freedom))


def _of_mixture(model: MixtureModel, X: FloatArray, X_labelled: FloatArray) -> tuple[Check, ...]:
    K = len(model.mixture_.weights_)
    # Then at most 5 % of rows lie nearer a wrong mean: each of K - 1 with chance exp(-D^2/8).
    far = np.sqrt(8 * np.log(K / _LEVEL))
    apart = model.separation()
    doubt = float(1 - model.transform(X).max(axis=1).mean())
    seen = np.unique(model.transform(X_labelled).argmax(axis=1))
    return (
        Check(
            "smallest distance of two means in standard deviations",
            apart,
            f">= {far:.3g}",
            apart >= far,
        ),
        Check("chance of the wrong component, mean", doubt, f"<= {_LEVEL}", doubt <= _LEVEL),
        Check("components without a labelled row", K - len(seen), "0", len(seen) == K),
    )


def _of_pairs(model: ContrastiveModel, X: FloatArray) -> tuple[Check, ...]:
    r, d = model.components_.shape
    embedded = model.transform(X)
    spread = np.linalg.eigvalsh(embedded.T @ embedded / len(X))
    relative = float(spread[0] / spread[-1]) if spread[-1] > 0 else 0.0
    explained = 1 - model.loss_ / model.null_loss_
    chance = chi2.ppf(1 - _LEVEL, d * r - r * (r - 1) // 2)
    chance /= 2 * model.n_pairs_ * model.null_loss_
    return (
        Check(
            "share of the signs' log loss explained",
            explained,
            f"> {chance:.3g}, which chance reaches",
            explained > chance,
        ),
        Check(
            "weakest direction of the embedding, against the strongest",
            relative,
            ">= 0.001",
            relative >= 1e-3,
        ),
    )


def latents_suffice(
    predictor: Any,
    Z: FloatArray,
    X: FloatArray,
    y: NDArray,
    *,
    classifier: bool,
    n_resamples: int,
    rng: np.random.Generator,
) -> float:
    """p-value of "labels depend on rows through the representation Z alone".

    The statistic is the squared covariance of the predictor's residuals with what of X is not
    linear in Z. Its law under the hypothesis comes from labels drawn from the fitted predictor
    (for a regressor: predictions plus shuffled residuals), each refitted. Approximate, as every
    bootstrap is; blind to dependence that is not linear in X. NaN where nothing is left of X, or a
    classifier gives no probabilities.
    """
    n = len(y)
    base = np.column_stack([np.ones(n), Z])
    spread = X.std(axis=0)
    scaled = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    rest = scaled - base @ np.linalg.lstsq(base, scaled, rcond=None)[0]
    if n < 4 or np.abs(rest).max(initial=0.0) < 1e-8:
        return float("nan")
    if classifier and not hasattr(predictor, "predict_proba"):
        return float("nan")
    classes = np.unique(y) if classifier else None

    def fitted(labels: NDArray) -> tuple[float, FloatArray]:
        model = clone(predictor).fit(Z, labels)
        if classes is None:
            guess = model.predict(Z)
            return float(((rest.T @ (labels - guess)) ** 2).sum()), guess
        guess = np.zeros((n, len(classes)))
        guess[:, np.searchsorted(classes, model.classes_)] = model.predict_proba(Z)
        return float(((rest.T @ ((labels[:, None] == classes) - guess)) ** 2).sum()), guess

    statistic, guess = fitted(y)
    beyond = 0
    for _ in range(n_resamples):
        if classes is None:
            # Least squares shrinks residuals; give them back the size of the noise.
            residual = (y - guess) * np.sqrt(n / max(n - base.shape[1], 1))
            drawn = guess + rng.permutation(residual)
        else:
            ladder = np.cumsum(guess, axis=1)
            pick = (rng.random((n, 1)) * ladder[:, -1:] > ladder).sum(axis=1)
            if len(np.unique(pick)) < 2:
                pick = np.searchsorted(classes, rng.permutation(y))
            drawn = classes[pick]
        beyond += fitted(drawn)[0] >= statistic
    return (1 + beyond) / (1 + n_resamples)

"""The label of each component: empirical risk minimisation on a mixture's representation.

Ge, Tang, Fan and Jin (ICLR 2024, arXiv 2303.01566), their second example. The predictor of a model
phi and a table psi is the label's distribution given x under both,

    g(x) = sum_k P_phi(z = k | x) psi(. | k),

and psi minimises its empirical log loss, here with a little weight on the labels' overall shares,
so that the loss stays finite and a component without labels has an answer. The loss is convex in
psi, and EM (psi from the posterior of z given x and y, and again) falls to its minimum.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from paperworks.statistics.checking import positive, whole
from paperworks.statistics.pretraining.checking import new_rows

FloatArray = NDArray[np.float64]


class ComponentClassifier(ClassifierMixin, BaseEstimator):
    """A distribution of labels for each component of a mixture.

    Takes posterior probabilities of the components as features. The default predictor of
    ``PretrainedERM`` behind a ``MixtureModel``.

    Parameters
    ----------
    alpha : float, default=1.0
        Pseudo-labels given to each component, spread as the labels overall. With 1 a component
        that holds one labelled row still takes that row's label.
    max_iter : int, default=1000
        EM steps, at most.
    tol : float, default=1e-9
        EM stops where no probability moves by more than this.

    Attributes
    ----------
    classes_ : (C,)
    label_probability_ : (K, C) float
        psi: rows sum to 1.
    share_ : (C,) float
        Of each class among the labels.
    n_iter_ : int

    Notes
    -----
    O(n K) an EM step.

    Examples
    --------
    >>> import numpy as np
    >>> posterior = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.1, 0.9, 0.0]])
    >>> model = ComponentClassifier().fit(posterior, ["cat", "dog", "dog"])
    >>> model.predict([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).tolist()
    ['cat', 'dog']
    """

    def __init__(self, alpha: float = 1.0, *, max_iter: int = 1000, tol: float = 1e-9) -> None:
        self.alpha = alpha
        self.max_iter = max_iter
        self.tol = tol

    def fit(self, X: ArrayLike, y: ArrayLike) -> ComponentClassifier:
        """Fit to posteriors ``X`` (n, K) and labels ``y`` (n,)."""
        posterior, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        alpha = positive("alpha", self.alpha)
        whole("max_iter", self.max_iter, 1)
        _check_posterior(posterior)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"the labelled rows have one class ({self.classes_[0]!r}); a classifier needs two"
            )
        counts = np.bincount(codes)
        self.share_ = counts / counts.sum()
        prior = alpha * self.share_
        table = np.tile(self.share_, (posterior.shape[1], 1))
        observed = codes[:, None] == np.arange(len(self.classes_))
        self.n_iter_ = 0
        for _ in range(self.max_iter):
            joint = posterior * table[:, codes].T
            joint /= joint.sum(axis=1, keepdims=True)
            new = joint.T @ observed + prior
            new /= new.sum(axis=1, keepdims=True)
            moved = np.abs(new - table).max()
            table = new
            self.n_iter_ += 1
            if moved <= self.tol:
                break
        else:
            warnings.warn(
                f"the label table still moved by {moved:.1e} > tol {self.tol:.1e} after "
                f"{self.max_iter} steps; raise max_iter",
                ConvergenceWarning,
                stacklevel=2,
            )
        self.label_probability_ = table
        return self

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Probability of each class, (n, C), from posteriors ``X`` (n, K)."""
        X = new_rows(self, X)
        _check_posterior(X)
        probability: FloatArray = X @ self.label_probability_
        return probability

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most probable class of each row of posteriors ``X`` (n, K)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def _check_posterior(X: FloatArray) -> None:
    total = X.sum(axis=1)
    worst = int(np.argmax(np.abs(total - 1)))
    if X.min() < 0 or abs(total[worst] - 1) > 1e-6:
        raise ValueError(
            "X must hold probabilities of components, at least 0 and 1 in sum; "
            f"row {worst} sums to {total[worst]:.6g} and the smallest entry is {X.min():.3g}. "
            "A MixtureModel's transform gives them"
        )

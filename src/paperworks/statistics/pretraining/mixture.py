"""The Gaussian mixture by maximum likelihood, and how far it determines its components.

Ge, Tang, Fan and Jin (ICLR 2024, arXiv 2303.01566), their second example: z is one of K
components, x | z = k is Gaussian around mean_k, and the label depends on the component. The paper
has identity covariances and means far apart. Here weights and covariances are fitted too, by
scikit-learn's ``GaussianMixture`` (EM from several starts, which need not find the maximum).

Components are determined up to their order, which a table of labels by component can undo: the
paper's transformation group is the permutations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.mixture import GaussianMixture
from sklearn.utils.validation import check_is_fitted

from paperworks.statistics.checking import positive, whole
from paperworks.statistics.pretraining.checking import fit_rows, new_rows
from paperworks.statistics.pretraining.informative import Alternative, total_variation

FloatArray = NDArray[np.float64]

_COVARIANCES = ("spherical", "diag", "tied", "full")
_DRAWS = 4000  # from the model, where no rows are given to average over


class MixtureModel(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Gaussian mixture whose representation is the posterior probability of each component.

    Use it before :class:`ComponentClassifier` (the default predictor), where rows come in
    clusters and a cluster mostly has one label. More components than classes are fine: each needs
    a labelled row or two. Take a classifier on the features where classes overlap within clusters.

    Parameters
    ----------
    n_components : int, default=2
        Components K.
    covariance_type : {"spherical", "diag", "tied", "full"}, default="spherical"
        As in ``GaussianMixture``. Spherical is the nearest to the paper's identity.
    n_init : int, default=5
        Starts of EM (scikit-learn's default is 1; a poor local maximum spoils what follows).
    max_iter : int, default=300
        EM steps of a start, at most.
    tol : float, default=1e-4
        A start ends where the mean log-likelihood gains less than this.
    reg_covar : float, default=1e-6
        Added to variances, so that no component shrinks onto one row.
    random_state : int, RandomState or None, default=None
        Of the starts.

    Attributes
    ----------
    mixture_ : GaussianMixture
        The fitted mixture: ``weights_``, ``means_``, ``covariances_``, ``converged_``.
    n_iter_ : int
        EM steps of the best start.
    n_samples_ : int
        Rows fitted.

    Notes
    -----
    O(m K d) for an EM step with spherical or diagonal covariances, O(m K d^2) with others.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 2)) + rng.choice([-4, 4], size=(500, 1))
    >>> model = MixtureModel(2, random_state=0).fit(X)
    >>> model.transform(X).shape, round(model.separation())
    ((500, 2), 12)
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        covariance_type: str = "spherical",
        n_init: int = 5,
        max_iter: int = 300,
        tol: float = 1e-4,
        reg_covar: float = 1e-6,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.reg_covar = reg_covar
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None) -> MixtureModel:
        """Maximise the likelihood of ``X`` (m, d); ``y`` is ignored."""
        X = fit_rows(self, X, least=2)
        components = whole("n_components", self.n_components, 1)
        positive("reg_covar", self.reg_covar, zero=True)
        if self.covariance_type not in _COVARIANCES:
            raise ValueError(
                f"covariance_type must be one of {', '.join(_COVARIANCES)}, "
                f"got {self.covariance_type!r}"
            )
        if len(X) < components:
            raise ValueError(
                f"n_components must be at most the number of rows, got {components} with "
                f"n_samples = {len(X)}"
            )
        self.mixture_ = GaussianMixture(
            components,
            covariance_type=self.covariance_type,
            n_init=self.n_init,
            max_iter=self.max_iter,
            tol=self.tol,
            reg_covar=self.reg_covar,
            random_state=self.random_state,
        ).fit(X)
        self.n_iter_ = self.mixture_.n_iter_
        self.n_samples_ = len(X)
        return self

    @property
    def _n_features_out(self) -> int:
        return len(self.mixture_.weights_)

    def transform(self, X: ArrayLike) -> FloatArray:
        """Posterior probabilities of the components, (n, K) floats whose rows sum to 1."""
        X = new_rows(self, X)
        return self.mixture_.predict_proba(X)

    def score_samples(self, X: ArrayLike) -> FloatArray:
        """Log-density of each row of ``X`` (n, d), in nats."""
        X = new_rows(self, X)
        return self.mixture_.score_samples(X)

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Mean log-density of the rows of ``X`` (n, d), in nats: higher is better."""
        return float(self.score_samples(X).mean())

    def _white(self, X: FloatArray, k: int) -> FloatArray:
        """Rows of X - mean_k in units of component k's standard deviations, (n, d)."""
        root = self.mixture_.precisions_cholesky_
        away = X - self.mixture_.means_[k]
        kind = self.covariance_type
        if kind in ("spherical", "diag"):
            return away * root[k]
        return away @ (root if kind == "tied" else root[k])

    def separation(self) -> float:
        """Smallest distance between two means, in standard deviations (infinite for one).

        The standard deviations are those of the component where the distance is smaller.
        """
        check_is_fitted(self)
        means = self.mixture_.means_
        away = np.array([np.linalg.norm(self._white(means, k), axis=1) for k in range(len(means))])
        np.fill_diagonal(away, np.inf)
        return float(away.min())

    # What the informative condition asks of a model; see the module `informative`.

    def local_kappa(self, X: FloatArray | None = None) -> float:
        """Ratio of Hellinger distances, at most, for small changes of the means.

        In units of each component's standard deviations over sqrt(weight) the information of (x, z)
        about the means is the identity, and what x alone lacks of it is the mean over rows of the
        covariance of the score given x (Louis 1982).
        """
        check_is_fitted(self)
        if X is None:
            X = _draw(self.mixture_, _DRAWS, np.random.default_rng(0))
        posterior = self.mixture_.predict_proba(X)
        weights = self.mixture_.weights_
        K, d = self.mixture_.means_.shape
        white = [self._white(X, k) / np.sqrt(weights[k]) for k in range(K)]
        missing = np.zeros((K * d, K * d))
        for k in range(K):
            for j in range(k + 1):
                shared = -posterior[:, k] * posterior[:, j]
                if k == j:
                    shared = shared + posterior[:, k]
                if not shared.any():
                    continue
                block = (white[k] * shared[:, None]).T @ white[j] / len(X)
                missing[k * d : (k + 1) * d, j * d : (j + 1) * d] = block
                missing[j * d : (j + 1) * d, k * d : (k + 1) * d] = block.T
        left = 1 - float(np.linalg.eigvalsh(missing)[-1])
        return float(1 / np.sqrt(left)) if left > 0 else float("inf")

    def alternative(
        self, size: float, rng: np.random.Generator, n_samples: int, X: FloatArray | None = None
    ) -> Alternative:
        """Another member of the class, and its distances from this one; see `informative`.

        Its means are moved. A row of it is one of ours moved with them, so that its log-density is
        that of our mixture with each component moved back.
        """
        K, d = self.mixture_.means_.shape
        moves = rng.standard_normal((K, d))
        moves *= size / np.linalg.norm(moves)
        x = _draw(self.mixture_, n_samples, rng)
        root = self.mixture_.precisions_cholesky_
        log_p, log_q = np.full((2, n_samples), -np.inf)
        for k, weight in enumerate(self.mixture_.weights_):
            white = self._white(x, k)
            factor = root if self.covariance_type == "tied" else root[k]
            if self.covariance_type == "spherical":
                log_root = d * np.log(factor)
            else:
                log_root = np.log(factor if factor.ndim == 1 else np.diag(factor)).sum()
            log_p = np.logaddexp(log_p, np.log(weight) + log_root - 0.5 * (white**2).sum(axis=1))
            log_q = np.logaddexp(
                log_q, np.log(weight) + log_root - 0.5 * ((white - moves[k]) ** 2).sum(axis=1)
            )
        latent = self.mixture_.weights_ @ (2 * ndtr(np.linalg.norm(moves, axis=1) / 2) - 1)
        return Alternative(*total_variation(log_p, log_q), float(latent))


def _draw(mixture: GaussianMixture, n: int, rng: np.random.Generator) -> FloatArray:
    """Rows of a fitted mixture, without touching its own random state."""
    counts = rng.multinomial(n, mixture.weights_)
    d = mixture.means_.shape[1]
    rows = []
    for k, count in enumerate(counts):
        white = rng.standard_normal((count, d))
        if mixture.covariance_type in ("spherical", "diag"):
            noise = white / mixture.precisions_cholesky_[k]
        else:
            tied = mixture.covariance_type == "tied"
            root = mixture.precisions_cholesky_ if tied else mixture.precisions_cholesky_[k]
            noise = np.linalg.solve(root.T, white.T).T
        rows.append(mixture.means_[k] + noise)
    return np.concatenate(rows)

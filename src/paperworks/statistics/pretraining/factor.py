"""The factor model: maximum likelihood in closed form, and how far it determines its factors.

Ge, Tang, Fan and Jin, "On the Provable Advantage of Unsupervised Pretraining" (ICLR 2024, arXiv
2303.01566), their first example. With r factors and d features

    z ~ N(0, I_r),   x = mean + B z + noise,   noise ~ N(0, Psi),

the paper has mean 0 and Psi = I known. Here the mean is fitted, and Psi is known, a multiple of I,
or diagonal. The first two have a closed form (Tipping and Bishop 1999); the third is
scikit-learn's ``FactorAnalysis``.

B is determined up to a rotation of the factors, which linear regression on them can undo: the
paper's transformation group is O(r).
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import orthogonal_procrustes
from scipy.special import ndtr
from scipy.stats import multivariate_normal
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from paperworks.statistics.checking import whole
from paperworks.statistics.pretraining.checking import fit_rows, new_rows
from paperworks.statistics.pretraining.informative import Alternative, total_variation

FloatArray = NDArray[np.float64]


class FactorModel(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Maximum-likelihood factor model; its representation is the posterior mean of the factors.

    Use it before a *linear* predictor, where features share a few causes. Take scikit-learn's
    ``PCA`` where the noise does not matter, and its ``FactorAnalysis`` for rotations.

    Parameters
    ----------
    n_components : int or None, default=None
        Factors r, fewer than features. None takes the r of the smallest BIC (not with diagonal
        noise, where every r would need a fit of its own).
    noise : {"isotropic", "diagonal"} or float, default="isotropic"
        The noise: one fitted variance, one for each feature, or a known variance (the paper's is
        1.0). Isotropic noise asks for features in one unit; "diagonal" is free of units.
    max_iter : int, default=1000
        EM steps of diagonal noise, at most.
    tol : float, default=1e-6
        EM stops where the log-likelihood gains less than this.

    Attributes
    ----------
    mean_ : (d,) float
    loadings_ : (d, r) float
        B. Its columns are orthogonal, strongest first, unless the noise is diagonal.
    noise_variance_ : (d,) float
        The diagonal of Psi.
    n_components_ : int
        r.
    n_iter_ : int
        EM steps; 1 in closed form.
    n_samples_ : int
        Rows fitted.

    Raises
    ------
    ValueError
        If there are not more features than factors, or no noise is left to estimate.

    Notes
    -----
    O(m d min(m, d)) in closed form, for m rows.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> Z, B = rng.normal(size=(2000, 2)), rng.normal(size=(8, 2))
    >>> model = FactorModel().fit(Z @ B.T + rng.normal(size=(2000, 8)))
    >>> model.n_components_, model.loadings_.shape
    (2, (8, 2))
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        noise: str | float = "isotropic",
        max_iter: int = 1000,
        tol: float = 1e-6,
    ) -> None:
        self.n_components = n_components
        self.noise = noise
        self.max_iter = max_iter
        self.tol = tol

    def fit(self, X: ArrayLike, y: Any = None) -> FactorModel:
        """Maximise the likelihood of ``X`` (m, d); ``y`` is ignored."""
        X = fit_rows(self, X, least=2)
        m, d = X.shape
        if d < 2:
            raise ValueError("a factor model needs at least 2 features, got n_features = 1")
        number: Any = self.noise
        known = isinstance(number, Real) and not isinstance(number, bool)
        if not (known and 0 < number < np.inf) and number not in ("isotropic", "diagonal"):
            raise ValueError(
                f'noise must be "isotropic", "diagonal" or a known variance > 0, got {self.noise!r}'
            )
        if self.n_components is None and self.noise == "diagonal":
            raise ValueError(
                "n_components=None chooses by BIC, which needs isotropic noise; "
                "give n_components with noise='diagonal'"
            )
        if self.n_components is not None and whole("n_components", self.n_components, 1) >= d:
            raise ValueError(
                f"n_components must be below the number of features, got {self.n_components} "
                f"with n_features = {d}"
            )
        self.mean_ = X.mean(axis=0)
        self.n_samples_ = m
        if self.noise == "diagonal":
            self._fit_diagonal(X)
        else:
            self._fit_closed(X - self.mean_, float(self.noise) if known else None)
        return self

    def _fit_closed(self, centred: FloatArray, known: float | None) -> None:
        m, d = centred.shape
        eigenvalues = np.zeros(d)
        if m > d:
            found, columns = np.linalg.eigh(centred.T @ centred / m)
            eigenvalues[:], axes = np.maximum(found[::-1], 0.0), columns.T[::-1]
        else:
            _, singular, axes = np.linalg.svd(centred, full_matrices=False)
            eigenvalues[: singular.size] = singular**2 / m
        total = eigenvalues.sum()
        if total == 0:
            raise ValueError("all rows of X are equal; a factor model needs rows that vary")
        # Below this a variance is rounding, and the likelihood without bound.
        floor = 1e-12 * total
        most = min(d - 1, m)
        if self.n_components is not None:
            r = int(self.n_components)
            if r > most:
                raise ValueError(
                    f"n_components must be at most the number of rows, got {r} with n_samples = {m}"
                )
        else:
            scores = [_bic(eigenvalues, r, m, known, floor) for r in range(1, most + 1)]
            r = 1 + int(np.argmin(scores))  # 1 where none has a maximum, refused below
        noise = known if known is not None else float(eigenvalues[r:].mean())
        if noise <= floor:
            raise ValueError(
                f"no variance is left for the noise beside {r} factors: their likelihood has no "
                "maximum; give fewer n_components, more rows, or noise=<known variance>"
            )
        self.n_components_ = r
        self.noise_variance_ = np.full(d, noise)
        strength = np.sqrt(np.maximum(eigenvalues[:r] - noise, 0.0))
        self.loadings_ = axes[:r].T * strength
        self.n_iter_ = 1
        self._prepare()

    def _fit_diagonal(self, X: FloatArray) -> None:
        from sklearn.decomposition import FactorAnalysis

        peer = FactorAnalysis(
            self.n_components, tol=self.tol, max_iter=self.max_iter, svd_method="lapack"
        ).fit(X)
        self.n_components_ = int(self.n_components)  # type: ignore[arg-type]
        self.noise_variance_ = peer.noise_variance_
        self.loadings_ = peer.components_.T
        self.n_iter_ = peer.n_iter_
        self._prepare()

    def _prepare(self) -> None:
        """Posterior mean as one product: z = (x - mean) @ _projection."""
        scaled = self.loadings_ / self.noise_variance_[:, None]
        precision = np.eye(self.n_components_) + self.loadings_.T @ scaled
        self._projection = np.linalg.solve(precision, scaled.T).T

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def transform(self, X: ArrayLike) -> FloatArray:
        """Posterior means E[z | x] of the rows of ``X`` (n, d), as (n, r) floats."""
        X = new_rows(self, X)
        return (X - self.mean_) @ self._projection

    def covariance(self) -> FloatArray:
        """Covariance of x under the model, B B' + Psi, as (d, d) floats."""
        check_is_fitted(self)
        return self.loadings_ @ self.loadings_.T + np.diag(self.noise_variance_)

    def score_samples(self, X: ArrayLike) -> FloatArray:
        """Log-density of each row of ``X`` (n, d), in nats."""
        X = new_rows(self, X)
        return np.atleast_1d(multivariate_normal(self.mean_, self.covariance()).logpdf(X))

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Mean log-density of the rows of ``X`` (n, d), in nats: higher is better."""
        return float(self.score_samples(X).mean())

    def sample(self, n: int, random_state: Any = None) -> tuple[FloatArray, FloatArray]:
        """Draw ``n`` rows from the model: x (n, d) and their factors z (n, r)."""
        check_is_fitted(self)
        rng = np.random.default_rng(random_state)
        z = rng.standard_normal((whole("n", n, 1), self.n_components_))
        noise = rng.standard_normal((n, len(self.mean_))) * np.sqrt(self.noise_variance_)
        return self.mean_ + z @ self.loadings_.T + noise, z

    # What the informative condition asks of a model; see the module `informative`.

    def strengths(self) -> FloatArray:
        """Signal-to-noise ratios of the factors, s_j^2 (r,): eigenvalues of B' Psi^-1 B."""
        check_is_fitted(self)
        white = self.loadings_ / np.sqrt(self.noise_variance_)[:, None]
        return np.linalg.svd(white, compute_uv=False) ** 2

    def local_kappa(self, X: FloatArray | None = None) -> float:
        """Largest ratio of Hellinger distances for small changes of B, in closed form.

        With s_j^2 the signal-to-noise ratios and l_j = 1 + s_j^2 its square is the largest of
        l_j / s_j^2 (a factor turns out of its subspace) and l_i l_j / (s_i^2 + s_j^2), i <= j
        (loadings change within the subspace). Infinite where a factor has no strength.
        """
        s2 = self.strengths()
        if s2.min() <= 0:
            return float("inf")
        inside = np.outer(1 + s2, 1 + s2) / (s2[:, None] + s2)
        outside = (1 + s2) / s2 if len(self.mean_) > len(s2) else np.zeros(1)
        return float(np.sqrt(max(inside.max(), outside.max())))

    def alternative(
        self,
        size: float,
        rng: np.random.Generator,
        n_samples: int,
        X: FloatArray | None = None,
    ) -> Alternative:
        """Another member of the class, and its distances from this one; see `informative`."""
        scale = np.sqrt(self.noise_variance_)[:, None]
        here = self.loadings_ / scale
        change = rng.standard_normal(here.shape)
        there = here + size * change / np.linalg.norm(change)
        # The rotation of the factors that brings the two closest.
        rotation, _ = orthogonal_procrustes(there, here)
        there = there @ rotation
        z = rng.standard_normal((n_samples, here.shape[1]))
        x = z @ here.T + rng.standard_normal((n_samples, here.shape[0]))
        eye = np.eye(len(here))
        log_p = multivariate_normal(cov=here @ here.T + eye).logpdf(x)
        log_q = multivariate_normal(cov=there @ there.T + eye).logpdf(x)
        latent = 2 * ndtr(np.linalg.norm(z @ (there - here).T, axis=1) / 2) - 1
        return Alternative(*total_variation(log_p, log_q), float(latent.mean()))


def _bic(eigenvalues: FloatArray, r: int, m: int, known: float | None, floor: float) -> float:
    """Bayesian information criterion of r factors, from the eigenvalues of the covariance."""
    d = len(eigenvalues)
    noise = known if known is not None else float(eigenvalues[r:].mean())
    if noise <= floor:
        return float("inf")  # features are combinations of r others: the likelihood has no maximum
    model = np.append(np.maximum(eigenvalues[:r], noise), np.full(d - r, noise))
    log_likelihood = -0.5 * m * np.sum(np.log(2 * np.pi * model) + eigenvalues / model)
    free = d + d * r - r * (r - 1) // 2 + (known is None)
    return float(-2 * log_likelihood + free * np.log(m))

"""Two networks that predict quantiles, as scikit-learn estimators.

The conditional Gaussian network has a mean and a variance for each x and is fitted by maximum
likelihood (Nix and Weigend 1994; Lakshminarayanan et al. 2017). The simultaneous quantile network
takes the level as one more input and learns by the pinball loss at random levels (Tagasovska and
Lopez-Paz, "Single-Model Uncertainties for Deep Learning", NeurIPS 2019), so one network has all
levels, also those it was never asked for. Both are base models of Fakoor et al. (arXiv 2103.00083).

Departures: no dropout and no search over settings; features and target are standardised inside.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from paperworks.statistics.quantile_aggregation.levels import (
    DEFAULT_LEVELS,
    FloatArray,
    Levels,
    check_levels,
)
from paperworks.statistics.quantile_aggregation.scores import quantile_scores


class _QuantileNet(BaseEstimator, ABC):
    """What the two share: settings, scaling, the split for early stopping."""

    def __init__(
        self,
        levels: Levels | None = None,
        *,
        hidden: int = 64,
        layers: int = 2,
        lr: float = 1e-3,
        weight_decay: float = 1e-5,
        batch_size: int = 0,
        max_epochs: int = 400,
        patience: int = 20,
        validation_fraction: float = 0.2,
        random_state: Any = None,
    ) -> None:
        self.levels = levels
        self.hidden = hidden
        self.layers = layers
        self.lr = lr
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Any:
        """Fit to features ``X`` (n, d) and targets ``y`` (n,), n >= 2.

        Returns
        -------
        self
        """
        import torch

        from paperworks.statistics.quantile_aggregation import training

        self.levels_ = check_levels(self.levels)
        if self.hidden < 1 or self.layers < 1:
            raise ValueError(f"hidden and layers must be >= 1, got {self.hidden}, {self.layers}")
        schedule = training.Schedule(
            self.lr,
            self.weight_decay,
            self.batch_size,
            self.max_epochs,
            self.patience,
            self.validation_fraction,
        )
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2)
        y = np.asarray(y, dtype=np.float64)
        self.centre_, self.scale_ = float(y.mean()), float(y.std()) or 1.0
        spread = X.std(axis=0)
        self.x_centre_, self.x_scale_ = X.mean(axis=0), np.where(spread > 0, spread, 1.0)
        generator = training.seeded(self.random_state)
        inputs = X.shape[1] + self._extra_inputs
        self.network_ = network = torch.nn.Sequential(
            *training.trunk(inputs, self.hidden, self.layers, generator),
            training.linear(self.hidden, self._outputs, generator),
        )
        x = self._standardised(X)
        target = torch.from_numpy((y - self.centre_) / self.scale_).float()
        rows, held = training.split_rows(len(y), self.validation_fraction, generator)

        def loss(batch: torch.Tensor) -> torch.Tensor:
            return self._loss(x[batch], target[batch], generator)

        def validate() -> torch.Tensor:
            return self._held_out_loss(x[held], target[held])

        course = training.train(
            list(network.parameters()),
            network,
            loss,
            validate,
            rows,
            schedule,
            generator,
            type(self).__name__,
        )
        self.n_epochs_, self.converged_ = course.epochs, course.converged
        return self

    def predict(self, X: Any) -> FloatArray:
        """Quantiles of each row of ``X`` (n, d): ``(n, m)``, one column for each level."""
        import torch

        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        with torch.no_grad():
            scaled = self._predict(self._standardised(X))
        return self.centre_ + self.scale_ * scaled

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Minus the weighted interval score of ``X`` (n, d) and ``y`` (n,): higher is better."""
        q = self.predict(X)
        return -quantile_scores(y, q, self.levels_).wis

    def _standardised(self, X: FloatArray) -> Any:
        import torch

        return torch.from_numpy((X - self.x_centre_) / self.x_scale_).float()

    _extra_inputs = 0
    _outputs = 1

    @abstractmethod
    def _loss(self, x: Any, y: Any, generator: Any) -> Any:
        """What an update descends."""

    @abstractmethod
    def _held_out_loss(self, x: Any, y: Any) -> Any:
        """What decides when to stop."""

    @abstractmethod
    def _predict(self, x: Any) -> FloatArray:
        """Quantiles of standardised y."""


class GaussianQuantileNetwork(_QuantileNet):
    """Conditional Gaussian network: normal quantiles whose mean and variance depend on x.

    Minimises the negative log-likelihood of ``N(mean(x), variance(x))``. Its quantiles never
    cross. Where the noise is skewed or has heavy tails prefer
    :class:`SimultaneousQuantileNetwork`; where it is normal this one needs less data.

    Parameters
    ----------
    levels : (m,) float, optional
        Quantile levels; 0.05, 0.10, ..., 0.95 by default.
    hidden, layers : int, default=64, 2
        Width and number of the ELU layers; the authors try 64 and 128, 2 and 3.
    lr, weight_decay : float, default=1e-3, 1e-5
        Of Adam, as in the authors' grid.
    batch_size : int, default=0
        Rows of a mini-batch; 0 takes the authors' rule, ``2 ** (3 + floor(log10 n))``.
    max_epochs, patience : int, default=400, 20
        Training stops when the held-out loss has not fallen for ``patience`` epochs.
    validation_fraction : float, default=0.2
        Share of the rows held out for that.
    random_state : int, RandomState or None
        Of the start, the split and the batches.

    Attributes
    ----------
    levels_ : (m,) float
    n_epochs_ : int
        Epochs run; the parameters kept are those of the best one.
    converged_ : bool
        Whether training stopped by itself; a ``ConvergenceWarning`` says where not.
    n_features_in_ : int

    Raises
    ------
    ValueError
        For settings out of range, NaN or infinities, fewer than two rows.

    Notes
    -----
    O(n d hidden + n layers hidden^2) an epoch, in float32 on standardised values. A constant
    target is predicted with a variance near 0.

    Examples
    --------
    >>> import numpy as np
    >>> from paperworks.statistics.quantile_aggregation import GaussianQuantileNetwork
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, size=(400, 1))
    >>> y = X[:, 0] + 0.1 * rng.standard_normal(400)
    >>> net = GaussianQuantileNetwork([0.1, 0.5, 0.9], random_state=0).fit(X, y)
    >>> np.diff(net.predict([[0.0]])).round(1)  # 1.28 standard deviations each
    array([[0.1, 0.1]])
    """

    _outputs = 2

    def _moments(self, x: Any) -> tuple[Any, Any]:
        import torch

        out = self.network_(x)
        return out[:, 0], torch.nn.functional.softplus(out[:, 1]) + 1e-6

    def _loss(self, x: Any, y: Any, generator: Any) -> Any:
        mean, variance = self._moments(x)
        return ((y - mean) ** 2 / variance + variance.log()).mean() / 2

    def _held_out_loss(self, x: Any, y: Any) -> Any:
        return self._loss(x, y, None)

    def _predict(self, x: Any) -> FloatArray:
        mean, variance = (part.double().numpy() for part in self._moments(x))
        return mean[:, None] + np.sqrt(variance)[:, None] * norm.ppf(self.levels_)


class SimultaneousQuantileNetwork(_QuantileNet):
    """Simultaneous quantile regression: one network of x and the level gives all quantiles.

    Minimises the pinball loss at levels drawn uniformly from (0, 1), a fresh one for each row and
    batch. Its quantiles may cross, rarely; see :func:`paperworks.statistics.uncross`. Where the
    noise is normal :class:`GaussianQuantileNetwork` needs less data.

    Parameters
    ----------
    levels : (m,) float, optional
        Quantile levels that :meth:`predict` returns; 0.05, 0.10, ..., 0.95 by default. Training
        does not depend on them.
    hidden, layers : int, default=64, 2
        Width and number of the ELU layers; the authors try 64 and 128, 2 and 3.
    lr, weight_decay : float, default=1e-3, 1e-5
        Of Adam, as in the authors' grid.
    batch_size : int, default=0
        Rows of a mini-batch; 0 takes the authors' rule, ``2 ** (3 + floor(log10 n))``.
    max_epochs, patience : int, default=400, 20
        Training stops when the held-out loss has not fallen for ``patience`` epochs.
    validation_fraction : float, default=0.2
        Share of the rows held out for that.
    random_state : int, RandomState or None
        Of the start, the split, the batches and the levels drawn.

    Attributes
    ----------
    levels_ : (m,) float
    n_epochs_ : int
        Epochs run; the parameters kept are those of the best one.
    converged_ : bool
        Whether training stopped by itself; a ``ConvergenceWarning`` says where not.
    n_features_in_ : int

    Raises
    ------
    ValueError
        For settings out of range, NaN or infinities, fewer than two rows.

    Notes
    -----
    O(n d hidden + n layers hidden^2) an epoch; a prediction costs ``m`` of them. Float32, on
    standardised values.

    Examples
    --------
    >>> import numpy as np
    >>> from paperworks.statistics.quantile_aggregation import SimultaneousQuantileNetwork
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, size=(400, 1))
    >>> y = X[:, 0] + 0.1 * rng.standard_normal(400)
    >>> net = SimultaneousQuantileNetwork([0.1, 0.5, 0.9], random_state=0).fit(X, y)
    >>> np.diff(net.predict([[0.0]])).round(1)
    array([[0.1, 0.1]])
    """

    _extra_inputs = 1

    def _at(self, x: Any, levels: Any) -> Any:
        """Quantile ``(n,)`` of each row at its own level."""
        import torch

        return self.network_(torch.cat([x, levels[:, None] - 0.5], dim=1))[:, 0]

    def _loss(self, x: Any, y: Any, generator: Any) -> Any:
        import torch

        levels = torch.rand(len(x), generator=generator)
        error = y - self._at(x, levels)
        return torch.maximum(levels * error, (levels - 1) * error).mean()

    def _grid(self, x: Any, levels: FloatArray) -> Any:
        """Quantiles ``(n, m)`` of every row at every level."""
        import torch

        tau = torch.from_numpy(levels).float()
        rows = x.repeat_interleave(len(tau), dim=0)
        return self._at(rows, tau.repeat(len(x))).view(len(x), len(tau))

    def _held_out_loss(self, x: Any, y: Any) -> Any:
        import torch

        from paperworks.statistics.quantile_aggregation.training import pinball_mean

        # Fixed levels, so that epochs are compared on the same.
        levels = torch.from_numpy(DEFAULT_LEVELS).float()
        return pinball_mean(self._grid(x, DEFAULT_LEVELS), y, levels)

    def _predict(self, x: Any) -> FloatArray:
        parts = x.split(max(200_000 // len(self.levels_), 1))
        return np.concatenate([self._grid(part, self.levels_).double().numpy() for part in parts])

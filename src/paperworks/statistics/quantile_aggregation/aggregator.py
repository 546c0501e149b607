"""Any number of quantile regressors as one, by weights that are learned.

Fakoor, Kim, Mueller, Smola and Tibshirani, "Flexible Model Aggregation for Quantile Regression"
(JMLR 2023, arXiv 2103.00083). Base models are fitted by cross-fitting: on all folds but one, to
predict that one, so that the weights are learned on rows which the models did not see (15). For
calibration the same is nested once more: with folds k and l left out for every pair, each fold k
has weights of its own, learned without it, and its rows serve to calibrate (CV+, section 5).

Departures. The weights of the final model are learned from K folds and used with base models
fitted to all rows, as the authors do; they also keep a validation set apart for the settings of
every model, where here a share of the rows stops the training and settings are given.
"""

from __future__ import annotations

from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from paperworks.statistics.checking import whole
from paperworks.statistics.quantile_aggregation.base import base_models
from paperworks.statistics.quantile_aggregation.conformal import Calibration
from paperworks.statistics.quantile_aggregation.crossfit import CrossFit, table
from paperworks.statistics.quantile_aggregation.crossing import Operator, check_operator, margins
from paperworks.statistics.quantile_aggregation.levels import (
    FloatArray,
    Levels,
    check_finite,
    check_levels,
    check_target,
    level_index,
)
from paperworks.statistics.quantile_aggregation.scores import quantile_scores


class QuantileAggregator(BaseEstimator):
    """Combine quantile regressors into one that predicts better quantiles, and calibrate it.

    The prediction at level t is a weighted mean of the base models' quantiles; the weights are
    positive, sum to one, and are learned by the pinball loss on cross-fitted predictions. They may
    differ by x (``weights="local"``) and by level (``resolution``). With one good model and little
    data take that model alone, or ``weights="global", resolution="coarse"``; to *select* a model,
    scikit-learn's searches are cheaper.

    Parameters
    ----------
    estimators : list, "precomputed" or None, default=None
        Base models: names of those on board (``"gaussian"``, ``"network"``, ``"forest"``,
        ``"lightgbm"``, ``"linear"``) and pairs (name, estimator) of anything with ``fit`` and
        ``predict`` that fits one level (``QuantileRegressor()``,
        ``LGBMRegressor(objective="quantile")``), takes ``predict(X, quantiles=...)``, or predicts
        a table. (name, estimator, parameter) says which parameter sets the level. None is the five
        on board. ``"precomputed"``: predictions are given to :meth:`fit` and :meth:`predict`.
    levels : (m,) float, optional
        Quantile levels, increasing; 0.05, 0.10, ..., 0.95 by default (the paper: 99).
    weights : {"local", "global"}, default="local"
        Whether weights are a network of x.
    resolution : {"coarse", "medium", "fine"}, default="fine"
        A weight for each model; for each model and level; for each model and pair of levels, so
        that every level draws on all predicted quantiles. Local and fine is the paper's choice.
    non_crossing : {"sort", "isotonic", "minmax"} or None, default="sort"
        How quantiles are put in order at prediction; see :func:`paperworks.statistics.uncross`.
    train_through : bool, default=False
        Learn the weights through that operator, by its derivative, and not before it. The
        theorem that sorting never harms is about the latter.
    crossing_penalty : float, default=1.0
        Weight of the penalty on pairs of levels closer than their margin; 0 for none. Measured on
        standardised y. The authors search 0.5 to 10.
    margin : float, default=1e-3
        That margin, in standard deviations of y; where adaptive, a factor of the gap between the
        residuals' own quantiles. The authors search 1e-4 to 1e-2, and 1e-4 to 0.1.
    adaptive_margin : bool, default=False
        Margins that differ by pair of levels, from the residuals of the base models' mean median.
    cv : int, default=5
        Folds of cross-fitting, K.
    calibration : {"cv+"} or None, default=None
        ``"cv+"`` nests the cross-fitting, for :meth:`predict_interval` without further data.
    hidden, layers : int, default=64, 2
        Width and depth of local weights' network.
    lr : float, default=1e-3
        Step of Adam for the network; global logits, which have far to go, take ten times that (the
        authors: 1e-3 and 5e-4 for both).
    weight_decay, batch_size, max_epochs, patience, validation_fraction
        Default 1e-7, 0 (the authors' rule, ``2 ** (3 + floor(log10 n))``), 500, 25, 0.2: training
        stops when the loss on the rows held out has not fallen for ``patience`` epochs.
    n_jobs : int or None, default=None
        Processes that fit base models (joblib's).
    random_state : int, RandomState or None
        Of folds, base models that have no seed of their own, and weights.

    Attributes
    ----------
    levels_ : (m,) float
    names_ : list of str
        Names of the base models.
    base_models_ : list
        The base models, fitted to all rows; not for precomputed predictions.
    oof_predictions_ : (n, p, m) float
        Cross-fitted predictions of the training rows.
    converged_ : bool
        Whether the training of all weights stopped by itself; a ``ConvergenceWarning`` says so too.
    n_epochs_ : int
        Epochs of the final weights, in both stages where they are local.
    n_base_fits_ : int
        Fits of each base model: K + 1, or K (K - 1) / 2 + K + 1 with calibration.
    n_features_in_ : int
        d, where X was given.

    Raises
    ------
    ValueError
        For settings out of range, shapes that do not fit, NaN or infinities, more folds than rows,
        a base model that does not predict quantiles.
    ImportError
        Where a base model on board needs a library that is not there; it names the command.

    Notes
    -----
    Base models cost what they cost, ``n_base_fits_`` times. An epoch of weights costs O(n p m), or
    O(n p m^2) where fine, times ``hidden`` where local.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import GradientBoostingRegressor
    >>> from paperworks.statistics import QuantileAggregator
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, size=(300, 2))
    >>> y = X[:, 0] + 0.3 * rng.standard_normal(300)
    >>> boosting = GradientBoostingRegressor(loss="quantile", n_estimators=20)
    >>> model = QuantileAggregator(
    ...     ["linear", ("boosting", boosting)], [0.1, 0.5, 0.9], cv=3, random_state=0
    ... ).fit(X, y)
    >>> model.predict(X[:2]).shape
    (2, 3)
    >>> bool((np.diff(model.predict(X)) >= 0).all())
    True
    """

    def __init__(
        self,
        estimators: Any = None,
        levels: Levels | None = None,
        *,
        weights: Literal["local", "global"] = "local",
        resolution: Literal["coarse", "medium", "fine"] = "fine",
        non_crossing: Operator | None = "sort",
        train_through: bool = False,
        crossing_penalty: float = 1.0,
        margin: float = 1e-3,
        adaptive_margin: bool = False,
        cv: int = 5,
        calibration: Literal["cv+"] | None = None,
        hidden: int = 64,
        layers: int = 2,
        lr: float = 1e-3,
        weight_decay: float = 1e-7,
        batch_size: int = 0,
        max_epochs: int = 500,
        patience: int = 25,
        validation_fraction: float = 0.2,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimators = estimators
        self.levels = levels
        self.weights = weights
        self.resolution = resolution
        self.non_crossing = non_crossing
        self.train_through = train_through
        self.crossing_penalty = crossing_penalty
        self.margin = margin
        self.adaptive_margin = adaptive_margin
        self.cv = cv
        self.calibration = calibration
        self.hidden = hidden
        self.layers = layers
        self.lr = lr
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X: Any, y: Any, predictions: ArrayLike | None = None) -> QuantileAggregator:
        """Fit base models and weights.

        Parameters
        ----------
        X : (n, d) float, or None
            Features. May be None for global weights of precomputed predictions.
        y : (n,) float
            Targets.
        predictions : (n, p, m) float, optional
            With ``estimators="precomputed"``: what p models predict of these rows at the m levels.
            The models must not have seen the rows (cross-fitted or held out).

        Returns
        -------
        self
        """
        self._check_settings()
        self.levels_ = check_levels(self.levels)
        rng = check_random_state(self.random_state)
        precomputed = self._is_precomputed()
        self._check_predictions_given(predictions)
        if X is None:
            if not precomputed or self.weights == "local":
                raise ValueError(
                    "X is None: only global weights of precomputed predictions do without features"
                )
            y = check_target(y, len(np.asarray(predictions)))
        else:
            X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
            y = np.asarray(y, dtype=np.float64)
        n = len(y)
        least = 2 if precomputed else self.cv
        if n < least:
            reason = "to stop the training by one" if precomputed else f"for cv={self.cv} folds"
            raise ValueError(f"n_samples={n} is too few: {least} rows are needed {reason}")
        self._calibration: Calibration | None = None
        seed = int(rng.randint(2**31 - 1))
        if precomputed:
            self.oof_predictions_ = self._check_predictions(predictions, n)
            self.names_ = [f"model {j}" for j in range(self.oof_predictions_.shape[1])]
            self._aggregate = self._learn(self.oof_predictions_, y, X, seed)
            self.n_base_fits_ = 0
            trained = [self._aggregate]
        else:
            trained = self._fit_nested(X, y, seed)
        self.converged_ = all(course.converged for each in trained for course in each.courses)
        self.n_epochs_ = sum(course.epochs for course in self._aggregate.courses)
        return self

    def _fit_nested(self, X: Any, y: FloatArray, seed: int) -> list[Any]:
        """Cross-fit base models, learn the final weights and, for CV+, those of each fold."""
        fits = CrossFit(
            base_models(self.estimators, self.levels_),
            X,
            y,
            cv=self.cv,
            nested=self.calibration == "cv+",
            n_jobs=self.n_jobs,
            seed=seed,
        )
        self.base_models_ = fits.models
        self.names_ = [base.name for base in fits.models]
        self.n_base_fits_ = fits.n_fits
        self.oof_predictions_ = held = fits.predictions
        self._aggregate = self._learn(held, y, X, seed)
        trained = [self._aggregate]
        if self.calibration:
            self._fold_models = []
            quantiles = np.empty((len(y), len(self.levels_)))
            fold = np.empty(len(y), dtype=np.int64)
            for k, rows in enumerate(fits.folds):
                inner, seen = fits.within(k)
                aggregate = self._learn(seen, y[inner], X[inner], seed)
                quantiles[rows] = aggregate.quantiles(held[rows], X[rows])
                fold[rows] = k
                self._fold_models.append((fits.without(k), aggregate))
                trained.append(aggregate)
            self._calibration = Calibration(quantiles, y, fold)
        return trained

    def _learn(self, predictions: FloatArray, y: FloatArray, X: Any, seed: int) -> Any:
        """Weights from predictions of rows that the models did not see."""
        from paperworks.statistics.quantile_aggregation.training import Schedule, seeded
        from paperworks.statistics.quantile_aggregation.weights import Aggregate

        local = self.weights == "local"
        residuals = None
        if self.adaptive_margin:
            median = int(np.argmin(np.abs(self.levels_ - 0.5)))
            residuals = (y - predictions[:, :, median].mean(axis=1)) / (y.std() or 1.0)
        return Aggregate(
            predictions,
            y,
            X if local else None,
            self.levels_,
            self.resolution,
            self.hidden,
            self.layers,
            self.non_crossing,
            self.train_through,
            self.crossing_penalty,
            margins(self.levels_, self.margin, residuals),
            Schedule(
                self.lr,
                self.weight_decay,
                self.batch_size,
                self.max_epochs,
                self.patience,
                self.validation_fraction,
            ),
            seeded(seed),
        )

    def predict(self, X: ArrayLike | None, predictions: ArrayLike | None = None) -> FloatArray:
        """Aggregated quantiles.

        Parameters
        ----------
        X : (n, d) float, or None
            Features; None where :meth:`fit` had none.
        predictions : (n, p, m) float, optional
            With ``estimators="precomputed"``: the p models' quantiles of these rows.

        Returns
        -------
        (n, m) float64
            One column for each of ``levels_``, in order along a row unless ``non_crossing`` is
            None. They are not calibrated; see :meth:`predict_interval`.
        """
        P, X = self._base_predictions(X, predictions)
        return self._aggregate.quantiles(P, X)

    def score(
        self, X: ArrayLike | None, y: ArrayLike, predictions: ArrayLike | None = None
    ) -> float:
        """Minus the weighted interval score: higher is better, as model selection wants it."""
        q = self.predict(X, predictions)
        return -quantile_scores(y, q, self.levels_).wis

    def model_weights(self, X: Any = None) -> FloatArray:
        """The weights that :meth:`predict` uses.

        Parameters
        ----------
        X : (n, d) float, optional
            Features, for local weights.

        Returns
        -------
        (n, p) float64 where coarse, (n, p, m) where medium, (n, p, m, m) where fine
            Entry [i, j, s, t] is what level t of row i takes from level s of model j. Non-negative,
            with sum 1 over models (and over s). Without the first axis for global weights.
        """
        check_is_fitted(self)
        local = self.weights == "local"
        if local:
            if X is None:
                raise ValueError("local weights depend on x: give X")
            X = validate_data(self, X, dtype=np.float64, reset=False)
        found = self._aggregate.weights(X if local else None)
        if self.resolution == "coarse":
            found = found[:, :, 0]
        return found if local else found[0]

    def calibrate(
        self, X: ArrayLike | None, y: ArrayLike, predictions: ArrayLike | None = None
    ) -> QuantileAggregator:
        """Calibrate by rows that were not in :meth:`fit` (split conformal).

        Replaces the calibration by cross-fitting, if there was one. The promise is the stronger
        one: coverage at least what is asked for, on average, for exchangeable rows.

        Parameters
        ----------
        X : (n, d) float, or None
        y : (n,) float
        predictions : (n, p, m) float, optional
            As in :meth:`predict`.

        Returns
        -------
        self
        """
        q = self.predict(X, predictions)
        self._calibration = Calibration(q, check_target(y, len(q)))
        return self

    def predict_interval(
        self,
        X: Any,
        coverage: float = 0.8,
        *,
        symmetric: bool = True,
        predictions: ArrayLike | None = None,
    ) -> FloatArray:
        """Intervals that hold y with a promised probability.

        Parameters
        ----------
        X : (n, d) float, or None
        coverage : float, default=0.8
            Probability asked for. The levels (1 - coverage) / 2 and its mirror must be among
            ``levels_``.
        symmetric : bool, default=True
            True: CQR, one correction for both ends. False: its asymmetric form, which also keeps
            the miscoverage of each end at half, and is a little wider.
        predictions : (n, p, m) float, optional
            As in :meth:`predict`.

        Returns
        -------
        (n, 2) float64
            Lower and upper ends. :meth:`promised_coverage` says what they promise.

        Raises
        ------
        ValueError
            Without a calibration, for a coverage whose levels are not there, and where there are
            too few calibration rows for it (the message says how many it takes).
        """
        check_is_fitted(self)
        calibration = self._calibrated()
        lower, upper = self._columns(coverage)
        if calibration.fold is None:
            q = self.predict(X, predictions)[None]
        else:
            X = validate_data(self, X, dtype=np.float64, reset=False)
            q = np.stack(
                [
                    aggregate.quantiles(table(models, X), X)
                    for models, aggregate in self._fold_models
                ]
            )
        return calibration.interval(q, lower, upper, coverage, symmetric)

    def promised_coverage(self, coverage: float = 0.8, *, symmetric: bool = True) -> float:
        """What :meth:`predict_interval` guarantees where it is asked for ``coverage``.

        Returns
        -------
        float
            A lower bound on the probability that a new row's y lies inside, over the draw of
            training, calibration and new rows, which must be exchangeable. ``coverage`` itself
            after :meth:`calibrate`; about ``1 - 2 (1 - coverage)`` for CV+, whose intervals in
            practice cover about what was asked for. Nothing is promised for a given x.
        """
        check_is_fitted(self)
        self._columns(coverage)
        return self._calibrated().promise(coverage, symmetric)

    def _calibrated(self) -> Calibration:
        if self._calibration is None:
            raise ValueError(
                "not calibrated: fit with calibration='cv+', or call calibrate(X, y) with rows "
                "that fit() did not see"
            )
        return self._calibration

    def _columns(self, coverage: float) -> tuple[int, int]:
        """Places of the two levels of a central interval."""
        if not (isinstance(coverage, Real) and 0 < coverage < 1):
            raise ValueError(f"coverage must lie strictly between 0 and 1, got {coverage!r}")
        tail = (1 - float(coverage)) / 2
        lower, upper = level_index(self.levels_, tail), level_index(self.levels_, 1 - tail)
        if lower is None or upper is None:
            raise ValueError(
                f"coverage {coverage:g} takes the levels {tail:g} and {1 - tail:g}, which are not "
                "both among levels_: fit with them"
            )
        return lower, upper

    def _base_predictions(self, X: Any, predictions: Any) -> tuple[FloatArray, Any]:
        """Predictions ``(n, p, m)`` of the base models, and X checked."""
        check_is_fitted(self)
        self._check_predictions_given(predictions)
        if X is not None:
            X = validate_data(self, X, dtype=np.float64, reset=False)
        elif not self._is_precomputed() or self.weights == "local":
            raise ValueError("X is None, but this model was fitted with features")
        if not self._is_precomputed():
            return table(self.base_models_, X), X
        P = self._check_predictions(predictions, None if X is None else len(X))
        if P.shape[1] != len(self.names_):
            raise ValueError(
                f"predictions of {P.shape[1]} models, but fit() had {len(self.names_)}"
            )
        return P, X

    def _is_precomputed(self) -> bool:
        return isinstance(self.estimators, str) and self.estimators == "precomputed"

    def _check_predictions_given(self, predictions: Any) -> None:
        if self._is_precomputed() == (predictions is None):
            raise ValueError(
                "estimators='precomputed' needs predictions (n, p, m)"
                if predictions is None
                else "predictions were given, but the base models are estimators: set "
                "estimators='precomputed'"
            )

    def _check_predictions(self, predictions: Any, rows: int | None) -> FloatArray:
        P = np.asarray(predictions, dtype=np.float64)
        if P.ndim != 3 or P.shape[2] != len(self.levels_) or not P.shape[1]:
            raise ValueError(
                f"predictions must be (n, p, {len(self.levels_)}): rows, models, levels; got "
                f"shape {P.shape}"
            )
        if rows is not None and len(P) != rows:
            raise ValueError(f"predictions of {len(P)} rows, but there are {rows} rows of data")
        check_finite(P, "predictions")
        return P

    def _check_settings(self) -> None:
        for name, known in (
            ("weights", ("local", "global")),
            ("resolution", ("coarse", "medium", "fine")),
            ("calibration", (None, "cv+")),
        ):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"{name} must be one of {known}, got {value!r}")
        if self.non_crossing is not None:
            check_operator(self.non_crossing)
        elif self.train_through:
            raise ValueError("train_through=True needs an operator: set non_crossing")
        for name in ("crossing_penalty", "margin"):
            value = getattr(self, name)
            if not (isinstance(value, Real) and 0 <= float(value) < np.inf):
                raise ValueError(f"{name} must be a number >= 0, got {value!r}")
        for name, least in (("cv", 3 if self.calibration else 2), ("hidden", 1), ("layers", 1)):
            whole(name, getattr(self, name), least)
        if self._is_precomputed() and self.calibration:
            raise ValueError(
                "calibration='cv+' fits base models and so cannot take precomputed predictions: "
                "use calibrate(X, y, predictions) on rows that fit() did not see"
            )

"""Pretraining by maximum likelihood, then empirical risk minimisation, as one estimator.

Ge, Tang, Fan and Jin (ICLR 2024, arXiv 2303.01566), their two-phase algorithm: phi maximises the
likelihood of m unlabelled rows, and psi minimises the empirical risk of n labelled rows over the
predictors that phi and psi give together. For the three examples those are linear regression on
the posterior means of factors, a distribution of labels for each component of a mixture, and a
linear probe on an embedding.

Unlabelled rows come in either way that scikit-learn's users know: marked in y, -1 for a classifier
as throughout ``sklearn.semi_supervised`` and NaN for a regressor (where -1 is an honest target),
or as a table of their own, ``X_unlabelled``, which cross-validation hands whole to every fold.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin, clone, is_classifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import assert_all_finite, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from paperworks.statistics.pretraining.checking import fit_rows, labels, new_rows
from paperworks.statistics.pretraining.components import ComponentClassifier
from paperworks.statistics.pretraining.contrastive import ContrastiveModel, Pairs
from paperworks.statistics.pretraining.diagnostics import Diagnostics, diagnose
from paperworks.statistics.pretraining.factor import FactorModel
from paperworks.statistics.pretraining.mixture import MixtureModel

_MARK = -1  # of an unlabelled row, for a classifier


def _has(method: str) -> Any:
    def check(self: PretrainedERM) -> bool:
        getattr(getattr(self, "predictor_", None) or self._predictor(), method)
        return True

    return available_if(check)


class PretrainedERM(TransformerMixin, BaseEstimator):
    """Pretrain a representation on many unlabelled rows, then a predictor on few labelled ones.

    Use it where labels are few for the number of features, unlabelled rows are many, and the
    labels depend on the rows through a few factors, clusters or an embedding; :meth:`diagnose`
    tells how plausible that is. Take a penalised model on the features where labels are as many
    as unlabelled rows, and scikit-learn's ``SelfTrainingClassifier`` or ``LabelSpreading`` where
    classes are separated by sparse regions but have no simple distribution.

    Parameters
    ----------
    representation : FactorModel, MixtureModel, ContrastiveModel or any transformer, default=None
        Fitted to unlabelled rows. None is ``FactorModel()``.
    predictor : classifier or regressor, default=None
        Fitted to the representation of labelled rows. None is the paper's: linear regression
        behind factors, :class:`ComponentClassifier` behind a mixture, and logistic regression
        behind a contrastive model. It decides whether this is a classifier or a regressor.
    pretrain_on : {"all", "unlabelled"}, default="all"
        Whether labelled rows help to pretrain. More rows are better, and where every row is
        labelled there are no others; the paper's bound, however, needs a representation that is
        independent of the labelled rows, which "unlabelled" keeps to.

    Attributes
    ----------
    representation_, predictor_ :
        The fitted parts.
    classes_ : (C,)
        Of a classifier.
    n_labelled_, n_unlabelled_ : int
        n and m, as counted in :meth:`fit` (m without the labelled rows).
    n_features_in_ : int

    Raises
    ------
    ValueError
        If no row is labelled, or none is left to pretrain on.

    Notes
    -----
    The cost is that of the parts: one fit of the representation on all rows, one of the predictor
    on labelled rows. Source: arXiv 2303.01566, the two-phase algorithm.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(1000, 5)) + 4 * rng.choice([-1, 1], size=(1000, 1))
    >>> y = np.full(1000, -1)  # -1 marks an unlabelled row
    >>> y[:6] = X[:6, 0] > 0
    >>> model = PretrainedERM(MixtureModel(2, random_state=0)).fit(X, y)
    >>> model.score(X, X[:, 0] > 0), model.n_labelled_, model.n_unlabelled_
    (1.0, 6, 994)
    """

    def __init__(
        self, representation: Any = None, predictor: Any = None, *, pretrain_on: str = "all"
    ) -> None:
        self.representation = representation
        self.predictor = predictor
        self.pretrain_on = pretrain_on

    def _representation(self) -> Any:
        found = FactorModel() if self.representation is None else self.representation
        if isinstance(found, type) or not hasattr(found, "transform"):
            raise ValueError(
                f"representation must be a transformer such as FactorModel() or MixtureModel(5), "
                f"got {found!r}"
            )
        return found

    def _predictor(self) -> Any:
        representation = self._representation()
        if self.predictor is not None:
            return self.predictor
        if isinstance(representation, FactorModel):
            return LinearRegression()
        if isinstance(representation, MixtureModel):
            return ComponentClassifier()
        if isinstance(representation, ContrastiveModel):
            return LogisticRegression(max_iter=1000)
        raise ValueError(
            f"predictor must be given with {type(representation).__name__}; only a FactorModel, "
            "a MixtureModel and a ContrastiveModel have one of their own"
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self._predictor())
        tags.estimator_type = inner.estimator_type
        tags.classifier_tags = copy.deepcopy(inner.classifier_tags)
        tags.regressor_tags = copy.deepcopy(inner.regressor_tags)
        if tags.regressor_tags is not None:
            # Features that share no cause have no factors to regress on.
            tags.regressor_tags.poor_score = True
        tags.target_tags.required = True
        return tags

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        X_unlabelled: ArrayLike | None = None,
        pairs: Pairs | None = None,
    ) -> PretrainedERM:
        """Pretrain and fit.

        Parameters
        ----------
        X : (n, d) float
            Rows.
        y : (n,)
            Labels. A classifier takes -1, a regressor NaN, as the mark of an unlabelled row;
            string labels beside -1 need ``dtype=object``.
        X_unlabelled : (m, d) float or None
            More unlabelled rows.
        pairs : (A, B, s) or None
            For a ``ContrastiveModel`` alone: pairs of rows, (P, d) each, and whether they are
            similar, (P,) of 0 or 1. Without them, pairs are made of views of the rows.
        """
        if self.pretrain_on not in ("all", "unlabelled"):
            raise ValueError(f'pretrain_on must be "all" or "unlabelled", got {self.pretrain_on!r}')
        X = fit_rows(self, X)
        if y is None:
            raise ValueError(
                "requires y to be passed, but the target y is None; mark unlabelled rows in it"
            )
        y = labels(y)
        if len(y) != len(X):
            raise ValueError(f"X has {len(X)} rows and y has {len(y)} labels")
        classifier = is_classifier(self)
        labelled, y = _labelled(y, classifier)
        if not labelled.any():
            raise ValueError(
                f"no row of y is labelled (all {len(y)} are {'-1' if classifier else 'NaN'}); "
                "the predictor needs some"
            )
        if classifier:
            check_classification_targets(y[labelled])
            if len(labelled) > labelled.sum() and len(np.unique(y[labelled])) < 2:
                raise ValueError(
                    f"the labelled rows have one class ({y[labelled][0]!r}), for -1 marks "
                    "unlabelled rows; where -1 is a class, rename it"
                )
        more = None
        if X_unlabelled is not None:
            more = validate_data(self, X_unlabelled, dtype=np.float64, reset=False)
        rows = [X if self.pretrain_on == "all" else X[~labelled]]
        if more is not None:
            rows.append(more)
        pool = np.concatenate(rows)
        self.n_labelled_ = int(labelled.sum())
        self.n_unlabelled_ = int((~labelled).sum()) + (0 if more is None else len(more))
        if not len(pool):
            raise ValueError(
                'no unlabelled row to pretrain on; give X_unlabelled, or pretrain_on="all"'
            )
        self.representation_ = clone(self._representation())
        if pairs is None:
            self.representation_.fit(pool)
        elif isinstance(self.representation_, ContrastiveModel):
            self.representation_.fit(pool, pairs=pairs)
        else:
            raise ValueError(
                f"pairs go with a ContrastiveModel, not with {type(self.representation_).__name__}"
            )
        self.predictor_ = clone(self._predictor())
        self.predictor_.fit(self.representation_.transform(X[labelled]), y[labelled])
        if classifier:
            self.classes_ = self.predictor_.classes_
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """The representation of ``X`` (n, d)."""
        X = new_rows(self, X)
        return self.representation_.transform(X)

    def predict(self, X: ArrayLike) -> NDArray:
        """Predictions (n,) for ``X`` (n, d)."""
        found = self.transform(X)
        return self.predictor_.predict(found)

    @_has("predict_proba")
    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probability of each class (n, C) for ``X`` (n, d), where the predictor has it."""
        found = self.transform(X)
        return self.predictor_.predict_proba(found)

    @_has("decision_function")
    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """The predictor's decision function for ``X`` (n, d), where it has one."""
        found = self.transform(X)
        return self.predictor_.decision_function(found)

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Accuracy of a classifier, R^2 of a regressor, over the labelled rows of ``y``."""
        found = self.predict(X)
        labelled, y = _labelled(labels(y), is_classifier(self))
        if len(y) != len(found):
            raise ValueError(f"X has {len(found)} rows and y has {len(y)} labels")
        if not labelled.any():
            raise ValueError("no row of y is labelled; there is nothing to score")
        measure = accuracy_score if is_classifier(self) else r2_score
        return float(measure(y[labelled], found[labelled]))

    def diagnose(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        n_alternatives: int = 40,
        n_resamples: int = 199,
        random_state: Any = 0,
    ) -> Diagnostics:
        """Check the paper's assumptions on the rows that were fitted, or on others.

        Parameters
        ----------
        X : (n, d) float
            Rows.
        y : (n,)
            Labels, unlabelled rows marked as in :meth:`fit`.
        n_alternatives : int, default=40
            Members of the class tried for the informative condition.
        n_resamples : int, default=199
            Resamples of the labels for the test that they depend on the representation alone.
        random_state : int, Generator or None, default=0

        Returns
        -------
        Diagnostics
        """
        X = new_rows(self, X)
        classifier = is_classifier(self)
        labelled, y = _labelled(labels(y), classifier)
        if len(y) != len(X):
            raise ValueError(f"X has {len(X)} rows and y has {len(y)} labels")
        if not labelled.any():
            raise ValueError("no row of y is labelled; the test of the labels needs some")
        return diagnose(
            self.representation_,
            self._predictor(),
            X,
            X[labelled],
            y[labelled],
            classifier=classifier,
            n_alternatives=n_alternatives,
            n_resamples=n_resamples,
            random_state=random_state,
        )


def _labelled(y: NDArray, classifier: bool) -> tuple[NDArray[np.bool_], NDArray]:
    """Which rows carry a label, and y with labels of one type where it held objects."""
    if not classifier:
        if y.dtype.kind in "US":
            raise ValueError(
                f"y holds strings ({str(y[0])!r}) and the predictor is a regressor; "
                "for classes take a MixtureModel, or give a classifier as predictor"
            )
        y = np.asarray(y, dtype=np.float64)
        assert_all_finite(y, allow_nan=True, input_name="y")
        return ~np.isnan(y), y
    if y.dtype.kind == "f":
        assert_all_finite(y, input_name="y")  # NaN is no mark here: -1 is
    if y.dtype.kind != "O":
        return (y != _MARK if y.dtype.kind in "iuf" else np.ones(len(y), dtype=bool)), y
    if any(v is None or v != v for v in y):
        raise ValueError(
            "y holds None or NaN; a classifier takes -1 as the mark of unlabelled rows"
        )
    labelled = np.array([not (isinstance(v, (int, float)) and v == _MARK) for v in y], dtype=bool)
    if labelled.any():
        values = np.array(list(y[labelled]))
        out = np.empty(len(y), dtype=values.dtype)
        out[labelled] = values
        y = out
    return labelled, y

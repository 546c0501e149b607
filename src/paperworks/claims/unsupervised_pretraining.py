"""Pretraining by maximum likelihood: do its risks fall as the bound says, and when does it pay?

Ge, Tang, Fan and Jin (ICLR 2024, arXiv 2303.01566) prove bounds and measure nothing. Their three
examples are generated here with every truth known, so that the excess risk is computed and not
estimated (by a formula for the squared error of linear predictors, and as a Kullback-Leibler
divergence over fresh rows for the log loss):

* factor: 40 features, 3 factors as strong as the noise, labels the sum of the factors plus noise;
* mixture: 20 features, 8 unit Gaussians 6 standard deviations apart, each with one of two classes
  in nine of ten rows;
* contrastive: 20 features, pairs whose sign follows a 2-dimensional linear embedding, labels
  linear in that embedding plus noise. An unlabelled "row" is a pair.

The numbers of components are given to every method that has them. The bound falls as
sqrt(1/m) + sqrt(1/n): sixteen times the rows must divide the excess risk by four at least, with the
other kind of row plentiful. Labelled rows alone get ridge regression, or for classes the better of
logistic regression and nearest neighbours, tuned by cross-validation.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, RidgeCV

from paperworks.experiment import Axes, Claim, Curve, Effect, Tier, TrialResult
from paperworks.statistics.pretraining.contrastive import ContrastiveModel
from paperworks.statistics.pretraining.estimator import PretrainedERM
from paperworks.statistics.pretraining.factor import FactorModel
from paperworks.statistics.pretraining.mixture import MixtureModel

FloatArray = NDArray[np.float64]

MORE, FEWER = "sixteen times the rows", "the rows"
PRETRAINED, ALONE = "pretrained", "labelled rows alone"
STARVED = "pretrained on as many rows as are labelled"
KINDS = ("factor", "mixture", "contrastive")

_PENALTIES = np.logspace(-3, 4, 15)


class World:
    """One of the three examples, with its truth."""

    def __init__(self, kind: str, seed: int) -> None:
        self.kind = kind
        self.rng = np.random.default_rng([seed, KINDS.index(kind)])
        self.seed = seed
        d = 40 if kind == "factor" else 20
        basis = np.linalg.qr(self.rng.normal(size=(d, d)))[0]
        if kind == "factor":
            self.B = basis[:, :3]
            self.cov = self.B @ self.B.T + np.eye(d)
            self.best = np.linalg.solve(self.cov, self.B.sum(axis=1))
        elif kind == "mixture":
            self.means = 6 / np.sqrt(2) * basis[:8]
            self.psi = np.where(np.arange(8) % 2 == 0, 0.1, 0.9)  # P(y = 1 | component)
        else:
            self.W = basis[:2]
            self.cov = np.eye(d)
            self.best = self.W.sum(axis=0)

    def labelled(self, n: int) -> tuple[FloatArray, NDArray[Any]]:
        """Fresh rows and labels."""
        if self.kind == "factor":
            factors = self.rng.normal(size=(n, 3))
            X = factors @ self.B.T + self.rng.normal(size=(n, len(self.B)))
            return X, factors.sum(axis=1) + 0.5 * self.rng.normal(size=n)
        if self.kind == "mixture":
            z = self.rng.integers(8, size=n)
            X = self.means[z] + self.rng.normal(size=(n, 20))
            return X, (self.rng.random(n) < self.psi[z]).astype(int)
        X = self.rng.normal(size=(n, 20))
        return X, X @ self.best + 0.5 * self.rng.normal(size=n)

    def pretrained(self, m: int, X: FloatArray, y: NDArray[Any]) -> PretrainedERM:
        """Fit to m unlabelled rows, or pairs, and the labelled ones."""
        keep: dict[str, Any] = {"pretrain_on": "unlabelled"}
        if self.kind == "contrastive":
            first, second = self.rng.normal(size=(2, m, 20))
            similar = expit(((first @ self.W.T) * (second @ self.W.T)).sum(axis=1))
            sign = self.rng.random(m) < similar
            model = PretrainedERM(
                ContrastiveModel(2, random_state=self.seed), LinearRegression(), **keep
            )
            return model.fit(X, y, X_unlabelled=first, pairs=(first, second, sign))
        rows, _ = self.labelled(m)
        if self.kind == "factor":
            model = PretrainedERM(FactorModel(3), **keep)
        else:
            model = PretrainedERM(MixtureModel(8, random_state=self.seed), **keep)
        return model.fit(X, y, X_unlabelled=rows)

    def alone(self, X: FloatArray, y: NDArray[Any]) -> Any:
        """Fit the tuned supervised model."""
        if self.kind != "mixture":
            return RidgeCV(_PENALTIES).fit(X, y)
        return tuned_classifier(X, y, scoring="neg_log_loss", folds=5)

    def excess(self, model: Any) -> float:
        """Excess risk: of the squared error, or of the log loss in nats."""
        if self.kind != "mixture":
            d = len(self.best)
            base = float(model.predict(np.zeros((1, d)))[0])
            away = model.predict(np.eye(d)) - base - self.best
            return float(away @ self.cov @ away + base**2)
        fresh = np.random.default_rng([self.seed, 99])
        X = self.means[fresh.integers(8, size=20_000)] + fresh.normal(size=(20_000, 20))
        near = np.exp(-0.5 * ((X[:, None] - self.means) ** 2).sum(axis=2))
        p = near @ self.psi / near.sum(axis=1)
        q = np.clip(model.predict_proba(X)[:, 1], 1e-12, 1 - 1e-12)
        return float(np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))))


def tuned_classifier(X: FloatArray, y: NDArray[Any], *, scoring: str, folds: int) -> Any:
    """Logistic regression or nearest neighbours, whichever cross-validates better."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    neighbours = [k for k in (1, 5, 15, 45) if 2 * k <= len(y)]
    search = GridSearchCV(
        Pipeline([("scale", StandardScaler()), ("model", LogisticRegression())]),
        [
            {
                "model": [LogisticRegression(max_iter=2000)],
                "model__C": np.logspace(-2, 2, 5),
            },
            {"model": [KNeighborsClassifier()], "model__n_neighbors": neighbours},
        ],
        scoring=scoring,
        cv=StratifiedKFold(folds, shuffle=True, random_state=0),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes with fewer labels than folds
        return search.fit(X, y)


def rate(*, seed: int, device: str, kind: str, of: str, sizes: list[int]) -> TrialResult:
    """Excess risk over one kind of row, the other plentiful."""
    found = []
    for size in sizes:
        world = World(kind, seed)
        m, n = (size, 20_000) if of == "unlabelled" else (20_000, size)
        X, y = world.labelled(n)
        found.append(world.excess(world.pretrained(m, X, y)))
    curve = Curve(kind, sizes, found)
    return TrialResult({FEWER: found[0], MORE: found[-1]}, [curve])


def versus(*, seed: int, device: str, kind: str, m: int, n: int, starved: bool) -> TrialResult:
    """Excess risk of both phases, of labelled rows alone, and of both without more rows."""
    world = World(kind, seed)
    X, y = world.labelled(n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of contenders on very few rows
        found = {
            PRETRAINED: world.excess(world.pretrained(m, X, y)),
            ALONE: world.excess(world.alone(X, y)),
        }
        if starved:
            found[STARVED] = world.excess(world.pretrained(n, X, y))
    return TrialResult(found)


def images(*, seed: int, device: str, data: str, n: int, even: bool) -> TrialResult:
    """Test error on images with n labels in all, as many for each class if ``even``."""
    from sklearn.model_selection import train_test_split

    X, y, components = _images(data)
    X, X_test, y, y_test = train_test_split(X, y, test_size=500, stratify=y, random_state=seed)
    few, rest, y_few, _ = train_test_split(
        X, y, train_size=n, stratify=y if even else None, random_state=seed
    )
    model = PretrainedERM(MixtureModel(components, random_state=seed))
    model.fit(few, y_few, X_unlabelled=rest)
    alone = tuned_classifier(few, y_few, scoring="accuracy", folds=2)
    return TrialResult(
        {
            PRETRAINED: 1 - model.score(X_test, y_test),
            ALONE: 1 - alone.score(X_test, y_test),
        }
    )


def _images(data: str) -> tuple[FloatArray, NDArray[Any], int]:
    """Images as rows, and two components a class, four where there are many images."""
    if data == "digits":
        from sklearn.datasets import load_digits

        return *load_digits(return_X_y=True), 20
    from paperworks.data import load

    table = load(data)
    pick = np.random.default_rng(0).permutation(len(table.y_train))[:2500]
    X = np.asarray(table.x_train)[pick].reshape(len(pick), -1) / 255
    return X, np.asarray(table.y_train)[pick], 40


def tables(*, seed: int, device: str, data: str) -> TrialResult:
    """Mean squared error on a UCI table with twice as many labels as features."""
    from sklearn.model_selection import train_test_split

    from paperworks.data import load

    table = load(data)
    X, y = np.asarray(table.X, dtype=float), np.asarray(table.y, dtype=float)
    X, y = (X - X.mean(axis=0)) / X.std(axis=0), (y - y.mean()) / y.std()
    pick = np.random.default_rng(seed).permutation(len(X))[:6000]
    X, X_test, y, y_test = train_test_split(X[pick], y[pick], test_size=0.2, random_state=seed)
    n = 2 * X.shape[1]
    model = PretrainedERM(FactorModel()).fit(X[:n], y[:n], X_unlabelled=X[n:])
    alone = RidgeCV(_PENALTIES).fit(X[:n], y[:n])
    return TrialResult(
        {
            label: float(np.mean((y_test - each.predict(X_test)) ** 2))
            for label, each in ((PRETRAINED, model), (ALONE, alone))
        }
    )


def _rates(of: str, least: int) -> dict[str, Any]:
    def works(sizes: list[int]) -> list[dict[str, Any]]:
        return [{"kind": kind, "of": of, "sizes": sizes} for kind in KINDS]

    steps = [least * 2**i for i in range(5)]
    return {
        "quick": Tier(works=works([steps[0], steps[-1]]), seeds=5),
        "full": Tier(works=works(steps), seeds=10, timeout=600),
    }


def _images_works(names: Sequence[str], even: bool) -> list[dict[str, Any]]:
    return [{"data": name, "n": n, "even": even} for name in names for n in (20, 40)]


_EXCESS = "excess risk (squared error, or log loss in nats)"
_COMMON: dict[str, Any] = {"paper": "unsupervised-pretraining", "better": "lower"}
_FALLS: dict[str, Any] = {
    **_COMMON,
    "metric": _EXCESS,
    "ours": MORE,
    "contenders": (FEWER,),
    "effect": Effect("ratio", 4.0),
    "trial": rate,
}


def _versus(kinds: Sequence[str], m: int, n: int, *, starved: bool = False) -> dict[str, Any]:
    works = [{"kind": kind, "m": m, "n": n, "starved": starved} for kind in kinds]
    return {
        "metric": _EXCESS,
        "trial": versus,
        "effect": Effect("ratio", 1.0),
        "quick": Tier(works=works, seeds=5),
        "full": Tier(works=works, seeds=20, timeout=300),
    }


CLAIMS = (
    Claim(
        **_FALLS,
        name="falls-with-unlabelled",
        statement=(
            "With labels plentiful, the excess risk falls at least as the square root of the "
            "number of unlabelled rows: sixteen times as many divide it by four or more."
        ),
        axes=Axes("unlabelled rows, m", "excess risk", x_scale="log", y_scale="log"),
        **_rates("unlabelled", 500),
    ),
    Claim(
        **_FALLS,
        name="falls-with-labelled",
        statement=(
            "With unlabelled rows plentiful, the excess risk falls at least as the square root of "
            "the number of labelled rows: sixteen times as many divide it by four or more."
        ),
        axes=Axes("labelled rows, n", "excess risk", x_scale="log", y_scale="log"),
        **_rates("labelled", 40),
    ),
    Claim(
        **_COMMON,
        name="pays-with-many-unlabelled",
        statement=(
            "With 10,000 unlabelled rows for 60 labelled ones, pretraining has less excess risk "
            "than a tuned supervised model on the labelled rows, and than pretraining on no more "
            "rows than are labelled."
        ),
        ours=PRETRAINED,
        contenders=(ALONE, STARVED),
        **_versus(KINDS, 10_000, 60, starved=True),
    ),
    # One for each example: they do not agree, and an average would hide it.
    *(
        Claim(
            **_COMMON,
            name=f"not-with-few-unlabelled-{kind}",
            statement=(
                f"Where unlabelled rows are a quarter of the labelled ones (100 for 400), "
                f"pretraining on them does not pay in the {kind} example: a tuned supervised model "
                "on the labelled rows has less excess risk."
            ),
            ours=ALONE,
            contenders=(PRETRAINED,),
            **_versus([kind], 100, 400),
        )
        for kind in KINDS
    ),
    # Two claims, for even labels suit a mixture: they leave fewer components without one.
    *(
        Claim(
            **_COMMON,
            name=f"real-images-{name}",
            statement=(
                f"On images of digits with 20 or 40 labels in all, {words}, a Gaussian mixture "
                "pretrained on all images errs less than a tuned classifier on the labelled ones."
            ),
            metric="test error, a share",
            ours=PRETRAINED,
            contenders=(ALONE,),
            effect=Effect("difference", 0.0),
            trial=images,
            quick=Tier(works=_images_works(["digits"], even), seeds=5),
            full=Tier(works=_images_works(["digits", "mnist"], even), seeds=5, timeout=900),
        )
        for name, words, even in (
            ("even-labels", "as many for each class", True),
            ("random-labels", "drawn at random", False),
        )
    ),
    Claim(
        **_COMMON,
        name="real-tables",
        statement=(
            "On UCI regression tables with twice as many labels as features, linear regression on "
            "factors of the unlabelled rows has less squared error than tuned ridge regression on "
            "the labelled ones."
        ),
        metric="mean squared error, in variances of the target",
        ours=PRETRAINED,
        contenders=(ALONE,),
        effect=Effect("ratio", 1.0),
        trial=tables,
        full=Tier(
            works=[
                {"data": f"uci/{name}"}
                for name in (
                    "concrete",
                    "energy",
                    "kin8nm",
                    "power-plant",
                    "protein-tertiary-structure",
                    "california-housing",
                )
            ],
            seeds=20,
            timeout=300,
        ),
    ),
)

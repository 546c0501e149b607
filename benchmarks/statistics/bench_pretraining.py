"""Pretraining beside scikit-learn's semi-supervised learners, and its factor model beside theirs.

`python -m pytest benchmarks/statistics/bench_pretraining.py -o python_files='bench_*.py'`
"""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from paperworks.statistics import FactorModel, MixtureModel, PretrainedERM

SIZES = [1_000, 4_000, 16_000]


def clusters(m, n=40, seed=0):
    """Ten clusters in 20 dimensions, two classes, n rows labelled and the others -1."""
    rng = np.random.default_rng(seed)
    means = 4.5 / np.sqrt(2) * np.linalg.qr(rng.normal(size=(20, 20)))[0][:10]
    z = rng.integers(10, size=m)
    X, y = means[z] + rng.normal(size=(m, 20)), z % 2
    return X, np.where(np.arange(m) < n, y, -1), y


@pytest.mark.parametrize("m", SIZES)
@pytest.mark.parametrize(
    ("contender", "model"),
    [
        (
            "PretrainedERM(MixtureModel(10))",
            PretrainedERM(MixtureModel(10, random_state=0)),
        ),
        (
            "SelfTrainingClassifier(LogisticRegression)",
            SelfTrainingClassifier(LogisticRegression()),
        ),
        (
            "LabelSpreading(knn)",
            LabelSpreading(kernel="knn", n_neighbors=10, max_iter=100),
        ),
    ],
    ids=["ours", "self-training", "label-spreading"],
)
def test_semi_supervised_classifiers(race, m, contender, model):
    X, marked, y = clusters(m)
    race(
        lambda: model.fit(X, marked),
        group=f"ten clusters, two classes, 40 labels, m={m} d=20",
        contender=contender,
        ours=isinstance(model, PretrainedERM),
        rounds=3 if m < 10_000 else 1,
        note=lambda fitted: (
            f"error {np.mean(fitted.predict(X[marked == -1]) != y[marked == -1]):.4f}"
        ),
    )


@pytest.mark.parametrize("m", [2_000, 20_000, 100_000])
@pytest.mark.parametrize(
    ("contender", "model"),
    [
        ("FactorModel(5)", FactorModel(5)),
        ("PCA(5, full)", PCA(5, svd_solver="covariance_eigh")),
        ("FactorAnalysis(5)", FactorAnalysis(5)),
    ],
    ids=["ours", "pca", "factor-analysis"],
)
def test_factor_models(race, m, contender, model):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(m, 5)) @ rng.normal(size=(5, 50)) + rng.normal(size=(m, 50))
    race(
        lambda: model.fit(X),
        group=f"five factors, m={m} d=50",
        contender=contender,
        ours=isinstance(model, FactorModel),
        note=lambda fitted: f"mean log-likelihood {fitted.score(X):.6f}",
    )

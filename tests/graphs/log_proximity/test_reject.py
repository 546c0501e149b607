"""Reject curves against scikit-learn's ROC and a count by hand."""

from __future__ import annotations

import numpy as np
import pytest
from graphs_small import planted
from sklearn.metrics import roc_auc_score, roc_curve

from paperworks.graphs import GraphProximity, reject_curve


def pairs(D, labels):
    i, j = np.triu_indices(len(D), 1)
    return D[i, j], labels[i] == labels[j]


@pytest.mark.parametrize("ties", [False, True])
def test_it_is_the_roc_of_pairs(ties):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, size=30)
    D = rng.random((30, 30)) + (labels[:, None] != labels) * 0.3
    D = np.round(D + D.T, 1) if ties else D + D.T
    curve = reject_curve(D, labels)
    values, same = pairs(D, labels)
    assert curve.area == pytest.approx(roc_auc_score(same, -values))
    between, within, _ = roc_curve(same, -values, drop_intermediate=False)
    np.testing.assert_allclose(curve.between, between)
    np.testing.assert_allclose(curve.within, within)
    for threshold in (0.5, 1.0, 1.4):
        x = (values <= threshold)[~same].mean()
        following = values[~same & (values > threshold)].min()
        assert curve.at(x) == pytest.approx((values[same] < following).mean())


def test_increasing_functions_and_names_change_nothing():
    A, labels = planted(60, 3, 0.4, 0.1, 1)
    D = GraphProximity(A).distance("log-comm", 0.5)
    curve = reject_curve(D, labels)
    assert curve.area > 0.8
    root = reject_curve(np.sqrt(D), np.array(["x", "y", "z"])[labels])
    np.testing.assert_array_equal(curve.within, root.within)
    far = D.copy()
    far[far == far.max()] = np.inf
    assert reject_curve(far, labels).area == curve.area


def test_bad_input():
    D = np.ones((3, 3))
    with pytest.raises(ValueError, match=r"got shapes \(3, 3\) and \(2,\)"):
        reject_curve(D, [0, 1])
    with pytest.raises(ValueError, match="only pairs within a class"):
        reject_curve(D, [0, 0, 0])
    with pytest.raises(ValueError, match="only pairs between classes"):
        reject_curve(D, [0, 1, 2])
    with pytest.raises(ValueError, match="got 1 of them"):
        reject_curve([[0, np.nan, 1], [1, 0, 1], [1, 1, 0]], [0, 0, 1])
    with pytest.raises(ValueError, match=r"symmetric, got a difference of 1\.0"):
        reject_curve([[0, 2, 1], [1, 0, 1], [1, 1, 0]], [0, 0, 1])

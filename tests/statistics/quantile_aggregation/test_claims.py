"""What the claims rest on: splits, levels, slack."""

from __future__ import annotations

import os

import numpy as np
import pytest

from paperworks.claims import quantile_aggregation as claims


def test_splits_are_disjoint_random_and_of_the_stated_size():
    X, _, X_test, y_test = claims.load("diabetes", 0)
    assert (len(X), len(X_test)) == (354, 88)
    rows = {tuple(row) for row in X}
    assert not any(tuple(row) in rows for row in X_test)
    assert not np.array_equal(y_test, claims.load("diabetes", 1)[3])


@pytest.mark.skipif("PAPERWORKS_DATA" not in os.environ, reason="needs PAPERWORKS_DATA")
def test_the_eight_sets_are_there():
    assert len(set(claims.UCI)) == 8
    for name in claims.UCI:
        X, y, _, y_test = claims.load(name, 0)
        assert 400 <= len(X) == len(y) <= 1000
        assert len(y_test) <= 2000
        assert np.isfinite(X).all()
        assert np.isfinite(y).all()


def test_levels_have_the_mirrors_that_the_score_needs():
    for m in (5, 9):
        levels = claims.grid(m)
        assert len(levels) == m
        np.testing.assert_allclose(levels + levels[::-1], 1)


def test_every_contender_of_ours_is_named_once():
    lower = claims.CLAIMS[0]
    assert lower.contenders == (*claims.SINGLE, claims.AVERAGE, *claims.GLOBAL)
    assert len(set(lower.contenders)) == 9

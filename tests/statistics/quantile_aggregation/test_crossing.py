"""Operators and penalty: the theorem that they never harm, SciPy, loops, finite differences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import isotonic_regression

from paperworks.statistics import uncross
from paperworks.statistics.quantile_aggregation.crossing import (
    OPERATORS,
    crossing_penalty,
    margins,
    uncross_tensor,
)

numbers = st.floats(-100, 100, allow_nan=False)
rows = st.integers(1, 8).flatmap(lambda m: arrays(float, (3, m), elements=numbers))


def pinball_sum(y, q, levels):
    """Summed over the levels of one row, from the definition."""
    return sum(t * (y - v) if y >= v else (1 - t) * (v - y) for t, v in zip(levels, q, strict=True))


@settings(deadline=None)  # the first call compiles
@given(rows, numbers, st.data())
@pytest.mark.parametrize("how", ["sort", "isotonic"])
def test_neither_sorting_nor_isotonic_regression_ever_harms(how, q, y, data):
    """Proposition 2, row by row, for any levels and any y."""
    m = q.shape[1]
    levels = sorted(data.draw(st.lists(st.floats(0.001, 0.999), min_size=m, max_size=m)))
    for before, after in zip(q, uncross(q, how), strict=True):
        assert pinball_sum(y, after, levels) <= pinball_sum(y, before, levels) + 1e-9


def test_sorting_helps_strictly_where_y_lies_between_crossed_quantiles():
    levels, q = [0.25, 0.75], np.array([[2.0, 0.0]])
    assert pinball_sum(1.0, uncross(q)[0], levels) < pinball_sum(1.0, q[0], levels)


def test_the_sweep_can_harm():
    """So that its page may say that it comes without the guarantee."""
    levels, q, y = [0.1, 0.5, 0.9], np.array([[5.0, 0.0, 0.0]]), 5.0
    assert pinball_sum(y, uncross(q, "minmax")[0], levels) > pinball_sum(y, q[0], levels)


@settings(deadline=None)  # the first call compiles
@given(rows)
def test_isotonic_regression_is_scipys(q):
    theirs = np.array([isotonic_regression(row).x for row in q])
    np.testing.assert_allclose(uncross(q, "isotonic"), theirs, atol=1e-9)


@settings(deadline=None)  # the first call compiles
@given(rows)
def test_the_sweep_goes_outwards_from_the_middle(q):
    expected = q.copy()
    m = q.shape[1]
    for row in expected:
        for j in range(m // 2 + 1, m):
            row[j] = max(row[j], row[j - 1])
        for j in range(m // 2 - 1, -1, -1):
            row[j] = min(row[j], row[j + 1])
    np.testing.assert_array_equal(uncross(q, "minmax"), expected)


@settings(deadline=None)  # the first call compiles
@given(rows)
@pytest.mark.parametrize("how", OPERATORS)
def test_rows_come_out_in_order_and_ordered_ones_unchanged(how, q):
    found = uncross(q, how)
    assert (np.diff(found, axis=1) >= 0).all()
    np.testing.assert_array_equal(uncross(found, how), found)
    given_tensor = uncross_tensor(torch.from_numpy(q), how).numpy()
    np.testing.assert_allclose(given_tensor, found, atol=1e-9)


@pytest.mark.parametrize("how", OPERATORS)
def test_derivatives_are_those_of_finite_differences(how):
    rng = np.random.default_rng(0)
    q = torch.from_numpy(rng.normal(size=(5, 6))).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: uncross_tensor(t, how), (q,))


def test_float32_stays_float32():
    for how in OPERATORS:
        assert uncross_tensor(torch.tensor([[1.0, 0.0]]), how).dtype == torch.float32


def test_the_penalty_counts_every_pair():
    rng = np.random.default_rng(0)
    q, gaps = rng.normal(size=(4, 5)), rng.uniform(size=(5, 5))
    pairs = list(itertools.combinations(range(5), 2))
    expected = np.mean([max(0, row[s] - row[t] + gaps[s, t]) for row in q for s, t in pairs])
    found = crossing_penalty(torch.from_numpy(q), torch.from_numpy(gaps))
    assert float(found) == pytest.approx(expected)


def test_the_penalty_ends_where_the_margins_are_kept():
    q = torch.tensor([[0.0, 1.0, 2.0]])
    assert float(crossing_penalty(q, torch.full((3, 3), 0.99))) == 0
    assert float(crossing_penalty(q, torch.full((3, 3), 1.01))) > 0
    assert float(crossing_penalty(q[:, :1], torch.zeros(1, 1))) == 0


def test_adaptive_margins_follow_the_residuals():
    levels = np.array([0.1, 0.5, 0.9])
    residuals = np.random.default_rng(0).exponential(size=2000)
    found = margins(levels, 0.1, residuals)
    quantiles = np.quantile(residuals, levels)
    for s, t in itertools.combinations(range(3), 2):
        assert found[s, t] == pytest.approx(0.1 * (quantiles[t] - quantiles[s]))
    assert found[1, 2] > 2 * found[0, 1]  # skewed to the right
    np.testing.assert_array_equal(margins(levels, 0.3), np.full((3, 3), 0.3))


@pytest.mark.parametrize(
    ("q", "how", "words"),
    [
        ([[1.0]], "sorted", "one of sort, isotonic, minmax, got 'sorted'"),
        ([1.0, 2.0], "sort", "a row for each prediction"),
        ([[np.nan, 1.0]], "sort", r"nan at \(0, 0\)"),
    ],
)
def test_bad_input_is_refused(q, how, words):
    with pytest.raises(ValueError, match=words):
        uncross(q, how)


def test_what_is_given_is_left_alone():
    q = np.array([[2.0, 1.0]])
    for how in OPERATORS:
        uncross(q, how)
    np.testing.assert_array_equal(q, [[2.0, 1.0]])

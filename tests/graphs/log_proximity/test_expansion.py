"""Expansions over sparse products against dense functions of matrices."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from graphs_small import path, planted, random_graph

from paperworks.graphs import GraphProximity
from paperworks.graphs.log_proximity import MEASURES, expansion

BLOCKS = sorted(name for name, measure in MEASURES.items() if measure.in_blocks)


@pytest.mark.parametrize("low", [-3.0, 0.0])
def test_chebyshev_is_the_function_within_its_bound(low):
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    values = rng.uniform(low, 2.0, size=40)
    M, E = (Q * values) @ Q.T, np.eye(40)[:, :7]
    for f in (np.exp, lambda x: 1 / (2.05 - x), np.cos, lambda x: x**2):
        for tol in (1e-4, 1e-13):
            found, bound = expansion.chebyshev(sp.csr_array(M), f, low, 2.0, E, tol=tol)
            exact = ((Q * f(values)) @ Q.T)[:, :7]
            assert np.abs(found - exact).max() <= bound
            assert bound < 1e4 * tol


def test_chebyshev_takes_few_terms_and_says_when_it_cannot():
    """exp on [-r, r] takes some r + 10 log(r) terms, a pole at distance e some 1 / sqrt(e)."""
    few = len(expansion.chebyshev_coefficients(lambda x: np.exp(x - 100), -100, 100, 1e-13))
    assert 60 < few < 120
    near = [
        len(expansion.chebyshev_coefficients(lambda x, e=e: 1 / (1 + e - x), -1, 1, 1e-10))
        for e in (1e-2, 1e-4)
    ]
    assert 7 < near[1] / near[0] < 13
    with pytest.raises(ValueError, match="no Chebyshev expansion of degree"):
        expansion.chebyshev_coefficients(lambda x: 1 / (1 + 1e-12 - x), -1, 1, 1e-13)


def test_series_keep_every_entry():
    A = sp.csr_array(path(40))
    E = np.eye(40)[:, [0, 20]]
    N = A * (0.3 / 2)
    found = expansion.geometric_series(N, E, 0.3)
    # The inverse of I - q A on a path, from the recurrence of its determinants.
    q = 0.15
    theta = [1.0, 1.0]
    for _ in range(39):
        theta.append(theta[-1] - q**2 * theta[-2])
    theta = np.array(theta)  # theta[i]: leading minor of size i
    i = np.arange(1, 41)
    for column, j in enumerate((1, 21)):
        low, high = np.minimum(i, j), np.maximum(i, j)
        exact = q ** (high - low) * theta[low - 1] * theta[40 - high] / theta[40]
        np.testing.assert_allclose(found[:, column], exact, rtol=1e-9)
    assert found.min() < 1e-30
    H, shift = expansion.exponential_series(A, 60.0, E, 2.0)
    exact = scipy.linalg.expm(60.0 * path(40))[:, [0, 20]]
    np.testing.assert_allclose(np.log(H) + shift, np.log(exact), atol=1e-9)


def test_unreachable_entries_are_refused():
    apart = sp.csr_array(np.kron(np.eye(2), path(3)))
    with pytest.raises(expansion.FloatRangeError, match="3 of 6 entries"):
        expansion.geometric_series(apart * 0.1, np.eye(6)[:, :1], 0.15)


@pytest.mark.parametrize("p", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("name", BLOCKS)
def test_columns_are_the_kernels(name, p):
    A = random_graph(np.random.default_rng(1), 120, 0.05)
    nodes = np.array([5, 0, 119, 60])
    proximity = GraphProximity(A)
    found = GraphProximity(A).columns(name, nodes, p)
    if name in ("sp", "fe"):  # centred, they agree
        full = proximity.kernel(name, p)[:, nodes]
        gap = found - full
        gap = gap - gap.mean(axis=0)
        assert np.ptp(gap, axis=1).max() < 1e-7 * np.abs(full).max()
        return
    full = proximity.kernel(name, p)[:, nodes]
    np.testing.assert_allclose(found, full, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", ["log-comm", "log-heat", "log-walk", "log-forest", "log-ppr"])
def test_both_roads_to_a_logarithm_agree(name, monkeypatch):
    A, _ = planted(150, 3, 0.3, 0.1, 0)
    nodes = np.arange(0, 150, 7)
    proximity = GraphProximity(A)
    called = []
    series = GraphProximity._log_series

    def watched(self, *arguments):
        called.append(1)
        return series(self, *arguments)

    monkeypatch.setattr(GraphProximity, "_log_series", watched)
    one = proximity.columns(name, nodes, 0.6)
    assert not called  # dense enough for Chebyshev
    value = proximity.native(name, 0.6)
    block = np.eye(150)[:, nodes]
    two = series(proximity, name.removeprefix("log-"), value, block, 1e-8)
    np.testing.assert_allclose(one, two, atol=1e-7)


def test_large_graphs_need_no_square():
    """20,000 nodes; a dense kernel would take 3.2 GB."""
    n = 20_000
    rng = np.random.default_rng(2)
    ring = np.arange(n)
    far = rng.integers(0, n, size=(2, n))
    edges = (np.concatenate([ring, far[0]]), np.concatenate([np.roll(ring, -1), far[1]]))
    from paperworks.graphs import as_graph

    proximity = GraphProximity(as_graph(edges, duplicates="max"))
    tracemalloc.start()
    C = proximity.columns("log-comm", np.arange(4), 0.4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.isfinite(C).all()
    assert peak < 60e6


def test_bad_columns():
    proximity = GraphProximity(path(6))
    with pytest.raises(ValueError, match=r"'scct' has no columns without the whole matrix"):
        proximity.columns("scct", np.array([0]), 0.5)
    with pytest.raises(ValueError, match=r"nodes must lie in 0..5, got 6"):
        proximity.columns("comm", np.array([6]), 0.5)
    with pytest.raises(ValueError, match="nodes must be a list of positions"):
        proximity.columns("comm", np.array([0.5]), 0.5)

"""Cutpoint additivity: d(i, j) + d(j, k) = d(i, k) exactly where every path i..k runs through j.

Chebotarev (arXiv 1103.2059, 1305.7514) proves it for the logarithms of kernels with the transition
property (walk, forest, personalised PageRank), and it holds for shortest paths, resistance and free
energy. Randomised shortest paths have it too: a walk's cost is that to the cutpoint and that from
there. Elsewhere the left side is larger (for randomised shortest paths it need not be). No other
measure here has it.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from graphs_small import path, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st

from paperworks.graphs import GraphProximity
from paperworks.graphs.log_proximity import MEASURES

ADDITIVE = sorted(name for name, measure in MEASURES.items() if measure.additive)
OTHERS = sorted(set(MEASURES) - set(ADDITIVE))


def glued(rng, a, b, weighted=True):
    """Two random connected graphs that share one node, number a - 1."""
    n = a + b - 1
    A = np.zeros((n, n))
    A[:a, :a] += random_graph(rng, a, 0.5, weighted, loops=weighted)
    A[a - 1 :, a - 1 :] += random_graph(rng, b, 0.5, weighted)
    return sp.csr_array(A)  # an array of three nodes might be edges


def test_which_measures_say_they_are_additive():
    assert ADDITIVE == ["ct", "fe", "log-forest", "log-ppr", "log-walk", "rsp", "sp", "sp-ct"]


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    name=st.sampled_from(ADDITIVE),
    p=st.floats(0.02, 0.98),
    sizes=st.tuples(st.integers(2, 8), st.integers(2, 8)),
    weighted=st.booleans(),
)
def test_distances_add_up_over_a_cutpoint(seed, name, p, sizes, weighted):
    a, b = sizes
    A = glued(np.random.default_rng(seed), a, b, weighted)
    D = GraphProximity(A).distance(name, p)
    cut = a - 1
    left, right = np.arange(cut), np.arange(a, a + b - 1)
    through = D[left, cut][:, None] + D[cut, right]
    np.testing.assert_allclose(D[np.ix_(left, right)], through, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    name=st.sampled_from([name for name in ADDITIVE if name not in ("sp", "sp-ct", "rsp")]),
    p=st.floats(0.1, 0.9),
)
def test_and_nowhere_else(seed, name, p):
    """In a complete graph no node is a cutpoint, so that every triangle is strict."""
    A = random_graph(np.random.default_rng(seed), 6, share=1.0)
    D = GraphProximity(A).distance(name, p)
    slack = D[:, :, None] + D[None] - D[:, None, :]  # i j k: d(i,j) + d(j,k) - d(i,k)
    i, j, k = np.indices(slack.shape)
    apart = (i != j) & (j != k) & (i != k)
    assert slack[apart].min() > 1e-6 * D.max()


@pytest.mark.parametrize("name", OTHERS)
def test_the_others_are_not_additive(name):
    worst = 0.0
    for p in (0.2, 0.5, 0.8):
        D = GraphProximity(path(5)).distance(name, p)
        worst = max(worst, abs(D[0, 2] + D[2, 4] - D[0, 4]) / D[0, 4])
    assert worst > 1e-3

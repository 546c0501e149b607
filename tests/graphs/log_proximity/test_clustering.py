"""Clusterings against brute force, scikit-learn and networkx, and the estimator's manners."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from graphs_small import path, planted, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score as ari
from sklearn.utils.estimator_checks import check_estimator

from paperworks.graphs import GraphProximity, ProximityClustering, as_graph
from paperworks.graphs.log_proximity.clustering import modularity, ward
from paperworks.graphs.log_proximity.embedding import embed, embed_columns

A120, CLASSES = planted(120, 3, 0.35, 0.05, 0)


def same(a, b):
    return ari(a, b) == 1.0


def slow_ward(K, k):
    """Kernel Ward as the authors write it: the cheapest of all merges, by cluster centres."""
    n = len(K)
    clusters = [[i] for i in range(n)]
    while len(clusters) > k:
        best = None
        for a, b in itertools.combinations(range(len(clusters)), 2):
            h = np.zeros(n)
            h[clusters[a]] += 1 / len(clusters[a])
            h[clusters[b]] -= 1 / len(clusters[b])
            na, nb = len(clusters[a]), len(clusters[b])
            cost = na * nb / (na + nb) * (h @ K @ h)
            if best is None or cost < best[0]:
                best = (cost, a, b)
        _, a, b = best
        clusters[a] += clusters.pop(b)
    labels = np.empty(n, dtype=int)
    for c, members in enumerate(clusters):
        labels[members] = c
    return labels


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    name=st.sampled_from(["comm", "log-comm", "log-heat", "log-walk", "fe", "sct"]),
    k=st.integers(1, 6),
    p=st.floats(0.1, 0.9),
)
def test_ward_is_the_authors_kernel_ward(seed, name, k, p):
    proximity = GraphProximity(random_graph(np.random.default_rng(seed), 14))
    labels = ward(proximity.distance(name, p), k)
    assert len(np.unique(labels)) == k
    assert same(labels, slow_ward(proximity._blind_kernel(name, p), k))


def test_ward_cuts_where_heights_tie():
    D = 1 - np.eye(6)  # all merges of singles cost the same
    for k in range(1, 7):
        labels = ward(D, k)
        assert sorted(np.unique(labels)) == list(range(k))
        assert labels[0] == 0


@pytest.mark.parametrize("name", ["heat", "log-comm"])
def test_embedded_points_have_the_kernels_distances(name):
    proximity = GraphProximity(A120)
    K = proximity.kernel(name, 0.4)
    points, values = embed(K)
    gram = K - K.mean(0)
    gram = gram - gram.mean(1, keepdims=True)
    exact = np.linalg.eigvalsh(gram)[::-1]
    np.testing.assert_allclose(values, exact[: len(values)], rtol=1e-8)
    if name == "heat":  # positive semidefinite: nothing is left out
        distances = ((points[:, None] - points) ** 2).sum(-1)
        np.testing.assert_allclose(distances / 2, proximity.distance(name, 0.4), atol=1e-9)
    few, _ = embed(K, 2)
    np.testing.assert_allclose(np.abs(few), np.abs(points[:, :2]), atol=1e-8)


def test_all_nodes_as_landmarks_are_the_whole_kernel():
    K = GraphProximity(A120).kernel("log-comm", 0.4)
    order = np.random.default_rng(0).permutation(120)
    some = embed_columns(K[:, order], order, 10)
    whole, _ = embed(K, 10)
    np.testing.assert_allclose(np.abs(some), np.abs(whole), atol=1e-8)
    # Numbers on rows and columns change nothing.
    shifted = K[:, order] + np.arange(120)[:, None] + np.arange(120)
    shifted = shifted + 0.0
    rows = np.arange(120)[order]
    K2 = K + np.arange(120)[:, None] + np.arange(120)
    again = embed_columns(K2[:, order], rows, 10)
    np.testing.assert_allclose(np.abs(again), np.abs(some), atol=1e-7)


@pytest.mark.parametrize("clusterer", ["ward", "kernel-kmeans", "spectral"])
@pytest.mark.parametrize("measure", ["comm", "log-comm", "log-heat", "log-walk", "fe", "ct"])
def test_plain_classes_are_found(measure, clusterer):
    model = ProximityClustering(
        3, measure=measure, clusterer=clusterer, n_parameters=3, n_init=3, random_state=0
    )
    labels = model.fit_predict(A120)
    # Commute times and shortest paths tell little on dense graphs, which is known.
    assert ari(labels, CLASSES) > (0.85 if measure != "ct" else 0.3)
    assert model.landmarks_ is None


def test_kernel_kmeans_is_kmeans_on_the_kernels_points():
    model = ProximityClustering(
        3, measure="heat", clusterer="kernel-kmeans", parameter=0.4, random_state=3
    ).fit(A120)
    K = GraphProximity(A120).kernel("heat", 0.4)
    root = np.linalg.cholesky(K)
    best = KMeans(3, n_init=10, random_state=0).fit(root)
    assert same(model.labels_, best.labels_)


def test_the_parameter_is_chosen_by_modularity_as_a_plain_loop_would():
    model = ProximityClustering(3, n_parameters=5).fit(A120)
    np.testing.assert_allclose(model.parameters_, np.arange(1, 6) / 6)
    graph = nx.from_numpy_array(A120)
    for p, score in zip(model.parameters_, model.modularities_, strict=True):
        labels = ProximityClustering(3, parameter=p).fit_predict(A120)
        parts = [set(np.flatnonzero(labels == c)) for c in range(3)]
        assert score == pytest.approx(nx.community.modularity(graph, parts))
    best = model.modularities_.argmax()
    assert model.parameter_ == model.parameters_[best]
    assert model.modularity_ == model.modularities_[best]
    assert model.native_parameter_ == pytest.approx(0.5 * model.parameter_ / (1 - model.parameter_))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_modularity_is_networkx(seed):
    rng = np.random.default_rng(seed)
    A = random_graph(rng, 12)
    labels = rng.integers(0, 3, size=12)
    graph = nx.from_numpy_array(A)
    parts = [set(np.flatnonzero(labels == c).tolist()) for c in np.unique(labels)]
    expected = nx.community.modularity(graph, parts)
    assert modularity(as_graph(A), labels) == pytest.approx(expected)


def test_renumbered_nodes_get_the_same_clusters():
    order = np.random.default_rng(1).permutation(120)
    one = ProximityClustering(3, parameter=0.4).fit_predict(A120)
    two = ProximityClustering(3, parameter=0.4).fit_predict(A120[np.ix_(order, order)])
    assert same(one[order], two)


def test_graphs_in_any_form_and_names():
    graph = nx.relabel_nodes(nx.karate_club_graph(), lambda i: f"member {i}")
    model = ProximityClustering(2, weight=None).fit(graph)
    assert model.nodes_[0] == "member 0"
    members = model.clusters()
    assert sum(map(len, members)) == 34
    assert "member 33" in members[model.labels_[33]]
    A = nx.to_scipy_sparse_array(graph, weight=None)
    np.testing.assert_array_equal(ProximityClustering(2).fit_predict(A), model.labels_)
    club = [graph.nodes[name]["club"] for name in graph]
    assert ari(club, model.labels_) > 0.6


@pytest.mark.parametrize("clusterer", ["ward", "kernel-kmeans", "spectral"])
@pytest.mark.parametrize("measure", ["log-comm", "log-walk", "comm", "fe"])
def test_landmarks_find_what_the_whole_kernel_finds(measure, clusterer):
    A, classes = planted(600, 4, 0.12, 0.01, 1)
    A = sp.csr_array(A)
    options = {"measure": measure, "clusterer": clusterer, "n_parameters": 2, "n_init": 3}
    some = ProximityClustering(4, landmarks=150, random_state=0, **options).fit(A)
    assert len(np.unique(some.landmarks_)) == 150
    assert ari(some.labels_, classes) > 0.9


def test_landmarks_bear_a_leading_vector_that_takes_over():
    """At a large t the kernel is one number for each node, and all else lies far below it."""
    A, classes = planted(400, 4, 0.2, 0.01, 3)
    model = ProximityClustering(
        4, parameter=0.75, landmarks=100, clusterer="kernel-kmeans", random_state=0
    )
    assert ari(model.fit_predict(A), classes) > 0.95


def test_large_graphs_take_landmarks_by_themselves():
    A, classes = planted(1100, 5, 0.06, 0.004, 2)
    model = ProximityClustering(5, parameter=0.3, random_state=0).fit(sp.csr_array(A))
    assert len(model.landmarks_) == 200
    assert ari(model.labels_, classes) > 0.9
    again = clone(model).fit(sp.csr_array(A))
    np.testing.assert_array_equal(model.labels_, again.labels_)


def test_parameters_that_underflow_are_passed_over():
    """A path's far ends are out of a float's reach at small t, not at larger ones."""
    model = ProximityClustering(4, n_parameters=9).fit(path(200))
    assert np.isnan(model.modularities_[0])
    assert np.isfinite(model.modularity_)
    assert len(np.unique(model.labels_)) == 4
    with pytest.raises(ValueError, match="smallest float"):
        ProximityClustering(4, parameter=0.01).fit(path(400))


def test_parameters_that_overflow_are_passed_over():
    A, classes = planted(120, 2, 0.9, 0.4, 0)
    A = 3 * A
    model = ProximityClustering(2, measure="comm").fit(A)
    assert np.isnan(model.modularities_[-1])
    assert ari(model.labels_, classes) > 0.9
    with pytest.raises(ValueError, match="overflows"):
        ProximityClustering(2, measure="comm", parameter=0.95).fit(A)


def test_small_and_even_graphs():
    assert ProximityClustering(1).fit_predict(nx.path_graph(4)).tolist() == [0, 0, 0, 0]
    assert len(set(ProximityClustering(4).fit_predict(nx.path_graph(4)))) == 4
    one = nx.Graph()
    one.add_node("alone")
    assert ProximityClustering(1, measure="comm").fit_predict(one).tolist() == [0]
    for clusterer in ("ward", "kernel-kmeans", "spectral"):
        model = ProximityClustering(3, clusterer=clusterer, random_state=0)
        assert len(set(model.fit_predict(nx.complete_graph(6)))) == 3


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_clusters": 0}, r"n_clusters must be an integer >= 1, got 0"),
        ({"n_clusters": 2.0}, r"n_clusters must be an integer >= 1, got 2.0"),
        ({"n_clusters": 500}, r"n_clusters must be <= the 120 nodes, got 500"),
        ({"measure": "louvain"}, r"measure must be one of walk, .*got 'louvain'"),
        ({"clusterer": "kmeans"}, r"clusterer must be one of ward, kernel-kmeans, spectral"),
        ({"parameter": "best"}, r"parameter must be in \(0, 1\) or 'auto', got 'best'"),
        ({"parameter": 1.0}, r"parameter must be in \(0, 1\) or 'auto', got 1.0"),
        ({"parameter": np.nan}, r"parameter must be in \(0, 1\) or 'auto', got nan"),
        ({"n_parameters": 0}, r"n_parameters must be an integer >= 1, got 0"),
        ({"landmarks": 500}, r"landmarks must lie between n_clusters = 8 and the 120 nodes"),
        ({"landmarks": "all"}, r"landmarks must be 'auto', None or an integer, got 'all'"),
        ({"landmarks": 50, "measure": "rsp"}, r"'rsp' needs the whole kernel, 120 x 120"),
        ({"n_init": 0}, r"n_init must be an integer >= 1, got 0"),
    ],
)
def test_bad_settings(parameters, message):
    with pytest.raises(ValueError, match=message):
        ProximityClustering(**parameters).fit(A120)


def test_scikit_learns_checks():
    """Those that pass a table of features are left out: this estimator takes graphs."""
    tables = dict.fromkeys(
        (
            "check_positive_only_tag_during_fit",
            "check_estimators_empty_data_messages",
            "check_estimators_nan_inf",
            "check_estimator_sparse_tag",
            "check_estimator_sparse_array",
            "check_estimator_sparse_matrix",
            "check_clustering",
            "check_fit2d_1feature",
            "check_fit1d",
        ),
        "passes features that are no graph",
    )
    model = ProximityClustering(2, n_parameters=2)
    done = check_estimator(model, expected_failed_checks=tables, on_skip=None)
    assert sum(check["status"] == "passed" for check in done) > 30


def test_bad_graphs():
    with pytest.raises(ValueError, match=r"'log-comm' needs a connected graph, got 2 components"):
        ProximityClustering(2).fit(np.kron(np.eye(2), np.ones((5, 5))))
    with pytest.raises(ValueError, match=r"weights must be >= 0 and finite, got -1.0"):
        ProximityClustering(2).fit(-path(5))
    with pytest.raises(TypeError, match="networkx graph"):
        ProximityClustering(2).fit("karate")

"""Reading graphs: every form says the same, and nothing is lost or guessed in silence."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from paperworks.graphs import WeightedGraph, as_graph

TRIANGLE = np.array([[0, 2, 0, 0], [2, 0, 0.5, 0], [0, 0.5, 1, 0], [0, 0, 0, 0.0]])


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(4, 12))
def test_every_form_of_one_graph_reads_alike(seed, n):
    rng = np.random.default_rng(seed)
    A = np.triu(rng.integers(0, 3, size=(n, n)) * rng.uniform(0.1, 2, size=(n, n)))
    A = A + np.triu(A, 1).T
    rows, cols = np.nonzero(np.triu(A))
    forms = {
        "dense": A,
        "list": A.tolist(),
        "csr": sp.csr_array(A),
        "coo": sp.coo_matrix(A),
        "networkx": nx.from_numpy_array(A),
        "read before": as_graph(A),
    }
    for name, form in forms.items():
        read = as_graph(form)
        np.testing.assert_array_equal(read.adjacency.toarray(), A, err_msg=name)
        assert read.adjacency.dtype == np.float64
        assert read.n_edges == len(rows), name
        np.testing.assert_allclose(read.degrees, A.sum(axis=1))
    # Edges in any order and either orientation.
    order = rng.permutation(len(rows))
    turned = rng.random(len(rows)) < 0.5
    a, b = np.where(turned, cols, rows)[order], np.where(turned, rows, cols)[order]
    weights = A[rows, cols][order]
    edges = as_graph((a, b, weights), n_nodes=n)
    np.testing.assert_array_equal(edges.adjacency.toarray(), A)
    if len(rows) != 3:
        table = as_graph(np.column_stack([a, b, weights]), n_nodes=n)
        np.testing.assert_array_equal(table.adjacency.toarray(), A)


def test_ids_with_gaps_and_names():
    read = as_graph((np.array([7, 1000, 7]), np.array([1000, -3, 7])))
    assert read.nodes.tolist() == [-3, 7, 1000]
    np.testing.assert_array_equal(read.adjacency.toarray(), [[0, 0, 1], [0, 1, 1], [1, 1, 0]])
    assert as_graph((["b", "c"], ["a", "a"])).nodes.tolist() == ["a", "b", "c"]
    mixed = nx.Graph([("a", (1, 2)), ((1, 2), 7)])
    assert as_graph(mixed).nodes.tolist() == ["a", (1, 2), 7]


def test_isolated_nodes_stay():
    assert as_graph(([0], [2]), n_nodes=5).n_nodes == 5
    graph = nx.Graph([(0, 1)])
    graph.add_node(9)
    assert as_graph(graph).nodes.tolist() == [0, 1, 9]
    assert as_graph(TRIANGLE).n_components == 2


def test_weights_of_networkx():
    graph = nx.Graph()
    graph.add_edge(0, 1, weight=3.0, other=5)
    graph.add_edge(1, 2)
    assert as_graph(graph).adjacency[[0, 1], [1, 2]].tolist() == [3.0, 1.0]
    assert as_graph(graph, weight="other").adjacency[0, 1] == 5.0
    assert as_graph(graph, weight=None).adjacency[0, 1] == 1.0
    multi = nx.MultiGraph([(0, 1), (0, 1)])
    assert as_graph(multi).adjacency[0, 1] == 2.0


def test_edges_given_twice():
    edges = ([0, 1, 1, 2, 2], [1, 0, 2, 2, 2], [1.0, 4.0, 1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match=r"edge \(0, 1\) is given twice.*2 row.*duplicates='sum'"):
        as_graph(edges)
    assert as_graph(edges, duplicates="sum").adjacency[0, 1] == 5.0
    assert as_graph(edges, duplicates="max").adjacency[1, 0] == 4.0
    assert as_graph(edges, duplicates="sum").adjacency[2, 2] == 2.0
    directed = as_graph(edges, duplicates="max", directed=True)
    assert directed.adjacency[[0, 1], [1, 0]].tolist() == [1.0, 4.0]


def test_direction_is_kept_where_asked():
    graph = nx.DiGraph([(0, 1), (2, 1)])
    read = as_graph(graph, directed=True)
    assert read.directed
    assert read.n_edges == 2
    assert read.n_components == 1
    np.testing.assert_array_equal(read.adjacency.toarray(), [[0, 1, 0], [0, 0, 0], [0, 1, 0]])
    with pytest.raises(ValueError, match="needs an undirected one"):
        as_graph(read)


def test_components_and_subgraphs():
    graph = as_graph(nx.disjoint_union(nx.path_graph(3), nx.cycle_graph(5)))
    assert graph.n_components == 2
    largest = graph.largest_component()
    assert isinstance(largest, WeightedGraph)
    assert largest.nodes.tolist() == [3, 4, 5, 6, 7]
    assert (largest.degrees == 2).all()


def test_a_matrix_is_copied_and_cleaned():
    rows, cols = np.nonzero(TRIANGLE)
    stored = np.append(TRIANGLE[rows, cols], [0.0, 0.0])
    A = sp.csr_array((stored, (np.append(rows, [0, 3]), np.append(cols, [3, 0]))))
    assert A.nnz == 7
    read = as_graph(A)
    assert read.adjacency.nnz == 5
    read.adjacency.data[:] = 7.0
    assert A[0, 1] == 2.0
    # A computed matrix may differ from its transpose by rounding.
    B = TRIANGLE.copy()
    B[0, 1] += 1e-15
    back = as_graph(B).adjacency
    assert abs(back - back.T).max() == 0


def _weighted(value):
    graph = nx.Graph()
    graph.add_edge("a", "b", weight=value)
    return graph


@pytest.mark.parametrize(
    ("graph", "options", "message"),
    [
        (_weighted(-2.0), {}, r"weights must be >= 0 and finite, got -2.0 on edge \(a, b\)"),
        (_weighted(np.nan), {}, r"got nan on edge \(a, b\)"),
        (_weighted(np.inf), {}, r"got inf on edge"),
        (_weighted("heavy"), {}, r"edge attribute 'weight' must hold numbers"),
        (np.diag([0.0, 0, 0, -1]), {}, r"got -1.0 on edge \(3, 3\)"),
        (np.triu(np.ones((4, 4)), 1), {}, r"symmetric matrix, got 1.0 from 0 to 1 and 0.0 back"),
        (np.ones((4, 5)), {}, r"must be square, got shape \(4, 5\)"),
        (sp.csr_array(np.ones((4, 5))), {}, r"must be square, got shape \(4, 5\)"),
        (np.ones((4, 4)) * 1j, {}, r"Complex data not supported"),
        (sp.csr_array(np.ones((4, 4)) * 1j), {}, r"Complex data not supported"),
        (np.array([[0, 1], [1, 2]]), {}, r"2 x 2 array may be edges or a matrix"),
        (np.ones((3, 3)), {}, r"3 x 3 array may be edges or a matrix"),
        (nx.DiGraph([(0, 1)]), {}, r"pass graph.to_undirected\(\)"),
        (nx.Graph(), {}, r"the graph has no nodes"),
        (([], []), {}, r"node ids must be whole numbers|the graph has no nodes"),
        (([0.5], [1]), {}, r"node ids must be whole numbers or strings, got 0.5"),
        (([0, 1], [1]), {}, r"must be of one length, got shapes \(2,\), \(1,\)"),
        (([0],), {}, r"got 1 parts"),
        (([0], [1], ["x"]), {}, r"weights must be numbers"),
        (([0], [1], [-3]), {}, r"got -3.0 on edge \(0, 1\)"),
        (([0], [5]), {"n_nodes": 3}, r"with n_nodes=3 ids must lie in 0..2"),
        (([0], [-1]), {"n_nodes": 3}, r"with n_nodes=3 ids must lie in 0..2"),
        (np.ones((4, 4)), {"n_nodes": 4}, r"n_nodes=4 is for edge arrays"),
        (([0], [1]), {"duplicates": "min"}, r"duplicates must be 'raise', 'sum' or 'max'"),
    ],
)
def test_bad_graphs_are_refused(graph, options, message):
    with pytest.raises(ValueError, match=message):
        as_graph(graph, **options)


@pytest.mark.parametrize(
    "what", ["karate", 7, None, np.ones(5), [[1, 2], [3]], np.ones((2, 2, 2)), [["a"] * 4] * 4]
)
def test_what_is_no_graph(what):
    with pytest.raises(TypeError, match=r"graph|adjacency matrix must be numeric"):
        as_graph(what)

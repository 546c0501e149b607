"""Queries against dense solves and networkx, and the promise of an error."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from ppr_exact import pagerank, random_graph

from paperworks.graphs import PersonalizedRanks, PowerWalk

DIRECTED = random_graph(120, 500, 1)
WEIGHTED = random_graph(120, 500, 1, weighted=True)


@pytest.fixture(scope="module", params=["plain", "weighted"])
def graph(request: pytest.FixtureRequest):
    return DIRECTED if request.param == "plain" else WEIGHTED


@pytest.fixture(scope="module")
def walk(graph) -> PowerWalk:
    return PowerWalk(graph)


@pytest.mark.parametrize("dangling", ["restart", "stay"])
def test_a_small_error_is_the_exact_vector(graph, walk: PowerWalk, dangling) -> None:
    assert walk.has_dangling
    for source in range(0, 120, 7):
        found = walk.query(source, error=1e-10, dangling=dangling)
        assert found.converged
        start = np.eye(120)[source]
        exact = pagerank(graph, start, dangling=dangling)
        np.testing.assert_allclose(found.vector(), exact, atol=2e-9)


def test_networkx_agrees_on_start_distributions_and_dangling_nodes(graph, walk) -> None:
    G = nx.from_scipy_sparse_array(graph, create_using=nx.DiGraph)
    start = {3: 1.0, 50: 2.5, 99: 0.5}
    theirs = nx.pagerank(G, 0.85, personalization=start, tol=1e-13)
    ours = walk.query(start, error=1e-9)
    np.testing.assert_allclose(ours.vector(), [theirs[v] for v in range(120)], atol=1e-7)
    everywhere = walk.query(np.ones(120), error=1e-9).vector()
    theirs = nx.pagerank(G, 0.85, tol=1e-13)
    np.testing.assert_allclose(everywhere, [theirs[v] for v in range(120)], atol=1e-7)


@pytest.mark.parametrize("dangling", ["restart", "stay"])
@pytest.mark.parametrize("error", [0.05, 0.01, 0.002])
def test_the_error_asked_for_is_kept(graph, error: float, dangling) -> None:
    """Root mean square over seeds and sources, which is what is promised."""
    exact = np.array([pagerank(graph, e, dangling=dangling) for e in np.eye(120)])
    squared, told = [], []
    for seed in range(12):
        found = PowerWalk(graph, seed=seed, walks=32).query_batch(
            np.arange(120), error=error, dangling=dangling
        )
        assert found.converged.all()
        assert (found.error <= error).all()
        vectors = np.array([each.vector() for each in found])
        squared.append(((vectors - exact) ** 2).sum(axis=1))
        told.append(found.error**2)
    # 1,440 vectors: the mean of their squares scatters by well under a tenth.
    assert np.mean(squared) <= 1.1 * error**2
    assert np.mean(squared) <= 1.15 * np.mean(told)
    if dangling == "restart":  # with "stay" the bound has to allow for the worst
        assert np.mean(squared) >= 0.5 * np.mean(told)


def test_no_query_is_biased(graph) -> None:
    """Means over seeds, also of scores that hang on groups taken at random."""
    exact = pagerank(graph, np.eye(120)[5])
    vectors = np.array(
        [PowerWalk(graph, seed=s, walks=32).query(5, error=0.05).vector() for s in range(200)]
    )
    spread = vectors.std(axis=0, ddof=1) / np.sqrt(200)
    off = (vectors.mean(axis=0) - exact)[spread > 0] / spread[spread > 0]
    assert np.abs(off).max() < 4.5
    assert np.mean(off**2) < 1.6  # 120 squared normal deviations


def test_groups_taken_at_random_keep_the_mass() -> None:
    """What thin flow is left out is made up for: all scores add up to 1 as with all groups."""
    A = sp.csr_array(random_graph(2_000, 60_000, 4) + sp.eye_array(2_000))
    walk = PowerWalk(A)
    assert not walk.has_dangling
    coarse = walk.query_batch(np.arange(0, 2_000, 5), error=0.03)
    assert coarse.left.mean() > 0.5
    sums = np.add.reduceat(coarse.scores, coarse.indptr[:-1])
    assert sums.mean() == pytest.approx(1.0, abs=0.004)


def test_the_error_falls_by_the_chance_to_go_on_in_every_round(graph, walk) -> None:
    """The paper's bound in L1: what a round leaves is 1 - c times what was left before."""
    exact = np.array([pagerank(graph, e, dangling="stay") for e in np.eye(120)])
    errors = []
    for rounds in range(8):
        found = walk.query_batch(np.arange(120), rounds=rounds, dangling="stay")
        assert (found.rounds <= rounds).all()
        assert (found.left <= 0.85**rounds + 1e-12).all()
        vectors = np.array([each.vector() for each in found])
        errors.append(np.abs(vectors - exact).sum(axis=1).mean())
    ratios = np.array(errors[1:]) / errors[:-1]
    assert (ratios < 0.85).all()


def test_0_rounds_are_the_fingerprint(walk) -> None:
    found = walk.query(7, rounds=0)
    assert found.rounds == 0
    assert found.left == 1.0
    prints = walk._prints
    first, last = prints.first[7], prints.first[8]
    seen = prints.targets[prints.indptr[first] : prints.indptr[last]]
    assert set(found.rows) == {7, *seen.tolist()}


def test_top_is_the_beginning_of_all(walk) -> None:
    for source in range(0, 120, 11):
        every = walk.query(source)
        few = walk.query(source, top=5)
        np.testing.assert_array_equal(few.rows, every.rows[:5])
        np.testing.assert_array_equal(few.scores, every.scores[:5])
        assert (np.diff(every.scores) <= 0).all()
        assert len(walk.query(source, top=10_000)) == len(every)


@given(
    st.lists(st.sampled_from([0.25, 0.5, 1.0, 2.0]), min_size=1, max_size=40),
    st.integers(1, 45),
    st.randoms(use_true_random=False),
)
@settings(max_examples=150, deadline=None)
def test_largest_is_a_sort(values: list[float], top: int, random) -> None:
    from paperworks.graphs.powerwalk.ranking import largest

    scores = np.array(values)
    touched = list(range(len(values)))
    random.shuffle(touched)
    heap = np.empty(min(top, len(values)), dtype=np.int64)
    largest(np.array(touched, dtype=np.int32), len(values), scores, heap)
    assert heap.tolist() == sorted(touched, key=lambda v: (-scores[v], v))[: heap.size]


def test_batches_give_what_single_queries_give(walk, monkeypatch) -> None:
    sources = np.arange(120).repeat(3)
    seen: list[tuple[int, int]] = []
    for options in ({"top": 4}, {}, {"rounds": 1}):
        whole = walk.query_batch(sources, n_jobs=1, **options)
        monkeypatch.setattr("paperworks.graphs.powerwalk.power._BLOCK", 7)
        monkeypatch.setattr("paperworks.graphs.powerwalk.power._ROOM", 50)
        pieces = walk.query_batch(
            sources, n_jobs=3, progress=lambda *both: seen.append(both), **options
        )
        assert seen[-1] == (360, 360)
        monkeypatch.undo()
        for a, b in zip(whole, pieces, strict=True):
            np.testing.assert_array_equal(a.rows, b.rows)
            np.testing.assert_array_equal(a.scores, b.scores)
            assert (a.error, a.rounds, a.left) == (b.error, b.rounds, b.left)
    one = walk.query(9, top=4)
    np.testing.assert_array_equal(one.scores, walk.query_batch(sources, top=4)[27].scores)


def test_batches_mix_nodes_and_distributions(walk) -> None:
    found = walk.query_batch([3, {3: 2.0}, np.eye(120)[3] * 7, {3: 1, 4: 1}], error=1e-9)
    assert isinstance(found, PersonalizedRanks)
    for other in found[1:3]:
        np.testing.assert_allclose(found[0].vector(), other.vector(), atol=1e-15)
    assert len(found) == 4
    assert len(walk.query_batch([])) == 0
    assert list(walk.query_batch([], top=3)) == []


def test_a_linear_mix_of_sources_is_the_mix_of_their_vectors() -> None:
    """On a graph without dangling vertices, where no mass is lost."""
    ring = nx.cycle_graph(50, create_using=nx.DiGraph)
    ring.add_edges_from((v, (v * v + 3) % 50) for v in range(50))
    walk = PowerWalk(ring)
    mix = walk.query({1: 0.25, 30: 0.75}, error=1e-10).vector()
    parts = walk.query_batch([1, 30], error=1e-10)
    np.testing.assert_allclose(mix, 0.25 * parts[0].vector() + 0.75 * parts[1].vector(), atol=1e-9)


def test_names_of_any_kind_find_their_nodes() -> None:
    grid = nx.grid_2d_graph(4, 4)
    found = PowerWalk(grid).query((1, 1), error=1e-9, top=1)
    assert tuple(found.nodes[0]) == (1, 1)
    letters = nx.relabel_nodes(nx.path_graph(3), {0: "a", 1: "b", 2: "c"})
    assert PowerWalk(letters).query("b", top=1).nodes.tolist() == ["b"]
    gaps = PowerWalk(([100, 7, 10**12], [7, 10**12, 100]))
    assert gaps.query(10**12, top=1).nodes.tolist() == [10**12]
    assert gaps.query_batch([7, 100], top=1).rows.tolist() == [0, 1]


def test_undirected_graphs_go_both_ways() -> None:
    path = nx.path_graph(5)
    exact = pagerank(nx.to_numpy_array(path), np.eye(5)[4])
    np.testing.assert_allclose(PowerWalk(path).query(4, error=1e-10).vector(), exact, atol=1e-9)
    edges = (np.arange(4), np.arange(1, 5))
    both = PowerWalk(edges, directed=False)
    np.testing.assert_allclose(both.query(4, error=1e-10).vector(), exact, atol=1e-9)
    assert PowerWalk(edges).query(4).nodes.tolist() == [4]


def test_unreachable_nodes_have_no_score() -> None:
    apart = sp.block_diag([np.ones((3, 3)), np.ones((2, 2))], format="csr")
    assert set(PowerWalk(apart).query(0, error=1e-9).rows) == {0, 1, 2}


def test_work_grows_with_the_error_and_not_with_the_graph() -> None:
    """Vertices touched by one query, on graphs of one kind and growing size."""
    touched = []
    for n in (10_000, 40_000):
        rng = np.random.default_rng(0)
        ends = rng.integers(n, size=(2, 8 * n))
        A = sp.csr_array((np.ones(8 * n), tuple(ends)), shape=(n, n))
        A.data[:] = 1
        walk = PowerWalk(A)
        found = walk.query_batch(np.arange(50), error=0.05)
        touched.append(np.diff(found.indptr).mean())
    assert touched[1] < 1.5 * touched[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top": 0}, "top must be a whole number >= 1, got 0"),
        ({"error": 0}, "error must be > 0 and finite, got 0"),
        ({"error": float("nan")}, "error must be > 0 and finite, got nan"),
        ({"rounds": -1}, "rounds must be a whole number >= 0, got -1"),
        ({"dangling": "uniform"}, "dangling must be 'restart' or 'stay', got 'uniform'"),
    ],
)
def test_bad_options_are_named(walk, options, words) -> None:
    with pytest.raises(ValueError, match=words):
        walk.query(3, **options)


def test_bad_sources_are_named(walk) -> None:
    for source in (120, -1, "a", 1.5, None):
        with pytest.raises(KeyError, match="is not in the graph"):
            walk.query(source)
    for source, words in (
        ({1: -1.0}, r"must be >= 0 and finite, got -1.0 for node 1"),
        ({1: float("nan"), 2: 1}, "got nan"),
        ({1: 0.0}, "all 0"),
        ({}, "all 0"),
        ({1: "x"}, "must be numbers"),
        (np.ones(5), "must have 120 weights, got 5"),
    ):
        with pytest.raises(ValueError, match=words):
            walk.query(source)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"restart": 0.0}, "restart must lie between 0 and 1, got 0.0"),
        ({"restart": 1}, "restart must lie between 0 and 1, got 1"),
        ({"walks": 16}, "walks must be a whole number >= 32, got 16"),
        ({"walks": 64.0}, "walks must be a whole number >= 32"),
        ({"seed": -1}, r"seed must be a whole number in 0\.\.2\*\*63 - 1, got -1"),
    ],
)
def test_bad_parameters_are_named(options, words) -> None:
    with pytest.raises(ValueError, match=words):
        PowerWalk(DIRECTED, **options)


def test_bad_graphs_are_named() -> None:
    with pytest.raises(ValueError, match=r"weights must be >= 0 and finite, got -1.0"):
        PowerWalk(([0, 1], [1, 2], [1.0, -1.0]))
    with pytest.raises(ValueError, match="edge \\(0, 1\\) is given twice"):
        PowerWalk(([0, 0], [1, 1]))
    with pytest.raises(ValueError, match="add up to more than a float64 holds"):
        PowerWalk(([0, 0, 0], [1, 2, 3], [1e308, 1e308, 1.0]))
    with pytest.raises(ValueError, match="no nodes"):
        PowerWalk(nx.DiGraph())

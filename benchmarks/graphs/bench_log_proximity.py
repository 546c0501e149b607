"""Logarithmic communicability beside its peers: kernels, columns of large ones, and clusters.

`python -m pytest benchmarks/graphs/bench_log_proximity.py -o python_files='bench_*.py'`

The clusterings are of a planted partition whose four classes are of 40, 30, 20 and 10 %, mean
degree 12, 80 % of it within the class. Ours is told the number of classes; Louvain and Leiden find
one of their own, and cannot be told. The note is the adjusted Rand index.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.linalg import expm_multiply
from sklearn.metrics import adjusted_rand_score

from paperworks.graphs import GraphProximity, ProximityClustering, as_graph

GRID = np.arange(1, 16) / 16
SHARES = np.array([0.4, 0.3, 0.2, 0.1])


def planted(n, seed=0, degree=12, inside=0.8):
    """The largest component of a planted partition, and its classes."""
    rng = np.random.default_rng(seed)
    classes = np.repeat(np.arange(4), (SHARES * n).astype(int))
    n = len(classes)
    starts = np.searchsorted(classes, np.arange(5))
    a = rng.integers(0, n, size=degree * n // 2)
    home = classes[a]
    own = starts[home] + (rng.random(len(a)) * np.diff(starts)[home]).astype(int)
    b = np.where(rng.random(len(a)) < inside, own, rng.integers(0, n, size=len(a)))
    keep = a != b
    graph = as_graph((a[keep], b[keep]), n_nodes=n, duplicates="max").largest_component()
    return graph, classes[graph.nodes]


@pytest.mark.parametrize("n", [200, 500, 1000])
def test_kernels_ours(race, n):
    graph, _ = planted(n)
    dense = graph.adjacency.toarray()

    def kernels():
        proximity = GraphProximity(dense)
        return [proximity.kernel("log-comm", p) for p in GRID]

    race(
        kernels,
        group=f"log-communicability, 15 parameters, n={n}",
        contender="GraphProximity, one eigendecomposition",
        ours=True,
        note=lambda found: f"{sum(not np.isfinite(K).all() for K in found)} kernels with nan, inf",
    )


@pytest.mark.parametrize("n", [200, 500, 1000])
def test_kernels_expm(race, n):
    graph, _ = planted(n)
    dense = graph.adjacency.toarray()

    def kernels():
        with np.errstate(all="ignore"):
            return [np.log(scipy.linalg.expm(0.5 * p / (1 - p) * dense)) for p in GRID]

    race(
        kernels,
        group=f"log-communicability, 15 parameters, n={n}",
        contender="scipy.linalg.expm and log, the authors' way",
        rounds=1 if n > 200 else 3,
        warmup=0,
        note=lambda found: f"{sum(not np.isfinite(K).all() for K in found)} kernels with nan, inf",
    )


@pytest.mark.parametrize("n", [2_000, 6_000, 20_000])
def test_columns_ours(race, n):
    graph, _ = planted(n)
    race(
        lambda: GraphProximity(graph).columns("log-comm", np.arange(100), 0.5),
        group=f"100 columns of log-communicability, p = 0.5, n={n}",
        contender="GraphProximity.columns",
        ours=True,
        rounds=1,
        note=lambda C: f"{int((~np.isfinite(C)).sum())} of {C.size} entries nan or inf",
    )


@pytest.mark.parametrize("n", [2_000, 6_000, 20_000])
def test_columns_expm_multiply(race, n):
    graph, _ = planted(n)
    E = np.eye(graph.n_nodes, 100)

    def columns():
        with np.errstate(all="ignore"):
            return np.log(expm_multiply(sp.csr_array(0.5 * graph.adjacency), E))

    race(
        columns,
        group=f"100 columns of log-communicability, p = 0.5, n={n}",
        contender="scipy.sparse.linalg.expm_multiply and log",
        rounds=1,
        warmup=0,
        note=lambda C: f"{int((~np.isfinite(C)).sum())} of {C.size} entries nan or inf",
    )


def ours(measure, clusterer):
    def cluster(graph):
        model = ProximityClustering(4, measure=measure, clusterer=clusterer, random_state=0)
        return model.fit_predict(graph)

    return cluster


def igraph(name):
    def cluster(graph):
        igraph = pytest.importorskip("igraph")
        import random

        igraph.set_random_number_generator(random.Random(0))
        upper = sp.triu(graph.adjacency).tocoo()
        pairs = np.column_stack(upper.coords)
        found = igraph.Graph(graph.n_nodes, pairs)
        if name == "leiden":
            return found.community_leiden("modularity", n_iterations=-1).membership
        return found.community_multilevel().membership

    return cluster


def sknetwork(name):
    def cluster(graph):
        clustering = pytest.importorskip("sknetwork.clustering")
        adjacency = sp.csr_matrix(graph.adjacency)
        if name == "louvain":
            return clustering.Louvain(random_state=0).fit_predict(adjacency)
        if name == "propagation":
            return clustering.PropagationClustering().fit_predict(adjacency)
        from sklearn.cluster import KMeans
        from sknetwork.embedding import Spectral

        points = Spectral(4).fit_transform(adjacency)
        return KMeans(4, n_init=10, random_state=0).fit_predict(points)

    return cluster


def greedy(graph):
    import networkx as nx

    parts = nx.community.greedy_modularity_communities(
        nx.from_scipy_sparse_array(graph.adjacency), cutoff=4, best_n=4
    )
    labels = np.zeros(graph.n_nodes, dtype=int)
    for c, part in enumerate(parts):
        labels[list(part)] = c
    return labels


CLUSTERINGS = {
    "ProximityClustering, Ward": ours("log-comm", "ward"),
    "ProximityClustering, kernel k-means": ours("log-comm", "kernel-kmeans"),
    "ProximityClustering, spectral": ours("log-comm", "spectral"),
    "ProximityClustering, plain communicability, Ward": ours("comm", "ward"),
    "igraph Louvain": igraph("louvain"),
    "igraph Leiden": igraph("leiden"),
    "scikit-network Louvain": sknetwork("louvain"),
    "scikit-network label propagation": sknetwork("propagation"),
    "scikit-network spectral + k-means, told 4": sknetwork("spectral"),
    "networkx greedy modularity, told 4": greedy,
}


@pytest.mark.parametrize("n", [500, 2_000, 20_000])
@pytest.mark.parametrize("name", CLUSTERINGS)
def test_clusters(race, n, name):
    if n > 2_000 and name.startswith("networkx"):
        pytest.skip("networkx's greedy modularity takes many minutes at this size")
    graph, classes = planted(n)
    race(
        lambda: CLUSTERINGS[name](graph),
        group=f"clusters of a planted partition, n={n}",
        contender=name,
        ours=name.startswith("Proximity"),
        rounds=1,
        warmup=0,
        note=lambda labels: (
            f"ARI {adjusted_rand_score(classes, labels):.3f}, {len(np.unique(labels))} clusters"
        ),
    )

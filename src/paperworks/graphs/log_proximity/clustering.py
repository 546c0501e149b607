r"""Clusters of a graph's nodes by a proximity measure, as a scikit-learn estimator.

Ivashkin and Chebotarev (arXiv 1605.01046) cluster by Ward's method and search the parameter for the
best agreement with known classes. Departures: the parameter is chosen without labels, as the one
whose clusters have the highest modularity in the graph; kernel k-means and spectral clustering are
here beside Ward (as in the authors' package, in other forms); and large graphs are clustered from
the kernel columns of some landmarks, which the paper has no need of.

Ward's method takes the measure's distances for squared Euclidean ones: joining clusters a and b
costs |a| |b| / (|a| + |b|) times the squared distance of their centres. The update of Lance and
Williams then needs distances alone and never leaves the non-negative numbers, so that it serves
logarithmic kernels as well, though some of them are no kernels of points.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.utils import check_random_state

from paperworks.graphs.adjacency import WeightedGraph, as_graph
from paperworks.graphs.log_proximity.embedding import embed, embed_columns
from paperworks.graphs.log_proximity.expansion import FloatRangeError
from paperworks.graphs.log_proximity.measures import find
from paperworks.graphs.log_proximity.proximity import GraphProximity

CLUSTERERS = ("ward", "kernel-kmeans", "spectral")
_DENSE = 1_000
"""Nodes up to which ``landmarks="auto"`` takes the whole kernel: some seconds for 15 parameters."""
_LANDMARKS = 200
_COMPONENTS = 24


class ProximityClustering(ClusterMixin, BaseEstimator):
    """Cluster the nodes of a graph by a plain or logarithmic proximity measure.

    Use it where the number of clusters is known and clusters are small or of uneven size, where
    modularity alone merges them. Prefer Leiden (``igraph``) where the number is unknown, and for
    more than some 100,000 nodes.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters.
    measure : str, default="log-comm"
        A measure of :class:`GraphProximity`. Logarithmic communicability is the paper's winner.
    clusterer : {"ward", "kernel-kmeans", "spectral"}, default="ward"
        Ward's method, the paper's, has no randomness; k-means in the kernel's space; or k-means
        on its ``n_clusters - 1`` first principal components, the relaxation of the latter.
    parameter : float or "auto", default="auto"
        The measure's parameter, normalised to (0, 1). "auto": of ``n_parameters`` values evenly
        spread in (0, 1), the one whose clusters have the highest modularity; no labels needed.
    n_parameters : int, default=15
        Size of that grid.
    landmarks : "auto", int or None, default="auto"
        None: the whole n x n kernel. A number: that many kernel columns, of random nodes, and
        memory for their n x landmarks. "auto": 200, or 4 for each cluster if that is more, above
        1,000 nodes, else None.
    n_init : int, default=10
        Starts of k-means.
    weight : str or None, default="weight"
        Edge attribute of a networkx graph.
    random_state : int, RandomState or None
        For k-means and landmarks.

    Attributes
    ----------
    labels_ : (n,) int
        Cluster of each node, numbered from 0.
    nodes_ : (n,) ndarray
        The node that each label is of.
    parameter_ : float
        The normalised parameter taken; nan for a measure without one.
    native_parameter_ : float
        The same in its own unit.
    parameters_, modularities_ : (g,) float
        The grid and the modularity of its clusters; nan where the measure over- or underflowed.
    modularity_ : float
        Modularity of ``labels_``.
    landmarks_ : (m,) int or None
        Positions of the landmarks.
    n_features_in_ : int
        n, as for scikit-learn's estimators of precomputed affinities.

    Raises
    ------
    ValueError
        For what :class:`GraphProximity` refuses, more clusters than nodes, and names unknown.

    Notes
    -----
    Whole kernel: O(n^3) once, then a product O(n^3) for each parameter, and O(n^2) for Ward; for
    the others a further eigendecomposition for each parameter.
    Landmarks: a few hundred products of the sparse adjacency with n x landmarks for each
    parameter, O(n landmarks) memory. Ward then merges only clusters that an edge joins, on the
    embedded nodes, which takes no n x n distances.

    Modularity prefers clusters of like size, and merges small ones of large graphs. Where you
    know better, give ``parameter``.

    Examples
    --------
    >>> import networkx as nx
    >>> karate = nx.karate_club_graph()
    >>> model = ProximityClustering(2, weight=None).fit(karate)
    >>> np.bincount(model.labels_).tolist(), bool(0 < model.parameter_ < 1)
    ([16, 18], True)
    >>> sorted(model.clusters()[model.labels_[0]])[:5]
    [0, 1, 2, 3, 4]
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        measure: str = "log-comm",
        clusterer: str = "ward",
        parameter: float | str = "auto",
        n_parameters: int = 15,
        landmarks: int | str | None = "auto",
        n_init: int = 10,
        weight: str | None = "weight",
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.measure = measure
        self.clusterer = clusterer
        self.parameter = parameter
        self.n_parameters = n_parameters
        self.landmarks = landmarks
        self.n_init = n_init
        self.weight = weight
        self.random_state = random_state

    def fit(self, graph: Any, y: Any = None) -> ProximityClustering:
        """Cluster ``graph``, anything that :func:`paperworks.graphs.as_graph` reads."""
        read = as_graph(graph, weight=self.weight)
        grid = self._checked(read.n_nodes)
        measure = find(self.measure)
        proximity = GraphProximity(read)
        random = check_random_state(self.random_state)
        self.landmarks_ = self._choose_landmarks(read.n_nodes, random)
        if self.landmarks_ is not None and not measure.in_blocks:
            raise ValueError(
                f"{self.measure!r} needs the whole kernel, {read.n_nodes} x {read.n_nodes}: pass "
                "landmarks=None to hold it, or take another measure"
            )
        seed = random.randint(2**31 - 1)  # one for all parameters, so that only they differ
        found: list[np.ndarray | None] = []
        trouble: ValueError | None = None
        for p in grid:
            try:
                found.append(self._cluster(proximity, float(p), seed))
            except FloatRangeError as error:
                found.append(None)
                trouble = error
        if trouble is not None and all(part is None for part in found):
            raise trouble
        scores = [np.nan if part is None else modularity(read, part) for part in found]
        best = int(np.nanargmax(scores))
        labels = found[best]
        assert labels is not None  # a score is nan without labels
        self.parameters_, self.modularities_ = grid, np.array(scores)
        self.parameter_, self.modularity_ = float(grid[best]), float(scores[best])
        self.native_parameter_ = (
            np.nan if measure.range == "none" else proximity.native(self.measure, self.parameter_)
        )
        self.labels_, self.nodes_ = labels, read.nodes
        self.n_features_in_ = read.n_nodes
        return self

    def clusters(self) -> list[list[Any]]:
        """The nodes of each cluster, by name."""
        return [self.nodes_[self.labels_ == c].tolist() for c in range(self.labels_.max() + 1)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = True
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        return tags

    def _checked(self, n: int) -> np.ndarray:
        """The grid of parameters, after a look at all of the estimator's own."""
        for name, least in (("n_clusters", 1), ("n_parameters", 1), ("n_init", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
                raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
        if self.n_clusters > n:
            raise ValueError(f"n_clusters must be <= the {n} nodes, got {self.n_clusters}")
        if self.clusterer not in CLUSTERERS:
            raise ValueError(
                f"clusterer must be one of {', '.join(CLUSTERERS)}, got {self.clusterer!r}"
            )
        if find(self.measure).range == "none":
            return np.array([np.nan])
        if isinstance(self.parameter, str):
            if self.parameter != "auto":
                raise ValueError(f"parameter must be in (0, 1) or 'auto', got {self.parameter!r}")
            return np.arange(1, self.n_parameters + 1) / (self.n_parameters + 1)
        if not isinstance(self.parameter, Real) or not 0 < self.parameter < 1:
            raise ValueError(f"parameter must be in (0, 1) or 'auto', got {self.parameter!r}")
        return np.array([float(self.parameter)])

    def _choose_landmarks(self, n: int, random: np.random.RandomState) -> np.ndarray | None:
        wanted = self.landmarks
        if isinstance(wanted, str) and wanted == "auto":
            wanted = min(n, max(_LANDMARKS, 4 * self.n_clusters)) if n > _DENSE else None
        if wanted is None:
            return None
        if isinstance(wanted, bool) or not isinstance(wanted, Integral):
            raise ValueError(f"landmarks must be 'auto', None or an integer, got {wanted!r}")
        if not self.n_clusters <= wanted <= n:
            raise ValueError(
                f"landmarks must lie between n_clusters = {self.n_clusters} and the {n} nodes, "
                f"got {wanted}"
            )
        return np.sort(random.choice(n, size=int(wanted), replace=False))

    def _cluster(self, proximity: GraphProximity, p: float, seed: int) -> np.ndarray:
        k = int(self.n_clusters)
        parameter = None if np.isnan(p) else p
        if self.landmarks_ is not None:
            # Small components of a few columns are noise; k - 1 carry the clusters.
            components = k - 1 if self.clusterer == "spectral" else max(_COMPONENTS, 2 * k)
            C = proximity.columns(self.measure, self.landmarks_, parameter)
            points = embed_columns(C, self.landmarks_, max(components, 1))
            if self.clusterer == "ward":
                return _ward_along_edges(points, proximity.graph.adjacency, k)
            return self._kmeans(points, seed)
        if self.clusterer == "ward":
            return ward(proximity.distance(self.measure, parameter), k)
        K = proximity._blind_kernel(self.measure, parameter)
        points, _ = embed(K, max(k - 1, 1) if self.clusterer == "spectral" else None)
        return self._kmeans(points, seed)

    def _kmeans(self, points: np.ndarray, seed: int) -> np.ndarray:
        distinct = len(np.unique(points, axis=0))
        k = min(int(self.n_clusters), distinct)  # k-means warns where it has to leave one empty
        return KMeans(k, n_init=int(self.n_init), random_state=seed).fit_predict(points)


def ward(distances: np.ndarray, n_clusters: int) -> np.ndarray:
    """Ward's method on distances taken for squared Euclidean ones: (n,) labels from 0."""
    if len(distances) == 1:
        return np.zeros(1, dtype=np.int64)
    tree = linkage(np.sqrt(squareform(distances, checks=False)), "ward")
    return _renumbered(fcluster(tree, n_clusters, "maxclust"), tree, n_clusters)


def _renumbered(labels: np.ndarray, tree: np.ndarray, n_clusters: int) -> np.ndarray:
    """Labels in the order of their first node; ties in height do not lose a cluster."""
    if labels.max() < n_clusters:  # fcluster cuts at a height, and merges tie there
        parent = np.arange(2 * len(labels) - 1)
        for step, (a, b) in enumerate(tree[: len(labels) - n_clusters, :2].astype(int)):
            parent[[a, b]] = len(labels) + step
        for node in range(len(parent) - 1, -1, -1):
            parent[node] = parent[parent[node]]
        labels = parent[: len(labels)]
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _ward_along_edges(points: np.ndarray, A: sp.csr_array, n_clusters: int) -> np.ndarray:
    model = AgglomerativeClustering(n_clusters, linkage="ward", connectivity=sp.csr_matrix(A))
    return model.fit_predict(points)


def modularity(graph: WeightedGraph, labels: np.ndarray) -> float:
    """Newman's modularity of a partition of a weighted undirected graph; 0 without edges."""
    coo = graph.adjacency.tocoo()
    total = graph.degrees.sum()
    if total == 0:
        return 0.0
    inside = coo.data[labels[coo.coords[0]] == labels[coo.coords[1]]].sum()
    shares = np.bincount(labels, weights=graph.degrees) / total
    return float(inside / total - shares @ shares)

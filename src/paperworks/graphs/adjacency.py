"""Graphs as people hold them, read into one weighted adjacency matrix.

networkx graphs, scipy.sparse and dense matrices, and edge arrays become a
:class:`WeightedGraph`: a CSR matrix of float64 and the names of its rows. What cannot be read
without a guess (repeated edges, an asymmetric matrix for an undirected graph, a 2 x 2 array that
may be either edges or a matrix) is refused with the way out, so that no edge is lost in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

Duplicates = Literal["raise", "sum", "max"]


@dataclass(frozen=True, eq=False, repr=False)
class WeightedGraph:
    """A graph as a weighted adjacency matrix with named rows.

    Attributes
    ----------
    adjacency : (n, n) scipy.sparse.csr_array of float64
        Non-negative weights, no stored zeros, indices sorted. Symmetric for an undirected graph.
        A self-loop is a diagonal entry.
    nodes : (n,) ndarray
        The name of each row: what networkx calls the node, the id in an edge array, or 0..n-1.
    directed : bool
        Whether ``adjacency[i, j]`` is the edge from i to j alone.

    Examples
    --------
    >>> graph = as_graph(([10, 10, 30], [20, 30, 20]))
    >>> graph, graph.nodes.tolist()
    (WeightedGraph(3 nodes, 3 edges), [10, 20, 30])
    """

    adjacency: sp.csr_array
    nodes: np.ndarray
    directed: bool = False

    def __repr__(self) -> str:
        kind = "directed " if self.directed else ""
        return f"WeightedGraph({self.n_nodes} nodes, {self.n_edges} {kind}edges)"

    @property
    def n_nodes(self) -> int:
        """How many nodes."""
        return self.adjacency.shape[0]

    @property
    def n_edges(self) -> int:
        """How many edges; an undirected edge and a self-loop count once."""
        if self.directed:
            return int(self.adjacency.nnz)
        loops = int(np.count_nonzero(self.adjacency.diagonal()))
        return (int(self.adjacency.nnz) + loops) // 2

    @cached_property
    def degrees(self) -> np.ndarray:
        """Sum of the weights of each row, (n,) float64; a self-loop counts once."""
        return np.asarray(self.adjacency.sum(axis=1)).ravel()

    @cached_property
    def components(self) -> np.ndarray:
        """Number of the (weakly) connected component of each node, (n,) int."""
        return connected_components(self.adjacency, directed=False)[1]

    @property
    def n_components(self) -> int:
        """How many connected components."""
        return int(self.components.max()) + 1

    def subgraph(self, keep: np.ndarray) -> WeightedGraph:
        """The graph on the rows ``keep`` (positions or a mask), with their names."""
        rows = np.arange(self.n_nodes)[keep]
        part = sp.csr_array(self.adjacency[rows][:, rows])
        part.sort_indices()
        return WeightedGraph(part, self.nodes[rows], self.directed)

    def largest_component(self) -> WeightedGraph:
        """The connected component with the most nodes; the first one among equals."""
        return self.subgraph(self.components == np.bincount(self.components).argmax())


def as_graph(
    graph: Any,
    *,
    weight: str | None = "weight",
    n_nodes: int | None = None,
    duplicates: Duplicates = "raise",
    directed: bool = False,
) -> WeightedGraph:
    """Read a graph in any of the usual forms.

    Parameters
    ----------
    graph : networkx graph, scipy.sparse matrix, array, tuple of arrays, or WeightedGraph
        A networkx graph; a square matrix of weights, sparse or dense; an edge array of shape
        (m, 2), or (m, 3) with weights; or ``(sources, targets)`` or
        ``(sources, targets, weights)``, each of length m. Node ids are whole numbers (gaps are
        fine) or strings. A plain 2 x 2 or 3 x 3 array could be either and is refused: give edges
        as a tuple and a matrix as ``scipy.sparse.csr_array``.
    weight : str or None
        Edge attribute of a networkx graph that holds the weight; edges without it weigh 1, as
        everywhere in networkx. None: all weigh 1. Parallel edges of a multigraph add up.
    n_nodes : int, optional
        For edges alone: the nodes are 0..n_nodes-1, whether or not they have an edge. By default
        the nodes are those that occur.
    duplicates : {"raise", "sum", "max"}
        What an edge is that is given twice in an edge array; in an undirected graph (i, j) and
        (j, i) are one edge. Default "raise", because some files list parallel edges (``"sum"``)
        and some list each edge both ways (``"max"``).
    directed : bool
        Keep the direction of edges. Default False: networkx's DiGraph and asymmetric matrices
        are refused.

    Returns
    -------
    WeightedGraph

    Raises
    ------
    ValueError
        For negative, infinite or NaN weights, asymmetric matrices, repeated edges, node ids that
        are no whole numbers, and graphs without nodes.
    TypeError
        For anything that is no graph.

    Notes
    -----
    O(m log m). Weights of 0 are no edges, though their nodes stay.

    Examples
    --------
    >>> import networkx as nx
    >>> as_graph(nx.path_graph(["a", "b", "c"])).adjacency.toarray()
    array([[0., 1., 0.],
           [1., 0., 1.],
           [0., 1., 0.]])
    >>> as_graph(([0, 1], [1, 0]), duplicates="max").n_edges
    1
    """
    if duplicates not in ("raise", "sum", "max"):
        raise ValueError(f"duplicates must be 'raise', 'sum' or 'max', got {duplicates!r}")
    if isinstance(graph, WeightedGraph):
        matrix, nodes = graph.adjacency, graph.nodes
        if graph.directed and not directed:
            raise ValueError(
                "the graph is directed, and this needs an undirected one: read its edges anew "
                "with directed=False"
            )
    elif hasattr(graph, "is_directed") and hasattr(graph, "adj"):
        matrix, nodes = _from_networkx(graph, weight, directed)
    elif sp.issparse(graph):
        if np.iscomplexobj(graph):
            raise ValueError("Complex data not supported: weights must be real")
        matrix = sp.csr_array(graph, dtype=np.float64)
        nodes = np.arange(matrix.shape[0])
    elif isinstance(graph, tuple):
        return _from_edges(graph, n_nodes, duplicates, directed)
    else:
        array = _plain_array(graph)
        rows, columns = array.shape
        if rows == columns and rows in (2, 3):
            raise ValueError(
                f"a {rows} x {rows} array may be edges or a matrix: give edges as "
                "(sources, targets) and a matrix as scipy.sparse.csr_array(matrix)"
            )
        if rows != columns and columns in (2, 3):
            return _from_edges(tuple(array.T), n_nodes, duplicates, directed)
        matrix, nodes = sp.csr_array(array.astype(np.float64)), np.arange(rows)
    if n_nodes is not None:
        raise ValueError(f"n_nodes={n_nodes} is for edge arrays; a matrix or graph has its own")
    return _checked(matrix, nodes, directed)


def _plain_array(graph: Any) -> np.ndarray:
    try:
        array = np.asarray(graph)
    except ValueError as error:  # ragged lists
        raise TypeError(f"cannot read a graph from {type(graph).__name__}: {error}") from None
    if array.dtype.kind == "c":
        raise ValueError("Complex data not supported: weights must be real")
    if array.ndim != 2 or array.dtype.kind not in "biufUSO":
        raise TypeError(
            "a graph must be a networkx graph, a square matrix, an (m, 2) or (m, 3) edge array or "
            f"a tuple (sources, targets[, weights]), got {type(graph).__name__} of shape "
            f"{array.shape} and dtype {array.dtype}"
        )
    rows, columns = array.shape
    if rows != columns and columns not in (2, 3):
        raise ValueError(f"an adjacency matrix must be square, got shape {array.shape}")
    if rows == columns:
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(f"an adjacency matrix must be numeric: {error}") from None
    return array


def _from_networkx(graph: Any, weight: str | None, directed: bool) -> tuple[Any, np.ndarray]:
    import networkx as nx

    if graph.is_directed() and not directed:
        raise ValueError(
            "the graph is directed, and this needs an undirected one: pass graph.to_undirected()"
        )
    names = list(graph.nodes)
    nodes = np.empty(len(names), dtype=object)
    nodes[:] = names
    if all(isinstance(name, (int, np.integer)) for name in names):
        nodes = nodes.astype(np.int64)
    if not names:
        return sp.csr_array((0, 0)), nodes
    try:
        matrix = nx.to_scipy_sparse_array(graph, weight=weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"edge attribute {weight!r} must hold numbers: {error}") from None
    return matrix, nodes


def _from_edges(
    edges: tuple[Any, ...], n_nodes: int | None, duplicates: Duplicates, directed: bool
) -> WeightedGraph:
    if len(edges) not in (2, 3):
        raise ValueError(
            "edges must be (sources, targets) or (sources, targets, weights), got "
            f"{len(edges)} parts"
        )
    columns = [np.asarray(column) for column in edges]
    if len({column.shape for column in columns}) != 1 or columns[0].ndim != 1:
        raise ValueError(
            "sources, targets and weights must be of one length, got shapes "
            + ", ".join(str(column.shape) for column in columns)
        )
    try:
        values = np.ones(len(columns[0])) if len(columns) == 2 else columns[2].astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"weights must be numbers: {error}") from None
    ids = np.concatenate([_ids(column) for column in columns[:2]])
    if n_nodes is None:
        nodes, index = _numbered(ids)
    else:
        outside = ids.dtype.kind not in "iu" or (ids < 0) | (ids >= n_nodes)
        if np.any(outside):
            raise ValueError(f"with n_nodes={n_nodes} ids must lie in 0..{n_nodes - 1}")
        nodes, index = np.arange(n_nodes), ids
    n = len(nodes)
    rows, cols = index[: len(values)], index[len(values) :]
    _check_weights(values, nodes[rows], nodes[cols])
    if not directed:
        rows, cols = np.minimum(rows, cols), np.maximum(rows, cols)
    order = np.argsort(rows * n + cols) if n < 2**31 else np.lexsort((cols, rows))
    rows, cols, values = rows[order], cols[order], values[order]
    starts = np.ones(len(values), dtype=bool)
    starts[1:] = (np.diff(rows) != 0) | (np.diff(cols) != 0)
    if not starts.all():
        if duplicates == "raise":
            again = int(np.flatnonzero(~starts)[0])
            raise ValueError(
                f"edge ({nodes[rows[again]]}, {nodes[cols[again]]}) is given twice, as "
                f"{int((~starts).sum())} row(s) in all repeat another: read the edges with "
                "as_graph(edges, duplicates='sum') where they are parallel edges, or "
                "duplicates='max' where each edge is listed both ways"
            )
        reduce = np.add if duplicates == "sum" else np.maximum
        values = reduce.reduceat(values, np.flatnonzero(starts))
        rows, cols = rows[starts], cols[starts]
    if not directed:
        off = rows != cols
        rows, cols = np.concatenate([rows, cols[off]]), np.concatenate([cols, rows[off]])
        values = np.concatenate([values, values[off]])
    return _checked(sp.coo_array((values, (rows, cols)), shape=(n, n)), nodes, directed)


def _numbered(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different ids, ascending, and which of them each one is."""
    if ids.dtype.kind in "iu" and ids.size and ids.min() >= 0 and ids.max() < 4 * ids.size:
        # Few gaps: a table of all ids up to the largest takes no sorting.
        there = np.zeros(int(ids.max()) + 1, dtype=bool)
        there[ids] = True
        nodes = np.flatnonzero(there).astype(ids.dtype)
        return nodes, (np.cumsum(there) - 1)[ids]
    return np.unique(ids, return_inverse=True)


def _ids(column: np.ndarray) -> np.ndarray:
    """Node ids as integers or strings."""
    if column.dtype.kind in "iuU":
        return column
    if column.dtype.kind == "f":
        bad = ~np.isfinite(column) | (column != np.round(column))
        if bad.any():
            raise ValueError(f"node ids must be whole numbers or strings, got {column[bad][0]}")
        return column.astype(np.int64)
    if column.dtype.kind == "O" and all(isinstance(name, str) for name in column):
        return column.astype(str)
    if column.dtype.kind == "O" and all(isinstance(name, (int, np.integer)) for name in column):
        return column.astype(np.int64)
    raise ValueError(f"node ids must be whole numbers or strings, got dtype {column.dtype}")


def _check_weights(values: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> None:
    bad = ~np.isfinite(values) | (values < 0)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"weights must be >= 0 and finite, got {values[first]} on edge "
            f"({rows[first]}, {cols[first]}); {int(bad.sum())} such in all. For signed graphs, "
            "keep the positive edges alone or take another method"
        )


def _checked(matrix: Any, nodes: np.ndarray, directed: bool) -> WeightedGraph:
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"an adjacency matrix must be square, got shape {matrix.shape}")
    if not len(nodes):
        raise ValueError("the graph has no nodes")
    found = sp.coo_array(matrix)
    _check_weights(found.data, nodes[found.coords[0]], nodes[found.coords[1]])
    csr = sp.csr_array(found, dtype=np.float64, copy=True)
    csr.sum_duplicates()
    csr.eliminate_zeros()
    csr.sort_indices()
    if not directed:
        # Rounding may differ between the two halves of a computed matrix; no more than that.
        gap = abs(csr - csr.T)
        if gap.nnz and gap.max() > 1e-10 * csr.max():
            i, j = (int(part[0]) for part in (gap > 1e-10 * csr.max()).nonzero())
            raise ValueError(
                f"an undirected graph needs a symmetric matrix, got {csr[i, j]} from {nodes[i]} "
                f"to {nodes[j]} and {csr[j, i]} back: pass A.maximum(A.T) or (A + A.T) / 2"
            )
        if gap.nnz:
            csr = sp.csr_array((csr + csr.T) / 2)
            csr.sort_indices()
    return WeightedGraph(csr, nodes, directed)

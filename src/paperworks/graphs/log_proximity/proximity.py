r"""Kernels and distances between the nodes of a graph, plain and logarithmic.

Ivashkin and Chebotarev, "Do logarithmic proximity measures outperform plain ones in graph
clustering?" (arXiv 1605.01046), section 1.2; the logarithmic transformation is Chebotarev's ("The
walk distances in graphs", arXiv 1103.2059, and "Studying new classes of graph metrics", arXiv
1305.7514):

    K_log = log K (entrywise),    d(i, j) = (k_ii + k_jj - k_ij - k_ji) / 2.

Three symmetric matrices carry all measures: A, L = D - A and S = D^-1/2 A D^-1/2. Each is
decomposed at most once for one graph, when first asked for, and every measure on it, at every
parameter, is U f(values) U'. On S rest personalised PageRank, corrected commute time, and, where
all edges weigh the same, randomised shortest paths and free energy, for there
exp(-beta C) o P is a multiple of P. With several weights these two take one inverse a parameter.

Departures from the authors' code:

- Distances of communicability carry no square root there and here alike in the paper's
  experiments; their released class takes one, which changes no order.
- Where rounding would swallow an entry before its logarithm is taken, the kernel is summed anew
  from non-negative terms, which keep every entry's digits. Theirs gives nan or -inf.
- SP-CT mixes shortest paths with the *resistance*, commute time over the volume: the two agree on
  a tree.
- Edge costs are 1 / weight, as there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.csgraph import dijkstra, shortest_path

from paperworks.graphs.adjacency import WeightedGraph, as_graph
from paperworks.graphs.log_proximity.expansion import (
    FloatRangeError,
    Function,
    chebyshev,
    exponential_series,
    geometric_series,
)
from paperworks.graphs.log_proximity.measures import Measure, find
from paperworks.graphs.log_proximity.spectra import Spectra, largest_eigenvalue

_EPS = np.finfo(float).eps
_DIGITS = 1e-7
"""Relative accuracy below which an entry is not left to the eigendecomposition."""


class GraphProximity:
    """All proximity measures of one graph, which share what can be shared.

    Use it where kernels or distances themselves are wanted, for many measures or parameters of
    one graph; :class:`ProximityClustering` clusters with them.

    Parameters
    ----------
    graph : anything that :func:`paperworks.graphs.as_graph` reads
        Undirected, weights >= 0. Weights are proximities: the cost of an edge is 1 / weight.
    weight : str or None
        Edge attribute of a networkx graph.

    Attributes
    ----------
    graph : WeightedGraph
        As it was read; row i of a kernel is the node ``graph.nodes[i]``.

    Raises
    ------
    ValueError
        For what :func:`as_graph` refuses; by a measure that needs a connected graph, if it is
        not; and for a parameter outside its range.

    Notes
    -----
    The first kernel of a family takes an eigendecomposition, O(n^3); each further one a product,
    O(n^3) with a small constant. O(n^2) memory. :meth:`columns` needs neither.

    Examples
    --------
    >>> import networkx as nx
    >>> proximity = GraphProximity(nx.path_graph(4))
    >>> D = proximity.distance("log-walk", 0.5)
    >>> bool(np.isclose(D[0, 1] + D[1, 3], D[0, 3]))  # node 1 is a cutpoint
    True
    >>> proximity.kernel("comm", native=1.0).round(2)[0]
    array([1.59, 1.38, 0.64, 0.19])
    """

    def __init__(self, graph: Any, *, weight: str | None = "weight") -> None:
        self.graph: WeightedGraph = as_graph(graph, weight=weight)
        self._spectra = Spectra(self.graph)

    # What the user asks for

    def native(self, measure: str, parameter: float) -> float:
        """The native parameter (t, alpha, beta or lambda) of a normalised one.

        Parameters
        ----------
        measure : str
            Name of a measure.
        parameter : float
            In (0, 1).

        Returns
        -------
        float
            0 for a measure without a parameter.
        """
        return find(measure).native(parameter, self.radius)

    def kernel(
        self, measure: str, parameter: float | None = None, *, native: float | None = None
    ) -> np.ndarray:
        """The kernel of a measure.

        Parameters
        ----------
        measure : str
            One of "walk", "forest", "comm", "heat", "ppr", each of them after "log-", "sp", "ct",
            "sp-ct", "sct", "scct", "rsp", "fe".
        parameter : float
            The parameter normalised to (0, 1) as in the paper. "sp" and "ct" have none and pass
            over it.
        native : float
            The parameter in its own unit instead.

        Returns
        -------
        (n, n) float64
            Symmetric. For measures that are distances by birth ("sp", "sp-ct", "rsp", "fe") it
            is -J D J / 2 with the centring J = I - 1/n.
        """
        found, value = self._asked(measure, parameter, native)
        if found.family in ("sp", "sp-ct", "rsp", "fe"):
            D = self._born_distance(found, value)
            D = D - D.mean(axis=0)
            return -(D - D.mean(axis=1, keepdims=True)) / 2
        return self._kernel(found, value)

    def _blind_kernel(self, measure: str, parameter: float | None) -> np.ndarray:
        """The kernel up to a number for each row and column, which leaves more digits."""
        found, value = self._asked(measure, parameter, None)
        if found.logarithmic:
            return self._log_parts(found.family, value)[1]
        return self.kernel(measure, parameter)

    def distance(
        self, measure: str, parameter: float | None = None, *, native: float | None = None
    ) -> np.ndarray:
        """The distances of a measure.

        ``(k_ii + k_jj - k_ij - k_ji) / 2`` of its kernel; for "sp", "sp-ct", "rsp" and "fe" the
        distance itself, and for "ct" the commute time (the resistance times the sum of all
        weights). In clustering they stand for *squared* Euclidean distances.

        Parameters
        ----------
        measure, parameter, native
            As for :meth:`kernel`.

        Returns
        -------
        (n, n) float64
            Symmetric, zero diagonal, >= 0 (rounding below 0 is cut).
        """
        found, value = self._asked(measure, parameter, native)
        if found.family in ("sp", "sp-ct", "rsp", "fe"):
            return self._born_distance(found, value)
        if found.logarithmic:
            return _to_distance(self._log_parts(found.family, value)[1])
        D = _to_distance(self._kernel(found, value))
        return 2 * self.graph.degrees.sum() * D if found.family == "ct" else D

    def columns(
        self,
        measure: str,
        nodes: np.ndarray,
        parameter: float | None = None,
        *,
        native: float | None = None,
        tol: float = 1e-8,
    ) -> np.ndarray:
        """Columns of the kernel, from sparse products alone: nothing n x n is formed.

        Plain kernels by Chebyshev expansion; logarithmic ones too where all entries stand well
        above its error, and else by a series of non-negative terms; shortest paths by Dijkstra's
        algorithm.

        Parameters
        ----------
        measure : str
            Any but "ct", "sp-ct", "sct", "scct" and "rsp", whose entries need the whole matrix.
        nodes : (m,) int
            Positions of the columns.
        parameter, native : float
            As for :meth:`kernel`.
        tol : float
            Accuracy: of the entries of a logarithmic kernel, absolute; of a plain one, relative
            to its largest eigenvalue.

        Returns
        -------
        (n, m) float64
            For "sp" and "fe", whose kernel is centred over all nodes, the columns before centring:
            the same up to a number for each row and column.

        Notes
        -----
        O(q (nnz + n) m) for q terms: a few dozen to a few hundred, more the nearer the parameter
        comes to its end. Memory for five blocks n x m.
        """
        found, value = self._asked(measure, parameter, native)
        nodes = np.asarray(nodes)
        if nodes.ndim != 1 or nodes.dtype.kind not in "iu" or not len(nodes):
            raise ValueError(f"nodes must be a list of positions, got {nodes!r}")
        if nodes.min() < 0 or nodes.max() >= self.graph.n_nodes:
            raise ValueError(f"nodes must lie in 0..{self.graph.n_nodes - 1}, got {nodes.max()}")
        if not found.in_blocks:
            raise ValueError(
                f"{measure!r} has no columns without the whole matrix: take kernel(), or a "
                "measure out of walk, forest, comm, heat, ppr, their logarithms, sp and fe"
            )
        if found.family == "sp":
            return -dijkstra(self._spectra.costs, directed=False, indices=nodes).T / 2
        block = np.zeros((self.graph.n_nodes, len(nodes)))
        block[nodes, np.arange(len(nodes))] = 1.0
        if found.family == "fe":
            return self._log_series("fe", value, block, tol) / (2 * value)
        base, f = self._function(found.family, value)
        M, interval = self._spectra.matrix(base), self._spectra.interval(base)
        if not found.logarithmic:
            H, _ = chebyshev(M, f, *interval, block, tol=1e-13)
            return self._plain(found.family, value, H, nodes)
        H, error = chebyshev(M, f, *interval, block[:, :2], tol=1e-13)
        if H.min() * tol > 30 * error:  # else some of all columns would hardly do
            H, error = chebyshev(M, f, *interval, block, tol=1e-13)
            if H.min() * tol > error:
                return np.log(H) + (value * self.radius if found.family == "comm" else 0.0)
        return self._log_series(found.family, value, block, tol)

    @property
    def radius(self) -> float:
        """The spectral radius of A."""
        return self._spectra.radius

    # How it is computed

    def _asked(
        self, name: str, parameter: float | None, native: float | None
    ) -> tuple[Measure, float]:
        measure = find(name)
        if (parameter is not None) and (native is not None):
            raise ValueError(f"give parameter or native, got both: {parameter} and {native}")
        if measure.range == "none":
            value = 0.0
        elif native is not None:
            value = measure.check_native(native, self.radius)
        elif parameter is None:
            raise ValueError(f"{name!r} needs a parameter in (0, 1), or native={measure.symbol}")
        else:
            value = measure.native(float(parameter), self.radius)
        graph = self.graph
        if measure.connected and graph.n_components > 1:
            sizes = np.sort(np.bincount(graph.components))[::-1]
            shown = ", ".join(map(str, sizes[:5])) + (", ..." if len(sizes) > 5 else "")
            plain = ", ".join(("walk", "forest", "comm", "heat", "ppr"))
            raise ValueError(
                f"{name!r} needs a connected graph, got {len(sizes)} components of {shown} nodes: "
                "take as_graph(graph).largest_component(), treat the components one by one, or "
                f"take a measure that exists between components ({plain})"
            )
        if measure.family in ("ppr", "scct", "fe", "rsp") and not graph.degrees.all():
            lonely = graph.nodes[int(np.flatnonzero(graph.degrees == 0)[0])]
            raise ValueError(f"{name!r} divides by degrees, and node {lonely} has no edge: drop it")
        return measure, value

    def _function(self, family: str, value: float) -> tuple[str, Function]:
        """The matrix that a plain kernel is a function of, and the function."""
        weights = self.graph.adjacency.data
        table: dict[str, tuple[str, Function]] = {
            "walk": ("adjacency", lambda x: 1 / (1 - value * x)),
            # Against the largest eigenvalue, which is put back at the end.
            "comm": ("adjacency", lambda x: np.exp(value * (x - self.radius))),
            "forest": ("laplacian", lambda x: 1 / (1 + value * x)),
            "heat": ("laplacian", lambda x: np.exp(-value * x)),
            "ppr": ("transition", lambda x: 1 / (1 - value * x)),
            # Of a graph whose edges weigh the same, else it is no function of S.
            "fe": ("transition", lambda x: 1 / (1 - np.exp(-value / weights[0]) * x)),
        }
        return table[family]

    def _ppr_balance(self, columns: np.ndarray | slice) -> np.ndarray:
        """What turns f(S) into the symmetric part of inv(I - alpha P)."""
        ratio = self._spectra.roots[:, None] / self._spectra.roots[columns]
        return (ratio + 1 / ratio) / 2

    def _kernel(self, measure: Measure, value: float) -> np.ndarray:
        family = measure.family
        if family == "ct":
            return self._spectra.apply("laplacian", _invert)
        if family in ("sct", "scct"):
            return self._sigmoid(family, value)
        if measure.logarithmic:
            own, K = self._log_parts(family, value)
            return K + own[:, None] + own
        base, f = self._function(family, value)
        return self._plain(family, value, self._spectra.apply(base, f), slice(None))

    def _log_parts(self, family: str, value: float) -> tuple[np.ndarray, np.ndarray]:
        """Numbers a (n,) and a matrix K whose sum a_i + a_j + K_ij is the logarithmic kernel.

        The distance is that of K alone. With u the leading eigenvector, positive by Perron and
        Frobenius, H_ij = f_1 u_i u_j (1 + R_ij), and K = log(1 + R). Where the leading term
        takes over (communicability at a large t), the distances lie in an R far below 1, and
        would be lost in log H.
        """
        base, f = self._function(family, value)
        values, U = self._spectra.decomposition(base)
        weights = f(values)
        lead = 0 if base == "laplacian" else -1
        first, u = weights[lead], np.abs(U[:, lead])
        others = weights.copy()
        others[lead] = 0.0
        if len(weights) > 1 and not others.any():
            raise FloatRangeError(
                f"distances of the logarithmic {family} kernel are below the smallest float: take "
                "a smaller parameter"
            )
        rest = (U * others) @ U.T
        H = rest + first * np.multiply.outer(u, u)
        # An error of u is one of the numbers a_i, which the distance does not see.
        error = 4 * _EPS * np.sqrt(len(H))
        if u.min() * _DIGITS < error or H.min() * _DIGITS < error * others.max():
            K = self._log_series(family, value, np.eye(len(H)), _DIGITS)
            return np.zeros(len(H)), K
        shift = value * self.radius if family == "comm" else 0.0
        own = np.log(u) + (np.log(first) + shift) / 2
        return own, np.log1p(rest / (first * np.multiply.outer(u, u)))

    def _plain(
        self, family: str, value: float, H: np.ndarray, columns: np.ndarray | slice
    ) -> np.ndarray:
        """Columns of a plain kernel from those of f(M)."""
        if family == "comm":
            if value * self.radius > 700:
                raise FloatRangeError(
                    f"exp(t A) overflows at t * rho = {value * self.radius:.0f} (more than 700): "
                    "take a smaller parameter, or 'log-comm'"
                )
            return H * np.exp(value * self.radius)
        return H * self._ppr_balance(columns) if family == "ppr" else H

    def _log_series(self, family: str, value: float, block: np.ndarray, tol: float) -> np.ndarray:
        """Logarithm of kernel columns, every entry to an absolute ``tol``."""
        A, degrees, shift = self.graph.adjacency, self.graph.degrees, 0.0
        if family == "comm":
            H, shift = exponential_series(A, value, block, self.radius, tol=tol)
        elif family == "heat":
            top = float(degrees.max())
            N = sp.csr_array(sp.diags_array(top - degrees) + A)  # top I - L, not negative
            H, _ = exponential_series(N, value, block, top, tol=tol)
        elif family == "forest":
            # inv(I + t L) = inv(I - N) inv(I + t D) with N = inv(I + t D) t A.
            scale = sp.diags_array(1 / (1 + value * degrees))
            N = sp.csr_array(scale @ (value * A))
            root = sp.diags_array(np.sqrt(1 / (1 + value * degrees)))
            radius = largest_eigenvalue(root @ (value * A) @ root)
            H = geometric_series(N, scale @ block, radius, tol=tol)
        elif family == "fe":
            N = self._spectra.tempered(value)
            H = geometric_series(N, block, largest_eigenvalue(N), tol=tol)
        else:
            N = A * value if family == "walk" else self._spectra.matrix("transition") * value
            radius = value * (self.radius if family == "walk" else 1.0)
            H = geometric_series(N, block, radius, tol=tol)
        return np.log(H) + shift

    def _sigmoid(self, family: str, alpha: float) -> np.ndarray:
        if family == "sct":
            K = self._spectra.apply("laplacian", _invert)
        else:
            # Corrected commute time: M = S without its stationary part, K = J R M inv(I - M) M R J.
            values, U = self._spectra.decomposition("transition")
            values = values.copy()
            values[-1] = 0.0  # the stationary part: eigenvalue 1, once in a connected graph
            K = (U * (values**2 / (1 - values))) @ U.T
            K = K / self._spectra.roots[:, None] / self._spectra.roots
            K = K - K.mean(axis=0)
            K = K - K.mean(axis=1, keepdims=True)
        sigma = K.std()
        if not sigma > 0:
            raise ValueError(f"{family!r} divides by the spread of the commute times, which is 0")
        return 1 / (1 + np.exp(-alpha * K / sigma))

    def _born_distance(self, measure: Measure, value: float) -> np.ndarray:
        if measure.family == "sp":
            return shortest_path(self._spectra.costs, directed=False)
        if measure.family == "sp-ct":
            resistance = 2 * _to_distance(self._spectra.apply("laplacian", _invert))
            return (1 - value) * resistance + value * shortest_path(
                self._spectra.costs, directed=False
            )
        # g = inv(I - S_beta); the degrees that turn it into the authors' Z cancel in both.
        if measure.family == "fe" and self._spectra.even:
            return _to_distance(self._log_parts("fe", value)[1]) / value
        n = self.graph.n_nodes
        if self._spectra.even:
            g = self._spectra.apply(*self._function("fe", value))
        else:
            system = np.eye(n) - self._spectra.tempered(value).toarray()
            g = scipy.linalg.solve(system, np.eye(n), assume_a="pos", check_finite=False)
        if g.min() * _DIGITS < 4 * _EPS * np.sqrt(n) * g.max():
            N = self._spectra.tempered(value)
            g = geometric_series(N, np.eye(n), largest_eigenvalue(N), tol=_DIGITS)
        if measure.family == "fe":
            return _to_distance(np.log(g)) / value
        Q = self._spectra.tempered(value)
        Q.data = Q.data * self._spectra.costs.data  # in the same pattern
        return _to_distance(-(g @ (Q @ g)) / g)


def _to_distance(K: np.ndarray) -> np.ndarray:
    """(k_ii + k_jj - k_ij - k_ji) / 2, with rounding below 0 cut."""
    half = np.diag(K) / 2
    D = half[:, None] + half - (K + K.T) / 2
    np.fill_diagonal(D, 0.0)
    return np.maximum(D, 0.0, out=D)


def _invert(values: np.ndarray) -> np.ndarray:
    """1 / values, and 0 for the eigenvalue 0 of a connected graph's Laplacian (the first)."""
    return np.concatenate([[0.0], 1 / values[1:]])

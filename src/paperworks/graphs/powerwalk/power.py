"""Personalized PageRank from an index of short random walks.

Liu, Li, Lui and Cheng, PowerWalk: Scalable Personalized PageRank via Random Walks with
Vertex-Centric Decomposition, CIKM 2016 (arXiv 1608.06054): the Monte Carlo full path fingerprints
of its section on indexing, and its vertex-centric decomposition for queries. What departs is
listed on the paper's page; the parts of it are explained in :mod:`walks` and
:mod:`decomposition`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import joblib
import numpy as np

from paperworks.graphs.adjacency import WeightedGraph, as_graph
from paperworks.graphs.powerwalk import file
from paperworks.graphs.powerwalk.decomposition import masses
from paperworks.graphs.powerwalk.index import Fingerprints, Graph
from paperworks.graphs.powerwalk.names import Names, storable
from paperworks.graphs.powerwalk.plan import Dangling, Plan
from paperworks.graphs.powerwalk.ranking import PersonalizedRank, PersonalizedRanks, answer
from paperworks.graphs.powerwalk.update import changed_graph, rows_that_pass
from paperworks.graphs.powerwalk.walks import GROUP, LEAST_GROUPS, fingerprints, groups_of

Progress = Callable[[int, int], object]

_MASS_TOLERANCE = 1e-13
_BLOCK = 2048  # queries that a thread answers between two returns to Python
_ROOM = 1 << 16


class PowerWalk:
    """Personalized PageRank of any start node or distribution, fast, from an index.

    A walker starts at the source, and at each step goes back there with chance ``restart`` or
    else along a random out-edge. The share of its time at each node is the personalized PageRank

        p = c e + (1 - c) p P.

    Short walks from every node are made once (the *fingerprints*). A query follows the walker
    from its source exactly, round by round, and leaves what flow is left to the fingerprints of
    the nodes where it stands; so it averages over many times more walks than a fingerprint has.

    Take power iteration instead (``scipy.sparse``, or igraph's ``personalized_pagerank``) for a
    few queries, or for full vectors to many digits: an index pays off after hundreds of queries.

    Parameters
    ----------
    graph : networkx graph, scipy.sparse matrix, array, tuple of arrays, or WeightedGraph
        As :func:`as_graph` reads it. Weights must be >= 0; a step takes an edge with a chance
        proportional to its weight.
    restart : float
        The chance c to go back at each step, in (0, 1). Default 0.15, as in the paper (networkx's
        ``alpha`` is 1 - c).
    walks : int
        Walks from each node on average, 32 or more: nodes that many walks come to have up to 16
        times as many, others down to 32. Memory and building time grow with it; the work of a
        query for a given error falls. Default 64.
    seed : int
        Of the walks. The same seed gives the same index, whatever `n_jobs`.
    directed : bool, optional
        Whether edges lead one way. By default as a networkx graph or WeightedGraph says, and
        True for matrices and edge arrays.
    n_jobs : int, optional
        Threads, as joblib counts them. Default -1, all cores.
    progress : callable, optional
        Called with (nodes done, all nodes) now and then.

    Attributes
    ----------
    nodes : (n,) ndarray
        The name of each node, in the order of their numbers.
    restart, walks, seed, directed
        As given.
    rewalked : int
        How many nodes the last :meth:`updated` walked from anew; all of them in a new index.

    Raises
    ------
    ValueError
        For parameters out of range, negative weights and whatever else is no graph.

    Notes
    -----
    Building takes ``O(n * walks / c)`` steps, and the index at most 5 bytes for each of them,
    beside 4 bytes for each edge (20 with weights). A query for an error e takes ``O(1 / e**2)``
    steps or fewer, whatever the size of the graph.

    Examples
    --------
    >>> import networkx as nx
    >>> walk = PowerWalk(nx.karate_club_graph(), walks=400)
    >>> rank = walk.query(33, top=3, error=1e-3)
    >>> rank.nodes.tolist(), rank.converged
    ([33, 32, 23], True)
    >>> exact = nx.pagerank(nx.karate_club_graph(), personalization={33: 1})
    >>> bool(abs(rank.scores[0] - exact[33]) < 3e-3)
    True
    """

    nodes: np.ndarray

    def __init__(
        self,
        graph: Any,
        *,
        restart: float = 0.15,
        walks: int = 64,
        seed: int = 0,
        directed: bool | None = None,
        n_jobs: int | None = -1,
        progress: Progress | None = None,
    ):
        check_parameters(restart, walks, seed)
        read = read_graph(graph, directed)
        self.restart, self.walks, self.seed = float(restart), int(walks), int(seed)
        self.directed = read.directed
        self._hold(Graph.read(read), read.nodes)
        self._prints = fingerprints(
            self._graph,
            np.arange(self.n_nodes),
            groups_of(self._graph, self.walks),
            restart=self.restart,
            seed=self.seed,
            n_jobs=n_jobs,
            progress=progress,
        )
        self.rewalked = self.n_nodes

    def _hold(self, graph: Graph, nodes: np.ndarray) -> None:
        self._graph, self.nodes, self._names = graph, nodes, Names(nodes)
        dangling = bool((np.diff(graph.indptr) == 0).any())
        # Without dangling vertices every vector adds up to 1.
        self._mass = (
            masses(graph.arrays, self.restart, _MASS_TOLERANCE) if dangling else np.empty(0)
        )

    def __repr__(self) -> str:
        return (
            f"PowerWalk({self.n_nodes} nodes, {self.n_edges} edges, restart={self.restart:g}, "
            f"walks={self.walks}, {self.nbytes / 2**20:.1f} MiB)"
        )

    @property
    def n_nodes(self) -> int:
        """How many nodes."""
        return self._graph.n_nodes

    @property
    def n_edges(self) -> int:
        """How many directed edges; an undirected one counts twice."""
        return self._graph.n_edges

    @property
    def nbytes(self) -> int:
        """Bytes of the index: the graph and the fingerprints."""
        return self._graph.nbytes + self._prints.nbytes + self._mass.nbytes

    @property
    def has_dangling(self) -> bool:
        """Whether there are nodes without out-edges."""
        return self._mass.size > 0

    def query(
        self,
        source: Any,
        *,
        top: int | None = None,
        error: float = 0.01,
        rounds: int | None = None,
        dangling: Dangling = "restart",
    ) -> PersonalizedRank:
        """Personalized PageRank of one source.

        Parameters
        ----------
        source : node, dict or (n,) ndarray
            A node's name, a dict of nodes and their weights, or a weight for every node in the
            order of ``nodes``. Weights are scaled to add up to 1.
        top : int, optional
            Only the nodes with the highest scores, so many. Default: all that have a score.
        error : float
            Bound on the root mean square of the Euclidean distance to the true vector, over the
            randomness of walks, as estimated from them. Work grows with ``1 / error**2`` until
            exact rounds become cheaper. Default 0.01: enough to rank the nodes next to the source.
        rounds : int, optional
            Exactly so many rounds of decomposition, all flow passed on, as in the paper; `error`
            is then not used. 0 is the fingerprints alone.
        dangling : {"restart", "stay"}
            What a walker does at a node without out-edges: go back to the source (default, as
            networkx has it), or stay there until it restarts.

        Returns
        -------
        PersonalizedRank
            Scores are >= 0 and add up to 1 within the error. ``converged`` tells whether the
            estimated error is within the one asked for.

        Raises
        ------
        KeyError
            For a node that is not in the graph.
        ValueError
            For weights or options out of range.
        """
        return self.query_batch(
            [source], top=top, error=error, rounds=rounds, dangling=dangling, n_jobs=1
        )[0]

    def query_batch(
        self,
        sources: Iterable[Any],
        *,
        top: int | None = None,
        error: float = 0.01,
        rounds: int | None = None,
        dangling: Dangling = "restart",
        n_jobs: int | None = -1,
        progress: Progress | None = None,
    ) -> PersonalizedRanks:
        """Personalized PageRank of many sources at once.

        Parameters
        ----------
        sources : iterable
            Each as in :meth:`query`; a 1-D array of node names is read fastest.
        top, error, rounds, dangling
            As in :meth:`query`. Give `top` where there are many sources: all scores of ten
            thousand of them may fill gigabytes.
        n_jobs : int, optional
            Threads, as joblib counts them. Results do not depend on it.
        progress : callable, optional
            Called with (sources done, all sources).

        Returns
        -------
        PersonalizedRanks
            A sequence of :class:`PersonalizedRank`, in the order of the sources.
        """
        plan = Plan.of(self, sources, top=top, error=error, rounds=rounds, dangling=dangling)
        step = max(1, min(_BLOCK, -(-plan.size // (4 * joblib.effective_n_jobs(n_jobs)))))
        blocks = [slice(at, at + step) for at in range(0, plan.size, step)]
        answers = joblib.Parallel(n_jobs=n_jobs, backend="threading", return_as="generator")(
            joblib.delayed(self._answer)(plan, block.start, min(block.stop, plan.size))
            for block in blocks
        )
        pieces: list[tuple[np.ndarray, ...]] = []
        done = 0
        for answered in answers:
            pieces += answered
            done += sum(part[0].size for part in answered)
            if progress is not None:
                progress(done, plan.size)
        return plan.results(pieces, self.nodes)

    def _answer(self, plan: Plan, first: int, last: int) -> list[tuple[np.ndarray, ...]]:
        """The queries first..last-1 of a plan."""
        pieces, room = [], _ROOM
        while first < last:
            a, b = plan.starts[first], plan.starts[last]
            done, *piece = answer(
                plan.starts[first : last + 1] - a, plan.rows[a:b], plan.weights[a:b],
                plan.targets[first:last], plan.mass[first:last], plan.gain, self._graph.arrays,
                self._prints.arrays, self.restart, GROUP,
                self._prints.targets.size / (self._prints.indptr.size - 1), plan.rounds,
                plan.fixed, self.seed,
                plan.top, room,
            )  # fmt: skip
            pieces.append(tuple(piece))
            first += done
            room *= 4
        return pieces

    def updated(
        self,
        *,
        add: Any = (),
        remove: Any = (),
        n_jobs: int | None = -1,
        progress: Progress | None = None,
    ) -> PowerWalk:
        """The index of the graph with some edges added and removed.

        Only nodes whose walks passed a node with changed out-edges walk anew. The result is what
        a new index with the same seed would be: walks that pass no such node would be the same.

        Parameters
        ----------
        add : tuple of arrays
            ``(sources, targets)`` or ``(sources, targets, weights)``; a weight of 1 by default.
            Nodes that are not there are added, with the next numbers. To change a weight, remove
            the edge and add it in the same call.
        remove : tuple of arrays
            ``(sources, targets)`` of edges that are there. Their nodes stay. Where the index is
            of an undirected graph, an edge is added and removed both ways.
        n_jobs, progress
            As in :class:`PowerWalk`.

        Returns
        -------
        PowerWalk
            A new index; this one stays as it is. ``rewalked`` says how many nodes walked anew.

        Raises
        ------
        ValueError
            For an edge to add that is there, one to remove that is not, or one given twice.
        KeyError
            For an edge to remove with a node that is not there.

        Notes
        -----
        O(edges + size of the index), and the walks. A node that many walks pass costs as many.
        """
        graph, nodes, changed = changed_graph(
            self._graph, self._names, add=add, remove=remove, both_ways=not self.directed
        )
        new = object.__new__(PowerWalk)
        new.restart, new.walks, new.seed = self.restart, self.walks, self.seed
        new.directed = self.directed
        new._hold(graph, nodes)
        groups = groups_of(graph, self.walks)
        rows = rows_that_pass(self._prints, changed, groups, n_jobs)
        new._prints = self._prints
        if rows.size:
            walked = fingerprints(
                graph, rows, groups[rows], restart=self.restart, seed=self.seed, n_jobs=n_jobs,
                progress=progress,
            )  # fmt: skip
            new._prints = self._prints.replace(rows, walked)
        new.rewalked = rows.size
        return new

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write the index to one file, whole or not at all; returns its size in bytes.

        Raises
        ------
        ValueError
            If nodes have names that are neither integers nor strings.
        """
        return file.write(path, self._about(), self._arrays())

    def _about(self) -> dict[str, Any]:
        return {
            "restart": self.restart,
            "walks": self.walks,
            "group": GROUP,
            "seed": self.seed,
            "directed": self.directed,
            "weight": self._graph.weight,
            "nodes": self.n_nodes,
            "edges": self.n_edges,
        }

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "names": storable(self.nodes),
            **self._graph.stored(),
            **{f"prints.{k}": v for k, v in vars(self._prints).items()},
            "mass": self._mass,
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, verify: bool = True) -> PowerWalk:
        """Open an index that :meth:`save` wrote, mapped into memory.

        Parameters
        ----------
        path : path
        verify : bool
            Compute the checksums, which reads the file once. Without it opening takes no time,
            and pages are read when queries need them.

        Raises
        ------
        ValueError
            If the file is no index, truncated, damaged, or of another version.
        """
        about, arrays = file.read(path, verify=verify)
        try:
            new = object.__new__(cls)
            new.restart, new.walks, new.seed = about["restart"], about["walks"], about["seed"]
            new.directed, new.rewalked = about["directed"], about["nodes"]
            new._graph = Graph.from_stored(arrays, about["weight"])
            new._prints = Fingerprints(
                **{k: arrays[f"prints.{k}"] for k in Fingerprints.__dataclass_fields__}
            )
            new.nodes, new._mass = arrays["names"], arrays["mass"]
        except KeyError as error:
            raise file.IndexFileError(f"{path} holds no whole index: {error} is missing") from None
        new._names = Names(new.nodes)
        return new


def check_parameters(restart: float, walks: int, seed: int) -> None:
    """ValueError for parameters of an index that are out of range."""
    if not 0 < restart < 1:
        raise ValueError(f"restart must lie between 0 and 1, got {restart}")
    least = GROUP * LEAST_GROUPS
    if not isinstance(walks, (int, np.integer)) or walks < least:
        raise ValueError(f"walks must be a whole number >= {least}, got {walks!r}")
    if not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
        raise ValueError(f"seed must be a whole number in 0..2**63 - 1, got {seed!r}")


def read_graph(graph: Any, directed: bool | None) -> WeightedGraph:
    """Any graph, with its direction as it says itself where it does."""
    if directed is None:
        if isinstance(graph, WeightedGraph):
            directed = graph.directed
        elif hasattr(graph, "is_directed"):
            directed = bool(graph.is_directed())
        else:
            directed = True
    return as_graph(graph, directed=directed)

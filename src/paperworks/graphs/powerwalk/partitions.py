"""The same index in parts: built and queried by the workers of a cluster.

As in the paper each worker answers for a part of the vertices and holds their out-edges and
fingerprints. A batch of queries is decomposed together: in a round every worker gets the flow of
all queries at its vertices, and returns where that flow goes; after the last round it returns
what its fingerprints make of the flow that is left. Walks, other than in the paper, do not change
workers: to build its part a worker maps the whole graph.

All parts are files of one folder, which every worker must reach.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import scipy.sparse as sp

from paperworks.engines import ENGINES, ray_parallel, ray_results
from paperworks.graphs.powerwalk import file
from paperworks.graphs.powerwalk.decomposition import LEFT
from paperworks.graphs.powerwalk.flows import largest, masked, passing, shares
from paperworks.graphs.powerwalk.index import Fingerprints, Graph
from paperworks.graphs.powerwalk.names import Names, storable
from paperworks.graphs.powerwalk.parts import (
    GRAPH,
    build_part,
    claim,
    combine,
    is_of,
    path_of,
    push,
)
from paperworks.graphs.powerwalk.plan import Dangling, Plan
from paperworks.graphs.powerwalk.power import (
    PowerWalk,
    Progress,
    check_parameters,
    read_graph,
)
from paperworks.graphs.powerwalk.ranking import PersonalizedRank, PersonalizedRanks
from paperworks.graphs.powerwalk.walks import groups_of

RESTARTS = 3
"""How often the task of a worker that died is tried again."""


class PartitionedPowerWalk:
    """An index of :class:`PowerWalk` in parts, for a cluster or for more than memory holds.

    Build one with :meth:`build`, and open it again with the constructor.

    Parameters
    ----------
    folder : path
        Where the parts are; on a cluster a folder that all machines reach.
    engine : {"local", "ray"}
        "ray" sends the work on each part to the cluster that ``RAY_ADDRESS`` names, or to one
        started on this machine (needs the extra ``ray``). A worker that dies is replaced, and its
        task tried again.
    n_jobs : int
        Workers; -1 for all cores.
    verify : bool
        Compute the checksums of the graph and of each part.

    Attributes
    ----------
    nodes, restart, walks, seed, directed
        As of :class:`PowerWalk`.
    parts : int
        How many.

    Raises
    ------
    ValueError
        If the folder holds no index, one whose building was not finished, or damaged files.

    Notes
    -----
    On one machine :class:`PowerWalk` answers faster: it sends nothing around. Workers keep the
    parts that they have opened, as maps of the files.

    Examples
    --------
    >>> import tempfile
    >>> import networkx as nx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     walk = PartitionedPowerWalk.build(nx.karate_club_graph(), folder, parts=3)
    ...     whole = walk.merged()
    ...     walk.query(33, top=3, error=0.001).nodes.tolist(), whole.n_nodes
    ([33, 32, 23], 34)
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        engine: str = "local",
        n_jobs: int = -1,
        verify: bool = True,
    ):
        _check_engine(engine)
        self.folder, self.engine, self.n_jobs = Path(folder).absolute(), engine, n_jobs
        if not (self.folder / GRAPH).is_file():
            raise file.IndexFileError(f"{folder} holds no index in parts ({GRAPH} is missing)")
        about, arrays = file.read(self.folder / GRAPH, verify=verify)
        self.restart, self.walks, self.seed = about["restart"], about["walks"], about["seed"]
        self.directed, self.parts = about["directed"], about["parts"]
        self.nodes, self._mass = arrays["names"], arrays["mass"]
        self._names = Names(self.nodes)
        self._edges = arrays["edges"]
        self._degrees = np.diff(arrays["graph.indptr"])
        missing = [k for k in range(self.parts) if not path_of(self.folder, k).is_file()]
        if missing:
            raise file.IndexFileError(
                f"{folder} lacks {len(missing)} of {self.parts} parts, the first "
                f"{path_of(self.folder, missing[0]).name}: build again with the same parameters, "
                "which makes only what is missing"
            )
        self._groups, self._facts = np.empty(self.n_nodes), np.empty((self.n_nodes, 2))
        self._size = groups = 0
        for k in range(self.parts):
            _, held = file.read(path_of(self.folder, k), verify=verify)
            of = slice(self._edges[k], self._edges[k + 1])
            self._groups[of], self._facts[of] = np.diff(held["first"]), held["facts"]
            self._size += held["targets"].size
            groups += held["indptr"].size - 1
        self._work = self._size / max(groups, 1)

    @classmethod
    def build(
        cls,
        graph: Any,
        folder: str | os.PathLike[str],
        *,
        parts: int = 8,
        restart: float = 0.15,
        walks: int = 64,
        seed: int = 0,
        directed: bool | None = None,
        engine: str = "local",
        n_jobs: int = -1,
        progress: Progress | None = None,
    ) -> PartitionedPowerWalk:
        """Build an index in parts.

        The numbers in it are those of :class:`PowerWalk` with the same parameters. Parts that an
        interrupted run has finished are kept, and only the others made.

        Parameters
        ----------
        graph, restart, walks, seed, directed
            As of :class:`PowerWalk`.
        folder : path
            Made where it is not there. It must not hold another index.
        parts : int
            How many; each is made by one worker at a time and held in memory once.
        engine, n_jobs
            As of the class.
        progress : callable, optional
            Called with (parts done, all parts).
        """
        _check_engine(engine)
        check_parameters(restart, walks, seed)
        if not isinstance(parts, (int, np.integer)) or parts < 1:
            raise ValueError(f"parts must be a whole number >= 1, got {parts!r}")
        whole = read_graph(graph, directed)
        held = Graph.read(whole)
        groups = groups_of(held, walks)
        # Parts of equal work, not of equal numbers of vertices.
        edges = np.searchsorted(np.cumsum(groups), groups.sum() * np.arange(1, parts) / parts)
        edges = np.concatenate([[0], edges, [held.n_nodes]]).astype(np.int64)
        bare = object.__new__(PowerWalk)
        bare.restart = float(restart)
        bare._hold(held, whole.nodes)
        about: dict[str, Any] = {
            "restart": float(restart), "walks": int(walks), "seed": int(seed),
            "directed": whole.directed, "parts": int(parts), "weight": held.weight,
        }  # fmt: skip
        arrays = {
            "names": storable(whole.nodes),
            "mass": bare._mass,
            "edges": edges,
            **held.stored(),
        }
        folder = Path(folder).absolute()
        about["key"] = key = file.digest(about, arrays)
        claim(folder, key, about, arrays)
        waiting = [k for k in range(parts) if not is_of(path_of(folder, k), key)]
        done = parts - len(waiting)
        for _ in _spread(engine, n_jobs, build_part, [(folder, k) for k in waiting]):
            done += 1
            if progress is not None:
                progress(done, parts)
        return cls(folder, engine=engine, n_jobs=n_jobs, verify=False)

    def __repr__(self) -> str:
        return (
            f"PartitionedPowerWalk({self.n_nodes} nodes, {self.parts} parts, "
            f"restart={self.restart:g}, walks={self.walks}, engine={self.engine!r})"
        )

    @property
    def n_nodes(self) -> int:
        """How many nodes."""
        return len(self.nodes)

    @property
    def has_dangling(self) -> bool:
        """Whether there are nodes without out-edges."""
        return self._mass.size > 0

    def query(self, source: Any, **options: Any) -> PersonalizedRank:
        """Personalized PageRank of one source; options as of :meth:`query_batch`."""
        return self.query_batch([source], **options)[0]

    def query_batch(
        self,
        sources: Iterable[Any],
        *,
        top: int | None = None,
        error: float = 0.01,
        rounds: int | None = None,
        dangling: Dangling = "restart",
    ) -> PersonalizedRanks:
        """Personalized PageRank of many sources, decomposed together.

        Parameters and result are those of :meth:`PowerWalk.query_batch`.
        """
        plan = Plan.of(self, sources, top=top, error=error, rounds=rounds, dangling=dangling)
        n, queries = self.n_nodes, plan.size
        if not queries:
            return plan.results([], self.nodes)
        flow = sp.csr_array((plan.weights, plan.rows, plan.starts), shape=(queries, n))
        flow.sum_duplicates()
        scores = sp.csr_array((queries, n))
        taken, counted = np.zeros(queries, dtype=np.int64), 0
        allowed = plan.targets**2
        # The workers stay for the whole batch.
        with _workers(self.engine, self.n_jobs) as workers:
            while counted < plan.rounds:
                if plan.fixed:
                    passes = np.ones(flow.nnz, dtype=bool)
                else:
                    passes = passing(
                        flow.indptr, flow.indices, flow.data, self._degrees, self._groups,
                        self._facts, self._work, 0.5 * LEFT * allowed,
                    )  # fmt: skip
                if not passes.any():
                    break
                moving, flow = masked(flow, passes), masked(flow, ~passes)
                scores = scores + self.restart * moving
                flow = flow + self._gather(workers, push, moving)
                taken[np.diff(moving.indptr) > 0] += 1
                counted += 1
            left = np.asarray(flow.sum(axis=1)).ravel()
            value, groups, squared = shares(
                flow.indptr, flow.indices, flow.data, self._groups, self._facts, allowed,
                plan.fixed, self.seed,
            )  # fmt: skip
            scores = scores + self.restart * flow
            kept = groups > 0
            print_flow = masked(
                sp.csr_array((value, flow.indices, flow.indptr), (queries, n)), kept
            )
            scores = scores + self._gather(workers, combine, print_flow, groups[kept])
        scores = sp.csr_array(sp.diags_array(1.0 / plan.mass) @ scores)
        if plan.gain != 1.0:
            scores.data[self._degrees[scores.indices] == 0] *= plan.gain
        numbers = np.stack([np.sqrt(squared) / plan.mass * plan.gain, left, taken], axis=1)
        return plan.results([largest(scores, plan.top, numbers)], self.nodes)

    def _gather(
        self, workers: Any, task: Any, flow: sp.csr_array, groups: np.ndarray | None = None
    ) -> sp.csr_array:
        """What the parts make of a flow, added up; each gets the flow at its own vertices."""
        asked = []
        for k in range(self.parts):
            here = (flow.indices >= self._edges[k]) & (flow.indices < self._edges[k + 1])
            if here.any():
                part = masked(flow, here)
                extra = None if groups is None else groups[here]
                local = part.indices - self._edges[k]
                asked.append((self.folder, k, part.indptr, local, part.data, extra))
        total = sp.csr_array(flow.shape)
        for indptr, indices, data in workers(joblib.delayed(task)(*each) for each in asked):
            total = total + sp.csr_array((data, indices, indptr), shape=flow.shape)
        return total

    def merged(self) -> PowerWalk:
        """The index as one :class:`PowerWalk`, in memory; what that class would have built."""
        about, arrays = file.read(self.folder / GRAPH)
        new = object.__new__(PowerWalk)
        new.restart, new.walks, new.seed = self.restart, self.walks, self.seed
        new.directed, new.rewalked = self.directed, self.n_nodes
        new._hold(Graph.from_stored(arrays, about["weight"]), self.nodes)
        new._prints = Fingerprints.concatenate(
            [Fingerprints(**file.read(path_of(self.folder, k))[1]) for k in range(self.parts)]
        )
        return new


def _check_engine(engine: str) -> None:
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")


def _workers(engine: str, n_jobs: int) -> joblib.Parallel:
    if engine == "ray":
        return ray_parallel(n_jobs, restarts=RESTARTS)
    return joblib.Parallel(n_jobs=n_jobs, backend="threading")


def _spread(engine: str, n_jobs: int, task: Any, asked: list[tuple[Any, ...]]) -> Iterator[Any]:
    """Run a task on each of `asked`."""
    tasks = [joblib.delayed(task)(*each) for each in asked]
    if engine == "ray":
        yield from ray_results(tasks, n_jobs, restarts=RESTARTS)
    else:
        threads = joblib.Parallel(n_jobs=n_jobs, backend="threading", return_as="generator")
        yield from threads(tasks)

"""The same index in parts: built and queried by the workers of a cluster.

As in the paper each worker answers for a part of the vertices and holds their out-edges and
fingerprints. A batch of queries is decomposed together: in a round every worker gets the flow of
all queries at its vertices, and returns where that flow goes; after the last round it returns
what its fingerprints make of the flow that is left. Walks, other than in the paper, do not change
workers: to build its part a worker maps the whole graph.

All parts are files of one folder, which every worker must reach.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import joblib
import numba
import numpy as np
import scipy.sparse as sp

from paperworks.engines import ENGINES, ray_parallel, ray_results
from paperworks.graphs.powerwalk import file
from paperworks.graphs.powerwalk.decomposition import BUCKETS, EDGE, LEAST, LEFT
from paperworks.graphs.powerwalk.index import Fingerprints, Graph
from paperworks.graphs.powerwalk.names import Names
from paperworks.graphs.powerwalk.power import (
    Dangling,
    Plan,
    PowerWalk,
    Progress,
    check_parameters,
    read_graph,
    storable,
)
from paperworks.graphs.powerwalk.ranking import PersonalizedRank, PersonalizedRanks
from paperworks.graphs.powerwalk.walks import GROUP, fingerprints, groups_of, unit

RESTARTS = 3
"""How often the task of a worker that died is tried again."""
_GRAPH = "graph.ppr"


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
        if not (self.folder / _GRAPH).is_file():
            raise file.IndexFileError(f"{folder} holds no index in parts ({_GRAPH} is missing)")
        about, arrays = file.read(self.folder / _GRAPH, verify=verify)
        self.restart, self.walks, self.seed = about["restart"], about["walks"], about["seed"]
        self.directed, self.parts = about["directed"], about["parts"]
        self.nodes, self._mass = arrays["names"], arrays["mass"]
        self._names = Names(self.nodes)
        self._edges = arrays["edges"]
        self._degrees = np.diff(arrays["graph.indptr"])
        missing = [k for k in range(self.parts) if not _part(self.folder, k).is_file()]
        if missing:
            raise file.IndexFileError(
                f"{folder} lacks {len(missing)} of {self.parts} parts, the first "
                f"{_part(self.folder, missing[0]).name}: build again with the same parameters, "
                "which makes only what is missing"
            )
        self._groups, self._facts = np.empty(self.n_nodes), np.empty((self.n_nodes, 2))
        self._size = groups = 0
        for k in range(self.parts):
            _, held = file.read(_part(self.folder, k), verify=verify)
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
            **{f"graph.{k}": v for k, v in vars(held).items() if k != "weight"},
        }
        folder = Path(folder).absolute()
        about["key"] = key = file.digest(about, arrays)
        _claim(folder, key, about, arrays)
        waiting = [k for k in range(parts) if not _is_of(_part(folder, k), key)]
        done = parts - len(waiting)
        for _ in _spread(engine, n_jobs, _build_part, [(folder, k) for k in waiting]):
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
                    passes = _passing(
                        flow.indptr, flow.indices, flow.data, self._degrees, self._groups,
                        self._facts, self._work, 0.5 * LEFT * allowed,
                    )  # fmt: skip
                if not passes.any():
                    break
                moving, flow = _of(flow, passes), _of(flow, ~passes)
                scores = scores + self.restart * moving
                flow = flow + self._gather(workers, _push, moving)
                taken[np.diff(moving.indptr) > 0] += 1
                counted += 1
            left = np.asarray(flow.sum(axis=1)).ravel()
            value, groups, squared = _shares(
                flow.indptr, flow.indices, flow.data, self._groups, self._facts, allowed,
                plan.fixed, self.seed,
            )  # fmt: skip
            scores = scores + self.restart * flow
            kept = groups > 0
            print_flow = _of(sp.csr_array((value, flow.indices, flow.indptr), (queries, n)), kept)
            scores = scores + self._gather(workers, _combine, print_flow, groups[kept])
        scores = sp.csr_array(sp.diags_array(1.0 / plan.mass) @ scores)
        if plan.gain != 1.0:
            scores.data[self._degrees[scores.indices] == 0] *= plan.gain
        numbers = np.stack([np.sqrt(squared) / plan.mass * plan.gain, left, taken], axis=1)
        return plan.results([_largest(scores, plan.top, numbers)], self.nodes)

    def _gather(
        self, workers: Any, task: Any, flow: sp.csr_array, groups: np.ndarray | None = None
    ) -> sp.csr_array:
        """What the parts make of a flow, added up; each gets the flow at its own vertices."""
        asked = []
        for k in range(self.parts):
            here = (flow.indices >= self._edges[k]) & (flow.indices < self._edges[k + 1])
            if here.any():
                part = _of(flow, here)
                extra = None if groups is None else groups[here]
                local = part.indices - self._edges[k]
                asked.append((self.folder, k, part.indptr, local, part.data, extra))
        total = sp.csr_array(flow.shape)
        for indptr, indices, data in workers(joblib.delayed(task)(*each) for each in asked):
            total = total + sp.csr_array((data, indices, indptr), shape=flow.shape)
        return total

    def merged(self) -> PowerWalk:
        """The index as one :class:`PowerWalk`, in memory; what that class would have built."""
        about, arrays = file.read(self.folder / _GRAPH)
        new = object.__new__(PowerWalk)
        new.restart, new.walks, new.seed = self.restart, self.walks, self.seed
        new.directed, new.rewalked = self.directed, self.n_nodes
        new._hold(_graph_of(about, arrays), self.nodes)
        new._prints = Fingerprints.concatenate(
            [Fingerprints(**file.read(_part(self.folder, k))[1]) for k in range(self.parts)]
        )
        return new


def _check_engine(engine: str) -> None:
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")


def _part(folder: Path, k: int) -> Path:
    return folder / f"part-{k:05d}.ppr"


def _claim(folder: Path, key: str, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write the graph into a folder that is free, or was begun with the same graph."""
    path = folder / _GRAPH
    if path.is_file():
        held, _ = file.read(path, verify=False)
        if held.get("key") != key:
            raise ValueError(
                f"{folder} holds an index of another graph or other parameters: name another "
                "folder, or remove this one"
            )
        return
    file.write(path, about, arrays)


def _is_of(path: Path, key: str) -> bool:
    """Whether a part is there, whole, and of this index."""
    try:
        return bool(file.read(path)[0].get("key") == key)
    except (OSError, file.IndexFileError):
        return False


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


def _graph_of(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> Graph:
    names = ("indptr", "indices", "weights", "cumulative")
    return Graph(**{k: arrays[f"graph.{k}"] for k in names}, weight=about["weight"])


@lru_cache(maxsize=4)
def _opened_graph(path: Path, _stamp: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return file.read(path, verify=False)


@lru_cache(maxsize=64)
def _opened_part(path: Path, _stamp: int) -> Fingerprints:
    return Fingerprints(**file.read(path, verify=False)[1])


def _graph(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    path = folder / _GRAPH
    return _opened_graph(path, path.stat().st_mtime_ns)


def _prints(folder: Path, k: int) -> Fingerprints:
    path = _part(folder, k)
    return _opened_part(path, path.stat().st_mtime_ns)


def _build_part(folder: Path, k: int) -> int:
    """Make one part and write it: what a worker does."""
    about, arrays = _graph(folder)
    graph = _graph_of(about, arrays)
    rows = np.arange(arrays["edges"][k], arrays["edges"][k + 1])
    made = fingerprints(
        graph, rows, groups_of(graph, about["walks"])[rows], restart=about["restart"],
        seed=about["seed"], n_jobs=1,
    )  # fmt: skip
    return file.write(_part(folder, k), {"key": about["key"], "part": k}, vars(made))


def _push(
    folder: Path, k: int, indptr: np.ndarray, local: np.ndarray, data: np.ndarray, _: None
) -> tuple[np.ndarray, ...]:
    """Where the flow of all queries at a part's vertices goes in one step."""
    about, arrays = _graph(folder)
    graph = _graph_of(about, arrays)
    rows = local + arrays["edges"][k]
    starts, stops = graph.indptr[rows], graph.indptr[rows + 1]
    values = np.array(data) * (1.0 - about["restart"])
    if not graph.cumulative.size:
        values /= np.maximum(stops - starts, 1)
    return _multiply(
        np.array(indptr), starts, stops, values, graph.indices, graph.cumulative,
        np.empty(0, dtype=np.uint8), graph.n_nodes,
    )  # fmt: skip


def _combine(
    folder: Path, k: int, indptr: np.ndarray, local: np.ndarray, data: np.ndarray,
    groups: np.ndarray,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """What the fingerprints of a part make of the flow of all queries at its vertices."""
    about, arrays = _graph(folder)
    prints = _prints(folder, k)
    first = prints.first[local]
    values = np.array(data) * about["restart"] / (groups * GROUP)
    return _multiply(
        np.array(indptr), prints.indptr[first], prints.indptr[first + groups], values,
        prints.targets, np.empty(0), prints.counts, arrays["graph.indptr"].size - 1,
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _multiply(indptr, starts, stops, values, columns, cumulative, counts, n):
    """Rows of a product: of row q the sums of ``values[i]`` times stretches of a sparse matrix.

    The matrix has ones, or the differences of `cumulative` along a stretch, or `counts`.
    """
    total = np.zeros(n)
    touched = np.empty(n, dtype=np.int32)
    sizes = np.zeros(indptr.size, dtype=np.int64)
    room = 1024
    indices, data = np.empty(room, dtype=np.int32), np.empty(room)
    used = 0
    for q in range(indptr.size - 1):
        found = 0
        for i in range(indptr[q], indptr[q + 1]):
            before = 0.0
            for k in range(starts[i], stops[i]):
                amount = values[i]
                if cumulative.size:
                    amount *= cumulative[k] - before
                    before = cumulative[k]
                elif counts.size:
                    amount *= counts[k]
                if amount > 0.0:
                    w = columns[k]
                    if total[w] == 0.0:
                        touched[found], found = w, found + 1
                    total[w] += amount
        if used + found > room:
            room = 2 * (used + found)
            more, many = np.empty(room, dtype=np.int32), np.empty(room)
            more[:used], many[:used] = indices[:used], data[:used]
            indices, data = more, many
        for i in range(found):
            w = touched[i]
            indices[used + i], data[used + i] = w, total[w]
            total[w] = 0.0
        used += found
        sizes[q + 1] = used
    return sizes, indices[:used], data[:used]


@numba.njit(cache=True, nogil=True)
def _passing(indptr, indices, data, degrees, groups, facts, work, allowed):
    """Which flow goes on, by the rule of `decomposition`, for every query of a batch."""
    passes = np.zeros(data.size, dtype=np.bool_)
    errors = np.empty(BUCKETS)
    for q in range(indptr.size - 1):
        errors[:] = 0.0
        total = 0.0
        for i in range(indptr[q], indptr[q + 1]):
            v = indices[i]
            error = data[i] * data[i] * facts[v, 1] / groups[v]
            if error > 0.0:
                total += error
                share = error / (EDGE * degrees[v] + work)
                errors[min(max(math.frexp(share)[1] - LEAST, 0), BUCKETS - 1)] += error
        if total <= 2.0 * allowed[q]:
            continue
        below, bucket = errors[0], 0
        while below <= allowed[q]:
            bucket += 1
            below += errors[bucket]
        cut = 2.0 ** (bucket + LEAST - 1)
        for i in range(indptr[q], indptr[q + 1]):
            v = indices[i]
            error = data[i] * data[i] * facts[v, 1] / groups[v]
            passes[i] = error > 0.0 and error >= cut * (EDGE * degrees[v] + work)
    return passes


@numba.njit(cache=True, nogil=True)
def _shares(indptr, indices, data, groups, facts, allowed, fixed, chance):
    """How many groups each flow takes, at which weight, and each query's squared error."""
    values, taken = data.copy(), np.zeros(data.size, dtype=np.int64)
    squared = np.zeros(indptr.size - 1)
    for q in range(indptr.size - 1):
        error, spread = 0.0, 0.0
        for i in range(indptr[q], indptr[q + 1]):
            v, f = indices[i], data[i]
            error += f * f * facts[v, 1] / groups[v]
            spread += f * max(facts[v, 0], facts[v, 1])
        grain = 0.0
        if not fixed and allowed[q] > error and spread > 0.0:
            grain = (allowed[q] - error) / spread
        along = unit(chance, q, 0)
        for i in range(indptr[q], indptr[q + 1]):
            v, f = indices[i], data[i]
            if f < grain:
                squared[q] += f * f * facts[v, 1] + (grain - f) * f * facts[v, 0]
                along += f / grain
                if along >= 1.0:
                    along -= 1.0
                    values[i], taken[i] = grain, 1
                continue
            taken[i] = int(groups[v])
            if grain > 0.0:
                taken[i] = min(taken[i], math.ceil(f / grain))
            squared[q] += f * f * facts[v, 1] / taken[i]
    return values, taken, squared


def _of(matrix: sp.csr_array, mask: np.ndarray) -> sp.csr_array:
    """The entries of a CSR matrix that a mask keeps."""
    sums = np.concatenate([[0], np.cumsum(mask)])
    return sp.csr_array(
        (matrix.data[mask], matrix.indices[mask], sums[matrix.indptr]), shape=matrix.shape
    )


def _largest(scores: sp.csr_array, top: int, numbers: np.ndarray) -> tuple[np.ndarray, ...]:
    """The largest scores of each row, in the form of :func:`answer`."""
    rows, values, sizes = [], [], []
    for a, b in zip(scores.indptr[:-1], scores.indptr[1:], strict=True):
        order = np.lexsort((scores.indices[a:b], -scores.data[a:b]))
        order = order[:top] if top else order
        rows.append(scores.indices[a:b][order].astype(np.int64))
        values.append(scores.data[a:b][order])
        sizes.append(order.size)
    return np.array(sizes), np.concatenate(rows), np.concatenate(values), numbers

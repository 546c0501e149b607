"""Edges added and removed, and which walks that concerns."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import joblib
import numba
import numpy as np

from paperworks.graphs.powerwalk.index import Fingerprints, Graph
from paperworks.graphs.powerwalk.names import Names


def changed_graph(
    graph: Graph, names: Names, *, add: Any, remove: Any, both_ways: bool
) -> tuple[Graph, np.ndarray, np.ndarray]:
    """The graph after the changes, the names of its nodes, and the rows whose edges changed."""
    gone = _columns(remove, "remove")
    if len(gone) == 3:
        raise ValueError("remove takes (sources, targets), without weights")
    new = _columns(add, "add")
    weights = np.ones(len(new[0])) if len(new) == 2 else _weights(new[2], new[0], new[1])
    values = _with_new(names, np.concatenate([new[0], new[1]]) if len(new[0]) else new[0])
    after = Names(values)
    n = len(values)
    gone_rows, gone_cols = (names.rows(column) for column in gone[:2])
    new_rows, new_cols = (after.rows(column) for column in new[:2])
    if both_ways:
        gone_rows, gone_cols, _ = _mirrored(gone_rows, gone_cols, np.zeros(gone_rows.size))
        new_rows, new_cols, weights = _mirrored(new_rows, new_cols, weights)
    counts = np.diff(graph.indptr)
    keys = np.repeat(np.arange(graph.n_nodes), counts) * n + graph.indices
    gone_keys = _once(gone_rows * n + gone_cols, "remove", values, n)
    at = np.searchsorted(keys, gone_keys)
    absent = keys[np.minimum(at, keys.size - 1)] != gone_keys if keys.size else gone_keys >= 0
    if absent.any():
        raise ValueError(f"edge {_edge(gone_keys[absent][0], values, n)} to remove is not there")
    stays = np.ones(keys.size, dtype=bool)
    stays[at] = False
    keys, old = keys[stays], graph.all_weights()[stays]
    new_keys = _once(new_rows * n + new_cols, "add", values, n)
    weights = weights[np.argsort(new_rows * n + new_cols, kind="stable")]
    at = np.searchsorted(keys, new_keys)
    there = keys[np.minimum(at, keys.size - 1)] == new_keys if keys.size else new_keys < 0
    if there.any():
        raise ValueError(
            f"edge {_edge(new_keys[there][0], values, n)} to add is there already: to change its "
            "weight, remove it in the same call"
        )
    keys, all_weights = np.insert(keys, at, new_keys), np.insert(old, at, weights)
    indptr = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(np.bincount(keys // n, minlength=n), out=indptr[1:])
    changed = np.unique(np.concatenate([gone_rows, new_rows]))
    return Graph.of(indptr, (keys % n).astype(np.int32), all_weights), values, changed


def _columns(edges: Any, what: str) -> list[np.ndarray]:
    if isinstance(edges, np.ndarray) and edges.ndim == 2 and edges.shape[1] in (2, 3):
        edges = tuple(edges.T)
    columns = [np.asarray(column) for column in edges]
    if not columns:
        return [np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)]
    if len(columns) not in (2, 3) or len({column.shape for column in columns}) != 1:
        raise ValueError(
            f"{what} must be (sources, targets) or (sources, targets, weights) of one length, got "
            f"{len(columns)} of shapes {', '.join(str(column.shape) for column in columns)}"
        )
    return columns


def _weights(column: np.ndarray, sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
    try:
        weights = column.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"weights must be numbers: {error}") from None
    bad = ~np.isfinite(weights) | (weights <= 0)
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"weights of edges to add must be > 0 and finite, got {weights[at]} on edge "
            f"({sources[at]}, {targets[at]})"
        )
    return weights


def _with_new(names: Names, used: np.ndarray) -> np.ndarray:
    """The names with those of `used` that are not there behind them, ascending."""
    values = names.values
    if not used.size:
        return values
    numbers = values.dtype.kind in "iu"
    if numbers != (used.dtype.kind in "iu"):
        raise ValueError(
            f"the nodes of the index are {'integers' if numbers else 'strings'}, and those of the "
            f"edges to add have dtype {used.dtype}"
        )
    fresh = np.setdiff1d(used, values) if numbers else _fresh(used, values)
    return np.concatenate([values, fresh]) if fresh.size else values


def _fresh(used: np.ndarray, values: np.ndarray) -> np.ndarray:
    there = set(values.tolist())
    fresh = sorted({name for name in used.tolist() if name not in there})
    return np.array(fresh, dtype=str if values.dtype.kind == "U" else object)


def _mirrored(
    rows: np.ndarray, cols: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    off = rows != cols
    return (
        np.concatenate([rows, cols[off]]),
        np.concatenate([cols, rows[off]]),
        np.concatenate([weights, weights[off]]),
    )


def _once(keys: np.ndarray, what: str, values: np.ndarray, n: int) -> np.ndarray:
    keys = np.sort(keys)
    again = keys[1:] == keys[:-1]
    if again.any():
        raise ValueError(f"edge {_edge(keys[1:][again][0], values, n)} to {what} is given twice")
    return keys


def _edge(key: int, values: np.ndarray, n: int) -> str:
    return f"({values[key // n]}, {values[key % n]})"


@numba.njit(cache=True, nogil=True)
def _passes(first, indptr, targets, marked, start, stop, found):
    for v in range(start, stop):
        for k in range(indptr[first[v]], indptr[first[v + 1]]):
            if marked[targets[k]]:
                found[v] = True
                break


def rows_that_pass(
    prints: Fingerprints, changed: np.ndarray, groups: np.ndarray, n_jobs: int | None
) -> np.ndarray:
    """Rows whose walks passed one of `changed`, these themselves, and rows whose number of groups
    is another than that in `groups`, (n,), new rows among them.
    """
    marked = np.zeros(groups.size, dtype=np.bool_)
    marked[changed] = True
    found = marked.copy()
    found[prints.n_rows :] = True
    found[: prints.n_rows] |= np.diff(prints.first) != groups[: prints.n_rows]
    edges = np.linspace(0, prints.n_rows, 4 * joblib.effective_n_jobs(n_jobs) + 1).astype(int)
    joblib.Parallel(n_jobs=n_jobs, require="sharedmem")(
        joblib.delayed(_passes)(
            prints.first, prints.indptr, prints.targets, marked, start, stop, found
        )
        for start, stop in pairwise(edges)
    )
    return np.flatnonzero(found)

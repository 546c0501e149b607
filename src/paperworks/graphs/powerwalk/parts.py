"""One part of an index: its files, and what a worker does with them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from paperworks.graphs.powerwalk import file
from paperworks.graphs.powerwalk.flows import multiply
from paperworks.graphs.powerwalk.index import Fingerprints, Graph
from paperworks.graphs.powerwalk.walks import GROUP, fingerprints, groups_of

GRAPH = "graph.ppr"


def path_of(folder: Path, k: int) -> Path:
    """The file of a part."""
    return folder / f"part-{k:05d}.ppr"


def claim(folder: Path, key: str, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write the graph into a folder that is free, or was begun with the same graph."""
    path = folder / GRAPH
    if path.is_file():
        held, _ = file.read(path, verify=False)
        if held.get("key") != key:
            raise ValueError(
                f"{folder} holds an index of another graph or other parameters: name another "
                "folder, or remove this one"
            )
        return
    file.write(path, about, arrays)


def is_of(path: Path, key: str) -> bool:
    """Whether a part is there, whole, and of this index."""
    try:
        return bool(file.read(path)[0].get("key") == key)
    except (OSError, file.IndexFileError):
        return False


@lru_cache(maxsize=4)
def _opened_graph(path: Path, _stamp: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return file.read(path, verify=False)


@lru_cache(maxsize=64)
def _opened_part(path: Path, _stamp: int) -> Fingerprints:
    return Fingerprints(**file.read(path, verify=False)[1])


def _graph(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    path = folder / GRAPH
    return _opened_graph(path, path.stat().st_mtime_ns)


def _prints(folder: Path, k: int) -> Fingerprints:
    path = path_of(folder, k)
    return _opened_part(path, path.stat().st_mtime_ns)


def build_part(folder: Path, k: int) -> int:
    """Make one part and write it; the bytes that it takes."""
    about, arrays = _graph(folder)
    graph = Graph.from_stored(arrays, about["weight"])
    rows = np.arange(arrays["edges"][k], arrays["edges"][k + 1])
    made = fingerprints(
        graph, rows, groups_of(graph, about["walks"])[rows], restart=about["restart"],
        seed=about["seed"], n_jobs=1,
    )  # fmt: skip
    return file.write(path_of(folder, k), {"key": about["key"], "part": k}, vars(made))


def push(
    folder: Path, k: int, indptr: np.ndarray, local: np.ndarray, data: np.ndarray, _: None
) -> tuple[np.ndarray, ...]:
    """Where the flow of all queries at a part's vertices goes in one step."""
    about, arrays = _graph(folder)
    graph = Graph.from_stored(arrays, about["weight"])
    rows = local + arrays["edges"][k]
    starts, stops = graph.indptr[rows], graph.indptr[rows + 1]
    values = np.array(data) * (1.0 - about["restart"])
    if not graph.cumulative.size:
        values /= np.maximum(stops - starts, 1)
    return multiply(
        np.array(indptr), starts, stops, values, graph.indices, graph.cumulative,
        np.empty(0, dtype=np.uint8), graph.n_nodes,
    )  # fmt: skip


def combine(
    folder: Path, k: int, indptr: np.ndarray, local: np.ndarray, data: np.ndarray,
    groups: np.ndarray,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """What the fingerprints of a part make of the flow of all queries at its vertices."""
    about, arrays = _graph(folder)
    prints = _prints(folder, k)
    first = prints.first[local]
    values = np.array(data) * about["restart"] / (groups * GROUP)
    return multiply(
        np.array(indptr), prints.indptr[first], prints.indptr[first + groups], values,
        prints.targets, np.empty(0), prints.counts, arrays["graph.indptr"].size - 1,
    )  # fmt: skip

"""Readers of graphs: converted npz, Planetoid's parts, pickled npz, and GML without features."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paperworks.data.readers.pickles import restricted_load, sparse_from_npz_member
from paperworks.data.readers.raw import Fields, unpacked


def _symmetric(n: int, rows: np.ndarray, columns: np.ndarray) -> Any:
    """The 0/1 adjacency of the undirected graph without self-loops."""
    from scipy.sparse import csr_array

    keep = rows != columns
    rows, columns = rows[keep], columns[keep]
    both = (np.concatenate([rows, columns]), np.concatenate([columns, rows]))
    adjacency = csr_array((np.ones(len(both[0])), both), shape=(n, n))
    adjacency.sum_duplicates()
    adjacency.data[:] = 1.0
    return adjacency


def _graph(adjacency: Any, features: Any, labels: np.ndarray, **fields: np.ndarray) -> Fields:
    none = np.zeros(0, dtype=np.int64)
    defaults = {"train_index": none, "val_index": none, "test_index": none}
    indices = {key: np.asarray(fields.get(key, none), dtype=np.int64) for key in defaults}
    everyone = np.ones(len(labels), dtype=bool)
    return {
        "adjacency": adjacency,
        "features": features,
        "labels": labels.astype(np.int64),
        "has_features": np.asarray(fields.get("has_features", everyone), dtype=bool),
        **indices,
    }


def graph_npz(paths: Sequence[Path]) -> Fields:
    """The converted graphs: plain arrays, the adjacency and the features as CSR."""
    from scipy.sparse import csr_array

    with np.load(paths[0], allow_pickle=False) as file:
        arrays = dict(file)
    n, d = int(arrays["num_nodes"]), int(arrays["num_features"])
    adjacency = csr_array(
        (np.ones(len(arrays["indices"])), arrays["indices"], arrays["indptr"]), shape=(n, n)
    )
    features = csr_array(
        (arrays["feat_data"], arrays["feat_indices"], arrays["feat_indptr"]), shape=(n, d)
    )
    rest = {key: arrays[key] for key in arrays if key.endswith("_index") or key == "has_features"}
    return _graph(adjacency, features, arrays["labels"], **rest)


def planetoid_parts(paths: Sequence[Path]) -> Fields:
    """Planetoid's eight files: x, tx, allx, y, ty, ally, graph (pickles) and test.index (text).

    Row ``i`` of ``tx`` belongs to the node in line ``i`` of ``test.index``. The public split: the
    rows of ``x`` train, the next 500 validate, the nodes of ``test.index`` test.
    """
    from scipy.sparse import csr_array, vstack

    _, tx, allx, y, ty, ally, neighbours = (
        restricted_load(path.read_bytes()) for path in paths[:7]
    )
    test = np.loadtxt(paths[7], dtype=np.int64, ndmin=1)
    n = allx.shape[0] + tx.shape[0]
    order = np.arange(n)
    order[test] = np.arange(allx.shape[0], n)
    features = csr_array(vstack([allx, tx]), dtype=np.float32)[order]
    features.sort_indices()
    features.eliminate_zeros()
    onehot = np.concatenate([np.asarray(ally), np.asarray(ty)])[order]
    labels = np.where(onehot.any(axis=1), onehot.argmax(axis=1), -1)
    rows = np.repeat(np.fromiter(neighbours, np.int64), [len(v) for v in neighbours.values()])
    columns = np.array([node for nodes in neighbours.values() for node in nodes], dtype=np.int64)
    train = len(np.asarray(y))
    return _graph(
        _symmetric(n, rows, columns),
        features,
        labels,
        train_index=np.arange(train),
        val_index=np.arange(train, min(train + 500, allx.shape[0])),
        test_index=np.sort(test),
    )


def graph_pickled_npz(paths: Sequence[Path]) -> Fields:
    """An npz that holds two pickled SciPy matrices and the labels; edges are made undirected."""
    from scipy.sparse import csr_array

    with zipfile.ZipFile(paths[0]) as archive:
        adjacency = sparse_from_npz_member(archive, "adj_matrix").tocoo()
        features = csr_array(sparse_from_npz_member(archive, "node_attr"), dtype=np.float32)
        labels = np.load(io.BytesIO(archive.read("node_label.npy")), allow_pickle=False)
    features.sort_indices()
    return _graph(_symmetric(len(labels), adjacency.row, adjacency.col), features, labels)


def graph_gml(paths: Sequence[Path]) -> Fields:
    """A GML graph whose nodes carry their class as ``gt``; no features, edges made undirected."""
    import networkx as nx
    from scipy.sparse import csr_array

    graph = nx.parse_gml(unpacked(paths[0]).decode(), label="id")
    place = {node: i for i, node in enumerate(graph)}
    edges = np.array([(place[a], place[b]) for a, b in graph.edges()], dtype=np.int64)
    _, labels = np.unique([str(kind) for _, kind in graph.nodes(data="gt")], return_inverse=True)
    n = len(place)
    return _graph(
        _symmetric(n, edges[:, 0], edges[:, 1]),
        csr_array((n, 0), dtype=np.float32),
        labels,
        has_features=np.zeros(n, dtype=bool),
    )

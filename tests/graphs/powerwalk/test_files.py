"""Indexes on disk, updates, and parts."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from ppr_exact import random_graph

from paperworks.graphs import PartitionedPowerWalk, PowerWalk, as_graph
from paperworks.graphs.powerwalk import file


def same(a: PowerWalk, b: PowerWalk) -> None:
    for x, y in zip(
        [*a._graph.arrays, *a._prints.arrays, a._mass, a.nodes],
        [*b._graph.arrays, *b._prints.arrays, b._mass, b.nodes],
        strict=True,
    ):
        np.testing.assert_array_equal(x, y)
    assert (a.restart, a.walks, a.seed, a.directed) == (b.restart, b.walks, b.seed, b.directed)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("verify", [False, True])
def test_a_saved_index_comes_back(tmp_path: Path, weighted: bool, verify: bool) -> None:
    walk = PowerWalk(random_graph(80, 300, 1, weighted=weighted), restart=0.2, seed=9, walks=48)
    size = walk.save(tmp_path / "graph.ppr")
    assert size == (tmp_path / "graph.ppr").stat().st_size
    loaded = PowerWalk.load(tmp_path / "graph.ppr", verify=verify)
    same(walk, loaded)
    assert [each.name for each in tmp_path.iterdir()] == ["graph.ppr"]
    base = loaded._prints.targets
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    loaded._prints.targets[:] = 0  # stays in memory
    same(walk, PowerWalk.load(tmp_path / "graph.ppr"))


def test_names_are_kept(tmp_path: Path) -> None:
    letters = nx.relabel_nodes(nx.path_graph(3), {0: "a", 1: "bcd", 2: "é"})
    PowerWalk(letters).save(tmp_path / "x")
    assert set(PowerWalk.load(tmp_path / "x").query("é").nodes) == {"a", "bcd", "é"}
    with pytest.raises(ValueError, match=r"integers or strings, got \(0, 0\): relabel"):
        PowerWalk(nx.grid_2d_graph(2, 2)).save(tmp_path / "y")
    assert not (tmp_path / "y").exists()


def test_a_cut_file_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    PowerWalk(random_graph(30, 100, 1)).save(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    arrays_end = max(start + size for start, size in places(tmp_path / "whole").values())
    for length in [0, 5, 15, 30, 500, *np.linspace(1000, arrays_end - 1, 30).astype(int)]:
        (tmp_path / "cut").write_bytes(content[:length])
        with pytest.raises(file.IndexFileError, match=r"truncated|no index"):
            PowerWalk.load(tmp_path / "cut", verify=False)


def places(path: Path) -> dict[str, tuple[int, int]]:
    """Where each array starts in a file, and its bytes: read by the format alone."""
    import json

    content = path.read_bytes()
    _, _, length, _ = struct.unpack("<8sIII", content[:20])
    header = json.loads(content[20 : 20 + length])
    base = -(-(20 + length) // 64) * 64
    return {
        name: (
            base + entry["offset"],
            int(np.prod(entry["shape"])) * np.dtype(entry["dtype"]).itemsize,
        )
        for name, entry in header["arrays"].items()
    }


def test_a_flipped_bit_is_found_in_every_array(tmp_path: Path) -> None:
    path = tmp_path / "graph.ppr"
    PowerWalk(random_graph(30, 100, 1, weighted=True)).save(path)
    content = bytearray(path.read_bytes())
    for name, (start, size) in places(path).items():
        assert size, name
        content[start + size // 2] ^= 4
        path.write_bytes(content)
        with pytest.raises(file.IndexFileError, match=f"damaged in '{name}'"):
            PowerWalk.load(path)
        content[start + size // 2] ^= 4
    content[40] ^= 1
    path.write_bytes(content)
    with pytest.raises(file.IndexFileError, match="damaged in its header"):
        PowerWalk.load(path)


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "graph.ppr"
    PowerWalk(nx.path_graph(3)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[:8] + struct.pack("<I", 2) + content[12:])
    with pytest.raises(file.IndexFileError, match="version 2, and this paperworks reads version 1"):
        PowerWalk.load(path)
    header = b'{"about": {}, "arrays": {}}'
    path.write_bytes(
        struct.pack("<8sIII", b"PPRINDEX", 1, len(header), zlib.crc32(header)) + header
    )
    with pytest.raises(file.IndexFileError, match="holds no whole index"):
        PowerWalk.load(path)


def test_a_failed_save_leaves_the_old_index(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "graph.ppr"
    walk = PowerWalk(nx.path_graph(30))
    walk.save(path)
    before = path.read_bytes()
    monkeypatch.setattr(
        file, "_up", lambda offset: 1 / 0 if offset > 900 else -(-offset // 64) * 64
    )
    with pytest.raises(ZeroDivisionError):
        PowerWalk(nx.path_graph(300)).save(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["graph.ppr"]


@given(st.integers(0, 10_000), st.booleans(), st.booleans())
@settings(max_examples=25, deadline=None)
def test_an_update_is_a_new_index(seed: int, weighted: bool, directed: bool) -> None:
    rng = np.random.default_rng(seed)
    n = 60
    A = random_graph(n, 120, seed, weighted=weighted).toarray()
    if not directed:
        A = np.maximum(A, A.T)
    graph = as_graph(sp.csr_array(A), directed=directed)
    walk = PowerWalk(graph, seed=seed % 7)
    B = np.zeros((n + 2, n + 2))
    B[:n, :n] = A
    there, absent = np.argwhere(A), np.argwhere(B == 0)
    if not directed:
        there, absent = there[there[:, 0] <= there[:, 1]], absent[absent[:, 0] <= absent[:, 1]]
    gone = there[rng.permutation(len(there))[: rng.integers(4)]]
    new = absent[rng.permutation(len(absent))[: rng.integers(4)]]
    new = np.vstack([new, [[0, n], [1, n + 1]]])
    weights = rng.uniform(0.5, 2, len(new)) if weighted else np.ones(len(new))
    for pairs, values in ((gone, np.zeros(len(gone))), (new, weights)):
        for (i, j), value in zip(pairs, values, strict=True):
            B[i, j] = value
            if not directed:
                B[j, i] = value
    new = np.unique(new, axis=0) if len(np.unique(new, axis=0)) < len(new) else new
    add = (new[:, 0], new[:, 1], np.array([B[i, j] for i, j in new]))
    before = walk.query(0).vector()
    updated = walk.updated(add=add, remove=(gone[:, 0], gone[:, 1]))
    fresh = PowerWalk(as_graph(sp.csr_array(B), directed=directed), seed=seed % 7)
    same(updated, fresh)
    assert updated.rewalked <= fresh.n_nodes
    np.testing.assert_array_equal(walk.query(0).vector(), before)  # the old one stays


def test_an_update_walks_anew_only_where_it_must() -> None:
    two = nx.disjoint_union(nx.path_graph(50), nx.cycle_graph(50))
    walk = PowerWalk(two)
    updated = walk.updated(remove=([0], [1]))
    assert 2 <= updated.rewalked <= 50
    assert walk.updated().rewalked == 0
    same(walk.updated(), walk)
    same(walk.updated(remove=([3], [4])).updated(add=([3], [4])), walk)


def test_bad_updates_are_named() -> None:
    walk = PowerWalk(([0, 1, 2], [1, 2, 0]))
    for options, words in (
        ({"add": ([0], [1])}, r"edge \(0, 1\) to add is there already"),
        ({"remove": ([1], [0])}, r"edge \(1, 0\) to remove is not there"),
        ({"add": ([0, 0], [2, 2])}, r"edge \(0, 2\) to add is given twice"),
        ({"add": ([0], [2], [-1.0])}, r"must be > 0 and finite, got -1.0 on edge \(0, 2\)"),
        ({"add": (["a"], ["b"])}, "the nodes of the index are integers"),
        ({"add": ([0], [1, 2])}, "of one length"),
        ({"remove": ([0], [1], [1.0])}, "without weights"),
    ):
        with pytest.raises(ValueError, match=words):
            walk.updated(**options)
    with pytest.raises(KeyError, match="node 9 is not in the graph"):
        walk.updated(remove=([9], [0]))
    changed = walk.updated(add=([0], [1], [3.0]), remove=([0], [1]))
    assert changed.n_edges == 3


@pytest.mark.parametrize("weighted", [False, True])
def test_parts_are_the_whole(tmp_path: Path, weighted: bool) -> None:
    A = random_graph(150, 600, 2, weighted=weighted)
    whole = PowerWalk(A, seed=3)
    seen: list[tuple[int, int]] = []
    parts = PartitionedPowerWalk.build(
        A, tmp_path / "parts", parts=5, seed=3, n_jobs=2,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(k, 5) for k in range(1, 6)]
    same(whole, parts.merged())
    sources = [*range(0, 150, 5), {1: 1.0, 2: 3.0}]
    for dangling in ("restart", "stay"):
        for rounds in (0, 1, 3):
            a = whole.query_batch(sources, rounds=rounds, dangling=dangling)
            b = parts.query_batch(sources, rounds=rounds, dangling=dangling)
            for x, y in zip(a, b, strict=True):
                np.testing.assert_allclose(x.vector(), y.vector(), atol=1e-13)
                assert x.error == pytest.approx(y.error, rel=1e-6)
        tight = parts.query_batch(sources, error=1e-9, dangling=dangling, top=7)
        exact = whole.query_batch(sources, error=1e-11, dangling=dangling, top=7)
        assert tight.converged.all()
        np.testing.assert_allclose(tight.scores, exact.scores, atol=1e-8)
    assert len(parts.query_batch([])) == 0


def test_parts_keep_the_error_asked_for(tmp_path: Path) -> None:
    from ppr_exact import pagerank

    A = random_graph(120, 500, 1)
    exact = np.array([pagerank(A, e) for e in np.eye(120)])
    squared = []
    for seed in range(6):
        parts = PartitionedPowerWalk.build(A, tmp_path / str(seed), parts=3, seed=seed, n_jobs=1)
        found = parts.query_batch(np.arange(120), error=0.02)
        assert found.converged.all()
        squared.append(((np.array([r.vector() for r in found]) - exact) ** 2).sum(axis=1))
    assert np.mean(squared) <= 1.15 * 0.02**2


def test_a_build_goes_on_with_the_parts_that_are_there(tmp_path: Path) -> None:
    A = random_graph(80, 300, 1)
    PartitionedPowerWalk.build(A, tmp_path, parts=4, n_jobs=1)
    kept, lost = tmp_path / "part-00000.ppr", tmp_path / "part-00002.ppr"
    stamp = kept.stat().st_mtime_ns
    lost.write_bytes(lost.read_bytes()[:300])
    with pytest.raises(ValueError, match="truncated"):
        PartitionedPowerWalk(tmp_path)
    lost.unlink()
    with pytest.raises(ValueError, match=r"lacks 1 of 4 parts, the first part-00002\.ppr"):
        PartitionedPowerWalk(tmp_path)
    again = PartitionedPowerWalk.build(A, tmp_path, parts=4, n_jobs=1)
    assert kept.stat().st_mtime_ns == stamp
    same(again.merged(), PowerWalk(A))
    with pytest.raises(ValueError, match="holds an index of another graph or other parameters"):
        PartitionedPowerWalk.build(A, tmp_path, parts=4, seed=1, n_jobs=1)
    same(PartitionedPowerWalk(tmp_path).merged(), PowerWalk(A))
    with pytest.raises(ValueError, match="engine must be one of local, ray, got 'dask'"):
        PartitionedPowerWalk(tmp_path, engine="dask")
    with pytest.raises(ValueError, match="holds no index in parts"):
        PartitionedPowerWalk(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="parts must be a whole number >= 1, got 0"):
        PartitionedPowerWalk.build(A, tmp_path, parts=0)

"""Files of edges: text, gzip and Parquet, and what is wrong with them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperworks.graphs import as_graph, edge_list, read_edge_list


def edges_of(graph) -> list[tuple]:
    found = graph.adjacency.tocoo()
    rows, cols = (graph.nodes[part].tolist() for part in found.coords)
    return sorted(zip(rows, cols, found.data.tolist(), strict=True))


@given(
    st.dictionaries(
        st.tuples(st.integers(-(10**17), 10**17), st.integers(0, 50)),
        st.floats(1e-12, 1e12),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from([" ", "\t", ",", " ; ", "  "]),
    st.sampled_from(["\n", "\r\n", "\n\n# note 7\n"]),
    st.booleans(),
    st.integers(8, 60),
)
@settings(max_examples=150, deadline=None)
def test_text_is_read_as_python_reads_it(edges, separator, end, weighted, piece) -> None:
    import tempfile

    lines = [
        separator.join([str(a), str(b), *([repr(float(w))] if weighted else [])])
        for (a, b), w in edges.items()
    ]
    expected = sorted((a, b, float(w) if weighted else 1.0) for (a, b), w in edges.items())
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge_list, "_PIECE", max(piece, 1))
        path = Path(folder, "edges.gz")
        path.write_bytes(gzip.compress(end.join(lines).encode()))
        found = edges_of(read_edge_list(path))
    assert [e[:2] for e in found] == [e[:2] for e in expected]
    np.testing.assert_allclose([e[2] for e in found], [e[2] for e in expected], rtol=4e-15)


def test_headers_comments_and_marks_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_bytes(b"\xef\xbb\xbfsource,target,weight\n1,2,0.5\n% x\n\n3,1,2e-3")
    assert edges_of(read_edge_list(path)) == [(1, 2, 0.5), (3, 1, 0.002)]
    assert edges_of(read_edge_list(path, weighted=False)) == [(1, 2, 1.0), (3, 1, 1.0)]
    assert read_edge_list(path, directed=False).n_edges == 2


def test_names_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "e.txt"
    path.write_text("# people\nann bob 2\nbob 7 1.5\n")
    assert edges_of(read_edge_list(path, ids="str")) == [("ann", "bob", 2.0), ("bob", "7", 1.5)]


def test_progress_reaches_the_size_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "e.txt"
    path.write_text("".join(f"{i} {i + 1}\n" for i in range(1000)))
    seen: list[tuple[int, int]] = []
    read_edge_list(path, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 2\n3\n", "line 2: '3': an edge needs two node ids"),
        ("# a\n1 2\n\n3 x\n", "line 4: '3 x': a node id must be a whole number"),
        ("1.5 2\n", "a node id must be a whole number"),
        ("1" * 19 + " 2\n", "at most 18 digits"),
        ("1 2 x\n", "a weight must be a number"),
        ("1 2 1e\n", "a weight must be a number"),
        ("1 2 3\n4 5\n", "line 2: '4 5': it has 2 columns"),
        ("1 2\n4 5 6\n", "line 2: '4 5 6': it has 3 columns"),
        ("1 2 3 4\n", "it has 4 columns"),
        ("1 2 -1\n", r"weights must be >= 0 and finite, got -1.0 on edge \(1, 2\)"),
        ("1 2\n1 2\n", r"edge \(1, 2\) is given twice"),
        ("", "holds no edge"),
        ("# nothing\n", "holds no edge"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "e.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_edge_list(path)


def test_bad_files_are_named(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b"%d %d\n" % (i, i + 1) for i in range(5000)))
    (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.gz is truncated or no gzip file"):
        read_edge_list(tmp_path / "cut.gz")
    (tmp_path / "no.gz").write_text("1 2\n")
    with pytest.raises(ValueError, match="truncated or no gzip file"):
        read_edge_list(tmp_path / "no.gz")
    with pytest.raises(FileNotFoundError):
        read_edge_list(tmp_path / "nowhere.txt")
    (tmp_path / "two.txt").write_text("1 2\n")
    with pytest.raises(ValueError, match="no third column"):
        read_edge_list(tmp_path / "two.txt", weighted=True)
    with pytest.raises(ValueError, match="ids must be 'int' or 'str', got 'float'"):
        read_edge_list(tmp_path / "two.txt", ids="float")
    (tmp_path / "names.txt").write_text("a b 1\nc d\n")
    with pytest.raises(ValueError, match="line 2: 'c d'"):
        read_edge_list(tmp_path / "names.txt", ids="str")


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "e.parquet"
    table = {"weight": [0.5, 2.0], "target": [5, 9], "source": [9, 7]}
    parquet.write_table(pyarrow.table(table), path)
    assert edges_of(read_edge_list(path)) == [(7, 9, 2.0), (9, 5, 0.5)]
    assert edges_of(read_edge_list(path, weighted=False)) == [(7, 9, 1.0), (9, 5, 1.0)]
    parquet.write_table(pyarrow.table({"a": ["x", "y"], "b": ["y", "z"]}), path)
    assert edges_of(read_edge_list(path)) == [("x", "y", 1.0), ("y", "z", 1.0)]
    parquet.write_table(pyarrow.table({"a": [1, None], "b": [2, 3]}), path)
    with pytest.raises(ValueError, match="column 'a' has missing values"):
        read_edge_list(path)
    parquet.write_table(pyarrow.table({"a": [1]}), path)
    with pytest.raises(ValueError, match="needs two columns"):
        read_edge_list(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        read_edge_list(path)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 60)), min_size=1, unique=True))
@settings(max_examples=100, deadline=None)
def test_ids_with_few_gaps_are_numbered_as_with_many(pairs) -> None:
    edges = np.array(pairs)
    few = as_graph((edges[:, 0], edges[:, 1]), directed=True)
    many = as_graph((edges[:, 0] * 10**9, edges[:, 1] * 10**9), directed=True)
    np.testing.assert_array_equal(few.nodes * 10**9, many.nodes)
    np.testing.assert_array_equal(few.adjacency.toarray(), many.adjacency.toarray())

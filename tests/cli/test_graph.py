"""``paperworks graph ppr``: build, query, update."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from typer.testing import CliRunner

from paperworks.cli import app

GRAPH = nx.gnp_random_graph(60, 0.08, seed=1, directed=True)


def run(*arguments: Any, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["graph", "ppr", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output if code else result.stdout


@pytest.fixture
def edges(tmp_path: Path) -> Path:
    path = tmp_path / "edges.txt.gz"
    path.write_bytes(gzip.compress("".join(f"{u} {v}\n" for u, v in GRAPH.edges).encode()))
    return path


@pytest.fixture
def index(tmp_path: Path, edges: Path) -> Path:
    run("build", edges, "-o", tmp_path / "index.ppr")
    return tmp_path / "index.ppr"


def test_build_and_query_a_file_of_edges(tmp_path: Path, edges: Path) -> None:
    report = json.loads(run("build", edges, "-o", tmp_path / "i.ppr", "--walks", 128, "--json"))
    assert (report["nodes"], report["edges"]) == (60, GRAPH.number_of_edges())
    assert report["bytes"] == (tmp_path / "i.ppr").stat().st_size
    asked = run("query", tmp_path / "i.ppr", 5, 9, "--top", 3, "--error", 1e-9, "--json")
    found = json.loads(asked)["results"]
    for source, each in zip((5, 9), found, strict=True):
        exact = nx.pagerank(GRAPH, 0.85, personalization={source: 1}, tol=1e-13)
        best = sorted(exact, key=lambda v: (-exact[v], v))[:3]
        assert each["source"] == source
        assert each["nodes"] == best
        np.testing.assert_allclose(each["scores"], [exact[v] for v in best], atol=1e-8)


def test_sources_from_a_file_and_results_into_one(tmp_path: Path, index: Path) -> None:
    (tmp_path / "sources.txt").write_text("3\n4\n")
    run("query", index, "--from", tmp_path / "sources.txt", "--top", 2, "-o", tmp_path / "r.csv")
    with (tmp_path / "r.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["source"] for row in rows] == ["3", "3", "4", "4"]
    assert rows[0]["node"] == "3"
    parquet = pytest.importorskip("pyarrow.parquet")
    run("query", index, 3, 4, "--top", 2, "-o", tmp_path / "r.parquet")
    table = parquet.read_table(tmp_path / "r.parquet")
    assert table["score"].to_pylist() == [float(row["score"]) for row in rows]


def test_nodes_together_are_one_start(index: Path) -> None:
    asked = ("query", index, "3=2", "9", "--together", "--error", 1e-9, "--stay", "--json")
    (found,) = json.loads(run(*asked))["results"]
    loops = GRAPH.copy()
    loops.add_edges_from((v, v) for v in GRAPH if not GRAPH.out_degree(v))
    exact = nx.pagerank(loops, 0.85, personalization={3: 2, 9: 1}, tol=1e-13)
    np.testing.assert_allclose(found["scores"], [exact[v] for v in found["nodes"]], atol=1e-7)


def test_parts_answer_as_the_file_does(tmp_path: Path, edges: Path, index: Path) -> None:
    run("build", edges, "-o", tmp_path / "parts", "--parts", 3, "--jobs", 1)
    a, b = (
        json.loads(run("query", where, 7, "--rounds", 2, "--json"))["results"][0]
        for where in (index, tmp_path / "parts")
    )
    assert a["nodes"] == b["nodes"]
    np.testing.assert_allclose(a["scores"], b["scores"], atol=1e-12)


def test_update_is_a_new_build(tmp_path: Path, index: Path) -> None:
    gone = list(GRAPH.edges)[:2]
    (tmp_path / "gone.txt").write_text("".join(f"{u} {v}\n" for u, v in gone))
    (tmp_path / "new.txt").write_text(f"{gone[0][1]} 60\n60 0\n")
    out = run(
        "update", index, "-o", tmp_path / "new.ppr", "--add", tmp_path / "new.txt",
        "--remove", tmp_path / "gone.txt", "--json",
    )  # fmt: skip
    assert json.loads(out)["nodes"] == 61
    after = [e for e in GRAPH.edges if e not in gone] + [(gone[0][1], 60), (60, 0)]
    (tmp_path / "all.txt").write_text("".join(f"{u} {v}\n" for u, v in after))
    run("build", tmp_path / "all.txt", "-o", tmp_path / "fresh.ppr")
    assert (tmp_path / "new.ppr").read_bytes() == (tmp_path / "fresh.ppr").read_bytes()


def test_wrong_input_is_one_line_and_status_2(tmp_path: Path, edges: Path, index: Path) -> None:
    (tmp_path / "bad.txt").write_text("1 2\n3 four\n")
    cut = tmp_path / "cut.ppr"
    cut.write_bytes(index.read_bytes()[:2000])
    for arguments, words in (
        (("build", tmp_path / "bad.txt", "-o", tmp_path / "x"), "line 2: '3 four'"),
        (("build", tmp_path / "none.txt", "-o", tmp_path / "x"), "No such file"),
        (("build", edges, "-o", tmp_path / "x", "--walks", 8), "walks must be"),
        (("build", edges, "-o", tmp_path / "x", "--engine", "ray"), "give --parts"),
        (("query", index), "no source"),
        (("query", index, 999), "error: node 999 is not in the graph"),
        (("query", index, "abc"), "whole numbers, got 'abc'"),
        (("query", index, "1=x", "--together"), "NODE or NODE=WEIGHT, got '1=x'"),
        (("query", index, 1, "--error", 0), "error must be > 0"),
        (("query", index, 1, "--engine", "ray"), "index in parts"),
        (("query", cut, 1), "truncated"),
        (("query", edges, 1), "is no index"),
        (("update", index, "-o", tmp_path / "x"), "give --add or --remove"),
        (("update", index, "-o", tmp_path / "x", "--add", edges), "is there already"),
    ):
        output = " ".join(run(*arguments, code=2).split())
        assert words in output
        assert "Traceback" not in output
        assert not (tmp_path / "x").exists()

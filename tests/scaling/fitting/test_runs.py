"""Tables of runs in every form, and every kind of bad line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from paperworks.scaling.fitting import read_runs
from paperworks.scaling.lines import BadLineError

ROWS = [("a", 1e6, 4.25), ("a", 2e6, 4.0), ("b", 4e6, 3.5)]
CSV = "run,params,loss\n" + "".join(f"{r},{n},{y}\n" for r, n, y in ROWS)
JSONL = "".join(f'{{"loss": {y}, "run": "{r}", "params": {n}}}\n' for r, n, y in ROWS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("runs.csv", CSV),
        ("runs.csv", "\ufeff" + CSV.replace("\n", "\r\n\r\n")),
        ("runs.tsv", CSV.replace(",", "\t")),
        ("runs.jsonl", JSONL),
        ("runs.csv.gz", CSV),
        ("runs.jsonl.gz", JSONL),
    ],
)
def test_every_form_reads_alike(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    runs = read_runs(path, {"N": "params"}, group="run")
    assert runs.variables["N"].tolist() == [1e6, 2e6, 4e6]
    assert runs.y.tolist() == [4.25, 4.0, 3.5]
    assert runs.groups is not None
    assert runs.groups.tolist() == ["a", "a", "b"]
    assert runs.bad == ()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("c,8e6", "2 cells, not 3"),
        ("c,8e6,3,9", "4 cells, not 3"),
        ("c,many,3", "params must be a number, got 'many'"),
        ("c,,3", "params is missing"),
        ("c,-8e6,3", "params must be > 0, got '-8e6'"),
        ("c,8e6,0", "loss must be > 0, got '0'"),
        ("c,8e6,inf", "loss must be finite, got 'inf'"),
        (",8e6,3", "run is missing"),
        ('"c,8e6,3', "not CSV"),
    ],
)
def test_a_bad_line_is_left_out_and_named(tmp_path: Path, line: str, why: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(f"{CSV}{line}\nd,1.6e7,3.25\n")
    runs = read_runs(path, {"N": "params"}, group="run")
    assert runs.y.tolist() == [4.25, 4.0, 3.5, 3.25]
    assert runs.lines.tolist() == [2, 3, 4, 6]
    (bad,) = runs.bad
    assert bad.line == 5
    assert why in bad.why
    with pytest.raises(BadLineError, match=r"runs\.csv, line 5: "):
        read_runs(path, {"N": "params"}, group="run", strict=True)


def test_bad_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text(JSONL + '{"loss": \n[1]\n{"loss": true, "params": 1}\n{"loss": 1}\n')
    runs = read_runs(path, {"N": "params"})
    assert [bad.line for bad in runs.bad] == [4, 5, 6, 7]
    assert [bad.why for bad in runs.bad] == [
        "not a JSON object",
        "not a JSON object",
        "loss must be a number, got True",
        "params is missing",
    ]


def test_a_loss_of_zero_where_it_may_be(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("k,solved\n1,0\n10,0.5\n")
    assert read_runs(path, {"k": "k"}, y="solved", zero_y=True).y.tolist() == [0.0, 0.5]


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(CSV)
    with pytest.raises(ValueError, match="has no column 'tokens'; it has run, params, loss"):
        read_runs(path, {"D": "tokens"})
    path.write_text("params,loss\nx,1\n")
    with pytest.raises(ValueError, match="holds no usable line; the first of 1 bad: line 2"):
        read_runs(path, {"N": "params"})
    path.write_text("")
    with pytest.raises(ValueError, match="is empty"):
        read_runs(path, {"N": "params"})
    with pytest.raises(FileNotFoundError):
        read_runs(tmp_path / "none.csv", {"N": "params"})

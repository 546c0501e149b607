"""Run logs: what is read, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from paperworks.scaling import BadLineError, RunLog, read_run_log

GOOD = "run,N,B,step,loss\na,1e6,512,20,4.0\na,1e6,512,10,5.0\nb,2e6,512,10,4.5\n"


def test_rows_are_put_in_order(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text(GOOD)
    log = read_run_log(file)
    assert log.runs == ("a", "b")
    assert log.S.tolist() == [10, 20, 10]
    assert log.loss.tolist() == [5, 4, 4.5]
    assert log.D is None
    assert log.single_pass().all()
    assert repr(log) == "RunLog(2 runs, 2 sizes, 1 batch size, 3 rows)"


def test_json_lines_gzip_and_other_names(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl.gz"
    line = '{"run": "x", "params": 1e6, "B": 64, "iteration": 5, "loss": 3.5, "dataset": 1000}\n'
    file.write_bytes(gzip.compress((line + line.replace(": 5,", ": 20,")).encode()))
    log = read_run_log(file, columns={"N": "params", "S": "iteration"})
    assert log.N.tolist() == [1e6, 1e6]
    assert log.D is not None
    assert log.single_pass().tolist() == [True, False]  # 320 and 1,280 of 1,000 tokens


def test_bad_lines_are_left_out_and_told(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text(GOOD + "b,2e6,512,20,nan\nb,2e6,512\n,1,1,1,1\n")
    log = read_run_log(file)
    assert log.S.size == 3
    assert [bad.line for bad in log.bad] == [5, 6, 7]
    with pytest.raises(BadLineError, match="line 5: loss must be finite, got 'nan'"):
        read_run_log(file, strict=True)


def test_bad_files(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text("run,N,B,loss\na,1,1,1\n")
    with pytest.raises(ValueError, match="no column 'step'"):
        read_run_log(file)
    file.write_text(GOOD)
    with pytest.raises(ValueError, match="columns may rename run, N, B, S, loss, D; got tokens"):
        read_run_log(file, columns={"tokens": "x"})
    with pytest.raises(ValueError, match="has no column 'data'"):
        read_run_log(file, columns={"D": "data"})
    with pytest.raises(OSError, match="No such file"):
        read_run_log(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((["a", "a"], [1e6, 2e6], 1, [1, 2], 1), r"run 'a' has N 1e\+06 and 2e\+06"),
        ((["a", "a"], 1, [1, 2], [1, 2], 1), "run 'a' has B 1 and 2"),
        ((["a", "a"], 1, 1, [3, 3], 1), "run 'a' has step 3 twice"),
        ((["a", "a"], 1, 1, [1, 2, 3], 1), r"S must be a number or \(2,\), got \(3,\)"),
        ((["a"], 1, 1, 1, -2.0), r"loss must be finite and > 0, got -2.0"),
        ((["a"], 1, np.inf, 1, 1), r"B must be finite and > 0, got inf"),
        (([], 1, 1, 1, 1), "at least one row"),
    ],
)
def test_runs_that_contradict_themselves(arguments: tuple, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RunLog(*arguments)


def test_no_row_left() -> None:
    log = RunLog(["a"], 1, 1, 1, 1)
    with pytest.raises(ValueError, match="no row of the run log is left"):
        log.where(log.S > 1)

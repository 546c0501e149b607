"""``paperworks passk`` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from paperworks.scaling import CoverageLaw, coverage


def run(*arguments: object) -> Result:
    from paperworks.cli.passk import passk

    app = typer.Typer()
    app.command()(passk)
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})


@pytest.fixture
def results(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    c = rng.binomial(100, rng.beta(0.4, 2, 30))
    path = tmp_path / "results.jsonl"
    path.write_text(
        "".join(json.dumps({"problem": f"p{i}", "n": 100, "c": int(v)}) + "\n"
                for i, v in enumerate(c))
    )  # fmt: skip
    return path


def counts(path: Path) -> np.ndarray:
    return np.array([json.loads(line)["c"] for line in path.read_text().splitlines()])


def test_table(results: Path) -> None:
    result = run(results)
    assert result.exit_code == 0, result.output
    assert "30 problems, 100 samples each" in result.stdout
    expected = coverage(100, counts(results), [1, 10, 100])
    for value, low, high in zip(expected.coverage, expected.low, expected.high, strict=True):
        assert f"{value:.2%}" in result.stdout
        assert f"{low:.2%} to {high:.2%}" in result.stdout
    assert result.stderr == ""


def test_json_is_json_and_nothing_else(results: Path) -> None:
    result = run(results, "--json", "--k", "10,1", "--fit", "--confidence", "0.9")
    out = json.loads(result.stdout)
    assert [row["k"] for row in out["coverage"]] == [1, 10]
    expected = coverage(100, counts(results), [1, 10], confidence=0.9)
    np.testing.assert_allclose([row["coverage"] for row in out["coverage"]], expected.coverage)
    np.testing.assert_allclose([row["low"] for row in out["coverage"]], expected.low)
    law = CoverageLaw.fit_counts(100, counts(results))
    assert (out["law"]["a"], out["law"]["b"]) == (pytest.approx(law.a), pytest.approx(law.b))
    reach = {row["target"]: row["samples"] for row in out["law"]["samples_to_reach"]}
    assert reach[0.9] == law.samples_to_reach(0.9).samples
    assert (out["problems"], out["samples"], out["bad_lines"]) == (30, 3000, [])


def test_one_line_per_sample_gives_the_same(results: Path, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    with path.open("w") as file:
        for i, c in enumerate(counts(results)):
            for j in range(100):
                file.write(json.dumps({"problem": f"p{i}", "correct": bool(j < c)}) + "\n")
    assert json.loads(run(path, "--json").stdout) == json.loads(run(results, "--json").stdout)


def test_fit_in_words(results: Path) -> None:
    result = run(results, "--fit")
    assert result.exit_code == 0, result.output
    law = CoverageLaw.fit_counts(100, counts(results))
    assert f"exp({law.a:.4g} k^{law.b:.4g})" in result.stdout
    assert "90% of problems" in result.stdout
    assert "beyond the data" in result.stdout


def test_bad_lines_are_counted_out_loud(results: Path) -> None:
    clean = json.loads(run(results, "--json").stdout)
    with results.open("a") as file:
        file.write('[bold]not json\n{"problem": "p0", "n": 100, "c": 1}\n')
    result = run(results)
    assert result.exit_code == 0
    assert "left out line 31: not JSON" in result.stderr
    assert "left out line 32: problem 'p0' is counted already on line 1" in result.stderr
    assert "bad lines left out: 2" in result.stdout
    out = json.loads(run(results, "--json").stdout)
    assert [bad["line"] for bad in out.pop("bad_lines")] == [31, 32]
    clean.pop("bad_lines")
    assert out == clean


def test_many_bad_lines_do_not_flood(results: Path) -> None:
    with results.open("a") as file:
        file.write("x\n" * 1000)
    result = run(results)
    assert "and" not in result.stderr.split("\n")[0]
    assert "990 more bad lines" in result.stderr
    assert len(result.stderr.splitlines()) == 11


def test_strict_stops_at_the_first_bad_line(results: Path) -> None:
    with results.open("a") as file:
        file.write("x\n")
    result = run(results, "--strict")
    assert result.exit_code == 2
    assert "line 31: not JSON" in result.stderr
    assert result.stdout == ""


def test_k_too_large_for_some_problems(results: Path) -> None:
    with results.open("a") as file:
        file.write('{"problem": "short", "n": 20, "c": 5}\n')
    result = run(results, "--k", "1,10,100")
    assert result.exit_code == 0
    assert "k = 100 left out: 1 of 31 problems have fewer samples (the fewest: 20)" in result.stderr
    assert "--min-samples 100 leaves out those problems instead" in result.stderr
    assert " 100 " not in result.stdout.split("coverage")[1]
    without = run(results, "--k", "1,10,100", "--min-samples", "100")
    assert "left out for too few samples: 1 of 31 problems" in without.stdout
    assert without.stderr == ""
    assert run(results, "--k", "1,100", "--strict").exit_code == 2
    alone = run(results, "--k", "5000")
    assert alone.exit_code == 2
    assert "k = 5000 left out: 31 of 31" in alone.stderr
    assert "--min-samples" not in alone.stderr


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot(results: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / f"out.{suffix}"
    result = run(results, "--plot", path, "--fit")
    assert result.exit_code == 0, result.output
    start = path.read_bytes()[:200]
    assert start.startswith(b"\x89PNG") if suffix == "png" else b"<?xml" in start
    assert str(path) in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--k", "1,x"], "--k must be whole numbers with commas, as 1,10,100, got '1,x'"),
        (["--k", "0"], "--k must be >= 1, got 0"),
        (["--confidence", "95"], "confidence must be between 0 and 1, got 95.0"),
        (["--min-samples", "500"], "no problem has 500 samples, the most is 100"),
        (["--plot", "out.nonsense"], "not supported"),
    ],
)
def test_errors_are_one_line(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(results, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert len(result.stderr.splitlines()) == 1


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    missing = run(tmp_path / "missing")
    assert missing.exit_code == 2
    assert "No such file" in missing.stderr
    nothing = tmp_path / "r.jsonl"
    nothing.write_text('{"problem": "a", "n": 10, "c": 0}\n')
    result = run(nothing, "--fit")
    assert result.exit_code == 2
    assert "no problem was solved at any k" in result.stderr

"""``paperworks scaling recipe``: what it prints, draws, asks for and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from paperworks.cli.scaling.recipe import recipe
from paperworks.scaling import TrajectoryLaw

LAW = TrajectoryLaw(1.5e14, 0.076, 2.6e3, 0.67, 1.7e8, 0.205)  # arXiv 2403.06563
LADDER = [(1e6, 2.0**k) for k in (16, 18, 20, 22)]
SIZES = [(4e6, 2.0**19), (1.6e7, 2.0**19)]

app = typer.Typer()
app.command()(recipe)


def write(path: Path, runs: list[tuple[float, float]], more: str = "") -> Path:
    rng = np.random.default_rng(0)
    lines = ["run,N,B,step,loss,ignored"]
    for i, (N, B) in enumerate(runs):
        for S in np.geomspace(500, 1e5, 20).round():
            loss = float(LAW.loss(N, S, B)) * np.exp(rng.normal(0, 0.001))
            lines.append(f"r{i},{N},{B},{S},{loss},x")
    path.write_text("\n".join(lines) + "\n" + more)
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return write(tmp_path / "runs.csv", LADDER + SIZES)


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--resamples", "50"])
    return result.exit_code, result.stdout, result.stderr


def test_json(runs: Path) -> None:
    code, out, _ = run(
        runs, "--json", "--predict", "N=1e9,B=1e6,S=1e5", "--reach", "N=1e9,loss=2.9,w=0.8"
    )
    assert code == 0
    found = json.loads(out)
    assert found["constants"]["alpha_N"]["value"] == pytest.approx(0.076, rel=0.05)
    assert found["runs"] == 6
    (curve,) = found["curves"]
    last = curve["curve"][-1]
    assert last["step"] == 1e5
    assert last["loss"] == pytest.approx(float(LAW.loss(1e9, 1e5, 1e6)), rel=0.02)
    assert curve["times_beyond_the_runs"] == pytest.approx(62.5)
    (plan,) = found["plans"]
    assert plan["batch"]["value"] == pytest.approx(4 * plan["critical_batch"]["value"])
    assert plan["tokens"]["value"] == pytest.approx(plan["batch"]["value"] * plan["steps"]["value"])
    assert set(found["missing"]) == {"size", "data"}


def test_words_and_drawing(runs: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "deep" / "curve.png"
    code, out, err = run(runs, "--predict", "N=1e9,B=1e6", "--plot", drawn, "--joint")
    assert code == 0
    assert "RunLog(6 runs, 3 sizes, 5 batch sizes, 120 rows)" in out
    assert "N = 1,000,000,000, B = 1,000,000: it would end at" in out
    assert "100,000" in out  # the last step of the longest run
    assert "L(D) needs the column dataset" in err
    assert drawn.read_bytes().startswith(b"\x89PNG")


def test_never_is_a_word(runs: Path) -> None:
    code, out, _ = run(runs, "--json", "--reach", "N=1e9,loss=2.6,B=1e6")
    assert code == 0
    (plan,) = json.loads(out)["plans"]
    assert plan["steps"]["value"] > 0
    assert plan["batch"] == {"value": 1e6, "low": 1e6, "high": 1e6}


def test_missing_runs_are_named(tmp_path: Path) -> None:
    few = write(tmp_path / "few.csv", LADDER[:2])
    code, _, err = run(few)
    assert code == 1
    assert "the critical batch needs runs of N = 1,000,000 at 1 more batch size" in err
    assert "the steps law needs curves of 2 more model sizes" in err
    code, out, _ = run(few, "--json")
    assert code == 1
    assert "critical" in json.loads(out)["missing"]


def test_bad_lines(tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.csv", LADDER + SIZES, more="r0,1e6,65536,7,-3,x\n")
    code, out, err = run(bad, "--json")
    assert code == 0
    assert json.loads(out)["bad_lines"] == [{"line": 122, "why": "loss must be > 0, got '-3'"}]
    assert "left out line 122" in err
    assert run(bad, "--strict")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--predict", "N=1e9"], "--predict takes B, N and maybe S; got 'N=1e9'"),
        (["--predict", "N"], "--predict must look like B=...,N=..., got 'N'"),
        (["--predict", "N=-1,B=2"], "--predict: N must be finite and > 0, got -1"),
        (["--reach", "N=1e9,loss=1"], "does not reach 1; take a larger"),
        (["--reach", "N=1e9,loss=3,B=1,S=1"], "at most one of batch, time_weight and max_steps"),
        (["--columns", "N"], "--columns must look like N=params"),
        (["--columns", "N=params"], "no column 'params'"),
        (["--confidence", "2"], "confidence must be between 0 and 1, got 2.0"),
    ],
)
def test_bad_input(runs: Path, arguments: list[str], words: str) -> None:
    code, _, err = run(runs, *arguments)
    assert code == 2
    assert words in " ".join(err.split())


def test_no_file(tmp_path: Path) -> None:
    code, _, err = run(tmp_path / "none.csv")
    assert code == 2
    assert "none.csv" in " ".join(err.split())

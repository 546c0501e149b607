"""``paperworks scaling`` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from paperworks.scaling import LAWS, compare_laws, fit_law


def run(*arguments: object) -> Result:
    from paperworks.cli.scaling import app

    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})


@pytest.fixture
def table(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    N, D = np.exp(rng.uniform(np.log(1e7), np.log(1e10), (2, 40)))
    p = {"E": 1.8, "A": 480.0, "alpha": 0.35, "B": 2100.0, "beta": 0.37}
    y = LAWS["chinchilla"](p, {"N": N, "D": D}) * np.exp(rng.normal(0, 0.01, 40))
    path = tmp_path / "runs.csv"
    lines = [
        f"{n!r},{d!r},{loss!r}"
        for n, d, loss in zip(N.tolist(), D.tolist(), y.tolist(), strict=True)
    ]
    path.write_text("N,D,loss\n" + "\n".join(lines) + "\n")
    return path, {"N": N, "D": D}, y


def test_fit_as_json_is_the_fit_of_the_library(table) -> None:
    path, x, y = table
    result = run("fit", path, "--law", "chinchilla", "--predict", "N=1e11,D=1e12", "--json")
    assert result.exit_code == 0, result.output
    out = json.loads(result.stdout)
    fit = fit_law("chinchilla", x, y)
    for name, each in fit.parameters.items():
        assert out["parameters"][name] == pytest.approx(
            {"value": each.value, "low": each.low, "high": each.high}
        )
    said = fit.predict({"N": 1e11, "D": 1e12})
    (point,) = out["predictions"]
    assert (point["value"], point["low"]) == (pytest.approx(said.value), pytest.approx(said.low))
    assert point["new_run_low"] < point["low"]
    assert point["times_beyond_the_data"] == pytest.approx(1e12 / x["D"].max())
    assert out["held_out"]["rows"] == 10
    assert out["converged"]


def test_fit_in_words_with_a_picture(table, tmp_path: Path) -> None:
    path, _, _ = table
    with path.open("a") as file:
        file.write("1e9,oops,3\n")
    picture = tmp_path / "made" / "law.png"
    result = run(
        "fit", path, "--law", "chinchilla", "--predict", "N=1e11,D=1e12", "--plot", picture
    )
    assert result.exit_code == 0, result.output
    assert "y = E + A N^-alpha + B D^-beta: 40 rows of 40 runs" in result.stdout
    assert "times beyond the runs" in result.stdout
    assert "held out: 10 rows of the largest runs" in result.stdout
    assert "left out line 42: D must be a number, got 'oops'" in result.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    one = run("fit", path, "--law", "power-offset", "--columns", "N", "--plot", tmp_path / "n.svg")
    assert one.exit_code == 0, one.output
    assert "y = E + A N^-alpha" in one.stdout
    strict = run("fit", path, "--law", "chinchilla", "--strict")
    assert strict.exit_code == 2
    assert "line 42" in strict.stderr


def test_columns_by_other_names_and_runs_of_several_rows(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    x = np.geomspace(10, 1e5, 12)
    rows = [f"r{i},{v},{3 * v**-0.3 * f}" for i, v in enumerate(x) for f in (0.99, 1.01)]
    path.write_text("name,tokens,err\n" + "\n".join(rows))
    out = json.loads(
        run("fit", path, "--law", "power", "--y", "err", "--group", "name", "--predict",
            "tokens=1e6", "--json").stdout
    )  # fmt: skip
    assert (out["rows"], out["runs"]) == (24, 12)
    assert out["law"]["formula"] == "y = A tokens^-alpha"
    assert out["parameters"]["alpha"]["value"] == pytest.approx(0.3, rel=1e-6)
    named = run("fit", path, "--law", "power", "--y", "err", "--columns", "D=tokens", "--json")
    assert json.loads(named.stdout)["law"]["variables"] == ["D"]


def test_compare_ranks_by_the_held_out_error(table) -> None:
    path, x, y = table
    out = json.loads(run("compare", path, "--json").stdout)
    expected = compare_laws(["chinchilla", "kaplan"], x, y)
    assert list(out["laws"]) == list(expected.ranked)
    for name, held in expected.ranked.items():
        assert out["laws"][name]["error"] == pytest.approx(held.rms)
    shown = run("compare", path, "--columns", "N", "--laws", "power,power-offset")
    assert shown.exit_code == 0, shown.output
    assert "power-offset" in shown.stdout
    assert "kaplan" not in shown.stdout


def test_laws_are_listed() -> None:
    out = json.loads(run("laws", "--json").stdout)
    assert [law["name"] for law in out] == list(LAWS)
    assert "encoder-decoder" in run("laws").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--law", "cubic"], "no law is called 'cubic'"),
        (["--law", "power"], "which column is the variable?"),
        (["--law", "power", "--columns", "N,D"], "takes one column"),
        (["--law", "chinchilla", "--columns", "X=N"], "--columns names X"),
        (["--law", "chinchilla", "--predict", "N=1e9"], "--predict must give N, D"),
        (["--law", "chinchilla", "--predict", "N:1e9"], "--predict must look like N=1e9,D=1e9"),
        (["--law", "chinchilla", "--y", "acc"], "has no column 'acc'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(table, arguments: list[str], words: str) -> None:
    result = run("fit", table[0], *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.output

"""``paperworks scaling curve`` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from paperworks.scaling import LearningCurve, ModelGrowth, SharedExponent


def run(*arguments: object) -> Result:
    from paperworks.cli.scaling import app

    words = ["curve", *map(str, arguments), "--resamples", "50"]
    return CliRunner().invoke(app, words, env={"COLUMNS": "200"})


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    size = np.geomspace(50, 200_000, 14).round()
    error = (0.04 + 0.86 * (1 + size / 600) ** -0.55) * np.exp(0.02 * rng.standard_normal(14))
    path = tmp_path / "table.csv"
    rows = [f"{int(x)},{y:.6f},{100 - 100 * y:.4f}" for x, y in zip(size, error, strict=True)]
    path.write_text("\n".join(["size,error,acc", *rows, "300,nan,70"]) + "\n")
    return path


def write(path: Path, header: str, *columns: list) -> None:
    rows = [",".join(map(str, row)) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([header, *rows]) + "\n")


def columns(path: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = np.genfromtxt(path, delimiter=",", skip_header=1)
    rows = rows[np.isfinite(rows[:, 1])]
    return rows[:, 0], rows[:, 1]


def test_says_what_the_library_says(table: Path) -> None:
    result = run(table, "--chance", 0.9, "--target-error", 0.05, "--target-error", 0.01,
                 "--predict", 1_000_000)  # fmt: skip
    assert result.exit_code == 0, result.output
    curve = LearningCurve.fit(*columns(table), chance=0.9, resamples=50)
    assert f"error falls as size^-{curve.exponent.value:.3g}" in result.stdout
    assert "plateau, power law, floor" in result.stdout
    border = curve.regions.small_data_to
    assert f"small-data region: up to {border.size:,.0f} ({border.low:,.0f} to" in result.stdout
    assert f"irreducible error: {curve.floor.value:.4g}" in result.stdout
    assert f"error 0.05: {curve.data_for(0.05).size:,.0f}" in result.stdout
    assert "error 0.01: never" in result.stdout
    assert f"at 1,000,000: error {float(curve(1e6)):.4g}" in result.stdout
    assert "left out line 16: error must be finite, got 'nan'" in result.stderr


def test_json_is_json_and_nothing_else(table: Path) -> None:
    result = run(table, "--json", "--target-error", 0.05, "--target-error", 0.01, "--seed", 3)
    out = json.loads(result.stdout)
    curve = LearningCurve.fit(*columns(table), resamples=50, rng=3)
    (found,) = out["curves"]
    assert out["rows"] == 14
    assert out["bad_lines"][0]["line"] == 16
    assert found["exponent"]["value"] == pytest.approx(curve.exponent.value)
    assert found["exponent"]["high"] == pytest.approx(curve.exponent.high)
    assert found["shapes"][found["shape"]] == max(found["shapes"].values())
    first, second = found["targets"]
    assert first["size"] == pytest.approx(curve.data_for(0.05).size)
    assert (second["size"], second["never"]) == ("never", 1.0)
    assert found["power_law_measured"] == pytest.approx(list(curve.regions.power_law))


def test_accuracy_in_per_cent_is_the_same_curve(table: Path) -> None:
    by_error = json.loads(run(table, "--json").stdout)
    by_accuracy = json.loads(
        run(table, "--json", "--error", "acc", "--accuracy", "--percent").stdout
    )
    # The row whose error is missing has an accuracy, so one more row is read.
    assert by_accuracy["rows"] == 15
    a, b = (out["curves"][0]["exponent"]["value"] for out in (by_error, by_accuracy))
    assert a == pytest.approx(b, rel=0.2)


def test_learners_and_their_one_exponent(tmp_path: Path) -> None:
    size = np.tile(np.geomspace(100, 10_000, 7), 2)
    who = np.repeat(["mlp", "cnn"], 7)
    rng = np.random.default_rng(1)
    error = np.where(who == "mlp", 2.0, 1.0) * size**-0.3 * np.exp(0.02 * rng.normal(size=14))
    path = tmp_path / "two.csv"
    write(path, "size,error,who", size.tolist(), error.tolist(), who.tolist())
    out = json.loads(run(path, "--learner", "who", "--json").stdout)
    found = SharedExponent.fit(size, error, who, resamples=50)
    assert [each["name"] for each in out["curves"]] == ["cnn", "mlp"]
    assert out["one_exponent"]["value"] == pytest.approx(found.exponent.value, rel=1e-6)
    assert out["one_exponent"]["weight"] == pytest.approx(found.weight, rel=1e-6)
    shown = run(path, "--learner", "who").stdout
    assert "one exponent does for all" in shown


def test_the_best_model(tmp_path: Path) -> None:
    data, model = (
        v.ravel() for v in np.meshgrid(np.geomspace(1e3, 1e6, 6), 4.0 ** np.arange(4, 15))
    )
    error = data**-0.2 * np.exp(0.05 * np.log(model / (20 * data**0.6)) ** 2)
    path = tmp_path / "models.csv"
    write(path, "data,params,loss", data.tolist(), model.tolist(), error.tolist())
    arguments = (path, "--size", "data", "--error", "loss", "--model-size", "params")
    out = json.loads(run(*arguments, "--json", "--predict", 1e7).stdout)
    growth = ModelGrowth.fit(data, model, error)
    assert out["model_size"]["beta"]["value"] == pytest.approx(growth.beta.value)
    assert out["model_size"]["predictions"][0]["value"] == pytest.approx(float(growth(1e7)))
    assert out["curves"][0]["name"] == "best model"
    assert "best model size = 20 size^0.6" in run(*arguments).stdout


def test_plot(table: Path, tmp_path: Path) -> None:
    picture = tmp_path / "deep" / "curve.png"
    result = run(table, "--target-error", 0.05, "--plot", picture)
    assert result.exit_code == 0, result.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "drawn:" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "tokens"], "has no column 'tokens'"),
        (["--model-size", "acc", "--learner", "acc"], "ask different questions"),
        (["--model-size", "acc", "--run", "acc"], "no part in the choice of the best model"),
        (["--target-error", "0"], "target error must be > 0"),
        (["--strict"], "line 16: error must be finite"),
        (["--learner", "acc"], "learner '"),
    ],
)
def test_bad_questions_end_with_2(table: Path, arguments: list[str], words: str) -> None:
    result = run(table, *arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())

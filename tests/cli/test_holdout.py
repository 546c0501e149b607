"""``paperworks holdout`` as a team runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from paperworks.statistics.adaptive.expressions import Expression


def run(*arguments: object) -> Result:
    from paperworks.cli.holdout import app

    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, n in (("train", 900), ("holdout", 600)):
        x = rng.normal(size=n)
        label = np.where(x + rng.normal(size=n) > 0, "yes", "no")
        rows = [f"{a:.6f},{b}" for a, b in zip(x, label, strict=True)]
        Path(f"{name}.csv").write_text("the x,label\n" + "\n".join(rows) + "\n")
        guess = np.where(x > 0, "yes", "no")
        Path(f"{name}_new.csv").write_text("prediction\n" + "\n".join(guess) + "\n")
    return tmp_path


def by_hand(budget: int = 3) -> tuple[object, ...]:
    return (
        *("init", "state", "--holdout", "holdout.csv", "--train", "train.csv"),
        *("--queries", 20, "--budget", budget, "--threshold", 0.2, "--scale", 0.001),
    )


def test_a_team_asks_until_the_budget_is_spent(team: Path) -> None:
    made = run("init", "state", "--holdout", "holdout.csv", "--mechanism", "splitting",
               "--queries", 3, "--tolerance", 0.2)  # fmt: skip
    assert made.exit_code == 0, made.output
    assert "0 queries asked, 3 left" in made.stdout
    assert "with probability 0.95 no answer is further than 0.109" in made.stdout
    for left in (2, 1, 0):
        asked = run("ask", "state", "label == 'yes'", "--json")
        answer = json.loads(asked.stdout)
        assert answer["queries_left"] == left
        assert answer["value"] == pytest.approx(0.5, abs=0.15)
    refused = run("ask", "state", "label == 'yes'")
    assert refused.exit_code == 2
    assert "all 3 queries have been asked" in refused.stderr
    status = run("status", "state")
    assert status.exit_code == 0
    assert "3 queries asked, 0 left" in status.stdout
    assert status.stdout.count("label == 'yes'") == 3


def test_predictions_come_as_further_columns(team: Path) -> None:
    assert run(*by_hand()).exit_code == 0
    new = ("--holdout-columns", "holdout_new.csv", "--train-columns", "train_new.csv")
    asked = run("ask", "state", "prediction == label", *new, "--json")
    train = Path("train.csv").read_text().split()[2:]
    truth = [row.split(",")[1] for row in train]
    guesses = Path("train_new.csv").read_text().split()[1:]
    expected = np.mean([a == b for a, b in zip(truth, guesses, strict=True)])
    answer = json.loads(asked.stdout)
    assert answer["source"] == "train"
    assert answer["value"] == pytest.approx(expected, abs=1e-6)
    plain = run("ask", "state", "prediction == label", *new)
    assert "from the training set, within 0.391 of the truth; 18 queries left" in plain.stderr


def test_columns_with_spaces_and_ranges(team: Path) -> None:
    assert run(*by_hand()).exit_code == 0
    asked = run("ask", "state", 'clip(col("the x"), -2, 2)', "--low", -2, "--high", 2, "--json")
    x = np.genfromtxt("train.csv", delimiter=",", skip_header=1, usecols=0)
    assert json.loads(asked.stdout)["value"] == pytest.approx(np.clip(x, -2, 2).mean(), abs=1e-5)


def test_a_model_over_a_domain(team: Path) -> None:
    Path("cells.csv").write_text("a,b\n0,0\n0,1\n1,0\n1,1\n")
    Path("points.csv").write_text("a,b\n" + "1,1\n" * 500 + "0,1\n" * 500)
    made = run("init", "state", "--holdout", "points.csv", "--domain", "cells.csv",
               "--mechanism", "multiplicative-weights", "--queries", 4)  # fmt: skip
    assert made.exit_code == 0, made.output
    answer = json.loads(run("ask", "state", "b", "--json").stdout)
    assert answer["value"] == pytest.approx(1.0, abs=0.02)


def test_the_status_is_json_and_nothing_else(team: Path) -> None:
    assert run(*by_hand()).exit_code == 0
    run("ask", "state", "label == 'no'")
    out = json.loads(run("status", "state", "--json").stdout)
    assert (out["queries_asked"], out["budget_left"]) == (1, 3)
    assert out["columns"] == ["the x", "label"]
    assert out["answers"][0]["name"] == "label == 'no'"
    assert json.loads(run("status", "state", "--json", "--last", 0).stdout)["answers"] == []


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("ask", "state", "z > 1"), "there is no column 'z'; there are the x, label"),
        (("ask", "state", "label >"), "does not parse: invalid syntax"),
        (("ask", "state", "1 < 2"), "names no column"),
        (("ask", "state", "label == 3"), "a text is compared with a number"),
        (("ask", "state", 'col("the x")'), "must lie in [0, 1], got"),
        (("ask", "state", "label.upper()"), "only columns, numbers, strings"),
        (("ask", "state", 'open("x")'), "only columns, numbers, strings"),
        (("ask", "state", "label == 'no'", "--low", 1), "low must be < high"),
        (("ask", "state", "q == label", "--holdout-columns", "holdout_new.csv"),
         "extra columns are needed for train and holdout"),
        (("ask", "state", "q", "--holdout-columns", "train_new.csv", "--train-columns",
          "train_new.csv"), "the extra columns for holdout have 900 rows, it has 600"),
        (("ask", "nowhere", "x"), "there is no state file"),
        (("status", "state", "--last", -1), "--last must be >= 0"),
        (("status", "train.csv"), "file is not a database"),
        (by_hand(), "state is there already"),
        (("init", "s2", "--holdout", "nothere.csv", "--queries", 2), "No such file"),
        (("init", "s2", "--holdout", "holdout.csv", "--queries", 2, "--budget", 1),
         "missing: --threshold, --scale"),
        (("init", "s2", "--holdout", "holdout.csv", "--tolerance", 0.1), "needs both queries and"),
        (("init", "s2", "--holdout", "holdout.csv", "--mechanism", "x", "--queries", 2),
         "mechanism must be one of"),
        (("init", "s2", "--holdout", "holdout.csv", "--mechanism", "gaussian", "--tolerance",
          0.01), "600 samples are too few for 1 query with tolerance 0.01"),
        (("init", "s2", "--holdout", "gaps.csv", "--mechanism", "splitting", "--queries", 2),
         "line 3 of gaps.csv has no value for 'b'"),
        (("init", "s2", "--holdout", "ragged.csv", "--mechanism", "splitting", "--queries", 2),
         "line 2 of ragged.csv has 1 cells, the header has 2"),
        (("init", "s2", "--holdout", "twice.csv", "--mechanism", "splitting", "--queries", 2),
         "must have distinct names"),
        (("init", "s2", "--holdout", "empty.csv", "--mechanism", "splitting", "--queries", 2),
         "needs a header and at least one row"),
        (("init", "s2", "--holdout", "holdout.csv", "--train", "gone.csv", "--queries", 2,
          "--mechanism", "splitting"), "train and holdout must have the same columns"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_no_file(
    team: Path, arguments: tuple[object, ...], word: str
) -> None:
    Path("gaps.csv").write_text("a,b\n1,2\n3,\n")
    Path("ragged.csv").write_text("a,b\n1\n")
    Path("twice.csv").write_text("a,a\n1,2\n")
    Path("empty.csv").write_text("a,b\n")
    Path("gone.csv").write_text("label\nyes\n")
    assert run(*by_hand()).exit_code == 0
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert word in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("s2").exists()
    assert json.loads(run("status", "state", "--json").stdout)["queries_asked"] == 0


def test_a_state_file_of_python_holds_no_tables(team: Path) -> None:
    from paperworks.statistics.adaptive import Gaussian, ReusableHoldout

    ReusableHoldout(None, [0.1, 0.2], Gaussian(3, 0.1), path="state")
    result = run("ask", "state", "x")
    assert result.exit_code == 2
    assert "holds no tables: it belongs to a ReusableHoldout in Python" in result.stderr


TABLE = {
    "x": np.array([1.0, -2.0, 3.0]),
    "y": np.array([0.5, 0.5, -1.0]),
    "s": np.array(["a", "b", "a"]),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x + 2 * y", [2, -1, 1]),
        ("-x ** 2 / 2 % 3", [2.5, 1, 1.5]),
        ("0 < x <= 1", [True, False, False]),
        ("s == 'a' and not x > 2", [True, False, False]),
        ("s != 'a' or y < 0 or x == 1", [True, True, True]),
        ("where(s == 'a', 1, 0)", [1, 0, 1]),
        ("min(max(x, y), 2)", [1, 0.5, 2]),
        ("sqrt(abs(x)) * sign(y)", [1, np.sqrt(2), -np.sqrt(3)]),
        ("log(exp(x))", [1, -2, 3]),
        ("clip(x, -1, 1)", [1, -1, 1]),
    ],
)
def test_expressions(text: str, expected: list[float]) -> None:
    np.testing.assert_allclose(np.asarray(Expression(text)(TABLE), dtype=float), expected)

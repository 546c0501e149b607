"""``paperworks scaling difficulty`` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from paperworks.scaling import ClassificationTask, MetaLearningTask


def run(*arguments: object) -> Result:
    from paperworks.cli.scaling.difficulty import difficulty

    app = typer.Typer()
    app.command()(difficulty)
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (400, 3))
    y = (X[:, 0] > 0).astype(int) + 2 * (X[:, 1] > 0)
    return {"X": X + 0.2 * np.sign(X), "y": y, "groups": y // 2}


@pytest.fixture
def file(tmp_path: Path, arrays: dict[str, np.ndarray]) -> Path:
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_json_is_what_the_library_says(file: Path, arrays: dict[str, np.ndarray]) -> None:
    result = run(file, "--json", "--target-error", 0.05)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    task = ClassificationTask.from_data(arrays["X"], arrays["y"], rng=0)
    expected = task.complexity(0.05)
    assert found["log10_bits"] == pytest.approx(expected.log10_bits)
    assert found["log10_low"] == pytest.approx(expected.log10_low)
    assert found["dimension"] == pytest.approx(task.dimension)
    assert found["classes"] == 4
    assert found["class_distance_method"] == "exact"
    assert found["published_log10_bits"]["ImageNet"] == pytest.approx(41.55, abs=0.01)
    assert found["warnings"] == list(task.warnings)


def test_words_set_the_task_among_the_papers(file: Path) -> None:
    result = run(file)
    assert result.exit_code == 0, result.output
    assert "mine: " in result.stdout
    lines = result.stdout.splitlines()
    order = [next(i for i, line in enumerate(lines) if line.startswith(name))
             for name in ("mine (this)", "MNIST", "CIFAR-10", "ImageNet")]  # fmt: skip
    assert order == sorted(order)


def test_other_names_of_the_arrays(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "a.npz", x_train=arrays["X"], y_train=arrays["y"])
    np.savez(tmp_path / "b.npz", X=arrays["X"], y=arrays["y"])
    one, two = (json.loads(run(tmp_path / n, "--json").stdout) for n in ("a.npz", "b.npz"))
    assert one["log10_bits"] == two["log10_bits"]


def test_a_data_set_by_name() -> None:
    result = run("digits", "--json", "--queries", 300)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["samples"], found["classes"]) == (1437, 10)


def test_few_shot(file: Path, arrays: dict[str, np.ndarray]) -> None:
    found = json.loads(run(file, "--ways", 2, "--json").stdout)
    task = MetaLearningTask.from_data(arrays["X"], arrays["y"], arrays["groups"], ways=2, rng=0)
    assert found["episodes"] == task.samples
    assert found["log10_bits"] == pytest.approx(task.complexity(0.01).log10_bits)
    assert "episodes" in run(file, "--ways", 2).stdout


def test_class_distance_as_a_number_and_no_bits(file: Path) -> None:
    result = run(file, "--class-distance", "1000")
    assert result.exit_code == 0, result.output
    assert "0 bits" in result.stdout
    assert "the data fix every coefficient" in result.stdout
    found = json.loads(run(file, "--class-distance", "1000", "--json").stdout)
    assert found["log10_bits"] is None
    assert found["answered_by"] == "data"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing.npz",), "missing.npz"),
        (("no-such-set",), "no-such-set"),
        (("wikitext-2",), "wikitext-2 holds no classes of inputs"),
        (("FILE", "--class-distance", "near"), "auto, exact, evt or a number, got 'near'"),
        (("FILE", "--target-error", "0"), "target_error must be a finite number > 0"),
        (("FILE", "--k", "1"), "k must be >= 2, got 1"),
        (("FILE", "--ways", "3"), "no group has 3 classes, the most is 2"),
        (("FILE", "--ways", "2", "--center"), "--center goes with a classification task"),
    ],
)
def test_mistakes_end_in_one_line(file: Path, arguments: tuple[str, ...], words: str) -> None:
    result = run(*(str(file) if a == "FILE" else a for a in arguments))
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.output


def test_missing_arrays_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.eye(3), y=np.arange(3))
    result = run(tmp_path / "a.npz")
    assert result.exit_code == 2
    assert "has no array X; it holds images, y" in result.stderr
    np.savez(tmp_path / "b.npz", X=np.random.default_rng(0).random((30, 2)), y=np.arange(30) % 2)
    assert "needs an array 'groups'" in run(tmp_path / "b.npz", "--ways", 2).stderr

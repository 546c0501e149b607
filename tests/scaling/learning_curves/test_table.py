"""Metric tables as people write them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from paperworks.scaling import BadLineError, read_learning_curves


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(
        "examples,acc,width,who,seed\n"
        "100,0.50,8,mlp,0\n"
        "200,0.60,8,mlp,1\n"
        "100,0.70,16,cnn,0\n"
        "200,1.0,16,cnn,1\n"
        "400,1.2,16,cnn,1\n"
        "800,0.9,16,cnn,\n"
        "-5,0.9,16,cnn,1\n"
    )
    return path


def test_columns_accuracies_and_bad_lines(file: Path) -> None:
    table = read_learning_curves(
        file, size="examples", error="acc", accuracy=True, model_size="width", learner="who",
        run="seed",
    )  # fmt: skip
    assert table.size.tolist() == [100, 200, 100]
    assert table.error.tolist() == pytest.approx([0.5, 0.4, 0.3])
    assert table.model_size.tolist() == [8, 8, 16]
    assert table.learner.tolist() == ["mlp", "mlp", "cnn"]
    assert table.run.tolist() == ["0", "1", "0"]
    assert table.lines.tolist() == [2, 3, 4]
    assert [(bad.line, bad.why.split(";")[0]) for bad in table.bad] == [
        (5, "acc must be < 1: no errors have no place on a log scale"),
        (6, "acc must be between 0 and 1, got 1.2"),
        (7, "seed is missing"),
        (8, "examples must be > 0, got '-5'"),
    ]
    assert "is it in per cent?" in table.bad[1].why
    assert table.of("cnn").size.tolist() == [100]
    with pytest.raises(ValueError, match="no row is of learner 'rnn'; the table has cnn, mlp"):
        table.of("rnn")


def test_per_cent_and_plain_errors(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl.gz"
    with gzip.open(path, "wt") as out:
        out.write(
            '{"size": 10, "error": 40}\n{"size": 20, "error": 30}\n{"size": 40, "error": 0}\n'
        )
    plain = read_learning_curves(path)
    assert plain.error.tolist() == [40, 30]
    assert str(plain.bad[0]) == "line 3: error must be > 0, got 0"
    assert read_learning_curves(path, percent=True).error.tolist() == [0.4, 0.3]
    right = read_learning_curves(path, accuracy=True, percent=True)
    assert right.error.tolist() == pytest.approx([0.6, 0.7, 1.0])
    assert right.learner is None
    assert right.run is None
    with pytest.raises(ValueError, match="the table has none"):
        right.of("a")


def test_strict_and_hopeless(file: Path, tmp_path: Path) -> None:
    wanted = {"size": "examples", "error": "acc", "accuracy": True, "strict": True}
    with pytest.raises(BadLineError, match="line 8: examples must be > 0"):
        read_learning_curves(file, **wanted)
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:7]))
    with pytest.raises(BadLineError, match="line 5: acc must be < 1"):
        read_learning_curves(file, **wanted)
    with pytest.raises(ValueError, match="has no column 'size'"):
        read_learning_curves(file, error="acc")
    full = tmp_path / "full.csv"
    full.write_text("size,error\n1,1\n2,1\n")
    with pytest.raises(ValueError, match="no usable line; the first of 2 bad: line 2"):
        read_learning_curves(full, accuracy=True)

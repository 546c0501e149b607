"""``paperworks scaling concepts`` as a person runs it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

CAPTIONS = ["two dogs", "a tree house", "the house by the tree", "a cat", "dog and cat", ""]
TAGS = [["dog"], ["tree house"], ["dog"], [], ["cat"], ["cat"]]


def run(*arguments: object) -> Result:
    from paperworks.cli.scaling.concepts import app

    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    pytest.importorskip("simplemma")
    rows = zip(CAPTIONS, TAGS, strict=True)
    lines = [json.dumps({"caption": caption, "tags": tags}) for caption, tags in rows]
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(lines) + "\n")
    (tmp_path / "concepts.txt").write_text("dog\ncat\ntree house\nfox\n")
    return path


def test_counts_are_printed_and_written(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("count", corpus, "--concepts", tmp_path / "concepts.txt", "--out", out)
    done = run(*command, "--tags", "tags", "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert {
        row["concept"]: (row["text"], row["image"], row["both"]) for row in report["counts"]
    } == {
        "dog": (2, 2, 1),
        "cat": (2, 2, 1),
        "tree house": (2, 1, 1),
        "fox": (0, 0, 0),
    }
    assert (report["samples"], report["resumed"], report["misaligned"]) == (6, 0, 1)
    assert json.loads((out / "report.json").read_text()) == report
    rows = list(csv.DictReader((out / "counts.csv").open()))
    assert rows[2] == {"concept": "tree house", "text": "2", "image": "1", "both": "1"}

    again = run(*command, "--tags", "tags")
    assert "6 samples in 1 part (1 counted before), 4 concepts, 1 of them never" in again.stdout
    assert "misaligned: 16.67% of samples" in again.stdout
    phrase = json.loads(run(*command, "--match", "phrase", "--json").stdout)
    assert [row["text"] for row in phrase["counts"]] == [2, 2, 1, 0]
    bare = json.loads(run(*command, "--lemmas", "none", "--json").stdout)
    assert [row["text"] for row in bare["counts"]] == [1, 2, 2, 0]


def test_bad_lines_and_broken_files_are_reported(corpus: Path, tmp_path: Path) -> None:
    with corpus.open("a") as file:
        file.write("oops\n" * 12)
    broken = tmp_path / "shard.tar"
    broken.write_bytes(b"no archive")
    command = ("count", corpus, broken, "--concepts", tmp_path / "concepts.txt")
    done = run(*command, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "corpus.jsonl, line 7: not JSON" in done.stderr
    assert "2 more bad samples" in done.stderr
    assert "shard.tar is truncated or damaged" in done.stderr
    strict = run(*command, "--out", tmp_path / "other", "--strict")
    assert strict.exit_code == 2
    assert "corpus.jsonl, line 7: not JSON" in strict.stderr
    assert not (tmp_path / "other" / "counts.csv").exists()


def test_wrong_arguments_are_one_line(corpus: Path, tmp_path: Path) -> None:
    concepts = tmp_path / "concepts.txt"
    for more, why in (
        (["--tags", "labels"], "no sample has 'labels'"),
        (["--lemmas", "klingon"], "must be a language that simplemma knows"),
        (["--jobs", "0"], "n_jobs must be >= 1"),
    ):
        done = run("count", corpus, "--concepts", concepts, "--out", tmp_path / "out", *more)
        assert done.exit_code == 2
        assert why in done.stderr
    done = run("count", tmp_path / "no.jsonl", "--concepts", concepts, "--out", tmp_path / "out")
    assert (done.exit_code, "is not there" in done.stderr) == (2, True)


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    f = np.round(10 ** rng.uniform(0, 5, 60)).astype(int)
    y = 0.1 + 0.1 * np.log10(f) + rng.normal(0, 0.02, 60)
    counts, accuracy = tmp_path / "counts.csv", tmp_path / "accuracy.csv"
    counts.write_text("concept,text\n" + "".join(f"c{i},{n}\n" for i, n in enumerate(f)) + "x,9\n")
    accuracy.write_text("concept,accuracy\n" + "".join(f"c{i},{a}\n" for i, a in enumerate(y)))
    return counts, accuracy


def test_a_fit_is_that_of_the_library(tables: tuple[Path, Path], tmp_path: Path) -> None:
    plot = tmp_path / "plots" / "fit.png"
    done = run("fit", *tables, "--gain", "0.2", "--compare", "--plot", plot, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["slope_per_decade"] == pytest.approx(0.1, abs=0.005)
    assert found["times_the_data"] == pytest.approx(10 ** (0.2 / found["slope_per_decade"]))
    assert (found["concepts"], found["in_one_file_only"]) == (60, 1)
    assert found["pearson"]["dof"] == 58
    assert {row["law"]: row["interval"][0] > 0 for row in found["laws"]}["linear"]
    assert plot.stat().st_size > 5000
    shown = run("fit", *tables, "--gain", "0.2")
    assert "60 concepts (0 never occur): accuracy = 0." in shown.stdout
    assert "0.2 more accuracy:" in shown.stdout
    assert "1 concepts are in one of the files only" in shown.stderr


def test_bad_tables_are_named(tables: tuple[Path, Path], tmp_path: Path) -> None:
    counts, _ = tables
    wrong = tmp_path / "wrong.csv"
    for content, why in (
        ("concept,score\n", "needs the columns concept and accuracy, got concept, score"),
        ("concept,accuracy\nc1,high\n", "line 2: accuracy must be a number, got 'high'"),
        ("concept,accuracy\nc1,0.1\nc1,0.2\n", "line 3: 'c1' is there already"),
        ("concept,accuracy\nzebra,0.1\n", "have no concept in common"),
        ("concept,accuracy,similarity\nc1,0.1,\n", "line 2: similarity must be a number, got ''"),
    ):
        wrong.write_text(content)
        done = run("fit", counts, wrong)
        assert done.exit_code == 2
        assert why in done.stderr
    done = run("fit", *tables, "--place", "both")
    assert "has no column both" in done.stderr


def test_the_tail_is_written(tables: tuple[Path, Path], tmp_path: Path) -> None:
    from PIL import Image

    counts = tmp_path / "few.csv"
    counts.write_text("concept,text,both\nowl,7,0\nowls,1,0\nbat,9,3\nelk,900,800\n")
    for name in ("owl", "bat"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng(number).integers(0, 255, (40, 40), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    out = tmp_path / "tail"
    command = ("tail", counts, "--out", out, "-n", "2", "--images-per-concept", "3")
    done = run(*command, "--images", tmp_path / "images", "--json")
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["same"] == {"owls": "owl"}
    assert (summary["images_wanted"], summary["drawn_images"], summary["too_few"]) == (6, 6, {})
    rows = (out / "concepts.csv").read_text().splitlines()
    assert rows == ["concept,frequency,images_wanted", "owl,0,3", "bat,3,3"]
    assert len((out / "images.csv").read_text().splitlines()) == 7
    shown = run(*command, "--place", "text", "--max-frequency", "5")
    assert "concepts: 1" in shown.stdout
    assert "short: 1" in shown.stdout

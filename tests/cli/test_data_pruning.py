"""``paperworks scaling prune`` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from paperworks.scaling import prune_dataset


def run(*arguments: object) -> Result:
    from paperworks.cli.scaling.prune import prune

    app = typer.Typer()
    app.command()(prune)
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})


@pytest.fixture
def embeddings(tmp_path: Path) -> Path:
    path = tmp_path / "embeddings.npy"
    np.save(path, np.random.default_rng(0).standard_normal((90, 6)).astype(np.float32))
    np.save(tmp_path / "y.npy", np.repeat(["cat", "dog", "eel"], 30))
    return path


def test_prototypes(embeddings: Path, tmp_path: Path) -> None:
    out, scores = tmp_path / "new" / "kept.npy", tmp_path / "scores.npy"
    result = run(
        embeddings, "--keep", 0.7, "--clusters", 4, "--seed", 3, "--out", out,
        "--scores-out", scores,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    wanted = prune_dataset(np.load(embeddings), keep=0.7, clusters=4, rng=3)
    np.testing.assert_array_equal(np.load(out), wanted.kept)
    np.testing.assert_array_equal(np.load(scores), wanted.scores)
    assert "kept 63 of 90 examples, the hard ones by prototypes" in result.output
    assert "kept.npy" in result.output


def test_labels_easy_and_json(embeddings: Path, tmp_path: Path) -> None:
    out = tmp_path / "kept.npy"
    common = (
        embeddings, "--keep", 30, "--metric", "supervised-prototypes", "--labels",
        tmp_path / "y.npy", "--order", "easy", "--balance", 1.0, "--out", out,
    )  # fmt: skip
    result = run(*common, "--json")
    found = json.loads(result.output)
    assert (found["examples"], found["kept"], found["order"]) == (90, 30, "easy")
    assert [(row["label"], row["after"]) for row in found["classes"]] == [
        ("cat", 10), ("dog", 10), ("eel", 10),
    ]  # fmt: skip
    table = run(*common).output
    assert "cat" in table
    assert "33.3%" in table


def test_own_scores(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.arange(10))
    out = tmp_path / "kept.npy"
    assert run(tmp_path / "s.npy", "--metric", "scores", "--keep", 3, "--out", out).exit_code == 0
    assert np.load(out).tolist() == [7, 8, 9]


def test_refusals(embeddings: Path, tmp_path: Path) -> None:
    out = tmp_path / "kept.npy"
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    for arguments, words in (
        ((embeddings, "--keep", "most"), "share or a whole number, got 'most'"),
        ((embeddings, "--keep", "1.2"), "got 1.2"),
        ((embeddings, "--keep", "0.5", "--metric", "el2n"), "are in Python"),
        ((embeddings, "--keep", "0.5", "--metric", "random", "--clusters", 3), "--clusters is of"),
        ((embeddings, "--keep", "0.5", "--metric", "supervised-prototypes"), "needs labels y"),
        ((tmp_path / "none.npy", "--keep", "0.5"), "No such file"),
        ((tmp_path / "text.npy", "--keep", "0.5"), "is no .npy file"),
        ((tmp_path / "objects.npy", "--keep", "0.5"), "is no .npy file"),
    ):
        result = run(*arguments, "--out", out)
        assert result.exit_code == 2, arguments
        assert words in result.output.replace("\n", " "), result.output
        assert not out.exists()

"""``paperworks compress`` and ``paperworks eval`` on a model of a few thousand weights."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from paperworks import data
from paperworks.cli import app
from paperworks.compression import pipeline
from paperworks.compression.text import Perplexity

pytest.importorskip("safetensors")
run = CliRunner().invoke


@pytest.fixture
def command(llama_folder: Path, tmp_path: Path, text: str) -> list[str]:
    words = tmp_path / "text.txt"
    words.write_text(text)
    return [
        "compress", str(llama_folder), "--calibration", str(words), "--out", str(tmp_path / "out"),
        "--length", "32", "--windows", "4", "--heldout-windows", "2",
    ]  # fmt: skip


def test_compress_then_eval(command: list[str], tmp_path: Path) -> None:
    done = run(app, [*command, "--prune", "wanda:2:4", "--quantize", "rtn:w4", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert [step["text"] for step in report["steps"]] == ["wanda:2:4", "rtn:w4"]
    out = tmp_path / "out"
    page = (out / "report.html").read_text()
    assert "--prune wanda:2:4" in page
    assert page.count("<svg") == len(report["layers"]) == 22
    assert "http" not in page.replace("http-equiv", "")

    # The default held-out text is the last fifth of the calibration text.
    words = tmp_path / "held.txt"
    words.write_text((tmp_path / "text.txt").read_text()[2400:])
    evaluated = run(
        app, ["eval", str(out), "--text", str(words), "--length", "32", "--windows", "2", "--json"]
    )
    assert evaluated.exit_code == 0, evaluated.output
    score = json.loads(evaluated.stdout)
    assert score["perplexity"] == pytest.approx(report["after"]["perplexity"], rel=1e-6)
    assert score["bytes"] == report["after"]["bytes"]


def test_people_get_a_table(command: list[str], llama_folder: Path) -> None:
    done = run(app, [*command, "--quantize", "rtn:w8", "--embeddings", "8"])
    assert done.exit_code == 0, done.output
    assert "bits per weight" in done.stdout
    assert "written:" in done.stdout
    text = command[command.index("--calibration") + 1]
    plain = run(app, ["eval", str(llama_folder), "--text", text, "--length", "32"])
    assert plain.exit_code == 0, plain.output
    assert "32.00 bits per weight" in plain.stdout


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "nothing to do: give --prune, --quantize or --embeddings"),
        (["--quantize", "magic:w4"], "no method 'magic' to quantize with"),
        (["--quantize", "rtn:w4", "--calibration", "nowhere.txt"], "nowhere.txt is no file here"),
        (["--quantize", "rtn:w4", "--calibration", "digits"], "digits is not running text"),
        (["--quantize", "rtn:w4", "--length", "4000"], "fewer than one sequence of 4,000"),
    ],
)
def test_errors_are_one_line(command: list[str], more: list[str], words: str) -> None:
    done = run(app, [*command, *more])
    assert done.exit_code == 2
    assert words in done.output
    assert "Traceback" not in done.output


def test_a_damaged_folder_is_refused_by_eval(command: list[str], tmp_path: Path) -> None:
    assert run(app, [*command, "--quantize", "rtn:w4"]).exit_code == 0
    weights = tmp_path / "out" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    text = command[command.index("--calibration") + 1]
    done = run(app, ["eval", str(tmp_path / "out"), "--text", text, "--length", "32"])
    assert done.exit_code == 2
    assert "is not what was written" in done.output


def test_an_existing_folder_is_left_alone(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    done: Any = run(app, [*command, "--quantize", "rtn:w4"])
    assert done.exit_code == 2
    assert "exists: choose another folder" in done.output
    assert not list((tmp_path / "out").iterdir())


def test_damaged_inputs_are_one_line_too(
    command: list[str], tmp_path: Path, llama_folder: Path
) -> None:
    text = Path(command[command.index("--calibration") + 1])
    words = text.read_bytes()
    text.write_bytes(b"\xff\xfe" + words)
    done = run(app, [*command, "--quantize", "rtn:w4"])
    assert done.exit_code == 2
    assert f"{text} is not a text in UTF-8" in done.output
    text.write_bytes(words)
    weights = llama_folder / "model.safetensors"
    whole = weights.read_bytes()
    tokenizer = (llama_folder / "tokenizer.json").read_bytes()
    for content in (whole[:-1000], whole[:100], None):
        weights.unlink()
        if content:
            weights.write_bytes(content)
        done = run(app, [*command, "--quantize", "rtn:w4"])
        assert done.exit_code == 2, done.output
        assert f"error: {llama_folder}" in done.output
        weights.write_bytes(whole)
    (llama_folder / "tokenizer.json").write_bytes(tokenizer[:100])
    done = run(app, [*command, "--quantize", "rtn:w4"])
    assert done.exit_code == 2, done.output
    assert f"error: {llama_folder}" in done.output


@pytest.mark.parametrize("train", [True, False])
def test_the_parts_of_a_data_set_stay_apart(
    command: list[str], text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, train: bool
) -> None:
    """Methods never see the test part, and nothing is measured on another."""
    parts = {"train": text[:1000] if train else None, "valid": text[1000:2000], "test": text[2000:]}
    monkeypatch.setattr(data, "load", lambda name: data.Text(**parts))

    def report(*, calibration: str, heldout: str | None, out: str) -> dict[str, Any]:
        options = ["--calibration", calibration, "--out", str(tmp_path / out)]
        options += [] if heldout is None else ["--heldout", heldout]
        done = run(app, [*command, "--quantize", "rtn:w4", "--json", *options])
        assert done.exit_code == 0, done.output
        return dict(json.loads(done.stdout))

    for part, words in parts.items():
        (tmp_path / f"{part}.txt").write_text(words or "")
    seen = str(tmp_path / ("train.txt" if train else "valid.txt"))
    measured = str(tmp_path / "test.txt")
    expected = report(calibration=seen, heldout=measured, out="files")
    for heldout in (None, "wikitext-2-raw"):
        found = report(calibration="wikitext-2-raw", heldout=heldout, out=f"set-{heldout}")
        assert found["calibration"] == expected["calibration"]
        assert found["after"]["perplexity"] == expected["after"]["perplexity"]
    options = ["--text", "wikitext-2-raw", "--length", "32", "--windows", "2", "--json"]
    done = run(app, ["eval", str(tmp_path / "files"), *options])
    assert json.loads(done.stdout)["perplexity"] == pytest.approx(
        expected["after"]["perplexity"], rel=1e-6
    )


def test_a_data_set_without_the_part_is_refused(
    command: list[str], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "load", lambda name: data.Text(text, None, None))
    done = run(app, [*command, "--quantize", "rtn:w4", "--heldout", "wikitext-2-raw"])
    assert done.exit_code == 2
    assert "wikitext-2-raw has no test part here: use a text file" in " ".join(done.output.split())


@pytest.mark.parametrize(("at", "kept"), [("perplexity", False), ("save_compressed", True)])
def test_an_interrupted_run_says_what_is_kept(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, kept: bool
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, at, interrupt)
    done = run(app, [*command, "--quantize", "rtn:w4"])
    assert done.exit_code != 0
    assert (tmp_path / "out.partial").exists() == kept
    assert ("finished blocks are in" in done.output) == kept
    assert ("interrupted before a block was finished" in done.output) != kept


def test_json_of_a_destroyed_model_is_json(
    command: list[str], llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which has no word for infinity."""

    def destroyed(*_: Any, **__: Any) -> Perplexity:
        return Perplexity(math.inf, 62)

    def strict(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    monkeypatch.setattr(pipeline, "perplexity", destroyed)
    monkeypatch.setattr("paperworks.compression.text.perplexity", destroyed)
    done = run(app, [*command, "--quantize", "rtn:w4", "--json"])
    assert json.loads(done.stdout, parse_constant=strict)["after"]["perplexity"] is None
    words = command[command.index("--calibration") + 1]
    done = run(app, ["eval", str(llama_folder), "--text", words, "--json"])
    assert json.loads(done.stdout, parse_constant=strict)["perplexity"] is None

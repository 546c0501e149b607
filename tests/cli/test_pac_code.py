"""``paperworks pac-code``: calibrate on a file, predict with what it wrote."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from paperworks.cli import app
from paperworks.statistics import ScoredProgram, write_programs

run = CliRunner().invoke


def program(value, sure, **rest):
    return ScoredProgram(
        ["f(", "x", ", ", "1", ")"], [-0.01, -0.01, -0.01, -0.01 if sure else -2.5, -0.01], **rest
    )


@pytest.fixture
def files(tmp_path):
    known = [program(1, True, target="f(x, 1)") for _ in range(30)]
    known += [program(1, False, target="f(x, 2)") for _ in range(10)]
    write_programs(tmp_path / "known.jsonl", known)
    write_programs(
        tmp_path / "new.jsonl", [program(1, True), program(1, False, target="f(x, g(3))")]
    )
    return tmp_path


def call(*args):
    return run(app, ["pac-code", *map(str, args)])


def test_calibrate_and_predict(files):
    out = files / "made" / "calibration.json"
    done = call("calibrate", files / "known.jsonl", "-o", out, "--max-holes", 1)
    assert done.exit_code == 0, done.output
    assert "40 programs, threshold" in done.output
    assert "misses 0, 0 allowed; with confidence 0.95" in done.output
    shown = call("predict", files / "new.jsonl", "-c", out)
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines() == ["f(x, 1)", "f(x, ??)"]
    other = call("predict", files / "new.jsonl", "-c", out, "--hole", "[?]", "--json")
    found = json.loads(other.output)
    assert [each["code"] for each in found["programs"]] == ["f(x, 1)", "f(x, [?])"]
    assert found["programs"][1]["contains_target"] is True
    assert "contains_target" not in found["programs"][0]
    assert found["programs"][1]["holes"] == 1
    assert found["epsilon"] == 0.1


def test_calibrate_prints_json(files):
    out = files / "c.json"
    done = call(
        "calibrate", files / "known.jsonl", "-o", out, "--method", "greedy",
        "--epsilon", 0.3, "--json",
    )  # fmt: skip
    found = json.loads(done.output)
    assert found["programs"] == 40
    assert found["miss_bound"] <= 0.3
    assert found["misses"] <= found["allowed_misses"]
    assert json.loads(out.read_text())["settings"]["method"] == "greedy"


@pytest.mark.parametrize(
    ("lines", "options", "words"),
    [
        (['{"tokens": ["x"], "logprobs": [-1]}'], [], "line 1: the target: it is missing"),
        (['{"tokens": ["x"], "logprobs": [0.5], "target": "x"}'], [], "line 1: log-probability"),
        (['{"tokens": ["x +"], "logprobs": [-1], "target": "x"}'], [],
         "line 1: the generated program: not Python"),
        (['{"tokens": ["x"], "logprobs": [-1], "target": "x +"}'], [],
         "line 1: the target: not Python"),
        (['{"tokens": ["x"], "logprobs": [-1], "target": "x"}'] * 3, [],
         "needs at least 29 calibration programs, got 3; add 26"),
        (["nonsense"], [], "line 1: not JSON"),
        ([], [], "holds no program"),
        (['{"tokens": ["x"], "logprobs": [-1], "target": "x"}'], ["--epsilon", "0"],
         "epsilon must lie strictly between 0 and 1"),
        (['{"tokens": ["x"], "logprobs": [-1], "target": "x"}'], ["--max-holes", "0"],
         "max_holes must be >= 1"),
        (['{"tokens": ["x"], "logprobs": [-1], "target": "x"}'], ["--keep", "a.jsonl"],
         "--keep needs --model"),
        (['{"target": "x"}'], ["--model", "smollm2-135m-instruct"],
         "line 1: with --model a line needs a prompt"),
    ],
)  # fmt: skip
def test_bad_input_ends_with_one_line_and_status_2(tmp_path, lines, options, words):
    path = tmp_path / "runs.jsonl"
    path.write_text("\n".join(lines))
    done = call("calibrate", path, "-o", tmp_path / "c.json", *options)
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "c.json").exists()


def test_predict_refuses_what_is_no_calibration(files):
    done = call("predict", files / "new.jsonl", "-c", files / "known.jsonl")
    assert done.exit_code == 2
    assert "holds no calibration" in done.stderr
    done = call("predict", files / "new.jsonl", "-c", files / "nowhere.json")
    assert done.exit_code == 2
    assert "nowhere.json" in done.stderr


def test_unparsed_programs_become_holes_on_demand(files):
    lines = (files / "known.jsonl").read_text()
    bad = '{"tokens": ["f("], "logprobs": [-1], "target": "x"}\n'
    (files / "some.jsonl").write_text(lines + bad)
    out = files / "c.json"
    assert call("calibrate", files / "some.jsonl", "-o", out).exit_code == 2
    assert call("calibrate", files / "some.jsonl", "-o", out, "--unparsed", "hole").exit_code == 0
    (files / "bad.jsonl").write_text(bad)
    assert call("predict", files / "bad.jsonl", "-c", out).output == "??\n"


def test_a_model_writes_the_programs(files, monkeypatch):
    from types import SimpleNamespace

    import paperworks.data
    import paperworks.statistics

    seen = {}

    def fake(model, tokenizer, prompts, **options):
        seen.update(options, prompts=prompts)
        return [program(1, True, target=each) for each in options["targets"]]

    monkeypatch.setattr(
        paperworks.data, "load_model", lambda name: (SimpleNamespace(name=name), None)
    )
    monkeypatch.setattr(paperworks.statistics, "score_programs", fake)
    path = files / "tasks.jsonl"
    path.write_text('{"prompt": "say f", "target": "f(x, 1)", "prefix": ""}\n' * 30)
    done = call(
        "calibrate", path, "-o", files / "c.json", "--model", "some/model",
        "--stop", r"\n\n", "--stop", "```", "--max-tokens", 9, "--keep", files / "kept.jsonl.gz",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert seen["stop"] == ["\n\n", "```"]
    assert seen["max_tokens"] == 9
    assert seen["prompts"] == ["say f"] * 30
    again = call("calibrate", files / "kept.jsonl.gz", "-o", files / "d.json")
    assert again.exit_code == 0
    assert (files / "c.json").read_text() == (files / "d.json").read_text()

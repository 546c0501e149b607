"""The sampler: what it writes, how it goes on, and what it leaves alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paperworks.scaling import (
    Completion,
    FinalAnswerVerifier,
    Problem,
    RepeatedSampler,
    coverage,
    read_counts,
)

PROBLEMS = [Problem(name, f"toss {name}", {"answer": 1}) for name in ("a", "b/é", "c")]


class Coin:
    """Says 0 or 1 by its seed; breaks after ``patience`` batches."""

    def __init__(self, patience: int = 10**9, bias: int = 2) -> None:
        self.patience, self.bias = patience, bias
        self.calls: list[tuple[str, list[int]]] = []

    def sample(self, prompt: str, seeds: Sequence[int]) -> list[Completion]:
        if len(self.calls) >= self.patience:
            raise KeyboardInterrupt
        self.calls.append((prompt, list(seeds)))
        return [Completion(str(int(seed % self.bias == 0)), 3, 1) for seed in seeds]

    def describe(self) -> dict[str, Any]:
        return {"kind": "coin", "bias": self.bias}


def sampler(backend: Any, **settings: Any) -> RepeatedSampler:
    return RepeatedSampler(backend, FinalAnswerVerifier(), **{"batch_size": 4, **settings})


def test_writes_what_the_command_line_reads(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.jsonl"
    run = sampler(Coin()).run(PROBLEMS, 10, path)
    counts = read_counts(path, strict=True)
    assert counts.problems == run.problems == ("a", "b/é", "c")
    np.testing.assert_array_equal(counts.n, run.n)
    np.testing.assert_array_equal(counts.c, run.c)
    assert (run.drawn, run.resumed, run.repaired) == (30, 0, False)
    assert 0 < run.c.sum() < 30
    coverage(run.n, run.c, [1, 10])
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert list(lines[0])[:4] == ["problem", "sample", "seed", "correct"]
    assert lines[0]["completion"] in ("0", "1")
    assert len({line["seed"] for line in lines}) == 30
    settings = json.loads((tmp_path / "new" / "r.jsonl.settings.json").read_text())
    assert settings == {
        "seed": 0,
        "backend": {"kind": "coin", "bias": 2},
        "verifier": {"kind": "final answer", "require_marker": False},
    }


def test_batches_hold_one_prompt_and_no_more_than_asked(tmp_path: Path) -> None:
    coin = Coin()
    sampler(coin).run(PROBLEMS, 10, tmp_path / "r")
    assert [len(seeds) for _, seeds in coin.calls] == [4, 4, 2] * 3
    assert [prompt for prompt, _ in coin.calls[::3]] == ["toss a", "toss b/é", "toss c"]


@pytest.mark.parametrize("patience", range(1, 9))
def test_goes_on_where_it_stopped_to_the_same_end(tmp_path: Path, patience: int) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    sampler(Coin()).run(PROBLEMS, 10, straight)
    with pytest.raises(KeyboardInterrupt):
        sampler(Coin(patience)).run(PROBLEMS, 10, broken)
    coin = Coin()
    run = sampler(coin).run(PROBLEMS, 10, broken)
    assert broken.read_bytes() == straight.read_bytes()
    assert run.drawn + run.resumed == 30
    assert len(coin.calls) == 9 - patience


def test_more_samples_add_to_the_file_and_none_are_drawn_twice(tmp_path: Path) -> None:
    path = tmp_path / "r"
    sampler(Coin()).run(PROBLEMS[:1], 3, path)
    before = path.read_bytes()
    run = sampler(Coin(), batch_size=100).run(PROBLEMS, 7, path)
    assert path.read_bytes().startswith(before)
    assert (run.resumed, run.drawn, run.n.tolist()) == (3, 18, [7, 7, 7])
    fewer = sampler(Coin(0)).run(PROBLEMS, 5, path)
    assert (fewer.drawn, fewer.n.tolist()) == (0, [7, 7, 7])


def test_cuts_a_half_written_line_at_every_place(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    sampler(Coin()).run(PROBLEMS[:1], 3, whole)
    data = whole.read_bytes()
    start = data[:-1].rindex(b"\n") + 1
    for end in range(start + 1, len(data)):
        path = tmp_path / "cut"
        path.write_bytes(data[:end])
        run = sampler(Coin()).run(PROBLEMS[:1], 3, path)
        assert run.repaired
        assert (run.resumed, run.drawn) == (2, 1)
        assert path.read_bytes() == data


def test_leaves_a_file_alone_that_is_not_its_own(tmp_path: Path) -> None:
    sampler(Coin()).run(PROBLEMS[:1], 2, tmp_path / "ours")
    ours = (tmp_path / "ours").read_bytes()
    for foreign, words in (
        (b"dear diary", "does not end in a line of this sampler's"),
        (b"dear diary\n", "line 1: not a sample of this sampler's"),
        (ours + b"x\n" + ours, "line 3: not a sample"),
        (ours + b"x\n" + b'{"problem": "a", "sam', "line 3: not a sample"),
        (ours + ours[: ours.index(b"\n") + 1], "line 3: sample 0 of 'a' appears twice"),
        (b'{"problem": "a", "correct": true}\n', "line 1: not a sample"),
    ):
        path = tmp_path / "foreign"
        path.write_bytes(foreign)
        with pytest.raises(ValueError, match=words):
            sampler(Coin()).run(PROBLEMS, 3, path)
        assert path.read_bytes() == foreign


def test_refuses_to_mix_settings_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "r"
    sampler(Coin()).run(PROBLEMS[:1], 2, path)
    before = path.read_bytes()
    other = [Problem("a", "another prompt", {"answer": 1})]
    for backend, problems, seed in (
        (Coin(bias=3), PROBLEMS, 0), (Coin(), PROBLEMS, 1), (Coin(), other, 0),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="line 1: the sample was drawn with other settings"):
            sampler(backend).run(problems, 4, path, seed=seed)
    with pytest.raises(ValueError, match="problem 'a' is not among those given"):
        sampler(Coin()).run(PROBLEMS[1:], 4, path)
    assert path.read_bytes() == before


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="files are locked on POSIX only")
    path = tmp_path / "r"

    class Nested(Coin):
        def sample(self, prompt: str, seeds: Sequence[int]) -> list[Completion]:
            with pytest.raises(ValueError, match="another run is writing"):
                sampler(Coin()).run(PROBLEMS, 3, path)
            return super().sample(prompt, seeds)

    sampler(Nested()).run(PROBLEMS, 3, path)
    read_counts(path, strict=True)


def test_seeds_make_the_samples_and_workers_do_not(tmp_path: Path) -> None:
    one = sampler(Coin()).run(PROBLEMS, 20, tmp_path / "1", seed=1)
    sampler(Coin(), verifier_workers=4, batch_size=20).run(PROBLEMS, 20, tmp_path / "2", seed=1)
    two = sampler(Coin()).run(PROBLEMS, 20, tmp_path / "3", seed=2)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert one.c.tolist() != two.c.tolist()


def test_tells_how_far_it_is(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    sampler(Coin()).run(PROBLEMS[:2], 6, tmp_path / "r", progress=lambda *at: steps.append(at))
    assert steps == [(4, 12), (6, 12), (10, 12), (12, 12)]


def test_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="have different ids, got 2 with 1"):
        sampler(Coin()).run([PROBLEMS[0]] * 2, 3, tmp_path / "r")
    with pytest.raises(ValueError, match="samples must be >= 1, got 0"):
        sampler(Coin()).run(PROBLEMS, 0, tmp_path / "r")
    with pytest.raises(ValueError, match="batch_size and verifier_workers must be >= 1, got 0"):
        sampler(Coin(), batch_size=0)

    class Short(Coin):
        def sample(self, prompt: str, seeds: Sequence[int]) -> list[Completion]:
            return super().sample(prompt, seeds)[1:]

    with pytest.raises(ValueError, match="gave 3 completions for 4 seeds"):
        sampler(Short()).run(PROBLEMS, 10, tmp_path / "s")

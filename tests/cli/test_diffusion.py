"""``paperworks diffusion train`` and ``sample`` on networks of a few thousand weights."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from paperworks.cli import app, diffusion
from paperworks.diffusion.frechet import Features
from paperworks.diffusion.images import grid, load_images
from paperworks.diffusion.sampling import sample
from paperworks.diffusion.trained import TrainedModel
from paperworks.diffusion.usf import Decisions, USFSolver

pytest.importorskip("diffusers")
pytest.importorskip("safetensors")
run = CliRunner().invoke

TINY = ["--channels", "8,16", "--batch", "4", "--device", "cpu"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures in colour of two classes."""
    rng = np.random.default_rng(0)
    for i in range(12):
        path = tmp_path / "pictures" / ("a" if i % 2 else "b") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 12, 3), np.uint8)).save(path)
    return tmp_path / "pictures"


def test_train_go_on_and_sample(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Features, "train", partial(Features.train, updates=10))
    out, picture = tmp_path / "model", tmp_path / "new" / "grid.png"
    command = ["diffusion", "train", "--data", str(folder), "--out", str(out), "--size", "8", *TINY]
    first = run(app, [*command, "--steps", "3", "--json"])
    assert first.exit_code == 0, first.output
    report = json.loads(first.stdout)
    assert report["shape"] == [3, 8, 8]
    assert (report["steps"], report["images"], report["device"]) == (3, 12, "cpu")
    assert report["loss"] > 0

    more = run(app, [*command, "--steps", "5"])
    assert more.exit_code == 0, more.output
    assert "5 steps on 12 images of 3x8x8 · loss" in more.stdout
    assert f"now: paperworks diffusion sample {out} --out grid.png" in more.stdout
    again = run(app, [*command, "--steps", "5", "--json"])
    assert json.loads(again.stdout)["loss"] is None  # nothing left to do

    drawn = run(
        app,
        ["diffusion", "sample", str(out), "--n", "6", "--steps", "4", "--columns", "3",
         "--out", str(picture), "--quality", "--json"],
    )  # fmt: skip
    assert drawn.exit_code == 0, drawn.output
    found = json.loads(drawn.stdout)
    assert (found["n"], found["solver"], found["evaluations"]) == (6, "tab3", 4)
    assert found["frechet"] > 0
    assert "frechet_real" not in found  # a folder has no test part
    assert (out / "features" / "config.json").is_file()
    with Image.open(picture) as image:
        assert image.size == (6 * (3 * 9 - 1), 6 * (2 * 9 - 1))


def test_the_shipped_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAPERWORKS_CACHE", "PAPERWORKS_DATA"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))  # no weights of Inception
    pictures = []
    for seed, name in ((0, "a.png"), (0, "b.png"), (1, "c.png")):
        path = tmp_path / name
        drawn = run(
            app,
            ["diffusion", "sample", "digits", "--n", "100", "--shown", "9", "--quality",
             "--solver", "rho-heun", "--steps", "5", "--out", str(path), "--seed", str(seed)],
        )  # fmt: skip
        assert drawn.exit_code == 0, drawn.output
        assert "100 images · rho-heun, 10 evaluations" in drawn.stdout
        assert "in the features of a small classifier of digits" in drawn.stdout
        assert "for 100 real test images" in drawn.stdout
        assert "not Inception FID" in drawn.stdout
        pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


def test_search_and_sample_by_what_was_found(tmp_path: Path) -> None:
    out, given = tmp_path / "s", ["--steps", "3", "--budget", "36", "--n", "2", "--json"]
    command = ["diffusion", "search", "digits", "--out", str(out), *given]
    done = run(app, command)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["evaluated"], report["steps"], report["by"]) == (36, 3, "flow")
    assert report["score"] <= report["by_hand_score"]
    assert len(json.loads((out / "search.json").read_text())["evaluated"]) == 36
    again = run(app, [each for each in command if each != "--json"])  # nothing left to evaluate
    assert "36 schedules of 3 steps · best" in again.stdout
    assert f"sample digits --decisions {out / 'found.json'} --out" in again.stdout.replace("\n", "")
    other = run(app, [*command, "--by", "frechet"])
    assert other.exit_code == 2
    assert "is of another objective" in other.output

    # The score is that of the images that the found schedule makes of the search's noise.
    model, found = TrainedModel.load("digits"), Decisions.load(out / "found.json")
    noise = model.noise(2, torch.Generator().manual_seed(1000))
    fine = sample(model, model.schedule, noise, solver="tab3", steps=100).x
    made = sample(model, model.schedule, noise, solver=USFSolver(found), times=found.times).x
    assert report["score"] == pytest.approx(float((made - fine).abs().mean()), rel=1e-3)

    drawn = run(
        app,
        ["diffusion", "sample", "digits", "--n", "4", "--decisions", str(out / "found.json"),
         "--out", str(tmp_path / "g.png"), "--seed", "7", "--json"],
    )  # fmt: skip
    assert drawn.exit_code == 0, drawn.output
    told = json.loads(drawn.stdout)
    assert (told["evaluations"], told["solver"]) == (3, str(out / "found.json"))
    images = model.sample(
        4, torch.Generator().manual_seed(7), solver=USFSolver(found), times=found.times
    )
    with Image.open(tmp_path / "g.png") as image:
        np.testing.assert_array_equal(np.asarray(image), grid(images))


def test_a_search_by_the_distance_from_data(tmp_path: Path) -> None:
    done = run(
        app,
        ["diffusion", "search", "digits", "--out", str(tmp_path), "--steps", "2", "--budget", "2",
         "--n", "80", "--by", "frechet", "--json"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    model, found = TrainedModel.load("digits"), Decisions.load(tmp_path / "found.json")
    made = model.sample(
        80, torch.Generator().manual_seed(1000), solver=USFSolver(found), times=found.times
    )
    expected = Features.load("digits").distance(made, load_images("digits").images)
    assert json.loads(done.stdout)["score"] == pytest.approx(expected, rel=1e-3)


def test_by_the_distance_from_data_each_is_scored_by_many_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paperworks.diffusion import quality

    asked: list[tuple[str, int]] = []

    def objective(source: str, model: Any, count: int, by: str, seed: int) -> Any:
        asked.append((by, count))
        return lambda decisions: 1.0

    monkeypatch.setattr(quality, "objective", objective)
    for by, more in (("flow", []), ("frechet", []), ("frechet", ["--n", "80"])):
        done = run(
            app,
            ["diffusion", "search", "digits", "--out", str(tmp_path / f"{by}{len(more)}"),
             "--steps", "2", "--budget", "1", "--by", by, "--json", *more],
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["n"] == asked[-1][1]
    assert asked == [("flow", 32), ("frechet", 1000), ("frechet", 80)]


def test_inception_is_used_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Features(lambda x: x.flatten(1)[:, :4], None, "x")
    monkeypatch.setattr(Features, "inception", lambda: made)
    drawn = run(
        app,
        ["diffusion", "sample", "digits", "--n", "8", "--out", str(tmp_path / "g.png"),
         "--quality", "--json"],
    )  # fmt: skip
    assert drawn.exit_code == 0, drawn.output
    assert json.loads(drawn.stdout)["fid"] > 0


def test_a_data_set_is_kept_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERWORKS_CACHE", str(tmp_path))
    done = run(app, ["diffusion", "train", "--data", "digits", "--steps", "2", *TINY])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "diffusion" / "digits" / "checkpoint.pt").is_file()
    # By its name the shipped one would be taken.
    assert f"sample {tmp_path / 'diffusion' / 'digits'} --out" in done.stdout
    other = run(app, ["diffusion", "train", "--data", "digits", "--steps", "2", *TINY, "--lr", "1"])
    assert other.exit_code == 2
    assert "lr is 0.002 there and 1.0 here" in other.output


def test_a_training_of_ones_own_leaves_the_recipes_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claims go by the model of the recipe: no longer training may come in its place."""
    from paperworks.diffusion import images, training

    pictures = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    given = images.ImageSet(pictures, None, (), "mnist")
    recipe = training.Recipe((8,), steps=2, batch=4)
    monkeypatch.setenv("PAPERWORKS_CACHE", str(tmp_path))
    monkeypatch.setitem(training.RECIPES, "mnist", recipe)
    monkeypatch.setattr(images, "load_images", lambda *_, **__: given)
    monkeypatch.setattr(training, "load_images", lambda *_, **__: given)
    command = ["diffusion", "train", "--data", "mnist", "--device", "cpu"]
    for more in (["--steps", "4"], ["--steps", "6"], []):  # and the first goes on
        done = run(app, [*command, *more])
        assert done.exit_code == 0, done.output
        steps, folder = (int(more[1]), "mnist-own") if more else (2, "mnist")
        kept = json.loads((tmp_path / "diffusion" / folder / "training.json").read_text())
        assert kept["step"] == steps
        name = tmp_path / "diffusion" / folder if more else "mnist"
        assert f"now: paperworks diffusion sample {name} --out" in done.stdout
    assert training.trained("mnist").training["step"] == 2
    # Another seed is another training.
    other = run(app, [*command, "--seed", "1"])
    assert other.exit_code == 2
    assert "mnist-own/checkpoint.pt has other settings: seed is 0 there" in other.output


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from paperworks.diffusion import training

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", interrupted)
    done = run(app, ["diffusion", "train", "--data", "digits", "--out", str(tmp_path / "m")])
    assert done.exit_code == 130
    assert "the same command goes on from what is kept in" in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--data", "nowhere", "--out", "x"], "nowhere is no folder here"),
        (["train", "--data", "."], "give --out for the model of a folder"),
        (["train", "--data", "digits", "--out", "x", "--size", "9"], "has a size of its own"),
        (["train", "--data", "digits", "--out", "x", "--channels", "8,x"], "as 32,64,64; got"),
        (["train", "--data", "digits", "--out", "x", "--channels", "12"], "multiples of 8"),
        (["train", "--data", "digits", "--out", "x", "--channels", "8,8,8,8,8"], "be halved"),
        (["train", "--data", "digits", "--out", "x", "--ema", "1"], "ema from 0 to below 1"),
        (["train", "--data", "digits", "--out", "x", "--device", "tpu"], "device"),
        (["sample", "nowhere", "--out", "g.png"], "nowhere holds no model"),
        (["sample", "digits", "--out", "g.png", "--solver", "tab9"], "got 'tab9'"),
        (["sample", "digits", "--out", "g.png", "--steps", "3"], "tab3 needs 4 steps or more"),
        (["sample", "digits", "--out", "g.png", "--spacing", "x"], "spacing must be one of"),
        (["sample", "digits", "--out", "g.nonsense"], "unknown file extension '.nonsense'"),
        (["sample", "nowhere", "--out", "g.nonsense"], "unknown file extension"),  # asked first
        (["sample", "digits", "--out", "g.png", "--decisions", "no.json"], "no.json"),
        (["search", "nowhere", "--out", "s"], "nowhere holds no model"),
        (["search", "digits", "--out", "s", "--by", "eye"], "by must be flow or frechet, got"),
        (["search", "digits", "--out", "s", "--strategy", "x", "--n", "2"], "strategy must be one"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(app, ["diffusion", *arguments])
    assert done.exit_code == 2, done.output
    assert words in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "g.png").exists()


def test_without_diffusers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for arguments in (
        ["train", "--data", "digits", "--out", str(tmp_path / "m")],
        ["sample", "digits", "--out", str(tmp_path / "g.png")],
    ):
        done = run(app, ["diffusion", *arguments])
        assert done.exit_code == 2
        assert "pip install 'paperworks[diffusion]'" in done.output
    assert not (tmp_path / "m").exists()


def test_the_command_line_loads_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, paperworks.cli; print('torch' in sys.modules, 'diffusers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
    assert diffusion.app.info.help

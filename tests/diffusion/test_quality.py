"""How the images of a folder's model are measured: against those that it was trained on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from paperworks.diffusion import quality
from paperworks.diffusion.frechet import Features, frechet_distance
from paperworks.diffusion.images import load_images
from paperworks.diffusion.trained import TrainedModel
from paperworks.diffusion.training import Recipe, train

pytest.importorskip("diffusers")
pytest.importorskip("safetensors")

TINY = Recipe((8, 8), steps=1, batch=4)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures of 8 by 16, of two classes, below the working directory; nothing of Inception."""
    for name in ("PAPERWORKS_CACHE", "PAPERWORKS_DATA"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr(Features, "train", partial(Features.train, updates=5))
    monkeypatch.chdir(tmp_path)
    paint(Path("pictures"))
    return tmp_path


def paint(folder: Path, classes: tuple[str, ...] = ("a", "b"), mode: str = "L") -> None:
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(6):
            pixels = rng.integers(0, 255, (8, 16), np.uint8)
            Image.fromarray(pixels).convert(mode).save(folder / name / f"{i}.png")


def learned(source: str, size: int | None = None) -> TrainedModel:
    found = load_images(source, size=size)
    train(found.images, "model", TINY, data=found.name)
    return TrainedModel.load("model")


@pytest.mark.parametrize("size", [None, 4])
def test_the_real_images_are_those_of_the_training(
    here: Path, monkeypatch: pytest.MonkeyPatch, size: int | None
) -> None:
    model, real = learned("pictures", size), load_images("pictures", size=size).images
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")  # the folder's name still leads to it
    source = str(here / "model")
    images = model.sample(6, torch.Generator().manual_seed(0), steps=4)
    found = quality.measure(source, model, images)
    features = Features.load(source)
    assert found["frechet"] == frechet_distance(features(images), features(real))
    assert found["fid"] is None


def test_a_folder_that_has_changed_is_refused(here: Path) -> None:
    model = learned("pictures")
    paint(here / "pictures", mode="RGB")
    with pytest.raises(ValueError, match=r"pictures are \(3, 8, 16\), those of the model \(1, 8,"):
        quality.measure("model", model, torch.zeros(6, 1, 8, 16))


def test_without_classes_there_is_inception_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    paint(Path("flat"), ("",))
    model, images = learned("flat"), torch.rand(6, 1, 8, 16)
    with pytest.raises(ValueError, match="flat have no classes to learn features from: put them"):
        quality.measure("model", model, images)
    monkeypatch.setattr(Features, "inception", lambda: Features(lambda x: x[:, 0, 0, :4], None, ""))
    found = quality.measure("model", model, images)
    assert found["fid"] > 0
    assert found["frechet"] is found["features"] is None


def test_a_model_that_does_not_say(here: Path) -> None:
    model = replace(learned("pictures"), training={})
    with pytest.raises(ValueError, match="model does not say what it was trained on"):
        quality.measure("model", model, torch.zeros(6, 1, 8, 16))

"""How good the images of a trained model are, and what a search for its solver goes by."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import paperworks.data
from paperworks.diffusion.frechet import Features, frechet_distance
from paperworks.diffusion.images import ImageSet, load_images
from paperworks.diffusion.sampling import sample
from paperworks.diffusion.trained import TrainedModel
from paperworks.diffusion.usf.objective import OnSamples

FINE = 100
"""Steps of tab3 that stand for the model's exact flow."""


def features_of(source: str, model: TrainedModel) -> tuple[Features, ImageSet]:
    """The features in which a model's images are measured, and the images it was trained on.

    Where these are a folder's, a classifier of its classes is trained at the first call, and kept
    beside the model.

    Raises
    ------
    ValueError
        If the model does not say what it was trained on, or there are no classes.
    """
    name = model.training.get("data")
    if not name:
        raise ValueError(f"{source} does not say what it was trained on: quality is not known")
    if name in paperworks.data.names():
        return Features.load(name), load_images(name)
    real = load_images(name, size=model.shape[1])
    try:
        return Features.load(source), real
    except ValueError:
        Features.train(real).save(source)
        return Features.load(source), real


def measure(source: str, model: TrainedModel, images: Tensor) -> dict[str, Any]:
    """The Fréchet distances of images from the real ones.

    Parameters
    ----------
    source : str
        The name or folder of the model.
    model : TrainedModel
    images : (n, channels, height, width) float
        From -1 to 1.

    Returns
    -------
    dict
        "frechet" in the "features" of a small classifier; where there are real test images, as many
        of them for the scale, "frechet_real" of "real"; and "fid" in Inception's features, None
        where these are not on this machine.
    """
    features, real = features_of(source, model)
    seen = features(real.images)
    found: dict[str, Any] = {
        "frechet": frechet_distance(features(images), seen),
        "features": features.name,
    }
    if real.name in paperworks.data.names():
        test = load_images(real.name, part="test").images[: len(images)]
        found |= {"frechet_real": frechet_distance(features(test), seen), "real": len(test)}
    try:
        inception = Features.inception()
    except ValueError:
        found["fid"] = None
    else:
        found["fid"] = inception.distance(images, real.images)
    return found


def objective(source: str, model: TrainedModel, count: int, by: str, seed: int) -> OnSamples:
    """What a search for a model's solver schedule is to lower.

    Parameters
    ----------
    source, model
        As for :func:`measure`.
    count : int
        Images that each schedule makes.
    by : {"flow", "frechet"}
        The mean absolute difference from what a hundred steps make of the same noise, or the
        Fréchet distance from the images that the model was trained on.
    seed : int
        Of the noise.

    Raises
    ------
    ValueError
        For another error, or as :func:`features_of`.
    """
    noise = model.noise(count, torch.Generator().manual_seed(seed))
    if by == "flow":
        exact = sample(
            model, model.schedule, noise, solver="tab3", steps=FINE, prediction=model.prediction
        ).x

        def error(x: Tensor) -> Tensor | float:
            return (x - exact).abs().mean()

    elif by == "frechet":
        features, real = features_of(source, model)
        seen = features(real.images)

        def error(x: Tensor) -> Tensor | float:
            return frechet_distance(features(x.clamp(-1, 1)), seen)

    else:
        raise ValueError(f"by must be flow or frechet, got {by!r}")
    return OnSamples(model, model.schedule, noise, error, model.prediction)

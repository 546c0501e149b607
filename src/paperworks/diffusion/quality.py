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


def real_images(source: str, model: TrainedModel) -> ImageSet:
    """The images that a model was trained on.

    Raises
    ------
    ValueError
        If the model does not say which, they are no longer there, or have another shape now.
    """
    name = model.training.get("data")
    if not name:
        raise ValueError(f"{source} does not say what it was trained on: quality is not known")
    if name in paperworks.data.names():
        real = load_images(name)
    else:
        # Square images were cut to this size, or had it anyway; others were taken as they are.
        _, height, width = model.shape
        real = load_images(name, size=height if height == width else None)
    shape = tuple(real.images.shape[1:])
    if shape != model.shape:
        raise ValueError(
            f"the images of {name} are {shape}, those of the model {model.shape}: they are not "
            "those that it was trained on"
        )
    return real


def features_of(source: str, real: ImageSet) -> Features:
    """The features in which a model's images are measured.

    Where the real images are a folder's, a classifier of its classes is trained at the first call,
    and kept beside the model.

    Raises
    ------
    ValueError
        If there are no classes.
    """
    if real.name in paperworks.data.names():
        return Features.load(real.name)
    try:
        return Features.load(source)
    except ValueError:
        Features.train(real).save(source)
        return Features.load(source)


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
        where these are not on this machine. Images without classes have no classifier: then the
        first two are None.

    Raises
    ------
    ValueError
        As :func:`real_images`; or if there are neither classes nor Inception's weights.
    """
    real, inception = real_images(source, model), _inception()
    found: dict[str, Any] = {"frechet": None, "features": None, "fid": None}
    if inception is not None:
        found["fid"] = inception.distance(images, real.images)
    if inception is None or real.classes:
        features = features_of(source, real)
        seen = features(real.images)
        found |= {"frechet": frechet_distance(features(images), seen), "features": features.name}
        if real.name in paperworks.data.names():
            test = load_images(real.name, part="test").images[: len(images)]
            found |= {"frechet_real": frechet_distance(features(test), seen), "real": len(test)}
    return found


def _inception() -> Features | None:
    try:
        return Features.inception()
    except ValueError:
        return None


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
        For another error, or as :func:`real_images` and :func:`features_of`.
    """
    noise = model.noise(count, torch.Generator().manual_seed(seed))
    if by == "flow":
        exact = sample(
            model, model.schedule, noise, solver="tab3", steps=FINE, prediction=model.prediction
        ).x

        def error(x: Tensor) -> Tensor | float:
            return (x - exact).abs().mean()

    elif by == "frechet":
        real = real_images(source, model)
        features = features_of(source, real)
        seen = features(real.images)

        def error(x: Tensor) -> Tensor | float:
            return frechet_distance(features(x.clamp(-1, 1)), seen)

    else:
        raise ValueError(f"by must be flow or frechet, got {by!r}")
    return OnSamples(model, model.schedule, noise, error, model.prediction)

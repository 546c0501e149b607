"""How far generated images are from real ones: the Fréchet distance of their features.

Heusel et al. 2017, arXiv:1706.08500: features of both sets are taken for Gaussian, and the distance
is that of Wasserstein between the two Gaussians, squared (Dowson and Landau 1982)::

    |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2))

The features here are those of a small classifier trained on the same data. So the numbers are NOT
the FID of papers, whose features are those of Inception-v3 trained on ImageNet: they order samplers
of one data set and mean nothing beside numbers from elsewhere. Inception's own are used where its
weights are on the machine: :meth:`Features.inception`.

With few images the estimate is too large. Where both sets are of one Gaussian with the covariance
``s I`` in ``d`` dimensions it is, to first order, ``s d (1 + (d + 1) / 4) (1 / n + 1 / m)`` and not
0. So compare equal numbers of images, of many more than there are features, and look at what as
many real ones get.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional

import paperworks.data
from paperworks.data.files import cache_dir, user_dir
from paperworks.diffusion.images import ImageSet, check_images, load_images
from paperworks.diffusion.schedules import Floats
from paperworks.diffusion.trained import folder_of
from paperworks.writing import read_json, write_bytes, write_json

DIM = 64
"""Features of the small classifier."""
_WIDTHS = (16, 32, 64)
_WEIGHTS = "model.safetensors"
_INCEPTION = "inception-2015-12-05.pt"


def frechet_distance(a: ArrayLike | Tensor, b: ArrayLike | Tensor) -> float:
    """The Fréchet distance between the Gaussians of two sets of features.

    Parameters
    ----------
    a, b : (n, dim) and (m, dim) float
        With two rows or more each; taken to float64.

    Returns
    -------
    float
        At least 0. In the square of the features' unit, as FID is.

    Raises
    ------
    ValueError
        For other shapes, different dims, fewer than two rows, or values that are not finite.

    Notes
    -----
    O((n + m) dim**2 + dim**3). The trace of the root is the sum of the singular values of
    ``R1.T @ R2``, with ``C = R R.T`` from the symmetric eigendecomposition: the root of a product
    that is not symmetric, and its imaginary parts, do not come up.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(100, 3))
    >>> round(frechet_distance(x, x + [3, 4, 0]), 9)
    25.0
    """
    (mean, cov), (other_mean, other_cov) = _moments(a, "a"), _moments(b, "b")
    if mean.shape != other_mean.shape:
        raise ValueError(f"both must have as many features, got {len(mean)} and {len(other_mean)}")
    shared = np.linalg.svd(_root(cov).T @ _root(other_cov), compute_uv=False).sum()
    moved = np.square(mean - other_mean).sum()
    return max(0.0, float(moved + np.trace(cov) + np.trace(other_cov) - 2 * shared))


@dataclass(frozen=True, eq=False)
class Features:
    """What a network sees in images, before it names them.

    Attributes
    ----------
    network : callable
        From images ``(n, channels, height, width)`` float32 to features ``(n, dim)``.
    head : callable or None
        From features to a score for each class.
    name : str
        What they are, to stand beside the numbers.
    about : mapping
        How the classifier was trained; ``accuracy`` is that on the test images.

    Examples
    --------
    >>> features, digits = Features.load("digits"), load_images("digits")
    >>> features(digits.images[:5]).shape
    torch.Size([5, 64])
    >>> float((features.classify(digits.images) == digits.labels).float().mean()) > 0.98
    True
    >>> half = digits.images[:700]
    >>> features.distance(half, digits.images[700:]) < features.distance(half, -half)
    True
    """

    network: Callable[[Tensor], Tensor]
    head: Callable[[Tensor], Tensor] | None
    name: str
    about: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, images: Tensor, *, batch: int = 500) -> Tensor:
        """(n, dim) float32, on the CPU, of images (n, channels, height, width) from -1 to 1."""
        with torch.no_grad():
            parts = images.detach().float().cpu().split(batch)
            return torch.cat([self.network(part) for part in parts])

    def classify(self, images: Tensor) -> Tensor:
        """(n,) int64, the class that each image is taken for; ValueError without a head."""
        if self.head is None:
            raise ValueError(f"{self.name} names no classes: use Features.load of a data set")
        with torch.no_grad():
            return self.head(self(images)).argmax(1)

    def distance(self, a: Tensor, b: Tensor) -> float:
        """:func:`frechet_distance` of two sets of images."""
        return frechet_distance(self(a), self(b))

    @classmethod
    def load(cls, source: str | os.PathLike[str]) -> Features:
        """The features of a data set's classifier.

        Parameters
        ----------
        source : str or path
            ``"digits"`` ships; for another data set the classifier is trained at the first call, a
            minute or two, and kept in the cache. Or a folder that :meth:`save` has written.

        Raises
        ------
        ValueError
            For a folder without one, or a damaged file, which is named.
        """
        folder = folder_of(source) / "features"
        if not (folder / _WEIGHTS).is_file():
            if str(source) not in paperworks.data.names():
                raise ValueError(f"{folder} holds no features: train and save some there first")
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_name("features.lock")):
                if not (folder / _WEIGHTS).is_file():
                    train, test = load_images(source), load_images(source, part="test")
                    cls.train(train, test=test).save(folder.parent)
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        about = read_json(folder / "config.json")
        network, head = _classifier(about["channels"], len(about["classes"]), seed=0)
        try:
            tensors = {name: each.float() for name, each in load_file(folder / _WEIGHTS).items()}
            nn.ModuleDict({"network": network, "head": head}).load_state_dict(tensors)
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"{folder / _WEIGHTS} is damaged: {error}") from error
        return cls(network, head, _name(about["data"]), about)

    @classmethod
    def train(
        cls,
        data: ImageSet,
        *,
        test: ImageSet | None = None,
        updates: int = 3000,
        batch: int = 64,
        lr: float = 2e-3,
        seed: int = 0,
    ) -> Features:
        """A small classifier of these images: three convolutions, 64 features, the classes.

        Parameters
        ----------
        data, test : ImageSet
            With labels; the test images say how often it is right.
        updates, batch, lr
            AdamW along a cosine; batches are drawn with repeats.
        seed : int
            Of the weights and the batches.

        Raises
        ------
        ValueError
            For images without labels or of fewer than two classes.
        """
        images, labels = check_images(data.images), data.labels
        if labels is None or len(data.classes) < 2:
            raise ValueError(
                f"the images of {data.name} have no classes to learn features from: put them "
                "in a subfolder for each class"
            )
        generator = torch.Generator().manual_seed(seed)
        network, head = _classifier(images.shape[1], len(data.classes), seed)
        both = nn.ModuleList([network, head]).train().requires_grad_(True)
        optimizer = torch.optim.AdamW(both.parameters(), lr, fused=True)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
        for _ in range(updates):
            rows = torch.randint(len(images), (batch,), generator=generator)
            functional.cross_entropy(head(network(images[rows])), labels[rows]).backward()
            optimizer.step()
            optimizer.zero_grad()
            falling.step()
        both.eval().requires_grad_(False)
        about = {
            "data": data.name, "channels": images.shape[1], "classes": data.classes,
            "updates": updates, "batch": batch, "lr": lr, "seed": seed,
        }  # fmt: skip
        made = cls(network, head, _name(data.name), about)
        if test is None or test.labels is None:
            return made
        right = float((made.classify(test.images) == test.labels).double().mean())
        return cls(network, head, made.name, {**about, "accuracy": right})

    @classmethod
    def inception(cls) -> Features:
        """Those of Inception-v3, where its weights are on this machine: then the distance is FID.

        The file is ``inception-2015-12-05.pt``, the TorchScript copy of the original network that
        StyleGAN2-ADA and EDM measure with, in the folder ``models`` of ``PAPERWORKS_DATA`` or of
        the cache. Pictures without colour are given three equal channels. FID needs tens of
        thousands of images.

        Raises
        ------
        ValueError
            Where the file is not there.
        """
        places = [folder / "models" / _INCEPTION for folder in (user_dir(), cache_dir()) if folder]
        found = next((path for path in places if path.is_file()), None)
        if found is None:
            raise ValueError(f"no weights of Inception here: put {_INCEPTION} at {places[0]}")
        network = torch.jit.load(found, map_location="cpu").eval()

        def features(images: Tensor) -> Tensor:
            bytes_ = ((images.clamp(-1, 1) + 1) * 127.5).round().byte()
            return network(bytes_.expand(-1, 3, -1, -1), return_features=True)

        return cls(features, None, "Inception-v3 of ImageNet")

    def save(self, folder: str | os.PathLike[str], *, dtype: torch.dtype = torch.float32) -> None:
        """Write a classifier to the subfolder ``features`` for :meth:`load`; ValueError for any
        other network.
        """
        from safetensors.torch import save

        if not isinstance(self.network, nn.Module) or not isinstance(self.head, nn.Module):
            raise ValueError(f"{self.name} is no classifier of Features.train: it is not saved")
        state = nn.ModuleDict({"network": self.network, "head": self.head}).state_dict()
        tensors = {
            name: each.to(dtype) if each.is_floating_point() else each
            for name, each in state.items()
        }
        write_json(Path(folder) / "features" / "config.json", self.about)
        write_bytes(Path(folder) / "features" / _WEIGHTS, save(tensors))


def _classifier(channels: int, classes: int, seed: int) -> tuple[nn.Module, nn.Module]:
    """From images of any size to features, and from these to the classes."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        layers: list[nn.Module] = []
        for stride, (wide, to) in zip((1, 2, 2), pairwise((channels, *_WIDTHS)), strict=True):
            layers += [nn.Conv2d(wide, to, 3, stride, 1), nn.BatchNorm2d(to), nn.ReLU()]
        layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * _WIDTHS[-1], DIM)]
        network = nn.Sequential(*layers)
        head = nn.Sequential(nn.ReLU(), nn.Linear(DIM, classes))
    both = nn.ModuleList([network, head]).eval().requires_grad_(False)
    return both[0], both[1]


def _name(data: str) -> str:
    return f"a small classifier of {data}"


def _moments(rows: ArrayLike | Tensor, which: str) -> tuple[Floats, Floats]:
    if isinstance(rows, Tensor):
        rows = rows.numpy(force=True)
    found = np.asarray(rows, np.float64)
    if found.ndim != 2 or len(found) < 2:
        raise ValueError(f"{which} must be (n, dim) with n >= 2, got shape {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError(f"{which} must be finite: it holds NaN or infinity")
    mean = found.mean(0)
    away = found - mean
    return mean, away.T @ away / (len(found) - 1)


def _root(cov: Floats) -> Floats:
    """R with ``cov = R @ R.T``."""
    values, axes = np.linalg.eigh(cov)
    return axes * np.sqrt(values.clip(min=0))

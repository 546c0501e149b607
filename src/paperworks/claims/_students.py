"""The students that the claims of f-distill compare, and what is measured of them.

See :mod:`paperworks.claims.f_distill` for what they are for.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paperworks.diffusion.f_distill.networks import FeatureDiscriminator, PointNetwork
from paperworks.diffusion.f_distill.trainer import FDistillTrainer
from paperworks.diffusion.mixtures import GaussianMixture, NoisyMixture
from paperworks.diffusion.schedules import LinearVP

STD = 0.1
"""Of every mode."""
WIDTH = 64
"""Of the networks of points."""
START = 399.0
"""The step of 1000 at which DMD2 asks the student that it distils from SDXL."""
ALL, LITTLE = (0.02, 0.98), (0.02, 0.1)
"""The noise levels of an ellipse: DMD's, and those at which the modes are apart."""


# -------------------------------------------------------------------------------- points


def build(name: str) -> GaussianMixture:
    """The teacher of points."""
    if name == "grid":
        side = torch.linspace(-1, 1, 5, dtype=torch.float64)
        means = torch.cartesian_prod(side, side)
        return GaussianMixture(torch.ones(25), means, torch.full((25,), STD**2))
    ring = GaussianMixture.ring(8, std=STD)
    if name == "ring":
        return ring
    return GaussianMixture(torch.arange(1.0, 9.0), ring.means, torch.full((8,), STD**2))


class Skewed(nn.Module):
    """A student of points that begins as a Gaussian around one side."""

    def __init__(self, schedule: LinearVP, seed: int):
        super().__init__()
        angle = 2 * math.pi * float(np.random.default_rng(seed).random())
        self.center = 0.7 * torch.tensor([math.cos(angle), math.sin(angle)])
        self.change = PointNetwork(schedule, 2, width=WIDTH)
        nn.init.zeros_(self.change.last.weight)
        nn.init.zeros_(self.change.last.bias)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """(batch, 2) points of noise."""
        return self.center.to(x) + 0.3 * x + self.change(x, t)


def point_trainer(data: str, divergence: str, seed: int) -> FDistillTrainer:
    """A training that has not begun."""
    schedule = LinearVP()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student, fake = Skewed(schedule, seed), PointNetwork(schedule, 2, width=WIDTH)
        judge = PointNetwork(schedule, 2, 1, width=WIDTH)
    return FDistillTrainer(
        build(data).model(schedule, "v_prediction"),
        student,
        fake,
        judge,
        schedule,
        shape=(2,),
        divergence=divergence,
        prediction="v_prediction",
        batch=128,
        lr=5e-3,
        ema=0.95,
        rng=torch.Generator().manual_seed(seed),
    )


def shares(mixture: GaussianMixture, points: Tensor) -> Tensor:
    """(modes,) shares of the points within three standard deviations of each mode."""
    return (torch.cdist(points.double(), mixture.means) < 3 * STD).double().mean(0)


def covered(mixture: GaussianMixture, points: Tensor) -> float:
    """The share of the mixture's mass that points cover."""
    whole = 1 - math.exp(-4.5)
    return float(torch.minimum(mixture.weights, shares(mixture, points) / whole).sum())


def points_student(*, data: str, divergence: str, seed: int, steps: int) -> dict[str, Any]:
    """Trained from its skewed start: at eleven "steps" the mass that is "covered", and the mean
    "variance" of the weights on the way from the one before; the "points" at the end.
    """
    mixture, trainer = build(data), point_trainer(data, divergence, seed)
    found: dict[str, Any] = {"steps": [], "covered": [], "variance": []}
    for part in range(11):
        varied: list[float] = []
        trainer.train(
            steps * part // 10,
            mixture.sample,
            progress=lambda step, steps, each: varied.append(each["variance"]),  # noqa: B023
        )
        made = trainer.sample(4000, torch.Generator().manual_seed(seed + 1000))
        found["steps"].append(trainer.steps)
        found["covered"].append(covered(mixture, made))
        found["variance"].append(sum(varied) / max(1, len(varied)))
    return {**found, "points": made}


# ------------------------------------------------------------------------ a small student


class Ellipse(nn.Module):
    """A student that can be one Gaussian only; so its score and density are known."""

    def __init__(self, seed: int):
        super().__init__()
        center = np.random.default_rng(seed).normal(size=2)
        self.mean = nn.Parameter(torch.from_numpy(center))
        self.root = nn.Parameter(0.5 * torch.eye(2, dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """(batch, 2) points of noise."""
        return self.mean + x @ self.root.T

    def covariance(self) -> Tensor:
        """(2, 2)."""
        return (self.root @ self.root.T).detach() + 1e-9 * torch.eye(2)

    def exact(self, schedule: LinearVP) -> NoisyMixture:
        """What it makes now, under noise."""
        now = GaussianMixture(torch.ones(1), self.mean.detach()[None], self.covariance()[None])
        return now.model(schedule)

    def contains(self, points: Tensor) -> Tensor:
        """Whether points are in the smallest region that holds 99 in 100 of its own."""
        away = points - self.mean.detach()
        size = (away * torch.linalg.solve(self.covariance(), away.T).T).sum(1)
        return size < -2 * math.log(0.01)


def ellipse(
    divergence: str, seed: int, steps: int, time_range: tuple[float, float] = LITTLE
) -> Ellipse:
    """Trained with the exact scores and the exact ratio, without a GAN term."""
    schedule, student = LinearVP(), Ellipse(seed)
    teacher = scattered(seed).model(schedule)
    trainer = FDistillTrainer(
        teacher,
        student,
        lambda x, t: student.exact(schedule)(x, t),
        lambda x, t: teacher.log_prob(x, t) - student.exact(schedule).log_prob(x, t),
        schedule,
        shape=(2,),
        divergence=divergence,
        gan_weight=0.0,
        lr=0.02,
        weight_decay=0.0,
        time_range=time_range,
        rng=torch.Generator().manual_seed(seed),
    )
    trainer.train(steps)
    return student


def scattered(seed: int) -> GaussianMixture:
    """The teacher of ellipses: four modes at random."""
    return GaussianMixture.random(2, 4, torch.Generator().manual_seed(seed), std=STD)


def ellipse_student(*, divergence: str, seed: int, steps: int, noise: str) -> dict[str, Any]:
    """The "share" of the teacher's points in its ellipse; ``noise`` is "all" or "little"."""
    points = scattered(seed).sample(10_000, torch.Generator().manual_seed(seed + 1000))
    student = ellipse(divergence, seed, steps, LITTLE if noise == "little" else ALL)
    return {"share": float(student.contains(points).double().mean())}


# -------------------------------------------------------------------------------- images


def image_student(
    model: Any,
    images: Tensor,
    divergence: str,
    seed: int,
    steps: int,
    batch: int,
    progress: Callable[[int, int, dict[str, float]], None] | None = None,
) -> FDistillTrainer:
    """A student of a :class:`~paperworks.diffusion.trained.TrainedModel`, trained."""
    channels = model.network.config.block_out_channels[-1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Sequential(
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * channels, 128),
            nn.SiLU(),
            nn.Linear(128, 1),
        ).to(model.device)
    trainer = FDistillTrainer(
        model,
        copy.deepcopy(model.network).requires_grad_(True),
        copy.deepcopy(model.network).requires_grad_(True),
        FeatureDiscriminator(model.network, "mid_block", head),
        model.schedule,
        shape=model.shape,
        divergence=divergence,
        generator_prediction=model.prediction,
        start=START,
        batch=batch,
        lr=5e-4,
        ema=0.98,
        rng=torch.Generator(model.device).manual_seed(seed),
    )
    trainer.train(steps, images.to(model.device), progress=progress)
    return trainer


def recall(real: Tensor, made: Tensor, k: int = 3) -> float:
    """The share of real features that are as near to a made one as its k-th made neighbour is."""
    radius = torch.cdist(made, made).kthvalue(k + 1, 1).values
    return float((torch.cdist(real, made) <= radius).any(1).double().mean())


def digits_or_mnist(
    *, data: str, divergence: str, seed: int, steps: int, batch: int, count: int, device: str
) -> dict[str, Any]:
    """Of ``count`` images of a trained student, or of the teacher without a divergence: their
    "features", and the first 64 "images" to look at.
    """
    from paperworks.diffusion.frechet import Features
    from paperworks.diffusion.images import load_images
    from paperworks.diffusion.training import trained

    model, features = trained(data, device=device), Features.load(data)
    rng = torch.Generator().manual_seed(seed + 1000)
    if divergence == "":
        images = model.sample(count, rng, steps=35).cpu()
        return {"features": features(images), "images": images[:64].clone()}
    student = image_student(model, load_images(data).images, divergence, seed, steps, batch)
    noise = torch.randn(count, *model.shape, generator=rng).to(model.device)
    with torch.no_grad():
        images = torch.cat([student.one_step(x).clamp(-1, 1).cpu() for x in noise.split(256)])
    return {"features": features(images), "images": images[:64].clone()}

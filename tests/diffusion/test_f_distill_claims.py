"""What the claims measure with, against closed forms and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from paperworks.claims import f_distill as claims
from paperworks.diffusion.mixtures import GaussianMixture


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("data", ["ring", "uneven", "grid"])
def test_what_is_covered(data: str) -> None:
    mixture = claims.build(data)
    assert claims.covered(mixture, mixture.sample(20_000, rng())) == pytest.approx(1, abs=0.03)
    assert claims.covered(mixture, torch.full((100, 2), 9.0)) == 0
    # The first mode alone, however many points there are in it.
    first = mixture.means[:1] + 0.01 * torch.randn(50, 2, generator=rng())
    assert claims.covered(mixture, first) == pytest.approx(float(mixture.weights[0]))


def test_mass_beside_the_modes_does_not_count() -> None:
    mixture = claims.build("ring")
    points = mixture.sample(10_000, rng())
    points[::2] = 5.0
    assert claims.covered(mixture, points) == pytest.approx(0.5, abs=0.02)


def test_recall_by_brute_force() -> None:
    real, made = torch.randn(40, 3, generator=rng()), torch.randn(30, 3, generator=rng(1)) + 0.7
    hit = 0
    for each in real.numpy():
        for other in made.numpy():
            radius = np.sort(np.linalg.norm(made.numpy() - other, axis=1))[3]
            if np.linalg.norm(each - other) <= radius:
                hit += 1
                break
    assert claims.recall(real, made) == pytest.approx(hit / 40)
    assert 0 < hit < 40


@pytest.mark.parametrize("distance", [0.5, 1.0, 2.0])
def test_variance_of_the_weights_in_closed_form(distance: float) -> None:
    found = claims.weight_variance("forward-kl", distance)
    assert found == pytest.approx(math.expm1(distance**2), rel=1e-6)
    # The mean of sqrt(r) is exp(-d**2 / 8), that of r is 1.
    found = claims.weight_variance("squared-hellinger", distance)
    assert found == pytest.approx(math.expm1(distance**2 / 4), rel=1e-6)
    assert claims.weight_variance("reverse-kl", distance) == pytest.approx(0, abs=1e-9)


def test_all_students_begin_alike_and_skewed() -> None:
    mixture = GaussianMixture.ring(8)
    trainers = [claims.point_trainer("ring", name, 3) for name in claims.STUDENTS.values()]
    starts = [trainer.sample(1000, rng()) for trainer in trainers]
    assert all(torch.equal(starts[0], start) for start in starts)
    nearest = torch.cdist(starts[0].double(), mixture.means).argmin(1)
    shares = torch.bincount(nearest, minlength=8) / 1000
    assert shares.max() > 0.3
    assert shares.min() < 0.02
    other = claims.point_trainer("ring", "js", 4).sample(1000, rng())
    assert not torch.allclose(other.mean(0), starts[0].mean(0), atol=0.1)

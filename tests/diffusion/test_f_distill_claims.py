"""What the claims measure with, against closed forms and brute force."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paperworks.claims import _kept
from paperworks.claims import _students as students
from paperworks.claims import f_distill as claims
from paperworks.claims.f_distill import CLAIMS, DMD2, FORWARD, JS, TEACHER
from paperworks.diffusion.mixtures import GaussianMixture


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERWORKS_CACHE", str(tmp_path))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("data", ["ring", "uneven", "grid"])
def test_what_is_covered(data: str) -> None:
    mixture = students.build(data)
    assert students.covered(mixture, mixture.sample(20_000, rng())) == pytest.approx(1, abs=0.03)
    assert students.covered(mixture, torch.full((100, 2), 9.0)) == 0
    # The first mode alone, however many points there are in it.
    first = mixture.means[:1] + 0.01 * torch.randn(50, 2, generator=rng())
    assert students.covered(mixture, first) == pytest.approx(float(mixture.weights[0]))


def test_mass_beside_the_modes_does_not_count() -> None:
    mixture = students.build("ring")
    points = mixture.sample(10_000, rng())
    points[::2] = 5.0
    assert students.covered(mixture, points) == pytest.approx(0.5, abs=0.02)


def test_recall_by_brute_force() -> None:
    real, made = torch.randn(40, 3, generator=rng()), torch.randn(30, 3, generator=rng(1)) + 0.7
    hit = 0
    for each in real.numpy():
        for other in made.numpy():
            radius = np.sort(np.linalg.norm(made.numpy() - other, axis=1))[3]
            if np.linalg.norm(each - other) <= radius:
                hit += 1
                break
    assert students.recall(real, made) == pytest.approx(hit / 40)
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
    trainers = [students.point_trainer("ring", name, 3) for name in claims.STUDENTS.values()]
    starts = [trainer.sample(1000, rng()) for trainer in trainers]
    assert all(torch.equal(starts[0], start) for start in starts)
    nearest = torch.cdist(starts[0].double(), mixture.means).argmin(1)
    shares = torch.bincount(nearest, minlength=8) / 1000
    assert shares.max() > 0.3
    assert shares.min() < 0.02
    other = students.point_trainer("ring", "js", 4).sample(1000, rng())
    assert not torch.allclose(other.mean(0), starts[0].mean(0), atol=0.1)


# ----------------------------------------------------------------------------- kept students


def test_one_training_serves_all_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    build = students.point_trainer

    def counted(data: str, divergence: str, seed: int) -> Any:
        begun.append(divergence)
        return build(data, divergence, seed)

    monkeypatch.setattr(students, "point_trainer", counted)
    given: dict[str, Any] = {"device": "cpu", "data": "uneven", "steps": 10}
    most = claims.coverage(seed=0, students=[FORWARD, JS, DMD2], **given)
    more = claims.coverage(seed=0, students=[JS, DMD2], **given)
    assert sorted(begun) == ["forward-kl", "js", "reverse-kl"]
    assert more.values == {label: most.values[label] for label in (JS, DMD2)}
    assert [curve.label for curve in more.curves] == [JS, DMD2]
    assert list(most.curves[0].x) == list(range(11))
    # Another seed, another length and other data are others.
    claims.coverage(seed=1, students=[JS], **given)
    claims.coverage(seed=0, students=[JS], **{**given, "steps": 20})
    claims.coverage(seed=0, students=[JS], **{**given, "data": "ring"})
    assert len(begun) == 6
    # So is any of changed code.
    monkeypatch.setattr(_kept, "module_fingerprint", lambda name: "changed")
    again = claims.coverage(seed=0, students=[JS, DMD2], **given)
    assert len(begun) == 8
    assert again.values == more.values


def test_what_a_student_of_points_covers_along_its_training() -> None:
    found = students.points_student(data="ring", divergence="js", seed=2, steps=20)
    assert found["steps"] == list(range(0, 21, 2))
    trainer, ring = students.point_trainer("ring", "js", 2), students.build("ring")
    begun = students.covered(ring, trainer.sample(4000, rng(1002)))
    trainer.train(20, ring.sample)
    assert found["covered"][0] == begun
    assert found["covered"][-1] == students.covered(ring, found["points"])
    assert torch.equal(found["points"], trainer.sample(4000, rng(1002)))
    assert found["variance"][0] == 0
    assert all(0 < each < 1 for each in found["variance"][1:])


# ------------------------------------------------------------------------------- an ellipse


def test_an_ellipse_contains_99_in_100_of_its_own() -> None:
    student = students.Ellipse(3)
    with torch.no_grad():
        student.root.copy_(torch.tensor([[0.5, 0.0], [0.3, 0.2]]))
        noise = torch.randn(40_000, 2, generator=rng(), dtype=torch.float64)
        points = student(noise, torch.zeros(40_000))
    assert float(student.contains(points).double().mean()) == pytest.approx(0.99, abs=0.002)
    torch.testing.assert_close(points.T.cov(), student.covariance(), rtol=0.03, atol=0.003)
    # Its density, under no noise to speak of, is the normal one.
    exact = torch.distributions.MultivariateNormal(student.mean.detach(), student.covariance())
    schedule = students.LinearVP(t_min=1e-9)
    found = student.exact(schedule).log_prob(points[:50], 1e-9)
    torch.testing.assert_close(found, exact.log_prob(points[:50]), rtol=1e-5, atol=1e-5)


def test_a_trial_of_ellipses(monkeypatch: pytest.MonkeyPatch) -> None:
    """At little noise forward KL spans what reverse KL does not; and the levels are passed on."""
    levels: list[tuple[float, float]] = []
    train = students.ellipse

    def spied(divergence: str, seed: int, steps: int, time_range: tuple[float, float]) -> Any:
        levels.append(time_range)
        return train(divergence, seed, steps, time_range)

    monkeypatch.setattr(students, "ellipse", spied)
    given: dict[str, Any] = {"device": "cpu", "students": [FORWARD, DMD2], "steps": 60}
    little = claims.held(seed=0, noise="little", **given).values
    claims.held(seed=0, noise="all", **{**given, "steps": 1})
    assert levels == [(0.02, 0.1)] * 2 + [(0.02, 0.98)] * 2
    assert set(little) == {FORWARD, DMD2}
    assert 0 <= little[DMD2] < little[FORWARD] <= 1


# ---------------------------------------------------------------------------------- images


def test_a_trial_of_images_in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("diffusers")
    pytest.importorskip("safetensors")
    begun: list[tuple[str, int, int, int]] = []
    train = students.image_student

    def counted(
        model: Any, images: Tensor, divergence: str, seed: int, steps: int, batch: int
    ) -> Any:
        begun.append((divergence, seed, steps, batch))
        return train(model, images, divergence, seed, steps, batch)

    monkeypatch.setattr(students, "image_student", counted)
    work: dict[str, Any] = {"data": "digits", "steps": 2, "batch": 4, "count": 30}
    given: dict[str, Any] = {"seed": 5, "device": "cpu", **work}
    far = claims.images(students=[JS, TEACHER], metric="distance", **given).values
    recalled = claims.images(students=[FORWARD, JS], metric="recall", **given).values
    # One training of each serves both metrics; the teacher takes none.
    assert begun == [("js", 5, 2, 4), ("forward-kl", 5, 2, 4)]
    assert set(far) == {JS, TEACHER}
    assert far[JS] > far[TEACHER] > 0  # after two updates
    assert set(recalled) == {FORWARD, JS}
    assert all(0 <= value <= 1 for value in recalled.values())
    # By hand, of the kept features.
    from paperworks.diffusion.frechet import Features, frechet_distance
    from paperworks.diffusion.images import load_images
    from paperworks.diffusion.trained import TrainedModel

    features, train_images = Features.load("digits"), load_images("digits").images
    rows = torch.randperm(len(train_images), generator=rng())[:30]
    made = TrainedModel.load("digits").sample(30, rng(1005), steps=35)
    expected = frechet_distance(features(made), features(train_images[rows]))
    assert far[TEACHER] == pytest.approx(expected, rel=1e-4)


def test_the_claims_ask_for_the_students_that_they_compare() -> None:
    for claim in CLAIMS:
        for tier in (claim.quick, claim.full):
            for work in () if tier is None else tier.works:
                if "students" in work:
                    assert work["students"] == [claim.ours, *claim.contenders]

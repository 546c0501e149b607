from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from paperworks.diffusion.mixtures import GaussianMixture
from paperworks.diffusion.predictions import convert
from paperworks.diffusion.schedules import EDM, CosineVP, FlowMatching, LinearVP, Schedule


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def covariances(mixture: GaussianMixture) -> torch.Tensor:
    axes = mixture._axes if mixture._axes is not None else torch.eye(mixture.dim).double()
    return axes @ torch.diag_embed(mixture._variances) @ axes.mT


MIXTURES = [
    GaussianMixture.ring(5),
    GaussianMixture.random(3, 4, generator()),
    GaussianMixture.random(6, 1, generator(1)),
]


@pytest.mark.parametrize("mixture", MIXTURES, ids=["ring", "random", "one"])
@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 0.0), (0.6, 0.8), (1.0, 30.0)])
def test_density_is_scipys(mixture: GaussianMixture, alpha: float, sigma: float) -> None:
    x = alpha * mixture.sample(7, generator(2)) + sigma * torch.randn(7, mixture.dim).double()
    density = sum(
        float(weight)
        * stats.multivariate_normal(
            alpha * mean, alpha**2 * covariance + sigma**2 * np.eye(mixture.dim)
        ).pdf(x)
        for weight, mean, covariance in zip(
            mixture.weights, mixture.means.numpy(), covariances(mixture).numpy(), strict=True
        )
    )
    np.testing.assert_allclose(mixture.log_prob(x, alpha, sigma), np.log(density), rtol=1e-10)


@pytest.mark.parametrize("mixture", MIXTURES, ids=["ring", "random", "one"])
@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 0.0), (0.6, 0.8), (1.0, 30.0)])
def test_score_is_the_gradient(mixture: GaussianMixture, alpha: float, sigma: float) -> None:
    x = alpha * mixture.sample(7, generator(3)) + sigma
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(mixture.log_prob(x, alpha, sigma).sum(), x)
    found = mixture.score(x.detach(), alpha, sigma)
    torch.testing.assert_close(found, gradient, rtol=1e-10, atol=1e-9)
    assert mixture.score(x.detach().float(), 0.6, 0.8).dtype == torch.float32


def test_samples_have_the_moments() -> None:
    mixture = MIXTURES[1]
    x = mixture.sample(200_000, generator())
    mean = (mixture.weights[:, None] * mixture.means).sum(0)
    away = mixture.means - mean
    second = covariances(mixture) + away[:, :, None] * away[:, None]
    covariance = (mixture.weights[:, None, None] * second).sum(0)
    torch.testing.assert_close(x.mean(0), mean, atol=0.02, rtol=0)
    torch.testing.assert_close(x.T.cov(), covariance, atol=0.03, rtol=0)


@pytest.mark.parametrize("schedule", [LinearVP(), CosineVP(), FlowMatching(), EDM(0.002, 10.0)])
def test_the_flow_of_one_gaussian_is_known(schedule: Schedule) -> None:
    """The closed form against the integrated flow of the same density, written as two."""
    one = MIXTURES[2]
    two = GaussianMixture(torch.ones(2), one.means.repeat(2, 1), covariances(one).repeat(2, 1, 1))
    x = float(schedule.sigma(schedule.t_max)) * torch.randn(4, 6, generator=generator()).double()
    closed = one.flow(x, schedule, schedule.t_max, schedule.t_min)
    torch.testing.assert_close(
        two.flow(x, schedule, schedule.t_max, schedule.t_min), closed, rtol=1e-8, atol=1e-8
    )
    back = one.flow(closed, schedule, schedule.t_min, schedule.t_max)
    torch.testing.assert_close(back, x, rtol=1e-9, atol=1e-9)


def test_the_flow_keeps_the_density() -> None:
    mixture, schedule = GaussianMixture.ring(3, std=0.3), LinearVP(beta_max=8.0)
    alpha, sigma = float(schedule.alpha(1)), float(schedule.sigma(1))
    clean = mixture.sample(4000, generator())
    x = alpha * clean + sigma * torch.randn(4000, 2, generator=generator(1)).double()
    moved = mixture.flow(x, schedule, 1.0, schedule.t_min)
    for axis in range(2):
        assert stats.ks_2samp(moved[:, axis], clean[:, axis]).pvalue > 1e-3


def test_the_perfect_network() -> None:
    mixture, schedule = MIXTURES[1], LinearVP()
    x, t = torch.randn(4, 3, generator=generator()).double(), 0.4
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    noise = mixture.model(schedule)(x, t)
    torch.testing.assert_close(noise, -sigma * mixture.score(x, alpha, sigma))
    velocity = mixture.model(schedule, "v_prediction")(x, torch.full((4,), t))
    torch.testing.assert_close(
        convert(velocity, x, alpha, sigma, source="v_prediction", target="epsilon"), noise,
        rtol=1e-5, atol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize("mixture", MIXTURES, ids=["ring", "random", "one"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_perfect_network_at_a_time_for_each_sample(
    mixture: GaussianMixture, dtype: torch.dtype
) -> None:
    schedule, t = LinearVP(), torch.tensor([0.1, 0.5, 0.9, 0.5], dtype=torch.float64)
    x = torch.randn(4, mixture.dim, generator=generator()).to(dtype)
    model = mixture.model(schedule, "score")
    alone = torch.cat([model(each[None], float(time)) for each, time in zip(x, t, strict=True)])
    found = model(x, t)
    assert found.dtype == dtype
    torch.testing.assert_close(found, alone)
    torch.testing.assert_close(
        model.log_prob(x, t)[2:3],
        mixture.log_prob(x[2:3], float(schedule.alpha(0.9)), float(schedule.sigma(0.9))),
    )


@pytest.mark.parametrize("mixture", MIXTURES, ids=["ring", "random", "one"])
@pytest.mark.parametrize(
    "device",
    [
        "meta",  # which mixes with no other either, and is everywhere
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
        ),
    ],
)
def test_samples_on_another_device_stay_there(mixture: GaussianMixture, device: str) -> None:
    x = torch.randn(4, mixture.dim, generator=generator())
    model = mixture.model(LinearVP(), "v_prediction")
    for t in (0.5, torch.tensor([0.1, 0.5, 0.9, 0.5])):
        for function in (model, model.log_prob):
            there = t.to(device) if isinstance(t, torch.Tensor) and device != "meta" else t
            found = function(x.to(device), there)
            assert found.device.type == device
            if device != "meta":
                torch.testing.assert_close(found.cpu(), function(x, t))
    if device == "cuda":
        flow = mixture.flow(x.to(device), LinearVP(), 1.0, 0.5)
        torch.testing.assert_close(flow.cpu(), mixture.flow(x, LinearVP(), 1.0, 0.5))
        assert mixture.sample(3, torch.Generator(device)).device.type == device


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((torch.ones(2), torch.zeros(3, 2), torch.ones(3)), "do not match"),
        ((torch.ones(0), torch.zeros(0, 2), torch.ones(0)), "got 0 components in 2 dimensions"),
        ((torch.ones(1), torch.full((1, 2), torch.nan), torch.ones(1)), "means .* but 2 values"),
        ((torch.ones(1), torch.zeros(1, 2), torch.tensor([torch.inf])), "covariances .* but 1 val"),
        ((torch.tensor([torch.inf]), torch.zeros(1, 2), torch.ones(1)), "and finite, got .inf"),
        ((torch.tensor([1.0, 0.0]), torch.zeros(2, 2), torch.ones(2)), "weights must be > 0"),
        ((torch.ones(2), torch.zeros(2, 3), torch.ones(2, 3)), "covariances must have shape"),
        ((torch.ones(1), torch.zeros(1, 2), torch.tensor([[[1.0, 0], [1, 1]]])), "symmetric"),
        ((torch.ones(1), torch.zeros(1, 2), -torch.eye(2)[None]), "has the eigenvalue -1"),
    ],
)
def test_bad_mixtures(arguments: tuple[torch.Tensor, ...], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        GaussianMixture(*arguments)


def test_a_ring_without_modes() -> None:
    with pytest.raises(ValueError, match=r"needs a component .* got 0 components"):
        GaussianMixture.ring(0)

"""The gradient of f-distill against the numerical gradient of the divergence itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from paperworks.diffusion.f_distill.divergences import (
    DIVERGENCES,
    Divergence,
    alpha_divergence,
    divergence_of,
)
from paperworks.diffusion.f_distill.matching import Matching
from paperworks.diffusion.f_distill.noising import Noising
from paperworks.diffusion.f_distill.weighting import Weighting, normalized_variance
from paperworks.diffusion.mixtures import GaussianMixture
from paperworks.diffusion.schedules import EDM, VE, DiscreteVP, FlowMatching, LinearVP, Schedule

DOUBLE = torch.empty(0, dtype=torch.float64)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def one_level(schedule: Schedule) -> Noising:
    return Noising(schedule, rng(), DOUBLE, time_range=(0.4, 0.4005))


def gaussian(mean: Tensor, std: Tensor) -> GaussianMixture:
    return GaussianMixture(torch.ones(1), mean[None], std.square()[None])


def matching(divergence: Any, teacher: Any, student: Any, noising: Noising, **changes: Any) -> Any:
    """With the exact scores and the exact ratio."""
    settings = {"gan_weight": 0.0, "r1_weight": 0.0, "scale": "exact", **changes}
    normalize = settings.pop("normalize", False)

    def ratio(x: Tensor, t: Tensor) -> Tensor:
        return teacher.log_prob(x, t) - student.log_prob(x, t)

    weighting = Weighting(divergence, clip=None, normalize=normalize)
    return Matching(teacher, student, ratio, noising, weighting, prediction="epsilon", **settings)


def flat(tensors: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([each.flatten() for each in tensors])


ROWS: list[Divergence] = [
    *DIVERGENCES.values(),
    alpha_divergence(-0.5),
    alpha_divergence(2.0),
    divergence_of(lambda r: (r - 1) ** 2 / (r + 1), "triangular"),
]


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_the_gradient_is_that_of_the_divergence(row: Divergence) -> None:
    """A Gaussian student in one dimension, a teacher with two modes, one noise level: the mean
    gradient against the derivative of the quadrature of q f(p / q)."""
    schedule = LinearVP()
    noising = one_level(schedule)
    alpha, sigma = noising.alphas[0], noising.sigmas[0]
    weights, means = torch.tensor([0.3, 0.7]).double(), torch.tensor([[-1.0], [0.8]]).double()
    mixture = GaussianMixture(weights, means, torch.tensor([0.2, 0.1]).double())
    mean = torch.tensor([0.2], dtype=torch.float64, requires_grad=True)
    log_std = torch.tensor(-0.1, dtype=torch.float64, requires_grad=True)

    grid = torch.linspace(-12, 12, 20001, dtype=torch.float64)
    spread = (alpha**2 * (2 * log_std).exp() + sigma**2).sqrt()
    log_q = torch.distributions.Normal(alpha * mean, spread).log_prob(grid)
    parts = [
        w.log()
        + torch.distributions.Normal(alpha * m, (alpha**2 * v + sigma**2).sqrt()).log_prob(grid)
        for w, m, v in zip(weights, means[:, 0], (0.2, 0.1), strict=True)
    ]
    log_p = torch.logsumexp(torch.stack(parts), 0)
    divergence = torch.trapezoid(log_q.exp() * row.f((log_p - log_q).exp()), grid)
    parameters = [mean, log_std]
    expected = flat(torch.autograd.grad(divergence, parameters))

    student = gaussian(mean.detach(), log_std.detach().exp()).model(schedule)
    losses = matching(row, mixture.model(schedule), student, noising)
    found = []
    for chunk in range(40):
        z = torch.randn(5000, 1, generator=rng(chunk + 1), dtype=torch.float64)
        x0 = mean + log_std.exp() * z
        gradient, _ = losses.gradient(x0)
        found.append(flat(torch.autograd.grad(x0, parameters, gradient)))
    sampled = torch.stack(found)
    error = sampled.std(0) / len(sampled) ** 0.5
    assert (error < 0.03 * expected.norm()).all()
    assert ((sampled.mean(0) - expected).abs() < 4 * error).all()


@pytest.mark.parametrize("name", ["reverse-kl", "js", "forward-kl"])
def test_no_gradient_where_the_distributions_are_equal(name: str) -> None:
    schedule = FlowMatching()
    teacher = GaussianMixture.ring(4).model(schedule)
    losses = matching(name, teacher, teacher, Noising(schedule, rng(), DOUBLE))
    gradient, figures = losses.gradient(torch.randn(50, 2, generator=rng()).double())
    assert gradient.abs().max() < 1e-10
    assert figures["gap"] < 1e-10
    assert figures["variance"] < 1e-20


def test_reverse_kl_is_dmd2() -> None:
    """The loss of DMD2 as its code has it, by autograd; with normalisation, which is none."""
    schedule = EDM(0.01, 10.0)
    teacher = GaussianMixture.ring(8).model(schedule, "sample")
    student = gaussian(torch.zeros(2), torch.tensor(0.5)).model(schedule, "sample")
    losses = matching(
        "reverse-kl", teacher, student, Noising(schedule, rng(7), DOUBLE), scale="dmd",
        normalize=True,
    )  # fmt: skip
    losses.prediction = "sample"
    x0 = torch.randn(64, 2, generator=rng()).double().requires_grad_()
    found, _ = losses.gradient(x0)
    noisy = Noising(schedule, rng(7), DOUBLE)(x0.detach())
    real, fake = teacher(noisy.x, noisy.t), student(noisy.x, noisy.t)
    p_real, p_fake = x0 - real, x0 - fake
    gradient = (p_real - p_fake) / p_real.abs().mean(dim=1, keepdim=True)
    (expected,) = torch.autograd.grad(0.5 * mse_loss(x0, (x0 - gradient).detach()), x0)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [(2,), (1, 4, 4)])
def test_the_gan_term_is_the_slope_of_its_loss(shape: tuple[int, ...]) -> None:
    schedule = LinearVP()
    torch.manual_seed(0)
    judge = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 3), nn.Tanh()).double()

    def zero(x: Tensor, t: Tensor) -> Tensor:
        return torch.zeros_like(x)

    losses = Matching(
        zero, zero, lambda x, t: judge(x), Noising(schedule, rng(3), DOUBLE), Weighting("js"),
        prediction="epsilon", gan_weight=0.7, r1_weight=0.0, scale="dmd",
    )  # fmt: skip
    x0 = torch.randn(6, *shape, generator=rng(), dtype=torch.float64)
    found, figures = losses.gradient(x0)

    def loss(at: Tensor) -> Tensor:
        noisy = Noising(schedule, rng(3), DOUBLE)(at)
        return -torch.log(torch.sigmoid(judge(noisy.x))).mean()

    step = torch.zeros_like(x0)
    step.view(-1)[3] = 1e-6
    expected = 0.7 * (loss(x0 + step) - loss(x0 - step)).detach() / 2e-6
    assert float(found.flatten()[3]) == pytest.approx(float(expected), rel=1e-5)
    assert figures["gan"] == pytest.approx(float(loss(x0).detach()), rel=1e-12)


class Linear(nn.Module):
    """A discriminator whose slope is known."""

    def __init__(self, slope: float):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([[slope, 0.0]], dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x @ self.slope.T


def test_the_r1_penalty() -> None:
    def loss(r1: float) -> float:
        losses = matching(
            "js", Linear(0.0), Linear(0.0), Noising(LinearVP(), rng(1), DOUBLE), r1_weight=r1
        )
        losses.networks["discriminator"] = losses.critics["discriminator"] = Linear(3.0)
        del losses.critics["fake score"]
        x0, real = torch.randn(2, 20, 2, generator=rng()).double()
        return float(losses.critic_losses(x0, real)["discriminator"].detach())

    # Half of the weight times the square of a slope of 3.
    assert loss(0.4) - loss(0.0) == pytest.approx(0.5 * 0.4 * 9)


def test_a_discriminator_that_is_right_costs_nothing() -> None:
    """Its logit is high on data and low on generated samples, as log r is."""
    losses = matching("js", Linear(0.0), Linear(0.0), one_level(LinearVP()))
    losses.networks["discriminator"] = losses.critics["discriminator"] = Linear(9.0)
    del losses.critics["fake score"]
    x0 = torch.randn(50, 2, generator=rng()).double()
    right, wrong = (
        float(losses.critic_losses(x0 - side, x0 + side)["discriminator"].detach())
        for side in (20.0, -20.0)
    )
    assert right < 1e-6
    assert wrong > 10


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.value.expand(len(x))


def test_the_critics_losses_at_ignorance() -> None:
    """A discriminator that says nothing costs 2 log 2; a score of 0 costs the noise's variance."""
    schedule = LinearVP()

    class Zero(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return 0 * self.unused * x

    losses = Matching(
        Zero(), Zero(), Constant(), Noising(schedule, rng(), DOUBLE), Weighting("js"),
        prediction="epsilon", gan_weight=1e-3, r1_weight=0.0, scale="dmd",
    )  # fmt: skip
    assert set(losses.critics) == {"fake score", "discriminator"}
    x0 = 3 * torch.randn(20000, 2, generator=rng()).double()
    found = losses.critic_losses(x0, x0)
    assert float(found["discriminator"].detach()) == pytest.approx(2 * np.log(2))
    assert float(found["fake score"].detach()) == pytest.approx(1.0, rel=0.03)


# ---------------------------------------------------------------------------------- weights

ratios = st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=30)


@given(log_ratio=ratios, name=st.sampled_from(list(DIVERGENCES)))
def test_weights_have_mean_1_whatever_the_ratios(log_ratio: list[float], name: str) -> None:
    at = torch.tensor(log_ratio, dtype=torch.float32)
    found = Weighting(name, clip=None)(at, torch.linspace(0, 0.999, len(at)))
    assert torch.isfinite(found).all()
    assert float(found.mean()) == pytest.approx(1.0, rel=5e-3)


@pytest.mark.parametrize("name", list(DIVERGENCES))
def test_an_offset_of_the_discriminator_does_not_matter(name: str) -> None:
    """An offset of its own for every noise level, taken off by the mean of the level."""
    generator = rng()
    level = torch.rand(600, generator=generator, dtype=torch.float64)
    log_ratio = torch.randn(600, generator=generator, dtype=torch.float64)
    weigh = Weighting(name, clip=None, bins=4, memory=0.0)
    offset = torch.tensor([-2.0, 0.5, 1.0, 3.0]).double()[(level * 4).long()]
    torch.testing.assert_close(weigh(log_ratio + offset, level), weigh(log_ratio, level))


def test_by_hand() -> None:
    weigh = Weighting("js", clip=(0.5, 4.0), bins=2, memory=0.25)
    ratio = torch.tensor([0.1, 2.0, 3.0, 9.0])  # clipped to 0.5, 2, 3, 4
    level = torch.tensor([0.0, 0.4, 0.5, 0.99])
    weigh(ratio.log(), level)
    first = 0.25 + 0.75 * torch.tensor([1.25, 3.5])
    torch.testing.assert_close(weigh.log_means.exp(), first)
    found = weigh(torch.ones(4).log(), level)
    mean = 0.25 * first + 0.75
    h = (1 / mean / (1 / mean + 1)).repeat_interleave(2)
    torch.testing.assert_close(found, h / h.mean())
    assert Weighting("js", clip=(0.5, 4.0), normalize=False)(ratio.log(), level)[3] == 0.8


def test_only_the_ratio_is_clipped_not_what_is_made_of_it() -> None:
    """By hand: ratios clipped to 1/2 and 4 have the mean 11/8, and weights beyond the clip."""
    ratio, level = torch.tensor([0.1, 0.5, 0.3, 9.0]).double(), torch.full((4,), 0.3)
    weigh = Weighting("forward-kl", clip=(0.5, 4.0), memory=0.0)
    expected = torch.tensor([4.0, 4.0, 4.0, 32.0]).double() / 11
    torch.testing.assert_close(weigh(ratio.log(), level), expected)
    weigh = Weighting(alpha_divergence(2.0), clip=(0.5, 4.0), memory=0.0)
    expected = torch.tensor([1.0, 1.0, 1.0, 64.0]).double() * 4 / 67
    torch.testing.assert_close(weigh(ratio.log(), level), expected)


@pytest.mark.parametrize("distance", [0.5, 1.0, 1.5])
def test_normalized_variance_of_forward_kl(distance: float) -> None:
    """Of two unit Gaussians: the ratio is log-normal, its variance exp(d**2) - 1."""
    x = torch.randn(4_000_000, generator=rng(1), dtype=torch.float64)
    weight = Weighting("forward-kl", clip=None, normalize=False)(distance * x - distance**2 / 2, x)
    expected = np.exp(distance**2) - 1
    assert normalized_variance(weight) == pytest.approx(expected, rel=0.05)


def test_bad_settings() -> None:
    for settings, words in (
        ({"clip": (2.0, 20.0)}, r"0 < low < 1 < high, got \(2.0, 20.0\)"),
        ({"bins": 0}, "bins must be at least 1, got 0"),
        ({"memory": 1.0}, "from 0 to below 1, got 1.0"),
        ({"divergence": "tv"}, "got 'tv'"),
    ):
        with pytest.raises(ValueError, match=words):
            Weighting(**settings)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------ noise levels


@pytest.mark.parametrize(
    "schedule",
    [LinearVP(), VE(), EDM(), FlowMatching(), DiscreteVP.linear(), DiscreteVP.linear(20)],
    ids=["vp", "ve", "edm", "flow", "ddpm", "ddpm-20"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noisy_samples(schedule: Schedule, dtype: torch.dtype) -> None:
    noising = Noising(schedule, rng(), torch.empty(0, dtype=dtype))
    x0 = torch.randn(3000, 1, 2, 2, generator=rng(1)).to(dtype)
    noisy = noising(x0)
    assert {each.dtype for each in vars(noisy).values() if each is not noisy.level} == {dtype}
    torch.testing.assert_close(noisy.x, noisy.alpha * x0 + noisy.sigma * noisy.noise)
    t = noisy.t.double().numpy()
    np.testing.assert_allclose(noisy.alpha.flatten(), schedule.alpha(t), rtol=1e-4)
    np.testing.assert_allclose(noisy.sigma.flatten(), schedule.sigma(t), rtol=1e-4)
    assert abs(float(noisy.noise.var()) - 1) < 0.05
    # Levels go with the noise, and fill 0 to 1 evenly.
    order = noisy.level.argsort()
    assert (noisy.sigma.flatten()[order].diff() >= 0).all()
    assert 0 <= noisy.level.min() < 0.06
    assert 0.9 < noisy.level.max() < 1
    assert abs(float(noisy.level.float().mean()) - 0.5) < 0.05
    # Neither the cleanest nor the noisiest times, up to a step.
    span = schedule.t_max - schedule.t_min
    if not isinstance(schedule, EDM | VE):
        slack = 1.0 if isinstance(schedule, DiscreteVP) else 1e-3
        assert t.min() >= schedule.t_min + 0.02 * span - slack
        assert t.max() <= schedule.t_max - 0.02 * span + slack
    if isinstance(schedule, DiscreteVP):
        assert (t == np.round(t)).all()


def test_noise_levels_of_edm_are_those_of_karras() -> None:
    schedule = EDM()
    times = Noising(schedule, rng(), DOUBLE, time_range=(0.0, 1.0)).times
    torch.testing.assert_close(times ** (1 / 7), torch.linspace(
        0.002 ** (1 / 7), 80 ** (1 / 7), 1001, dtype=torch.float64
    ))  # fmt: skip


def test_bad_noise_levels() -> None:
    with pytest.raises(ValueError, match=r"within 0 to 1, got \(0.5, 0.2\)"):
        Noising(LinearVP(), rng(), DOUBLE, time_range=(0.5, 0.2))
    with pytest.raises(ValueError, match="spacing must be one of"):
        Noising(LinearVP(), rng(), DOUBLE, spacing="log")

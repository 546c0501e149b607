from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paperworks.diffusion.checkpoints import digest
from paperworks.diffusion.f_distill.divergences import DIVERGENCES
from paperworks.diffusion.f_distill.networks import (
    FeatureDiscriminator,
    PointNetwork,
)
from paperworks.diffusion.f_distill.student import OneStep, teacher_pairs
from paperworks.diffusion.f_distill.trainer import FDistillTrainer
from paperworks.diffusion.f_distill.weighting import Weighting
from paperworks.diffusion.mixtures import GaussianMixture, NoisyMixture
from paperworks.diffusion.schedules import EDM, DiscreteVP, FlowMatching, LinearVP, Schedule

SCHEDULE = LinearVP()
RING = GaussianMixture.ring(4)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(outputs: int = 2, seed: int = 0, width: int = 16) -> PointNetwork:
    network = PointNetwork(SCHEDULE, 2, outputs, width=width, depth=2)
    generator = rng(seed)
    with torch.no_grad():
        for each in network.parameters():
            each.copy_(0.3 * torch.randn(each.shape, generator=generator))
    return network


def small(**changes: Any) -> FDistillTrainer:
    parts = {
        "teacher": RING.model(SCHEDULE),
        "generator": points(seed=1),
        "fake_score": points(seed=2),
        "discriminator": points(1, seed=3),
        "schedule": SCHEDULE,
    }
    settings: dict[str, Any] = {"shape": (2,), "batch": 32, "lr": 1e-3, "critic_updates": 2}
    for name, value in changes.items():
        (parts if name in parts else settings)[name] = value
    return FDistillTrainer(*parts.values(), **settings)  # type: ignore[arg-type]


class Affine(nn.Module):
    """A Gaussian as a generator, whose score and density are known."""

    def __init__(self, mean: tuple[float, float], std: float):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(mean, dtype=torch.float64))
        self.log_std = nn.Parameter(torch.tensor(math.log(std), dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.mean + self.log_std.exp() * x / float(SCHEDULE.sigma(SCHEDULE.t_max))

    def mixture(self) -> NoisyMixture:
        variance = (2 * self.log_std.detach()).exp()[None]
        return GaussianMixture(torch.ones(1), self.mean.detach()[None], variance).model(SCHEDULE)


@pytest.mark.parametrize("name", [*DIVERGENCES, "own"])
def test_without_networks_it_ends_at_the_teacher(name: str) -> None:
    """Exact scores and ratio: a Gaussian student finds mean and spread of a Gaussian teacher."""
    target = GaussianMixture(torch.ones(1), torch.tensor([[0.5, -0.3]]), torch.tensor([0.09]))
    teacher = target.model(SCHEDULE)
    student = Affine((-0.2, 0.4), 0.8)

    def ratio(x: Tensor, t: Tensor) -> Tensor:
        return teacher.log_prob(x, t) - student.mixture().log_prob(x, t)

    trainer = FDistillTrainer(
        teacher, student, lambda x, t: student.mixture()(x, t), ratio, SCHEDULE, shape=(2,),
        divergence=(lambda r: (r - 1) ** 2) if name == "own" else name,
        lr=0.04, weight_decay=0.0, gan_weight=0.0, batch=128,
    )  # fmt: skip
    trainer.train(100)
    for group in trainer.optimizers["optimizer"].param_groups:
        group["lr"] = 0.003
    trainer.train(150)
    assert not trainer.matching.critics
    torch.testing.assert_close(
        student.mean.detach(), torch.tensor([0.5, -0.3]).double(), rtol=0, atol=0.06
    )
    assert float(student.log_std.detach().exp()) == pytest.approx(0.3, abs=0.05)


@pytest.mark.slow
def test_the_critics_come_to_the_exact_score_and_ratio() -> None:
    """With a generator that stands still: against the mixtures in closed form."""
    student = Affine((0.3, 0.0), 0.6).float()
    trainer = FDistillTrainer(
        RING.model(SCHEDULE), student, PointNetwork(SCHEDULE, 2, width=64),
        PointNetwork(SCHEDULE, 2, 1, width=64), SCHEDULE, shape=(2,), lr=0.0, critic_lr=2e-3,
        batch=512, critic_updates=20,
    )  # fmt: skip
    trainer.train(60, RING.sample)
    exact = Affine((0.3, 0.0), 0.6).mixture()
    noisy = trainer.noising(trainer.sample(4000, rng(1)))
    log_ratio = trainer.matching.networks["teacher"].log_prob(noisy.x, noisy.t)
    log_ratio = log_ratio - exact.log_prob(noisy.x, noisy.t)
    with torch.no_grad():
        found = trainer.matching.networks["discriminator"](noisy.x, noisy.t)[:, 0]
        fake = trainer.matching.networks["fake score"](noisy.x, noisy.t)
    middle = noisy.level > 0.15  # below, the modes are far apart and the ratio is steep
    assert np.corrcoef(found[middle], log_ratio[middle])[0, 1] > 0.8
    error = (fake - exact(noisy.x, noisy.t)).square().mean()
    assert float(error) < 0.05


def test_resumes_to_the_last_bit(tmp_path: Path) -> None:
    through, figures = small(), []
    through.train(6, RING.sample, progress=lambda step, steps, each: figures.append(each))
    path = tmp_path / "state.pt"
    small().train(3, RING.sample, checkpoint=path, save_every=2)
    again = small(rng=rng(99))  # its own seed does not count any more
    later: list[dict[str, float]] = []
    again.train(
        6, RING.sample, checkpoint=path, progress=lambda step, steps, each: later.append(each)
    )
    assert later == figures[3:]
    assert again.steps == 6
    for one, other in zip(through.one_step.parameters(), again.one_step.parameters(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(through.sample(5), again.sample(5))


def test_an_older_state_is_not_gone_back_to_without_a_word(tmp_path: Path) -> None:
    trainer, path = small(), tmp_path / "state.pt"
    trainer.train(1, RING.sample, checkpoint=path)
    trainer.train(3, RING.sample)
    with pytest.raises(ValueError, match=r"state\.pt is of step 1, .* gone 3: .*load\(.*save\("):
        trainer.train(4, RING.sample, checkpoint=path)
    assert trainer.steps == 3
    trainer.save(path)
    trainer.train(4, RING.sample, checkpoint=path)
    assert trainer.steps == 4


def test_a_kill_while_it_saves_leaves_the_old_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, path = small(), tmp_path / "state.pt"
    trainer.train(1, RING.sample, checkpoint=path)
    before = path.read_bytes()

    def cut(state: Any, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", cut)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(2, RING.sample, checkpoint=path)
    assert path.read_bytes() == before
    monkeypatch.undo()
    fresh = small()
    fresh.train(1, RING.sample, checkpoint=path)
    assert fresh.steps == 1


def test_a_state_of_something_else_is_refused(tmp_path: Path) -> None:
    small().save(tmp_path / "state.pt")
    with pytest.raises(ValueError, match="of other networks"):
        small(generator=points(width=8)).load(tmp_path / "state.pt")
    plain: dict[str, Any] = {"divergence": "reverse-kl", "gan_weight": 0.0}
    small(discriminator=None, **plain).save(tmp_path / "fewer.pt")
    with pytest.raises(ValueError, match="of other networks: 'discriminator'"):
        small(**plain).load(tmp_path / "fewer.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "state.pt").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"cut\.pt is no whole checkpoint"):
        small().train(1, RING.sample, checkpoint=tmp_path / "cut.pt")
    torch.save({"model": 1}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt is no state of FDistillTrainer"):
        small().load(tmp_path / "model.pt")
    with pytest.raises(ValueError, match="divergence is js there and forward-kl here"):
        small(divergence="forward-kl").load(tmp_path / "state.pt")


def test_two_time_scales_and_the_average_of_weights() -> None:
    trainer = small(ema=0.9, critic_updates=3, critic_lr=5e-3)
    counts = dict.fromkeys(["generator", "fake score", "discriminator"], 0)
    watched = {"generator": trainer.student.network, **trainer.matching.critics}
    for name, network in watched.items():

        def count(*_: Any, name: str = name) -> None:
            counts[name] += 1

        network.register_forward_hook(count)
    weight = trainer.student.network.last.bias
    average = None
    for _ in range(3):
        trainer.step(RING.sample)
        now = weight.detach().clone()
        average = now if average is None else 0.9 * average + 0.1 * now
    # Three updates and one look a step.
    assert counts == {"generator": 12, "fake score": 12, "discriminator": 12}
    torch.testing.assert_close(trainer.one_step.network.last.bias.detach(), average)
    assert trainer.optimizers["optimizer"].param_groups[0]["lr"] == 1e-3
    assert trainer.optimizers["critic optimizer"].param_groups[0]["lr"] == 5e-3


def test_regression_alone_learns_the_pairs() -> None:
    """Teacher and fake score agree, so that all that is left is the regression."""
    teacher = RING.model(SCHEDULE)
    student = Affine((0.0, 0.0), 1.0)
    noise = torch.randn(500, 2, generator=rng()).double()
    trainer = FDistillTrainer(
        teacher, student, teacher, None, SCHEDULE, shape=(2,), divergence="reverse-kl",
        gan_weight=0.0, lr=0.02, weight_decay=0.0, regression=(noise, 0.3 * noise + 1.0),
        regression_weight=1.0, batch=64,
    )  # fmt: skip
    figures = []
    trainer.train(300, progress=lambda step, steps, each: figures.append(each["regression"]))
    torch.testing.assert_close(
        student.mean.detach(), torch.ones(2, dtype=torch.float64), rtol=0, atol=0.02
    )
    assert float(student.log_std.detach().exp()) == pytest.approx(0.3, abs=0.02)
    assert figures[-1] < 1e-3 < figures[0]


@pytest.mark.parametrize("weight", [0.0, 0.25, 2.0])
def test_the_regression_counts_by_its_weight(weight: float) -> None:
    """The gradient of one update, with nothing else in it: by hand."""
    teacher, student = RING.model(SCHEDULE), Affine((0.0, 0.0), 1.0)
    noise = torch.randn(64, 2, generator=rng()).double()
    trainer = FDistillTrainer(
        teacher, student, teacher, None, SCHEDULE, shape=(2,), divergence="reverse-kl",
        gan_weight=0.0, regression=(noise[:1], noise[:1] + 0.5), regression_weight=weight, batch=8,
    )  # fmt: skip
    trainer.step()
    assert student.mean.grad is not None
    # Of one pair alone, d/dm mean((m + z - (z + 0.5))**2) = (m - 0.5) in each of two coordinates.
    torch.testing.assert_close(student.mean.grad, torch.full((2,), -0.5 * weight).double())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"lr": 2e-3}, "lr is 0.001 there and 0.002 here"),
        ({"critic_lr": 5e-3}, "critic_lr is 0.001 there and 0.005 here"),
        ({"batch": 16}, "batch is 32 there and 16 here"),
        ({"divergence": "forward-kl"}, "divergence is custom there and forward-kl here"),
        ({"divergence": lambda r: (r - 1) ** 4 + r**2}, "weights is "),
        ({"divergence": Weighting(lambda r: r * r.log(), bins=3)}, "bins is 10 there and 3 here"),
        ({"gan_weight": 0.0}, "gan_weight is 0.001 there and 0.0 here"),
        ({"scale": "exact"}, "scale is dmd there and exact here"),
        ({"time_range": (0.02, 0.5)}, r"time_range is \[0.02, 0.98\] there and \[0.02, 0.5\]"),
        ({"ema": 0.9}, "ema is 0.999 there and 0.9 here"),
        ({"prediction": "v_prediction"}, "prediction is epsilon there and v_prediction here"),
        ({"start": 0.5}, "start is 1.0 there and 0.5 here"),
        ({"schedule": LinearVP(0.1, 19.0)}, "schedule is .* there and .* here"),
        ({"regression": (torch.zeros(3, 2), torch.zeros(3, 2))}, "regression is None there and "),
    ],
)
def test_a_state_of_other_settings_is_refused(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    own: dict[str, Any] = {"divergence": lambda r: r * r.log()}
    small(**own).save(tmp_path / "state.pt")
    small(divergence=lambda r: r.log() * r).load(tmp_path / "state.pt")  # the same function
    with pytest.raises(ValueError, match=rf"state\.pt has other settings: .*{told}.*; remove it"):
        small(**{**own, **changes}).load(tmp_path / "state.pt")


def test_the_same_seed_gives_the_same_and_the_global_one_is_left_alone() -> None:
    one, other, third = small(rng=rng(5)), small(rng=rng(5)), small(rng=rng(6))
    state = torch.get_rng_state()
    for each in (one, other, third):
        each.train(2, RING.sample)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.sample(4, rng()), other.sample(4, rng()))
    assert not torch.equal(one.sample(4, rng()), third.sample(4, rng()))


def test_data_as_a_tensor() -> None:
    trainer = small()
    trainer.train(2, RING.sample(100, rng()))
    assert trainer.sample(3).shape == (3, 2)
    assert trainer.sample(3).dtype == torch.float32


class Broken(nn.Module):
    """A network that returns NaN from a call on."""

    def __init__(self, network: nn.Module, after: int):
        super().__init__()
        self.network, self.left = network, after

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.left -= 1
        found = self.network(x, t)
        return found if self.left >= 0 else found * torch.nan


@pytest.mark.parametrize(
    ("name", "after", "step"),
    [
        ("generator", 3, 2),  # two updates of the critics and one of its own a step
        ("fake_score", 6, 3),
        ("discriminator", 5, 2),
    ],
)
def test_a_network_that_returns_nan_is_named_with_the_step(
    name: str, after: int, step: int
) -> None:
    inner = points(1 if name == "discriminator" else 2)
    words = name.replace("_", " ")
    with pytest.raises(ValueError, match=rf"the {words} returned \d+ values .* at step {step}$"):
        small(**{name: Broken(inner, after)}).train(5, RING.sample)


def test_a_teacher_that_returns_nan_is_named_with_the_step() -> None:
    teacher = Broken(points(), 2)
    with pytest.raises(ValueError, match=r"the teacher returned 64 values .* at step 3$"):
        small(teacher=teacher).train(5, RING.sample)


@pytest.mark.parametrize("name", ["teacher", "generator", "fake_score"])
def test_a_network_of_another_shape_is_named(name: str) -> None:
    words = name.replace("_", " ")
    with pytest.raises(
        ValueError, match=rf"the {words} must return the shape \(32, 2\), got \(32, 1\) at step 1$"
    ):
        # Of one column a difference to two would come out without a word.
        small(**{name: points(1)}).train(1, RING.sample)


def test_bad_settings() -> None:
    generator = points()
    for changes, words in (
        ({"divergence": "kl"}, "one of reverse-kl"),
        ({"discriminator": None}, "js with gan_weight=0.001 needs a discriminator"),
        ({"discriminator": None, "divergence": "reverse-kl"}, "needs a discriminator"),
        ({"generator": generator, "teacher": generator}, "shares parameters with the teacher"),
        ({"generator": generator, "fake_score": generator}, "with the fake score"),
        ({"batch": 0}, "at least 1, got 0 and 2"),
        ({"critic_updates": 0}, "at least 1, got 32 and 0"),
        ({"gan_weight": -1.0}, "gan_weight must be >= 0 and finite, got -1.0"),
        ({"gan_weight": math.nan}, "gan_weight must be >= 0 and finite, got nan"),
        ({"r1_weight": math.inf}, "r1_weight must be >= 0 and finite, got inf"),
        ({"lr": math.nan}, "lr must be >= 0 and finite, got nan"),
        ({"critic_lr": -1.0}, "critic_lr must be >= 0 and finite, got -1.0"),
        ({"weight_decay": math.nan}, "weight_decay must be >= 0 and finite, got nan"),
        ({"ema": math.nan}, "ema must be from 0 to below 1, got nan"),
        ({"ema": 1.0}, "ema must be from 0 to below 1, got 1.0"),
        ({"start": 5.0}, "start must be a time of the schedule, 0.001 to 1.0; got 5.0"),
        ({"scale": "none"}, "'dmd' or 'exact', got 'none'"),
        ({"regression": (torch.zeros(3, 2), torch.zeros(4, 2))}, r"got \(3, 2\) and \(4, 2\)"),
        ({"regression": (torch.zeros(3, 5), torch.zeros(3, 5))}, r"\(count, 2\), got \(3, 5\)"),
        ({"regression": (torch.zeros(0, 2), torch.zeros(0, 2))}, r"got \(0, 2\)"),
        (
            {"regression": (torch.zeros(3, 2), torch.full((3, 2), torch.nan))},
            "regression must be finite, but its samples have 6 values that are NaN or infinite",
        ),
        ({"regression": (torch.tensor([[math.inf, 0.0]]), torch.zeros(1, 2))}, "its noise has 1 v"),
        ({"regression_weight": -0.1}, "regression_weight must be >= 0 and finite, got -0.1"),
    ):
        with pytest.raises(ValueError, match=words):
            small(**changes)
    frozen = points().requires_grad_(False)
    for name, words in (
        ("generator", "the generator has no parameters that ask for a gradient"),
        ("fake_score", "the fake score has no parameters .* or pass a function"),
        ("discriminator", "the discriminator has no parameters"),
    ):
        with pytest.raises(ValueError, match=words):
            small(**{name: frozen})
    with pytest.raises(ValueError, match="trained on data"):
        small().train(1)
    with pytest.raises(ValueError, match=r"must be \(2,\), got \(3,\)"):
        small().train(1, torch.zeros(10, 3))
    holes = torch.full((10, 2), torch.nan)
    for data in (holes, lambda count, rng: holes[:count]):
        with pytest.raises(ValueError, match=r"data has \d+ values that are NaN .* at step 1$"):
            small().train(1, data)
    with pytest.raises(ValueError, match="data is empty"):
        small().train(1, torch.zeros(0, 2))
    with pytest.raises(ValueError, match="save_every must be at least 1, got 0"):
        small().train(1, RING.sample, save_every=0)


def test_plain_dmd_needs_no_discriminator() -> None:
    trainer = small(discriminator=None, divergence="reverse-kl", gan_weight=0.0)
    figures = trainer.step()
    assert set(figures) == {"fake score", "gap", "variance"}


def test_settings_of_the_weights_are_taken() -> None:
    weighting = Weighting("forward-kl", bins=3)
    trainer = small(divergence=weighting)
    trainer.step(RING.sample)
    assert trainer.weighting.divergence.name == "forward-kl"
    assert trainer.weighting.log_means.shape == (3,)
    assert trainer.weighting.log_means.abs().max() > 0
    assert weighting.log_means.abs().max() == 0  # its memory is that of one training


def test_pairs_of_bfloat16_are_taken() -> None:
    noise = torch.randn(8, 2, generator=rng()).bfloat16()
    trainer = small(regression=(noise, 0.5 * noise))
    assert trainer.step(RING.sample)["regression"] > 0
    assert trainer.settings["regression"] == digest(noise, 0.5 * noise)


# ---------------------------------------------------------------------- students and pairs


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_one_step_of_the_perfect_network_is_the_mean(prediction: Any) -> None:
    """In one step from noise, the best guess of a Gaussian is its posterior mean."""
    mixture = GaussianMixture(torch.ones(1), torch.tensor([[0.5, -0.3]]), torch.tensor([0.09]))
    perfect = mixture.model(SCHEDULE, prediction)

    class Module(nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return perfect(x, t)

    start = 0.7
    student = OneStep(Module(), SCHEDULE, prediction=prediction, start=start)
    alpha, sigma = float(SCHEDULE.alpha(start)), float(SCHEDULE.sigma(start))
    noise = torch.randn(6, 2, generator=rng()).double()
    gain = alpha * 0.09 / (alpha**2 * 0.09 + sigma**2)
    expected = mixture.means + gain * (sigma * noise - alpha * mixture.means)
    torch.testing.assert_close(student(noise), expected, rtol=1e-6, atol=1e-8)


def test_one_step_of_edm_has_the_size_of_its_noise() -> None:
    student = OneStep(nn.Identity(), EDM(sigma_max=80.0))
    student.network.forward = lambda x, t: x  # type: ignore[method-assign]
    assert student(torch.ones(1, 2)).tolist() == [[80.0, 80.0]]


@pytest.mark.parametrize("schedule", [SCHEDULE, EDM()], ids=lambda each: type(each).__name__)
def test_pairs_are_the_flow(schedule: Schedule) -> None:
    noise = torch.randn(20, 2, generator=rng()).double()
    kept, samples = teacher_pairs(RING.model(schedule), schedule, noise, steps=35)
    start = float(schedule.sigma(schedule.t_max)) * noise
    exact = RING.flow(start, schedule, schedule.t_max, schedule.t_min)
    assert kept is noise
    assert float((samples - exact).abs().mean()) < 2e-3
    other = teacher_pairs(RING.model(schedule), schedule, noise, steps=35, spacing="logrho")[1]
    assert not torch.equal(other, samples)


# ------------------------------------------------------------------------------- networks


def test_a_point_network_sees_each_time() -> None:
    network = points()
    x = torch.randn(3, 2, generator=rng())
    each = torch.stack([network(x, t)[i] for i, t in enumerate((0.1, 0.5, 0.9))])
    torch.testing.assert_close(network(x, torch.tensor([0.1, 0.5, 0.9])), each)
    assert (network(x, 0.1) - network(x, 0.2)).abs().min() > 0
    assert points(1)(x, 0.3).shape == (3, 1)
    edm = points()
    edm.schedule = EDM()  # the same points at the same noise, but of another size
    size = math.hypot(1.0, 3.0)
    same = float(SCHEDULE.time_of_alpha(1 / size))
    torch.testing.assert_close(edm(size * x, 3.0), network(x, same))


class Aside(nn.Module):
    """A network with a layer that it does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.aside = nn.Linear(2, 16)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x


def test_a_discriminator_on_features() -> None:
    score, head = points(), nn.Linear(16, 1)
    judge = FeatureDiscriminator(score, "hidden", head)
    assert set(judge.state_dict()) == {"head.weight", "head.bias"}
    x = torch.randn(5, 2, generator=rng()).requires_grad_()
    t = torch.full((5,), 0.4)
    logits = judge(x, t)
    direct = copy.deepcopy(score)
    kept: list[Tensor] = []
    direct.hidden.register_forward_hook(lambda m, i, output: kept.append(output))
    direct(x, t)
    torch.testing.assert_close(logits, head(kept[0]))
    logits.sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().min()) > 0
    assert head.weight.grad is not None
    assert all(each.grad is None and each.requires_grad for each in score.parameters())
    assert not score.hidden._forward_hooks
    score.last.register_forward_pre_hook(lambda *_: pytest.fail("ran on behind the features"))
    torch.testing.assert_close(judge(x, t), logits)
    with pytest.raises(RuntimeError, match="did not come to the layer"):
        FeatureDiscriminator(Aside(), "aside", head)(x, t)
    with pytest.raises(ValueError, match="no layer 'middle'; at its top are hidden, last"):
        FeatureDiscriminator(score, "middle", head)


def test_it_trains_on_the_features_of_the_fake_score() -> None:
    fake = points(seed=2)
    judge = FeatureDiscriminator(fake, "hidden", nn.Linear(16, 1))
    trainer = small(fake_score=fake, discriminator=judge, r1_weight=0.1)
    before = judge.head.weight.detach().clone()
    trainer.train(2, RING.sample)
    assert not torch.equal(judge.head.weight, before)
    trained = trainer.optimizers["critic optimizer"].param_groups[0]["params"]
    assert len(trained) == len({*map(id, trained)})


def test_networks_of_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        teacher = diffusers.UNet2DModel(
            sample_size=8, in_channels=1, out_channels=1, layers_per_block=1,
            block_out_channels=(8, 16), norm_num_groups=4,
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
        )  # fmt: skip
        head = nn.Sequential(nn.GroupNorm(4, 16), nn.Flatten(), nn.Linear(16 * 4 * 4, 1))
    schedule = DiscreteVP.linear(1000)
    trainer = FDistillTrainer(
        teacher.requires_grad_(False), copy.deepcopy(teacher).requires_grad_(True),
        copy.deepcopy(teacher).requires_grad_(True),
        FeatureDiscriminator(teacher, "mid_block", head), schedule, shape=(1, 8, 8), batch=4,
        generator_prediction="epsilon", start=600.0,
    )  # fmt: skip
    before = [each.clone() for each in teacher.parameters()]
    trainer.train(2, torch.randn(10, 1, 8, 8, generator=rng()).clamp(-1, 1))
    assert trainer.sample(3).shape == (3, 1, 8, 8)
    assert all(map(torch.equal, before, teacher.parameters()))
    moved = zip(trainer.student.network.parameters(), teacher.parameters(), strict=True)
    assert any(not torch.equal(one, other) for one, other in moved)


@pytest.mark.parametrize("schedule", [FlowMatching(), EDM(0.01, 10.0), DiscreteVP.linear(50)])
def test_other_schedules(schedule: Any) -> None:
    def network(outputs: int = 2) -> PointNetwork:
        return PointNetwork(schedule, 2, outputs, width=8, depth=1)

    trainer = FDistillTrainer(
        RING.model(schedule), network(), network(), network(1), schedule, shape=(2,),
        batch=8, divergence="jeffreys",
    )  # fmt: skip
    trainer.train(2, RING.sample)
    assert torch.isfinite(trainer.sample(4)).all()

"""What a step of f-distill costs beside one of DMD2, and a one-step sample beside the teacher's 35.

A step of training is five updates of the critics and one of the student, all networks of one size.
DMD2 is written here in plain torch from its paper: the denoising loss of the fake score, the
logistic GAN loss, and the difference of the two data predictions over the student's own error. That
its gradient is ours under reverse KL is among the tests.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import mse_loss, softplus

from paperworks.diffusion.f_distill import (
    FDistillTrainer,
    FeatureDiscriminator,
    OneStep,
    PointNetwork,
    teacher_pairs,
)
from paperworks.diffusion.schedules import DiscreteVP

SCHEDULE = DiscreteVP.linear()
SHAPE = (1, 16, 16)


def unet() -> Any:
    diffusers = pytest.importorskip("diffusers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return diffusers.UNet2DModel(
            sample_size=SHAPE[1], in_channels=1, out_channels=1, layers_per_block=1,
            block_out_channels=(32, 64), norm_num_groups=8,
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
        )  # fmt: skip


def head() -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(4 * 64, 1)
    )


def ours(divergence: str, batch: int) -> Callable[[], Any]:
    teacher = unet().requires_grad_(False)
    trainer = FDistillTrainer(
        teacher,
        copy.deepcopy(teacher).requires_grad_(True),
        copy.deepcopy(teacher).requires_grad_(True),
        FeatureDiscriminator(teacher, "mid_block", head()),
        SCHEDULE,
        shape=SHAPE,
        divergence=divergence,
        generator_prediction="epsilon",
        start=399.0,
        batch=batch,
    )
    data = torch.randn(1000, *SHAPE, generator=torch.Generator().manual_seed(0))
    return lambda: trainer.step(data)


class Judge(torch.nn.Module):
    """The teacher's way down and a head, as a script would have it."""

    def __init__(self, teacher: Any):
        super().__init__()
        self.head, self.teacher = head(), (teacher,)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        (teacher,) = self.teacher
        time = teacher.time_embedding(teacher.time_proj(t))
        x = teacher.conv_in(x)
        for block in teacher.down_blocks:
            x, _ = block(x, time)
        return self.head(teacher.mid_block(x, time))


class PlainDMD2:
    """DMD2 as a script would have it."""

    def __init__(self, batch: int):
        self.batch = batch
        self.teacher = unet().requires_grad_(False)
        self.student = copy.deepcopy(self.teacher).requires_grad_(True)
        self.fake = copy.deepcopy(self.teacher).requires_grad_(True)
        self.judge = Judge(self.teacher)
        critics = [*self.fake.parameters(), *self.judge.parameters()]
        self.of_student = torch.optim.AdamW(self.student.parameters(), 1e-4, fused=True)
        self.of_critics = torch.optim.AdamW(critics, 1e-4, fused=True)
        self.data = torch.randn(1000, *SHAPE)
        steps = torch.arange(1000).numpy()
        self.alphas = torch.from_numpy(SCHEDULE.alpha(steps)).float()[:, None, None, None]
        self.sigmas = torch.from_numpy(SCHEDULE.sigma(steps)).float()[:, None, None, None]

    def generate(self) -> Tensor:
        noise = torch.randn(self.batch, *SHAPE)
        start = torch.full((self.batch,), 399)
        found = self.student(noise, start).sample
        return (noise - self.sigmas[399] * found) / self.alphas[399]

    def diffuse(self, x0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        t, noise = torch.randint(20, 980, (self.batch,)), torch.randn_like(x0)
        return self.alphas[t] * x0 + self.sigmas[t] * noise, noise, t

    def step(self) -> None:
        for _ in range(5):
            with torch.no_grad():
                x0 = self.generate()
            x, noise, t = self.diffuse(x0)
            real, _, real_t = self.diffuse(self.data[torch.randint(1000, (self.batch,))])
            loss = mse_loss(self.fake(x, t).sample, noise)
            loss = loss + softplus(self.judge(x, t)).mean()
            loss = loss + softplus(-self.judge(real, real_t)).mean()
            self.of_critics.zero_grad()
            loss.backward()
            self.of_critics.step()
        x0 = self.generate()
        x, _, t = self.diffuse(x0)
        with torch.no_grad():
            real, fake = (
                (x - self.sigmas[t] * network(x, t).sample) / self.alphas[t]
                for network in (self.teacher, self.fake)
            )
            gradient = (fake - real) / (x0 - real).abs().mean((1, 2, 3), keepdim=True)
        loss = 0.5 * mse_loss(x0, (x0 - gradient).detach())
        loss = loss + 1e-3 * softplus(-self.judge(x, t)).mean()
        self.of_student.zero_grad()
        loss.backward()
        self.of_student.step()


TRAININGS: dict[str, tuple[bool, Callable[[int], Callable[[], Any]]]] = {
    "FDistillTrainer, js": (True, lambda batch: ours("js", batch)),
    "FDistillTrainer, reverse-kl": (True, lambda batch: ours("reverse-kl", batch)),
    "DMD2 in plain torch": (False, lambda batch: PlainDMD2(batch).step),
}


@pytest.mark.parametrize("contender", TRAININGS)
@pytest.mark.parametrize("batch", [16, 64])
def test_step(race: Any, batch: int, contender: str) -> None:
    mine, build = TRAININGS[contender]
    race(
        build(batch),
        group=f"a step of training, batch of {batch}",
        contender=contender,
        ours=mine,
        rounds=7,
    )


@pytest.mark.parametrize("contender", ["OneStep", "teacher, tab3", "diffusers DPM-Solver++ 2M"])
@pytest.mark.parametrize("count", [256, 4096])
def test_sampling(race: Any, count: int, contender: str) -> None:
    network = PointNetwork(SCHEDULE, 2)
    noise = torch.randn(count, 2, generator=torch.Generator().manual_seed(0))

    def diffusers_sample() -> Tensor:
        scheduler = pytest.importorskip("diffusers").DPMSolverMultistepScheduler()
        scheduler.set_timesteps(35)
        x = noise
        for t in scheduler.timesteps:
            x = scheduler.step(network(x, float(t)), t, x).prev_sample
        return x

    student = OneStep(network, SCHEDULE)
    work: dict[str, Callable[[], Any]] = {
        "OneStep": lambda: student(noise),
        "teacher, tab3": lambda: teacher_pairs(network, SCHEDULE, noise, steps=35),
        "diffusers DPM-Solver++ 2M": diffusers_sample,
    }

    @torch.no_grad()
    def run() -> Any:
        return work[contender]()

    race(
        run,
        group=f"{count} points, one evaluation or 35",
        contender=contender,
        ours=contender == "OneStep",
        rounds=15,
    )

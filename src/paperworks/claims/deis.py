"""What the paper of DEIS says: at few evaluations it ends nearer to the flow than others do.

The paper takes the mean absolute difference between the samples of a solver and those of the exact
flow from the same noise (its figure 3) and the FID of networks trained on images. Here is the first
for a perfect network, the score of a Gaussian mixture, whose flow is integrated to 1e-12; and for
networks trained on small images, the flow of which 128 or 256 long steps of RK4 follow. The second
is the Fréchet distance in the features of a small classifier of the same images, not Inception FID.

All contenders have DDPM's schedule of 1000 betas, start from the same noise, stop at the paper's
times (equal steps of sqrt(t)), and end at the same time; a scheduler of diffusers is given these
times in place of its own. Each has the same number of evaluations, or one less where it cannot be
had: Heun's method of Karras et al. takes 2 N - 1. Ours is tAB-DEIS with the polynomial of degree 3,
the paper's best at all these numbers; of diffusers' DEIS and DPM-Solver++, the orders 2 and 3.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paperworks.diffusion.frechet import Features, frechet_distance
from paperworks.diffusion.images import load_images
from paperworks.diffusion.mixtures import GaussianMixture
from paperworks.diffusion.sampling import sample
from paperworks.diffusion.schedules import DiscreteVP, Floats
from paperworks.diffusion.timesteps import spaced
from paperworks.diffusion.training import trained
from paperworks.experiment import Claim, Effect, Tier, TrialResult

PAPER = "deis"
OURS = "tAB-DEIS 3"
DIFFUSERS = {
    "DEIS 2 of diffusers": ("DEISMultistepScheduler", 2),
    "DEIS 3 of diffusers": ("DEISMultistepScheduler", 3),
    "DPM-Solver++ 2M": ("DPMSolverMultistepScheduler", 2),
    "DPM-Solver++ 3M": ("DPMSolverMultistepScheduler", 3),
}
CONTENDERS = ("DDIM", "Euler", "Heun", *DIFFUSERS)
BUDGETS = (5, 10, 15, 20)

Model = Callable[[Tensor, Any], Tensor]


def build(name: str, seed: int) -> GaussianMixture:
    """The data: "ring", or "random-D" for ten components in D dimensions."""
    if name == "ring":
        return GaussianMixture.ring(8)
    return GaussianMixture.random(int(name[7:]), 10, torch.Generator().manual_seed(seed))


def run(
    label: str,
    model: Model,
    schedule: DiscreteVP,
    x: Tensor,
    evaluations: int,
    spacing: str = "quadratic",
) -> Tensor:
    """The samples of one contender."""
    times = spaced(schedule, evaluations, spacing)
    if label in (OURS, "DDIM"):
        solver = "tab3" if label == OURS else "ddim"
        return sample(model, schedule, x, solver=solver, times=times).x
    if label == "Euler":
        return euler(model, schedule, x, times)
    if label == "Heun":
        return heun(model, schedule, x, spaced(schedule, (evaluations + 1) // 2, spacing))
    import diffusers

    name, order = DIFFUSERS[label]
    changes = {"final_sigmas_type": "sigma_min"} if name.startswith("DPM") else {}
    scheduler: Any = getattr(diffusers, name)(solver_order=order, **changes)
    scheduler.set_timesteps(evaluations)
    scheduler.sigmas = torch.from_numpy(schedule.rho(times))
    scheduler.timesteps = torch.from_numpy(times[:-1])
    for t in scheduler.timesteps:
        x = scheduler.step(model(x, t), t, x).prev_sample
    return x.double()


def euler(model: Model, schedule: DiscreteVP, x: Tensor, times: Floats) -> Tensor:
    """Euler's method on the probability flow as it stands, ``dx / dt = a(t) (x - eps / sigma)``,
    with a half of log(1 - beta): the solver that the paper begins with.
    """
    for t, to in pairwise(times):
        rate = 0.5 * np.log1p(-schedule.betas[int(t)])
        x = x + (to - t) * rate * (x - model(x, t) / float(schedule.sigma(t)))
    return x


def heun(model: Model, schedule: DiscreteVP, x: Tensor, times: Floats) -> Tensor:
    """Algorithm 1 of Karras et al. 2022 by diffusers: steps of Heun in sigma / alpha, and a last
    one of Euler.
    """
    import diffusers

    scheduler: Any = diffusers.HeunDiscreteScheduler()
    scheduler.set_timesteps(len(times) - 1)
    rho, t = torch.from_numpy(schedule.rho(times)), torch.from_numpy(times[:-1])
    scheduler.sigmas = torch.cat([rho[:1], rho[1:-1].repeat_interleave(2), rho[-1:]])
    scheduler.timesteps = torch.cat([t[:1], t[1:].repeat_interleave(2)])
    y = x / float(schedule.alpha(times[0]))
    for t in scheduler.timesteps:
        y = scheduler.step(model(scheduler.scale_model_input(y, t), t), t, y).prev_sample
    return y * float(schedule.alpha(times[-1]))


def distance(*, seed: int, device: str, data: str, evaluations: int, count: int) -> TrialResult:
    """How far from the exact flow each ends; on the CPU, where such small problems are fastest."""
    mixture, schedule = build(data, seed), DiscreteVP.linear()
    x = torch.randn(count, mixture.dim, generator=_drawn(seed), dtype=torch.float64)
    exact = mixture.flow(x, schedule, schedule.t_max, schedule.t_min)
    model = mixture.model(schedule)
    return TrialResult(
        {
            label: float((run(label, model, schedule, x, evaluations) - exact).abs().mean())
            for label in (OURS, *CONTENDERS)
        }
    )


def trained_distance(
    *, seed: int, device: str, data: str, evaluations: int, count: int, fine: int
) -> TrialResult:
    """How far from the flow of a trained network each ends, as ``fine`` evaluations follow it."""
    model = trained(data, device=device)
    schedule, x = model.schedule, model.noise(count, _drawn(seed)).double()
    exact = sample(model, schedule, x, solver="rho-rk4", steps=fine // 4, spacing="logrho").x
    return TrialResult(
        {
            label: float((run(label, model, schedule, x, evaluations) - exact).abs().mean())
            for label in (OURS, *CONTENDERS)
        }
    )


def quality(*, seed: int, device: str, data: str, evaluations: int, count: int) -> TrialResult:
    """The Fréchet distance of each one's images from those that the network was trained on."""
    model, features = trained(data, device=device), Features.load(data)
    batches = model.noise(count, _drawn(seed)).split(250)
    real = features(load_images(data).images)
    values = {}
    for label in (OURS, *CONTENDERS):
        images = [run(label, model, model.schedule, x, evaluations).clamp(-1, 1) for x in batches]
        values[label] = frechet_distance(features(torch.cat(images)), real)
    return TrialResult(values)


def _drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed + 1000)


def _works(names: tuple[str, ...], evaluations: int, count: int) -> list[dict[str, Any]]:
    return [{"data": name, "evaluations": evaluations, "count": count} for name in names]


_CONTENDERS_SAY = (
    "DDIM, Euler, Heun, and the DEIS and DPM-Solver++ of diffusers with as many and at the same "
    "times."
)
_COMMON: dict[str, Any] = {
    "paper": PAPER,
    "better": "lower",
    "ours": OURS,
    "contenders": CONTENDERS,
    "effect": Effect("ratio", 1.0),
}
_ON_DEMAND = 4 * 3600.0  # seconds: the first trial trains MNIST's network

CLAIMS = (
    *(
        Claim(
            **_COMMON,
            name=f"nearer-at-{evaluations}",
            statement=(
                f"With {evaluations} evaluations of the network tAB-DEIS ends nearer to the exact "
                f"probability flow of a mixture than {_CONTENDERS_SAY}"
            ),
            metric="mean absolute difference from the exact flow, in the data's unit",
            trial=distance,
            quick=Tier(_works(("ring", "random-16"), evaluations, 64), seeds=5),
            full=Tier(
                _works(("ring", "random-4", "random-16", "random-64"), evaluations, 256),
                seeds=20,
                timeout=300,
            ),
            requires=("diffusers",),
        )
        for evaluations in BUDGETS
    ),
    *(
        Claim(
            **_COMMON,
            name=f"nearer-at-{evaluations}-trained",
            statement=(
                f"With {evaluations} evaluations of a network trained on images tAB-DEIS ends "
                f"nearer to that network's probability flow than {_CONTENDERS_SAY}"
            ),
            metric="mean absolute difference from the flow, in half the range of a pixel",
            trial=trained_distance,
            quick=Tier(
                [{**work, "fine": 256} for work in _works(("digits",), evaluations, 8)], seeds=5
            ),
            full=Tier(
                [{**work, "fine": 1024} for work in _works(("digits", "mnist"), evaluations, 32)],
                seeds=5,
                timeout=_ON_DEMAND,
            ),
            requires=("diffusers", "safetensors"),
        )
        for evaluations in BUDGETS
    ),
    *(
        Claim(
            **_COMMON,
            name=f"better-images-at-{evaluations}",
            statement=(
                f"With {evaluations} evaluations of a network trained on images those of tAB-DEIS "
                f"have a smaller Fréchet distance from real ones than those of {_CONTENDERS_SAY}"
            ),
            metric="Fréchet distance in the features of a small classifier (not Inception FID)",
            trial=quality,
            full=Tier(_works(("digits", "mnist"), evaluations, 1000), seeds=5, timeout=_ON_DEMAND),
            requires=("diffusers", "safetensors"),
        )
        for evaluations in BUDGETS
    ),
)

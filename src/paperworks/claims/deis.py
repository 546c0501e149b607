"""What the paper of DEIS says: at few evaluations it ends nearer to the flow than others do.

The paper takes the mean absolute difference between the samples of a solver and those of the exact
flow from the same noise (its figure 3) and the FID of networks trained on images. Here is the first
for a perfect network, the score of a Gaussian mixture, whose flow is integrated to 1e-12; and for
networks trained on small images, the flow of which 128 or 256 long steps of RK4 follow. The second
is the Fréchet distance in the features of a small classifier of the same images, not Inception FID.

All contenders have DDPM's schedule of 1000 betas, start from the same noise, and end at the same
time; a scheduler of diffusers is given our times in place of its own. Where they stop on the way is
part of a method. So in the claims of the first kind each of them, ours too, has the spacing of four
that is best for it. In the second kind, "same-times", all stop at the paper's times (equal steps of
sqrt(t)). In both the multistep solvers of diffusers end with lower orders, as they do by default
below 15 steps, or go on in full order, whichever is better for each. What is best is found on other
noise, and on another mixture of the same kind where they are drawn.

Each has the same number of evaluations, or one less where it cannot be had: Heun's method of
Karras et al. takes 2 N - 1. Ours is tAB-DEIS with the polynomial of degree 3, the paper's best at
all these numbers; of diffusers' DEIS and DPM-Solver++, the orders 2 and 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise, product, starmap
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from paperworks.claims._kept import kept
from paperworks.claims._mixtures import build
from paperworks.diffusion.frechet import Features, frechet_distance
from paperworks.diffusion.images import load_images
from paperworks.diffusion.sampling import sample
from paperworks.diffusion.schedules import DiscreteVP, Floats
from paperworks.diffusion.timesteps import SPACINGS, spaced
from paperworks.diffusion.training import trained
from paperworks.diffusion.usf.presets import FEW
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
OTHERS = 5000
"""What is added to a seed for the draws on which settings are chosen."""

Model = Callable[[Tensor, Any], Tensor]


class Setting(NamedTuple):
    """What a contender may choose."""

    spacing: str = "quadratic"
    lower_order_final: bool = True
    """Whether a multistep solver of diffusers ends a short sampling with lower orders."""


def run(
    label: str,
    model: Model,
    schedule: DiscreteVP,
    x: Tensor,
    evaluations: int,
    setting: Setting = Setting(),  # noqa: B008 (a tuple)
) -> Tensor:
    """The samples of one contender."""
    spacing = setting.spacing
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
    changes: dict[str, Any] = {"final_sigmas_type": "sigma_min"} if name.startswith("DPM") else {}
    changes["lower_order_final"] = setting.lower_order_final
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


def chosen(
    times: str, evaluations: int, error: Callable[[str, Setting], float]
) -> Mapping[str, Setting]:
    """The best setting of each contender and of ours.

    Parameters
    ----------
    times : {"best", "same"}
    evaluations : int
        Below 15 the endings of diffusers differ.
    error : callable
        Of a label and a setting, on draws of their own; what is not finite is the worst.
    """
    spacings = SPACINGS if times == "best" else ("quadratic",)

    def best(label: str) -> Setting:
        endings = (True, False) if label in DIFFUSERS and evaluations < FEW else (True,)
        settings = list(starmap(Setting, product(spacings, endings)))
        if len(settings) == 1:
            return settings[0]
        errors = [error(label, each) for each in settings]
        return settings[int(np.argmin(np.nan_to_num(errors, nan=np.inf)))]

    return {label: best(label) for label in (OURS, *CONTENDERS)}


class Bed(NamedTuple):
    """A network, noise to start from, and where its flow takes that."""

    model: Model
    schedule: DiscreteVP
    x: Tensor
    exact: Tensor

    def error(self, label: str, evaluations: int, setting: Setting) -> float:
        """The mean absolute difference."""
        found = run(label, self.model, self.schedule, self.x, evaluations, setting)
        return float((found - self.exact).abs().mean())


def mixture_flow(*, data: str, seed: int, count: int) -> dict[str, Tensor]:
    """Noise "x" and the "exact" end of its flow under the score of a mixture."""
    mixture, schedule = build(data, seed), DiscreteVP.linear()
    x = torch.randn(count, mixture.dim, generator=_drawn(seed), dtype=torch.float64)
    return {"x": x, "exact": mixture.flow(x, schedule, schedule.t_max, schedule.t_min)}


def network_flow(*, data: str, seed: int, count: int, fine: int, device: str) -> dict[str, Tensor]:
    """The same of a trained network, as ``fine`` evaluations of RK4 follow it."""
    model = trained(data, device=device)
    x = model.noise(count, _drawn(seed)).double()
    steps = fine // 4
    exact = sample(model, model.schedule, x, solver="rho-rk4", steps=steps, spacing="logrho").x
    return {"x": x, "exact": exact}


def _nearest(make: Callable[[int], Bed], seed: int, evaluations: int, times: str) -> TrialResult:
    """On the bed of a seed, with settings that were chosen on that of another one."""
    bed, other = make(seed), make(seed + OTHERS)
    settings = chosen(times, evaluations, lambda label, each: other.error(label, evaluations, each))
    return TrialResult(
        {label: bed.error(label, evaluations, each) for label, each in settings.items()}
    )


# Claims with other numbers of evaluations, and their variants, look at the same flows.


def distance(
    *, seed: int, device: str, data: str, evaluations: int, count: int, times: str
) -> TrialResult:
    """How far from the exact flow each ends; on the CPU, where such small problems are fastest."""
    schedule = DiscreteVP.linear()

    def make(seed: int) -> Bed:
        flow = kept(mixture_flow, data=data, seed=seed, count=count)
        return Bed(build(data, seed).model(schedule), schedule, **flow)

    return _nearest(make, seed, evaluations, times)


def trained_distance(
    *, seed: int, device: str, data: str, evaluations: int, count: int, fine: int, times: str
) -> TrialResult:
    """How far from the flow of a trained network each ends, as ``fine`` evaluations follow it."""
    model = trained(data, device=device)

    def make(seed: int) -> Bed:
        flow = kept(network_flow, data=data, seed=seed, count=count, fine=fine, device=device)
        return Bed(model, model.schedule, **flow)

    return _nearest(make, seed, evaluations, times)


def quality(
    *, seed: int, device: str, data: str, evaluations: int, count: int, times: str
) -> TrialResult:
    """The Fréchet distance of each one's images from those that the network was trained on."""
    model, features = trained(data, device=device), Features.load(data)
    real = features(load_images(data).images)

    def error(label: str, setting: Setting, seed: int = seed + OTHERS) -> float:
        batches = model.noise(count, _drawn(seed)).split(250)
        images = torch.cat(
            [run(label, model, model.schedule, x, evaluations, setting) for x in batches]
        )
        if not bool(images.isfinite().all()):
            return math.inf
        return frechet_distance(features(images.clamp(-1, 1)), real)

    settings = chosen(times, evaluations, error)
    return TrialResult({label: error(label, each, seed) for label, each in settings.items()})


def _drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed + 1000)


def _works(names: tuple[str, ...], **settings: Any) -> list[dict[str, Any]]:
    return [{"data": name, **settings} for name in names]


_ON_DEMAND = 4 * 3600.0  # seconds: the first trial trains MNIST's network
_QUICK, _FULL = ("ring", "random-16"), ("ring", "random-4", "random-16", "random-64")


def _claim(name: str, statement: str, metric: str, times: str, **settings: Any) -> Claim:
    say = "each at the times that are best for it" if times == "best" else "all at the same times"
    return Claim(
        paper=PAPER,
        name=name + ("-same-times" if times == "same" else ""),
        statement=(
            f"{statement} DDIM, Euler, Heun, and the DEIS and DPM-Solver++ of diffusers with as "
            f"many, {say}."
        ),
        metric=metric,
        better="lower",
        ours=OURS,
        contenders=CONTENDERS,
        effect=Effect("ratio", 1.0),
        **settings,
    )


def _of_mixtures(n: int, times: str) -> Claim:
    given = {"evaluations": n, "times": times}
    return _claim(
        f"nearer-at-{n}",
        f"With {n} evaluations of the network tAB-DEIS ends nearer to the exact probability flow "
        "of a mixture than",
        "mean absolute difference from the exact flow, in the data's unit",
        times,
        trial=distance,
        quick=Tier(_works(_QUICK, count=64, **given), seeds=5),
        full=Tier(_works(_FULL, count=256, **given), seeds=20, timeout=300),
        requires=("diffusers",),
    )


def _of_networks(n: int, times: str) -> Claim:
    given = {"evaluations": n, "times": times}
    # One kind in the quick tier is enough: each takes a flow of its own and all the contenders.
    quick = Tier(_works(("digits",), count=4, fine=128, **given), seeds=5)
    return _claim(
        f"nearer-at-{n}-trained",
        f"With {n} evaluations of a network trained on digits tAB-DEIS ends nearer to that "
        "network's probability flow than",
        _OF_PIXELS,
        times,
        trial=trained_distance,
        quick=quick if times == "best" else None,
        full=Tier(_works(("digits",), count=32, fine=1024, **given), seeds=5, timeout=1800),
        requires=("diffusers", "safetensors"),
    )


def _of_images(n: int) -> Claim:
    given = {"evaluations": n, "times": "best", "count": 1000}
    return _claim(
        f"better-images-at-{n}",
        f"With {n} evaluations of a network trained on digits the images of tAB-DEIS have a "
        "smaller Fréchet distance from real ones than those of",
        _OF_FEATURES,
        "best",
        trial=quality,
        full=Tier(_works(("digits",), **given), seeds=5, timeout=1800),
        requires=("diffusers", "safetensors"),
    )


_OF_PIXELS = "mean absolute difference from the flow, in half the range of a pixel"
_OF_FEATURES = "Fréchet distance in the features of a small classifier (not Inception FID)"
_FEW = [{"data": "mnist", "evaluations": n, "times": "best"} for n in (5, 10, 20)]

CLAIMS = (
    *(_of_mixtures(n, times) for times in ("best", "same") for n in BUDGETS),
    *(_of_networks(n, times) for times in ("best", "same") for n in BUDGETS),
    *(_of_images(n) for n in BUDGETS),
    _claim(
        "nearer-on-mnist",
        "With 5, 10 and 20 evaluations of a network trained on MNIST tAB-DEIS ends nearer to that "
        "network's probability flow than",
        _OF_PIXELS,
        "best",
        trial=trained_distance,
        full=Tier(
            [{**work, "count": 8, "fine": 512} for work in _FEW], seeds=5, timeout=_ON_DEMAND
        ),
        requires=("diffusers", "safetensors"),
    ),
    _claim(
        "better-images-on-mnist",
        "With 5, 10 and 20 evaluations of a network trained on MNIST the images of tAB-DEIS have a "
        "smaller Fréchet distance from real ones than those of",
        _OF_FEATURES,
        "best",
        trial=quality,
        full=Tier([{**work, "count": 500} for work in _FEW], seeds=5, timeout=_ON_DEMAND),
        requires=("diffusers", "safetensors"),
    ),
)

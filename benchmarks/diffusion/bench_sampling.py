"""A whole run of ``sample`` with a trained network beside a plain loop over diffusers' schedulers.

All have the small U-Net of digits that ships with the package, the same noise and ten evaluations.
What a run costs beyond the network's own ten answers, the first line of each group, is the
sampler's. How near each ends is a question for the claims, where all have the same times.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from paperworks.diffusion.sampling import sample

STEPS = 10


@cache
def trained() -> Any:
    pytest.importorskip("diffusers")
    from paperworks.diffusion.trained import TrainedModel

    return TrainedModel.load("digits")


@cache
def start(batch: int) -> Tensor:
    noise: Tensor = trained().noise(batch, torch.Generator().manual_seed(0))
    return noise


def ours(solver: str) -> Callable[[int], Tensor]:
    def run(batch: int) -> Tensor:
        model = trained()
        return sample(model, model.schedule, start(batch), solver=solver, steps=STEPS).x

    return run


def theirs(name: str, **config: Any) -> Callable[[int], Tensor]:
    def run(batch: int) -> Tensor:
        import diffusers

        model, x = trained(), start(batch)
        scheduler = getattr(diffusers, name)(**config)  # DDPM's linear betas: the network's own
        scheduler.set_timesteps(STEPS)
        with torch.no_grad():
            for t in scheduler.timesteps:
                x = scheduler.step(model(x, float(t)), t, x).prev_sample
        return x

    return run


def network_alone(batch: int) -> Tensor:
    model, x = trained(), start(batch)
    with torch.no_grad():
        for t in range(STEPS):
            model(x, float(t))
    return x


CONTENDERS: dict[str, tuple[bool, Callable[[int], Tensor]]] = {
    "the network alone": (False, network_alone),
    "sample(solver=ddim)": (True, ours("ddim")),
    "sample(solver=tab3)": (True, ours("tab3")),
    "diffusers DDIM": (False, theirs("DDIMScheduler", clip_sample=False)),
    "diffusers DEIS 3": (False, theirs("DEISMultistepScheduler", solver_order=3)),
    "diffusers DPM-Solver++ 2M": (False, theirs("DPMSolverMultistepScheduler")),
}


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("batch", [1, 16, 64])
def test_sampling(race: Any, batch: int, contender: str) -> None:
    is_ours, run = CONTENDERS[contender]
    race(
        lambda: run(batch),
        group=f"{STEPS} evaluations, {batch} images of 8x8",
        contender=contender,
        ours=is_ours,
        rounds=10,
    )

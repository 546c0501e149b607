"""What a scheduler costs beside the network: ours and those of diffusers, on latents of 4x64x64.

A run is ``set_timesteps`` and ten calls of ``step`` with predictions that are there already.
``set_timesteps`` is timed by itself too, with the weights of a schedule that was not seen before
and of one that was. That our ``ddim`` does the arithmetic of diffusers' is checked before it is
timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paperworks.diffusion.integrators import adams_bashforth_weights

STEPS = 10


def _ours(solver: str) -> Any:
    pytest.importorskip("diffusers")
    from paperworks.diffusion.deis import DEISScheduler

    return DEISScheduler(solver=solver)


def _theirs(name: str, **config: Any) -> Any:
    return getattr(pytest.importorskip("diffusers"), name)(**config)


CONTENDERS: dict[str, tuple[bool, Callable[[], Any]]] = {
    "DEISScheduler(solver=ddim)": (True, lambda: _ours("ddim")),
    "DEISScheduler(solver=tab2)": (True, lambda: _ours("tab2")),
    "DEISScheduler(solver=tab3)": (True, lambda: _ours("tab3")),
    "diffusers DDIM": (False, lambda: _theirs("DDIMScheduler", clip_sample=False)),
    "diffusers DEIS 2": (False, lambda: _theirs("DEISMultistepScheduler", solver_order=2)),
    "diffusers DEIS 3": (False, lambda: _theirs("DEISMultistepScheduler", solver_order=3)),
    "diffusers DPM-Solver++ 2M": (False, lambda: _theirs("DPMSolverMultistepScheduler")),
}


def run(scheduler: Any, noises: list[Tensor], x: Tensor) -> Tensor:
    scheduler.set_timesteps(STEPS)
    for noise, t in zip(noises, scheduler.timesteps, strict=True):
        x = scheduler.step(noise, t, x).prev_sample
    return x


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("batch", [1, 4, 16])
def test_steps(race: Any, batch: int, contender: str) -> None:
    ours, build = CONTENDERS[contender]
    scheduler = build()
    generator = torch.Generator().manual_seed(0)
    x, *noises = (torch.randn(batch, 4, 64, 64, generator=generator) for _ in range(STEPS + 1))
    if contender == "DEISScheduler(solver=ddim)":
        theirs = CONTENDERS["diffusers DDIM"][1]()
        theirs.set_timesteps(STEPS)
        expected = theirs.step(noises[0], 900, x).prev_sample
        course = scheduler.solver.begin(scheduler.schedule, np.array([900.0, 800.0]))
        torch.testing.assert_close(course.advance(noises[0], x), expected, rtol=1e-4, atol=1e-4)
    race(
        lambda: run(scheduler, noises, x),
        group=f"{STEPS} steps of a batch of {batch}",
        contender=contender,
        ours=ours,
        rounds=30,
        warmup=5,
    )


@pytest.mark.parametrize("contender", [*CONTENDERS, "DEISScheduler(solver=tab3), first time"])
def test_set_timesteps(race: Any, contender: str) -> None:
    first = contender.endswith(", first time")
    ours, build = CONTENDERS[contender.removesuffix(", first time")]
    scheduler = build()

    def set_timesteps() -> None:
        if first:
            adams_bashforth_weights.cache_clear()
        scheduler.set_timesteps(STEPS)

    race(
        set_timesteps,
        group=f"set_timesteps({STEPS})",
        contender=contender,
        ours=ours,
        rounds=30,
        warmup=2,
    )

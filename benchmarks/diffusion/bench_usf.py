"""What a solver schedule costs beside the network: ours and the same solvers of diffusers.

A run is ``set_timesteps`` and a call of ``step`` for every prediction, which is there already, on
latents of 4x64x64. That both make the same samples, of the same times, is checked before they are
timed. The number of steps grows, since a schedule that expands the data uses all predictions before
it; and the batch.

What a search costs beside its objective has no peer; the strategies are beside each other there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paperworks.diffusion.schedules import DiscreteVP
from paperworks.diffusion.timesteps import spaced
from paperworks.diffusion.usf.decisions import Decisions
from paperworks.diffusion.usf.presets import dpm_solver, unipc
from paperworks.diffusion.usf.search import search_schedule

SCHEDULE = DiscreteVP.linear()


def _ours(make: Callable[..., Decisions], order: int) -> Callable[[int], Any]:
    def build(steps: int) -> Any:
        pytest.importorskip("diffusers")
        from paperworks.diffusion.usf.scheduler import USFScheduler

        return USFScheduler(make(spaced(SCHEDULE, steps, "uniform"), order))

    return build


def _theirs(name: str, order: int) -> Callable[[int], Any]:
    def build(steps: int) -> Any:
        diffusers = pytest.importorskip("diffusers")
        return getattr(diffusers, name)(solver_order=order, final_sigmas_type="sigma_min")

    return build


UNIPC, DPM = "UniPCMultistepScheduler", "DPMSolverMultistepScheduler"
CONTENDERS: dict[str, tuple[bool, Callable[[int], Any], str]] = {
    "USFScheduler(unipc 3)": (True, _ours(unipc, 3), "diffusers UniPC 3"),
    "USFScheduler(dpm_solver 2)": (True, _ours(dpm_solver, 2), "diffusers DPM-Solver++ 2M"),
    "diffusers UniPC 3": (False, _theirs(UNIPC, 3), ""),
    "diffusers DPM-Solver++ 2M": (False, _theirs(DPM, 2), ""),
}


def run(scheduler: Any, noises: list[Tensor], x: Tensor) -> Tensor:
    scheduler.set_timesteps(len(noises))
    for noise, t in zip(noises, scheduler.timesteps, strict=True):
        x = scheduler.step(noise, t, x).prev_sample
    return x


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize(("batch", "steps"), [(1, 10), (4, 5), (4, 10), (4, 20), (16, 10)])
def test_steps(race: Any, batch: int, steps: int, contender: str) -> None:
    ours, build, peer = CONTENDERS[contender]
    scheduler = build(steps)
    generator = torch.Generator().manual_seed(0)
    x, *noises = (torch.randn(batch, 4, 64, 64, generator=generator) for _ in range(steps + 1))
    if ours:
        theirs = CONTENDERS[peer][1](steps)
        theirs.set_timesteps(steps)
        theirs.sigmas = torch.from_numpy(SCHEDULE.rho(scheduler.decisions.times)).float()
        theirs.timesteps = torch.from_numpy(np.array(scheduler.decisions.times[:-1]))
        expected = x
        for noise, t in zip(noises, theirs.timesteps, strict=True):
            expected = theirs.step(noise, t, expected).prev_sample
        torch.testing.assert_close(run(scheduler, noises, x), expected, rtol=1e-3, atol=1e-2)
    race(
        lambda: run(scheduler, noises, x),
        group=f"{steps} steps of a batch of {batch}",
        contender=contender,
        ours=ours,
        rounds=30,
        warmup=5,
    )


@pytest.mark.parametrize("strategy", ["random", "evolution", "s3"])
@pytest.mark.parametrize("budget", [100, 200])
def test_search(race: Any, budget: int, strategy: str) -> None:
    race(
        lambda: search_schedule(
            lambda decisions: sum(decisions.times), SCHEDULE, 8, budget=budget, strategy=strategy
        ),
        group=f"a search of {budget} schedules of 8 steps, all of whose scores are there at once",
        contender=strategy,
        ours=True,
        rounds=1,
        warmup=0,
    )

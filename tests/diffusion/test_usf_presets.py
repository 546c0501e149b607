"""The solvers made by hand, held to diffusers' own: to 1e-10 in float64.

diffusers keeps its sigmas in float32; they are replaced by ours. ``DPMSolverMultistepScheduler``
turns the sample into float32 in every step; there the name ``torch.float32`` stands for float64
while the test runs. All other arithmetic of these schedulers is in the sample's dtype.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paperworks.diffusion.integrators import IPNDM, AdamsBashforth
from paperworks.diffusion.mixtures import GaussianMixture
from paperworks.diffusion.sampling import sample
from paperworks.diffusion.schedules import DiscreteVP, Floats, FlowMatching, LinearVP, Schedule
from paperworks.diffusion.timesteps import SPACINGS, spaced
from paperworks.diffusion.usf.decisions import Decisions
from paperworks.diffusion.usf.presets import (
    BY_HAND,
    by_hand,
    ddim,
    deis,
    dpm_solver,
    dpm_solver_singlestep,
    unipc,
)
from paperworks.diffusion.usf.solver import USFSolver

diffusers = pytest.importorskip("diffusers")

SCHEDULE = DiscreteVP.linear()
MIXTURE = GaussianMixture.ring(5)
MODEL = MIXTURE.model(SCHEDULE)
STEPS = (1, 2, 3, 4, 5, 6, 7, 8, 16)


def noise() -> Tensor:
    return torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()


def ours(decisions: Decisions, schedule: Schedule = SCHEDULE) -> Tensor:
    model = MIXTURE.model(schedule)
    return sample(model, schedule, noise(), solver=USFSolver(decisions), times=decisions.times).x


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    class Torch:
        float32 = torch.float64

        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

    module = importlib.import_module("diffusers.schedulers.scheduling_dpmsolver_multistep")
    monkeypatch.setattr(module, "torch", Torch())


def theirs(kind: str, times: Floats, **config: Any) -> Tensor:
    scheduler = getattr(diffusers, kind)(**config)
    steps = len(times) - 1
    scheduler.set_timesteps(steps)
    scheduler.sigmas = torch.from_numpy(SCHEDULE.rho(times))
    scheduler.timesteps = torch.from_numpy(times[:-1])
    if kind == "DPMSolverSinglestepScheduler":
        scheduler.order_list = scheduler.get_order_list(steps)
    x = noise()
    for t in scheduler.timesteps:
        x = scheduler.step(MODEL(x, t), t, x).prev_sample
    assert x.dtype == torch.float64
    return x


def hold(
    make: Callable[[Floats], Decisions], kind: str, spacing: str = "logrho", **config: Any
) -> None:
    for steps in STEPS:
        times = spaced(SCHEDULE, steps, spacing)
        expected = theirs(kind, times, **config)
        torch.testing.assert_close(ours(make(times)), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("steps", [4, 10])
def test_ddim(steps: int) -> None:
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    # The products of the betas in float64, as ours are; diffusers' are in float32.
    scheduler.alphas_cumprod = torch.from_numpy(SCHEDULE.alpha(np.arange(1000.0)) ** 2)
    scheduler.set_timesteps(steps)
    x, times = noise(), scheduler.timesteps.tolist()
    for t in times[:-1]:  # its last step goes to alpha = 1, which has no time
        x = scheduler.step(MODEL(x, float(t)), t, x).prev_sample
    torch.testing.assert_close(ours(ddim(times)), x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("midpoint", [True, False])
@pytest.mark.parametrize("plus", [True, False])
@pytest.mark.usefixtures("in_float64")
def test_dpm_solver(order: int, plus: bool, midpoint: bool) -> None:
    hold(
        lambda times: dpm_solver(times, order, plus=plus, midpoint=midpoint),
        "DPMSolverMultistepScheduler",
        solver_order=order,
        solver_type="midpoint" if midpoint else "heun",
        algorithm_type="dpmsolver++" if plus else "dpmsolver",
        final_sigmas_type="sigma_min",
    )


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("midpoint", [True, False])
@pytest.mark.parametrize("plus", [True, False])
def test_dpm_solver_singlestep(order: int, plus: bool, midpoint: bool) -> None:
    hold(
        lambda times: dpm_solver_singlestep(times, order, plus=plus, midpoint=midpoint),
        "DPMSolverSinglestepScheduler",
        solver_order=order,
        solver_type="midpoint" if midpoint else "heun",
        algorithm_type="dpmsolver++" if plus else "dpmsolver",
        final_sigmas_type="sigma_min",
        lower_order_final=True,
    )


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("data", [True, False])
@pytest.mark.parametrize("corrector", [True, False])
def test_unipc(order: int, variant: str, data: bool, corrector: bool) -> None:
    hold(
        lambda times: unipc(times, order, data=data, variant=variant, corrector=corrector),
        "UniPCMultistepScheduler",
        "quadratic",
        solver_order=order,
        solver_type=variant,
        predict_x0=data,
        disable_corrector=[] if corrector else list(range(1000)),
        final_sigmas_type="sigma_min",
    )


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("spacing", ["uniform", "quadratic"])
@pytest.mark.parametrize("lowered", [True, False])
@pytest.mark.filterwarnings("ignore:__array_wrap__")  # diffusers gives its tensors to NumPy
def test_deis_of_diffusers(order: int, spacing: str, lowered: bool) -> None:
    hold(
        lambda times: deis(times, order, lower_order_final=lowered),
        "DEISMultistepScheduler",
        spacing,
        solver_order=order,
        lower_order_final=lowered,
    )


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("schedule", [SCHEDULE, LinearVP(), FlowMatching()])
def test_deis_of_its_paper(order: int, schedule: Schedule) -> None:
    times = spaced(schedule, 7)
    for variable, solver in (
        ("t", AdamsBashforth(order - 1)),
        ("rho", AdamsBashforth(order - 1, "rho")),
        ("equal", IPNDM(order - 1)),
    ):
        expected = sample(MIXTURE.model(schedule), schedule, noise(), solver=solver, times=times).x
        found = ours(deis(times, order, variable=variable), schedule)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)


def test_all_of_them_at_all_spacings() -> None:
    found = by_hand(SCHEDULE, 5)
    assert len(found) == len(BY_HAND) * len(SPACINGS)
    for name, decisions in found.items():
        spacing = name.rpartition(", ")[2]
        assert list(decisions.times) == spaced(SCHEDULE, 5, spacing).tolist()
        assert torch.isfinite(ours(decisions)).all()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: dpm_solver([2, 1, 0], 4), "order must be 1 to 3, got 4"),
        (lambda: dpm_solver_singlestep([2, 1, 0], 0), "order must be 1 to 3, got 0"),
        (lambda: unipc([2, 1, 0], 5), "order must be 1 to 4, got 5"),
        (lambda: deis([2, 1, 0], 5), "order must be 1 to 4, got 5"),
        (lambda: deis([2, 1, 0], variable="u"), "one of taylor, adams-t.*; got 'adams-u'"),
        (lambda: unipc([2, 1, 0], variant="bh3"), "scaling must be .*; got 'bh3'"),
        (lambda: ddim([0, 1]), "step 1 of 1 goes from 0 to 1"),
    ],
)
def test_bad_requests(make: Callable[[], Decisions], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()

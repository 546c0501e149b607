"""What the paper of USF says: a schedule that was searched for beats the solvers made by hand, and
the predictor spares evaluations.

The paper searches by the FID of a thousand images of networks trained on images, and judges by that
of fifty thousand. Here the network is perfect, the score of a Gaussian mixture. The search sees the
mean absolute difference between the samples and those of the exact flow from the same noise. Judged
is, from noise that the search did not see, how far the samples are from those of the flow as a
distribution: the sliced Wasserstein distance, over 200 directions.

Contender of the found schedules is the best solver made by hand: all of
:func:`paperworks.diffusion.usf.by_hand` (DDIM, DEIS, DPM-Solver++ 2M and 3M, UniPC 2 and 3, each at
four spacings of time), of which the one is taken that is best on the search's own data. So both
chose by the same noise and the same error. The tests hold these schedules to the solvers of
diffusers to 1e-10.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from paperworks.diffusion.mixtures import GaussianMixture
from paperworks.diffusion.sampling import sample
from paperworks.diffusion.schedules import DiscreteVP, Schedule
from paperworks.diffusion.usf.decisions import Decisions
from paperworks.diffusion.usf.objective import OnSamples
from paperworks.diffusion.usf.presets import by_hand
from paperworks.diffusion.usf.search import Found, search_schedule
from paperworks.diffusion.usf.solver import USFSolver
from paperworks.experiment import Axes, Claim, Curve, Effect, Tier, TrialResult

PAPER = "usf"
OURS, BY_HAND = "S3", "best by hand"
STRATEGIES = {OURS: "s3", "evolution alone": "evolution", "random search": "random"}
BUDGETS = (5, 6, 8, 10)


class Bed:
    """A mixture, and noise with where the exact flow takes it."""

    def __init__(self, data: str, seed: int):
        """By its name: "ring", or "random-D" for ten components in D dimensions."""
        self.mixture = (
            GaussianMixture.ring(8)
            if data == "ring"
            else GaussianMixture.random(int(data[7:]), 10, torch.Generator().manual_seed(seed))
        )
        self.schedule: Schedule = DiscreteVP.linear()
        self.model = self.mixture.model(self.schedule)

    def noise(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Noise, and the exact samples of it."""
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(count, self.mixture.dim, generator=generator, dtype=torch.float64)
        return x, self.mixture.flow(x, self.schedule, self.schedule.t_max, self.schedule.t_min)

    def objective(self, count: int, seed: int) -> OnSamples:
        """What a search sees."""
        x, exact = self.noise(count, seed)
        return OnSamples(self.model, self.schedule, x, lambda y: (y - exact).abs().mean())

    def samples(self, decisions: Decisions, x: Tensor) -> Tensor:
        """Of one schedule."""
        solver = USFSolver(decisions)
        return sample(self.model, self.schedule, x, solver=solver, times=decisions.times).x

    def best_by_hand(self, objective: OnSamples, steps: int) -> Decisions:
        """The one that the search's own data would choose."""
        return min(by_hand(self.schedule, steps).values(), key=objective)

    def search(self, objective: OnSamples, steps: int, budget: int, seed: int, how: str) -> Found:
        """A schedule that is searched for."""
        return search_schedule(
            objective, self.schedule, steps, budget=budget, strategy=how, seed=seed
        )


def sliced_wasserstein(one: Tensor, two: Tensor, generator: torch.Generator) -> float:
    """Between two samples of one size (count, dim): the root mean square over 200 directions."""
    directions = torch.randn(one.shape[1], 200, generator=generator, dtype=torch.float64)
    directions /= directions.norm(dim=0)
    ranked = [(each @ directions).sort(dim=0).values for each in (one, two)]
    return float((ranked[0] - ranked[1]).square().mean().sqrt())


def held_out(
    *, seed: int, device: str, data: str, evaluations: int, budget: int, seen: int, unseen: int
) -> TrialResult:
    """The found schedule and the best by hand, on noise and by a distance of their own; on the
    CPU, where such small problems are fastest.
    """
    bed = Bed(data, seed)
    objective = bed.objective(seen, seed + 1000)
    found = bed.search(objective, evaluations, budget, seed, "s3").decisions
    x, exact = bed.noise(unseen, seed + 2000)
    return TrialResult(
        {
            label: sliced_wasserstein(
                bed.samples(decisions, x), exact, torch.Generator().manual_seed(seed)
            )
            for label, decisions in (
                (OURS, found),
                (BY_HAND, bed.best_by_hand(objective, evaluations)),
            )
        }
    )


def searches(
    *, seed: int, device: str, data: str, evaluations: int, budget: int, seen: int
) -> TrialResult:
    """The same number of evaluated schedules for each strategy, and the same ones to begin with."""
    bed = Bed(data, seed)
    objective = bed.objective(seen, seed + 1000)
    values, curves = {}, []
    for label, strategy in STRATEGIES.items():
        found = bed.search(objective, evaluations, budget, seed, strategy)
        best = torch.tensor([score for _, score in found.history]).cummin(0).values.tolist()
        values[label] = best[-1]
        curves.append(Curve(label, range(1, budget + 1), best))
    return TrialResult(values, curves)


def _works(names: tuple[str, ...], **settings: Any) -> list[dict[str, Any]]:
    return [{"data": name, **settings} for name in names]


QUICK, FULL = ("ring", "random-16"), ("ring", "random-4", "random-16", "random-64")

CLAIMS = (
    *(
        Claim(
            paper=PAPER,
            name=f"found-at-{evaluations}",
            statement=(
                f"With {evaluations} evaluations of the network the schedule that S3 finds makes "
                "samples nearer to the exact flow's, on noise and by a distance that the search "
                "did not see, than the best of the solvers made by hand."
            ),
            metric="sliced Wasserstein distance from the samples of the exact flow",
            better="lower",
            ours=OURS,
            contenders=(BY_HAND,),
            effect=Effect("ratio", 1.0),
            trial=held_out,
            quick=Tier(
                _works(QUICK, evaluations=evaluations, budget=200, seen=64, unseen=128), seeds=5
            ),
            full=Tier(
                _works(FULL, evaluations=evaluations, budget=1000, seen=256, unseen=1024),
                seeds=20,
                timeout=1800,
            ),
        )
        for evaluations in BUDGETS
    ),
    *(
        Claim(
            paper=PAPER,
            name=name,
            statement=(
                "After as many evaluated schedules of 8 steps, the best that the search with the "
                f"predictor came to has a lower error than {than}."
            ),
            metric="mean absolute difference from the exact flow, in the data's unit",
            better="lower",
            ours=OURS,
            contenders=(contender,),
            effect=Effect("ratio", 1.0),
            trial=searches,
            quick=Tier(_works(QUICK, evaluations=8, budget=150, seen=32), seeds=5),
            full=Tier(_works(FULL, evaluations=8, budget=1000, seen=256), seeds=20, timeout=3600),
            axes=Axes("evaluated schedules", "error of the best so far", "log", "log"),
        )
        for name, contender, than in (
            ("sooner-than-chance", "random search", "that of random search"),
            (
                "sooner-than-evolution",
                "evolution alone",
                "that of the same evolution without the predictor",
            ),
        )
    ),
)

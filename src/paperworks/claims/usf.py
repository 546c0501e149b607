"""What the paper of USF says: a schedule that was searched for beats the solvers made by hand, and
the predictor spares evaluations.

The paper searches by the FID of a thousand images of networks trained on images, and judges by that
of fifty thousand. Here the network is the exact score of a Gaussian mixture, or a small one trained
on images. The search sees the mean absolute difference between the samples and those of the exact
flow (or of a hundred steps) from the same noise. Judged is, from noise that the search did not see,
by a distance between distributions: the sliced Wasserstein distance from the samples of the flow,
over 200 directions, or for images the Frechet distance from the data.

Contender of the found schedules is the best solver made by hand: all of
:func:`paperworks.diffusion.usf.by_hand` (DDIM, DEIS, DPM-Solver++ 2M and 3M, UniPC 2 and 3, each at
four spacings of time), of which the one is taken that is best on the search's own data. So both
chose by the same noise and the same error. The tests hold these schedules to the solvers of
diffusers to 1e-10.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
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
IMAGES = ("digits", "mnist")

Model = Callable[[Tensor, Any], Tensor]


class Bed:
    """A mixture, whose network is perfect and whose flow is known."""

    def __init__(self, data: str, seed: int):
        """By its name: "ring", or "random-D" for ten components in D dimensions."""
        self.mixture = (
            GaussianMixture.ring(8)
            if data == "ring"
            else GaussianMixture.random(int(data[7:]), 10, torch.Generator().manual_seed(seed))
        )
        self.schedule: Schedule = DiscreteVP.linear()
        self.model: Model = self.mixture.model(self.schedule)

    def noise(self, count: int, seed: int) -> Tensor:
        """What a sampler starts from."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(count, self.mixture.dim, generator=generator, dtype=torch.float64)

    def exact(self, x: Tensor) -> Tensor:
        """Where the flow takes it."""
        return self.mixture.flow(x, self.schedule, self.schedule.t_max, self.schedule.t_min)

    def judge(self, x: Tensor, many: Sequence[Decisions]) -> list[float]:
        """What the search does not see: how far each one's samples are as a distribution."""
        exact = self.exact(x)
        return [
            sliced_wasserstein(self.samples(each, x), exact, torch.Generator().manual_seed(0))
            for each in many
        ]

    def objective(self, count: int, seed: int) -> OnSamples:
        """What the search sees."""
        x = self.noise(count, seed)
        exact = self.exact(x)
        return OnSamples(self.model, self.schedule, x, lambda y: (y - exact).abs().mean())

    def samples(self, decisions: Decisions, x: Tensor) -> Tensor:
        """Of one schedule."""
        solver = USFSolver(decisions)
        return sample(self.model, self.schedule, x, solver=solver, times=decisions.times).x


class ImageBed(Bed):
    """A small network trained on images: "digits", which ships, or "mnist"."""

    def __init__(self, data: str):
        from paperworks.diffusion.frechet import Features
        from paperworks.diffusion.images import load_images
        from paperworks.diffusion.training import trained

        network = trained(data, device="cpu")
        self.schedule, self.model, self.shape = network.schedule, network, network.shape
        self.features, self.images = Features.load(data), load_images(data).images

    def noise(self, count: int, seed: int) -> Tensor:
        """What a sampler starts from."""
        return torch.randn(count, *self.shape, generator=torch.Generator().manual_seed(seed))

    def exact(self, x: Tensor) -> Tensor:
        """What a hundred steps make of it."""
        return sample(self.model, self.schedule, x, solver="tab3", steps=100).x

    def judge(self, x: Tensor, many: Sequence[Decisions]) -> list[float]:
        """The Frechet distance from the data in the features of their classifier."""
        return [
            self.features.distance(self.samples(each, x).clamp(-1, 1), self.images) for each in many
        ]


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
    bed = ImageBed(data) if data in IMAGES else Bed(data, seed)
    objective = bed.objective(seen, seed + 1000)
    found = search_schedule(objective, bed.schedule, evaluations, budget=budget, seed=seed)
    by_both = (found.decisions, best_by_hand(bed, found, evaluations))
    judged = bed.judge(bed.noise(unseen, seed + 2000), by_both)
    return TrialResult(dict(zip((OURS, BY_HAND), judged, strict=True)))


def best_by_hand(bed: Bed, found: Found, steps: int) -> Decisions:
    """Of the solvers made by hand, which a search evaluates first."""
    scores = dict(found.history)
    return min(
        (each for each in by_hand(bed.schedule, steps).values() if each in scores),
        key=scores.__getitem__,
    )


def searches(
    *, seed: int, device: str, rival: str, data: str, evaluations: int, budget: int, seen: int
) -> TrialResult:
    """As many evaluated schedules for ours and its rival, and the same ones to begin with."""
    bed = Bed(data, seed)
    objective = bed.objective(seen, seed + 1000)
    values, curves = {}, []
    for label in (OURS, rival):
        found = search_schedule(
            objective,
            bed.schedule,
            evaluations,
            budget=budget,
            strategy=STRATEGIES[label],
            seed=seed,
        )
        best = np.minimum.accumulate([score for _, score in found.history])
        values[label] = best[-1]
        curves.append(Curve(label, range(1, budget + 1), best.tolist()))
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
                _works(QUICK, evaluations=evaluations, budget=120, seen=32, unseen=128), seeds=5
            ),
            full=Tier(
                _works(FULL, evaluations=evaluations, budget=600, seen=128, unseen=1024),
                seeds=20,
                timeout=1800,
            ),
        )
        for evaluations in BUDGETS
    ),
    Claim(
        paper=PAPER,
        name="found-for-images",
        statement=(
            "On a network trained on images, the schedule that S3 finds with the distance from a "
            "hundred steps makes images nearer to the data than the best of the solvers made by "
            "hand with as few evaluations does."
        ),
        metric="Frechet distance from the data in the features of a small classifier",
        better="lower",
        ours=OURS,
        contenders=(BY_HAND,),
        effect=Effect("ratio", 1.0),
        trial=held_out,
        full=Tier(
            [
                *(
                    {"data": "digits", "evaluations": n, "budget": 400, "seen": 64, "unseen": 4000}
                    for n in BUDGETS
                ),
                {"data": "mnist", "evaluations": 5, "budget": 200, "seen": 16, "unseen": 1000},
            ],
            seeds=5,
            timeout=7200,
        ),
        requires=("diffusers",),
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
            contenders=(rival,),
            effect=Effect("ratio", 1.0),
            trial=searches,
            quick=Tier(_works(QUICK, rival=rival, evaluations=8, budget=120, seen=32), seeds=5),
            full=Tier(
                _works(FULL, rival=rival, evaluations=8, budget=600, seen=128),
                seeds=20,
                timeout=1800,
            ),
            axes=Axes("evaluated schedules", "error of the best so far", "log", "log"),
        )
        for name, rival, than in (
            ("sooner-than-chance", "random search", "that of random search"),
            (
                "sooner-than-evolution",
                "evolution alone",
                "that of the same evolution without the predictor",
            ),
        )
    ),
)

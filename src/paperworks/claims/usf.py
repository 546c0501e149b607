"""What the paper of USF says: a schedule that was searched for beats the solvers made by hand, and
the predictor spares evaluations.

The paper searches by the FID of a thousand images of networks trained on images, and judges by that
of fifty thousand. Here the network is the exact score of a Gaussian mixture, or a small one trained
on images. The search sees the mean absolute difference between the samples and those of the exact
flow (or of a hundred steps) from the same noise. Judged is, from noise that the search did not see,
by a distance between distributions, and from the data, not from the flow: the sliced Wasserstein
distance from fresh samples of the mixture, over 200 directions, or for images the Fréchet distance
from those that the network was trained on.

The predictor comes in after 60 schedules and then chooses 15 a round: that was set before anything
was run. A first run of the quick tier led to shorter rounds, 48 and 10 (8 at random), which are the
defaults of the library now; here they are a variant, "-in-short-rounds", of the two claims about
the predictor.

Contender of the found schedules is the best solver made by hand: all of
:func:`paperworks.diffusion.usf.by_hand` (DDIM, DEIS, that of diffusers also without the lower
orders at its end, DPM-Solver++ 2M and 3M, UniPC 2 and 3, each at four spacings of time), of which
the one is taken that is best on the search's own data. So both chose by the same noise and the same
error. The tests hold these schedules to the solvers of diffusers to 1e-10.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paperworks.claims._mixtures import build
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
        """By the mixture's name."""
        self.mixture = build(data, seed)
        self.schedule: Schedule = DiscreteVP.linear()
        self.model: Model = self.mixture.model(self.schedule)

    def noise(self, count: int, seed: int) -> Tensor:
        """What a sampler starts from."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(count, self.mixture.dim, generator=generator, dtype=torch.float64)

    def exact(self, x: Tensor) -> Tensor:
        """Where the flow takes it."""
        return self.mixture.flow(x, self.schedule, self.schedule.t_max, self.schedule.t_min)

    def fresh(self, count: int, seed: int) -> Tensor:
        """Of the mixture itself, with the little noise that it has where samplers end."""
        generator, end = torch.Generator().manual_seed(seed), self.schedule.t_min
        data = self.mixture.sample(count, generator)
        noise = torch.randn(data.shape, generator=generator, dtype=torch.float64)
        return float(self.schedule.alpha(end)) * data + float(self.schedule.sigma(end)) * noise

    def judge(self, x: Tensor, many: Sequence[Decisions], seed: int) -> list[float]:
        """What the search does not see: how far each one's samples are as a distribution from
        fresh ones of the data.
        """
        data = self.fresh(len(x), seed)
        return [
            sliced_wasserstein(
                torch.cat([self.samples(each, part) for part in x.split(8192)]),
                data,
                torch.Generator().manual_seed(0),
            )
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

    def judge(self, x: Tensor, many: Sequence[Decisions], seed: int) -> list[float]:
        """The Fréchet distance from the data in the features of their classifier."""
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
    *,
    seed: int,
    device: str,
    data: str,
    evaluations: int,
    budget: int,
    seen: int,
    unseen: int,
    population: int,
    batch: int,
) -> TrialResult:
    """The found schedule and the best by hand, on noise and by a distance of their own; on the
    CPU, where such small problems are fastest.
    """
    bed = ImageBed(data) if data in IMAGES else Bed(data, seed)
    objective = bed.objective(seen, seed + 1000)
    found = search_schedule(
        objective,
        bed.schedule,
        evaluations,
        budget=budget,
        population=population,
        batch=batch,
        seed=seed,
    )
    by_both = (found.decisions, best_by_hand(bed, found, evaluations))
    judged = bed.judge(bed.noise(unseen, seed + 2000), by_both, seed + 3000)
    return TrialResult(dict(zip((OURS, BY_HAND), judged, strict=True)))


def best_by_hand(bed: Bed, found: Found, steps: int) -> Decisions:
    """Of the solvers made by hand, which a search evaluates first."""
    scores = dict(found.history)
    return min(
        (each for each in by_hand(bed.schedule, steps).values() if each in scores),
        key=scores.__getitem__,
    )


def searches(
    *,
    seed: int,
    device: str,
    rival: str,
    data: str,
    evaluations: int,
    budget: int,
    seen: int,
    population: int,
    batch: int,
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
            population=population,
            batch=batch,
            seed=seed,
        )
        best = np.minimum.accumulate([score for _, score in found.history])
        values[label] = best[-1]
        curves.append(Curve(label, range(1, budget + 1), best.tolist()))
    return TrialResult(values, curves)


def _works(names: tuple[str, ...], **settings: Any) -> list[dict[str, Any]]:
    return [{"data": name, **settings} for name in names]


ROUNDS = {"population": 60, "batch": 15}
"""When the predictor comes in, and how many it chooses a round: set before anything was run."""
SHORT = {"population": 48, "batch": 10}
"""After a first run."""
QUICK, FULL = ("ring", "random-16"), ("ring", "random-4", "random-16", "random-64")


def _found(
    name: str, statement: str, metric: str, full: Tier, quick: Tier | None = None, **more: Any
) -> Claim:
    return Claim(
        paper=PAPER,
        name=name,
        statement=statement,
        metric=metric,
        better="lower",
        ours=OURS,
        contenders=(BY_HAND,),
        effect=Effect("ratio", 1.0),
        trial=held_out,
        quick=quick,
        full=full,
        **more,
    )


def _on_mixtures(n: int) -> Claim:
    return _found(
        f"found-at-{n}",
        f"With {n} evaluations of the network the schedule that S3 finds makes samples nearer to "
        "the data, from noise and by a distance that the search did not see, than the best of the "
        "solvers made by hand.",
        "sliced Wasserstein distance from fresh samples of the mixture",
        Tier(
            _works(FULL, evaluations=n, budget=300, seen=64, unseen=65536, **ROUNDS),
            seeds=5,
            timeout=1800,
        ),
        Tier(
            _works(QUICK, evaluations=n, budget=120, seen=32, unseen=16384, **ROUNDS),
            seeds=5,
        ),
    )


def _on_images(name: str, data: str, works: Sequence[dict[str, Any]]) -> Claim:
    return _found(
        name,
        f"On a network trained on {data}, the schedule that S3 finds with the distance from a "
        "hundred steps makes images nearer to the data than the best of the solvers made by hand "
        "with as few evaluations does.",
        "Fréchet distance from the data in the features of a small classifier (not Inception FID)",
        Tier([{"data": data, **work, **ROUNDS} for work in works], seeds=5, timeout=7200),
        requires=("diffusers",),
    )


def _sooner(name: str, rival: str, than: str, rounds: dict[str, int], how: str) -> Claim:
    given = {"rival": rival, "evaluations": 8, **rounds}
    return Claim(
        paper=PAPER,
        name=name,
        statement=(
            "After as many evaluated schedules of 8 steps, the best that the search with the "
            f"predictor came to, {how}, has a lower error than {than}."
        ),
        metric="mean absolute difference from the exact flow, in the data's unit",
        better="lower",
        ours=OURS,
        contenders=(rival,),
        effect=Effect("ratio", 1.0),
        trial=searches,
        quick=Tier(_works(QUICK, budget=120, seen=32, **given), seeds=5),
        full=Tier(_works(FULL, budget=300, seen=64, **given), seeds=5, timeout=1800),
        axes=Axes("evaluated schedules", "error of the best so far", "log", "log"),
    )


_RIVALS = (
    ("sooner-than-chance", "random search", "that of random search"),
    (
        "sooner-than-evolution",
        "evolution alone",
        "that of the same evolution without the predictor",
    ),
)

CLAIMS = (
    *(_on_mixtures(n) for n in BUDGETS),
    *(_sooner(*rival, ROUNDS, "after 60 schedules and 15 a round") for rival in _RIVALS),
    *(
        _sooner(f"{name}-in-short-rounds", rival, than, SHORT, "after 48 schedules and 10 a round")
        for name, rival, than in _RIVALS
    ),
    _on_images(
        "found-for-digits",
        "digits",
        [{"evaluations": n, "budget": 200, "seen": 16, "unseen": 2000} for n in BUDGETS],
    ),
    _on_images(
        "found-for-mnist",
        "mnist",
        [{"evaluations": 5, "budget": 120, "seen": 8, "unseen": 500}],
    ),
)

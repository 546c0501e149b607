"""S3: the search for a solver schedule.

Round after round, changed and crossed copies of the best schedules so far are made, many more than
can be evaluated; a predictor, trained on all that was evaluated, says which of them are; and the
round ends with their true scores. Schedules that are the same sampler are evaluated once
(:func:`function_key`).

A search is a function of its settings and of the scores. So what it keeps on disk is the scores
alone, and going on after a kill is to run again: known scores are taken from the file, and the
search comes to the candidate that it was at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from paperworks.diffusion.schedules import Schedule
from paperworks.diffusion.usf.book import Book, Scored
from paperworks.diffusion.usf.coefficients import function_key
from paperworks.diffusion.usf.decisions import Decisions
from paperworks.diffusion.usf.predictor import RankPredictor
from paperworks.diffusion.usf.presets import by_hand
from paperworks.diffusion.usf.space import FEATURES, Space

STRATEGIES = ("s3", "evolution", "random")
PARENTS = 15
"""How many of the best are changed and crossed: the authors' number."""
CROSSED = 0.3
"""How often two parents are crossed before the change: the authors' odds."""
CHILDREN = 20
"""Candidates that the predictor chooses from, for each that is evaluated."""
BARREN = 5
"""Rounds without a sampler that is new, after which there are none."""


@dataclass(frozen=True)
class Found:
    """What :func:`search_schedule` returns.

    Attributes
    ----------
    decisions : Decisions
        The best.
    score : float
        Its score, on the data of the search.
    history : tuple of (Decisions, float)
        All that was evaluated, in order; a score that was not finite is infinity.
    """

    decisions: Decisions
    score: float
    history: tuple[Scored, ...]

    @property
    def evaluations(self) -> int:
        """How many samplers were evaluated."""
        return len(self.history)


def search_schedule(
    objective: Callable[[Decisions], float],
    schedule: Schedule,
    steps: int,
    *,
    budget: int = 200,
    strategy: str = "s3",
    initial: Iterable[Decisions] | None = None,
    population: int = 48,
    batch: int = 10,
    seed: int = 0,
    jobs: int = 1,
    folder: str | Path | None = None,
    progress: Callable[[int, int, Decisions, float], None] | None = None,
) -> Found:
    """Search for the schedule with the lowest score.

    Parameters
    ----------
    objective : callable
        From :class:`Decisions` to a number, lower is better; the same one for the same decisions.
        :class:`OnSamples` makes one of a model and an error of its samples. What is not finite
        counts as the worst.
    schedule : Schedule
        The noise schedule of the model.
    steps : int
        Of the schedules, and evaluations of the network that a sample takes.
    budget : int
        Samplers to evaluate in all.
    strategy : {"s3", "evolution", "random"}
        The paper's; the same without the predictor; or schedules drawn at random. The last two are
        there to be compared with.
    initial : iterable of Decisions, optional
        Schedules to begin with, from the noise schedule's ``t_max`` to its ``t_min``; by default
        those made by hand (:func:`by_hand`), so that what is found is no worse on the data of the
        search.
    population : int
        Evaluated before the first round: ``initial``, and schedules at random, by default 8.
    batch : int
        Evaluated in a round. The predictor learns once a round.
    seed : int
        All randomness comes from it.
    jobs : int
        Processes that evaluate at the same time, by joblib; -1 for all cores. The result is the
        same for any number. For a model on a GPU leave it at 1.
    folder : str or Path, optional
        Where to keep ``search.json``, the scores, from which a search that was stopped goes on, and
        ``found.json``, the best so far, which :class:`USFScheduler` loads.
    progress : callable, optional
        ``progress(evaluated, budget, best, score)`` after every evaluation.

    Returns
    -------
    Found

    Raises
    ------
    ValueError
        For an unknown strategy, counts that are no whole numbers or too small, ``initial``
        schedules of other lengths or ends, nothing to begin with, a folder with another search, or
        an objective that is finite for no schedule. What the objective raises is passed on.

    Notes
    -----
    Besides the objective, a round costs O(batch) descriptions of candidates times 20, and the
    training of a small network on O(budget**2) pairs: tenths of a second.

    Examples
    --------
    >>> from paperworks.diffusion.mixtures import GaussianMixture
    >>> from paperworks.diffusion.schedules import LinearVP
    >>> from paperworks.diffusion.usf import OnSamples
    >>> mixture, schedule = GaussianMixture.ring(3), LinearVP()
    >>> noise = torch.randn(8, 2, generator=torch.Generator().manual_seed(0)).double()
    >>> exact = mixture.flow(noise, schedule, schedule.t_max, schedule.t_min)
    >>> error = OnSamples(
    ...     mixture.model(schedule), schedule, noise, lambda x: (x - exact).abs().mean()
    ... )
    >>> found = search_schedule(error, schedule, 3, budget=40, population=36)
    >>> found.evaluations, found.score <= found.history[0][1]
    (40, True)
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}; got {strategy!r}")
    least = {"steps": 1, "budget": 1, "batch": 1, "population": 0}
    given = {"steps": steps, "budget": budget, "batch": batch, "population": population}
    for name, value in given.items():
        if not isinstance(value, int) or value < least[name]:
            raise ValueError(f"{name} must be a whole number of {least[name]} or more, got {value}")
    if not isinstance(jobs, int) or jobs == 0:
        raise ValueError(f"jobs must be a whole number other than 0, got {jobs}")
    space = Space(schedule, steps)
    first = list(by_hand(schedule, steps).values() if initial is None else initial)
    for decisions in first:
        _check_initial(decisions, schedule, steps)
    if not first and population == 0:
        raise ValueError(
            "there is nothing to begin with: initial is empty and population is 0; give one of them"
        )
    book = Book(objective, schedule, budget, jobs, folder, progress)
    settings = {
        "schedule": schedule.digest(),
        "steps": steps,
        "strategy": strategy,
        "population": population,
        "batch": batch,
        "seed": seed,
        "initial": [function_key(schedule, each) for each in first],
    }
    with book.open(settings):
        _go(book, space, first, strategy, population, batch, seed)
    decisions, score = min(book.history, key=lambda each: each[1])
    if score == math.inf:
        raise ValueError(
            f"none of the {len(book.history)} evaluated schedules has a finite score: look at "
            "what the objective returns"
        )
    return Found(decisions, score, tuple(book.history))


def _check_initial(decisions: Decisions, schedule: Schedule, steps: int) -> None:
    """Refuse what the search could not change or cross with its own."""
    if len(decisions) != steps:
        raise ValueError(
            f"the search is for {steps} steps, but initial has a schedule of {len(decisions)}"
        )
    start, *_, end = decisions.times
    if not np.allclose([start, end], [schedule.t_max, schedule.t_min], rtol=1e-9, atol=0):
        raise ValueError(
            f"initial must go from {schedule.t_max} to {schedule.t_min}, the ends of the noise "
            f"schedule, but one goes from {start} to {end}: move its ends, or give the noise "
            "schedule those"
        )


def _go(
    book: Book,
    space: Space,
    first: Sequence[Decisions],
    strategy: str,
    population: int,
    batch: int,
    seed: int,
) -> None:
    """Evaluate until the budget is used, or nothing new comes up."""
    book.evaluate(first)
    rng = np.random.default_rng([seed, 0])
    book.evaluate(_new(book, lambda: space.random(rng), population - len(book.scores)))
    predictor = RankPredictor(FEATURES, torch.Generator().manual_seed(seed))
    turn = barren = 0
    while len(book.scores) < book.budget and barren < BARREN:
        turn += 1
        rng = np.random.default_rng([seed, turn])
        if strategy == "random":
            chosen = _new(book, lambda: space.random(rng), batch)  # noqa: B023 (used at once)
        else:
            best = sorted(book.history, key=lambda each: each[1])[:PARENTS]
            breed = _Breeder(space, [decisions for decisions, _ in best], rng)
            if strategy == "evolution":
                chosen = _new(book, breed, batch)
            else:
                learn(predictor, space, book.history)
                children = [breed() for _ in range(CHILDREN * batch)]
                ranked = iter(ranking(predictor, space, children))
                chosen = _new(book, lambda: next(ranked, None), batch)  # noqa: B023
        barren = 0 if chosen else barren + 1
        book.evaluate(chosen)


def learn(predictor: RankPredictor, space: Space, history: Sequence[Scored]) -> None:
    """Train a predictor on what was evaluated."""
    x = torch.from_numpy(space.features([decisions for decisions, _ in history])).float()
    predictor.fit(x, torch.tensor([score for _, score in history]))


def ranking(
    predictor: RankPredictor, space: Space, candidates: Sequence[Decisions]
) -> list[Decisions]:
    """Candidates in the order that the predictor has them, the best first."""
    with torch.no_grad():
        found = predictor(torch.from_numpy(space.features(candidates)).float())
    return [candidates[index] for index in found.argsort(stable=True).tolist()]


class _Breeder:
    """Children of good parents, one a call."""

    def __init__(self, space: Space, parents: Sequence[Decisions], rng: np.random.Generator):
        self.space, self.parents, self.rng = space, parents, rng

    def __call__(self) -> Decisions:
        one, two = self.rng.integers(len(self.parents), size=2)
        parent = self.parents[one]
        if self.rng.random() < CROSSED:
            parent = self.space.cross(parent, self.parents[two], self.rng)
        return self.space.mutate(parent, self.rng)


def _new(book: Book, draw: Callable[[], Decisions | None], count: int) -> list[Decisions]:
    """So many samplers that were not evaluated yet, or as many as come up."""
    found: dict[str, Decisions] = {}
    for _ in range(CHILDREN * max(count, 0)):
        if len(found) == count or (drawn := draw()) is None:
            break
        key = function_key(book.schedule, drawn)
        if key not in book.scores:
            found.setdefault(key, drawn)
    return list(found.values())

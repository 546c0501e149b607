"""S3: the search for a solver schedule (algorithm 1 of the paper).

Round after round, changed and crossed copies of the best schedules so far are made, many more than
can be evaluated; a predictor, trained on all that was evaluated, says which of them are; and the
round ends with their true scores. Schedules that are the same sampler are evaluated once
(:func:`function_key`).

A search is a function of its settings and of the scores. So what it keeps on disk is the scores
alone, and going on after a kill is to run again: known scores are taken from the file, and the
search comes to the candidate that it was at.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed

from paperworks.diffusion.schedules import Schedule
from paperworks.diffusion.usf.coefficients import function_key
from paperworks.diffusion.usf.decisions import Decisions
from paperworks.diffusion.usf.predictor import RankPredictor
from paperworks.diffusion.usf.presets import by_hand
from paperworks.diffusion.usf.space import Space

STRATEGIES = ("s3", "evolution", "random")
PARENTS = 15
"""How many of the best are changed and crossed: the authors' number."""
CROSSED = 0.3
"""How often two parents are crossed before the change: the authors' odds."""
CHILDREN = 20
"""Candidates that the predictor chooses from, for each that is evaluated."""
BARREN = 20
"""Rounds without a sampler that is new, after which there are none."""

Scored = tuple[Decisions, float]


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
    population: int = 60,
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
        Schedules to begin with; by default those made by hand (:func:`by_hand`), so that what is
        found is no worse on the data of the search.
    population : int
        Evaluated before the first round: ``initial``, and schedules at random.
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
        For an unknown strategy, numbers below 1, ``initial`` schedules of other lengths, or a
        folder with another search. What the objective raises is passed on.

    Notes
    -----
    Besides the objective, a round costs O(batch) descriptions of candidates times 20, and the
    training of a small network on O(budget**2) pairs: tenths of a second.

    Examples
    --------
    >>> from paperworks.diffusion.mixtures import GaussianMixture
    >>> from paperworks.diffusion.schedules import LinearVP
    >>> mixture, schedule = GaussianMixture.ring(3), LinearVP()
    >>> noise = torch.randn(8, 2, generator=torch.Generator().manual_seed(0)).double()
    >>> exact = mixture.flow(noise, schedule, schedule.t_max, schedule.t_min)
    >>> error = OnSamples(
    ...     mixture.model(schedule), schedule, noise, lambda x: (x - exact).abs().mean()
    ... )
    >>> found = search_schedule(error, schedule, 3, budget=45, population=35)
    >>> found.evaluations, found.score <= min(score for _, score in found.history[:30])
    (45, True)
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}; got {strategy!r}")
    for name, value in {"steps": steps, "budget": budget, "batch": batch}.items():
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}")
    space = Space(schedule, steps)
    first = list(by_hand(schedule, steps).values() if initial is None else initial)
    for decisions in first:
        if len(decisions) != steps:
            raise ValueError(
                f"the search is for {steps} steps, but initial has a schedule of {len(decisions)}"
            )
    book = _Book(objective, schedule, budget, jobs, folder, progress)
    book.open(
        {
            "schedule": _digest(schedule),
            "steps": steps,
            "strategy": strategy,
            "population": population,
            "batch": batch,
            "seed": seed,
            "initial": [function_key(schedule, each) for each in first],
        }
    )
    book.evaluate(first)
    rng = np.random.default_rng([seed, 0])
    book.evaluate(_new(book, lambda: space.random(rng), population - len(book.scores)))
    predictor = RankPredictor(21, torch.Generator().manual_seed(seed))
    turn = barren = 0
    while len(book.scores) < budget and barren < BARREN:
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
    decisions, score = min(book.history, key=lambda each: each[1])
    return Found(decisions, score, tuple(book.history))


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


def _new(book: _Book, draw: Callable[[], Decisions | None], count: int) -> list[Decisions]:
    """So many samplers that were not evaluated yet, or as many as come up."""
    found: dict[str, Decisions] = {}
    for _ in range(CHILDREN * max(count, 0)):
        if len(found) == count or (drawn := draw()) is None:
            break
        key = function_key(book.schedule, drawn)
        if key not in book.scores:
            found.setdefault(key, drawn)
    return list(found.values())


class _Book:
    """The scores of a search, in memory and on disk."""

    def __init__(
        self,
        objective: Callable[[Decisions], float],
        schedule: Schedule,
        budget: int,
        jobs: int,
        folder: str | Path | None,
        progress: Callable[[int, int, Decisions, float], None] | None,
    ):
        self.objective, self.schedule, self.budget = objective, schedule, budget
        self.jobs, self.progress = jobs, progress
        self.folder = None if folder is None else Path(folder)
        self.scores: dict[str, float] = {}
        self.history: list[Scored] = []
        self._before: dict[str, float] = {}  # by an earlier run
        self._lines: list[str] = []

    def open(self, settings: Mapping[str, Any]) -> None:
        """Take over the scores of an earlier run of the same search."""
        self._settings = json.loads(json.dumps(settings))
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "search.json"
        if not path.exists():
            return
        data = json.loads(path.read_text(encoding="utf-8"))
        for name, value in self._settings.items():
            if data["settings"].get(name) != value:
                raise ValueError(
                    f"{path} is of another search: its {name} is {data['settings'].get(name)!r}, "
                    f"not {value!r}; take another folder"
                )
        for each in data["evaluated"]:
            score = each["score"]
            self._before[each["key"]] = math.inf if score is None else score

    def evaluate(self, candidates: Sequence[Decisions]) -> None:
        """Score those that are new, as far as the budget goes."""
        fresh: dict[str, Decisions] = {}
        for each in candidates:
            key = function_key(self.schedule, each)
            if key not in self.scores and len(self.scores) + len(fresh) < self.budget:
                fresh.setdefault(key, each)
        unknown = [each for key, each in fresh.items() if key not in self._before]
        scores = Parallel(n_jobs=self.jobs, return_as="generator")(
            delayed(_scored)(self.objective, each) for each in unknown
        )
        for key, each in fresh.items():
            known = key in self._before
            score = self._before[key] if known else next(scores)
            better = all(score < other for _, other in self.history)
            self.scores[key] = score
            self.history.append((each, score))
            finite = score if math.isfinite(score) else None
            self._lines.append(json.dumps({"key": key, "score": finite, **each.to_dict()}))
            if self.folder is not None and not known:
                self._save(each if better else None)
            if self.progress is not None:
                best, low = min(self.history, key=lambda each: each[1])
                self.progress(len(self.history), self.budget, best, low)

    def _save(self, best: Decisions | None) -> None:
        assert self.folder is not None  # noqa: S101 (for the type checker)
        listed = ",\n".join(self._lines)
        head = json.dumps(self._settings)
        _write(self.folder / "search.json", f'{{"settings": {head},\n"evaluated": [\n{listed}\n]}}')
        if best is not None:
            _write(self.folder / "found.json", best.to_json())


def _scored(objective: Callable[[Decisions], float], decisions: Decisions) -> float:
    try:
        score = float(objective(decisions))
    except Exception as error:
        error.add_note(f"in the evaluation of the decisions {decisions.to_dict()}")
        raise
    return score if math.isfinite(score) else math.inf


def _write(path: Path, text: str) -> None:
    """A file that is there as a whole or not at all."""
    beside = path.with_suffix(".part")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def _digest(schedule: Schedule) -> str:
    """Of the noise schedule's values."""
    times = np.linspace(schedule.t_min, schedule.t_max, 65)
    values = np.concatenate([times, schedule.alpha(times), schedule.sigma(times)])
    return hashlib.sha256(values.round(9).tobytes()).hexdigest()[:20]

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paperworks.diffusion.mixtures import GaussianMixture
from paperworks.diffusion.schedules import DiscreteVP, LinearVP
from paperworks.diffusion.usf.coefficients import function_key, moves
from paperworks.diffusion.usf.decisions import Decisions
from paperworks.diffusion.usf.objective import OnSamples
from paperworks.diffusion.usf.presets import by_hand, ddim, unipc
from paperworks.diffusion.usf.search import Found, search_schedule
from paperworks.diffusion.usf.space import Space

SCHEDULE = LinearVP()
SMALL: dict[str, Any] = {"budget": 64, "population": 40, "batch": 12}


def objective(decisions: Decisions) -> float:
    """How far a schedule's matrix is from one that is to be found; cheap, and of the function."""
    times = np.array(decisions.times)
    goal = np.linspace(1.0, 0.001, len(times)) ** 1.5
    size = np.abs(moves(SCHEDULE, times, decisions.steps)).sum(1) / np.abs(
        np.diff(SCHEDULE.rho(times))
    )
    return float(np.abs(times - goal).sum() + np.abs(size - 1.7).sum())


class Counted:
    def __init__(self, stop: int | None = None):
        self.seen: list[str] = []
        self.stop = stop

    def __call__(self, decisions: Decisions) -> float:
        if len(self.seen) == self.stop:
            raise KeyboardInterrupt
        self.seen.append(function_key(SCHEDULE, decisions))
        return objective(decisions)


@pytest.mark.parametrize("strategy", ["s3", "evolution", "random"])
def test_a_search_is_a_function_of_its_settings(strategy: str) -> None:
    counted = Counted()
    found = search_schedule(counted, SCHEDULE, 4, strategy=strategy, **SMALL)
    assert found.evaluations == len(counted.seen) == 64
    assert len(set(counted.seen)) == 64  # equal samplers once
    assert found.score == min(score for _, score in found.history) == objective(found.decisions)
    best_by_hand = min(objective(each) for each in by_hand(SCHEDULE, 4).values())
    assert found.score <= best_by_hand
    again = search_schedule(objective, SCHEDULE, 4, strategy=strategy, **SMALL)
    assert again == found
    other = search_schedule(objective, SCHEDULE, 4, strategy=strategy, seed=1, **SMALL)
    assert other.history[:20] == found.history[:20]  # those made by hand
    assert other.history[40:] != found.history[40:]


def test_learning_finds_more_than_chance() -> None:
    # From chance alone: one of those made by hand is nearly the best there is.
    given: dict[str, Any] = {"initial": [], "population": 40, "budget": 105}
    scores = {
        strategy: [
            search_schedule(objective, SCHEDULE, 5, strategy=strategy, seed=seed, **given).score
            for seed in range(2)
        ]
        for strategy in ("s3", "random")
    }
    assert max(scores["s3"]) < min(scores["random"])


@pytest.fixture(scope="module")
def whole() -> Found:
    """A search that nothing interrupts."""
    return search_schedule(objective, SCHEDULE, 4, **SMALL)


@pytest.mark.parametrize("stop", [3, 53])
def test_a_search_that_was_stopped_goes_on(tmp_path: Path, whole: Found, stop: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        search_schedule(Counted(stop), SCHEDULE, 4, folder=tmp_path, **SMALL)
    kept = json.loads((tmp_path / "search.json").read_text())
    assert len(kept["evaluated"]) == stop
    counted = Counted()
    found = search_schedule(counted, SCHEDULE, 4, folder=tmp_path, **SMALL)
    assert found == whole
    # One is evaluated again, to see whether the objective is the same.
    assert len(counted.seen) == 64 - stop + 1
    assert Decisions.load(tmp_path / "found.json") == found.decisions
    # And a larger budget goes on from there.
    more = Counted()
    longer = search_schedule(more, SCHEDULE, 4, folder=tmp_path, **{**SMALL, "budget": 70})
    assert len(more.seen) == 6 + 1
    assert longer.history[:64] == found.history
    assert not list(tmp_path.glob("*.part"))


def test_what_was_found_never_gets_worse(tmp_path: Path, whole: Found) -> None:
    search_schedule(objective, SCHEDULE, 4, folder=tmp_path, **SMALL)

    def stop(done: int, *told: Any) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_schedule(objective, SCHEDULE, 4, folder=tmp_path, progress=stop, **SMALL)
    assert Decisions.load(tmp_path / "found.json") == whole.decisions
    fewer = search_schedule(objective, SCHEDULE, 4, folder=tmp_path, **{**SMALL, "budget": 10})
    assert fewer.score > whole.score
    assert Decisions.load(tmp_path / "found.json") == whole.decisions
    # A kill between the scores and the best leaves that behind; it is mended.
    fewer.decisions.save(tmp_path / "found.json")
    search_schedule(objective, SCHEDULE, 4, folder=tmp_path, **{**SMALL, "budget": 10})
    assert Decisions.load(tmp_path / "found.json") == whole.decisions


@pytest.mark.parametrize("name", ["search", "found"])
def test_a_kill_while_writing_leaves_the_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    search_schedule(objective, SCHEDULE, 4, folder=tmp_path, budget=20)

    def killed(self: Path, content: bytes) -> None:
        mine = self.name.startswith(name)
        with self.open("wb") as file:
            file.write(content[: len(content) // 2] if mine else content)
        if mine:
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        search_schedule(objective, SCHEDULE, 4, folder=tmp_path, budget=30)
    assert len(json.loads((tmp_path / "search.json").read_text())["evaluated"]) == 20
    assert len(Decisions.load(tmp_path / "found.json")) == 4


@pytest.mark.slow
def test_many_processes_find_the_same() -> None:
    alone = search_schedule(objective, SCHEDULE, 3, budget=44, population=36)
    assert search_schedule(objective, SCHEDULE, 3, budget=44, population=36, jobs=2) == alone


def test_progress_is_told() -> None:
    told: list[tuple[int, int, float]] = []
    found = search_schedule(
        objective, SCHEDULE, 3, budget=40,
        progress=lambda done, budget, best, score: told.append((done, budget, score)),
    )  # fmt: skip
    assert [(done, budget) for done, budget, _ in told] == [(i + 1, 40) for i in range(40)]
    assert told[-1][2] == found.score
    assert all(a[2] >= b[2] for a, b in itertools.pairwise(told))


def test_a_budget_below_the_schedules_to_begin_with() -> None:
    assert search_schedule(objective, SCHEDULE, 3, budget=5).evaluations == 5


def test_one_step_is_one_sampler() -> None:
    found = search_schedule(objective, SCHEDULE, 1, budget=50)
    assert found.evaluations == 1
    assert function_key(SCHEDULE, found.decisions) == function_key(SCHEDULE, ddim([1.0, 0.001]))


def test_what_is_not_finite_is_the_worst(tmp_path: Path) -> None:
    def broken(decisions: Decisions) -> float:
        return math.nan if decisions.steps[1].prediction == "data" else objective(decisions)

    settings = {"budget": 45, "population": 40}
    found = search_schedule(broken, SCHEDULE, 3, folder=tmp_path, **settings)
    assert math.isfinite(found.score)
    assert math.inf in {score for _, score in found.history}
    assert "NaN" not in (tmp_path / "search.json").read_text()
    assert search_schedule(broken, SCHEDULE, 3, folder=tmp_path, **settings) == found


def test_an_objective_that_raises_is_named_with_its_decisions() -> None:
    def broken(decisions: Decisions) -> float:
        raise RuntimeError("no more memory")

    with pytest.raises(RuntimeError, match="no more memory") as caught:
        search_schedule(broken, SCHEDULE, 3)
    assert "decisions {'times': [1" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"strategy": "annealing"}, "strategy must be one of s3, evolution, random; got 'ann"),
        ({"steps": 0}, "steps must be a whole number of 1 or more, got 0"),
        ({"budget": 0}, "budget must be a whole number of 1 or more, got 0"),
        ({"batch": 0}, "batch must be a whole number of 1 or more, got 0"),
        ({"budget": 2.5}, "budget must be a whole number of 1 or more, got 2.5"),
        ({"population": -1}, "population must be a whole number of 0 or more, got -1"),
        ({"jobs": 0}, "jobs must be a whole number other than 0, got 0"),
        ({"initial": [], "population": 0}, "nothing to begin with: initial is empty"),
        ({"initial": [ddim([1.0, 0.5, 0.001])]}, "for 3 steps, but initial has a schedule of 2"),
        ({"initial": [ddim([1.0, 0.5, 0.2, 0.01])]},
         "initial must go from 1.0 to 0.001, the ends of the noise schedule, .* from 1.0 to 0.01"),
        ({"initial": [ddim([0.9, 0.5, 0.2, 0.001])]}, "initial must .* goes from 0.9 to 0.001"),
    ],
)  # fmt: skip
def test_bad_requests(changes: dict[str, Any], match: str) -> None:
    given = {"steps": 3, **changes}
    with pytest.raises(ValueError, match=match):
        search_schedule(objective, SCHEDULE, given.pop("steps"), **given)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"seed": 1}, "is of another search: its seed is 0, not 1; take another folder"),
        ({"steps": 4}, "its steps is 3, not 4"),
        ({"strategy": "random"}, "its strategy is 's3', not 'random'"),
        ({"schedule": LinearVP(0.1, 19.0)}, "its schedule is"),
        ({"initial": [unipc([1.0, 0.5, 0.2, 0.001])]}, "its initial is"),
    ],
)
def test_the_folder_of_another_search(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    search_schedule(objective, SCHEDULE, 3, folder=tmp_path, budget=2)
    given = {"schedule": SCHEDULE, "steps": 3, "budget": 2, **changes}
    with pytest.raises(ValueError, match=match):
        search_schedule(
            objective, given.pop("schedule"), given.pop("steps"), folder=tmp_path, **given
        )


def test_the_folder_of_another_objective(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"folder": tmp_path, "budget": 4}
    found = search_schedule(objective, SCHEDULE, 3, **settings)
    match = r"search\.json is of another objective: its first schedule has the score"
    for other in (lambda d: objective(d) * 1.01, lambda d: math.nan):
        with pytest.raises(ValueError, match=match):
            search_schedule(other, SCHEDULE, 3, **settings)
    # Rounding alone is no other objective.
    assert search_schedule(lambda d: objective(d) * (1 + 1e-6), SCHEDULE, 3, **settings) == found


def test_children_come_of_two_parents_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    crossed: list[tuple[Decisions, Decisions]] = []
    mutated: list[Decisions] = []
    cross, mutate = Space.cross, Space.mutate

    def counted(self: Space, one: Decisions, two: Decisions, rng: np.random.Generator) -> Decisions:
        crossed.append((one, two))
        return cross(self, one, two, rng)

    def changed(self: Space, decisions: Decisions, rng: np.random.Generator) -> Decisions:
        mutated.append(decisions)
        return mutate(self, decisions, rng)

    monkeypatch.setattr(Space, "cross", counted)
    monkeypatch.setattr(Space, "mutate", changed)
    found = search_schedule(
        objective, SCHEDULE, 4, strategy="evolution", budget=160, population=40, batch=40
    )
    assert 0.2 < len(crossed) / len(mutated) < 0.4
    assert sum(one != two for one, two in crossed) > 0.8 * len(crossed)
    # And what is crossed is what is changed: no parent, most of the time.
    known = {each for each, _ in found.history}
    assert sum(each not in known for each in mutated) > 0.1 * len(mutated)


def test_a_folder_takes_one_search_at_a_time(tmp_path: Path) -> None:
    def twice(decisions: Decisions) -> float:
        with pytest.raises(RuntimeError, match="another process searches in"):
            search_schedule(objective, SCHEDULE, 3, budget=2, folder=tmp_path)
        return objective(decisions)

    search_schedule(twice, SCHEDULE, 3, budget=1, folder=tmp_path)
    assert search_schedule(objective, SCHEDULE, 3, budget=2, folder=tmp_path).evaluations == 2


def test_an_objective_that_is_never_finite() -> None:
    with pytest.raises(ValueError, match="none of the 3 evaluated schedules has a finite score"):
        search_schedule(lambda decisions: math.nan, SCHEDULE, 3, budget=3)


# On samples --------------------------------------------------------------------------------------


def noise() -> Tensor:
    return torch.randn(8, 2, generator=torch.Generator().manual_seed(0)).double()


def test_on_samples_a_search_beats_those_made_by_hand() -> None:
    schedule, mixture = DiscreteVP.linear(), GaussianMixture.ring(3)
    exact = mixture.flow(noise(), schedule, schedule.t_max, schedule.t_min)
    error = OnSamples(
        mixture.model(schedule), schedule, noise(), lambda x: (x - exact).abs().mean()
    )
    found = search_schedule(error, schedule, 4, budget=90)
    by_hand_best = min(error(each) for each in by_hand(schedule, 4).values())
    assert found.score < 0.8 * by_hand_best
    assert error(found.decisions) == found.score


def test_samples_without_bounds_are_the_worst_and_nan_raises() -> None:
    decisions = ddim([1.0, 0.5, 0.001])

    def growing(x: Tensor, t: float) -> Tensor:
        return torch.full_like(x, -3e38)

    def broken(x: Tensor, t: float) -> Tensor:
        return x * torch.nan

    far = OnSamples(growing, SCHEDULE, noise().float(), lambda x: x.abs().mean())
    assert far(decisions) == math.inf
    with pytest.raises(ValueError, match="NaN or infinite at step 1 of 2"):
        OnSamples(broken, SCHEDULE, noise(), lambda x: x.abs().mean())(decisions)


@pytest.mark.parametrize("prediction", ["sample", "v_prediction"])
def test_on_samples_of_any_prediction(prediction: Any) -> None:
    mixture = GaussianMixture.ring(3)
    scores = [
        OnSamples(
            mixture.model(SCHEDULE, each), SCHEDULE, noise(), lambda x: x.norm(dim=1).mean(), each
        )(unipc([1.0, 0.5, 0.1, 0.001]))
        for each in ("epsilon", prediction)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-7)

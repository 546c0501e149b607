from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from paperworks.experiment import Tier
from paperworks.experiment.runner import Finished, execute, extra_with, missing, plan, verdict
from paperworks.experiment.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results.sqlite")


def statuses(finished: list[Finished]) -> list[tuple[str, int, str, bool]]:
    return sorted(
        (each.trial.claim.name, each.trial.seed, each.outcome.status, each.stored)
        for each in finished
    )


def test_plan_takes_every_work_and_seed(toys: ModuleType) -> None:
    tier = Tier(works=({"factor": 2.0}, {"factor": 3.0}), seeds=5)
    claims = [toys.claim(toys.steady, quick=tier), toys.claim(toys.slow, full=Tier(), quick=None)]
    trials = plan(claims, tier="quick")
    assert [(t.work["factor"], t.seed) for t in trials] == [
        (factor, seed) for seed in range(5) for factor in (2.0, 3.0)
    ]
    assert len(plan(claims, tier="full", seeds=7)) == 7
    assert len({trial.key for trial in trials}) == 10
    with pytest.raises(ValueError, match="seeds must be >= 1, got 0"):
        plan(claims, seeds=0)


def test_a_fixed_trial_keeps_one_seed(toys: ModuleType) -> None:
    fixed = toys.claim(toys.steady, random=False, quick=Tier(seeds=1))
    assert len(plan([fixed], seeds=9)) == 1


@pytest.mark.parametrize("jobs", [1, 2])
def test_failures_cost_themselves_alone(toys: ModuleType, store: Store, jobs: int) -> None:
    claims = [toys.claim(toys.partly_raising), toys.claim(toys.segfaulting)]
    finished = list(execute(plan(claims), store, jobs=jobs))
    assert statuses(finished) == sorted(
        [("partly_raising", seed, "error" if seed == 3 else "ok", False) for seed in range(5)]
        + [("segfaulting", seed, "crashed", False) for seed in range(5)]
    )
    pairs = [(each.trial.key, each.outcome) for each in finished]
    partly = verdict(claims[0], [p for p in pairs if p[0].claim == claims[0].id])
    assert (partly.conclusion, partly.reason) == ("inconclusive", "1 of 5 trials failed")


def test_an_interrupted_run_goes_on_where_it_stopped(
    toys: ModuleType, store: Store, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    claim = toys.claim(toys.steady, quick=Tier(works=({"count": str(calls)},), seeds=6))
    first = execute(plan([claim]), store)
    next(first), next(first)
    first.close()
    done = len(store.find(claim.id, plan([claim])[0].fingerprint))
    assert 2 <= done < 6

    second = list(execute(plan([claim]), store))
    assert [each.stored for each in second] == [True] * done + [False] * (6 - done)
    assert all(each.stored for each in execute(plan([claim]), store))
    before = len(list(calls.iterdir()))
    assert not any(each.stored for each in execute(plan([claim]), store, fresh=True))
    assert len(list(calls.iterdir())) == before + 6


@pytest.mark.parametrize(("tier", "jobs"), [("quick", 1), ("full", 1), ("full", 2)])
def test_figures_of_the_quick_tier_do_not_depend_on_jobs(
    toys: ModuleType, store: Store, tier: str, jobs: int
) -> None:
    claim = toys.claim(toys.threads, random=False, quick=Tier(seeds=1), full=Tier(seeds=1))
    (finished,) = execute(plan([claim], tier=tier), store, jobs=jobs)
    assert finished.outcome.result is not None
    share = max((os.cpu_count() or 1) // jobs, 1)
    assert finished.outcome.result.values["ours"] == (1 if tier == "quick" else share)


def test_claims_that_ask_for_the_same_trial_share_it(
    toys: ModuleType, store: Store, tmp_path: Path
) -> None:
    same = Tier(works=({"count": str(tmp_path)},), seeds=5)
    wide = toys.claim(toys.steady, quick=same)
    narrow = toys.claim(toys.steady, quick=same, name="narrow", contenders=("theirs",))
    patient = toys.claim(toys.steady, quick=replace(same, timeout=61.0), name="patient")

    def runs() -> int:
        return len(list(tmp_path.glob("*-*")))

    alone = list(execute(plan([narrow], seeds=2), store))
    finished = list(execute(plan([wide, narrow]), store))
    assert statuses(finished) == [
        (name, seed, "ok", seed < 2) for name in ("narrow", "steady") for seed in range(5)
    ]
    assert runs() == 5  # the two of the first call too
    values = {(each.trial.claim.name, each.trial.seed): each.outcome for each in finished}
    assert all(values["narrow", seed] == values["steady", seed] for seed in range(5))
    assert values["steady", 0] == alone[0].outcome
    assert all(len(store.find(claim.id)) == 5 for claim in (wide, narrow))
    list(execute(plan([patient], seeds=1), store))
    assert runs() == 6  # another limit is another trial
    list(execute(plan([wide, narrow], seeds=1), store, fresh=True))
    assert runs() == 7


def test_a_shared_trial_is_held_against_every_claim(toys: ModuleType, store: Store) -> None:
    claims = [toys.claim(toys.steady), toys.claim(toys.steady, name="lost", contenders=("hers",))]
    finished = list(execute(plan(claims, seeds=1), store))
    assert statuses(finished) == [("lost", 0, "error", False), ("steady", 0, "ok", False)]
    again = list(execute(plan(claims, seeds=1), store))
    assert statuses(again) == [("lost", 0, "error", True), ("steady", 0, "ok", True)]
    assert "no value for 'hers'" in again[-1].outcome.error


def test_failed_trials_are_run_again(toys: ModuleType, store: Store) -> None:
    claim = toys.claim(toys.partly_raising)
    list(execute(plan([claim]), store))
    again = list(execute(plan([claim]), store))
    assert [each.trial.seed for each in again if not each.stored] == [3]


def test_other_code_does_not_answer(
    toys: ModuleType, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = toys.claim(toys.steady)
    list(execute(plan([claim], seeds=1), store))
    monkeypatch.setattr("paperworks.experiment.runner.fingerprint", lambda claim: "other code")
    assert [each.stored for each in execute(plan([claim], seeds=1), store)] == [False]


def test_closing_kills_what_runs(toys: ModuleType, store: Store, tmp_path: Path) -> None:
    from tests_helpers import gone

    pid_file = tmp_path / "pid"
    tier = Tier(works=({"pid_file": str(pid_file)},), timeout=60)
    quick = toys.claim(toys.steady)
    hanging = toys.claim(toys.hanging, quick=tier)
    running = execute(plan([quick, hanging], seeds=1), store, jobs=2)
    assert next(running).trial.claim.name == "steady"
    while not pid_file.exists():
        os.sched_yield()
    running.close()
    assert gone(int(pid_file.read_text()))
    assert store.find(hanging.id, plan([hanging])[0].fingerprint) == []


def test_bad_settings_are_named(toys: ModuleType, store: Store) -> None:
    trials = plan([toys.claim(toys.steady)])
    with pytest.raises(ValueError, match="jobs must be >= 1, got 0"):
        next(execute(trials, store, jobs=0))
    with pytest.raises(ValueError, match="engine must be one of local, ray, got 'cloud'"):
        next(execute(trials, store, engine="cloud"))


def test_missing_libraries_are_named(toys: ModuleType) -> None:
    claim = toys.claim(toys.steady, requires=("numpy", "no-such-library"))
    assert missing(claim) == ("no-such-library",)


def test_the_extra_that_brings_a_library_is_known() -> None:
    assert [extra_with(name) for name in ("POT", "pot", "transformers")] == [
        "bench",
        "bench",
        "llm",
    ]
    with pytest.raises(ValueError, match="no extra of paperworks brings 'no-such-library'"):
        extra_with("no-such-library")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ray_runs_the_same_trials(
    toys: ModuleType, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    # By default Ray's workers give way to all else, such as the tests that run beside this one.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    # Workers find the toys as a user's own modules would be found: on their path.
    path = os.pathsep.join([str(Path(toys.__file__).parent), os.environ.get("PYTHONPATH", "")])
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )
    try:
        claims = [toys.claim(toys.steady), toys.claim(toys.partly_raising)]
        through_ray = list(execute(plan(claims, seeds=4), store, jobs=2, engine="ray"))
    finally:
        ray.shutdown()
    local = list(execute(plan(claims, seeds=4), store, jobs=2, fresh=True))
    assert statuses(through_ray) == statuses(local)

    def values(finished: list[Finished]) -> dict:
        return {each.trial.key: each.outcome.result for each in finished}

    assert values(through_ray) == values(local)

"""Plan the trials of claims, run what the store does not have yet, and judge.

joblib sends the trials out: to threads of this process, each of which waits on one isolated
process at a time, or through its Ray backend to a cluster, whose workers do the same.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import threading
import warnings
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import joblib

from paperworks.engines import ENGINES, ray_results
from paperworks.experiment.claim import Claim
from paperworks.experiment.fingerprint import fingerprint
from paperworks.experiment.isolation import preload, run_isolated
from paperworks.experiment.machine import describe
from paperworks.experiment.store import Store
from paperworks.experiment.trial import Outcome, Trial, TrialKey
from paperworks.experiment.verdict import Verdict, judge


@dataclass(frozen=True)
class Finished:
    """A trial with its outcome; ``stored`` tells that an earlier run had it already."""

    trial: Trial
    outcome: Outcome
    stored: bool


def missing(claim: Claim) -> tuple[str, ...]:
    """The distributions that the claim requires and that are not installed."""

    def absent(name: str) -> bool:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return True
        return False

    return tuple(name for name in claim.requires if absent(name))


def extra_with(distribution: str) -> str:
    """The extra of this package that brings a distribution, from the package's own metadata.

    Of several the smallest: an extra for developers brings everything.
    """
    brings: dict[str, set[str]] = {}
    for line in importlib.metadata.requires("paperworks") or ():
        found = re.match(r"""([\w.-]+).*extra == ['"]([\w-]+)['"]""", line)
        if found:
            brings.setdefault(found[2], set()).add(found[1].lower())
    able = [extra for extra, names in brings.items() if distribution.lower() in names]
    if not able:
        raise ValueError(
            f"no extra of paperworks brings {distribution!r}; add it to pyproject.toml"
        )
    return min(able, key=lambda extra: len(brings[extra]))


def plan(
    claims: Iterable[Claim], *, tier: str = "quick", seeds: int | None = None, device: str = "cpu"
) -> list[Trial]:
    """All trials of the claims in one tier, seed by seed, so that every claim advances early.

    Parameters
    ----------
    claims : iterable of Claim
        Claims without this tier are left out.
    tier : {"quick", "full"}
    seeds : int or None
        How many seeds, in place of the tier's own. Trials that are not random keep one.
    device : {"cpu", "cuda"}

    Raises
    ------
    ValueError
        If ``seeds`` is below 1 or ``tier`` is unknown.
    """
    if seeds is not None and seeds < 1:
        raise ValueError(f"seeds must be >= 1, got {seeds}")
    trials = []
    for claim in claims:
        limits = claim.tier(tier)
        if limits is None:
            continue
        count = limits.seeds if seeds is None or not claim.random else seeds
        code = fingerprint(claim)
        trials += [
            Trial(claim, tier, work, seed, device, code)
            for seed in range(count)
            for work in limits.works
        ]
    return sorted(trials, key=lambda trial: trial.seed)


def execute(
    trials: Sequence[Trial],
    store: Store,
    *,
    jobs: int = 1,
    engine: str = "local",
    fresh: bool = False,
) -> Generator[Finished]:
    """Run the trials and yield each one as it ends, after it was stored.

    Trials that the store has with a result are yielded first and not run again; those that
    failed before are run again. Claims that ask for the same trial share one run of it. Closing
    the iterator, or Ctrl-C, ends the running processes; what had finished is in the store.

    Parameters
    ----------
    trials : sequence of Trial
    store : Store
    jobs : int
        How many trials run at once. Those of the quick tier have one thread each: more would not
        speed them up, and sums in another order give other figures, so that these would depend on
        ``jobs``. Those of the full tier share the cores.
    engine : {"local", "ray"}
        "ray" uses the cluster that ``RAY_ADDRESS`` names, or starts one on this machine.
    fresh : bool
        Run everything again, whatever the store has.

    Raises
    ------
    ValueError
        If ``jobs`` is below 1 or ``engine`` is unknown.
    ModuleNotFoundError
        If the engine is "ray" and the extra is not installed.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be >= 1, got {jobs}")
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    together: dict[Any, list[Trial]] = {}
    for trial in trials:
        together.setdefault(trial.measurement, []).append(trial)
    waiting = []
    for sharing in together.values():
        found = [None if fresh else store.get(trial.key) for trial in sharing]
        records = [each if each and each.outcome.status == "ok" else None for each in found]
        known = next(filter(None, records), None)
        if known is None:
            waiting.append(sharing)
            continue
        for trial, record in zip(sharing, records, strict=True):
            outcome = record.outcome if record else _accepted(trial, known.outcome)
            if record is None:
                store.put(trial.key, outcome, known.machine)
            yield Finished(trial, outcome, stored=True)
    if not waiting:
        return
    run = _local if engine == "local" else _ray
    outcomes = run([sharing[0] for sharing in waiting], jobs)
    try:
        for index, ended in outcomes:
            for trial in waiting[index]:
                outcome = _accepted(trial, ended)
                store.put(trial.key, outcome, describe(trial.device))
                yield Finished(trial, outcome, stored=False)
    finally:
        outcomes.close()


def _accepted(trial: Trial, outcome: Outcome) -> Outcome:
    """A shared outcome, as it counts for the claim of one trial."""
    if outcome.result is not None:
        try:
            trial.claim.accept(outcome.result)
        except ValueError as error:
            return Outcome("error", outcome.seconds, outcome.memory, error=str(error))
    return outcome


def _local(trials: Sequence[Trial], jobs: int) -> Generator[tuple[int, Outcome]]:
    preload({trial.claim.trial.__module__ for trial in trials})
    stop = threading.Event()
    outcomes = joblib.Parallel(
        n_jobs=jobs,
        backend="threading",
        return_as="generator_unordered",
        batch_size=1,
        pre_dispatch=jobs,
    )(joblib.delayed(_run)(index, trial, jobs, stop) for index, trial in enumerate(trials))
    try:
        for index, outcome in outcomes:
            if outcome is not None:
                yield index, outcome
    finally:
        stop.set()  # the waiting threads end their processes
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # joblib warns of the tasks that are cancelled here
            outcomes.close()


def _ray(trials: Sequence[Trial], jobs: int) -> Generator[tuple[int, Outcome]]:
    tasks = [joblib.delayed(_run)(index, trial, jobs) for index, trial in enumerate(trials)]
    yield from ray_results(tasks, jobs)


def _run(
    index: int, trial: Trial, jobs: int, stop: threading.Event | None = None
) -> tuple[int, Any]:
    """One trial in its own process. The index comes back, since a trial would as a copy."""
    outcome = run_isolated(
        trial.claim.run,
        {"work": trial.work, "seed": trial.seed, "device": trial.device},
        timeout=trial.limits.timeout,
        memory=trial.limits.memory,
        threads=1 if trial.tier == "quick" else max(1, (os.cpu_count() or 1) // jobs),
        stop=stop,
    )
    return index, outcome


def verdict(claim: Claim, finished: Iterable[tuple[TrialKey, Outcome]]) -> Verdict:
    """The verdict on one claim from its trials that ended, with a result or without."""
    results, failed = {}, 0
    for key, outcome in finished:
        if outcome.result is None:
            failed += 1
        else:
            results[key.work, key.seed] = outcome.result
    return judge(claim, results, failed=failed)

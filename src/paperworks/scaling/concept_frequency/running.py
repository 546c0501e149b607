"""Parts counted one after another, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from paperworks.engines import ray_results
from paperworks.scaling.concept_frequency.matcher import Matcher
from paperworks.scaling.concept_frequency.parts import Part
from paperworks.scaling.concept_frequency.tally import Settings, Tally, count_part

BACKENDS = ("loky", "ray")
_WAVE = 4
"""Parts per worker that are handed to Ray at once."""


def run_parts(
    parts: Sequence[Part], waiting: Sequence[int], settings: Settings, n_jobs: int, backend: str
) -> Iterator[tuple[int, Tally]]:
    """(number, tally) of the parts that wait, as they end."""
    if not waiting:
        return
    if n_jobs == 1 and backend == "loky":
        matcher = Matcher(settings.concepts, match=settings.match, lemmas=settings.lemmas)
        for number in waiting:
            yield number, count_part(parts[number], settings, matcher)
        return
    import joblib

    if backend == "loky":
        # A loky worker keeps its imports, so that compiled code is loaded once.
        running = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)
        yield from running(joblib.delayed(_one)(i, parts[i], settings) for i in waiting)
        return
    tasks = [joblib.delayed(_one)(i, parts[i], settings) for i in waiting]
    yield from ray_results(tasks, n_jobs, per_worker=_WAVE)


_kept: dict[Any, Matcher] = {}


def _one(number: int, part: Part, settings: Settings) -> tuple[int, Tally]:
    """One part in a worker, which keeps its last matcher: words learnt stay learnt."""
    key = (settings.concepts, settings.match, settings.lemmas)
    if key not in _kept:
        _kept.clear()
        _kept[key] = Matcher(settings.concepts, match=settings.match, lemmas=settings.lemmas)
    return number, count_part(part, settings, _kept[key])

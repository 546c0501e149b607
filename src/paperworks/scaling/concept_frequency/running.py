"""Parts counted one after another, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

from paperworks.scaling.concept_frequency.matcher import Matcher
from paperworks.scaling.concept_frequency.parts import Part
from paperworks.scaling.concept_frequency.tally import Settings, Tally, count_part

BACKENDS = ("loky", "ray")
_WAVE = 4
"""Parts per job that are handed to Ray at once: its joblib backend returns when all have ended."""


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
    try:
        import ray
        from ray.util.joblib import register_ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the ray backend needs the extra: pip install 'paperworks[ray]'"
        ) from error
    register_ray()
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    jobs = n_jobs if n_jobs > 0 else int(ray.cluster_resources().get("CPU", os.cpu_count() or 1))
    with joblib.Parallel(n_jobs=jobs, backend="ray", batch_size=1) as parallel:
        for start in range(0, len(waiting), _WAVE * jobs):
            wave = waiting[start : start + _WAVE * jobs]
            yield from parallel(joblib.delayed(_one)(i, parts[i], settings) for i in wave)


_kept: dict[Any, Matcher] = {}


def _one(number: int, part: Part, settings: Settings) -> tuple[int, Tally]:
    """One part in a worker, which keeps its last matcher: words learnt stay learnt."""
    key = (settings.concepts, settings.match, settings.lemmas)
    if key not in _kept:
        _kept.clear()
        _kept[key] = Matcher(settings.concepts, match=settings.match, lemmas=settings.lemmas)
    return number, count_part(part, settings, _kept[key])

"""Where parallel work runs beyond this process: joblib's Ray backend, set up in one place."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Sequence
from typing import Any

import joblib

ENGINES = ("local", "ray")


def ray_parallel(jobs: int, *, restarts: int = 0) -> joblib.Parallel:
    """A ``joblib.Parallel`` whose workers are processes of a Ray cluster.

    The cluster is the one that ``RAY_ADDRESS`` names, or one started on this machine. Results
    come back only when all tasks of a call have ended; see :func:`ray_results`.

    Parameters
    ----------
    jobs : int
        Workers, at most as many as the cluster has CPUs; -1 for all.
    restarts : int
        How often a worker that died is started anew and its task run again, on another machine if
        need be. Default 0: the call fails.

    Raises
    ------
    ModuleNotFoundError
        If the extra is not installed.
    """
    try:
        import ray
        from ray.util.joblib import register_ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the ray engine needs the extra: pip install 'paperworks[ray]'"
        ) from error
    register_ray()
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        options: dict[str, Any] = {} if address else {"include_dashboard": False}
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **options,
        )
    again = {"max_restarts": restarts, "max_task_retries": restarts} if restarts else {}
    return joblib.Parallel(n_jobs=jobs, backend="ray", batch_size=1, ray_remote_args=again or None)


def ray_results(
    tasks: Sequence[Any], jobs: int, *, per_worker: int = 1, restarts: int = 0
) -> Generator[Any]:
    """The results of ``joblib.delayed`` tasks on a cluster, in order, some tasks at a time.

    An interruption then loses those alone. With more of them for each worker (``per_worker``)
    tasks that differ in length even out. ``jobs`` and ``restarts`` as of :func:`ray_parallel`.
    """
    with ray_parallel(jobs, restarts=restarts) as parallel:
        wave = per_worker * parallel._effective_n_jobs()
        for start in range(0, len(tasks), wave):
            yield from parallel(tasks[start : start + wave])

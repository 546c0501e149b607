"""What a user may set: checked, and turned into what the loop works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from paperworks.numerics.equality.merit import Penalties
from paperworks.numerics.equality.sketch import Kaczmarz, Sketch
from paperworks.numerics.equality.solvers import Base, Direct, Minres

SOLVERS = ("subsampled", "gaussian", "kaczmarz", "minres", "direct")
FALLBACKS = ("minres", "direct")


@dataclass(frozen=True)
class Settings:
    """What a user may set of the loop."""

    tol: float
    maxiter: int
    beta: float
    nu: float
    penalties: Penalties
    forcing: str
    make: Callable[..., Base]
    backup: Callable[..., Base] | None


def maker(
    name: str,
    size: int,
    rng: np.random.Generator,
    block: int | None,
    memory: int | None,
    greedy: bool,
    max_sweeps: float | None,
) -> Callable[..., Base]:
    """The solver of that name, as a function of a system, a right-hand side and a start."""
    if name == "minres":
        return partial(Minres, maxiter=int(5 * size) + 50)
    if name == "direct":
        return Direct
    if name == "kaczmarz":
        return partial(Kaczmarz, rng=rng, max_sweeps=1000.0 if max_sweeps is None else max_sweeps)
    return partial(
        Sketch,
        kind=name,
        rng=rng,
        block=4 if block is None else block,
        memory=min(size, 500) if memory is None else memory,
        greedy=bool(greedy),
        max_sweeps=4.0 if max_sweeps is None else max_sweeps,
    )


def check_options(
    tol: float,
    maxiter: int,
    solver: str,
    fallback: str | None,
    block: int | None,
    memory: int | None,
    max_sweeps: float | None,
    forcing: str,
) -> None:
    """Refuse what cannot be meant, with the value and what may stand there."""
    if not tol > 0:
        raise ValueError(f"tol must be > 0, got {tol}")
    if maxiter < 0:
        raise ValueError(f"maxiter must be >= 0, got {maxiter}")
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(SOLVERS)}, got {solver!r}")
    if fallback is not None and fallback not in FALLBACKS:
        raise ValueError(f"fallback must be None, 'minres' or 'direct', got {fallback!r}")
    if block is not None and block < 1:
        raise ValueError(f"block must be >= 1, got {block}")
    if memory is not None and memory < 0:
        raise ValueError(f"memory must be >= 0 directions, got {memory}")
    if max_sweeps is not None and not max_sweeps > 0:
        raise ValueError(f"max_sweeps must be > 0, got {max_sweeps}")
    if forcing not in ("linear", "superlinear"):
        raise ValueError(f"forcing must be 'linear' or 'superlinear', got {forcing!r}")


def check_penalties(eta1: float, eta2: float, delta: float, beta: float, nu: float) -> None:
    """The same for the numbers of the merit function."""
    for name, value in (("eta1", eta1), ("eta2", eta2)):
        if not (value > 0 and np.isfinite(value)):
            raise ValueError(f"{name} must be > 0, got {value}")
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie in (0, 1), got {delta}")
    if not 0 < beta < 0.5:
        raise ValueError(f"beta must lie in (0, 0.5), got {beta}: a full step needs it")
    if not nu > 1:
        raise ValueError(f"nu must be > 1, got {nu}")

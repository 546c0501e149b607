"""Runs made from constants that papers print."""

from __future__ import annotations

import numpy as np

from paperworks.scaling import RunLog, TrajectoryLaw

# Kaplan et al., arXiv 2001.08361: table 3 (L(N, S_min)) and equation 1.4 (B_crit).
KAPLAN = {
    "N_c": 6.5e13, "alpha_N": 0.077, "S_c": 2.1e3, "alpha_S": 0.76, "B_star": 2.1e8, "alpha_B": 0.21
}  # fmt: skip
# Su et al., arXiv 2403.06563, for C4.
SU = {
    "N_c": 1.5e14, "alpha_N": 0.076, "S_c": 2.6e3, "alpha_S": 0.67, "B_star": 1.7e8,
    "alpha_B": 0.205,
}  # fmt: skip

LADDER = [(1e6, 2.0**k) for k in (16, 18, 19, 20, 22)]
SIZES = [(3e6, 2.0**19), (1e7, 2.0**19), (6e7, 2.0**19)]


def made(
    constants: dict[str, float],
    runs: list[tuple[float, float]] = LADDER + SIZES,
    *,
    noise: float = 0.0,
    seed: int = 0,
    rows: int = 25,
    last: float = 1e5,
) -> RunLog:
    """Curves of the law, with normal errors of log L."""
    law, rng = TrajectoryLaw(**constants), np.random.default_rng(seed)
    N, B = np.repeat(runs, rows, axis=0).T
    S = np.tile(np.geomspace(500, last, rows).round(), len(runs))
    loss = law.loss(N, S, B) * np.exp(rng.normal(0, noise, S.size))
    names = np.repeat([f"N{n:g}-B{b:g}" for n, b in runs], rows)
    return RunLog(names, N, B, S, loss)

"""PowerWalk: does decomposition over fingerprints beat the walks themselves, and how fast?

Liu, Li, Lui and Cheng (arXiv 1608.06054) keep for every vertex where R short walks went (Monte
Carlo full path) and answer a query from its out-neighbours' fingerprints, round by round. They
say that full paths need far fewer walks than end points for one precision, that a decomposed
vector is much more accurate than its own fingerprint, and that its error falls exponentially with
the number of rounds.

Errors are L1 distances to exact vectors (sparse iteration to 1e-12), means over sources drawn at
random. The contenders:

- fingerprints alone: the same index, no round;
- Monte Carlo at equal memory: end points of independent walks from the source, as many as fill
  the bytes that a fingerprint has on average;
- end points, as many walks: as many independent walks as the fingerprint of the source has.

Graphs are directed R-MAT (0.57, 0.19, 0.19, 0.05) as in the field's benchmarks, drawn by the
seed, and in the full tier the network of political blogs. A walker at a dangling vertex goes back
to the source. Restart c = 0.15 as in the paper; 64 walks a vertex; 2 rounds, at which the paper's
program stops to gain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from paperworks.experiment import Axes, Claim, Curve, Effect, Tier, TrialResult
from paperworks.graphs.powerwalk.power import PowerWalk
from paperworks.graphs.powerwalk.walks import GROUP

PAPER = "powerwalk"
C, WALKS, ROUNDS, MOST_ROUNDS = 0.15, 64, 2, 6
OURS, PRINTS = "PowerWalk, 2 rounds", "fingerprints alone"
MEMORY, AS_MANY = "Monte Carlo at equal memory", "end points, as many walks"
BOUND, FACTOR = "1 - c", "largest factor of a round"


def rmat(scale: int, edges: int, rng: np.random.Generator) -> sp.csr_array:
    """A directed R-MAT graph without parallel edges."""
    source, target = np.zeros((2, edges), dtype=np.int64)
    for _ in range(scale):
        u = rng.random(edges)
        source = 2 * source + (u >= 0.76)
        target = 2 * target + (((u >= 0.57) & (u < 0.76)) | (u >= 0.95))
    A = sp.csr_array((np.ones(edges), (source, target)), shape=(1 << scale,) * 2)
    A.data[:] = 1.0
    return A


def draw(seed: int, graph: str, scale: int, edges: int) -> tuple[sp.csr_array, np.ndarray]:
    """A graph and 100 sources with out-edges."""
    rng = np.random.default_rng(seed)
    if graph == "rmat":
        A = rmat(scale, edges, rng)
    else:
        import paperworks.data

        A = sp.csr_array(paperworks.data.load(f"graphs/{graph}").adjacency, dtype=float)
    return A, rng.choice(np.flatnonzero(np.diff(A.indptr)), 100, replace=False)


def exact(A: sp.csr_array, sources: np.ndarray) -> np.ndarray:
    """Personalized PageRank of each source, as rows; dangling vertices send back to it."""
    out = A.sum(axis=1)
    step = sp.csr_array((sp.diags_array(np.divide(1, out, where=out > 0, out=0 * out)) @ A).T)
    e = np.zeros((A.shape[0], len(sources)))
    e[sources, np.arange(len(sources))] = 1.0
    p = e
    while True:
        new = (1 - C) * (step @ p + e * p[out == 0].sum(axis=0)) + C * e
        if np.abs(new - p).sum(axis=0).max() < 1e-12:
            return new.T
        p = new


def end_points(A: sp.csr_array, source: int, walks: int, rng: np.random.Generator) -> np.ndarray:
    """The vertices at which independent walks from a source stop."""
    at = np.full(walks, source)
    walking = np.arange(walks)
    while True:
        walking = walking[rng.random(walking.size) > C]
        if not walking.size:
            return at
        v = at[walking]
        degree = A.indptr[v + 1] - A.indptr[v]
        edge = A.indptr[v] + (rng.random(v.size) * degree).astype(np.int64)
        at[walking] = np.where(degree > 0, A.indices[np.minimum(edge, A.nnz - 1)], source)


def l1(found: np.ndarray, p: np.ndarray) -> float:
    """Distance of counted end points from a vector."""
    return float(np.abs(np.bincount(found, minlength=p.size) / found.size - p).sum())


def by_rounds(walk: PowerWalk, sources: np.ndarray, p: np.ndarray) -> list[float]:
    """Mean L1 error after 0, 1, ... rounds."""
    return [
        float(np.mean([
            np.abs(each.vector() - row).sum()
            for each, row in zip(walk.query_batch(sources, rounds=k, n_jobs=1), p, strict=True)
        ]))
        for k in range(MOST_ROUNDS + 1)
    ]  # fmt: skip


def errors(*, seed, device, graph="rmat", scale=0, edges=0):
    """L1 errors of PowerWalk, of fingerprints and of end points."""
    A, sources = draw(seed, graph, scale, edges)
    p = exact(A, sources)
    walk = PowerWalk(A, walks=WALKS, restart=C, seed=seed, n_jobs=1)
    after = by_rounds(walk, sources, p)
    rng = np.random.default_rng([seed, 1])
    groups = np.diff(walk._prints.first)[sources]
    as_many = [
        l1(end_points(A, s, int(g) * GROUP, rng), row)
        for s, g, row in zip(sources, groups, p, strict=True)
    ]
    # As many walks as leave as many different end points as a fingerprint has entries on average.
    entries, walks = walk._prints.targets.size / walk.n_nodes, WALKS
    while True:
        ends = [end_points(A, s, walks, rng) for s in sources]
        if np.mean([np.unique(each).size for each in ends]) >= entries or walks > 1_000_000:
            break
        walks = int(walks * 1.25)
    memory = [l1(each, row) for each, row in zip(ends, p, strict=True)]
    return TrialResult(
        {
            OURS: after[ROUNDS],
            PRINTS: after[0],
            MEMORY: float(np.mean(memory)),
            AS_MANY: float(np.mean(as_many)),
        }
    )


def convergence(*, seed, device, graph="rmat", scale=0, edges=0):
    """By how much each round lowers the L1 error."""
    A, sources = draw(seed, graph, scale, edges)
    p = exact(A, sources)
    after = by_rounds(PowerWalk(A, walks=WALKS, restart=C, seed=seed, n_jobs=1), sources, p)
    factors = np.divide(after[1:], after[:-1])
    x = list(range(MOST_ROUNDS + 1))
    return TrialResult(
        {FACTOR: float(factors.max()), BOUND: 1 - C},
        [
            Curve("PowerWalk", x, after),
            Curve("(1 - c)^T", x, [after[0] * (1 - C) ** k for k in x]),
        ],
    )


_QUICK = Tier(works=[{"scale": 11, "edges": 16_000}], seeds=5)
_FULL = Tier(
    works=[
        {"scale": 14, "edges": 200_000},
        {"scale": 17, "edges": 1_000_000},
        {"graph": "polblogs"},
    ],
    seeds=5,
    timeout=1200,
    memory=8.0,
)
_COMMON: dict[str, Any] = {"paper": PAPER, "better": "lower", "quick": _QUICK, "full": _FULL}

CLAIMS = (
    Claim(
        **_COMMON,
        name="lower-error-at-equal-memory",
        statement=(
            "With an index of one size, two rounds of decomposition over fingerprints have a lower "
            "L1 error than Monte Carlo end points and than the fingerprints alone."
        ),
        metric="L1 distance to the exact vector, mean of 100 sources",
        ours=OURS,
        contenders=(MEMORY, PRINTS),
        effect=Effect("ratio", 1.0),
        trial=errors,
    ),
    Claim(
        **_COMMON,
        name="full-paths-need-fewer-walks",
        statement=(
            "A fingerprint of full paths has at most half the L1 error of the end points of as "
            "many walks."
        ),
        metric="L1 distance to the exact vector, mean of 100 sources",
        ours=PRINTS,
        contenders=(AS_MANY,),
        effect=Effect("ratio", 2.0),
        trial=errors,
    ),
    Claim(
        **_COMMON,
        name="exponential-in-rounds",
        statement=(
            "Every round of decomposition lowers the L1 error to at most 1 - c = 0.85 of what it "
            "was, so that it falls exponentially in the number of rounds."
        ),
        metric="largest ratio of the mean L1 errors after and before one of six rounds",
        ours=FACTOR,
        contenders=(BOUND,),
        effect=Effect("ratio", 1.0),
        trial=convergence,
        axes=Axes("rounds", "L1 error", y_scale="log"),
    ),
)

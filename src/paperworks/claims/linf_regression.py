"""Claims of "A Nearly-Optimal Bound for Fast Regression with l-infinity Guarantee", 2302.00248.

The theorem: with ``eps^-2 d log^3(n / delta)`` rows, up to a constant, a dense sketch puts every
coordinate within ``eps / sqrt(d) ||A x - b|| ||pinv(A)||`` with probability ``1 - delta``; and
sparse sketches such as CountSketch and OSNAP cannot. Each trial draws many sketches of one
problem and counts those that break the bound. "As promised" is delta itself.

Rows: the constant that the theorem leaves open is settled by the law of the Gaussian sketch
(``sketch_rows``, rule "student"), which is near the least that any dense sketch can do with. The
last two claims take the theorem's count with the constant 1 instead.

Inputs. A holds the identity above zeros, so that x is zero and any two rows that meet in a sketch
show up undiluted in a coordinate. For a sketch of s entries a column, b has k equal entries below
the identity. One meeting with a row of the identity moves a coordinate by ``1 / (s sqrt(k))``
against a bound of ``eps / sqrt(d)``, so ``k = d / (2 eps^2 s^2)`` is taken, at which a single one
breaks it, and ``d^2 / (2 eps^2 m)`` are to be expected. This is in the manner of Price, Song and
Woodruff's (ICALP 2017) for CountSketch, carried over to OSNAP. Dense sketches face all of these
inputs and a random one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperworks.experiment import Claim, Effect, Tier, TrialResult
from paperworks.numerics.sketching.rows import sketch_rows
from paperworks.numerics.sketching.sketches import draw_sketch
from paperworks.numerics.sketching.sources import ArrayRows

Floats = NDArray[np.float64]

PAPER = "linf-regression"
PROMISED = "as promised"
ENTRIES = (1, 2, 4, 8)  # in a column of a sparse sketch; one is CountSketch


def adversarial(n: int, d: int, eps: float, entries: tuple[int, ...]) -> tuple[Floats, Floats]:
    """The identity above zeros, and for each number of entries a b that one meeting spoils."""
    A, B = np.zeros((n, d)), np.zeros((n, len(entries)))
    A[:d] = np.eye(d)
    for column, s in enumerate(entries):
        k = max(1, int(d / (2 * eps**2 * s**2)))
        B[d : d + k, column] = 1 / np.sqrt(k)
    return A, B


def random_problem(n: int, d: int, seed: int) -> tuple[Floats, Floats]:
    """Independent normal entries."""
    rng = np.random.default_rng((seed, 1))
    return rng.standard_normal((n, d)), rng.standard_normal((n, 1))


def protein() -> tuple[Floats, Floats]:
    """Protein tertiary structure: 45,730 rows, its nine features with squares and products."""
    from paperworks.data import load

    data = load("uci/protein-tertiary-structure")
    X = (data.X - data.X.mean(0)) / data.X.std(0)
    i, j = np.triu_indices(X.shape[1])
    return np.column_stack([np.ones(len(X)), X, X[:, i] * X[:, j]]), data.y[:, None]


def broken(
    A: Floats, B: Floats, kind: str, rows: int, eps: float, repeats: int, seed: int, **options: Any
) -> Floats:
    """Share of sketches that leave a coordinate beyond the bound, for each column of B."""
    exact = np.linalg.lstsq(A, B, rcond=None)[0]
    n, d = A.shape
    least = np.linalg.svd(A, compute_uv=False)[-1]
    bound = eps / np.sqrt(d) * np.linalg.norm(A @ exact - B, axis=0) / least
    source = ArrayRows(A, B)
    rng = np.random.default_rng(seed)
    count = np.zeros(B.shape[1])
    for _ in range(repeats):
        table = source.sketch(draw_sketch(kind, rows, rng, n=n, **options), 1)
        # The least norm where a sparse sketch has lost a column altogether.
        found = np.linalg.lstsq(table[:, :d], table[:, d:], rcond=None)[0]
        count += np.abs(found - exact).max(0) > bound
    return count / repeats


def dense(
    *,
    seed: int,
    device: str,
    sketch: str,
    n: int,
    d: int,
    eps: float,
    delta: float,
    repeats: int,
    rule: str = "student",
    data: str | None = None,
) -> TrialResult:
    """Share of broken bounds for a dense sketch, the mean over its inputs.

    The largest of several estimates would be biased upwards.
    """
    if data is None:
        problems = [adversarial(n, d, eps, ENTRIES), random_problem(n, d, seed)]
    else:
        problems = [protein()]
    rates: list[float] = []
    for A, B in problems:
        rows = sketch_rows(A.shape[1], eps=eps, delta=delta, rule=rule, n=len(A))
        rates.extend(broken(A, B, sketch, rows, eps, repeats, seed))
    return TrialResult(values={LABELS[sketch]: float(np.mean(rates)), PROMISED: delta})


def sparse(
    *,
    seed: int,
    device: str,
    entries: int,
    n: int,
    d: int,
    eps: float,
    delta: float,
    repeats: int,
    rule: str = "student",
) -> TrialResult:
    """Share of broken bounds for a sparse sketch, on the input made for it."""
    sketch = "countsketch" if entries == 1 else "osnap"
    rows = sketch_rows(d, eps=eps, delta=delta, rule=rule, n=n)
    A, B = adversarial(n, d, eps, (entries,))
    rate = broken(A, B, sketch, rows, eps, repeats, seed, nonzeros=entries)[0]
    return TrialResult(values={LABELS[sketch]: rate, PROMISED: delta})


LABELS = {
    "srht": "SRHT",
    "srct": "SRCT",
    "gaussian": "Gaussian",
    "countsketch": "CountSketch",
    "osnap": "OSNAP",
}
QUICK: dict[str, Any] = {"n": 8192, "d": 32, "eps": 0.5, "delta": 0.1, "repeats": 100}
FULL: dict[str, Any] = {"n": 65536, "d": 64, "eps": 0.5, "delta": 0.1, "repeats": 400}
# The theorem's count with the constant 1 is below n only where d is a handful.
THEOREM: dict[str, Any] = {
    **{"n": 1 << 17, "d": 4, "eps": 0.9, "delta": 0.1, "repeats": 10},
    "rule": "paper",
}
COMMON: dict[str, Any] = {
    "paper": PAPER,
    "metric": "share of sketches that leave a coordinate beyond the bound, delta = 0.1",
    "better": "lower",
    "effect": Effect("difference", 0.0),
}


def _dense_claim(sketch: str) -> Claim:
    real = {**FULL, "data": "protein", "repeats": 400}
    return Claim(
        name=f"{sketch}-keeps-the-bound",
        statement=(
            "At the row count for eps = 0.5 and delta = 0.1, fewer than a tenth of "
            f"{LABELS[sketch]} sketches leave a coordinate beyond the bound, on random and on "
            "adversarial inputs."
        ),
        ours=LABELS[sketch],
        contenders=(PROMISED,),
        trial=dense,
        quick=Tier(works=({"sketch": sketch, **QUICK},), seeds=5),
        full=Tier(
            works=({"sketch": sketch, **FULL}, {"sketch": sketch, **real}), seeds=5, timeout=3600.0
        ),
        **COMMON,
    )


def _sparse_claim(name: str, entries: tuple[int, ...]) -> Claim:
    return Claim(
        name=f"{name}-breaks-the-bound",
        statement=(
            f"At the same rows more than a tenth of {LABELS[name]} sketches leave a coordinate "
            "beyond the bound, on an adversarial input."
        ),
        ours=PROMISED,
        contenders=(LABELS[name],),
        trial=sparse,
        quick=Tier(works=[{"entries": s, **QUICK, "repeats": 40} for s in entries], seeds=5),
        full=Tier(works=[{"entries": s, **FULL} for s in entries], seeds=5, timeout=3600.0),
        **COMMON,
    )


CLAIMS = (
    _dense_claim("srht"),
    _dense_claim("srct"),
    _sparse_claim("countsketch", ENTRIES[:1]),
    _sparse_claim("osnap", ENTRIES[1:]),
    Claim(
        name="srht-at-the-theorems-rows",
        statement=(
            "With eps^-2 d log^3(n/delta) rows, constant 1, fewer than a tenth of SRHT sketches "
            "leave a coordinate beyond the bound."
        ),
        ours=LABELS["srht"],
        contenders=(PROMISED,),
        trial=dense,
        quick=Tier(works=({"sketch": "srht", **THEOREM, "repeats": 4},), seeds=5),
        full=Tier(works=({"sketch": "srht", **THEOREM, "repeats": 100},), seeds=5, timeout=3600.0),
        **COMMON,
    ),
    Claim(
        name="countsketch-at-the-theorems-rows",
        statement=(
            "With eps^-2 d log^3(n/delta) rows, constant 1, more than a tenth of CountSketch "
            "sketches leave a coordinate beyond the bound, on an adversarial input."
        ),
        ours=PROMISED,
        contenders=(LABELS["countsketch"],),
        trial=sparse,
        quick=Tier(works=({"entries": 1, **THEOREM},), seeds=5),
        full=Tier(works=({"entries": 1, **THEOREM, "repeats": 100},), seeds=5, timeout=3600.0),
        **COMMON,
    ),
)

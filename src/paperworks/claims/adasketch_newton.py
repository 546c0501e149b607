"""Claims of "Constrained Optimization via Exact Augmented Lagrangian and Randomized Iterative
Sketching", arXiv 2305.18379.

Section 5 has 47 CUTEst problems, logistic regression on seven LIBSVM sets under random
constraints, and a PDE-constrained problem on a 3 x 3 grid; it compares KKT residuals, flops and
times with an augmented Lagrangian method and with l1 SQP on GMRES, to a residual of 1e-4. Here
the residual asked for is 1e-6, and the contenders are what a person has at hand.

"At least as many" is taken as "more than the contender's number less one half", since a verdict
needs one side to be ahead. All runs are judged alike: by the KKT residual of the x returned,
under the multipliers that suit it best. Ours is the randomised solver on its own, with the
defaults of `minimize_equality` and no fallback. IPOPT runs beside where cyipopt is installed, and
is no contender: it is not an extra of this project, since it needs a system library.

Flops are those of the linear solves in a Newton step, by the model of `numerics.equality.solvers`.
The direct solve gets the Hessian as a matrix, at the cost of forming one half of it, and the
sparse factorisation where the system is sparse; ours gets products only in logistic regression.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from paperworks.claims import _constrained
from paperworks.experiment import Claim, Effect, Tier, TrialResult
from paperworks.numerics.equality.solve import minimize_equality

PAPER = "adasketch-newton"
OURS = "AdaSketch-Newton"
LESS = ", less half a problem"
DIRECT = "direct solve"

# The problems of the paper's list that are written out here; HS39 is its BT9.
LISTED = (
    *("HS6", "HS7", "HS28", "HS39", "HS40", "HS42", "HS47", "HS48", "HS50", "HS51", "HS52"),
    *("HS56", "HS77", "HS78", "HS79", "HS100LNP", "BT2", "BT3", "BT5", "BT10", "BT12", "GENHS28"),
)
OTHERS = (
    *("HS8", "HS9", "HS26", "HS27", "HS46", "HS49", "HS61", "HS111LNP"),
    *("BT1", "MARATOS", "BYRDSPHR"),
)


def ours(one: _constrained.Case, rng: Any, **options: Any) -> Any:
    """Our run on a case: the randomised solver on its own."""
    settings = {"fallback": None, "maxiter": _constrained.MAXITER, "hess": one.hess, **options}
    return minimize_equality(
        one.fun, one.x0, jac=one.jac, constraints=one.constraint, rng=rng, **settings
    )


def solved(*, seed: int, device: str, cases: list[str], repeats: int = 1) -> TrialResult:
    """How many problems each brings to a KKT residual of 1e-6; for ours the mean of repeats."""
    counts: dict[str, float] = {}

    def count(label: str, one: _constrained.Case, x: Any, weight: float = 1.0) -> None:
        reached = x is not None and one.residual(x) <= _constrained.TOL
        counts[label] = counts.get(label, 0.0) + weight * reached

    for name in cases:
        one = _constrained.case(name, seed)
        for i in range(repeats):
            count(OURS, one, ours(one, (seed, i)).x, 1 / repeats)
        for label, solver in PEERS.items():
            try:
                x = solver(one)
            except (ValueError, ArithmeticError, np.linalg.LinAlgError):
                x = None  # trust-constr refuses more constraints than unknowns, for one
            count(label, one, x)
        if (x := _constrained.ipopt(one)) is not None:
            count("IPOPT", one, x)
    return TrialResult(
        values={
            label: number - 0.5 if label in PEERS else number for label, number in counts.items()
        }
    )


PEERS = {f"trust-constr{LESS}": _constrained.trust_constr, f"SLSQP{LESS}": _constrained.slsqp}


def flops(*, seed: int, device: str, problem: str) -> TrialResult:
    """Flops of the linear solves in a Newton step, beside the direct solve's."""
    one = _constrained.case(problem, seed)
    random = ours(one, seed)
    exact = ours(one, seed, solver="direct", hess=one.matrix)
    for label, result in ((OURS, random), (DIRECT, exact)):
        if not result.success:
            raise RuntimeError(f"{label} stopped at a KKT residual of {result.kkt:.1e}")
    forming = one.forming * exact.solves / exact.nit
    return TrialResult(
        values={OURS: random.flops / random.nit, DIRECT: exact.flops / exact.nit + forming}
    )


def _cases(kind: str, *names: Any) -> list[str]:
    return [f"{kind}:{name}" for name in names]


COUNTS: dict[str, Any] = {
    "paper": PAPER,
    "metric": "problems brought to a KKT residual of 1e-6 within 1000 iterations",
    "better": "higher",
    "ours": OURS,
    "contenders": tuple(PEERS),
    "effect": Effect("difference", 0.0),
    "trial": solved,
}
FLOPS: dict[str, Any] = {
    "paper": PAPER,
    "metric": "flops of the linear solves in a Newton step",
    "better": "lower",
    "ours": OURS,
    "contenders": (DIRECT,),
    "effect": Effect("ratio", 1.0),
    "trial": flops,
}

CLAIMS = (
    Claim(
        name="small",
        statement=(
            "Of small equality-constrained CUTEst problems it brings at least as many to a KKT "
            "residual of 1e-6 as trust-constr and SLSQP."
        ),
        quick=Tier(works=({"cases": _cases("cutest", *LISTED)},), seeds=5),
        full=Tier(works=({"cases": _cases("cutest", *LISTED, *OTHERS)},), seeds=10, timeout=600.0),
        **COUNTS,
    ),
    Claim(
        name="cutest",
        statement=(
            "Of the 75 CUTEst problems in sif2jax with equality constraints alone, at most 200 "
            "unknowns and no more constraints than unknowns, it brings at least as many to a KKT "
            "residual of 1e-6 as trust-constr and SLSQP."
        ),
        # One trial, since importing sif2jax takes minutes: five draws of ours within it.
        full=Tier(
            works=({"cases": _cases("sif2jax", *_constrained.TRANSLATED), "repeats": 5},),
            seeds=1,
            timeout=14_400.0,
            memory=12.0,
        ),
        random=False,
        requires=("sif2jax",),
        **COUNTS,
    ),
    Claim(
        name="logistic",
        statement=(
            "Of logistic regressions on real data, under random linear constraints and one on "
            "the length, it brings at least as many to a KKT residual of 1e-6 as trust-constr and "
            "SLSQP."
        ),
        quick=Tier(works=({"cases": _cases("logistic", "breast-cancer", "digits")},), seeds=5),
        full=Tier(
            works=({"cases": _cases("logistic", "breast-cancer", "digits", "mnist", "cora")},),
            seeds=5,
            timeout=3600.0,
        ),
        **COUNTS,
    ),
    Claim(
        name="pde",
        statement=(
            "Of PDE-constrained problems on growing grids it brings at least as many to a KKT "
            "residual of 1e-6 as trust-constr and SLSQP."
        ),
        quick=Tier(works=({"cases": _cases("pde", 3, 6)},), seeds=5),
        full=Tier(works=({"cases": _cases("pde", 3, 6, 10, 16)},), seeds=5, timeout=3600.0),
        **COUNTS,
    ),
    Claim(
        name="flops-logistic",
        statement=(
            "On large logistic regressions a Newton step takes fewer flops than with the direct "
            "solve."
        ),
        quick=Tier(works=({"problem": "logistic:digits-pairs"},), seeds=5),
        full=Tier(
            works=({"problem": "logistic:mnist"}, {"problem": "logistic:cora"}),
            seeds=5,
            timeout=1800.0,
        ),
        **FLOPS,
    ),
    Claim(
        name="flops-pde",
        statement=(
            "On PDE-constrained problems on large grids a Newton step takes fewer flops than with "
            "the sparse direct solve."
        ),
        quick=Tier(works=({"problem": "pde:10"},), seeds=5),
        full=Tier(works=({"problem": "pde:16"}, {"problem": "pde:24"}), seeds=5, timeout=1800.0),
        **FLOPS,
    ),
)

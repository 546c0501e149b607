"""Wall time and flops of equality-constrained minimisation, beside the peers, on growing problems.

Logistic regression on random cosine features of scikit-learn's digits (dense, the Hessian known by
products; "direct" gets it as a matrix), under the constraints of the paper's experiment; and its
PDE-constrained problem on growing grids (sparse). Ours are the randomised solvers without a
fallback, then MINRES and the direct solve in the same loop. The peers end when the KKT residual is
1e-6, as ours does. The note gives that residual, and for ours the steps and the flops of the
linear solves in one. IPOPT runs where cyipopt is installed.

Sizes past some memory run with PAPERWORKS_BENCH_LARGE=1 only.
"""

from __future__ import annotations

import importlib.util
import os
from functools import cache

import pytest

from paperworks.claims import _constrained
from paperworks.numerics import minimize_equality

LARGE = pytest.mark.skipif(
    not os.environ.get("PAPERWORKS_BENCH_LARGE"),
    reason="takes an hour: set PAPERWORKS_BENCH_LARGE=1",
)
OURS = ("subsampled", "gaussian", "kaczmarz", "minres", "direct")
PEERS = ("trust-constr", "SLSQP", "IPOPT")
# n of a logistic regression, N of a grid (n = 2 N^2), with the contenders that get there in time.
SIZES = [
    ("logistic:digits-cosines-100", {*OURS, *PEERS}),
    ("logistic:digits-cosines-300", {*OURS, *PEERS}),
    ("logistic:digits-cosines-1000", {*OURS, "trust-constr"} - {"kaczmarz"}),
    ("logistic:digits-cosines-2000", {*OURS, "trust-constr"} - {"kaczmarz"}),
    ("pde:8", {*OURS, *PEERS}),
    ("pde:16", {*OURS, "trust-constr", "IPOPT"} - {"kaczmarz"}),
    ("pde:32", {"minres", "direct", "trust-constr"}),
]
CASES = [
    pytest.param(name, who, marks=LARGE if name.endswith(("2000", "pde:32")) else ())
    for name, whos in SIZES
    for who in (*OURS, *PEERS)
    if who in whos
]


@cache
def problem(name):
    return _constrained.case(name, 0)


@pytest.mark.parametrize(("name", "contender"), CASES)
def test_equality_constrained(race, name, contender):
    if contender == "IPOPT" and importlib.util.find_spec("cyipopt") is None:
        pytest.skip("cyipopt is not installed: it needs the system's libipopt")
    one = problem(name)

    def run():
        if contender in OURS:
            explicit = contender in ("direct", "kaczmarz")
            return minimize_equality(
                one.fun,
                one.x0,
                jac=one.jac,
                hess=one.matrix if explicit else one.hess,
                constraints=one.constraint,
                solver=contender,
                fallback=None,
                maxiter=200,
                rng=0,
            )
        peers = {
            "trust-constr": _constrained.trust_constr,
            "SLSQP": _constrained.slsqp,
            "IPOPT": _constrained.ipopt,
        }
        return peers[contender](one)

    def note(result):
        if contender not in OURS:
            return f"KKT residual {one.residual(result):.0e}"
        forming = one.forming * result.solves if contender in ("direct", "kaczmarz") else 0.0
        flops = (result.flops + forming) / max(1, result.nit)
        return f"KKT residual {result.kkt:.0e}, {result.nit} steps of {flops:.1e} flops"

    race(
        run,
        group=f"{name}, n={one.x0.size}",
        contender=contender,
        ours=contender in OURS,
        rounds=1,
        warmup=1 if name in (SIZES[0][0], "pde:8") else 0,
        note=note,
    )

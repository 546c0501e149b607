"""Draw the picture of docs/papers/adasketch-newton.md: the KKT residual over flops, by solver.

    python tools/equality_figures.py

Logistic regression on 300 random cosine features of scikit-learn's digits under the paper's
constraints. Kaczmarz and the direct solve have the Hessian as a matrix, and each of their steps
is charged with forming it. A run ends at 1e-9, or after 60 steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from paperworks.claims import _constrained
from paperworks.numerics import minimize_equality

PICTURE = Path(__file__).parent.parent / "docs" / "papers" / "adasketch-newton.svg"
BARE = {"memory": 0, "greedy": False}
RUNS: tuple[tuple[str, str, bool, dict[str, Any]], ...] = (
    ("Kaczmarz, a row at a time", "v:", True, {"solver": "kaczmarz"}),
    ("blocks of 32 rows, as the paper iterates", "^:", False, {**BARE, "block": 32}),
    ("blocks with a memory", "s--", False, {"greedy": False}),
    ("and with the residual (default)", "o-", False, {}),
    ("MINRES", "d-.", False, {"solver": "minres"}),
    ("direct", "x-", True, {"solver": "direct"}),
)


def main() -> None:
    one = _constrained.case("logistic:digits-cosines-300", 0)
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for label, style, explicit, options in RUNS:
        result = minimize_equality(
            one.fun,
            one.x0,
            jac=one.jac,
            hess=one.matrix if explicit else one.hess,
            constraints=one.constraint,
            fallback=None,
            tol=1e-9,
            maxiter=60,
            rng=0,
            **{"max_sweeps": 60.0, **options},
        )
        flops = result.history["flops"].copy()
        if explicit:
            flops += one.forming * np.arange(1, flops.size + 1)
        axes.plot(flops, result.history["kkt"], style, label=label, markersize=4)
        print(label, result.nit, result.success, f"{flops[-1]:.2e}", f"{result.kkt:.1e}")
    axes.axhline(1e-6, color="grey", linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="flops of the linear solves", ylabel="KKT residual")
    figure.legend(fontsize=8, loc="outside upper center", ncols=2)
    figure.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    main()

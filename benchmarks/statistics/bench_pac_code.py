"""PAC code sets: nested cuts by milp (HiGHS), beside z3 on the authors' formulation.

`python -m pytest benchmarks/statistics/bench_pac_code.py -o python_files='bench_*.py'`
"""

from __future__ import annotations

import numpy as np
import pytest

from paperworks.statistics.pac_code.cuts import best_cuts, solve
from paperworks.statistics.pac_code.greedy import greedy_sequence, stopped_at_cost

LEVELS = 20
SIZES = [8, 16, 32, 64]


def problem(n, seed=0):
    """A tree of the shape of a line of code, most of it certain."""
    rng = np.random.default_rng(seed)
    parent = [-1]
    for node in range(1, n):
        above = node - 1
        while parent[above] >= 0 and rng.random() < 0.6:
            above = parent[above]
        parent.append(above)
    cost = np.round(rng.exponential(size=n) ** 2, 4)
    cost[0] = 0.01
    return np.array(parent), cost, np.geomspace(0.05, 50, LEVELS)


def by_z3(parent, cost, thresholds, max_holes):
    """As the authors: a Boolean for each node and level, and an optimiser modulo theories."""
    z3 = pytest.importorskip("z3")
    solver = z3.Optimize()
    n, k = len(parent), len(thresholds)
    gone = [[z3.Bool(f"{i}:{v}") for v in range(n)] for i in range(k)]
    for i in range(k):
        for v in range(1, n):
            solver.add(z3.Implies(gone[i][parent[v]], gone[i][v]))
        tops = [(gone[i][0], 1)] + [
            (z3.And(gone[i][v], z3.Not(gone[i][parent[v]])), 1) for v in range(1, n)
        ]
        solver.add(z3.PbLe(tops, max_holes))
        # Whole numbers of 0.0001 nats: z3's pseudo-Boolean sums are over integers.
        kept = [(z3.Not(gone[i][v]), round(1e4 * float(cost[v]))) for v in range(n)]
        solver.add(z3.PbLe(kept, int(1e4 * thresholds[i] + 1e-3)))
        if i + 1 < k:
            for v in range(n):
                solver.add(z3.Implies(gone[i + 1][v], gone[i][v]))
    for row in gone:
        for each in row:
            solver.add_soft(z3.Not(each))
    assert solver.check() == z3.sat
    model = solver.model()
    return np.array([[z3.is_true(model[each]) for each in row] for row in gone])


def note(removed):
    return f"{removed.sum()} nodes removed over {LEVELS} levels"


@pytest.mark.parametrize("holes", [1, 2])
@pytest.mark.parametrize("n", SIZES)
def test_best_cuts(race, n, holes):
    race(
        lambda: best_cuts(*problem(n), holes),
        group=f"nested cuts, {n} nodes, {holes} holes, {LEVELS} levels",
        contender="best_cuts",
        ours=True,
        note=note,
    )


@pytest.mark.parametrize("holes", [1, 2])
@pytest.mark.parametrize("n", SIZES)
def test_milp(race, n, holes):
    race(
        lambda: solve(*problem(n), holes),
        group=f"nested cuts, {n} nodes, {holes} holes, {LEVELS} levels",
        contender="the integer program alone (milp)",
        note=note,
    )


@pytest.mark.parametrize("holes", [1, 2])
@pytest.mark.parametrize("n", SIZES[:3])
def test_z3(race, n, holes):
    pytest.importorskip("z3")
    race(
        lambda: by_z3(*problem(n), holes),
        group=f"nested cuts, {n} nodes, {holes} holes, {LEVELS} levels",
        contender="z3 Optimize",
        rounds=1,
        warmup=0,
        note=note,
    )


@pytest.mark.parametrize("holes", [1, 2])
@pytest.mark.parametrize("n", SIZES)
def test_greedy(race, n, holes):
    parent, cost, thresholds = problem(n)
    race(
        lambda: stopped_at_cost(greedy_sequence(parent, cost, holes), cost, thresholds),
        group=f"nested cuts, {n} nodes, {holes} holes, {LEVELS} levels",
        contender="greedy (no optimum)",
        note=note,
    )

"""The integer program and the greedy cuts, against brute force over all cuts."""

from __future__ import annotations

from itertools import combinations, pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from paperworks.statistics.pac_code.cuts import CutError, best_cuts, solve
from paperworks.statistics.pac_code.greedy import (
    greedy_sequence,
    stopped_at_cost,
    stopped_at_share,
)
from paperworks.statistics.pac_code.single import single_cuts


def random_tree(rng, n):
    parent = [-1]  # in preorder: a node hangs below the one before it, or below one above that
    for node in range(1, n):
        above = node - 1
        while parent[above] >= 0 and rng.random() < 0.6:
            above = parent[above]
        parent.append(above)
    parent = np.array(parent)
    cost = np.round(rng.exponential(size=n) * (rng.random(n) < 0.8), 3)
    return parent, cost


def all_cuts(parent, m, allowed=None):
    """Removed sets of all ways to cut at most m subtrees, none below another."""
    n = len(parent)
    below = [{v} for v in range(n)]
    for v in range(n - 1, 0, -1):
        below[parent[v]] |= below[v]
    places = [v for v in range(n) if v == 0 or allowed is None or allowed[v]]
    found = set()
    for size in range(m + 1):
        for roots in combinations(places, size):
            if all(a not in below[b] for a in roots for b in roots if a != b):
                found.add(frozenset().union(*(below[v] for v in roots)) if roots else frozenset())
    return found


def smallest(parent, cost, tau, m, allowed=None, cuts=None):
    """Fewest nodes, then most cost removed."""
    fitting = [
        r for r in cuts or all_cuts(parent, m, allowed)
        if sum(cost[v] for v in range(len(cost)) if v not in r) <= tau + 1e-9
    ]  # fmt: skip
    return min((len(r), -sum(cost[v] for v in r)) for r in fitting)


def holes(parent, removed):
    return sum(removed[v] and (v == 0 or not removed[parent[v]]) for v in range(len(parent)))


@pytest.mark.parametrize("cuts", [best_cuts, solve], ids=["alone", "integer program"])
@pytest.mark.parametrize("m", [1, 2, 3])
def test_one_threshold_is_the_best_of_all_cuts(m, cuts):
    rng = np.random.default_rng(m)
    for _ in range(25):
        parent, cost = random_tree(rng, int(rng.integers(2, 10)))
        tau = rng.random() * cost.sum()
        removed = cuts(parent, cost, np.array([tau]), m)[0]
        size, gone = smallest(parent, cost, tau, m)
        assert removed.sum() == size
        assert -cost[removed].sum() == pytest.approx(gone, abs=1e-9)
        assert holes(parent, removed) <= m


@pytest.mark.parametrize("m", [2, 3])
def test_one_table_serves_all_thresholds(m):
    rng = np.random.default_rng(20 + m)
    for _ in range(40):
        parent, cost = random_tree(rng, int(rng.integers(8, 12)))
        taus = np.linspace(0, cost.sum(), 12)
        cuts = all_cuts(parent, m)
        for tau, removed in zip(taus, single_cuts(parent, cost, taus + 1e-9, m), strict=True):
            size, gone = smallest(parent, cost, tau, m, cuts=cuts)
            assert (removed.sum(), -cost[removed].sum()) == pytest.approx((size, gone), abs=1e-9)
            assert holes(parent, removed) <= m


@pytest.mark.parametrize("cuts", [best_cuts, solve], ids=["alone", "integer program"])
def test_cuts_in_few_places_are_the_best_of_those(cuts):
    rng = np.random.default_rng(0)
    for _ in range(40):
        parent, cost = random_tree(rng, int(rng.integers(3, 10)))
        allowed = rng.random(len(parent)) < 0.4
        tau = rng.random() * cost.sum()
        removed = cuts(parent, cost, np.array([tau]), 2, allowed=allowed)[0]
        assert frozenset(np.flatnonzero(removed)) in all_cuts(parent, 2, allowed)
        size, gone = smallest(parent, cost, tau, 2, allowed)
        assert removed.sum() == size
        assert -cost[removed].sum() == pytest.approx(gone, abs=1e-9)


@pytest.mark.parametrize("m", [1, 2])
def test_several_thresholds_are_the_best_of_all_nested_chains(m):
    rng = np.random.default_rng(10 + m)
    apart = 0
    for _ in range(25):
        parent, cost = random_tree(rng, int(rng.integers(3, 7)))
        taus = np.sort(rng.random(3)) * cost.sum()
        cuts = all_cuts(parent, m)
        fitting = [
            [r for r in cuts if sum(cost[v] for v in range(len(cost)) if v not in r) <= t + 1e-9]
            for t in taus
        ]
        best = min(
            sum(map(len, chain)) for chain in product(*fitting)
            if all(small <= large for large, small in pairwise(chain))
        )  # fmt: skip
        removed = best_cuts(parent, cost, taus, m)
        assert removed.sum() == best
        assert solve(parent, cost, taus, m).sum() == best
        assert (removed[:-1] >= removed[1:]).all()
        apart += best > sum(smallest(parent, cost, t, m)[0] for t in taus)
    if m == 1:
        assert apart, "no example where being nested costs anything; the test would see nothing"


def test_nested_where_the_best_cuts_alone_are_not():
    # Alone, 2.5 nats cut node 1 (two nodes) and 3.2 nats cut node 3 (one node).
    # Node 1 has node 2 below it.
    parent, cost = np.array([-1, 0, 1, 0]), np.array([0.0, 1.5, 1.5, 2.0])
    assert best_cuts(parent, cost, np.array([2.5]), 1)[0].tolist() == [False, True, True, False]
    assert best_cuts(parent, cost, np.array([3.2]), 1)[0].tolist() == [False, False, False, True]
    both = best_cuts(parent, cost, np.array([2.5, 3.2]), 1)
    assert (both[0] >= both[1]).all()
    assert both.sum() == 4  # node 1 twice; the root and node 3 would be 5


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 14))
@hypothesis_settings(max_examples=25, deadline=None)
def test_promises_hold_on_any_tree(seed, m, n):
    rng = np.random.default_rng(seed)
    parent, cost = random_tree(rng, n)
    taus = np.geomspace(0.01, 2 * n, 6)
    smaller = best_cuts(parent, cost, taus, m)
    steps = greedy_sequence(parent, cost, m)
    greedy = stopped_at_cost(steps, cost, taus)
    assert (steps[:-1] <= steps[1:]).all()
    assert not steps[0].any()
    assert steps[-1].all()
    for removed in (smaller, greedy):
        assert (removed[:-1] >= removed[1:]).all()
        assert ((~removed) @ cost <= taus + 1e-6).all()
        assert all(holes(parent, row) <= m for row in removed)
        assert (removed[:, 1:] >= removed[:, parent[1:]]).all()
    assert smaller.sum() <= greedy.sum()


def test_nothing_and_everything():
    parent, cost = np.array([-1, 0, 0]), np.array([1.0, 0.5, 0.25])
    removed = best_cuts(parent, cost, np.array([-1.0, 0.0, 0.99, 1.0, 1.75, 5.0]), 2)
    assert removed[:3].all()
    assert removed[3].tolist() == [False, True, True]
    assert not removed[4:].any()
    certain = best_cuts(parent, np.zeros(3), np.array([-1.0, 0.0]), 1)
    assert certain[0].all()
    assert not certain[1].any()


def test_greedy_takes_the_costliest_leaf_and_then_a_parent_of_a_hole():
    #        0
    #    1       4
    #  2   3   5   6
    parent = np.array([-1, 0, 1, 1, 0, 4, 4])
    cost = np.array([0.1, 0.2, 3.0, 1.0, 0.9, 2.0, 0.5])
    steps = greedy_sequence(parent, cost, 2)
    cut = [sorted(np.flatnonzero(each).tolist()) for each in steps]
    assert cut[:4] == [[], [2], [2, 5], [2, 4, 5, 6]]  # two holes: of 1 and 4 the costlier goes
    assert cut[4] == [1, 2, 3, 4, 5, 6]
    assert len(cut[-1]) == 7


def test_uniform_removes_the_same_share_of_every_program():
    parent = np.array([-1, 0, 0, 0, 0])
    for cost in (np.full(5, 0.001), np.array([0, 9.0, 8, 7, 6])):
        steps = greedy_sequence(parent, cost, 4)
        removed = stopped_at_share(steps, np.array([0.0, 0.4, 0.8, 1.0]))
        assert removed.sum(1).tolist() == [5, 3, 1, 0]


def test_a_solver_out_of_time_says_so():
    rng = np.random.default_rng(0)
    parent, cost = random_tree(rng, 60)
    with pytest.raises(CutError, match=r"was not solved.*time_limit"):
        solve(parent, cost, np.geomspace(0.1, 50, 40), 4, time_limit=1e-3)

"""Queries: what the source passes on is followed edge by edge, and the rest left to fingerprints.

With ``x_v`` the vector of a walker that starts at ``v`` and ends where it has no way to go on,
the decomposition theorem (Jeh and Widom) reads

    x_v = c e_v + (1 - c) sum_w P[v, w] x_w,

so that a flow ``f`` which is to become ``sum_v f[v] x_v`` may be replaced, round by round, by
scores ``c f`` and the flow ``(1 - c) f P``. What flow is left after the last round is multiplied
with the fingerprints of the vertices that it stands on.

Two things go beyond the paper. Only flow that matters for the error asked for is passed on: the
vertices with the largest share of the squared error, for each unit of work. And flow takes as
many groups of walks of its vertex as the error asks for; where it is spread too thin for one, a
group is taken at random places only, evenly spaced along the flow, at a weight that makes up for
the rest. So the work depends on the error and not on the degrees of hubs.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from paperworks.graphs.powerwalk.walks import unit

EDGE = 4.0
"""What an edge costs that flow passes, in units of a target of a fingerprint: the vertex at its
end is looked at several times more."""
TRIES = 3
LEFT = 0.5
"""Of the squared error asked for may remain when all groups of a fingerprint are taken."""
BUCKETS = 280
LEAST = -250  # exponent of the lowest bucket


@numba.njit(cache=True, nogil=True, inline="always")
def _error(f, v, first, facts):
    """Squared error if flow `f` at `v` is left to all groups of its fingerprint."""
    return f * f * facts[v, 1] / (first[v + 1] - first[v])


@numba.njit(cache=True, nogil=True)
def _cut(flow, standing, count, indptr, first, facts, work, allowed, errors):
    """The share of error for a unit of work above which vertices have to pass their flow on.

    Vertices below it have at most `allowed` of the squared error in all; 0 if all do. Shares are
    counted in powers of two.
    """
    errors[:] = 0.0
    total = 0.0
    for i in range(count):
        v = standing[i]
        error = _error(flow[v], v, first, facts)
        if error > 0.0:
            total += error
            share = error / (EDGE * (indptr[v + 1] - indptr[v]) + work)
            errors[min(max(math.frexp(share)[1] - LEAST, 0), BUCKETS - 1)] += error
    if total <= 2.0 * allowed:
        return 0.0
    below = 0.0
    for bucket in range(BUCKETS):
        below += errors[bucket]
        if below > allowed:
            return 2.0 ** (bucket + LEAST - 1)
    return 0.0


@numba.njit(cache=True, nogil=True)
def _round(
    flow, scores, standing, count, touched, scored, graph, restart, first, facts, work, cut, moved
):
    """One round of decomposition: flow above the cut goes one step on; all flow, with a cut of 0.

    Vertices with flow are ``standing[:count]``, those with a score ``touched[:scored]``. Returns
    both counts after the round, and how many vertices passed their flow on.
    """
    indptr, indices, cumulative = graph
    kept, moving = 0, 0
    for i in range(count):
        v = standing[i]
        cost = EDGE * (indptr[v + 1] - indptr[v]) + work
        if _error(flow[v], v, first, facts) >= cut * cost:
            moved[moving], moving = v, moving + 1
        else:
            standing[kept], kept = v, kept + 1
    # All moves are of the flow before the round: so what is gathered here is set aside first.
    amounts = np.empty(moving)
    for i in range(moving):
        v = moved[i]
        amounts[i] = flow[v]
        flow[v] = 0.0
    for i in range(moving):
        v = moved[i]
        f = amounts[i]
        if scores[v] == 0.0:
            touched[scored], scored = v, scored + 1
        scores[v] += restart * f
        start, stop = indptr[v], indptr[v + 1]
        each = (1.0 - restart) * f / max(stop - start, 1)
        before = 0.0
        for edge in range(start, stop):
            if cumulative.size:
                each = (1.0 - restart) * f * (cumulative[edge] - before)
                before = cumulative[edge]
                if each <= 0.0:
                    continue
            w = indices[edge]
            if flow[w] == 0.0:
                standing[kept], kept = w, kept + 1
            flow[w] += each
    return kept, scored, moving


@numba.njit(cache=True, nogil=True, inline="always")
def _shared(f, grain, groups, own, variance):
    """Groups that a flow takes, and its squared error; `own` is a group's sum of squares."""
    if f < grain:
        return 0, f * f * variance + (grain - f) * f * own
    if grain > 0.0:
        groups = min(groups, math.ceil(f / grain))
    return groups, f * f * variance / groups


@numba.njit(cache=True, nogil=True)
def _grain(flow, standing, count, first, facts, allowed):
    """The largest flow for a group with which the squared error is `allowed`, about; never less.

    The error grows with it at most in proportion: so each try is safe to be put up by as much as
    the error lacks, and is checked.
    """
    least = spread = 0.0
    for i in range(count):
        v = standing[i]
        least += _error(flow[v], v, first, facts)
        spread += flow[v] * max(facts[v, 0], facts[v, 1])
    if least >= allowed or spread == 0.0:
        return 0.0
    grain = (allowed - least) / spread
    tried = grain
    for _ in range(TRIES):
        error = 0.0
        for i in range(count):
            v = standing[i]
            groups = first[v + 1] - first[v]
            error += _shared(flow[v], tried, groups, facts[v, 0], facts[v, 1])[1]
        if error > allowed:
            break
        grain = tried
        if error > 0.8 * allowed:
            break
        tried *= min((allowed - least) / max(error - least, 0.1 * (allowed - least)), 4.0)
    return grain


@numba.njit(cache=True, nogil=True)
def decompose(
    rows, weights, graph, prints, restart, group_walks, work, target, most_rounds, fixed, chance,
    flow, scores, standing, touched, moved, errors,
):  # fmt: skip
    """The vector of one start distribution.

    `rows` and `weights` are the distribution. With `fixed` all flow goes on for `most_rounds`
    rounds, and what is left is combined with all groups of the fingerprints. Otherwise rounds go
    on until the estimated root mean square Euclidean error can be `target`, and as many groups
    are taken as that needs.

    The first five buffers have one place for each vertex; `flow` and `scores` hold zeros before.
    After it, ``touched[:found]`` are the vertices with a score and `flow` holds zeros again; the
    caller clears `scores`.

    Returns ``found, squared error, flow left to the fingerprints, rounds``.
    """
    first, starts, targets, counts, facts = prints
    count, scored, rounds = 0, 0, 0
    for i in range(rows.size):
        if flow[rows[i]] == 0.0:
            standing[count], count = rows[i], count + 1
        flow[rows[i]] += weights[i]
    allowed = target * target
    while rounds < most_rounds:
        cut = 0.0
        if not fixed:
            cut = _cut(
                flow, standing, count, graph[0], first, facts, work, 0.5 * LEFT * allowed, errors
            )
            if cut == 0.0:
                break
        count, scored, moving = _round(
            flow, scores, standing, count, touched, scored, graph, restart, first, facts, work,
            cut, moved,
        )  # fmt: skip
        if moving == 0:
            break
        rounds += 1
    left = 0.0
    for i in range(count):
        left += flow[standing[i]]
    grain = 0.0  # the flow that a group is worth: at less, it is taken at random
    if not fixed:
        grain = _grain(flow, standing, count, first, facts, allowed)
    along = unit(chance, rows[0], 0)
    error = 0.0
    for i in range(count):
        v = standing[i]
        f = flow[v]
        flow[v] = 0.0
        if scores[v] == 0.0:
            touched[scored], scored = v, scored + 1
        scores[v] += restart * f
        groups, of_it = _shared(f, grain, first[v + 1] - first[v], facts[v, 0], facts[v, 1])
        error += of_it
        if groups == 0:
            along += f / grain
            if along < 1.0:
                continue
            along -= 1.0
            f, groups = grain, 1
        scale = f * restart / (groups * group_walks)
        for k in range(starts[first[v]], starts[first[v] + groups]):
            w = targets[k]
            if scores[w] == 0.0:
                touched[scored], scored = w, scored + 1
            scores[w] += scale * counts[k]
    return scored, error, left, rounds


@numba.njit(cache=True, nogil=True)
def masses(graph, restart, tolerance):
    """The sum of each vertex's vector, (n,): below 1 where walks may end at dangling vertices.

    Gauss-Seidel on ``m = c + (1 - c) P m`` until no entry changes by `tolerance`.
    """
    indptr, indices, cumulative = graph
    n = indptr.size - 1
    found = np.ones(n)
    change = 1.0
    while change > tolerance:
        change = 0.0
        for v in range(n):
            first, last = indptr[v], indptr[v + 1]
            ahead, before = 0.0, 0.0
            for edge in range(first, last):
                if cumulative.size:
                    ahead += (cumulative[edge] - before) * found[indices[edge]]
                    before = cumulative[edge]
                else:
                    ahead += found[indices[edge]]
            if last > first and not cumulative.size:
                ahead /= last - first
            now = restart + (1.0 - restart) * ahead
            change = max(change, abs(now - found[v]))
            found[v] = now
    return found

"""Queries: what the source passes on is followed edge by edge, and the rest left to fingerprints.

With ``x_v`` the vector of a walker that starts at ``v`` and ends where it has no way to go on,
the decomposition theorem (Jeh and Widom) reads

    x_v = c e_v + (1 - c) sum_w P[v, w] x_w,

so that a flow ``f`` which is to become ``sum_v f[v] x_v`` may be replaced, round by round, by
scores ``c f`` and the flow ``(1 - c) f P``. What flow is left after the last round is multiplied
with the fingerprints of the vertices that it stands on.

Two things go beyond the paper. Only flow that matters for the error asked for is passed on: the
vertices with the largest share of the squared error, for each unit of work. And flow that is
spread thin is combined with fingerprints at random places only, evenly spaced along it, at a
weight that makes up for the rest: so the work depends on the error asked for and not on the
degrees of hubs.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from paperworks.graphs.powerwalk.walks import unit

LEFT = 0.5  # of the squared error asked for may go to the fingerprints, the rest to thinning
_BUCKETS = 280
_LEAST = -250  # exponent of the lowest bucket


@numba.njit(cache=True, nogil=True)
def _cut(flow, standing, count, indptr, variance, work, allowed):
    """The share of error for a unit of work above which vertices have to pass their flow on.

    Vertices below it have at most `allowed` of the squared error in all. Shares are counted in
    powers of two.
    """
    errors = np.zeros(_BUCKETS)
    for i in range(count):
        v = standing[i]
        error = flow[v] * flow[v] * variance[v]
        if error > 0.0:
            share = error / (indptr[v + 1] - indptr[v] + work)
            errors[min(max(math.frexp(share)[1] - _LEAST, 0), _BUCKETS - 1)] += error
    below = 0.0
    for bucket in range(_BUCKETS):
        below += errors[bucket]
        if below > allowed:
            return 2.0 ** (bucket + _LEAST - 1)
    return np.inf


@numba.njit(cache=True, nogil=True)
def _round(
    flow, scores, standing, count, touched, scored, graph, restart, variance, work, cut, moved
):
    """One round of decomposition: flow above the cut goes one step on; all flow, with a cut of 0.

    Vertices with flow are ``standing[:count]``, those with a score ``touched[:scored]``. Returns
    both counts after the round, and the flow that moved.
    """
    indptr, indices, cumulative = graph
    kept, moving, amount = 0, 0, 0.0
    for i in range(count):
        v = standing[i]
        f = flow[v]
        degree = indptr[v + 1] - indptr[v]
        if f * f * variance[v] >= cut * (degree + work):
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
        amount += f
        if scores[v] == 0.0:
            touched[scored], scored = v, scored + 1
        scores[v] += restart * f
        first, last = indptr[v], indptr[v + 1]
        each = (1.0 - restart) * f / max(last - first, 1)
        before = 0.0
        for edge in range(first, last):
            if cumulative.size:
                each = (1.0 - restart) * f * (cumulative[edge] - before)
                before = cumulative[edge]
                if each <= 0.0:
                    continue
            w = indices[edge]
            if flow[w] == 0.0:
                standing[kept], kept = w, kept + 1
            flow[w] += each
    return kept, scored, amount


@numba.njit(cache=True, nogil=True)
def decompose(
    rows, weights, graph, prints, restart, walks, work, target, most_rounds, fixed, chance,
    flow, scores, standing, touched, moved,
):  # fmt: skip
    """The vector of one start distribution.

    `rows` and `weights` are the distribution. With `fixed` all flow goes on for `most_rounds`
    rounds, and what is left is combined with fingerprints, all of it. Otherwise rounds go on until
    the estimated root mean square Euclidean error is at most `target`.

    The five buffers have one place for each vertex; `flow` and `scores` hold zeros before. After
    it, ``touched[:found]`` are the vertices with a score and `flow` holds zeros again; the caller
    clears `scores`.

    Returns ``found, squared error, flow left to the fingerprints, rounds``.
    """
    indptr = graph[0]
    first, targets, counts, variance, power = prints
    count = 0
    for i in range(rows.size):
        if flow[rows[i]] == 0.0:
            standing[count], count = rows[i], count + 1
        flow[rows[i]] += weights[i]
    scored, rounds = 0, 0
    allowed = target * target
    while rounds < most_rounds:
        cut = 0.0
        if not fixed:
            error = 0.0
            for i in range(count):
                v = standing[i]
                error += flow[v] * flow[v] * variance[v]
            if error <= LEFT * allowed:
                break
            cut = _cut(flow, standing, count, indptr, variance, work, 0.5 * LEFT * allowed)
        count, scored, amount = _round(
            flow, scores, standing, count, touched, scored, graph, restart, variance, work, cut,
            moved,
        )  # fmt: skip
        if amount == 0.0:
            break
        rounds += 1
    error = left = spread = 0.0
    for i in range(count):
        v = standing[i]
        f = flow[v]
        left += f
        error += f * f * variance[v]
        spread += f * power[v]
    thin = 0.0  # flow below it is combined at this weight, or not at all
    if not fixed and allowed > error and spread > 0.0:
        thin = (allowed - error) / spread
    along = unit(chance, rows[0], 0)
    for i in range(count):
        v = standing[i]
        f = flow[v]
        flow[v] = 0.0
        if scores[v] == 0.0:
            touched[scored], scored = v, scored + 1
        scores[v] += restart * f
        if f < thin:
            error += (thin - f) * f * power[v]
            along += f / thin
            if along < 1.0:
                continue
            along -= 1.0
            f = thin
        scale = f * restart / walks
        for k in range(first[v], first[v + 1]):
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

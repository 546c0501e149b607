"""Wall time of tall dense least squares, and of the transform below it, beside the peers.

Least squares: ours to machine precision and sketched only, numpy.linalg.lstsq (gelsd), SciPy's
gelsy, and LSMR. "easy" has independent normal entries; "hard" has them mixed to a condition of
1e6. The note gives CPU seconds, which other work on the machine disturbs less than the time by
the clock, and the accuracy reached, ``||x - x*|| / ||x*||`` against gelsy. LSMR is asked for 1e-14
and stopped after 200 iterations.

Sizes past some memory run with PAPERWORKS_BENCH_LARGE=1 only.
"""

from __future__ import annotations

import os
import time
from functools import cache

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
from scipy.sparse.linalg import lsmr

from paperworks.numerics import hadamard_transform, sketched_lstsq

LARGE = pytest.mark.skipif(
    not os.environ.get("PAPERWORKS_BENCH_LARGE"),
    reason="needs up to 60 GB and an hour: set PAPERWORKS_BENCH_LARGE=1",
)
SIZES = [
    (100_000, 50),
    (200_000, 200),
    (1_000_000, 50),
    *[
        pytest.param(n, d, marks=LARGE)
        for n, d in ((1_000_000, 200), (1_000_000, 500), (4_000_000, 50), (4_000_000, 500))
    ],
]
CONTENDERS = ("ours", "ours, eps=0.5", "ours, eps=0.1", "numpy.linalg.lstsq", "gelsy", "LSMR")


@cache
def problem(kind, n, d):
    problem.cache_clear()  # one at a time is enough for the memory
    rng = np.random.default_rng(0)
    A = rng.standard_normal((n, d))
    if kind == "hard":
        left, right = (np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(2))
        A = A @ (left * np.logspace(0, -6, d)) @ right
    b = A @ rng.standard_normal(d) + rng.standard_normal(n) / np.sqrt(n)
    exact = scipy.linalg.lstsq(A, b, lapack_driver="gelsy", check_finite=False)[0]
    return A, b, exact


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize(("n", "d"), SIZES)
@pytest.mark.parametrize("kind", ["easy", "hard"])
def test_least_squares(race, kind, n, d, contender):
    A, b, exact = problem(kind, n, d)

    def solve():
        if contender.startswith("ours, eps"):
            eps = float(contender.split("=")[1])
            return sketched_lstsq(A, b, eps=eps, delta=0.01, rng=1).x
        if contender == "ours":
            return sketched_lstsq(A, b, method="precondition", rng=1).x
        if contender == "gelsy":
            return scipy.linalg.lstsq(A, b, lapack_driver="gelsy", check_finite=False)[0]
        if contender == "LSMR":
            return lsmr(A, b, atol=1e-14, btol=1e-14, conlim=0, maxiter=200)[0]
        return np.linalg.lstsq(A, b, rcond=None)[0]

    def run():
        start = time.process_time()
        x = solve()
        return x, time.process_time() - start

    def note(result):
        x, seconds = result
        error = np.linalg.norm(x - exact) / np.linalg.norm(exact)
        return f"{seconds:.2g} s of CPU, relative error {error:.0e}"

    race(
        run,
        group=f"least squares, {kind}, n={n} d={d}",
        contender=contender,
        ours=contender.startswith("ours"),
        rounds=1 if contender == "LSMR" else 3,
        warmup=1 if contender.startswith("ours") else 0,
        note=note,
    )


@pytest.mark.parametrize("contender", ["ours", "scipy.fft.dct", "naive Hadamard"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((1 << 10,), 0), ((1 << 16,), 0), ((1 << 20,), 0), ((1 << 24,), 0), ((1 << 17, 50), 0)],
)
def test_transform(race, shape, axis, contender):
    x = np.random.default_rng(0).standard_normal(shape)

    def naive():
        # The textbook loop over stages, each a NumPy operation on the whole array.
        y, n, half = x.copy(), shape[axis], 1
        while half < n:
            y = y.reshape(n // (2 * half), 2, half, *shape[1:])
            y = np.stack((y[:, 0] + y[:, 1], y[:, 0] - y[:, 1]), axis=1)
            half *= 2
        return y.reshape(shape)

    race(
        {
            "ours": lambda: hadamard_transform(x, axis=axis, workers=1),
            "scipy.fft.dct": lambda: scipy.fft.dct(x, axis=axis),
            "naive Hadamard": naive,
        }[contender],
        group=f"transform of {' x '.join(map(str, shape))} along axis {axis}",
        contender=contender,
        ours=contender == "ours",
        rounds=5,
    )

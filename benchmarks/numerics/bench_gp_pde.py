"""Time, peak memory and error of Poisson's equation in the plane, over growing grids.

The solution is ``sin(w x + 0.3) sin(w y)`` at five nodes a period, so that its frequency grows with
the grid. Ours learns; "ours, starting kernel" is a single collocation solve. "dense GP" solves the
same square system with the N x N matrix formed, as for scattered points. The networks have a fixed
number of steps. Finite differences of second order and Chebyshev collocation, on as many nodes, are
what one would use without any learning.

``python benchmarks/numerics/bench_gp_pde.py`` prints the page's table: each cell in a process of
its own, with its peak memory beyond the imports.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
import torch

from paperworks.claims._pinn import solve_pinn
from paperworks.numerics import GPSolver, PDEOperator
from paperworks.numerics.gp_pde.axes import Axis, Basis, along
from paperworks.numerics.gp_pde.kernels import Mixture

SIZES = (25, 50, 100, 200, 400)
FINE = np.linspace(0, 1, 301)
PER_PERIOD, ADAM, LBFGS = 5, 300, 30


def solution(n):
    w = 2 * np.pi * (n - 1) / PER_PERIOD
    return w, lambda x, y: np.sin(w * x + 0.3) * np.sin(w * y)


def problem(n):
    w, u = solution(n)
    return u, lambda x, y: -2 * w**2 * u(x, y)


def relative(got, n):
    _, u = solution(n)
    exact = u(FINE[:, None], FINE)
    return float(np.linalg.norm(got - exact) / np.linalg.norm(exact))


def ours(n, rounds):
    u, f = problem(n)
    x = np.linspace(0, 1, n)
    found = GPSolver(PDEOperator.poisson(2), (x, x)).solve(f, u, rounds=rounds)
    return relative(found.on_grid(FINE, FINE), n)


def dense(n):
    """Interior rows of the whole matrix, then prediction through axes, as ours."""
    u, f = problem(n)
    x = np.linspace(0, 1, n)
    axis = Axis(torch.from_numpy(x))
    kernel = Mixture.spread(30, 0.6 * axis.nyquist, 5, None)
    basis = Basis(axis, kernel, (2,), 1e-13)
    D, eye = basis.D[2].numpy(), np.eye(n)
    big = np.kron(D, eye) + np.kron(eye, D)
    edge = np.ones((n, n), dtype=bool)
    edge[1:-1, 1:-1] = False
    edge = edge.reshape(-1)
    big[edge] = np.eye(n * n)[edge]
    X, Y = np.meshgrid(x, x, indexing="ij")
    right = np.where(edge, u(X, Y).reshape(-1), f(X, Y).reshape(-1))
    values = torch.from_numpy(np.linalg.solve(big, right).reshape(n, n))
    fine = torch.from_numpy(FINE)
    weights = torch.cholesky_solve(basis.cross(fine, 0).T, basis.factor).T
    return relative(along(weights, along(weights, values, 0), 1).numpy(), n)


def network(n, features):
    u, f = problem(n)
    x = np.linspace(0, 1, n)
    found, _ = solve_pinn(
        PDEOperator.poisson(2),
        (x, x),
        f,
        u,
        seed=0,
        features=features,
        adam=ADAM,
        lbfgs=LBFGS,
    )
    points = np.stack(np.meshgrid(FINE, FINE, indexing="ij"), -1).reshape(-1, 2)
    return relative(found(points).reshape(len(FINE), -1), n)


def differences(n):
    """Five points, sparse LU, cubic interpolation between the nodes."""
    from scipy.interpolate import RectBivariateSpline

    u, f = problem(n)
    x = np.linspace(0, 1, n)
    h2 = (x[1] - x[0]) ** 2
    X, Y = np.meshgrid(x, x, indexing="ij")
    values = u(X, Y)
    right = f(X, Y)[1:-1, 1:-1].copy()
    right[0] -= values[0, 1:-1] / h2
    right[-1] -= values[-1, 1:-1] / h2
    right[:, 0] -= values[1:-1, 0] / h2
    right[:, -1] -= values[1:-1, -1] / h2
    line = scipy.sparse.diags_array(
        [np.ones(n - 3), -2 * np.ones(n - 2), np.ones(n - 3)], offsets=[-1, 0, 1]
    )
    eye = scipy.sparse.eye_array(n - 2)
    matrix = (scipy.sparse.kron(line, eye) + scipy.sparse.kron(eye, line)) / h2
    values[1:-1, 1:-1] = scipy.sparse.linalg.spsolve(matrix.tocsc(), right.reshape(-1)).reshape(
        n - 2, n - 2
    )
    return relative(RectBivariateSpline(x, x, values)(FINE, FINE), n)


def chebyshev(n):
    """Collocation at Chebyshev's points, by a Sylvester equation; barycentric interpolation."""
    u, f = problem(n)
    k = np.arange(n)
    x = (1 - np.cos(np.pi * k / (n - 1))) / 2
    c = np.where((k == 0) | (k == n - 1), 2.0, 1.0) * (-1.0) ** k
    gap = x[:, None] - x + np.eye(n)
    D = (c[:, None] / c) / gap
    D -= np.diag(D.sum(1))
    D2 = D @ D
    X, Y = np.meshgrid(x, x, indexing="ij")
    values, inside = u(X, Y), slice(1, -1)
    right = f(X, Y)[inside, inside]
    right = right - D2[inside][:, [0, -1]] @ values[[0, -1], inside]
    right = right - values[inside][:, [0, -1]] @ D2[inside][:, [0, -1]].T
    block = D2[inside, inside]
    values[inside, inside] = scipy.linalg.solve_sylvester(block, block.T, right)
    difference = FINE[:, None] - x
    hit = np.abs(difference) < 1e-14
    rows = (1 / c) / np.where(hit, 1.0, difference)
    rows = np.where(hit.any(1)[:, None], hit, rows / rows.sum(1, keepdims=True))
    return relative(rows @ values @ rows.T, n)


CONTENDERS = {
    "ours": lambda n: ours(n, 5),
    "ours, starting kernel": lambda n: ours(n, 0),
    "dense GP": dense,
    "PINN": lambda n: network(n, False),
    "PINN on Fourier features": lambda n: network(n, True),
    "finite differences": differences,
    "Chebyshev": chebyshev,
}
# 8 N^2 bytes for the matrix, and as much for its factor: 2.5 GB at n = 100, with the temporaries.
DENSE_MOST = 100


def fits(contender, n):
    return contender != "dense GP" or n <= DENSE_MOST


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("n", SIZES[:4])
def test_poisson(race, n, contender):
    if not fits(contender, n):
        pytest.skip(f"the matrix alone would take {8 * n**4 / 2**30:.0f} GiB")
    race(
        lambda: CONTENDERS[contender](n),
        group=f"Poisson in the plane, {n} x {n}",
        contender=contender,
        ours=contender.startswith("ours"),
        rounds=1,
        warmup=0,
        note=lambda error: f"relative error {error:.0e}",
    )


def measure(contender, n):
    """Seconds, peak memory beyond the imports in MB, and error, in this process."""
    CONTENDERS["ours"](10)
    CONTENDERS["Chebyshev"](10)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    error = CONTENDERS[contender](n)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": seconds, "cpu": cpu, "mb": peak / 1024, "error": error}


def table(sizes):
    print("| n | contender | CPU seconds | peak memory, MB | relative error |")
    print("|---|---|---|---|---|")
    for n in sizes:
        for contender in CONTENDERS:
            if not fits(contender, n):
                continue
            out = subprocess.run(
                [sys.executable, __file__, contender, str(n)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            cell = json.loads(out.splitlines()[-1])
            print(
                f"| {n} | {contender} | {cell['cpu']:.2g} | {cell['mb']:.0f} "
                f"| {cell['error']:.0e} |",
                flush=True,
            )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
    else:
        table(SIZES)

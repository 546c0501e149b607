from __future__ import annotations

import gzip
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp

from paperworks.numerics import SinkhornNewtonResult, sinkhorn_newton_sparse
from paperworks.numerics.sinkhorn import kernels, solver

PAPER = {"scaling": None, "warmup": 20}


def assignment(n, seed=0):
    return np.full(n, 1 / n), np.full(n, 1 / n), np.random.default_rng(seed).random((n, n))


def pixel_costs(side, power):
    x = np.stack(np.meshgrid(*[np.arange(side) / side] * 2, indexing="ij"), -1).reshape(-1, 2)
    difference = np.abs(x[:, None] - x[None])
    return difference.sum(-1) if power == 1 else (difference**2).sum(-1)


def mnist(count):
    folder = os.environ.get("PAPERWORKS_DATA")
    if not folder:
        pytest.skip("needs MNIST: set PAPERWORKS_DATA")
    with gzip.open(Path(folder) / "mnist" / "t10k-images-idx3-ubyte.gz") as file:
        raw = np.frombuffer(file.read(16 + 784 * count), np.uint8)
    return raw[16:].reshape(count, 784).astype(float)


def marginal_error(plan, a, b):
    return np.abs(plan.sum(1) - a).sum() + np.abs(plan.sum(0) - b).sum()


def check_optimal(result, a, b, M, reg, tol=1e-9):
    """The plan is feasible and a scaled Gibbs kernel, and only the optimum is both."""
    assert result.converged
    assert marginal_error(result.plan, a, b) <= tol * a.sum() * 1.01
    f, g = result.potentials
    with np.errstate(under="ignore"):
        gibbs = np.exp((f[:, None] + g[None, :] - M) / reg)
    np.testing.assert_allclose(result.plan, gibbs, rtol=1e-6, atol=1e-15 * a.sum())
    assert result.cost == pytest.approx((result.plan * M).sum(), rel=1e-9, abs=1e-300)


# --- against what is known in closed form -----------------------------------------------------


@pytest.mark.parametrize("reg", [10.0, 1.0, 0.05])
def test_two_points_in_closed_form(reg):
    result = sinkhorn_newton_sparse([0.5, 0.5], [0.5, 0.5], [[0, 1], [1, 0]], reg)
    stay = 0.5 / (1 + np.exp(-1 / reg))
    np.testing.assert_allclose(result.plan, [[stay, 0.5 - stay], [0.5 - stay, stay]], atol=1e-10)


@pytest.mark.parametrize("reg", [0.5, 0.1, 0.02])
def test_gaussians_in_closed_form(reg):
    # The optimal coupling of N(0, s^2) and N(1, t^2) is Gaussian, of covariance c.
    s, t = 0.3, 0.2
    x, y = np.linspace(-2, 2, 321), np.linspace(-0.5, 2.5, 301)
    a, b = np.exp(-(x**2) / (2 * s**2)), np.exp(-((y - 1) ** 2) / (2 * t**2))
    a, b = a / a.sum(), b / b.sum()
    result = sinkhorn_newton_sparse(a, b, (x[:, None] - y[None]) ** 2, reg)
    c = (np.hypot(reg, 4 * s * t) - reg) / 4
    assert result.converged
    assert result.cost == pytest.approx(1 + s**2 + t**2 - 2 * c, rel=1e-6)
    # weights down to 1e-26 keep their own potentials
    check_optimal(result, a, b, (x[:, None] - y[None]) ** 2, reg)


# --- against peers ----------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "reg"), [(40, 1e-1), (60, 1e-2)])
def test_agrees_with_pot_on_random_assignment(n, reg):
    ot = pytest.importorskip("ot")
    a, b, M = assignment(n, seed=n)
    plan = ot.bregman.sinkhorn_log(a, b, M, reg, numItermax=100_000, stopThr=1e-12)
    for options in ({}, PAPER, {"density": 0.2}):
        result = sinkhorn_newton_sparse(a, b, M, reg, **options)
        assert result.cost == pytest.approx((plan * M).sum(), rel=1e-6)
        np.testing.assert_allclose(result.plan, plan, atol=1e-8)


@pytest.mark.slow
def test_agrees_with_pot_at_the_papers_size():
    # sinkhorn_log would take many minutes; the stabilised one makes the same iterations.
    ot = pytest.importorskip("ot")
    a, b, M = assignment(500)
    plan = ot.bregman.sinkhorn_stabilized(a, b, M, 1 / 300, numItermax=100_000, stopThr=1e-10)
    result = sinkhorn_newton_sparse(a, b, M, 1 / 300)
    assert result.cost == pytest.approx((plan * M).sum(), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("power", [1, 2])
def test_agrees_with_pot_on_mnist(power):
    ot = pytest.importorskip("ot")
    source, target = mnist(2)
    rows, cols = source > 0, target > 0
    a, b = source / source.sum(), target / target.sum()
    M = pixel_costs(28, power)
    reg = M.max() / 1200
    plan = ot.bregman.sinkhorn_log(
        a[rows], b[cols], M[np.ix_(rows, cols)], reg, numItermax=100_000, stopThr=1e-11
    )
    result = sinkhorn_newton_sparse(a, b, M, reg)  # zero weights and all
    assert result.converged
    assert result.cost == pytest.approx((plan * M[np.ix_(rows, cols)]).sum(), rel=1e-6)
    assert not result.plan[~rows].any()
    assert not result.plan[:, ~cols].any()
    assert np.isneginf(result.potentials[0][~rows]).all()
    assert np.isfinite(result.potentials[0][rows]).all()


# --- the problems of the paper ----------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, PAPER], ids=["default", "as in the paper"])
@pytest.mark.parametrize("reg", [1 / 1200, 1e-4])
def test_random_assignment_of_500(options, reg):
    a, b, M = assignment(500)
    result = sinkhorn_newton_sparse(a, b, M, reg, **options)
    check_optimal(result, a, b, M, reg)
    # Sinkhorn needs tens of thousands; the paper's own count at 1/1200 is 29
    assert result.sinkhorn_iterations + result.newton_iterations < 100
    assert result.newton_iterations > 0
    exact = M[linear_sum_assignment(M)].mean()
    assert exact <= result.cost <= exact + reg * np.log(500)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("reg", [1 / 1200, 1e-4])
def test_wasserstein_between_mnist_images(power, reg):
    source, target = mnist(4)[2:]
    M = pixel_costs(28, power)
    M /= M.max()
    # The whole square, background raised so that every pixel has weight, and the ink alone.
    for background in (2.55, 0.0) if reg > 1e-3 else (0.0,):
        a, b = source + background, target + background
        a, b = a / a.sum(), b / b.sum()
        result = sinkhorn_newton_sparse(a, b, M, reg)
        check_optimal(result, a, b, M, reg)
        assert result.sinkhorn_iterations + result.newton_iterations < 150


# --- hard cases -------------------------------------------------------------------------------


@pytest.mark.parametrize("reg", [1e-2, 1e-4, 1e-6])
def test_tiny_reg_reaches_the_exact_assignment(reg):
    a, b, M = assignment(60)
    result = sinkhorn_newton_sparse(a, b, M, reg)
    check_optimal(result, a, b, M, reg, tol=1e-9)
    exact = M[linear_sum_assignment(M)].mean()
    assert exact * (1 - 1e-6) <= result.cost <= exact + reg * np.log(60)


def test_newton_from_a_far_start():
    # No Sinkhorn iteration at all and a reg that leaves the first Hessian almost singular.
    a, b, M = assignment(60)
    result = sinkhorn_newton_sparse(a, b, M, 1e-4, warmup=0, scaling=None, max_sinkhorn=0)
    check_optimal(result, a, b, M, 1e-4)
    assert result.sinkhorn_iterations == 0


@pytest.mark.parametrize("reg", [1e-3, 1e-4, 1e-5])
def test_tails_of_densities(reg):
    x = np.linspace(0, 1, 200)
    a, b = np.exp(-((x - 0.3) ** 2) / 0.002), np.exp(-((x - 0.7) ** 2) / 0.004)
    a, b = a / a.sum(), b / b.sum()
    assert min(a.min(), b.min()) < 1e-100
    result = sinkhorn_newton_sparse(a, b, (x[:, None] - x) ** 2, reg)
    assert result.converged
    # Damping by the global error alone lets the tails run away and takes twice as many.
    assert result.sinkhorn_iterations + result.newton_iterations < 70


def test_clusters_that_must_exchange_mass():
    # Two far clusters of unequal mass: the system is nearly singular between them.
    rng = np.random.default_rng(0)
    a = np.repeat([0.02, 0.4 / 30], 30)
    a /= a.sum()
    b = np.full(60, 1 / 60)
    x, y = (np.concatenate([rng.random(30), 10 + rng.random(30)]) for _ in "xy")
    M = (x[:, None] - y) ** 2
    for options in ({}, PAPER):
        check_optimal(sinkhorn_newton_sparse(a, b, M, 0.1, **options), a, b, M, 0.1)


@pytest.mark.parametrize("M", [np.ones((7, 5)), np.zeros((7, 5)), np.eye(7, 5)], ids=str)
def test_ties_and_constant_costs(M):
    a, b = np.full(7, 1 / 7), np.full(5, 1 / 5)
    result = sinkhorn_newton_sparse(a, b, M, 1e-3)
    check_optimal(result, a, b, M, 1e-3)
    if np.ptp(M) == 0:
        np.testing.assert_allclose(result.plan, 1 / 35)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_one_row_or_column(shape):
    a, b = np.full(shape[0], 1 / shape[0]), np.full(shape[1], 1 / shape[1])
    result = sinkhorn_newton_sparse(a, b, np.random.default_rng(0).random(shape), 1e-3)
    assert result.converged
    np.testing.assert_allclose(result.plan, np.outer(a, b), atol=1e-12)


# --- invariants -------------------------------------------------------------------------------

weights = st.lists(st.floats(1e-3, 1), min_size=2, max_size=12)


@settings(max_examples=40, deadline=None)
@given(weights, weights, st.integers(0, 2**16), st.sampled_from([0.3, 0.03, 3e-3, 3e-4]))
def test_invariants(a, b, seed, reg):
    rng = np.random.default_rng(seed)
    a, b = np.array(a) / sum(a), np.array(b) / sum(b)
    M = rng.random((a.size, b.size))
    result = sinkhorn_newton_sparse(a, b, M, reg, tol=1e-11)
    check_optimal(result, a, b, M, reg, tol=1e-11)
    f, g = result.potentials
    assert a @ f == pytest.approx(b @ g, abs=1e-9)

    def same(other, plan=result.plan):
        np.testing.assert_allclose(other.plan, plan, atol=1e-8 * plan.sum())

    i, j = rng.permutation(a.size), rng.permutation(b.size)
    permuted = sinkhorn_newton_sparse(a[i], b[j], M[np.ix_(i, j)], reg, tol=1e-11)
    same(permuted, result.plan[np.ix_(i, j)])
    same(sinkhorn_newton_sparse(b, a, M.T, reg, tol=1e-11), result.plan.T)
    same(sinkhorn_newton_sparse(a, b, 7 * M, 7 * reg, tol=1e-11))
    shift = rng.random(a.size)
    same(sinkhorn_newton_sparse(a, b, M + shift[:, None], reg, tol=1e-11))
    heavy = sinkhorn_newton_sparse(1e4 * a, 1e4 * b, M, reg, tol=1e-11)
    same(heavy, 1e4 * result.plan)
    check_optimal(heavy, 1e4 * a, 1e4 * b, M, reg, tol=1e-11)
    same(sinkhorn_newton_sparse(a, b, M, reg, tol=1e-11, **PAPER))
    plain = sinkhorn_newton_sparse(a, b, M, reg, tol=1e-7, max_newton=0, max_sinkhorn=3000)
    if plain.converged:
        np.testing.assert_allclose(plain.plan, result.plan, atol=1e-5)


@pytest.mark.parametrize("seed", [81, 121, 133, 209, 832, 1058])
def test_weights_that_split_into_equal_parts(seed):
    # Between parts of equal mass next to nothing is moved: the Hessian is all but singular, and
    # near the top of the potential neither its gain nor its slope says which step is better.
    a = np.array([6, 5, 8, 8, 8, 8, 5, 8, 8, 8]) / 72
    b = np.array([8, 6, 5, 8, 8, 8, 5, 8, 8, 8]) / 72
    M = np.random.default_rng(seed).random((10, 10))
    result = sinkhorn_newton_sparse(a, b, M, 3e-4, tol=1e-11)
    check_optimal(result, a, b, M, 3e-4, tol=1e-11)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16))
def test_zero_weights_are_as_if_absent(seed):
    rng = np.random.default_rng(seed)
    a, b, M = rng.random(9), rng.random(8), rng.random((9, 8))
    a[rng.permutation(9)[:4]] = 0
    b[rng.permutation(8)[:3]] = 0
    a, b = a / a.sum(), b / b.sum()
    full = sinkhorn_newton_sparse(a, b, M, 0.01)
    inner = sinkhorn_newton_sparse(a[a > 0], b[b > 0], M[np.ix_(a > 0, b > 0)], 0.01)
    np.testing.assert_allclose(full.plan[np.ix_(a > 0, b > 0)], inner.plan, rtol=1e-9)
    np.testing.assert_allclose(full.potentials[1][b > 0], inner.potentials[1], atol=1e-13)
    assert full.plan.sum() == pytest.approx(1)
    assert full.cost == pytest.approx(inner.cost)
    check_optimal(full, a, b, M, 0.01)


# --- input and output -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_in_torch_out(dtype):
    a, b, M = (torch.tensor(x, dtype=dtype) for x in assignment(30))
    M.requires_grad_()
    before = M.detach().clone()
    result = sinkhorn_newton_sparse(a, b, M, 0.01)
    for tensor in (result.plan, *result.potentials):
        assert isinstance(tensor, torch.Tensor)
        assert tensor.dtype == dtype
        assert not tensor.requires_grad
    assert torch.equal(M.detach(), before)
    as_numpy = sinkhorn_newton_sparse(a.numpy(), b.numpy(), before.numpy(), 0.01)
    assert as_numpy.plan.dtype == before.numpy().dtype
    np.testing.assert_array_equal(result.plan.numpy(), as_numpy.plan)
    assert isinstance(result.cost, float)
    assert result.cost == as_numpy.cost


def test_integers_lists_and_order_of_memory():
    M = np.array([[0, 2], [3, 1], [5, 4]])
    expected = sinkhorn_newton_sparse([1.0, 1.0, 2.0], [2.0, 2.0], M.astype(float), 0.1)
    for a, b, costs in (
        ([1, 1, 2], [2, 2], M.tolist()),
        (np.array([1, 1, 2]), np.array([2, 2]), M),
        (torch.tensor([1, 1, 2]), torch.tensor([2, 2]), torch.tensor(M)),
        ([1, 1, 2], [2, 2], np.asfortranarray(M)),
    ):
        result = sinkhorn_newton_sparse(a, b, costs, 0.1)
        np.testing.assert_array_equal(np.asarray(result.plan), expected.plan)
    assert result.plan.dtype == np.float64


def test_result_is_frozen_and_complete():
    result = sinkhorn_newton_sparse(*assignment(20), 0.01)
    assert isinstance(result, SinkhornNewtonResult)
    with pytest.raises(AttributeError):
        result.cost = 0.0
    assert result.history.shape == (result.sinkhorn_iterations + result.newton_iterations,)
    assert result.history[-1] <= 1e-9
    assert result.evaluations > result.sinkhorn_iterations
    assert result.cg_iterations > 0


@pytest.mark.parametrize(
    ("budget", "iterations"),
    [
        ({"max_sinkhorn": 7, "max_newton": 0}, (7, 0)),
        ({"max_sinkhorn": 0, "max_newton": 2}, (0, 2)),
        ({"max_sinkhorn": 3, "max_newton": 2}, (3, 2)),
        ({"max_sinkhorn": 0, "max_newton": 0}, (0, 0)),
    ],
)
@pytest.mark.parametrize("scaling", [None, 4.0])
def test_a_spent_budget_is_not_called_convergence(budget, iterations, scaling):
    a, b, M = assignment(50)
    result = sinkhorn_newton_sparse(a, b, M, 1e-3, scaling=scaling, **budget)
    assert not result.converged
    assert (result.sinkhorn_iterations, result.newton_iterations) == iterations
    assert result.marginal_error == pytest.approx(marginal_error(result.plan, a, b), rel=1e-6)
    assert result.marginal_error > 1e-9


def test_stops_at_the_floor_of_float64():
    result = sinkhorn_newton_sparse(*assignment(60), 1e-3, tol=1e-17)
    assert not result.converged
    assert result.marginal_error < 1e-12
    assert result.sinkhorn_iterations + result.newton_iterations < 300


def test_same_from_many_threads():
    def solve(seed):
        return sinkhorn_newton_sparse(*assignment(40, seed), 1e-3).plan

    with ThreadPoolExecutor(4) as pool:
        for seed, plan in enumerate(pool.map(solve, range(12))):
            np.testing.assert_array_equal(plan, solve(seed))


HALVES = [0.5, 0.5]
COSTS = [[0.0, 1.0], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"M": [[0.0, -1.0], [1.0, 0.0]]}, r"M must be >= 0, got -1\.0.*M - M\.min\(\)"),
        ({"M": [[0.0, np.nan], [1.0, 0.0]]}, "M must be finite, got nan"),
        ({"M": [[0.0, np.inf], [1.0, 0.0]]}, "M must be finite, got inf"),
        ({"M": [0.0, 1.0]}, r"M must be a matrix with rows and columns, got shape \(2,\)"),
        ({"M": np.zeros((0, 2))}, r"M must be a matrix.*got shape \(0, 2\)"),
        ({"M": [[1j, 0], [0, 1]]}, "M must hold real numbers, got dtype complex128"),
        ({"M": [["x", "y"], ["z", "w"]]}, "M must hold real numbers"),
        ({"a": [0.5, 0.3, 0.2]}, r"a must have one weight for each row of M, shape \(2,\), got"),
        ({"b": [1.0]}, r"b must have one weight for each column of M, shape \(2,\), got \(1,\)"),
        ({"b": [[0.5], [0.5]]}, r"b must have .* got \(2, 1\)"),
        ({"a": [1.5, -0.5]}, r"a must be >= 0, got -0\.5"),
        ({"b": [np.nan, 0.5]}, "b must be finite, got nan"),
        ({"a": [0.5, 0.6]}, r"the same sum, above 0, got 1\.1 and 1\.0; divide each by its sum"),
        ({"a": [0.0, 0.0], "b": [0.0, 0.0]}, r"the same sum, above 0, got 0\.0 and 0\.0"),
        ({"a": [0.5, 0.5 + 1e-8]}, "the same sum"),
        ({"reg": 0.0}, r"reg must be > 0 and finite, got 0\.0; for exact transport use ot\.emd"),
        ({"reg": -1.0}, r"reg must be > 0 and finite, got -1\.0"),
        ({"reg": np.nan}, "reg must be > 0 and finite, got nan"),
        ({"reg": 1e-300}, "reg = 1e-300 is too small for costs up to 1.0"),
        ({"tol": 0.0}, r"tol must be > 0, got 0\.0"),
        ({"max_newton": -1}, "max_newton must be >= 0, got -1"),
        ({"max_sinkhorn": -1}, "max_sinkhorn must be >= 0, got -1"),
        ({"warmup": -1}, "warmup must be >= 0, got -1"),
        ({"density": 0.0}, r"density must be in \(0, 1\], got 0\.0"),
        ({"density": 1.5}, r"density must be in \(0, 1\], got 1\.5"),
        ({"scaling": 1.0}, r"scaling must be > 1, got 1\.0"),
    ],
)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_bad_input(change, message, library):
    arguments = {"a": HALVES, "b": HALVES, "M": COSTS, "reg": 0.1, **change}
    if library == "torch":
        for name in "abM":
            try:
                arguments[name] = torch.as_tensor(np.array(arguments[name]))
            except TypeError:
                pytest.skip("torch has no such tensors")
    if "complex" in message and library == "torch":
        message = "M must hold real numbers"
    with pytest.raises(ValueError, match=message):
        sinkhorn_newton_sparse(**arguments)


def test_single_precision_weights_may_differ_by_their_rounding():
    a = np.full(3, 1 / 3, np.float32)
    b = np.full(7, 1 / 7, np.float32)
    assert float(a.astype(float).sum()) != float(b.astype(float).sum())
    assert sinkhorn_newton_sparse(a, b, np.ones((3, 7), np.float32), 0.1).converged


# --- the parts --------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 30, 3000]), st.integers(0, 99))
def test_row_scaling_against_scipy(n, m, scale, seed):
    rng = np.random.default_rng(seed)
    C, v, log_a = scale * rng.random((n, m)), scale * rng.normal(size=m), rng.normal(size=n)
    u, column_log = np.empty(n), np.empty(m)
    kernels.scale_rows(C, log_a, v, u, column_log)
    np.testing.assert_allclose(u, log_a - logsumexp(v - C, axis=1), rtol=1e-13, atol=1e-13)
    expected = logsumexp(u[:, None] - C, axis=0)
    np.testing.assert_allclose(column_log, expected, rtol=1e-13, atol=1e-13)


def test_gathered_entries_are_those_above_either_cut():
    rng = np.random.default_rng(0)
    C, u, v = 9 * rng.random((20, 30)), rng.normal(size=20), rng.normal(size=30)
    row_cut, col_cut = rng.normal(size=20) - 4, rng.normal(size=30) - 4
    start = kernels.count_entries(C, u, v, row_cut, col_cut)
    column, value = kernels.gather_entries(C, u, v, row_cut, col_cut, start)
    logs = u[:, None] + v - C
    keep = (logs >= row_cut[:, None]) | (logs >= col_cut)
    assert 0 < keep.sum() < keep.size
    got = np.zeros_like(C)
    got[np.repeat(np.arange(20), np.diff(start)), column] = value
    np.testing.assert_allclose(got, np.where(keep, np.exp(logs), 0), rtol=1e-13)


def test_newton_direction_against_a_dense_solve():
    rng = np.random.default_rng(0)
    P = rng.random((12, 9)) * (rng.random((12, 9)) < 0.5)
    a = P.sum(1) + 0.1
    diagonal = P.sum(0) + 0.1
    residual = rng.normal(size=9)
    start = np.concatenate(([0], np.cumsum((P > 0).sum(1))))
    column = np.nonzero(P)[1].astype(np.int32)
    d, iterations = kernels.newton_direction(
        start, column, P[P > 0], a, diagonal, residual, 1e-12, 100
    )
    expected = np.linalg.solve(np.diag(diagonal) - P.T @ (P / a[:, None]), residual)
    np.testing.assert_allclose(d, expected, rtol=1e-8)
    assert 0 < iterations <= 20


def test_density_caps_the_entries_of_the_hessian(monkeypatch):
    kept = []

    def spy(start, column, value, *rest):
        kept.append(value.size)
        assert start[-1] == value.size == column.size
        return kernels.newton_direction(start, column, value, *rest)

    monkeypatch.setattr(solver, "newton_direction", spy)
    a, b, M = assignment(80)
    free = sinkhorn_newton_sparse(a, b, M, 0.01)
    most = max(kept)
    kept.clear()
    capped = sinkhorn_newton_sparse(a, b, M, 0.01, density=4 / 80)
    assert max(kept) <= 4 * 80 < most
    assert capped.converged
    np.testing.assert_allclose(capped.plan, free.plan, atol=1e-8)


def test_the_potential_never_falls(monkeypatch):
    # Both stages climb the potential: that is what makes the whole converge.
    heights = []
    a, b, M = assignment(100)

    step = solver.newton_step

    def newton_step(problem, point, effort, density):
        new, length = step(problem, point, effort, density)
        heights.append(
            (a @ (new.u - point.u) + b @ (new.v - point.v), length, solver.rounding(point))
        )
        return new, length

    monkeypatch.setattr(solver, "newton_step", newton_step)
    result = sinkhorn_newton_sparse(a, b, M, 1e-4, **PAPER)
    assert result.converged
    assert len(heights) == result.newton_iterations
    for gain, length, rounding in heights:
        assert gain >= -rounding
        assert 0 <= length <= 1
    assert any(0 < length < 1 for _, length, _ in heights)


def test_work_does_not_grow_with_size():
    # Iterations, not milliseconds: the number of passes over the matrix stays put.
    passes = [sinkhorn_newton_sparse(*assignment(n), 1e-3).evaluations for n in (50, 100, 200, 400)]
    assert max(passes) <= 2 * min(passes)

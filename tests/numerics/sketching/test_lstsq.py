"""Solutions against LAPACK, the promise by simulation, streams, and what is refused."""

from __future__ import annotations

import warnings

import joblib
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from paperworks.numerics import SketchedLstsqResult, sketch_rows, sketched_lstsq
from paperworks.numerics.sketching import sources

DENSE = ("srht", "srct", "gaussian", "rademacher")
SPARSE = ("countsketch", "osnap")


def problem(n=3000, d=6, seed=0, condition=1.0, noise=1.0, k=None):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, d))
    if condition > 1:
        left, right = (np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(2))
        A = np.linalg.qr(A)[0] @ (left * np.logspace(0, -np.log10(condition), d)) @ right
    shape = (n,) if k is None else (n, k)
    b = A @ rng.standard_normal((d, *shape[1:])) + noise * rng.standard_normal(shape)
    return A, b


def lapack(A, b):
    return scipy.linalg.lstsq(A, b, lapack_driver="gelsy")[0]


# --- the promise ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DENSE)
def test_every_coordinate_is_within_the_promise(kind):
    # An orthonormal A is the hardest: all coordinates then err alike, and by as much as is allowed.
    d, eps, delta, repeats = 8, 0.5, 0.2, 150
    rng = np.random.default_rng(0)
    A = np.linalg.qr(rng.standard_normal((2048, d)))[0]
    b = A @ np.ones(d) + rng.standard_normal(2048)
    exact, bound = A.T @ b, eps / np.sqrt(d) * np.linalg.norm(b - A @ (A.T @ b))
    broken = uncovered = 0
    for seed in range(repeats):
        found = sketched_lstsq(A, b, eps=eps, delta=delta, sketch=kind, rng=seed)
        assert found.method == "solve"
        assert found.rows == sketch_rows(d, eps=eps, delta=delta)
        error = np.abs(found.x - exact)
        broken += error.max() > bound
        uncovered += (error > found.coordinate_error).any()
    # Binomial bounds. Not far below delta either, or the rows would be wasted.
    most = stats.binom.ppf(0.999, repeats, delta)
    assert 1 <= broken <= most
    assert 1 <= uncovered <= most


def test_gaussian_errors_follow_students_law():
    d, rows = 3, 12
    A, b = problem(200, d)
    exact = lapack(A, b)
    spread = np.sqrt(np.diag(np.linalg.inv(A.T @ A))) * np.linalg.norm(A @ exact - b)
    scaled = [
        (sketched_lstsq(A, b, sketch="gaussian", rows=rows, rng=seed).x - exact) / spread
        for seed in range(400)
    ]
    nu = rows - d + 1
    law = stats.t(nu, scale=1 / np.sqrt(nu))
    for coordinate in np.transpose(scaled):
        assert stats.kstest(coordinate, law.cdf).pvalue > 1e-3


@pytest.mark.parametrize("kind", SPARSE)
def test_sparse_sketches_break_the_promise_on_an_adversary(kind):
    d, eps, delta = 32, 0.5, 0.1
    entries = 1 if kind == "countsketch" else 4
    A, b = np.zeros((4096, d)), np.zeros(4096)
    A[:d] = np.eye(d)
    b[d : d + int(d / (2 * eps**2 * entries**2))] = 1.0
    bound = eps / np.sqrt(d) * np.linalg.norm(b)
    rows = sketch_rows(d, eps=eps, delta=delta)
    broken = {kind: 0, "srht": 0}
    for name in broken:
        for seed in range(40):
            try:
                found = sketched_lstsq(A, b, sketch=name, rows=rows, nonzeros=entries, rng=seed)
            except ValueError:  # a column is lost in the sketch
                broken[name] += 1
                continue
            broken[name] += np.abs(found.x).max() > bound
            assert np.isinf(found.coordinate_error).all() == (name != "srht")
    assert broken[kind] > 20  # a single meeting breaks it, and 1.2 are to be expected
    assert broken["srht"] <= stats.binom.ppf(0.999, 40, delta)


def test_more_rows_bring_it_closer():
    A, b = problem(20_000)
    exact = lapack(A, b)
    errors = [
        np.mean([np.abs(sketched_lstsq(A, b, rows=m, rng=s).x - exact).max() for s in range(15)])
        for m in (100, 1600)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.5)  # as 1 / sqrt(rows)


def test_the_residual_is_estimated_without_bias():
    A, b = problem(3000, 6)
    true = np.linalg.norm(A @ lapack(A, b) - b)
    found = [sketched_lstsq(A, b, rows=40, rng=s).residual_norm ** 2 for s in range(200)]
    assert np.mean(found) == pytest.approx(true**2, rel=5 * np.std(found) / true**2 / np.sqrt(200))


# --- to machine precision ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*DENSE, *SPARSE])
@pytest.mark.parametrize(("condition", "noise"), [(1.0, 1.0), (1e6, 1e-3), (1e11, 1e-11), (1e3, 0)])
def test_precondition_is_as_exact_as_lapack(kind, condition, noise):
    A, b = problem(4000, 12, condition=condition, noise=noise)
    found = sketched_lstsq(A, b, sketch=kind, method="precondition", rng=0)
    assert found.converged
    # Few refinements on the Gram matrix, or some dozens of conjugate gradients.
    assert found.iterations < (12 if condition < 1e6 else 60)
    assert found.condition < 3 * condition * 12
    exact = lapack(A, b)
    # Two backward stable solutions differ by no more than this.
    eps, size = np.finfo(float).eps, np.linalg.norm(exact)
    allowed = 50 * eps * condition * (size + condition * np.linalg.norm(A @ exact - b))
    assert np.linalg.norm(found.x - exact) <= allowed
    assert found.residual_norm == pytest.approx(np.linalg.norm(A @ exact - b), rel=1e-6, abs=1e-13)
    # In the residual, where condition does not matter, it is as good as LAPACK's.
    assert np.linalg.norm(A.T @ (A @ found.x - b)) <= 50 * (
        np.linalg.norm(A.T @ (A @ exact - b)) + eps * np.linalg.norm(b)
    )


def test_ill_conditioned_sums_lose_no_digits_to_length():
    # At the solution A'(b - A x) is a sum of n terms that cancel. Summed in the plain way its
    # rounding, times the condition squared, shows: the error is then some hundred times LAPACK's.
    A, b = problem(200_000, 3, condition=1e5)
    long_A, long_b = A.astype(np.longdouble), b.astype(np.longdouble)
    reference = lapack(A, b).astype(np.longdouble)
    for _ in range(4):
        gradient = long_A.T @ (long_b - long_A @ reference)
        reference += np.linalg.solve(A.T @ A, gradient.astype(np.float64))
    errors = [
        float(np.linalg.norm(x - reference))
        for x in (sketched_lstsq(A, b, method="precondition", rng=0).x, lapack(A, b))
    ]
    assert errors[0] < 10 * errors[1]


def test_scales_of_columns_do_not_matter():
    A, b = problem(3000, 5)
    scales = np.array([1e-12, 1e-5, 1, 1e6, 1e12])
    found = sketched_lstsq(A * scales, b, method="precondition", rng=0)
    assert found.converged
    np.testing.assert_allclose(found.x * scales, lapack(A, b), rtol=1e-11)
    assert found.condition < 2


def test_tol_and_budget():
    A, b = problem(5000, 10, condition=1e8, noise=1e-8)
    exact = lapack(A, b)
    rough = sketched_lstsq(A, b, method="precondition", tol=1e-5, rng=0)
    fine = sketched_lstsq(A, b, method="precondition", rng=0)
    assert rough.converged
    assert rough.iterations < fine.iterations
    fit = np.linalg.norm(A @ exact)
    assert np.linalg.norm(A @ (fine.x - exact)) < np.linalg.norm(A @ (rough.x - exact)) < 2e-5 * fit
    spent = sketched_lstsq(A, b, method="precondition", max_iterations=2, rng=0)
    assert not spent.converged
    assert spent.iterations == 2
    assert np.linalg.norm(A @ (spent.x - exact)) > 1e-8 * fit
    assert (np.abs(spent.x - exact) < 2 * spent.coordinate_error).all()


def test_several_right_hand_sides():
    A, b = problem(4000, 5, k=3)
    b[:, 1] = A @ np.ones(5)  # one that is solved at once
    b[:, 2] = 0.0
    for method in ("solve", "precondition"):
        found = sketched_lstsq(A, b, method=method, rng=0)
        assert found.x.shape == found.coordinate_error.shape == (5, 3)
        assert found.residual_norm.shape == (3,)
        np.testing.assert_allclose(found.x[:, 1:], lapack(A, b)[:, 1:], atol=1e-12)
        assert found.converged
    np.testing.assert_allclose(found.x, lapack(A, b), atol=1e-12)


def test_small_problems_go_to_lapack():
    A, b = problem(100, 4)
    for method in ("solve", "precondition"):
        found = sketched_lstsq(A, b, method=method, rows=200)
        assert found.method == "direct"
        assert found.rows == found.n == 100
        np.testing.assert_allclose(found.x, lapack(A, b), rtol=1e-12)
    assert sketched_lstsq(A, b, rows="paper").method == "direct"
    square = sketched_lstsq(A[:4], b[:4])
    np.testing.assert_allclose(square.x, np.linalg.solve(A[:4], b[:4]), rtol=1e-9)
    assert isinstance(square, SketchedLstsqResult)
    with pytest.raises(AttributeError):
        square.x = 0


# --- Kronecker products -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "k"), [([(60, 3), (50, 2)], 1), ([(20, 2), (15, 2), (9, 1)], 2)]
)
def test_kronecker_products_are_solved_unformed(shapes, k):
    rng = np.random.default_rng(0)
    factors = tuple(rng.standard_normal(shape) for shape in shapes)
    A = factors[0]
    for F in factors[1:]:
        A = np.kron(A, F)
    b = rng.standard_normal((len(A), k))
    exact = lapack(A, b)
    options = {"sketch": "tensor-srht", "rng": 1}
    fine = sketched_lstsq(factors, b, method="precondition", rows=200, **options)
    assert fine.converged
    assert fine.method == "precondition"
    np.testing.assert_allclose(fine.x, exact, atol=1e-13)
    if k == 1:
        for shape in (b.ravel().shape, tuple(n for n, _ in shapes)):
            other = sketched_lstsq(
                factors, b.reshape(shape), method="precondition", rows=200, **options
            )
            np.testing.assert_array_equal(other.x, fine.x[:, 0])


def test_kronecker_products_keep_the_promise():
    rng = np.random.default_rng(0)
    F = np.linalg.qr(rng.standard_normal((64, 2)))[0]
    G = np.linalg.qr(rng.standard_normal((64, 2)))[0]
    A, eps, delta = np.kron(F, G), 0.7, 0.2
    # A residual that lies in one factor's space, where the variance is at its largest.
    w = rng.standard_normal(64)
    b = A @ np.ones(4) + np.kron(w - F @ (F.T @ w), G[:, 0])
    exact, bound = A.T @ b, eps / 2 * np.linalg.norm(b - A @ (A.T @ b))
    broken = uncovered = 0
    for seed in range(200):
        found = sketched_lstsq((F, G), b, eps=eps, delta=delta, sketch="tensor-srht", rng=seed)
        assert found.method == "solve"
        error = np.abs(found.x - exact)
        broken += error.max() > bound
        uncovered += (error > found.coordinate_error).any()
    most = stats.binom.ppf(0.999, 200, delta)
    assert broken <= most
    assert 1 <= uncovered <= most


# --- streams, layouts, engines ----------------------------------------------------------------


def blocks(A, b, sizes):
    start = 0
    while start < len(A):
        for size in sizes:
            yield A[start : start + size], b[start : start + size]
            start += size


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=4).filter(any), st.sampled_from(DENSE))
def test_a_stream_may_be_cut_anywhere(sizes, kind):
    A, b = problem(1500, 4)
    options = {"sketch": kind, "rows": 60, "rng": 5, "block_rows": 128}
    whole = sketched_lstsq(iter([(A, b)]), **options)
    cut = sketched_lstsq(blocks(A, b, sizes), **options)
    np.testing.assert_array_equal(cut.x, whole.x)
    assert cut.n == 1500


def test_streams_reach_the_same_as_arrays(tmp_path):
    A, b = problem(6000, 5)
    exact = lapack(A, b)
    np.save(tmp_path / "A.npy", A)
    mapped = np.load(tmp_path / "A.npy", mmap_mode="r")

    def read():
        buffer = np.empty((1000, 5))  # a reader that fills one buffer again and again
        for start in range(0, 6000, 1000):
            buffer[:] = A[start : start + 1000]
            yield buffer, b[start : start + 1000]

    for source, right in ((mapped, b), (read, None)):
        found = sketched_lstsq(source, right, method="precondition", rng=0)
        assert found.converged
        np.testing.assert_allclose(found.x, exact, rtol=1e-11)
    np.testing.assert_array_equal(
        sketched_lstsq(read(), rng=3).x, sketched_lstsq(blocks(A, b, [6000]), rng=3).x
    )
    halves = (A[:3000], A[3000:])
    for stream in (iter(halves), lambda: iter(halves)):
        found = sketched_lstsq(stream, b, rng=0)
        assert (np.abs(found.x - exact) <= found.coordinate_error).all()
    # The same blocks by array and by memory map are the same sketch.
    np.testing.assert_array_equal(sketched_lstsq(mapped, b, rng=3).x, sketched_lstsq(A, b, rng=3).x)


def test_a_stream_keeps_the_promise():
    d, eps, delta = 4, 0.6, 0.2
    A, b = problem(2048, d)
    A = np.linalg.qr(A)[0]
    exact, bound = A.T @ b, eps / 2 * np.linalg.norm(b - A @ (A.T @ b))
    broken = sum(
        np.abs(
            sketched_lstsq(blocks(A, b, [500]), eps=eps, delta=delta, rng=seed, block_rows=64).x
            - exact
        ).max()
        > bound
        for seed in range(150)
    )
    assert broken <= stats.binom.ppf(0.999, 150, delta)


def test_layouts_and_dtypes(monkeypatch):
    monkeypatch.setattr(sources, "WALK_NUMBERS", 4000)  # several pieces even here
    A, b = problem(3000, 5)
    exact = lapack(A, b)
    for other in (np.asfortranarray(A), np.repeat(A, 2, axis=0)[::2], A.tolist()):
        found = sketched_lstsq(other, b, method="precondition", rng=0)
        np.testing.assert_allclose(found.x, exact, rtol=1e-11)
        assert found.iterations <= 4  # a Gram matrix that lacks a piece would need more
    single = sketched_lstsq(A.astype(np.float32), b, method="precondition", rng=0)
    assert single.x.dtype == np.float32
    np.testing.assert_allclose(single.x, exact, rtol=1e-4)
    whole = (10 * A).round().astype(int)
    found = sketched_lstsq(whole, b, method="precondition", rng=0)
    np.testing.assert_allclose(found.x, lapack(whole, b), rtol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_in_torch_out(dtype):
    A, b = (torch.tensor(part, dtype=dtype) for part in problem(3000, 5))
    A.requires_grad_()
    found = sketched_lstsq(A, b, method="precondition", rng=0)
    assert found.x.dtype == found.coordinate_error.dtype == dtype
    assert not found.x.requires_grad
    exact = torch.linalg.lstsq(A.detach().double(), b.double()[:, None]).solution[:, 0]
    torch.testing.assert_close(found.x.double(), exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["srht", "osnap"])
def test_workers_change_rounding_alone(kind, tmp_path):
    A, b = problem(20_000, 5)
    one = sketched_lstsq(A, b, sketch=kind, rows=300, rng=0)
    two = sketched_lstsq(A, b, sketch=kind, rows=300, rng=0, n_jobs=2)
    stream = sketched_lstsq(
        lambda: blocks(A, b, [700]), sketch=kind, rows=300, rng=0, n_jobs=2, method="precondition"
    )
    np.testing.assert_allclose(two.x, one.x, rtol=1e-10)
    np.testing.assert_allclose(stream.x, lapack(A, b), rtol=1e-10)


@pytest.mark.slow
def test_blocks_go_to_processes():
    A, b = problem(20_000, 5)
    here = sketched_lstsq(A, b, rng=0)
    with joblib.parallel_config(backend="loky", n_jobs=2):
        there = sketched_lstsq(A, b, rng=0)
        streamed = sketched_lstsq(blocks(A, b, [900]), rng=0)
        fine = sketched_lstsq(A, b, rng=0, method="precondition")
    np.testing.assert_allclose(there.x, here.x, rtol=1e-12)
    assert (np.abs(streamed.x - lapack(A, b)) <= streamed.coordinate_error).all()
    np.testing.assert_allclose(fine.x, lapack(A, b), rtol=1e-11)


def test_the_seed_decides():
    A, b = problem()
    first, again, other = (sketched_lstsq(A, b, rows=100, rng=seed).x for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    generator = np.random.default_rng(1)
    np.testing.assert_array_equal(sketched_lstsq(A, b, rows=100, rng=generator).x, first)
    assert (sketched_lstsq(A, b, rows=100, rng=generator).x != first).any()


# --- what is refused --------------------------------------------------------------------------

A0, B0 = problem(600, 4)


def spoiled(row, column, value):
    A = A0.copy()
    A[row, column] = value
    return A


def dependent(*columns):
    A = A0.copy()
    for column in columns:
        A[:, column] = A[:, 0] * (column + 1)
    return A


@pytest.mark.parametrize("method", ["solve", "precondition"])
@pytest.mark.parametrize(
    ("A", "message"),
    [
        (dependent(2), r"A has rank 3 of 4 \(as seen by the sketch\) within rounding; without col"),
        (dependent(1, 3), "A has rank 2 of 4"),
        (A0 * [1, 1, 0, 1], "rank 3 of 4 .* without column 2 it has full rank. numpy.linalg.lstsq"),
        (spoiled(577, 2, np.nan), "A must be finite, got nan in row 577, column 2; drop such rows"),
        (spoiled(3, 0, -np.inf), "A must be finite, got -inf in row 3, column 0"),
        (A0 * [1e200, 1, 1, 1], "column 0 of A are too large or too small to square.*scale it"),
    ],
)
@pytest.mark.parametrize("form", ["array", "stream"])
def test_bad_matrices(A, message, method, form):
    source = (A, B0) if form == "array" else (lambda: blocks(A, B0, [100]),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what overflows on the way
        with pytest.raises(ValueError, match=message):
            sketched_lstsq(*source, method=method, rows=60, rng=0)


def test_the_dependent_columns_are_named():
    with pytest.raises(ValueError, match=r"without column (0|2) it has full rank"):
        sketched_lstsq(dependent(2), B0, rows=60, rng=0)
    with pytest.raises(ValueError, match="A has rank 3 of 4 within rounding"):
        sketched_lstsq(dependent(2), B0, rows=600, rng=0)  # LAPACK's way
    wide = np.repeat(A0, 10, axis=1)
    with pytest.raises(ValueError, match=r"without columns (\d+, ){9}\d+ and 26 more"):
        sketched_lstsq(wide, B0, rows=100, rng=0)


B_NAN = np.where(np.arange(600) == 5, np.nan, B0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b": B_NAN}, "b must be finite, got nan in row 5"),
        ({"b": B0[:-1]}, r"b must have one row for each row of A, shape \(600,\) or .* \(599,\)"),
        ({"b": None}, "b is missing"),
        ({"b": B0[None]}, r"got \(1, 600\)"),
        ({"b": ["x"] * 600}, "b must hold real numbers"),
        ({"A": A0[0]}, r"A must be a matrix with rows and columns, got shape \(4,\)"),
        ({"A": A0[:0], "b": B0[:0]}, r"got shape \(0, 4\)"),
        ({"A": A0[:3], "b": B0[:3]}, "A has 3 rows and 4 columns, and no unique solution; numpy"),
        ({"A": A0.astype(complex)}, r"A must hold real numbers, got dtype complex128; stack real"),
        ({"A": scipy.sparse.csr_array(A0)}, "A is sparse.*lsmr"),
        ({"A": (A0, B0[:, None])}, "its rows differ in length.*factors .*sketch='tensor-srht'"),
        ({"A": [(A0, B0)]}, "Row blocks come by an iterator or a function"),
        ({"A": np.ma.masked_greater(A0, 2)}, "A has masked entries"),
        ({"A": A0 * 1e-200}, "column 0 of A are too large or too small to square, about .*e-200"),
        ({"b": B0 * 1e300}, "the numbers of b are too large or too small to square"),
        ({"A": "matrix.csv"}, "A must be a matrix, an iterable of row blocks.*got str"),
        ({"A": 3.0}, "A must be a matrix, an iterable of row blocks.*got float"),
        ({"eps": 0}, "eps must be above 0 and below 1, got 0"),
        ({"delta": 1.5}, r"delta must be above 0 and below 1, got 1\.5"),
        ({"sketch": "fourier"}, "sketch must be one of srht, srct, .*, got 'fourier'"),
        ({"method": "qr"}, "method must be 'solve' or 'precondition', got 'qr'"),
        ({"rows": 4}, r"rows must be a whole number of at least d \+ k = 5 .*, got 4"),
        ({"rows": np.nan}, "rows must be a whole number .* got nan"),
        ({"rows": 50.5}, r"rows must be a whole number .* got 50\.5"),
        ({"rows": "many"}, "rule must be 'student' or 'paper', got 'many'"),
        ({"sketch": "countsketch"}, "'countsketch' promises nothing for single coordinates"),
        ({"sketch": "osnap", "rows": "paper"}, "'osnap' promises nothing"),
        ({"sketch": "osnap", "rows": 50, "nonzeros": 0}, "nonzeros must be from 1 to the 50 rows"),
        ({"rows": 50, "block_rows": 100}, "block_rows must be a power of two for 'srht', got 100"),
        ({"block_rows": 0}, "block_rows must be >= 1, got 0"),
        ({"tol": -1.0}, r"tol must be > 0, got -1\.0"),
        ({"max_iterations": -1}, "max_iterations must be >= 0, got -1"),
        ({"sketch": "tensor-srht"}, "'tensor-srht' takes A as a tuple of two or more factors"),
        (
            {"sketch": "tensor-srht", "A": (A0, A0), "b": B0},
            r"b must have shape \(600, 600\), \(360000,\) or \(360000, k\) .* got \(600,\)",
        ),
        ({"sketch": "tensor-srht", "A": (A0, B0)}, r"factor 1 must be a matrix.* got \(600,\)"),
        (
            {"sketch": "tensor-srht", "A": (A0, spoiled(2, 1, np.nan)), "b": np.ones(360000)},
            "factor 1 of A must be finite, got nan in row 2, column 1",
        ),
    ],
)
def test_bad_input(change, message):
    options = {"A": A0, "b": B0, **change}
    with pytest.raises(ValueError, match=message):
        sketched_lstsq(options.pop("A"), options.pop("b"), **options)


@pytest.mark.parametrize(
    ("stream", "b", "message"),
    [
        ([], None, "the stream of row blocks is empty"),
        ([A0], None, r"must give pairs of blocks \(A_i, b_i\), got ndarray; or pass b beside"),
        ([(A0, B0[:5])], None, r"the block at row 0 must be .* shapes \(600, 4\) and \(5,\)"),
        ([(A0, B0), (A0[:, :3], B0)], None, "the block at row 600 has 3 columns and 1 of b, where"),
        ([A0, A0], B0, r"the block at row 600 must be .* shapes \(600, 4\) and \(0,\)"),
        ([A0[:500]], B0, "b has 600 rows, and the stream gave 500"),
        ([(A0[:2], B0[:2])], None, "A has 2 rows and 4 columns"),
        ([(A0, B0), (A0, B_NAN)], None, "b must be finite, got nan in row 605"),
        ([(A0.astype(str), B0)], None, "A must hold real numbers, got dtype <U"),
    ],
)
def test_bad_streams(stream, b, message):
    with pytest.raises(ValueError, match=message):
        sketched_lstsq(iter(stream), b, rng=0)


def test_streams_that_cannot_be_walked_again():
    with pytest.raises(ValueError, match="an iterator can be walked once; pass a function"):
        sketched_lstsq(blocks(A0, B0, [100]), method="precondition")
    lengths = iter([600, 500, 500])
    with pytest.raises(ValueError, match="gave 500 rows this time and 600 before"):
        sketched_lstsq(
            lambda: iter([(A0[: (n := next(lengths))], B0[:n])]), method="precondition", rows=60
        )
    with pytest.raises(ValueError, match='rule "paper" needs n'):
        sketched_lstsq(blocks(A0, B0, [100]), rows="paper")

"""The random matrices: what they are exactly, their moments, and the rows they need."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.fft import dct
from scipy.linalg import hadamard

from paperworks.numerics import sketch_rows
from paperworks.numerics.sketching.kronecker import KroneckerRows
from paperworks.numerics.sketching.sketches import KINDS, draw_sketch
from paperworks.numerics.sketching.sources import ArrayRows

MATRICES = [kind for kind in KINDS if kind != "tensor-srht"]


def form(kind, rows, n, rng, **options):
    """S as a matrix, by sketching the identity."""
    source = ArrayRows(np.eye(n), np.zeros((n, 1)))
    return source.sketch(draw_sketch(kind, rows, rng, n=n, **options), 1)[:, :n]


@pytest.mark.parametrize(("n", "block_rows"), [(64, 64), (64, 8), (50, 16), (37, 4), (9, 32)])
def test_srht_is_sampled_rows_of_a_hadamard_matrix_under_signs(n, block_rows):
    rows = 8
    S = form("srht", rows, n, np.random.default_rng(0), block_rows=block_rows) * np.sqrt(rows)
    np.testing.assert_allclose(np.abs(S), 1.0)
    # Products of rows cancel the signs of the columns, and are rows of the matrix themselves.
    order = max(block_rows, 1 << (n - 1).bit_length())
    H = {tuple(row) for row in hadamard(order)[:, :n].tolist()}
    products = [tuple((S[0] * S[t]).round().astype(int).tolist()) for t in range(1, rows)]
    assert set(products) <= H
    # Without replacement, no row comes twice.
    if rows <= n:
        assert len({(1,) * n, *products}) == rows


def test_blocks_are_the_whole_transform():
    # The same samples by one block and by many give the same rows of H, up to column signs.
    n, rows = 64, 16
    one = draw_sketch("srht", rows, np.random.default_rng(3), n=n, block_rows=64)
    many = draw_sketch("srht", rows, np.random.default_rng(3), n=n, block_rows=8)
    for sketch in (one, many):
        S = ArrayRows(np.eye(n), np.zeros((n, 1))).sketch(sketch, 1)[:, :n] * np.sqrt(rows)
        picked = hadamard(n)[sketch.high * sketch.block_rows + sketch.low]
        signs = S[0] * picked[0]
        np.testing.assert_allclose(np.abs(signs), 1.0)
        np.testing.assert_allclose(S, picked * signs, atol=1e-12)


def test_srct_in_one_block_is_the_classical_one():
    n, rows = 50, 12
    sketch = draw_sketch("srct", rows, np.random.default_rng(0), n=n)
    S = ArrayRows(np.eye(n), np.zeros((n, 1))).sketch(sketch, 1)[:, :n]
    C = dct(np.eye(n), axis=0, norm="ortho")[sketch.low] * np.sqrt(n / rows)
    signs = np.sign(S[0] * C[0])
    np.testing.assert_allclose(S, C * signs, atol=1e-12)


@pytest.mark.parametrize("kind", MATRICES)
@pytest.mark.parametrize("block_rows", [None, 16])
def test_moments(kind, block_rows):
    # E S'S = I; and the second moment that the guarantee rests on: E (g'S'S h)^2 <= 1 / m for
    # orthogonal unit g and h, for every dense kind.
    n, rows, repeats = 48, 16, 400
    rng = np.random.default_rng(0)
    g, h = np.zeros((2, n))
    # Across blocks of 16 as well: blocks that shared their signs would show as twice the variance.
    g[[0, 17]], h[[1, 16]] = np.sqrt(0.5), np.sqrt(0.5)
    G = np.stack([g, h], 1)
    values = np.empty((repeats, 3))
    for i in range(repeats):
        source = ArrayRows(G, np.zeros((n, 1)))
        table = source.sketch(draw_sketch(kind, rows, rng, n=n, block_rows=block_rows), 1)[:, :2]
        values[i] = (table[:, 0] @ table[:, 0], table[:, 1] @ table[:, 1], 0.0)
        values[i, 2] = table[:, 0] @ table[:, 1]
    error = 5 * values.std(0) / np.sqrt(repeats) + 1e-12
    assert (np.abs(values.mean(0) - [1, 1, 0]) < error).all()
    square = values[:, 2] ** 2
    bound = 1.5 / rows if kind == "srct" else 1.0 / rows  # cosines that meet their own overtones
    assert square.mean() < bound + 4 * square.std() / np.sqrt(repeats)
    assert square.mean() > 0.2 / rows


def test_sparse_kinds_have_their_entries():
    for kind, count in (("countsketch", 1), ("osnap", 4)):
        S = form(kind, 32, 60, np.random.default_rng(0), nonzeros=4)
        assert ((S != 0).sum(0) == count).all()
        np.testing.assert_allclose(np.abs(S[S != 0]), 1 / np.sqrt(count))
    # One entry in each quarter of the rows.
    assert ((S.reshape(4, 8, 60) != 0).sum(1) == 1).all()


def test_tensor_sketch_is_a_product_of_transforms():
    # On factors that are identities, row t of S must be a Kronecker product of signed rows of H.
    shape, rows = (4, 3, 5), 20
    factors = [np.eye(size) for size in shape]
    b = np.random.default_rng(1).standard_normal((*shape, 1))
    table = KroneckerRows(factors, b).sketch(
        draw_sketch("tensor-srht", rows, np.random.default_rng(0)), None
    )
    S = table[:, :-1]
    np.testing.assert_allclose(np.abs(S) * np.sqrt(rows), 1.0)
    for row in S * np.sqrt(rows):
        cube = row.reshape(shape)
        assert np.linalg.matrix_rank(cube.reshape(4, 15)) == 1
        assert np.linalg.matrix_rank(cube.reshape(12, 5)) == 1
    # And what it does to b is the same matrix.
    np.testing.assert_allclose(table[:, -1], S @ b.ravel(), atol=1e-12)


def test_variance_of_the_tensor_sketch_is_three_at_worst():
    # g = u x w and h = v x w with u and v orthogonal: the worst that a row of a pseudo-inverse
    # of a Kronecker product can meet.
    size, rows, repeats = 32, 8, 1000
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((size, 2)))[0]
    w = rng.standard_normal((size, 1)) / np.sqrt(size)
    w /= np.linalg.norm(w)
    values = np.empty(repeats)
    for i in range(repeats):
        source = KroneckerRows([Q, w], np.zeros((size, size, 1)))
        table = source.sketch(draw_sketch("tensor-srht", rows, rng), None)
        values[i] = rows * (table[:, 0] @ table[:, 1]) ** 2
    assert 2.0 < values.mean() < 3.0 + 4 * values.std() / np.sqrt(repeats)


# --- how many rows ----------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "eps", "delta"), [(1, 0.5, 0.1), (20, 0.3, 0.01), (200, 0.9, 0.2)])
def test_rows_are_the_least_that_students_law_allows(d, eps, delta):
    m = sketch_rows(d, eps=eps, delta=delta)
    for rows, enough in ((m, True), (m - 1, False)):
        nu = rows - d + 1
        beyond = 2 * d * stats.t.sf(eps * np.sqrt(nu / d), nu)
        assert (beyond <= delta * (1 + 1e-9)) == enough


def test_rows_by_the_theorem():
    m = sketch_rows(8, eps=0.9, delta=0.1, n=65536, rule="paper")
    assert m == int(np.ceil(8 * np.log(655360) ** 3 / 0.81))
    # Far more than the exact count of a Gaussian sketch, which is what makes it safe for all.
    assert m > 20 * sketch_rows(8, eps=0.9, delta=0.1)


def test_rows_grow_as_they_should():
    base = sketch_rows(10, eps=0.5, delta=0.1)
    assert sketch_rows(10, eps=0.25, delta=0.1) == pytest.approx(4 * base, rel=0.1)
    assert sketch_rows(10, eps=0.5, delta=0.01) > base
    assert sketch_rows(10, eps=0.5, delta=0.1, rhs=50) > base
    tensor = sketch_rows(10, eps=0.5, delta=0.1, factors=2)
    assert tensor - 9 == pytest.approx(3 * (base - 9), abs=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 0.0}, r"eps must be above 0 and below 1, got 0\.0"),
        ({"eps": 1.0}, r"eps must be above 0 and below 1, got 1\.0"),
        ({"delta": float("nan")}, "delta must be above 0 and below 1, got nan"),
        ({"d": 0}, "d must be >= 1, got 0"),
        ({"rhs": 0}, "rhs must be >= 1, got 0"),
        ({"rule": "paper"}, 'rule "paper" needs n'),
        ({"rule": "paper", "n": 0}, "n must be >= 1, got 0"),
        ({"rule": "guess"}, "rule must be 'student' or 'paper', got 'guess'"),
    ],
)
def test_bad_rows(options, message):
    options = {"d": 3, "eps": 0.5, "delta": 0.1, **options}
    with pytest.raises(ValueError, match=message):
        sketch_rows(options.pop("d"), **options)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("srht", {"block_rows": 12}, "block_rows must be a power of two for 'srht', got 12"),
        ("osnap", {"nonzeros": 9}, "nonzeros must be from 1 to the 8 rows, got 9"),
    ],
)
def test_bad_sketches(kind, options, message):
    with pytest.raises(ValueError, match=message):
        draw_sketch(kind, 8, np.random.default_rng(0), n=100, **options)

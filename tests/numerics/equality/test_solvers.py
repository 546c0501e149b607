"""The KKT system and its inner solvers, against dense linear algebra."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import NonlinearConstraint
from scipy.sparse.linalg import LinearOperator

from paperworks.numerics.equality.inputs import Curvature, read_problem
from paperworks.numerics.equality.kkt import KKTSystem, Work
from paperworks.numerics.equality.sketch import Kaczmarz, Sketch
from paperworks.numerics.equality.solvers import Direct, Minres


def system(n=14, m=6, *, shift=0.3, gamma=0.01, form="dense", seed=0, condition=1.0, easy=False):
    rng = np.random.default_rng(seed)
    M = rng.standard_normal((n, n))
    H = 3 * np.eye(n) + 0.3 * (M + M.T) / np.sqrt(n) if easy else M + M.T
    G = rng.standard_normal((m, n)) * np.logspace(0, np.log10(condition), m)[:, None]
    dense = np.block([[H + shift * np.eye(n), G.T], [G, -gamma * np.eye(m)]])
    product = lambda V: H @ V  # noqa: E731
    if form == "sparse":
        curvature, G = Curvature(sp.csr_array(H), product, 2.0 * n * n), sp.csr_array(G)
    else:
        curvature = Curvature(H if form == "dense" else None, product, 2.0 * n * n)
    return KKTSystem(curvature, G, Work(), shift, gamma), dense, rng.standard_normal(n + m)


FORMS = ("dense", "sparse", "products")


@pytest.mark.parametrize("form", FORMS)
def test_the_system_is_the_matrix_it_says(form):
    A, dense, b = system(form=form)
    np.testing.assert_allclose(A.product(b), dense @ b, atol=1e-12)
    np.testing.assert_allclose(A.product(np.eye(20)), dense, atol=1e-12)
    np.testing.assert_allclose(A.columns(np.array([3, 17])), dense[:, [3, 17]], atol=1e-12)
    formed = A.formed()
    formed = formed.toarray() if sp.issparse(formed) else formed
    np.testing.assert_allclose(formed, dense, atol=1e-12)


def make(name, A, b, z=None, **options):
    rng = np.random.default_rng(1)
    if name == "minres":
        return Minres(A, b, z, maxiter=500)
    if name == "direct":
        return Direct(A, b, z)
    if name == "kaczmarz":
        return Kaczmarz(A, b, z, rng=rng, max_sweeps=options.get("max_sweeps", 300_000))
    settings = {"block": 4, "memory": A.size, "greedy": True, "max_sweeps": 6.0, **options}
    return Sketch(A, b, z, kind=name, rng=rng, **settings)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["subsampled", "gaussian", "kaczmarz", "minres", "direct"])
def test_solvers_find_the_solution(name, form):
    A, dense, b = system(form=form, easy=name == "kaczmarz")
    solver = make(name, A, b)
    assert solver.improve(1e-9)
    np.testing.assert_allclose(solver.residual, b - dense @ solver.z, atol=1e-10)
    np.testing.assert_allclose(solver.z, np.linalg.solve(dense, b), atol=1e-7)


@pytest.mark.parametrize("name", ["subsampled", "gaussian", "kaczmarz", "minres"])
def test_a_sharper_target_goes_on_from_where_it_stopped(name):
    A, dense, b = system(60, 20, easy=True)
    solver = make(name, A, b)
    assert solver.improve(0.3)
    rough = np.linalg.norm(b - dense @ solver.z)
    assert 1e-6 < rough <= 0.3
    before = A.work.flops
    assert solver.improve(1e-8)
    assert np.linalg.norm(b - dense @ solver.z) <= 1.1e-8
    once = system(60, 20, easy=True)[0]
    assert make(name, once, b).improve(1e-8)
    # Both ways cost about the same; MINRES starts a new Krylov space.
    assert A.work.flops < (3.0 if name == "minres" else 1.5) * once.work.flops
    assert before > 0
    again = make(name, A, b, solver.z)
    assert again.improve(2e-8)


@pytest.mark.parametrize("kind", ["subsampled", "gaussian"])
def test_a_memory_ends_after_as_many_directions_as_unknowns(kind):
    """Whatever the condition; without a memory single vectors get nowhere."""
    A, dense, b = system(condition=1e4, shift=0.0, gamma=0.0)
    assert np.linalg.cond(dense) > 1e4
    solver = make(kind, A, b, greedy=False, block=5, max_sweeps=1.5)
    assert solver.improve(1e-8 * np.linalg.norm(b))
    poor = make(kind, A, b, greedy=False, block=1, memory=0, max_sweeps=1.5)
    assert not poor.improve(1e-2 * np.linalg.norm(b))


@pytest.mark.parametrize("kind", ["subsampled", "gaussian", "kaczmarz"])
def test_projections_never_lead_away_from_the_solution(kind):
    """In the norm of the scaled system each step is a projection, so the error cannot grow."""
    A, dense, b = system(seed=3)
    solution = np.linalg.solve(dense, b)
    solver = make(kind, A, b, block=2, memory=0, greedy=False, max_sweeps=1)
    last = np.linalg.norm((solver.z - solution) / A.scale)
    for _ in range(30):
        solver.left = 2 if kind != "kaczmarz" else 1
        solver.improve(1e-12)
        error = np.linalg.norm((solver.z - solution) / A.scale)
        assert error <= last * (1 + 1e-10)
        last = error
    assert last < 0.9 * np.linalg.norm(solution / A.scale)


def test_the_memory_keeps_the_newest_directions():
    A, dense, b = system(seed=4)
    solver = make("gaussian", A, b, block=3, memory=7, greedy=False)
    for _ in range(5):
        solver._project()
    kept = solver._kept[:, : solver._count]
    np.testing.assert_allclose(kept.T @ kept, np.eye(7), atol=1e-12)
    # What the directions in the memory solved is solved still: no error is left along them.
    error = (np.linalg.solve(dense, b) - solver.z) / A.scale
    np.testing.assert_allclose(kept.T @ error, 0, atol=1e-9)
    newest = solver._kept[:, (solver._next - 3 + np.arange(3)) % 7]
    before = solver.z / A.scale
    solver._project()
    np.testing.assert_allclose(newest.T @ (solver.z / A.scale - before), 0, atol=1e-9)
    assert np.linalg.norm(error) > 1e-3


def test_a_block_is_the_projection_that_it_says():
    """One block of rows: the nearest point that satisfies just these equations."""
    A, dense, b = system(seed=5)
    solver = make("subsampled", A, b, block=3, memory=0, greedy=False)
    solver._turn = np.array([1, 4, 15])
    solver._project()
    D = np.diag(A.scale)
    rows = (D @ dense @ D)[[1, 4, 15]]
    y = np.linalg.lstsq(rows, (D @ b)[[1, 4, 15]])[0]
    np.testing.assert_allclose(solver.z, D @ y, atol=1e-10)


@pytest.mark.parametrize("name", ["subsampled", "gaussian", "minres"])
def test_singular_systems(name):
    """A solution where there is one; a clear no where there is none."""
    G = np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]])
    A = KKTSystem(Curvature(np.eye(3), lambda V: V, 6.0), G, Work())
    good = make(name, A, A.product(np.ones(5)))
    assert good.improve(1e-9)
    bad = make(name, A, np.array([0.0, 0.0, 0.0, 1.0, -1.0]))
    assert not bad.improve(1e-3)
    assert np.isfinite(bad.z).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_singular_system_is_refused_by_the_direct_solver(form):
    G = np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]])
    H = np.eye(3)
    matrix = {"dense": H, "sparse": sp.csr_array(H), "products": None}[form]
    curvature = Curvature(matrix, lambda V: V, 6.0)
    A = KKTSystem(curvature, sp.csr_array(G) if form == "sparse" else G, Work())
    assert not make("direct", A, np.ones(5)).improve(1e-6)


def test_flops_follow_the_written_model():
    A, _, b = system(form="dense")
    n, m, size = 14, 6, 20
    P = 2 * n * n + 4 * m * n + 2 * size
    A.product(b)
    assert A.work.flops == P
    A.work.flops = 0.0
    direct = make("direct", A, b)
    direct.improve(1e-6)
    assert A.work.flops == pytest.approx(size**3 / 3 + 2 * size**2 + P)
    A.work.flops = 0.0
    block = make("gaussian", A, b, block=3, greedy=False)
    block._project()
    assert A.work.flops == pytest.approx(4 * P + 2 * size * 3 + 4 * size * 9 + 4 * size * 3)
    block._project()  # now against three directions in memory, twice
    assert A.work.flops == pytest.approx(
        2 * (4 * P + 2 * size * 3 + 4 * size * 9 + 4 * size * 3) + 8 * size * 9
    )


def test_the_sparse_factorisation_is_counted_by_its_fill():
    """A tridiagonal matrix has no fill in its order: two multiply-adds a column, or so."""
    n = 50
    H = sp.diags_array([-1.0, 4.0, -1.0], offsets=[-1, 0, 1], shape=(n, n)).tocsr()
    G = sp.csr_array(([1.0], ([0], [0])), shape=(1, n))
    A = KKTSystem(Curvature(H, lambda V: H @ V, 2.0 * H.nnz), G, Work())
    solver = make("direct", A, np.ones(n + 1))
    assert solver.improve(1e-8)
    used = A.work.flops - A.work.products * A.product_flops
    assert 2 * n < used < 40 * n < (n + 1) ** 3 / 3


def test_kaczmarz_draws_rows_by_their_length():
    A, _, b = system()
    solver = make("kaczmarz", A, b)
    scaled = A.scale[:, None] * A.formed() * A.scale
    expected = (scaled**2).sum(1) / (scaled**2).sum()
    np.testing.assert_allclose(np.diff(solver._chance, prepend=0), expected, atol=1e-12)


def test_no_hessian_is_formed_where_only_products_are_given():
    calls = []

    def hess(x):
        return LinearOperator((3, 3), matvec=lambda p: calls.append(1) or 2 * p, dtype=float)

    rule = NonlinearConstraint(lambda x: x.sum(), 1, 1, jac=lambda x: np.ones((1, 3)))
    problem, x = read_problem(lambda x: x @ x, np.zeros(3), (), lambda x: 2 * x, hess, None, rule)
    curvature = problem.curvature(x, np.zeros(1))
    assert curvature.matrix is None
    assert not calls
    A = KKTSystem(curvature, problem.slope(x)[1], Work())
    assert A.matrix is None
    A.product(np.ones(4))
    assert len(calls) == 1

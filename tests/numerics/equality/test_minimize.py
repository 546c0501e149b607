"""`minimize_equality` against closed forms, dense KKT solves and SciPy's own solvers."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import (
    BFGS,
    LinearConstraint,
    NonlinearConstraint,
    minimize,
)
from scipy.sparse.linalg import LinearOperator

from paperworks.claims._cutest import PROBLEMS
from paperworks.numerics import differentiate, minimize_equality

SOLVERS = ("subsampled", "gaussian", "kaczmarz", "minres", "direct")


def quadratic(n=12, m=5, seed=0, sparse=False, indefinite=False):
    """A quadratic programme, with its solution and multipliers from a dense KKT solve."""
    rng = np.random.default_rng(seed)
    A, b = rng.standard_normal((m, n)), rng.standard_normal(m)
    M = rng.standard_normal((n, n))
    H = M @ M.T / n + 0.5 * np.eye(n)
    if indefinite:  # negative curvature across the constraints, positive along them
        Q = np.linalg.qr(A.T)[0]
        H -= 50 * Q[:, :1] @ Q[:, :1].T
    q = rng.standard_normal(n)
    kkt = np.block([[H, A.T], [A, np.zeros((m, m))]])
    z = np.linalg.solve(kkt, np.concatenate([-q, b]))
    G = sp.csr_array(A) if sparse else A
    given = {
        "fun": lambda x: 0.5 * x @ H @ x + q @ x,
        "x0": rng.standard_normal(n),
        "jac": lambda x: H @ x + q,
        "hess": lambda x: sp.csr_array(H) if sparse else H,
        "constraints": NonlinearConstraint(
            lambda x: A @ x, b, b, jac=lambda x: G, hess=lambda x, v: sp.csr_array((n, n))
        ),
    }
    return given, z[:n], z[n:]


def sphere(n=6):
    """Least of ``a @ x`` on the unit sphere: ``x = -a / |a|``, multiplier ``|a| / 2``."""
    a = np.arange(1.0, n + 1)
    given = {
        "fun": lambda x: a @ x,
        "x0": np.full(n, 0.3),
        "jac": lambda x: a,
        "hess": lambda x: np.zeros((n, n)),
        "constraints": NonlinearConstraint(
            lambda x: x @ x,
            1.0,
            1.0,
            jac=lambda x: 2 * x[None],
            hess=lambda x, v: 2 * v[0] * np.eye(n),
        ),
    }
    return given, -a / np.linalg.norm(a), np.linalg.norm(a) / 2


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("sparse", [False, True])
def test_a_quadratic_programme(solver, sparse):
    given, x, multipliers = quadratic(sparse=sparse)
    result = minimize_equality(**given, solver=solver, tol=1e-8, rng=0)
    assert result.success
    np.testing.assert_allclose(result.x, x, atol=1e-7)
    np.testing.assert_allclose(result.v[0], multipliers, atol=1e-7)
    assert (result.rank, result.dependent) == (5, [])


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_nonconvex_problem_with_a_known_solution(solver):
    given, x, multiplier = sphere()
    result = minimize_equality(**given, solver=solver, tol=1e-9, rng=0)
    assert result.success
    np.testing.assert_allclose(result.x, x, atol=1e-8)
    assert result.v[0][0] == pytest.approx(multiplier)
    assert result.kkt <= 1e-9
    assert result.kkt == pytest.approx(result.history["kkt"][-1])


def test_an_indefinite_hessian_that_is_positive_along_the_constraints_needs_no_shift():
    given, x, _ = quadratic(indefinite=True)
    result = minimize_equality(**given, tol=1e-8, rng=0)
    np.testing.assert_allclose(result.x, x, atol=1e-7)
    assert result.history["shift"].max() == 0


@pytest.mark.parametrize("solver", ["subsampled", "minres", "direct"])
def test_it_does_not_stop_at_a_maximum(solver):
    """Newton's method from here would go to the maximum of the sphere problem."""
    given, x, _ = sphere()
    given["x0"] = -x + 0.01
    result = minimize_equality(**given, solver=solver, rng=0)
    assert result.success
    np.testing.assert_allclose(result.x, x, atol=1e-6)
    assert result.history["shift"].max() > 0


def test_strong_negative_curvature_does_not_make_a_maximum_attractive():
    """At eta2 = 0.1 the merit function has a minimum at the maximum of ``100 cos``."""
    result = minimize_equality(
        lambda x: 100 * np.cos(x[0]),
        [0.3, 0.0],
        jac=lambda x: np.array([-100 * np.sin(x[0]), 0.0]),
        hess=lambda x: np.diag([-100 * np.cos(x[0]), 0.0]),
        constraints=LinearConstraint([[0.0, 1.0]], 0, 0),
        rng=0,
    )
    assert result.success
    assert result.fun == pytest.approx(-100)


@pytest.mark.parametrize("name", PROBLEMS)
def test_cutest_problems_by_hand(name):
    """The randomised solver alone; least values are Hock and Schittkowski's and CUTEst's."""
    problem = PROBLEMS[name]
    fun, rule = differentiate(problem.fun), differentiate(problem.constraints)
    result = minimize_equality(fun, problem.x0, constraints=rule, fallback=None, rng=1)
    assert result.success, result.message
    # The residual from its definition.
    g, G = fun.jac(result.x), np.atleast_2d(rule.jac(result.x))
    kkt = np.append(g + G.T @ result.multipliers, rule(result.x))
    assert np.linalg.norm(kkt) <= 1.001e-6
    if problem.least is not None:
        assert result.fun == pytest.approx(problem.least, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", ["HS7", "HS77", "HS56", "BT12", "HS100LNP"])
def test_each_step_lessens_the_merit_function(name):
    """The merit function from its formula, at the penalties of each step; some are cut short."""
    problem = PROBLEMS[name]
    fun, rule = differentiate(problem.fun), differentiate(problem.constraints)
    seen = []
    zeros = np.zeros(np.size(rule(problem.x0)))
    result = minimize_equality(
        fun, problem.x0, constraints=rule, multipliers0=zeros, callback=seen.append, rng=0
    )
    assert result.success
    assert result.restorations == 0

    def merit(x, multipliers, eta1, eta2):
        c, G = np.atleast_1d(rule(x)), np.atleast_2d(rule.jac(x))
        g = fun.jac(x) + G.T @ multipliers
        return fun(x) + multipliers @ c + eta1 / 2 * (c @ c) + eta2 / 2 * (g @ g)

    x, multipliers = np.array(problem.x0), np.zeros(seen[0].multipliers.size)
    for i, state in enumerate(seen):
        eta = result.history["eta1"][i], result.history["eta2"][i]
        before, after = merit(x, multipliers, *eta), merit(state.x, state.multipliers, *eta)
        assert after < before + 1e-12 * (1 + abs(before))
        x, multipliers = state.x, state.multipliers
    assert np.all(np.diff(result.history["eta1"]) >= 0)
    assert np.all(np.diff(result.history["eta2"]) <= 0)
    assert 0 < result.history["step"].min() <= 1


@pytest.mark.parametrize("name", ["HS40", "HS79", "BT1", "HS100LNP"])
def test_solutions_and_multipliers_are_those_of_trust_constr(name):
    problem = PROBLEMS[name]
    fun, rule = differentiate(problem.fun), differentiate(problem.constraints).constraint()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = minimize(
            fun, problem.x0, method="trust-constr", jac=fun.jac, hess=fun.hess, constraints=rule,
            options={"gtol": 1e-9, "xtol": 1e-12},
        )  # fmt: skip
    result = minimize_equality(fun, problem.x0, constraints=rule, tol=1e-8, rng=0)
    np.testing.assert_allclose(result.x, peer.x, atol=1e-5)
    np.testing.assert_allclose(result.v[0], peer.v[0], atol=1e-5)


def test_it_is_a_method_of_scipy():
    given, x, _ = sphere()
    for constraints in (
        given["constraints"],
        {"type": "eq", "fun": lambda x: x @ x - 1, "jac": lambda x: 2 * x},
        [{"type": "eq", "fun": lambda x: x @ x - 1}],
    ):
        result = minimize(
            given["fun"],
            given["x0"],
            jac=given["jac"],
            method=minimize_equality,
            constraints=constraints,
            tol=1e-7,
            options={"rng": 0},
        )
        assert result.success
        assert result.kkt <= 1e-7
        np.testing.assert_allclose(result.x, x, atol=1e-6)


def test_every_way_to_give_derivatives_leads_to_the_same_place():
    n = 4
    target = np.arange(1.0, n + 1)
    value = lambda x, s: s * ((x - target) ** 4).sum()  # noqa: E731
    grad = lambda x, s: 4 * s * (x - target) ** 3  # noqa: E731
    curve = lambda x, s: np.diag(12 * s * (x - target) ** 2)  # noqa: E731
    ways = [
        {"jac": grad, "hess": curve},
        {"jac": grad, "hess": lambda x, s: sp.csr_array(curve(x, s))},
        {"jac": grad, "hessp": lambda x, p, s: curve(x, s) @ p},
        {
            "jac": grad,
            "hess": lambda x, s: LinearOperator((n, n), matvec=lambda p: curve(x, s) @ p),
        },
        {"jac": grad},
        {"jac": grad, "hess": BFGS()},
        {},
        {"jac": "cs"},
    ]
    rules = [
        LinearConstraint(np.ones((1, n)), 3.0, 3.0),
        LinearConstraint(sp.csr_array(np.ones((1, n))), 3.0, 3.0),
        NonlinearConstraint(lambda x: x.sum(), 3.0, 3.0, hess=BFGS()),
        NonlinearConstraint(lambda x: x.sum(), 3.0, 3.0, jac="cs"),
    ]
    # By symmetry each entry is off its target by the same.
    x = target - (target.sum() - 3) / n
    for way in ways:
        result = minimize_equality(value, np.zeros(n), (2.0,), constraints=rules[0], rng=0, **way)
        assert result.success, way
        np.testing.assert_allclose(result.x, x, atol=1e-5)
    for rule in rules:
        result = minimize_equality(value, np.zeros(n), (2.0,), constraints=rule, rng=0, **ways[0])
        assert result.success
        np.testing.assert_allclose(result.x, x, atol=1e-5)
    both = minimize_equality(
        lambda x: (value(x, 2.0), grad(x, 2.0)), np.zeros(n), jac=True, constraints=rules[0], rng=0
    )
    np.testing.assert_allclose(both.x, x, atol=1e-5)


def test_several_constraints_keep_their_order_and_their_multipliers():
    first = LinearConstraint([[1.0, 1.0, 0.0]], 1.0, 1.0)
    second = {"type": "eq", "fun": lambda x, r: x @ x - r, "args": (2.0,)}
    third = LinearConstraint(np.zeros((0, 3)), [], [])
    result = minimize_equality(
        lambda x: x[2], [0.5, 0.2, -0.7], constraints=[first, third, second], tol=1e-7, rng=0
    )
    assert result.success
    assert [v.size for v in result.v] == [1, 0, 1]
    # x = (1/2, 1/2, -sqrt(3/2)); 1 + 2 v2 x2 = 0, v1 + 2 v2 x0 = 0
    np.testing.assert_allclose(result.x, [0.5, 0.5, -np.sqrt(1.5)], atol=1e-5)
    np.testing.assert_allclose(result.v[2], 0.5 / np.sqrt(1.5), atol=1e-5)
    np.testing.assert_allclose(result.v[0], -0.5 / np.sqrt(1.5), atol=1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
def test_dependent_constraints_are_solved_and_reported(solver):
    given, x, _ = quadratic()
    rule = given["constraints"]
    A = rule.jac(x)
    twice = LinearConstraint(np.vstack([A, A[1] - 2 * A[3]]), *[
        np.append(rule.lb, rule.lb[1] - 2 * rule.lb[3])
    ] * 2)  # fmt: skip
    result = minimize_equality(**{**given, "constraints": twice}, solver=solver, rng=0)
    assert result.success
    np.testing.assert_allclose(result.x, x, atol=1e-5)
    assert (result.rank, result.dependent) == (5, [1, 3, 5])
    assert "dependent" in result.message
    assert "constraint 0[3]" in result.message
    assert np.linalg.norm(result.jac + twice.A.T @ result.v[0]) <= 1e-6


@pytest.mark.parametrize("solver", SOLVERS)
def test_infeasible_constraints_are_reported_with_a_certificate(solver):
    rule = NonlinearConstraint(
        lambda x: [x[0] + x[1] - 1, x[0] + x[1] + 1, x[2] ** 2],
        0,
        0,
        jac=lambda x: np.array([[1.0, 1, 0], [1, 1, 0], [0, 0, 2 * x[2]]]),
    )
    result = minimize_equality(
        lambda x: x @ x,
        [0.3, 0.4, 1.0],
        jac=lambda x: 2 * x,
        constraints=rule,
        solver=solver,
        rng=0,
    )
    assert not result.success
    assert result.status == 4
    assert "infeasible" in result.message
    G = rule.jac(result.x)
    assert np.linalg.norm(result.multipliers) == pytest.approx(1)
    assert np.linalg.norm(G.T @ result.multipliers) < 1e-4
    assert result.constr_violation == pytest.approx(1, abs=1e-4)  # the best there is


def test_a_jacobian_that_vanishes_at_the_start():
    """The violation is stationary there without being least: it goes on from beside."""
    result = minimize_equality(
        lambda x: (x[0] - 2) ** 2 + x[1] ** 2,
        [0.0, 0.0],
        constraints={"type": "eq", "fun": lambda x: x[0] ** 2 + x[1] ** 2 - 1},
        rng=0,
    )
    assert result.success
    np.testing.assert_allclose(result.x, [1.0, 0.0], atol=1e-5)


def test_constraints_whose_jacobian_vanishes_at_their_least_violation():
    result = minimize_equality(
        lambda x: x[0],
        [1.0, 1.0],
        constraints=NonlinearConstraint(lambda x: x @ x + 1, 0, 0),
        rng=0,
    )
    assert result.status == 4
    np.testing.assert_allclose(result.x, 0, atol=1e-3)


def test_an_unbounded_problem_is_reported():
    result = minimize_equality(
        lambda x: x[0] - x[1], [0.0, 0.0], constraints=LinearConstraint([[1, 1]], 0, 0), rng=0
    )
    assert (result.status, result.success) == (5, False)
    assert "unbounded" in result.message


def test_a_function_that_is_not_finite_everywhere_is_backed_away_from():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = minimize_equality(
            lambda x: -np.log(x).sum(),
            [0.01, 0.98, 0.3],
            jac=lambda x: -1 / x,
            hess=lambda x: np.diag(1 / x**2),
            constraints=LinearConstraint(np.ones((1, 3)), 1, 1),
            rng=0,
        )
    assert result.success
    np.testing.assert_allclose(result.x, 1 / 3, atol=1e-6)


def test_the_same_seed_gives_the_same_run_and_no_global_state_is_touched():
    problem = PROBLEMS["HS77"]
    fun, rule = differentiate(problem.fun), differentiate(problem.constraints)
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    one, two = (minimize_equality(fun, problem.x0, constraints=rule, rng=3) for _ in range(2))
    np.testing.assert_array_equal(one.x, two.x)
    assert one.flops == two.flops
    assert (np.random.get_state()[1] == state).all()


def test_the_local_rate():
    """Superlinear with the sharpened accuracy; the plain one is slower at the end."""
    problem = PROBLEMS["HS77"]
    fun, rule = differentiate(problem.fun), differentiate(problem.constraints)
    runs = {
        forcing: minimize_equality(
            fun, problem.x0, constraints=rule, tol=1e-10, forcing=forcing, rng=0, block=1,
            memory=3, greedy=False, max_sweeps=500,
        )
        for forcing in ("linear", "superlinear")
    }  # fmt: skip
    assert all(run.success for run in runs.values())
    kkt = runs["superlinear"].history["kkt"]
    assert kkt[-1] < 1e-2 * kkt[-2]
    assert runs["superlinear"].history["step"][-1] == 1
    assert runs["linear"].nit >= runs["superlinear"].nit


def test_a_fallback_is_counted_and_can_be_refused():
    given, x, _ = quadratic(n=40, m=15)
    stingy = {"solver": "subsampled", "max_sweeps": 0.1, "memory": 0, "greedy": False}
    helped = minimize_equality(**given, **stingy, rng=0)
    assert helped.success
    assert helped.fallbacks > 0
    np.testing.assert_allclose(helped.x, x, atol=1e-5)
    alone = minimize_equality(**given, **stingy, fallback=None, maxiter=3, rng=0)
    assert alone.fallbacks == 0
    assert not alone.success


def test_callbacks_and_limits():
    given, _, _ = sphere()
    seen = []
    result = minimize_equality(**given, callback=lambda r: seen.append(r.kkt), rng=0)
    assert len(seen) == result.nit
    np.testing.assert_allclose(seen, result.history["kkt"])

    def stop(r):
        if r.nit == 2:
            raise StopIteration

    stopped = minimize_equality(**given, callback=stop, rng=0)
    assert (stopped.status, stopped.nit) == (3, 2)
    assert minimize_equality(**given, callback=lambda r: r.nit == 1, rng=0).nit == 1
    short = minimize_equality(**given, maxiter=1, rng=0)
    assert (short.status, short.success) == (1, False)
    assert "maxiter = 1" in short.message


def test_multipliers_may_be_given():
    given, x, multipliers = quadratic()
    result = minimize_equality(**{**given, "x0": x}, multipliers0=multipliers, rng=0)
    assert (result.success, result.nit) == (True, 0)


def good():
    return {
        "fun": lambda x: x @ x,
        "x0": [1.0, 2.0],
        "constraints": {"type": "eq", "fun": lambda x: x.sum() - 1},
    }


BAD = [
    ({"x0": [np.nan, 0.0]}, r"x0\[0\] is nan"),
    ({"x0": [[1.0, 2.0]]}, r"shape \(1, 2\)"),
    ({"x0": [1j, 2.0]}, "real"),
    ({"fun": 3}, "callable"),
    ({"fun": lambda x: x}, "one number"),
    ({"fun": lambda x: np.nan}, r"fun\(x0\) is nan"),
    ({"jac": lambda x: np.array([np.inf, 0.0])}, "holds inf"),
    ({"jac": lambda x: np.ones(3)}, r"give \(2,\)"),
    ({"jac": "backprop"}, "backprop"),
    ({"hess": 1.0}, "hess"),
    ({"hess": lambda x: np.full((2, 2), np.nan)}, "Hessian at x0"),
    ({"hess": lambda x: np.eye(3)}, r"\(3, 3\)"),
    ({"constraints": ()}, "no constraint"),
    ({"constraints": {"type": "ineq", "fun": lambda x: x}}, "slack"),
    ({"constraints": LinearConstraint(np.eye(2), 0, 1)}, "between 0.* and 1"),
    ({"constraints": LinearConstraint(np.eye(3), 0, 0)}, r"\(3, 3\)"),
    ({"constraints": LinearConstraint(np.eye(2), np.inf, np.inf)}, "inf"),
    ({"constraints": NonlinearConstraint(lambda x: x / 0.0 * 0, 0, 0)}, "nan"),
    ({"constraints": NonlinearConstraint(lambda x: x, 0, 0, jac=lambda x: np.eye(3))}, "jac of"),
    ({"constraints": 7}, "int"),
    ({"bounds": [(0, 1), (0, 1)]}, "bounds"),
    ({"tol": 0.0}, "tol must be > 0, got 0"),
    ({"maxiter": -1}, "-1"),
    ({"solver": "cg"}, "subsampled"),
    ({"fallback": "cg"}, "fallback"),
    ({"block": 0}, "block must be >= 1"),
    ({"memory": -1}, "memory"),
    ({"max_sweeps": 0}, "max_sweeps"),
    ({"forcing": "cubic"}, "forcing"),
    ({"eta1": 0.0}, "eta1 must be > 0"),
    ({"delta": 1.0}, "delta"),
    ({"beta": 0.5}, "beta"),
    ({"nu": 1.0}, "nu must be > 1"),
    ({"multipliers0": [1.0, 2.0]}, "multipliers0"),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("changed", "words"), BAD)
def test_bad_input_is_named(changed, words):
    with pytest.raises(ValueError, match=words):
        minimize_equality(**{**good(), **changed})


def test_the_good_input_is_good():
    assert minimize_equality(**good(), rng=0).success

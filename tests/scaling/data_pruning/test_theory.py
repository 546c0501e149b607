"""The replica theory against closed forms, published constants, quadrature and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, optimize
from scipy.stats import norm

from paperworks.scaling import pruned_perceptron
from paperworks.scaling.data_pruning import (
    best_keep,
    crossover,
    max_margin,
    simulate_perceptron,
)
from paperworks.scaling.data_pruning.fields import Kept, shortfall, threshold
from paperworks.scaling.data_pruning.replica import residual


def classical(alpha: float) -> tuple[float, float]:
    """Maximal stability without pruning by the equations of Opper, Kinzel, Kleinz and Nehl (1990).

    R and kappa from E over the teacher's field u = |N(0, 1)|, all by SciPy's adaptive quadrature.
    """

    def equations(x: np.ndarray) -> list[float]:
        R, kappa = math.tanh(x[0]), math.exp(x[1])
        s = math.sqrt(1 - R * R)

        def mean(f) -> float:
            inside = lambda u: 2 * norm.pdf(u) * f((kappa - R * u) / s)  # noqa: E731
            cuts = [c for c in ((kappa - 4 * s) / R, kappa / R, (kappa + 4 * s) / R) if 0 < c < 12]
            return integrate.quad(inside, 0, 12, points=cuts or None, limit=400)[0]

        # alpha E (kappa - t)_+^2 = 1 - R^2, and its stationarity: R = alpha E (kappa - t)_+ pdf.
        first = alpha * mean(lambda m: (m * m + 1) * norm.cdf(m) + m * norm.pdf(m)) - 1
        edge = integrate.quad(
            lambda t: (kappa - t) * norm.pdf(t) * norm.pdf(R * t / s) / s, -12, kappa, limit=400
        )[0]
        return [first, 2 * alpha * edge / R - 1]

    start = (math.atanh(min(0.999, 1 - 1 / (1.5 + alpha) ** 2)), math.log(1 / (1 + alpha)))
    found = optimize.root(equations, start, tol=1e-11)
    assert found.success
    return math.tanh(found.x[0]), math.exp(found.x[1])


@pytest.mark.parametrize("alpha", [0.5, 2.0, 8.0])
def test_no_pruning_is_the_classical_perceptron(alpha: float) -> None:
    R, kappa = classical(alpha)
    found = pruned_perceptron(alpha)
    assert found.overlap == pytest.approx(R, rel=1e-6)
    assert found.margin == pytest.approx(kappa, rel=1e-6)


def test_the_published_constant_of_maximal_stability() -> None:
    """The error falls as 0.5005 / alpha (Opper et al. 1990; Engel and Van den Broeck)."""
    assert pruned_perceptron(1e4).test_error * 1e4 == pytest.approx(0.5005, abs=1e-4)


def test_little_data_is_the_hebbian_limit() -> None:
    """For alpha to 0 all lie on the margin: R = sqrt(2 alpha / pi), kappa^2 = 1 / alpha."""
    found = pruned_perceptron(1e-3)
    assert found.overlap == pytest.approx(math.sqrt(2e-3 / math.pi), rel=2e-3)
    assert found.margin == pytest.approx(1e3**0.5, rel=2e-3)


@pytest.mark.parametrize("order", ["hard", "easy"])
@pytest.mark.parametrize("theta", [0.3, 1.2])
def test_an_imperfect_probe_that_prunes_nothing_changes_nothing(theta: float, order: str) -> None:
    plain, probed = pruned_perceptron(3.0), pruned_perceptron(3.0, theta=theta, order=order)
    assert probed.test_error == pytest.approx(plain.test_error, rel=1e-8)
    assert probed.probe_overlap == pytest.approx(math.cos(theta) * plain.overlap, rel=1e-6)


def test_a_probe_that_knows_nothing_prunes_at_random() -> None:
    blind = pruned_perceptron(6.0, 0.5, theta=math.pi / 2)
    assert blind.test_error == pytest.approx(pruned_perceptron(3.0).test_error, rel=1e-6)


@pytest.mark.parametrize("order", ["hard", "easy"])
def test_a_small_angle_comes_to_none(order: str) -> None:
    exact = pruned_perceptron(3.0, 0.4, order=order).test_error
    near = pruned_perceptron(3.0, 0.4, theta=1e-4, order=order).test_error
    assert near == pytest.approx(exact, rel=1e-3)
    assert near != exact


@pytest.mark.parametrize("alpha_kept", [0.05, 3.0, 3e3])
@pytest.mark.parametrize("keep", [0.05, 0.6])
@pytest.mark.parametrize("theta", [0.0, 1e-3, 0.25])
@pytest.mark.parametrize("order", ["hard", "easy"])
def test_the_saddle_point_equations_hold(
    alpha_kept: float, keep: float, theta: float, order: str
) -> None:
    found = pruned_perceptron(alpha_kept / keep, keep, theta=theta, order=order)
    assert found.converged
    assert found.residual < 1e-6
    assert 0 < found.overlap < 1
    assert found.alpha_kept == pytest.approx(alpha_kept)


@pytest.mark.parametrize("theta", [0.0, 0.4])
def test_the_residual_sees_what_is_no_solution(theta: float) -> None:
    found = pruned_perceptron(4.0, 0.5, theta=theta)
    kept = Kept(0.5, theta, "hard")
    outside = math.sqrt(
        1
        - found.probe_overlap**2
        - (((found.overlap - found.probe_overlap * math.cos(theta)) / math.sin(theta)) ** 2
           if theta else 0.0)
    )  # fmt: skip
    across = (
        (found.overlap - found.probe_overlap * math.cos(theta)) / math.sin(theta) if theta else 0.0
    )
    v = np.array([found.probe_overlap, across]) / outside
    assert residual(kept, 2.0, v, found.margin) < 1e-8
    for wrong in (v * [1.01, 1.0], v + np.array([0.0, 0.01]) if theta else v * 0.99):
        assert residual(kept, 2.0, np.asarray(wrong), found.margin) > 3e-4
    assert residual(kept, 2.0, v, found.margin * 1.01) > 1e-3
    assert residual(kept, 2.02, v, found.margin) > 1e-3


def test_averages_against_monte_carlo() -> None:
    """Half a million draws, kept by the sample's own quantile; labels as a teacher gives them."""
    rng = np.random.default_rng(0)
    z, w = rng.standard_normal((2, 500_000))
    for theta, order, v, kappa in (
        (0.3, "hard", [1.0, 0.5], 0.4),
        (0.3, "easy", [4.0, -2.0], 0.8),
        (0.0, "easy", [2.0, 0.0], 0.8),
    ):
        label = np.sign(math.cos(theta) * z + math.sin(theta) * w)
        cut = np.quantile(np.abs(z), 0.3 if order == "hard" else 0.7)
        kept = np.abs(z) <= cut if order == "hard" else np.abs(z) > cut
        m = kappa * math.sqrt(1 + v[0] ** 2 + v[1] ** 2) - (label * (v[0] * z + v[1] * w))[kept]
        sample = np.maximum(m + rng.standard_normal(m.size), 0) ** 2
        value = Kept(0.3, theta, order).shortfall(np.array(v), kappa)[0]
        assert value == pytest.approx(sample.mean(), abs=4 * sample.std() / m.size**0.5)


@pytest.mark.parametrize("theta", [0.0, 0.5])
def test_gradient_and_hessian(theta: float) -> None:
    kept, v = Kept(0.4, theta, "hard"), np.array([1.3, 0.7 if theta else 0.0])
    _, gradient, hessian = kept.shortfall(v, 0.3)
    for axis in range(2 if theta else 1):
        step = np.zeros(2)
        step[axis] = 1e-5
        ahead, behind = kept.shortfall(v + step, 0.3), kept.shortfall(v - step, 0.3)
        assert gradient[axis] == pytest.approx((ahead[0] - behind[0]) / 2e-5, rel=1e-6)
        np.testing.assert_allclose(
            hessian[axis], (ahead[1] - behind[1]) / 2e-5, rtol=1e-5, atol=1e-8
        )


def test_shortfall_and_threshold_by_quadrature() -> None:
    for m in (-4.0, 0.0, 2.5):
        wanted = integrate.quad(lambda g, m=m: max(m + g, 0) ** 2 * norm.pdf(g), -m, 12 + abs(m))[0]
        assert shortfall(np.array([m]))[0][0] == pytest.approx(wanted, rel=1e-7)
    assert 2 * norm.cdf(threshold(0.3, "hard")) - 1 == pytest.approx(0.3)
    assert 2 * norm.sf(threshold(0.3, "easy")) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("alpha_tot", "keep", "theta", "order"),
    [(3.0, 0.5, 0.0, "hard"), (4.0, 0.5, 0.4, "hard"), (6.0, 0.4, 0.3, "easy")],
)
def test_simulated_perceptrons(alpha_tot: float, keep: float, theta: float, order: str) -> None:
    rng = np.random.default_rng(1)
    runs = [
        simulate_perceptron(200, alpha_tot, keep, theta=theta, order=order, rng=rng)
        for _ in range(30)
    ]
    exact = pruned_perceptron(alpha_tot, keep, theta=theta, order=order)
    for name in ("test_error", "margin", "overlap", "probe_overlap"):
        values = np.array([getattr(run, name) for run in runs])
        # Four standard errors, and a little for the finite dimension.
        slack = 4 * values.std(ddof=1) / len(runs) ** 0.5 + 0.01 * abs(values.mean())
        assert abs(values.mean() - getattr(exact, name)) < slack, name


def test_hard_wins_with_much_data_and_easy_with_little() -> None:
    for alpha_tot, better, worse in ((1.0, "easy", "hard"), (50.0, "hard", "easy")):
        errors = {
            o: pruned_perceptron(alpha_tot, 0.5, order=o).test_error for o in ("hard", "easy")
        }
        assert errors[better] < errors[worse]


@pytest.mark.parametrize(("against", "theta"), [("easy", 0.0), ("random", 0.2)])
def test_crossover_is_where_the_two_meet(against: str, theta: float) -> None:
    at = crossover(0.3, theta=theta, against=against)
    leads = []
    for alpha in (0.9 * at, at, 1.1 * at):
        hard = pruned_perceptron(alpha, 0.3, theta=theta).test_error
        other = (
            pruned_perceptron(alpha, 0.3, theta=theta, order="easy")
            if against == "easy"
            else pruned_perceptron(alpha * 0.3)
        )
        leads.append(hard / other.test_error - 1)
    assert leads[0] > 0 > leads[2]
    assert abs(leads[1]) < 1e-4


def test_best_keep_beats_its_neighbours() -> None:
    best = best_keep(3.0, theta=0.3)
    assert 0.1 < best.keep < 0.9
    for keep in (0.8 * best.keep, min(1.2 * best.keep, 1.0)):
        assert pruned_perceptron(3.0 / keep, keep, theta=0.3).test_error > best.test_error
    assert best_keep(5.0).keep == pytest.approx(0.01)  # the more choice the better: perfect probe


def test_max_margin_is_the_quadratic_program() -> None:
    cvxpy = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(2)
    x = rng.standard_normal((300, 20))
    y = np.sign(x @ rng.standard_normal(20))
    w = cvxpy.Variable(20)
    problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(w)), [cvxpy.multiply(y, x @ w) >= 1])
    problem.solve(solver=cvxpy.CLARABEL)
    np.testing.assert_allclose(
        max_margin(x, y), w.value / np.linalg.norm(w.value), atol=1e-6, rtol=0
    )


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"keep must be a share in \[0.0001, 1\], got 0"):
        pruned_perceptron(1.0, 0.0)
    with pytest.raises(ValueError, match=r"got 1e-05 \* 1"):
        pruned_perceptron(1e-5)
    with pytest.raises(ValueError, match="a probe at pi - theta ranks alike"):
        pruned_perceptron(1.0, 0.5, theta=2.0)
    with pytest.raises(ValueError, match="order must be 'hard' or 'easy', got 'mid'"):
        pruned_perceptron(1.0, 0.5, order="mid")
    with pytest.raises(ValueError, match="nothing to choose"):
        crossover(1.0)
    with pytest.raises(ValueError, match="against must be"):
        crossover(0.5, against="hard")
    with pytest.raises(ValueError, match="least must be in"):
        best_keep(1.0, least=2.0)
    with pytest.raises(ValueError, match="n must be >= 3"):
        simulate_perceptron(2, 1.0)
    with pytest.raises(ValueError, match="must leave an example"):
        simulate_perceptron(10, 0.2, 0.1)
    with pytest.raises(ValueError, match="no direction through the origin"):
        max_margin([[1.0, 0.0], [1.0, 0.0]], [1, -1])
    with pytest.raises(ValueError, match="labels must be -1 or 1, got 0"):
        max_margin([[1.0, 0.0]], [0])
    with pytest.raises(ValueError, match=r"x must be \(P, n\)"):
        max_margin([1.0, 0.0], [1, 1])

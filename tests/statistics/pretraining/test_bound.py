"""The bound: its formula, its promise by simulation, and the brackets behind its terms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from paperworks.statistics import (
    ContrastiveClasses,
    FactorClasses,
    FiniteClasses,
    MixtureClasses,
    excess_risk_bound,
    unlabelled_rows_needed,
)
from paperworks.statistics.pretraining.classes import _width

DELTA = 0.1


def test_the_formula():
    classes = FiniteClasses(n_models=50, n_predictors=8, loss_bound=2.0)
    found = excess_risk_bound(1000, 200, classes, kappa=3.0, delta=0.05)
    assert found.pretraining == pytest.approx(
        12 * 3 * 2 * math.sqrt(math.log(2 * 50 / 0.05) / 1000)
    )
    assert found.predictor == pytest.approx(2 * 2 * math.sqrt(2 * math.log(8) / 200))
    assert found.confidence == pytest.approx(2 * 2 * math.sqrt(2 * math.log(80) / 200))
    assert found.total == pytest.approx(found.pretraining + found.predictor + found.confidence)
    assert found.supervised == pytest.approx(
        4 * math.sqrt(2 * math.log(400) / 200) + 4 * math.sqrt(2 * math.log(40) / 200)
    )
    assert found.vacuous
    assert not found.pays


def test_rates():
    classes = FactorClasses(n_features=50, n_components=2, norm=1.0, label_norm=1.0)
    here = excess_risk_bound(10**6, 10**4, classes, kappa=2.0)
    more = excess_risk_bound(4 * 10**6, 4 * 10**4, classes, kappa=2.0)
    assert more.predictor == pytest.approx(here.predictor / 2)
    assert more.confidence == pytest.approx(here.confidence / 2)
    # 1/m also sets the brackets, by a logarithm.
    assert here.pretraining / 2 < more.pretraining < here.pretraining / 1.8


class World:
    """Finitely many tables P(x, z), z two-valued, and label models z -> y, all exact."""

    def __init__(self, models=60, values=12, seed=0):
        rng = np.random.default_rng(seed)
        base = rng.dirichlet(np.ones(2 * values)).reshape(values, 2)
        other = rng.dirichlet(np.ones(2 * values), size=models - 1).reshape(-1, values, 2)
        mix = rng.uniform(0.2, 1.0, size=(models - 1, 1, 1))
        self.joint = np.concatenate([base[None], (1 - mix) * base + mix * other])
        self.psi = np.array([[0.1, 0.1], [0.1, 0.9], [0.9, 0.1], [0.9, 0.9]])  # P(y = 1 | z)
        self.marginal = self.joint.sum(axis=2)
        observed = 0.5 * np.abs(self.marginal[1:] - self.marginal[0]).sum(axis=1)
        latent = [
            0.5 * np.abs(self.joint[1:, :, order] - base).sum(axis=(1, 2))
            for order in ([0, 1], [1, 0])  # swapping z is undone by swapping psi
        ]
        self.observed = np.append(0.0, observed)
        self.kappa = float((np.minimum(*latent) / observed).max())
        posterior = self.joint / self.marginal[:, :, None]
        self.rules = (posterior @ self.psi.T > 0.5).astype(int)  # (model, x, psi)
        self.truth = np.stack(
            [base @ (1 - self.psi[1]), base @ self.psi[1]], axis=1
        )  # P(x, y) under the first model and the second label model

    def excess(self, rule):
        risk = self.truth[np.arange(len(rule)), 1 - rule].sum()
        return risk - self.truth.min(axis=1).sum()

    def run(self, m, n, rng):
        """Excess risk and TV of the two-phase algorithm on fresh rows."""
        counts = rng.multinomial(m, self.marginal[0])
        best = int((counts @ np.log(self.marginal).T).argmax())
        labels = rng.multinomial(n, self.truth.ravel()).reshape(self.truth.shape)
        rows = np.arange(len(labels))
        risks = [labels[rows, 1 - self.rules[best, :, k]].sum() for k in range(4)]
        return self.excess(self.rules[best, :, int(np.argmin(risks))]), self.observed[best]


@pytest.mark.parametrize(("m", "n"), [(20, 10), (20, 20_000), (2000, 50), (500_000, 20_000)])
def test_the_promise_holds_in_simulation(m, n):
    world = World()
    rng = np.random.default_rng(1)
    trials = 400
    found = np.array([world.run(m, n, rng) for _ in range(trials)])
    bound = excess_risk_bound(m, n, FiniteClasses(60, 4), kappa=world.kappa, delta=DELTA)
    fails = int((found[:, 0] > bound.total).sum())
    assert fails <= binom.ppf(0.999, trials, DELTA)
    # The step of maximum likelihood by itself.
    radius = 3 * math.sqrt(math.log(2 * 60 / DELTA) / m)
    assert (found[:, 1] > radius).sum() <= binom.ppf(0.999, trials, DELTA / 2)


def test_the_promise_needs_the_pretraining_term():
    world = World()
    rng = np.random.default_rng(1)
    found = np.array([world.run(3, 10**7, rng)[0] for _ in range(400)])
    bound = excess_risk_bound(3, 10**7, FiniteClasses(60, 4), kappa=world.kappa, delta=DELTA)
    assert not bound.vacuous or bound.pretraining > 1
    short = bound.predictor + bound.confidence
    assert (found > short).sum() > binom.ppf(0.999, 400, DELTA)


def test_one_dimensional_brackets_in_closed_form():
    for rho in (1e-6, 0.01, 0.5, 1.5):
        exact = 2 * rho * norm.pdf(0) + 1 - 2 * norm.sf(rho)
        assert _width(rho, 1) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("d", [2, 10, 200])
def test_the_width_of_gaussian_brackets(d):
    rng = np.random.default_rng(0)
    rho = 0.05
    t = np.sqrt(rng.chisquare(d, size=400_000))
    gap = np.exp(0.5 * t**2 - 0.5 * np.maximum(t - rho, 0) ** 2) - np.exp(
        0.5 * t**2 - 0.5 * (t + rho) ** 2
    )
    assert _width(rho, d) == pytest.approx(gap.mean(), abs=5 * gap.std() / np.sqrt(t.size))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), d=st.integers(1, 6), rho=st.floats(0.01, 2.0))
def test_gaussian_brackets_hold_what_they_should(seed, d, rho):
    rng = np.random.default_rng(seed)
    u = rng.normal(size=d)
    u *= rho * rng.random() / np.linalg.norm(u)
    x = 3 * rng.normal(size=(100, d))
    t = np.linalg.norm(x, axis=1)
    density = -0.5 * ((x - u) ** 2).sum(axis=1)
    assert (density <= -0.5 * np.maximum(t - rho, 0) ** 2 + 1e-9).all()
    assert (density >= -0.5 * (t + rho) ** 2 - 1e-9).all()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), norm_=st.floats(0.2, 5.0), m=st.integers(1, 1000))
def test_factor_brackets_hold_what_they_should(seed, norm_, m):
    rng = np.random.default_rng(seed)
    d, r = 4, 2
    t = np.arcsinh(0.5 / m) / d
    rho = -np.expm1(-t) / (2 * norm_)
    # What `log_bracketing` counts are balls of this radius.
    counted = FactorClasses(d, r, norm=norm_, label_norm=1.0).log_bracketing(m)
    assert counted == pytest.approx(d * r * np.log1p(2 * norm_ / rho))
    assert np.exp(t * d) - np.exp(-t * d) <= 1 / m * (1 + 1e-9)
    B = rng.normal(size=(d, r))
    B *= norm_ * rng.random() / np.linalg.norm(B, 2)
    step = rng.normal(size=(d, r))
    there = B + rho * step / np.linalg.norm(step, 2)
    if np.linalg.norm(there, 2) > norm_:
        there = B
    one, two = (M @ M.T + np.eye(d) for M in (B, there))
    ratio = np.linalg.eigvals(np.linalg.solve(one, two)).real
    assert np.exp(-t) - 1e-9 <= ratio.min()
    assert ratio.max() <= np.exp(t) + 1e-9
    x = 5 * rng.normal(size=(50, d))
    quadratic = np.einsum("ni,ij,nj->n", x, np.linalg.inv(one), x)
    log_det = np.linalg.slogdet(one)[1]
    upper = t * d / 2 - 0.5 * log_det - 0.5 * np.exp(-t) * quadratic
    lower = -t * d / 2 - 0.5 * log_det - 0.5 * np.exp(t) * quadratic
    density = -0.5 * np.linalg.slogdet(two)[1] - 0.5 * np.einsum(
        "ni,ij,nj->n", x, np.linalg.inv(two), x
    )
    assert (lower - 1e-9 <= density).all()
    assert (density <= upper + 1e-9).all()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), rho=st.floats(1e-4, 0.5))
def test_contrastive_brackets_hold_what_they_should(seed, rho):
    rng = np.random.default_rng(seed)
    norm_, radius = 1.5, 2.0
    W, step = rng.normal(size=(2, 2, 3))
    W *= (norm_ - rho) / np.linalg.norm(W, 2)
    there = W + rho * step / np.linalg.norm(step, 2)
    x, y = rng.normal(size=(2, 50, 3))
    x, y = (radius * v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
    p, q = (1 / (1 + np.exp(-((x @ M.T) * (y @ M.T)).sum(axis=1))) for M in (W, there))
    half = norm_ * radius**2 * rho / 2  # of the bracket of one sign
    assert (np.abs(p - q) <= half + 1e-12).all()
    m = 1 / (4 * half)  # four halves: both sides, both signs
    counted = ContrastiveClasses(3, 2, norm=norm_, radius=radius, label_norm=1.0)
    assert counted.log_bracketing(m) == pytest.approx(6 * np.log1p(2 * norm_ / rho))


def test_rademacher_complexity_of_factor_regression():
    # Loadings of singular value 1 make every inequality tight but Jensen's.
    rng = np.random.default_rng(0)
    d, r, n, L, b = 30, 3, 200, 2.0, 1.5
    B = np.linalg.qr(rng.normal(size=(d, r)))[0]
    found, alone = [], []
    for _ in range(200):
        x = rng.normal(size=(n, r)) @ B.T + rng.normal(size=(n, d))
        signs = rng.choice([-1, 1], size=n)
        found.append(2 * np.sqrt(L) * b * np.linalg.norm(signs @ (x @ B / 2)) / n)
        alone.append(2 * np.sqrt(L) * b / 2 * np.linalg.norm(signs @ x) / n)
    classes = FactorClasses(d, r, norm=1.0, label_norm=b, loss_bound=L)
    assert 0.85 * classes.rademacher(n) < np.mean(found) < classes.rademacher(n)
    supervised = classes.rademacher_supervised(n)
    assert 0.95 * supervised < np.mean(alone) < supervised


def test_rademacher_complexity_of_finite_classes():
    # Massart's inequality on losses of 0 and 1.
    rng = np.random.default_rng(0)
    losses = rng.integers(2, size=(16, 100))
    signs = rng.choice([-1, 1], size=(4000, 100))
    found = (signs @ losses.T).max(axis=1).mean() / 100
    assert found < FiniteClasses(1, 16).rademacher(100)
    assert MixtureClasses(5, 4, 2, 1.0).rademacher(100) == pytest.approx(
        FiniteClasses(1, 2**4).rademacher(100)
    )


def test_pretraining_pays_where_unlabelled_rows_are_many():
    classes = FactorClasses(n_features=500, n_components=1, norm=1.0, label_norm=1.0)
    needed = unlabelled_rows_needed(10_000, classes, kappa=1.5)
    assert excess_risk_bound(needed, 10_000, classes, kappa=1.5).pays
    assert not excess_risk_bound(needed - 1, 10_000, classes, kappa=1.5).pays
    # With as many factors as features there is nothing to gain.
    full = FactorClasses(n_features=5, n_components=5, norm=1.0, label_norm=1.0)
    assert unlabelled_rows_needed(10_000, full, kappa=1.5) is None


@pytest.mark.parametrize(
    "classes",
    [
        FactorClasses(20, 3, norm=2.0, label_norm=1.0),
        MixtureClasses(20, 5, 3, norm=6.0),
        ContrastiveClasses(20, 3, norm=1.0, radius=5.0, label_norm=1.0),
    ],
)
def test_complexity_grows_as_the_paper_says(classes):
    # log N as the number of parameters, up to a logarithm; R_n as 1 / sqrt(n).
    free = 20 * classes.n_components
    assert 1 < classes.log_bracketing(1000) / free < 20
    assert classes.log_bracketing(1000) < classes.log_bracketing(10_000)
    assert classes.rademacher(400) == pytest.approx(classes.rademacher(100) / 2)
    assert classes.rademacher(1000) < classes.rademacher_supervised(1000)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"m": 0}, "m must be a whole number >= 1, got 0"),
        ({"n": 2.5}, "n must be a whole number >= 1, got 2.5"),
        ({"kappa": 0}, "kappa must be > 0 and finite, got 0"),
        ({"kappa": float("inf")}, "kappa must be > 0 and finite, got inf"),
        ({"delta": 1.0}, "delta must lie strictly between 0 and 1, got 1.0"),
    ],
)
def test_bad_input(change, words):
    given_ = {"m": 10, "n": 10, "kappa": 1.0, "delta": 0.1} | change
    m, n = given_.pop("m"), given_.pop("n")
    with pytest.raises(ValueError, match=words):
        excess_risk_bound(m, n, FiniteClasses(2, 2), **given_)


def test_classes_must_be_classes():
    with pytest.raises(ValueError, match=r"as FactorClasses\(...\) does, got None"):
        excess_risk_bound(10, 10, None, kappa=1.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FiniteClasses(0, 2),
        lambda: FactorClasses(3, 1, norm=-1.0, label_norm=1.0),
        lambda: MixtureClasses(3, 2, 1, norm=1.0),
        lambda: ContrastiveClasses(3, 2, norm=1.0, radius=float("nan"), label_norm=1.0),
    ],
)
def test_bad_classes(make):
    with pytest.raises(ValueError, match="must be"):
        make()

"""The paper's theory of the optimizer itself: what it is drawn to, how fast, and where it ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch.nn import Parameter

from paperworks.training import LionK, lion_k

RELU = lion_k.CustomKappa(
    lambda x: (x > 0).to(x.dtype),
    gauge_fn=lambda y: torch.where((y < 0).any(), torch.inf, y.max()),
    blockwise=True,
)
NUCLEAR = lion_k.CustomKappa(
    lambda x: (lambda u, s, v: u @ v)(*torch.linalg.svd(x, full_matrices=False)),
    gauge_fn=lambda y: torch.linalg.matrix_norm(y, 2),
)
BALLS = {
    "l1": lion_k.kappa("l1"),
    "lp": lion_k.kappa("lp", p=3),
    "l2": lion_k.kappa("l2"),
    "linf": lion_k.kappa("linf"),
    "topk": lion_k.kappa("topk", k=4),
    "group": lion_k.kappa("group"),
    "huber": lion_k.kappa("huber", delta=0.3),
    "deadzone": lion_k.kappa("deadzone", threshold=0.1),
    "relativistic": lion_k.kappa("relativistic", eps=0.1),
    "tanh": lion_k.kappa("tanh", scale=0.1),
    "nuclear": NUCLEAR,
}


@pytest.mark.parametrize("name", BALLS)
@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    lr=st.floats(1e-3, 0.9),
    decay=st.floats(0.05, 1.0),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_phase_1_no_gradient_slows_the_way_to_the_feasible_set(
    name: str, seed: int, lr: float, decay: float, scale: float
) -> None:
    kappa, generator = BALLS[name], torch.Generator().manual_seed(seed)
    p = Parameter(50 / decay * torch.randn(4, 3, dtype=torch.float64, generator=generator))
    optimizer = LionK([p], lr, weight_decay=decay, kappa=kappa)
    start = distance = optimizer.distance()
    assert start > 0
    for step in range(1, 25):
        # Half the time the gradient pushes straight out of the set.
        p.grad = torch.randn(4, 3, dtype=torch.float64, generator=generator) * scale
        if seed % 2:
            p.grad = -scale * p.detach()
        optimizer.step()
        previous, distance = distance, optimizer.distance()
        slack = 1e-12 * start
        assert distance <= (1 - lr * decay) * previous + slack
        assert distance <= start * math.exp(-decay * lr * step) + slack


def test_phase_1_the_rate_is_sharp_for_lion() -> None:
    p = Parameter(torch.full((3,), 20.0, dtype=torch.float64))
    optimizer = LionK([p], 0.1, weight_decay=0.5)
    for step in range(1, 30):
        p.grad = -torch.ones(3, dtype=torch.float64)
        optimizer.step()
        assert optimizer.distance() == pytest.approx(18.0 * 0.95**step, rel=1e-12)


def test_without_a_norm_feasible_sets_are_closed_too() -> None:
    p = Parameter(torch.tensor([0.3, 1.0, 0.0], dtype=torch.float64))
    optimizer = LionK([p], 0.05, weight_decay=1.0, kappa=RELU)
    for seed in range(50):
        p.grad = torch.randn(3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        optimizer.step()
        assert RELU.distance(p.detach(), 1.0) <= 1e-12


# One least-squares problem, A x = b with x a (3, 2) matrix, whose solution lies outside every set.
RNG = np.random.default_rng(7)
A = RNG.normal(size=(30, 6)) / math.sqrt(30)
B = A @ np.array([3.0, -2.0, 0.5, 1.5, -0.1, 0.05]) + 0.1 * RNG.normal(size=30)
DECAY = 0.9


def loss(x: np.ndarray) -> float:
    return 0.5 * float(((A @ x.ravel() - B) ** 2).sum())


def lion(
    kappa: lion_k.Kappa, steps: int = 2500, betas: tuple = (0.9, 0.99), **given: bool
) -> np.ndarray:
    """The end of full-gradient LionK with a step that falls to zero."""
    a, b = torch.from_numpy(A), torch.from_numpy(B)
    p = Parameter(torch.full((3, 2), 5.0, dtype=torch.float64))
    optimizer = LionK([p], 0.02, betas, DECAY, kappa, **given)
    for i in range(steps):
        optimizer.param_groups[0]["lr"] = 0.02 * 0.5 * (1 + math.cos(math.pi * i / steps))
        p.grad = (a.T @ (a @ p.detach().flatten() - b)).view(3, 2)
        optimizer.step()
    return p.detach().numpy()


def check(x: np.ndarray, best: np.ndarray, objective=loss, within: float = 1e-3) -> None:
    """``x`` has the objective of ``best``, up to a part of what there was to gain."""
    gain = objective(np.zeros((3, 2))) - objective(best)
    assert gain > 0.3
    assert loss(best) - loss(np.linalg.lstsq(A, B, rcond=None)[0]) > 0.1  # the set matters
    assert objective(x) - objective(best) == pytest.approx(0, abs=within * gain)
    np.testing.assert_allclose(x, best.reshape(3, 2), atol=30 * within)


def test_lion_solves_the_bound_constrained_problem() -> None:
    bound = 1 / DECAY
    found = minimize(
        loss,
        np.zeros(6),
        jac=lambda x: A.T @ (A @ x - B),
        method="L-BFGS-B",
        bounds=[(-bound, bound)] * 6,
        options={"ftol": 1e-15, "gtol": 1e-12},
    )
    assert 1 <= (np.abs(found.x) > bound - 1e-9).sum() <= 5  # some bounds are active, not all
    check(lion(lion_k.kappa("l1")), found.x)
    check(lion(lion_k.kappa("l1"), nesterov=False), found.x)


@pytest.mark.parametrize(
    "name",
    ["l2", "lp", "linf", "topk", "group", "nuclear", "huber", "deadzone", "quadratic", "relu"],
)
def test_the_limit_solves_the_problem_of_its_kappa(name: str) -> None:
    cp = pytest.importorskip("cvxpy")
    x = cp.Variable((3, 2))
    y = DECAY * x
    box = cp.max(cp.abs(y)) <= 1
    extra, sets, kappa = 0, [], BALLS.get(name)
    if name == "l2":
        sets = [cp.norm(y, "fro") <= 1]
    elif name == "lp":
        sets = [cp.pnorm(cp.vec(y, order="C"), 1.5) <= 1]
    elif name == "linf":
        sets = [cp.sum(cp.abs(y)) <= 1]
    elif name == "topk":
        kappa, sets = lion_k.kappa("topk", k=2), [box, cp.sum(cp.abs(y)) <= 2]
    elif name == "group":
        sets = [cp.norm(y[i]) <= 1 for i in range(3)]
    elif name == "nuclear":
        sets = [cp.sigma_max(y) <= 1]
    elif name == "huber":
        extra, sets = 0.3 / 2 * DECAY * cp.sum_squares(x), [box]
    elif name == "deadzone":
        extra, sets = 0.1 * cp.sum(cp.abs(x)), [box]
    elif name == "quadratic":
        kappa, extra = lion_k.kappa("quadratic"), DECAY / 2 * cp.sum_squares(x)
    elif name == "relu":
        kappa, sets = RELU, [y >= 0, y <= 1]
    least_squares = cp.sum_squares(A @ cp.vec(x, order="C") - B) / 2
    cp.Problem(cp.Minimize(least_squares + extra), sets).solve(solver=cp.CLARABEL)

    def objective(at: np.ndarray) -> float:
        return loss(at) if name == "relu" else loss(at) + penalty(at)

    def penalty(at: np.ndarray) -> float:
        if name in ("huber", "deadzone", "quadratic"):
            # Up to rounding at the boundary, where it jumps to infinity.
            inside = torch.from_numpy(at.reshape(3, 2) * (1 - 1e-9))
            return float(kappa.penalty(inside, DECAY)) if name == "quadratic" else finite(inside)
        return 0.0

    def finite(at: torch.Tensor) -> float:
        return float(kappa.penalty(at.clamp(-1 / DECAY, 1 / DECAY), DECAY))

    # Steps along a vertex of the set end within the order of the last steps.
    check(lion(kappa), x.value, objective, within=2e-3)


def test_the_smooth_kappas_end_at_the_minimum_of_loss_and_penalty() -> None:
    for kappa in (lion_k.kappa("relativistic", eps=0.2), lion_k.kappa("tanh", scale=0.2)):

        def objective(x: np.ndarray, kappa: lion_k.Kappa = kappa) -> float:
            return loss(x) + float(kappa.penalty(torch.from_numpy(x.reshape(3, 2)), DECAY))

        edge = (1 - 1e-9) / DECAY
        best = minimize(objective, np.zeros(6), bounds=[(-edge, edge)] * 6, options={"ftol": 1e-14})
        x = lion(kappa)
        assert objective(x) == pytest.approx(best.fun, abs=1e-5)
        np.testing.assert_allclose(x.ravel(), best.x, atol=5e-3)


def test_without_weight_decay_nothing_is_constrained() -> None:
    best = np.linalg.lstsq(A, B, rcond=None)[0]
    a, b = torch.from_numpy(A), torch.from_numpy(B)
    p = Parameter(torch.zeros(6, dtype=torch.float64))
    optimizer = LionK([p], 0.02)
    for i in range(3000):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - i / 3000)
        p.grad = a.T @ (a @ p.detach() - b)
        optimizer.step()
    np.testing.assert_allclose(p.detach().numpy(), best, atol=5e-3)

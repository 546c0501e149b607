"""The continuous-time system and its Lyapunov function."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.nn import Parameter

from paperworks.training import LionK, lion_k

Q = torch.tensor([[2.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.5]], dtype=torch.float64)
TARGET = torch.tensor([3.0, -1.0, 0.4], dtype=torch.float64)


def loss(x: torch.Tensor) -> torch.Tensor:
    """Quadratic with a wave: smooth, not convex."""
    d = x.flatten() - TARGET
    return d @ Q @ d / 2 + 0.3 * torch.sin(2 * x).sum()


SMOOTH = [
    lion_k.kappa("huber", delta=0.5),
    lion_k.kappa("relativistic", eps=0.5),
    lion_k.kappa("tanh", scale=0.5),
    lion_k.kappa("quadratic"),
]
JUMPS = [
    lion_k.kappa("l1"),
    lion_k.kappa("l2"),
    lion_k.kappa("lp", p=1.5),
    lion_k.kappa("topk", k=2),
]
EPSILONS = [0.0, 0.4, 1.0]
ids = {"ids": repr}


def flow(kappa: lion_k.Kappa, epsilon: float, **given: float) -> lion_k.LionKFlow:
    settings = {"alpha": 1.3, "gamma": 0.8, "weight_decay": 0.7} | given
    return lion_k.LionKFlow(loss, kappa, epsilon=epsilon, **settings)


def start(seed: int, radius: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = (2 * torch.rand(3, generator=generator, dtype=torch.float64) - 1) * radius
    return x, 2 * torch.randn(3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("kappa", SMOOTH, **ids)
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_phase_2_the_lyapunov_function_falls(kappa: lion_k.Kappa, epsilon: float) -> None:
    for seed in range(2):
        path = flow(kappa, epsilon).solve(*start(seed, 0.8 / 0.7), torch.linspace(0, 20, 200))
        assert path.converged
        assert path.x.shape == (200, 3)
        h = path.lyapunov
        assert np.isfinite(h).all()
        assert (np.diff(h) <= 1e-7 * (1 + np.abs(h[0]))).all()
        assert h[0] - h[-1] > 0.1
        assert path.distance.max() == 0  # once feasible, always feasible


@pytest.mark.parametrize("kappa", JUMPS, **ids)
def test_phase_2_for_kappas_with_jumps(kappa: lion_k.Kappa) -> None:
    # Explicit small steps: the rise that a step of length h may cause vanishes with h.
    rises = []
    system = flow(kappa, 0.4)
    for h in (8e-3, 2e-3):
        x, m = start(1, 0.4)
        values = []
        for _ in range(int(4 / h)):
            values.append(float(system.lyapunov(x, m)))
            dx, dm = system.velocity(x, m)
            x, m = x + h * dx, m + h * dm
        values = np.array(values)
        assert np.isfinite(values).all()
        assert values[0] - values[-1] > 0.1
        rises.append(max((values - np.minimum.accumulate(values)).max(), 1e-12))
    assert rises[1] < 0.05
    assert rises[1] <= 0.6 * rises[0] or rises[1] < 1e-6


@pytest.mark.parametrize("kappa", SMOOTH[1:], **ids)
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_dissipation_is_the_rate_at_which_it_falls(kappa: lion_k.Kappa, epsilon: float) -> None:
    system = flow(kappa, epsilon)
    for seed in range(5):
        x, m = start(seed, 0.8 / 0.7)
        scaled = (0.7 * x).requires_grad_()
        (y,) = torch.autograd.grad(kappa.conjugate(scaled), scaled)
        torch.testing.assert_close(kappa.subgradient(y), 0.7 * x)
        dx, dm = system.velocity(x, m)
        h = 1e-5
        ahead = system.lyapunov(x + h * dx, m + h * dm)
        behind = system.lyapunov(x - h * dx, m - h * dm)
        rate = float(ahead - behind) / (2 * h)
        assert float(system.dissipation(x, m, y)) == pytest.approx(-rate, rel=1e-6, abs=1e-7)
        assert rate <= 0


@pytest.mark.parametrize("kappa", SMOOTH[:3], **ids)
def test_phase_1_the_distance_falls_exponentially(kappa: lion_k.Kappa) -> None:
    x0 = torch.tensor([30.0, -25.0, 8.0])
    path = flow(kappa, 0.4).solve(x0, torch.zeros(3), torch.linspace(0, 6, 60))
    bound = path.distance[0] * np.exp(-0.7 * path.t)
    assert path.distance[0] == pytest.approx(30 - 1 / 0.7)
    assert (path.distance <= bound * (1 + 1e-7)).all()
    assert np.isinf(path.lyapunov[0])


@pytest.mark.parametrize("kappa", SMOOTH, **ids)
def test_it_comes_to_rest_where_the_objective_is_stationary(kappa: lion_k.Kappa) -> None:
    system = flow(kappa, 0.4)
    path = system.solve(*start(0, 1.0), torch.linspace(0, 100, 4))
    x, m = path.x[-1], path.m[-1]
    at = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(at), at)
    # m = -(alpha / gamma) grad f, and kappa has the slope weight_decay x there.
    torch.testing.assert_close(m, -1.3 / 0.8 * gradient, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(kappa.subgradient(m), 0.7 * x, rtol=1e-4, atol=1e-5)
    edge = (1 - 1e-12) / 0.7 if kappa.feasible_set != "every x" else None
    near = minimize(
        lambda v: float(system.objective(torch.from_numpy(v))),
        x.numpy(),
        bounds=[(None if edge is None else -edge, edge)] * 3,
    )
    assert float(system.objective(x)) <= near.fun + 1e-5


@pytest.mark.parametrize("epsilon", [0.0, 0.5])
def test_the_optimizer_is_its_discretisation(epsilon: float) -> None:
    gamma, decay, time = 0.8, 0.7, 4.0
    kappa = lion_k.kappa("tanh", scale=0.5)
    x0 = torch.tensor([0.5, -0.5, 1.0], dtype=torch.float64)
    errors = []
    for lr in (0.02, 0.01, 0.005):
        betas = (1 - epsilon * gamma, 1 - gamma * lr)
        system = lion_k.LionKFlow.of_optimizer(loss, kappa, lr=lr, betas=betas, weight_decay=decay)
        assert system.alpha == pytest.approx(gamma)
        assert system.gamma == pytest.approx(gamma)
        assert system.epsilon == pytest.approx(epsilon, abs=1e-12)
        p = Parameter(x0.clone())
        optimizer = LionK([p], lr, betas, decay, kappa)
        for _ in range(round(time / lr)):
            optimizer.zero_grad()
            loss(p).backward()
            optimizer.step()
        end = system.solve(x0, torch.zeros(3), torch.tensor([0.0, time])).x[-1]
        errors.append(float((p.detach() - end).norm()))
    # First order: half the step, half the error.
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.15)
    assert errors[2] < 0.02


def test_shapes_are_kept_and_a_matrix_has_groups() -> None:
    system = lion_k.LionKFlow(
        lambda x: (x - 3).square().sum(), lion_k.kappa("group"), weight_decay=0.5, epsilon=0.3
    )
    path = system.solve(torch.zeros(2, 3), torch.zeros(2, 3), torch.linspace(0, 25, 30))
    assert path.converged
    assert path.x.shape == path.m.shape == (30, 2, 3)
    assert path.x.dtype == torch.float64
    lengths = path.x[-1].norm(dim=1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, 2.0), rtol=1e-4, atol=0)
    assert (np.diff(path.lyapunov[1:]) <= 1e-7).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weight_decay": 0.0}, "the system needs weight_decay > 0"),
        ({"weight_decay": -1.0}, "weight_decay must be finite and >= 0, got -1.0"),
        ({"alpha": 0.0}, "alpha and gamma must be > 0, got 0.0"),
        ({"gamma": -1.0}, "alpha and gamma must be > 0"),
        ({"gamma": 3.0}, r"0 <= epsilon \* gamma <= 1, got 0.5 \* 3.0; take a smaller epsilon"),
    ],
)
def test_bad_settings(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        flow(SMOOTH[0], 0.5, **given)


def test_bad_input() -> None:
    system = flow(SMOOTH[0], 0.0)
    with pytest.raises(ValueError, match=r"one shape, got \(3,\) and \(2,\)"):
        system.solve(torch.zeros(3), torch.zeros(2), torch.linspace(0, 1, 5))
    for t in (torch.zeros(3), torch.zeros(1), torch.tensor([1.0, 0.0])):
        with pytest.raises(ValueError, match="at least two increasing times"):
            system.solve(torch.zeros(3), torch.zeros(3), t)
    with pytest.raises(ValueError, match="needs lr > 0 and betas"):
        lion_k.LionKFlow.of_optimizer(loss, SMOOTH[0], lr=0, betas=(0.9, 0.99), weight_decay=1)


def test_a_solver_that_stops_early_says_so() -> None:
    # Without a lower bound the weights run off to infinity in finite time.
    system = lion_k.LionKFlow(lambda x: -(x**4).sum(), lion_k.kappa("quadratic"), weight_decay=0.1)
    path = system.solve(torch.ones(1), torch.zeros(1), torch.linspace(0, 50, 100))
    assert not path.converged
    assert "step size" in path.message
    assert len(path.t) < 100


def test_a_loss_that_is_not_a_number_is_refused() -> None:
    system = lion_k.LionKFlow(lambda x: x.sum() * torch.nan, lion_k.kappa("tanh"), weight_decay=0.1)
    with pytest.raises(ValueError, match="no finite gradient at x0"):
        system.solve(torch.ones(1), torch.zeros(1), torch.linspace(0, 1, 10))

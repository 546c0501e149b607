"""Products along axes, the log prior and the paper's joint, against the N x N matrix."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
import torch

from paperworks.numerics.gp_pde.axes import Axis, Basis, differentiate
from paperworks.numerics.gp_pde.joint import log_joint
from paperworks.numerics.gp_pde.kernels import Mixture
from paperworks.numerics.gp_pde.learning import learn, negative_log_prior
from paperworks.numerics.gp_pde.operators import PDEOperator
from paperworks.numerics.gp_pde.problem import Problem


def test_axes_find_their_even_spacing(points, axes):
    even = np.ptp(np.diff(points[0])) < 1e-12
    assert len(axes[0].lags) == (6 if even else 36)
    x = points[0]
    expected = x[:, None] - x[None, :]
    np.testing.assert_allclose(axes[0].matrix(axes[0].lags, 1).numpy(), expected, atol=1e-14)
    # gathered is the adjoint of matrix.
    rng = np.random.default_rng(0)
    values = torch.from_numpy(rng.standard_normal(len(axes[0].lags)))
    matrix = torch.from_numpy(rng.standard_normal((6, 6)))
    left = float((axes[0].matrix(values) * matrix).sum())
    assert left == pytest.approx(float((values * axes[0].gathered(matrix)).sum()))


@pytest.mark.parametrize("index", [(1, 0, 0), (0, 2, 0), (0, 0, 3), (1, 2, 1), (0, 4, 0)])
def test_derivatives_on_the_grid_are_the_dense_conditional_mean(
    dense, points, axes, mixtures, index
):
    jitter = 1e-6
    u = np.random.default_rng(1).standard_normal((6, 7, 5))
    K = dense.noisy(points, 0.0)
    # The package's jitter is a share of each axis' variance.
    total = [sum(w for w, _, _ in parts) for parts in dense.parts]
    K = np.eye(1)
    for x, parts, t in zip(points, dense.parts, total, strict=True):
        K = np.kron(K, dense.line(x, x, parts, 0) + jitter * t * np.eye(len(x)))
    expected = dense.covariance(points, points, index) @ np.linalg.solve(K, u.reshape(-1))
    bases = [
        Basis(axis, mixture, tuple({m} - {0}), jitter)
        for axis, mixture, m in zip(axes, mixtures, index, strict=True)
    ]
    # Axes that are not differentiated go through unsmoothed here, which the jitter blurs there.
    got = differentiate(torch.from_numpy(u), index, bases).numpy()
    for dim, m in enumerate(index):
        if m == 0:
            x, parts = points[dim], dense.parts[dim]
            smooth = dense.line(x, x, parts, 0) @ np.linalg.inv(
                dense.line(x, x, parts, 0) + jitter * total[dim] * np.eye(len(x))
            )
            got = np.moveaxis(np.tensordot(smooth, got, (1, dim)), 0, dim)
    np.testing.assert_allclose(got.reshape(-1), expected, rtol=1e-6, atol=1e-6 * np.ptp(expected))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_log_prior_is_scipys_on_the_whole_grid(dense, points, axes, mixtures, dims):
    u = np.random.default_rng(2).standard_normal([6, 7, 5][:dims])
    jitter = 1e-2
    K = np.eye(1)
    for x, parts in zip(points[:dims], dense.parts, strict=False):
        noise = jitter * sum(w for w, _, _ in parts) * np.eye(len(x))
        K = np.kron(K, dense.line(x, x, parts, 0) + noise)
    law = scipy.stats.multivariate_normal(np.zeros(u.size), K)
    expected = -law.logpdf(u.reshape(-1)) - 0.5 * u.size * np.log(2 * np.pi)
    value, gradient = negative_log_prior(torch.from_numpy(u), axes[:dims], mixtures[:dims], jitter)
    assert value == pytest.approx(expected, rel=1e-9)
    # And its gradient, by central differences of the value.
    for dim, kind in itertools.product(range(dims), range(3)):
        moved = []
        for sign in (1, -1):
            parameters = [p.clone() for p in mixtures[dim].parameters()]
            parameters[kind][1] += sign * 1e-5
            others = list(mixtures[:dims])
            others[dim] = mixtures[dim].replaced(tuple(parameters))
            moved.append(negative_log_prior(torch.from_numpy(u), axes[:dims], others, jitter)[0])
        slope = (moved[0] - moved[1]) / 2e-5
        assert float(gradient[dim][kind][1]) == pytest.approx(slope, rel=1e-5, abs=1e-6)


def test_the_papers_joint_is_the_dense_one(dense, points, axes, mixtures):
    """Gaussian densities of field, boundary values and equation, with N x N matrices."""
    operator = PDEOperator({(2, 0): 1.0, (0, 1): 0.5}, nonlinear=lambda u: u**3)
    rng = np.random.default_rng(4)
    u, f, b = rng.standard_normal((3, 6, 7))
    problem = Problem(operator, axes[:2], torch.from_numpy(f), torch.from_numpy(b))
    tau, v, weight, jitter = 3.0, 0.4, 7.0, 1e-3
    got, _, _ = log_joint(
        problem,
        mixtures[:2],
        torch.from_numpy(u),
        torch.tensor(tau).log().double(),
        torch.tensor(v).log().double(),
        jitter=jitter,
        boundary_weight=weight,
    )
    K = dense.noisy(points[:2], jitter)
    L = 0.0
    for coefficient, index in ((1.0, (2, 0)), (0.5, (0, 1))):
        # Only the differentiated axis is conditioned on: the other one is at its nodes.
        factors = [
            dense.line(x, x, p, m) @ np.linalg.inv(dense.line(x, x, p, 0) + jitter * np.eye(len(x)))
            if m
            else np.eye(len(x))
            for x, p, m in zip(points[:2], dense.parts, index, strict=False)
        ]
        L = L + coefficient * np.kron(*factors)
    flat = u.reshape(-1)
    residual = L @ flat + flat**3 - f.reshape(-1)
    given = np.zeros((6, 7), dtype=bool)
    given[[0, -1], :] = True  # both ends of the second-order axis
    given[:, 0] = True  # the lower end of the first-order one
    gap = (u - b)[given]
    log2pi = np.log(2 * np.pi)
    expected = (
        scipy.stats.multivariate_normal(np.zeros(42), K).logpdf(flat)
        + 21 * log2pi
        + weight * (scipy.stats.norm(0, tau**-0.5).logpdf(gap).sum() + gap.size / 2 * log2pi)
        + scipy.stats.norm(0, v**-0.5).logpdf(residual).sum()
        + 21 * log2pi
    )
    assert float(got.detach()) == pytest.approx(expected, rel=1e-6)


def test_learning_prunes_to_the_frequencies_that_are_there():
    axis = Axis(torch.linspace(0, 4, 120, dtype=torch.float64))
    field = torch.sin(2 * torch.pi * 3.3 * axis.points) + 0.2 * torch.cos(
        2 * torch.pi * 7.1 * axis.points
    )
    start = Mixture.spread(20, 10.0, None, None)
    before, _ = negative_log_prior(field, [axis], [start], 1e-8)
    (learned,), after = learn(field, [axis], [start], jitter=1e-8, iterations=100, weight_step=5.0)
    assert after < before - 500
    assert len(learned) <= 6
    found = learned.spectrum["frequency"]
    for frequency in (3.3, 7.1):
        assert np.abs(found - frequency).min() < 0.01

"""Mean and variance anywhere, against the dense conditional of the whole grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from paperworks.numerics.gp_pde.axes import Axis
from paperworks.numerics.gp_pde.solution import GPSolution

JITTER, SCALE = 1e-5, 1.7


def solution(dense, points, values):
    mixtures = tuple(dense.lines(parts) for parts in dense.parts[: len(points)])
    return GPSolution(
        values=values,
        grid=tuple(points),
        converged=True,
        residual=0.0,
        withheld=0.0,
        rounds=(),
        method="collocation",
        _axes=tuple(Axis(torch.from_numpy(x)) for x in points),
        _kernels=mixtures,
        _learned=mixtures,
        _jitter=JITTER,
        _scale=SCALE,
    )


@pytest.mark.parametrize("index", [(0, 0, 0), (1, 0, 0), (0, 2, 0), (1, 1, 0), (0, 0, 2)])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_mean_and_variance_are_the_dense_conditional(dense, points, dims, index):
    index, points = index[:dims], points[:dims]
    if sum(index) == 0 and dims < 3 and index != (0, 0, 0)[:dims]:
        pytest.skip("the same as without a derivative")
    rng = np.random.default_rng(5)
    u = rng.standard_normal([len(x) for x in points])
    where = rng.uniform(-0.2, 1.5, (9, dims))
    K = np.eye(1)
    for x, parts in zip(points, dense.parts, strict=False):
        noise = JITTER * sum(w for w, _, _ in parts) * np.eye(len(x))
        K = np.kron(K, dense.line(x, x, parts, 0) + noise)
    mean, std = solution(dense, points, u).predict(where, index, return_std=True)
    for p, m, s in zip(where, mean, std, strict=True):
        c = dense.covariance([p[i : i + 1] for i in range(dims)], points, index)[0]
        prior = math.prod(
            (-1) ** k * dense.line(np.zeros(1), np.zeros(1), parts, 2 * k)[0, 0]
            for k, parts in zip(index, dense.parts, strict=False)
        )
        assert m == pytest.approx(c @ np.linalg.solve(K, u.reshape(-1)), rel=1e-6, abs=1e-6)
        expected = SCALE**2 * (prior - c @ np.linalg.solve(K, c))
        assert s**2 == pytest.approx(expected, rel=1e-5, abs=1e-7 * SCALE**2 * prior)


def test_a_grid_is_the_same_as_its_points(dense, points):
    u = np.random.default_rng(6).standard_normal((6, 7))
    found = solution(dense, points[:2], u)
    x, y = np.array([0.1, 0.5, 0.52]), np.array([0.0, 1.1])
    scattered = np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
    for index in (None, (1, 0), (0, 2)):
        np.testing.assert_allclose(
            found.on_grid(x, y, derivative=index).reshape(-1), found.predict(scattered, index)
        )


def test_far_away_the_process_is_its_prior(dense, points):
    found = solution(dense, points[:2], np.ones((6, 7)))
    mean, std = found.predict(np.array([[50.0, 50.0]]), return_std=True)
    assert mean[0] == pytest.approx(0.0, abs=1e-12)
    assert std[0] == pytest.approx(SCALE)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: s.predict(np.zeros((3, 3))), r"points must have shape \(m, 2\), got \(3, 3\)"),
        (lambda s: s.predict([[0.0, np.nan]]), "points must be finite"),
        (lambda s: s.predict(np.zeros((1, 2)), (1,)), "derivative must be 2 whole numbers"),
        (lambda s: s.predict(np.zeros((1, 2)), (-1, 0)), "derivative must be 2 whole numbers"),
        (lambda s: s.on_grid(np.zeros(3)), "give 2 axes, got 1"),
        (lambda s: s.on_grid([0.0], [np.inf]), "axis 1 must be a row of finite points"),
    ],
)
def test_bad_questions(dense, points, call, words):
    with pytest.raises(ValueError, match=words):
        call(solution(dense, points[:2], np.ones((6, 7))))

"""Gaussian processes with the N x N matrix formed, in NumPy: the oracle of the tests here.

It has closed-form derivatives and shares no code with the package.
"""

from __future__ import annotations

from functools import reduce
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from paperworks.numerics.gp_pde.axes import Axis
from paperworks.numerics.gp_pde.kernels import Mixture

# Weight, width and frequency of two Gaussian lines for each of three axes.
PARTS = (
    ((0.7, 0.5, 1.0), (0.3, 0.8, 2.2)),
    ((0.5, 0.6, 0.0), (0.5, 0.7, 1.6)),
    ((0.9, 0.5, 0.8), (0.2, 0.9, 0.2)),
)


def line(x, y, parts, order):
    """Covariance of the derivative of that order at x with the function at y."""
    d = x[:, None] - y[None, :]
    out = np.zeros_like(d)
    for w, s, f in parts:
        a, b = (2 * np.pi * s) ** 2, 2 * np.pi * f
        e, c, n = np.exp(-a * d**2 / 2), np.cos(b * d), np.sin(b * d)
        # Derivatives of the two factors, multiplied out by Leibniz' rule.
        E = [e, -a * d * e, (a**2 * d**2 - a) * e, (3 * a**2 * d - a**3 * d**3) * e]
        E.append((3 * a**2 - 6 * a**3 * d**2 + a**4 * d**4) * e)
        C = [c, -b * n, -(b**2) * c, b**3 * n, b**4 * c]
        binomial = [[1], [1, 1], [1, 2, 1], [1, 3, 3, 1], [1, 4, 6, 4, 1]][order]
        out += w * sum(k * E[i] * C[order - i] for i, k in enumerate(binomial))
    return out


def covariance(points, others, index, parts=PARTS):
    """Of the derivative `index` on one grid with the function on another, N x M."""
    axes = zip(points, others, parts, index, strict=False)
    return reduce(np.kron, [line(x, y, p, m) for x, y, p, m in axes])


def noisy(points, jitter, parts=PARTS):
    """The grid's covariance with the jitter on each axis."""
    axes = zip(points, parts, strict=False)
    return reduce(np.kron, [line(x, x, p, 0) + jitter * np.eye(len(x)) for x, p in axes])


def lines(parts):
    """The same as the package's mixture."""
    weight, width, frequency = (
        torch.tensor(each, dtype=torch.float64) for each in zip(*parts, strict=True)
    )
    return Mixture(weight.log(), width.log(), frequency, None)


@pytest.fixture(scope="session")
def dense():
    return SimpleNamespace(line=line, covariance=covariance, noisy=noisy, parts=PARTS, lines=lines)


@pytest.fixture(params=["even", "uneven"])
def points(request):
    """Points of three axes of 6, 7 and 5 nodes."""
    rng = np.random.default_rng(3)
    out = []
    for n in (6, 7, 5):
        x = np.linspace(0, 1.3, n)
        if request.param == "uneven":
            x[1:-1] += rng.uniform(-0.05, 0.05, n - 2)
        out.append(x)
    return out


@pytest.fixture
def axes(points):
    return tuple(Axis(torch.from_numpy(x)) for x in points)


@pytest.fixture
def mixtures():
    return [lines(parts) for parts in PARTS]

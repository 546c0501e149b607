"""Mixtures against SciPy's densities and Bessel functions, and SymPy's derivatives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import sympy
import torch

from paperworks.numerics.gp_pde.kernels import Mixture, matern


def mixture(dof, weight=(0.7, 0.2), width=(0.3, 0.8), frequency=(1.5, 4.0)):
    tensors = [torch.tensor(each, dtype=torch.float64) for each in (weight, width, frequency)]
    return Mixture(tensors[0].log(), tensors[1].log(), tensors[2], dof)


@pytest.mark.parametrize("dof", [3, 5, 7, 9])
def test_matern_is_the_bessel_formula(dof):
    r = np.linspace(0.01, 4.0, 50)
    nu = dof / 2
    a = np.sqrt(2 * nu) * r
    expected = 2 ** (1 - nu) / scipy.special.gamma(nu) * a**nu * scipy.special.kv(nu, a)
    np.testing.assert_allclose(matern(torch.tensor(r), dof).numpy(), expected, rtol=1e-11)


@pytest.mark.parametrize("dof", [5, None])
def test_the_kernel_is_the_fourier_transform_of_its_spectrum(dof):
    """Wiener-Khinchin, with SciPy's densities."""
    kernel = mixture(dof)
    for r in (0.0, 0.1, 0.37, 1.1):
        expected = 0.0
        for weight, width, frequency in zip((0.7, 0.2), (0.3, 0.8), (1.5, 4.0), strict=True):
            law = scipy.stats.norm(0, width) if dof is None else scipy.stats.t(dof, 0, width)
            # The line at f: even, so its transform is the cosine one of the law, moved.
            value = (
                2
                * scipy.integrate.quad(
                    lambda s, law=law, r=r: law.pdf(s) * math.cos(2 * math.pi * s * r),
                    *(0, 60 * width),
                    limit=500,
                )[0]
            )
            expected += weight * math.cos(2 * math.pi * frequency * r) * value
        got = float(kernel.value(torch.tensor(r, dtype=torch.float64)))
        assert got == pytest.approx(expected, abs=1e-7)


def closed_form(dof, order):
    """The derivative of one component by SymPy, as a function of r >= 0."""
    r, s, f = sympy.symbols("r s f", positive=True)
    z = 2 * sympy.pi * s * r
    if dof is None:
        envelope = sympy.exp(-(z**2) / 2)
    else:
        a, p = sympy.sqrt(dof) * z, (dof - 1) // 2
        series = sum(
            sympy.factorial(p + i)
            / (sympy.factorial(i) * sympy.factorial(p - i))
            * (2 * a) ** (p - i)
            for i in range(p + 1)
        )
        envelope = sympy.exp(-a) * sympy.factorial(p) / sympy.factorial(2 * p) * series
    slope = sympy.diff(envelope * sympy.cos(2 * sympy.pi * f * r), r, order)
    return sympy.lambdify((r, s, f), slope, "mpmath")


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("dof", [5, 7, None])
def test_automatic_derivatives_are_the_closed_form(dof, order):
    kernel = mixture(dof)
    distances = (0.0, 1e-6, 0.03, 0.4, 2.0)
    form = closed_form(dof, order)
    expected = [float(0.7 * form(r, 0.3, 1.5) + 0.2 * form(r, 0.8, 4.0)) for r in distances]
    got = kernel.derivatives(torch.tensor(distances, dtype=torch.float64), order)[order]
    np.testing.assert_allclose(
        got.numpy(), expected, rtol=1e-9, atol=1e-9 * max(map(abs, expected))
    )


def test_the_second_derivative_keeps_its_diagonal():
    """Through ``abs(x - x')`` PyTorch would give zero there."""
    kernel = mixture(None)
    curvature = kernel.derivatives(torch.zeros(1, dtype=torch.float64), 2)[2]
    expected = -sum(
        w * (2 * math.pi) ** 2 * (f**2 + s**2) for w, s, f in ((0.7, 0.3, 1.5), (0.2, 0.8, 4.0))
    )
    assert float(curvature) == pytest.approx(expected, rel=1e-12)


def test_spread_covers_the_band_and_draws_one_to_a_cell():
    even = Mixture.spread(11, 5.0, 5, None)
    np.testing.assert_allclose(even.frequency.numpy(), np.linspace(0, 5, 11))
    assert even.total == pytest.approx(1.0)
    drawn = Mixture.spread(11, 5.0, 5, np.random.default_rng(0))
    moved = np.abs(drawn.frequency.numpy() - np.linspace(0, 5, 11))
    assert 0 < moved.max() <= 0.25
    assert drawn.frequency.min() >= 0
    assert drawn.frequency.max() <= 5


def test_pruning_and_the_floor():
    kernel = mixture(5, (1.0, 1e-9))
    assert len(kernel.pruned(1e-8)) == 1
    assert len(kernel.pruned(1e-10)) == 2
    both = mixture(5).above(Mixture.spread(4, 2.0, 5, None), 0.01)
    assert len(both) == 6
    assert both.total == pytest.approx(0.9 * 1.01)
    spectrum = mixture(5, (0.2, 0.6)).spectrum
    np.testing.assert_allclose(spectrum["weight"], [0.75, 0.25])
    np.testing.assert_allclose(spectrum["frequency"], [4.0, 1.5])

"""The count of bits: the authors' program, and each part against counting or integration."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import binom

from paperworks.scaling import inductive_bias_complexity, published_tasks
from paperworks.scaling.generalization_difficulty.complexity import (
    log_eigenfunctions,
    log_volume,
    scientific,
)

# What the authors' task_difficulty.py (commit 1907c6d) returned for its own numbers, 2026-11-30.
AUTHORS = {
    "MNIST": 1.484803747935555e16,
    "SVHN": 1.2129030245497859e31,
    "CIFAR-10": 3.4377180535929286e32,
    "ImageNet": 3.583252793803963e41,
    "Reacher": 2.914154432597924e25,
    "Hopper": 7.613011221249043e58,
    "Half-Cheetah": 1.7183989133177683e66,
}


@pytest.mark.parametrize("name", AUTHORS)
def test_the_authors_program_gives_the_same(name: str) -> None:
    found = published_tasks()[name].complexity()
    assert found.bits == pytest.approx(AUTHORS[name], rel=1e-12)
    assert found.answered_by == ""


def test_the_order_of_the_papers_abstract() -> None:
    names = list(published_tasks())
    assert names.index("MNIST") < names.index("CIFAR-10") < names.index("ImageNet")


def harmonics(m: int, degree: int) -> int:
    """Independent homogeneous harmonic polynomials of m + 1 variables: monomials less r^2 times."""
    count = math.comb(m + degree, m)
    return count - (math.comb(m + degree - 2, m) if degree >= 2 else 0)


@pytest.mark.parametrize(("m", "degree"), [(1, 4), (2, 3), (2, 7), (3, 5), (5, 4), (9, 2)])
def test_eigenfunctions_of_the_sphere_are_counted(m: int, degree: int) -> None:
    # At the eigenvalue K (K + m - 1) the degree is K and all harmonics up to it are counted.
    log_k, log_count = log_eigenfunctions(m, 0.5 * math.log(degree * (degree + m - 1)), "sphere")
    assert math.exp(log_k) == pytest.approx(degree, rel=1e-12)
    total = sum(harmonics(m, d) for d in range(degree + 1))
    assert math.exp(log_count) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize(("m", "turns"), [(1, 200), (2, 60), (3, 20)])
def test_eigenfunctions_of_the_torus_are_counted(m: int, turns: int) -> None:
    axis = range(-turns, turns + 1)
    total = sum(sum(x * x for x in point) <= turns * turns for point in product(axis, repeat=m))
    log_k, log_count = log_eigenfunctions(m, math.log(turns), "torus")
    assert log_k == math.log(turns)
    assert math.exp(log_count) == pytest.approx(total, rel=0.02)  # points of a lattice in a ball


@pytest.mark.parametrize("m", [0.4, 1.0, 3.3, 60.0])
@pytest.mark.parametrize("turns", [0.5, 40.0, 3e5])
def test_real_dimensions_solve_the_equation_for_the_degree(m: float, turns: float) -> None:
    log_k, log_count = log_eigenfunctions(m, math.log(turns), "sphere")
    k = math.exp(log_k)
    assert k * (k + m - 1) == pytest.approx(turns**2, rel=1e-9)
    assert math.exp(log_count) == pytest.approx(binom(m + k, m) + binom(m + k - 1, m), rel=1e-7)


def test_volumes() -> None:
    circle, sphere = (math.exp(log_volume(m, "sphere")) for m in (1, 2))
    assert circle == pytest.approx(2 * math.pi)
    assert sphere == pytest.approx(4 * math.pi)
    # S^m in slices: vol(S^m) = vol(S^(m-1)) * integral of sin^(m-1).
    angle = np.linspace(0, np.pi, 100_001)
    for m in range(2, 9):
        slices = np.trapezoid(np.sin(angle) ** (m - 1), angle)
        ratio = math.exp(log_volume(m, "sphere") - log_volume(m - 1, "sphere"))
        assert ratio == pytest.approx(slices, rel=1e-6)
    assert math.exp(log_volume(3, "torus")) == pytest.approx((2 * math.pi) ** 3)


def test_one_case_by_hand() -> None:
    """A circle, two classes: 2 C D E - n D coefficients at log2(L W sqrt(C D) / error) bits."""
    radius, delta, n, error = 2.0, 0.5, 7, 0.05
    k = turns = 2 * math.pi * radius / delta
    hypotheses = 2 * 2 * 1 * (2 * k + 1)
    gap = math.sqrt(1 / 6) * 2 * (2 * math.pi * radius) / n
    each = math.log2(turns / radius * gap * math.sqrt(2) / error)
    found = inductive_bias_complexity(1, radius, delta, n, error, combinations=2)
    assert found.frequency == pytest.approx(turns)
    assert 10**found.log10_hypotheses == pytest.approx(hypotheses)
    assert 10**found.log10_free == pytest.approx(hypotheses - n)
    assert found.bits_each == pytest.approx(each)
    assert found.bits == pytest.approx((hypotheses - n) * each)


@given(st.floats(0.5, 200), st.floats(1e-12, 1e12), st.sampled_from(["sphere", "torus"]))
def test_only_the_ratio_of_radius_and_distance_counts(m: float, unit: float, geometry: str) -> None:
    one = inductive_bias_complexity(m, 3.0, 0.1, 10, 0.01, geometry=geometry)  # type: ignore[arg-type]
    two = inductive_bias_complexity(m, 3 * unit, 0.1 * unit, 10, 0.01, geometry=geometry)  # type: ignore[arg-type]
    assert one.log10_bits == pytest.approx(two.log10_bits, rel=1e-9, abs=1e-9)


@given(
    st.floats(1, 60), st.floats(1, 1e4), st.integers(1, 10**9), st.floats(1e-6, 0.5),
    st.sampled_from(["sphere", "torus"]),
)  # fmt: skip
def test_bits_fall_with_samples_and_error_and_rise_with_detail(
    m: float, radius: float, n: int, error: float, geometry: str
) -> None:
    def bits(**change: float) -> float:
        numbers = {"dimension": m, "radius": radius, "class_distance": 1.0, "samples": n,
                   "target_error": error} | change  # fmt: skip
        return inductive_bias_complexity(**numbers, geometry=geometry).log10_bits  # type: ignore[arg-type]

    here = bits()
    assert bits(samples=2 * n) <= here
    assert bits(target_error=2 * error) <= here
    assert bits(class_distance=0.9) >= here


def test_thousands_of_dimensions_do_not_overflow() -> None:
    found = inductive_bias_complexity(3072, 55, 1e-6, 50_000, 0.01, outputs=9, combinations=10)
    assert found.bits == math.inf
    assert 10_000 < found.log10_bits < 30_000
    assert str(found).endswith(" bits")
    # A frequency beyond what a float holds.
    found = inductive_bias_complexity(3, 1e200, 1e-200, 10, 0.01)
    assert found.log10_bits == pytest.approx(3 * 400, abs=10)


def test_samples_may_be_any_whole_number() -> None:
    few = inductive_bias_complexity(400, 50, 1, 10**9, 0.01)
    many = inductive_bias_complexity(400, 50, 1, 10**500, 0.01)
    assert many.answered_by == "data"
    assert few.log10_bits > 0


def test_no_bits_where_nothing_is_left_to_say() -> None:
    by_data = inductive_bias_complexity(2, 1, 1, 10_000, 0.01)
    assert (by_data.answered_by, by_data.bits, by_data.log10_free) == ("data", 0, -math.inf)
    by_target = inductive_bias_complexity(2, 1, 0.01, 1000, 1e4)
    assert (by_target.answered_by, by_target.bits) == ("target", 0)
    assert by_target.bits_each <= 0 < by_target.log10_free
    # The authors' product of the two numbers is positive where both are negative.
    both = inductive_bias_complexity(2, 1, 1, 10_000, 1e4)
    assert both.bits == 0
    assert str(both) == "0 bits"


def test_a_few_coefficients_less_than_the_data_give() -> None:
    # 2 C D E - n D just above zero keeps its digits.
    found = inductive_bias_complexity(1, 1, 2 * math.pi / 50, 201, 0.01)
    assert 10**found.log10_free == pytest.approx(1, rel=1e-9)  # 2 (2 * 50 + 1) - 201


@pytest.mark.parametrize(
    ("log10", "text"), [(32.536, "3.4e32"), (2.9999, "1.0e3"), (-0.5, "3.2e-1"), (0, "1.0e0")]
)
def test_scientific(log10: float, text: str) -> None:
    assert scientific(log10) == text


@pytest.mark.parametrize("name", ["dimension", "radius", "class_distance", "samples",
                                  "target_error", "outputs", "combinations", "bound"])  # fmt: skip
@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, "3", True])
def test_numbers_must_be_positive(name: str, value: object) -> None:
    numbers = {"dimension": 3, "radius": 1, "class_distance": 0.1, "samples": 10,
               "target_error": 0.1} | {name: value}  # fmt: skip
    with pytest.raises(ValueError, match=f"{name} must be a finite number > 0, got"):
        inductive_bias_complexity(**numbers)  # type: ignore[arg-type]


def test_geometry_must_be_known() -> None:
    with pytest.raises(ValueError, match="'sphere' or 'torus', got 'plane'"):
        inductive_bias_complexity(3, 1, 0.1, 10, 0.1, geometry="plane")  # type: ignore[arg-type]

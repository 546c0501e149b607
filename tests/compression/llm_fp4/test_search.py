"""The search against a brute force in NumPy that follows the paper's equations 5 to 9 and 15."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from paperworks.compression.grids import FloatGrid, float_grids
from paperworks.compression.llm_fp4.kernels import errors, round_rows
from paperworks.compression.llm_fp4.search import (
    Objective,
    Space,
    exponent_bias,
    formats,
    round_inputs,
    scale_of,
    search_both,
    search_inputs,
    search_weights,
    split_bias,
)

AUTHORS = [0.01 + i * (1.2 - 0.01) / 100 for i in range(100)]
ALL = Space((0.01, 1.2), 100, None)
FORMATS = [(e, bits - 1 - e) for bits in range(3, 9) for e in range(1, bits)]


def paper_bias(e: int, m: int, largest: np.ndarray) -> np.ndarray:
    """Equation 7."""
    return 2**e - np.log2(largest) + np.log2(2 - 2.0**-m) - 1


def paper_round(x: np.ndarray, e: int, m: int, bias: np.ndarray) -> np.ndarray:
    """Equations 5, 8 and 9."""
    top = (2 - 2.0**-m) * 2.0 ** (2**e - 1 - bias)
    x = np.clip(x, -top, top)
    with np.errstate(divide="ignore"):
        power = np.maximum(np.floor(np.log2(np.abs(x)) + bias), 1)
    step = 2.0 ** (power - m - bias)
    return np.rint(x / step) * step


def paper_inputs(x: np.ndarray, e: int, m: int, rho: float, per_channel: bool) -> np.ndarray:
    """Equation 15, as the authors' code has it."""
    bias = np.full(x.shape[1], rho)
    if per_channel:
        whole = np.rint(paper_bias(e, m, np.abs(x).max(0)))
        bias = np.clip(whole, np.rint(rho), np.rint(rho) + 2**e - 1) - np.rint(rho) + rho
    return paper_round(x, e, m, bias)


def in_range(full: float) -> list[float]:
    """The authors' candidates, but for ranges of more than twice the largest magnitude."""
    return [gamma * full for gamma in AUTHORS if gamma * full >= full - 1]


def brute_weights(w: np.ndarray, x: np.ndarray, rounded: np.ndarray, bits: int) -> tuple:
    """(error, format, weights) of the best of all candidates."""
    found = []
    for e in range(1, bits):
        m = bits - 1 - e
        out = np.empty_like(w)
        total = 0.0
        for row, one in enumerate(w):
            full = paper_bias(e, m, np.abs(one).max())
            tries = [paper_round(one, e, m, bias) for bias in in_range(full)]
            wrong = [np.square(rounded @ t - x @ one).sum() for t in tries]
            out[row] = tries[int(np.argmin(wrong))]
            total += min(wrong)
        found.append((total, (e, m), out))
    return min(found, key=lambda each: each[0])


def brute_inputs(
    w: np.ndarray, x: np.ndarray, rounded: np.ndarray, bits: int, per_channel: bool
) -> tuple:
    """(error, format, inputs) of the best of all candidates."""
    found = []
    for e in range(1, bits):
        m = bits - 1 - e
        full = paper_bias(e, m, np.abs(x).max(0)).min()
        for bias in in_range(full):
            tried = paper_inputs(x, e, m, bias, per_channel)
            found.append((np.square(tried @ rounded.T - x @ w.T).sum(), (e, m), tried))
    return min(found, key=lambda each: each[0])


def problem(seed: int, rows: int = 40, columns: int = 6, out: int = 5) -> tuple[Tensor, Tensor]:
    """Inputs whose channels differ by binades and go together, as a transformer's; weights."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=generator)
    x = x + torch.randn(rows, 1, generator=generator)
    x = x * torch.exp2(torch.randn(columns, generator=generator) * 2)
    return x, torch.randn(out, columns, generator=generator) * 0.1


def form(grid: FloatGrid) -> tuple[int, int]:
    return grid.exponent, grid.mantissa


@pytest.mark.parametrize(("e", "m"), FORMATS)
def test_rounding_is_the_papers(e: int, m: int) -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(30, 50, generator=generator) * 3
    bias = torch.randn(30, generator=generator).double() * 3 + 2 ** (e - 1)
    grid = FloatGrid(e, m)
    got = round_rows(z, grid, scale_of(grid, bias))
    expected = paper_round(z.double().numpy(), e, m, bias.numpy()[:, None])
    # A number half way between two levels may go either way in float32.
    same = np.isclose(got.numpy(), expected, rtol=1e-5, atol=0)
    assert same.mean() > 0.999
    assert np.unique(got[0].abs().numpy()).size <= 2 ** (e + m)


@pytest.mark.parametrize(("e", "m"), FORMATS)
def test_rounding_is_the_grids_to_the_bit(e: int, m: int) -> None:
    generator = torch.Generator().manual_seed(1)
    grid = FloatGrid(e, m)
    z = torch.randn(64, 40, generator=generator) * grid.largest / 2
    z[0] = torch.arange(40) * grid.largest / 64  # with ties
    z[1] = 0.0
    scale = torch.rand(64, generator=generator) + 0.5
    scale[0] = 1.0
    expected = grid.round(z / scale[:, None]) * scale[:, None]
    got = round_rows(z, grid, scale)
    if m == 0:
        got, expected = got[1:], expected[1:]  # ties of powers of two are each way right
    assert torch.equal(got, expected)


def test_errors_are_the_quadratic_form() -> None:
    generator = torch.Generator().manual_seed(2)
    z, linear = torch.randn(2, 7, 33, generator=generator)
    diagonal, factor = torch.rand(33, generator=generator), torch.randn(3, 33, generator=generator)
    scale = torch.rand(7, 4, generator=generator) / 4 + 0.1
    scale[2, 1] = math.inf
    grid = FloatGrid(2, 1)
    e = torch.stack([round_rows(z, grid, one.clone()) - z for one in scale.T], 1)
    expected = (e * (e @ (diagonal.diag() + factor.T @ factor)) + e * linear[:, None]).sum(-1)
    expected[2, 1] = math.inf
    got = errors(z, grid, scale, linear, diagonal, factor)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_formats_are_the_authors() -> None:
    assert [form(grid) for grid in formats(4)] == [(1, 2), (2, 1), (3, 0)]
    assert [form(grid) for grid in formats(3)] == [(1, 1), (2, 0)]
    assert [form(grid) for grid in formats(8)] == [(1, 6), (2, 5), (3, 4), (4, 3), (5, 2)]


@pytest.mark.parametrize(("e", "m"), FORMATS)
def test_at_the_full_range_the_largest_level_is_the_largest_number(e: int, m: int) -> None:
    grid = FloatGrid(e, m)
    largest = torch.tensor([0.3, 1.0, 6.0, 100.0]).double()
    bias = exponent_bias(grid, largest)
    np.testing.assert_allclose(bias.numpy(), paper_bias(e, m, largest.numpy()), rtol=1e-12)
    torch.testing.assert_close(scale_of(grid, bias) * grid.largest, largest.float())


def test_the_bias_of_a_standard_format_is_its_own() -> None:
    assert float(exponent_bias(FloatGrid(2, 1), torch.tensor(6.0))) == pytest.approx(1.0)


def test_candidates_are_the_authors_but_for_empty_binades() -> None:
    full = torch.tensor([7.3, -2.0, 0.5]).double()
    tried = ALL.biases(full)
    expected = full[:, None] * torch.tensor(AUTHORS).double()
    left_out = tried == -math.inf
    torch.testing.assert_close(tried[~left_out], expected[~left_out])
    assert torch.equal(left_out, expected < full[:, None] - 1)


@given(st.sampled_from(FORMATS), st.integers(0, 1000), st.floats(1.0, 3.0))
@settings(max_examples=60, deadline=None)
def test_no_number_is_nearer_at_twice_a_range_that_holds_it(
    form: tuple[int, int], seed: int, slack: float
) -> None:
    z = torch.randn(1, 40, generator=torch.Generator().manual_seed(seed))
    grid = FloatGrid(*form)
    scale = z.abs().amax(1) * slack / grid.largest
    near, far = (round_rows(z, grid, factor * scale) - z for factor in (1.0, 2.0))
    assert bool((near.abs() <= far.abs() * (1 + 1e-5) + 1e-7).all())


@given(st.lists(st.floats(-20, 30), min_size=1, max_size=12), st.floats(-20, 20), st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_the_split_of_the_bias_is_the_authors(bias: list[float], rho: float, e: int) -> None:
    got = split_bias(FloatGrid(e, 1), torch.tensor(bias).double(), torch.tensor(rho).double())
    low = np.rint(rho)
    shift = np.clip(np.rint(bias), low, low + 2**e - 1) - low
    np.testing.assert_array_equal(got.numpy(), 2.0**-shift)


@pytest.mark.parametrize("seed", range(4))
def test_weights_are_the_best_of_all_candidates(seed: int) -> None:
    x, w = problem(seed)
    rounded = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    linear = 2 * w @ ((rounded - x).T @ rounded)
    for other in (None, rounded[:4]):  # the sides of the product are taken by their size
        moment = rounded.T @ rounded if other is None else other.T @ other
        linear = linear if other is None else 2 * w @ ((other - x[:4]).T @ other)
        found = search_weights([Objective(w, linear, moment, other)], 4, ALL)
        left, right = (x, rounded) if other is None else (x[:4], other)
        error, form_, best = brute_weights(*(t.double().numpy() for t in (w, left, right)), 4)
        reached = (right @ found.rounded[0].T - left @ w.T).double().square().sum()
        assert form(found.grid) == form_
        assert float(reached) == pytest.approx(error, rel=1e-4)
        np.testing.assert_allclose(found.rounded[0].numpy(), best, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_inputs_are_the_best_of_all_candidates(seed: int, per_channel: bool) -> None:
    x, w = problem(seed)
    rounded = w * 1.07
    linear = 2 * x @ ((rounded - w).T @ rounded)
    largest = x.abs().amax(0).double()
    objective = Objective(x, linear, rounded.T @ rounded, rounded)
    found = search_inputs([objective], 4, largest, ALL, per_channel)
    error, form_, _ = brute_inputs(*(t.double().numpy() for t in (w, x, rounded)), 4, per_channel)
    reached = (found.rounded[0] @ rounded.T - x @ w.T).double().square().sum()
    assert form(found.grid) == form_
    assert float(reached) == pytest.approx(error, rel=1e-4)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_turns_are_those_of_the_algorithm(seed: int, per_channel: bool) -> None:
    x, w = problem(seed)
    weights, inputs = search_both(
        w[None], x[None], x.abs().amax(0).double(), (4, 4), space=ALL, rounds=3,
        per_channel=per_channel,
    )  # fmt: skip
    a, b = x.double().numpy(), w.double().numpy()
    full = paper_bias(2, 1, np.abs(a).max(0)).min()
    rounded = paper_inputs(a, 2, 1, full, per_channel)
    for _ in range(3):
        _, weight_form, best = brute_weights(b, a, rounded, 4)
        error, input_form, rounded = brute_inputs(b, a, best, 4, per_channel)
    reached = np.square(inputs.rounded[0].numpy() @ weights.rounded[0].numpy().T - a @ b.T).sum()
    assert (form(weights.grid), form(inputs.grid)) == (weight_form, input_form)
    assert reached == pytest.approx(error, rel=1e-3)


def test_groups_are_searched_apart_but_share_the_format() -> None:
    x, w = problem(0)
    y, v = problem(1)
    parts = [Objective(b, torch.zeros_like(b), a.T @ a) for a, b in ((x, w), (y, v))]
    both = search_weights(parts, 4, ALL)
    alone = [search_weights([part], 4, ALL) for part in parts]
    for group, one in enumerate(alone):
        if form(one.grid) == form(both.grid):
            assert torch.equal(both.rounded[group], one.rounded[0])
    totals = {}
    for grid in float_grids(4):
        totals[form(grid)] = sum(
            min(
                float(part.error(round_rows(part.z, grid, scale_of(grid, b)))[row])
                for b in ALL.biases(exponent_bias(grid, part.z.abs().amax(1).double())).T
                if bool(torch.isfinite(b[row]))
            )
            for part, row in itertools.product(parts, range(5))
        )
    assert form(both.grid) == min(totals, key=totals.__getitem__)


def test_the_ranking_is_exact_for_few_columns() -> None:
    x, w = problem(3)
    part = Objective(w, 0.1 * w, x.T @ x)
    scale = torch.rand(5, 7, generator=torch.Generator().manual_seed(0)) / 50 + 0.01
    expected = torch.stack(
        [part.error(round_rows(w, FloatGrid(2, 1), one.clone())) for one in scale.T], 1
    )
    got = part.rank(FloatGrid(2, 1), scale).double()
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-5)


def test_the_ranking_takes_the_shifts_into_account() -> None:
    x, w = problem(4, columns=20)
    moment = w.T @ w + torch.eye(20)
    part = Objective(x, 0.1 * x, moment - moment.triu(1) - moment.tril(-1))  # its diagonal alone
    beta = 2.0 ** -(torch.arange(20.0) % 4)
    grid, scale = FloatGrid(2, 1), torch.tensor([0.2, 0.4])
    expected = torch.stack([part.error(round_inputs(x, grid, one, beta)) for one in scale], 1)
    got = part.rank(grid, scale.expand(len(x), -1), beta).double()
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_a_short_list_is_nearly_as_good_as_all(seed: int) -> None:
    x, w = problem(seed, rows=300, columns=96, out=32)
    part = Objective(w, torch.zeros_like(w), x.T @ x)
    best = part.error(search_weights([part], 4, ALL).rounded[0]).sum()
    short = part.error(search_weights([part], 4, Space((0.01, 1.2), 100, 4)).rounded[0]).sum()
    assert float(best) <= float(short) <= 1.02 * float(best)


@pytest.mark.parametrize("space", [Space((0.01, 1.2), 1, 4), Space((0.1, 1.01), 2, 4)])
@pytest.mark.parametrize("bits", [4, 8])
def test_with_no_candidate_in_range_the_full_range_is_taken(space: Space, bits: int) -> None:
    """Each row then has the format's largest level at its own largest magnitude."""
    x, w = problem(seed=3)
    found = search_weights([Objective(w, torch.zeros_like(w), x.T @ x, x)], bits, space)
    largest = w.abs().amax(1)
    torch.testing.assert_close(found.scale, largest / found.grid.largest)
    wrong = {}
    for grid in formats(bits):
        rounded = round_rows(w, grid, largest / grid.largest)
        wrong[grid.name] = float(((rounded - w) @ x.T).square().sum())
    assert found.grid.name == min(wrong, key=lambda name: wrong[name])

    both = {"space": space, "rounds": 2, "per_channel": True}
    weights, inputs = search_both(w[None], x[None], x.abs().amax(0).double(), (bits, bits), **both)
    torch.testing.assert_close(weights.scale, largest / weights.grid.largest)
    assert inputs.scale * inputs.grid.largest == pytest.approx(float(x.abs().max()), rel=1e-5)

"""LSQ against the closed form of its paper, entry by entry in plain Python."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from paperworks.compression.lsq import LSQuantizer

DTYPES = {torch.float32: 2e-4, torch.float64: 1e-11}


def by_the_paper(x: float, step: float, low: int, high: int) -> tuple[float, float, float]:
    """Equations 1, 2, 3 and 5: the output, and its slope in the step and in x."""
    v = x / step
    output = round(min(max(v, low), high)) * step
    if v <= low:
        return output, low, 0.0
    if v >= high:
        return output, high, 0.0
    return output, round(v) - v, 1.0


def draw(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("channels", [None, 5])
def test_output_and_gradients_are_those_of_the_paper(
    dtype: torch.dtype, bits: int, signed: bool, channels: int | None
) -> None:
    x = draw(5, 7, dtype=dtype).requires_grad_()
    quantizer = LSQuantizer(bits, signed=signed, channels=channels).to(dtype)
    quantizer.initialize(x)
    upstream = draw(5, 7, dtype=dtype, seed=1)
    output = quantizer(x)
    output.backward(upstream)

    low = -(2 ** (bits - 1)) if signed else 0
    high = low + 2**bits - 1
    step_gradient = [0.0] * (channels or 1)
    shared = 7 if channels else 35
    for i in range(5):
        channel = i if channels else 0
        entries = x.detach()[i] if channels else x.detach()
        step = 2 * float(entries.abs().mean()) / math.sqrt(high)
        for j in range(7):
            value, slope, inside = by_the_paper(float(x.detach()[i, j]), step, low, high)
            tolerance = DTYPES[dtype]
            assert float(output.detach()[i, j]) == pytest.approx(
                value, rel=tolerance, abs=tolerance
            )
            assert float(x.grad[i, j]) == pytest.approx(float(upstream[i, j]) * inside)
            step_gradient[channel] += float(upstream[i, j]) * slope / math.sqrt(shared * high)
    assert quantizer.step.grad.flatten().tolist() == pytest.approx(
        step_gradient, rel=DTYPES[dtype], abs=DTYPES[dtype]
    )
    assert output.dtype == dtype


@given(
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=12),
    st.integers(2, 8),
    st.booleans(),
)
def test_every_entry_goes_to_the_nearest_level(x: list[float], bits: int, signed: bool) -> None:
    values = torch.tensor(x, dtype=torch.float64)
    quantizer = LSQuantizer(bits, signed=signed).double()
    quantizer.step.data.fill_(0.37)
    quantizer.initialized = True
    levels = 0.37 * torch.arange(quantizer.low, quantizer.high + 1, dtype=torch.float64)
    assert len(levels) == 2**bits
    output = quantizer(values)
    nearest = (values[:, None] - levels).abs().min(1).values
    assert torch.allclose((values - output).abs(), nearest, atol=1e-12)
    codes = quantizer.codes(values)
    assert torch.equal(codes * quantizer.scale(values), output)


def test_an_activations_batch_does_not_count_in_the_gradients_scale() -> None:
    x = draw(6, 4, dtype=torch.float64)
    grads = []
    for activation in (False, True):
        quantizer = LSQuantizer(4, activation=activation).double()
        quantizer(x).sum().backward()
        grads.append(quantizer.step.grad)
    assert grads[1] / grads[0] == pytest.approx(math.sqrt(6))


def test_channels_may_lie_on_any_axis() -> None:
    x = draw(3, 4, 5, dtype=torch.float64)
    moved = LSQuantizer(3, channels=5, axis=-1).double()
    first = LSQuantizer(3, channels=5).double()
    assert torch.equal(moved(x), first(x.movedim(-1, 0)).movedim(0, -1))
    assert torch.equal(moved.step, first.step)


def test_the_sign_is_found_from_the_data() -> None:
    x = draw(2000, dtype=torch.float32)
    for data, signed in ((x, True), (x.relu(), False), (nn.functional.gelu(x), False)):
        quantizer = LSQuantizer(2, signed=None, activation=True)
        quantizer(data)
        assert quantizer.signed is signed
        errors = []
        for fixed in (True, False):
            other = LSQuantizer(2, signed=fixed)
            errors.append(float((other(data).detach() - data).square().sum()))
        assert (errors[0] < errors[1]) is signed


def test_a_step_that_fell_to_zero_comes_back() -> None:
    quantizer = LSQuantizer(2)
    quantizer.initialize(torch.ones(4))
    quantizer.step.data.fill_(-1.0)
    output = quantizer(torch.ones(4))
    assert torch.isfinite(output).all()
    (output - 1).square().sum().backward()
    assert quantizer.step.grad < 0  # a descent makes it larger


def test_zeros_stay_zero() -> None:
    weight = draw(4, 6, dtype=torch.float32)
    weight[1] = 0
    weight[2, :3] = 0
    output = LSQuantizer(2, channels=4)(weight)
    assert torch.isfinite(output).all()
    assert torch.equal(output[weight == 0], torch.zeros(9))


def test_state_comes_back(tmp_path: object) -> None:
    quantizer = LSQuantizer(3, signed=None, activation=True)
    x = draw(8, 8, dtype=torch.float32).relu()
    quantizer(x)
    torch.save(quantizer.state_dict(), f"{tmp_path}/state.pt")
    fresh = LSQuantizer(3, signed=None, activation=True)
    fresh.load_state_dict(torch.load(f"{tmp_path}/state.pt", weights_only=True))
    assert (fresh.low, fresh.high, fresh.initialized) == (0, 7, True)
    assert torch.equal(fresh(5 * x), quantizer(5 * x))


def test_threshold_distance() -> None:
    quantizer = LSQuantizer(2)
    quantizer.step.data.fill_(2.0)
    quantizer.initialized = True
    x = torch.tensor([0.0, 1.0, -1.0, -3.2, 5.0, -9.0])  # thresholds at -3, -1, 1
    expected = torch.tensor([0.5, 0.0, 0.0, 0.1, 2.0, 3.0])
    assert torch.allclose(quantizer.threshold_distance(x), expected)


def test_what_is_refused() -> None:
    for bits in (1, 9, 2.5, True):
        with pytest.raises(ValueError, match="bits must be a whole number from 2 to 8, got"):
            LSQuantizer(bits)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"shape \(2,\) that is empty or has NaN"):
        LSQuantizer(2)(torch.tensor([1.0, math.nan]))
    with pytest.raises(ValueError, match="empty"):
        LSQuantizer(2)(torch.zeros(0, 3))

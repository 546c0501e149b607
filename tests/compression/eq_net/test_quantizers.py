"""The elastic quantizer against equation 1 and LSQ+'s gradients, written out entry by entry."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from paperworks.compression.eq_net import Form, Space
from paperworks.compression.eq_net.quantizers import ElasticQuantizer, fitted_range

WEIGHT_FORMS = list(itertools.product(range(2, 9), (False, True), (False, True)))


def random_weight(seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 4, 5, 5, generator=generator, dtype=dtype) * 0.2 + 0.05


def key(bits: int, per_channel: bool, symmetric: bool) -> str:
    return f"{'channel' if per_channel else 'tensor'}-{'sym' if symmetric else 'asym'}-{bits}"


@pytest.mark.parametrize(("bits", "per_channel", "symmetric"), WEIGHT_FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_weight_is_rounded_as_in_equation_1(
    bits: int, per_channel: bool, symmetric: bool, dtype: torch.dtype
) -> None:
    weight = random_weight(dtype=dtype)
    quantizer = ElasticQuantizer(Space(), weight)
    quantizer.select(bits, per_channel, symmetric)
    step = quantizer.forms[key(bits, per_channel, symmetric)].step.detach().reshape(-1)
    zero = quantizer.zero_point().reshape(-1)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    expected = torch.empty_like(weight)
    for index in np.ndindex(*weight.shape):
        s, z = (each[index[0] if per_channel else 0] for each in (step, zero))
        code = min(max(int(torch.round(weight[index] / s)) + int(z), low), high)
        expected[index] = s * (code - z)
    assert not symmetric or not zero.any()
    torch.testing.assert_close(quantizer(weight).detach(), expected, rtol=1e-5, atol=1e-7)
    codes = quantizer.codes(weight)
    assert codes.min() >= low
    assert codes.max() <= high
    levels = quantizer.scale(weight) * (codes + quantizer.offset)
    torch.testing.assert_close(levels, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("per_channel", [False, True])
def test_gradients_of_an_asymmetric_form_are_those_of_lsq_plus(per_channel: bool) -> None:
    weight = random_weight().requires_grad_()
    quantizer = ElasticQuantizer(Space(), weight)
    quantizer.select(3, per_channel, False)
    name = key(3, per_channel, False)
    step, offset = quantizer.forms[name].step, quantizer.offsets[name]
    step.data *= 0.6  # so that some entries are clipped
    upstream = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)).double()
    quantizer(weight).backward(upstream)
    of_step, of_offset = torch.zeros_like(step).reshape(-1), torch.zeros_like(step).reshape(-1)
    zero = quantizer.zero_point().reshape(-1)
    clipped = 0
    for index in np.ndindex(*weight.shape):
        row = index[0] if per_channel else 0
        v = float((weight[index] / step.reshape(-1)[row] + zero[row]).detach())
        g = upstream[index]
        if -4 < v < 3:
            of_step[row] += g * (np.round(v) - v)
            assert weight.grad[index] == g
        else:
            clipped += 1
            of_step[row] += g * (-4 if v <= -4 else 3)
            of_offset[row] += g
            assert weight.grad[index] == 0
    share = weight.numel() / (3 if per_channel else 1)
    factor = (share * 3) ** -0.5
    assert clipped > 10
    torch.testing.assert_close(step.grad.reshape(-1), (of_step * factor).detach())
    torch.testing.assert_close(offset.grad.reshape(-1), (of_offset * factor).detach())


def test_only_the_chosen_form_learns() -> None:
    quantizer = ElasticQuantizer(Space(), random_weight())
    quantizer.select(5, True, False)
    quantizer(random_weight().requires_grad_()).sum().backward()
    touched = {name for name, each in quantizer.named_parameters() if each.grad is not None}
    assert touched == {"forms.channel-asym-5.step", "offsets.channel-asym-5"}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(WEIGHT_FORMS))
def test_zeros_stay_zero_and_the_offset_never_leaves_the_grid(
    seed: int, form: tuple[int, bool, bool]
) -> None:
    weight = random_weight(seed, torch.float32) + 0.3  # far from symmetric
    weight[:, 0] = 0
    quantizer = ElasticQuantizer(Space(), weight)
    for offset in quantizer.offsets.values():
        offset.data.uniform_(-3, 3, generator=torch.Generator().manual_seed(seed))
    quantizer.select(*form)
    assert bool((quantizer(weight)[:, 0] == 0).all())
    assert quantizer.low <= quantizer.zero_point().min()
    assert quantizer.zero_point().max() <= quantizer.high


def test_inputs_have_one_step_and_use_all_codes_where_there_is_no_sign() -> None:
    positive = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    quantizer = ElasticQuantizer(Space())
    quantizer.select(4, True, True)
    out = quantizer(positive)
    assert (quantizer.low, quantizer.high, quantizer.scale(positive).dim()) == (0, 15, 0)
    assert len(out.unique()) == 16
    quantizer.select(4, True, False)
    assert (quantizer.low, float(quantizer.zero_point())) == (-8, -8)
    assert len(quantizer(positive).unique()) == 16


def test_an_asymmetric_input_pays_where_values_are_on_one_side() -> None:
    x = torch.nn.functional.silu(torch.randn(4000, generator=torch.Generator().manual_seed(0)))[
        None
    ]
    quantizer = ElasticQuantizer(Space())
    errors = []
    for symmetric in (False, True):
        quantizer.select(4, False, symmetric)
        errors.append(float((quantizer(x) - x).detach().square().mean()))
    assert errors[0] < errors[1]


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_range_is_the_best_of_those_tried(symmetric: bool, channels: int) -> None:
    rows = torch.randn(channels, 200, generator=torch.Generator().manual_seed(2)).double() + 0.3
    step, zero = fitted_range(rows, -4, 3, symmetric=symmetric)
    for row in range(channels):
        x = rows[row].numpy()
        bottom, top = (-abs(x).max(), abs(x).max()) if symmetric else (x.min(), x.max())
        found = []
        for part in 1 - 0.02 * np.arange(40):
            s = part * (top - bottom) / 7
            z = 0 if symmetric else np.clip(np.round(-4 - part * bottom / s), -4, 3)
            q = (np.clip(np.round(x / s + z), -4, 3) - z) * s
            found.append((np.mean(abs(q - x) ** 2.4), s, z))
        _, s, z = min(found)
        np.testing.assert_allclose([step[row], zero[row]], [s, z], rtol=1e-12)


def test_a_row_of_zeros_and_a_nan_do_not_go_unnoticed() -> None:
    weight = random_weight()
    weight[1] = 0
    quantizer = ElasticQuantizer(Space(), weight)
    assert bool((quantizer(weight)[1] == 0).all())
    with pytest.raises(ValueError, match="NaN"):
        ElasticQuantizer(Space())(torch.tensor([[float("nan")]]))


def test_names_of_forms() -> None:
    for form in (Form(2, 8, False, True, False), Form(4, 4), Form(8, 3, True, False, True)):
        assert Form.parse(str(form)) == form
    assert Form.parse("w4a8-tensor") == Form(4, 8, False)
    with pytest.raises(ValueError, match="'int4' is no form; write it as w4a8"):
        Form.parse("int4")
    with pytest.raises(ValueError, match="from 2 to 8, got 9"):
        Form.parse("w9a4")


def test_a_space_knows_its_forms() -> None:
    assert len(Space()) == 7 * 7 * 2 * 2 * 2
    assert len(Space.only("w4a4")) == 1
    rng = np.random.default_rng(0)
    drawn = {Space(weight_bits=(8, 2, 2), activation_bits=(4,)).random(rng) for _ in range(300)}
    assert len(drawn) == 2 * 8
    assert Space().random(rng, "highest").weight_bits == 8
    assert Space(activation_bits=(3, 5)).random(rng, "lowest").activation_bits == 3
    with pytest.raises(ValueError, match="at least one value"):
        Space(per_channel=())
    with pytest.raises(ValueError, match="True, False or both, got \\('yes',\\)"):
        Space(weight_symmetric=("yes",))  # type: ignore[arg-type]

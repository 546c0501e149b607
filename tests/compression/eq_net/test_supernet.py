"""Making a supernet, moving it from form to form, and taking networks out of it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from paperworks.compression.eq_net import (
    ElasticQuantization,
    Space,
    choose,
    chosen,
    export_subnet,
)
from paperworks.compression.packed_layers import QuantizedConv2d, QuantizedLinear
from paperworks.compression.saving import load_compressed, save_compressed


class Net(nn.Module):
    """Convolutions with a stride, with groups, a norm, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.depth = nn.Conv2d(8, 8, 3, groups=4, padding=1, bias=False)
        self.middle = nn.Linear(8, 70)
        self.head = nn.Linear(70, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.nn.functional.silu(self.norm(self.stem(x)))
        x = self.depth(x).relu().mean((2, 3))
        return self.head(torch.tanh(self.middle(x)))


def net_and_input(dtype: torch.dtype = torch.float32) -> tuple[Net, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net().to(dtype), torch.randn(10, 3, 8, 8, dtype=dtype)


FORMS = [
    f"w{bits}a{bits}-{granularity}-{symmetry}-{inputs}"
    for bits in (2, 3, 5, 8)
    for granularity in ("tensor", "channel")
    for symmetry in ("sym", "asym")
    for inputs in ("sym", "asym")
]


def test_8_bits_are_close_to_full_precision_and_2_are_not() -> None:
    net, x = net_and_input()
    net.eval()
    expected = net(x)
    model = ElasticQuantization(edge_bits=None)(net, [x])
    errors = []
    for form in FORMS:
        errors.append(float((choose(model, form)(x) - expected).detach().abs().max()))
    assert max(errors[-8:]) < 0.03
    assert min(errors[:8]) > 3 * max(errors[-8:])


def test_weights_stay_the_same_parameters_and_edges_have_8_bits() -> None:
    net, x = net_and_input()
    weights = [net.stem.weight, net.depth.weight, net.head.bias]
    model = ElasticQuantization()(net, [x])
    assert model is net
    assert all(
        one is other
        for one, other in zip(
            [net.stem.weight, net.depth.weight, net.head.bias], weights, strict=True
        )
    )
    assert all(form.weight_bits == 8 for form in chosen(model).values())
    found = {name: str(form) for name, form in chosen(choose(model, "w2a3-tensor-asym")).items()}
    assert found == {
        "stem": "w8a8-tensor-asym-sym",
        "depth": "w2a3-tensor-asym-sym",
        "middle": "w2a3-tensor-asym-sym",
        "head": "w8a8-tensor-asym-sym",
    }
    choose(model, {"middle": "w7a7"})
    assert (chosen(model)["middle"].weight_bits, chosen(model)["depth"].weight_bits) == (7, 2)


def test_every_form_is_its_own_and_comes_back() -> None:
    net, x = net_and_input()
    model = ElasticQuantization(edge_bits=None)(net.eval(), [x])
    first = {form: choose(model, form)(x) for form in FORMS}
    for form in reversed(FORMS):
        assert torch.equal(choose(model, form)(x), first[form])
    assert len({tuple(out.flatten().tolist()) for out in first.values()}) == len(FORMS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_export_agrees_with_the_subnet_in_every_form(dtype: torch.dtype) -> None:
    net, x = net_and_input(dtype)
    model = ElasticQuantization(edge_bits=None)(net.eval(), [x])
    for name, parameter in model.named_parameters():  # as if trained
        if "step" in name:
            parameter.data *= 0.8
        elif "offsets" in name:
            parameter.data += 0.07
    for form in FORMS:
        expected = choose(model, form)(x).detach()
        exported = export_subnet(copy.deepcopy(model))
        assert isinstance(exported.stem, QuantizedConv2d)
        assert isinstance(exported.middle, QuantizedLinear)
        assert (exported.depth.weight.offset is not None) == (form.split("-")[2] == "asym")
        assert exported.depth.weight.bits == int(form[1])
        torch.testing.assert_close(exported(x), expected, rtol=1e-4, atol=1e-5)


def test_an_export_is_saved_and_loaded(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    net, x = net_and_input()
    model = choose(ElasticQuantization()(net.eval(), [x]), "w3a4-channel-asym-sym")
    expected = export_subnet(model)(x)
    save_compressed(model, tmp_path / "out")
    loaded = load_compressed(tmp_path / "out", net_and_input()[0]).model
    assert torch.equal(loaded(x), expected)


def test_what_is_pruned_stays_pruned() -> None:
    net, x = net_and_input()
    keep = torch.rand(net.middle.weight.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    net.middle.weight.data = (net.middle.weight.data + 0.2) * keep
    model = ElasticQuantization()(net, [x])
    for form in FORMS:
        packed = export_subnet(copy.deepcopy(model), form).middle.weight
        assert bool((packed.dequantize()[~keep] == 0).all())


def test_a_state_dict_brings_steps_and_signs_back() -> None:
    net, x = net_and_input()
    model = ElasticQuantization()(net.eval(), [x])
    for parameter in model.parameters():
        parameter.data *= 0.9
    expected = choose(model, "w3a3-tensor-asym-asym")(x)
    fresh = ElasticQuantization()(net_and_input()[0].eval())
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(choose(fresh, "w3a3-tensor-asym-asym")(x), expected)
    signed = choose(fresh, "w4a4").head.input_quantizer  # behind tanh
    unsigned = fresh.middle.input_quantizer  # behind a ReLU
    assert (signed.low, unsigned.low) == (-128, 0)


def test_a_transformer_does_not_slip_past() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        model = nn.TransformerEncoder(layer, 2).eval()
        x = torch.randn(4, 5, 16)
    expected = model(x)
    with pytest.raises(ValueError, match=r"layers.0.self_attn is a MultiheadAttention"):
        ElasticQuantization(edge_bits=None)(model, [x])
    ElasticQuantization(edge_bits=None, skip=["*.self_attn"])(model, [x])
    with torch.no_grad():
        high, low = choose(model, "w8a8")(x), choose(model, "w2a2")(x)
    assert (high - expected).abs().max() < 0.1
    assert (low - expected).abs().max() > 0.1


def test_without_calibration_the_first_batch_sets_the_ranges() -> None:
    net, x = net_and_input()
    other = ElasticQuantization()(copy.deepcopy(net).eval(), [x])
    model = ElasticQuantization()(net.eval())
    with pytest.raises(ValueError, match="stem has seen no data"):
        export_subnet(model)
    assert torch.equal(model(x), other(x))


def test_bad_requests_name_the_layer_and_change_nothing() -> None:
    net, x = net_and_input()
    model = ElasticQuantization(Space(weight_bits=(2, 4, 8)))(net, [x])
    before = chosen(model)
    with pytest.raises(ValueError, match="depth has no form w3a3-channel-sym-sym"):
        choose(model, "w3a3")
    with pytest.raises(ValueError, match="stem has no form w4a8"):
        choose(model, {"middle": "w2a2", "stem": "w4a8"})
    with pytest.raises(ValueError, match="no elastic layer is called 'stam'"):
        choose(model, {"stam": "w8a8"})
    assert chosen(model) == before
    static = nn.Sequential(nn.Linear(2, 2))
    ElasticQuantization(Space.only("w4a4"), edge_bits=None)(static)
    with pytest.raises(ValueError, match="0 has no form w8a8-channel-sym-sym"):
        choose(static, "w8a8")
    with pytest.raises(ValueError, match="Sequential has no elastic layer"):
        choose(nn.Sequential(nn.Linear(2, 2)), "w4a4")
    model.depth.weight.data[0] = float("nan")
    with pytest.raises(ValueError, match=r"depth has .* NaN"):
        export_subnet(model)
    net, x = net_and_input()
    net.middle.weight.data[0] = float("inf")
    with pytest.raises(ValueError, match="middle has 8 weights that are NaN or infinite"):
        ElasticQuantization()(net)

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from paperworks.claims._vit import VisionTransformer
from paperworks.compression.lsq import LSQuantizer
from paperworks.compression.oscillation import (
    ConfidenceGuidedAnnealing,
    OscillationMeter,
    QuantizationAware,
    StatsQuantizer,
    export_packed,
)
from paperworks.compression.oscillation.convert import quantized_parts
from paperworks.compression.oscillation.query_key import PlainScores, ProductScores
from paperworks.compression.packed_layers import QuantizedConv2d, QuantizedLinear
from paperworks.compression.saving import load_compressed, save_compressed


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def vit() -> nn.Module:
    model = VisionTransformer(8, 2, dim=16, depth=2, heads=2)
    for i, p in enumerate(model.parameters()):
        p.data += 0.1 * draw(*p.shape, seed=i)
    return model


def rounding(model: nn.Module) -> dict[str, tuple[type, int]]:
    parts = quantized_parts(model)
    return {n: (type(p.weight_quantizer), p.weight_quantizer.bits) for n, p in parts.items()}


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_a_timm_like_transformer(bits: int) -> None:
    model = QuantizationAware(bits)(vit(), [draw(4, 1, 8, 8)])
    found = rounding(model)
    assert found.pop("patch_embed") == found.pop("head") == (LSQuantizer, 8)
    assert set(found.values()) == {(StatsQuantizer, bits)}
    block = [f"blocks.{i}." for i in range(2)]
    inside = ("attn.scores.product", "attn.value", "attn.out", "mlp.0", "mlp.2")
    assert set(found) == {b + part for b in block for part in inside}
    steps = [m for m in model.modules() if isinstance(m, LSQuantizer) and m.activation]
    assert len(steps) == 2 + 2 * (5 + 2)
    assert all(step.initialized for step in steps)
    # The softmax and the output of GELU have no sign, what comes out of a LayerNorm has one.
    attention = model.blocks[0].attn
    assert attention.softmax_quantizer.signed is False
    assert attention.input_quantizer.signed is True
    assert bits > 2 or model.blocks[0].mlp[2].input_quantizer.signed is False


def test_bits_of_what_comes_out() -> None:
    model = QuantizationAware(2)(vit(), [draw(4, 1, 8, 8)])
    layer = model.blocks[0].mlp[0]
    weight = layer.weight_quantizer(layer.weight)
    assert all(len(row.unique()) <= 4 for row in weight)
    seen: list[Tensor] = []
    layer.input_quantizer.register_forward_hook(lambda m, i, o: seen.append(o))
    model(draw(4, 1, 8, 8, seed=1))
    assert len(seen[0].unique()) <= 4


def test_many_bits_change_little() -> None:
    model, x = vit(), draw(16, 1, 8, 8)
    expected = model.eval()(x).detach()

    def change(bits: int) -> float:
        found = QuantizationAware(bits, weights="lsq")(copy.deepcopy(model), [x])(x).detach()
        return float((found - expected).norm() / expected.norm())

    # LSQ's first steps are coarse at 8 bits: 5 to 13 % over initial weights, 20 to 100 % at 3.
    assert change(8) < 0.15 < change(3)


@pytest.mark.parametrize(("bits", "query_key"), [(2, True), (4, False)])
def test_what_is_exported_can_be_saved(bits: int, query_key: bool, tmp_path: Path) -> None:
    x, quantize = draw(8, 1, 8, 8), QuantizationAware(bits, query_key=query_key)
    model = quantize(vit(), [x])
    before = model.eval()(x).detach()
    folder = save_compressed(export_packed(model), tmp_path / "small")
    again, _ = load_compressed(folder, quantize(vit()))
    assert torch.equal(again(x), model(x))
    assert ((again(x) - before).abs().amax(1) < 1e-4).float().mean() > 0.8


def test_training_reduces_the_loss_and_export_keeps_the_model() -> None:
    x, y = draw(32, 1, 8, 8), torch.arange(32) % 4
    model = QuantizationAware(2)(vit(), [x])
    meter = OscillationMeter(model)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for step in range(25):
        if step == 20:
            annealing = ConfidenceGuidedAnnealing(model)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step >= 20:
            annealing.step()
        meter.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    annealing.stop()
    expected = model.eval()(x).detach()
    names = list(quantized_parts(model))
    exported = export_packed(model)
    assert exported is model
    for name in names:
        part = model.get_submodule(name)
        assert isinstance(part, QuantizedLinear | QuantizedConv2d)
        assert part.weight.bits == (8 if name in ("patch_embed", "head") else 2)
    assert sum(p.numel() for p in model.parameters() if p.dim() > 2) == model.position.numel()
    # Rounded activations jump where the last digit of a weight decides; few do.
    gap = (model(x) - expected).abs().amax(1)
    assert (gap < 1e-4).float().mean() > 0.9


def test_exported_weights_are_the_rounded_ones() -> None:
    model = QuantizationAware(3, activation_bits=None)(vit(), [draw(4, 1, 8, 8)])
    parts = {n: p.weight_quantizer(p.weight).detach() for n, p in quantized_parts(model).items()}
    x = draw(4, 1, 8, 8, seed=1)
    expected = model.eval()(x)
    export_packed(model)
    for name, weight in parts.items():
        packed = model.get_submodule(name).weight
        assert torch.allclose(packed.dequantize(), weight, rtol=1e-5, atol=1e-6)
    assert torch.allclose(model(x), expected, atol=1e-4)
    inner = model.blocks[0].mlp[0].weight
    assert inner.codes.numel() == 64 * 16 * 3 // 8


def test_an_export_needs_data_first() -> None:
    with pytest.raises(ValueError, match=r"patch_embed\.input_quantizer has seen no data"):
        export_packed(QuantizationAware(2)(vit()))
    with pytest.raises(ValueError, match="has no fake-quantized weight"):
        export_packed(vit())


def test_state_comes_back() -> None:
    x = draw(4, 1, 8, 8)
    model = QuantizationAware(2)(vit(), [x]).eval()
    fresh = QuantizationAware(2)(VisionTransformer(8, 2, dim=16, depth=2, heads=2)).eval()
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(x), model(x))
    assert torch.equal(copy.deepcopy(model)(x), model(x))


def test_the_baseline_has_learned_steps_and_plain_attention() -> None:
    model = QuantizationAware(2, weights="lsq", query_key=False)(vit(), [draw(4, 1, 8, 8)])
    kinds = [type(module) for module in model.modules()]
    assert PlainScores in kinds
    assert ProductScores not in kinds
    assert StatsQuantizer not in kinds
    inner = model.blocks[0].attn.scores.query.weight_quantizer
    assert (inner.bits, inner.step.shape, inner.initialized) == (2, (16,), True)


def test_parameters_stay_the_same_objects_outside_fused_attention() -> None:
    model = vit()
    before = model.blocks[0].mlp[0].weight
    QuantizationAware(2)(model)
    assert model.blocks[0].mlp[0].weight is before


@pytest.mark.parametrize("pre_norm", [True, False])
def test_a_torch_encoder(pre_norm: bool) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, norm_first=pre_norm, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=not pre_norm)
    model = nn.ModuleDict({"stem": nn.Linear(4, 8), "encoder": encoder, "head": nn.Linear(8, 3)})
    QuantizationAware(2)(model)
    x = draw(3, 5, 8)
    padding = torch.zeros(3, 5, dtype=torch.bool)
    padding[1, 3:] = True
    for training in (True, False):
        model.train(training)
        with torch.no_grad():
            assert encoder(x).shape == x.shape
            out = encoder(x, src_key_padding_mask=padding)
            changed = x.clone()
            changed[1, 3:] += 1
            if not training:
                again = encoder(changed, src_key_padding_mask=padding)
                assert torch.equal(out[1, :3], again[1, :3])
    assert isinstance(encoder.layers[1].self_attn.scores, ProductScores)


@pytest.mark.slow
def test_a_transformers_vit() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        image_size=8, patch_size=4, num_channels=1,
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config).eval()
    for i, p in enumerate(model.parameters()):
        p.data = 0.3 * draw(*p.shape, seed=i) + (p.data == 1)  # LayerNorm's scales stay near 1
    x = draw(6, 1, 8, 8)
    expected = model(pixel_values=x).logits.detach()
    # With learned steps: StatsQ clips at twice the mean magnitude, however many the bits.
    high = QuantizationAware(8, weights="lsq")(copy.deepcopy(model), [{"pixel_values": x}])
    found = high(pixel_values=x).logits.detach()
    assert float((found - expected).norm() / expected.norm()) < 0.1
    # transformers asks the patch projection for the dtype of its weight.
    model = QuantizationAware(2, skip=["*projection"])(model, [{"pixel_values": x}])
    products = [m for m in model.modules() if isinstance(m, ProductScores)]
    assert len(products) == 2
    assert rounding(model)["classifier"] == (LSQuantizer, 8)
    model(pixel_values=x).logits.sum().backward()
    assert products[0].product.query.grad.abs().sum() > 0
    export_packed(model)
    assert model(pixel_values=x).logits.shape == (6, 2)


def test_a_plain_module_needs_no_attention() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3, groups=2), nn.Flatten(), nn.Linear(32, 2)
    )
    QuantizationAware(2)(model)
    assert [kind for kind, _ in rounding(model).values()] == [
        LSQuantizer, StatsQuantizer, LSQuantizer,
    ]  # fmt: skip
    x = draw(5, 1, 6, 6)
    expected = model(x)
    assert torch.allclose(export_packed(model)(x), expected, atol=1e-4)


def test_skip_leaves_layers_and_whole_attention_alone() -> None:
    model = QuantizationAware(2, skip=["blocks.0.attn.*", "head"])(vit())
    assert not any(name.startswith("blocks.0.attn") for name in rounding(model))
    assert "head" not in rounding(model)
    assert isinstance(model.blocks[1].attn.scores, ProductScores)


def test_without_query_key_unknown_attention_is_quantized_layer_by_layer() -> None:
    model = vit()
    model.blocks[0].attn.bias = nn.Parameter(torch.ones(1))
    model.blocks[0].attn.register_forward_hook(lambda m, i, o: o + 1)  # no longer what it seems
    with pytest.raises(ValueError, match=r"blocks\.0\.attn \(Attention\) looks like attention"):
        QuantizationAware(2)(model)
    QuantizationAware(2, query_key=False)(model)
    assert rounding(model)["blocks.0.attn.qkv"] == (StatsQuantizer, 2)
    assert "blocks.1.attn.scores.query" in rounding(model)


def test_bad_models_are_refused_by_name() -> None:
    pruned = vit()
    pruned.blocks[1].mlp[0].weight.data[:, ::2] = 0
    with pytest.raises(ValueError, match=r"blocks\.1\.mlp\.0 is pruned \(50% .*weights='lsq'"):
        QuantizationAware(2)(pruned)
    kept = QuantizationAware(2, weights="lsq")(pruned).blocks[1].mlp[0]
    assert not kept.weight_quantizer(kept.weight)[:, ::2].any()
    broken = vit()
    broken.blocks[0].mlp[2].weight.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"blocks\.0\.mlp\.2 has 1 weights that are NaN"):
        QuantizationAware(2)(broken)
    with pytest.raises(ValueError, match="has no Linear or Conv2d layer"):
        QuantizationAware(2)(nn.ReLU())
    with pytest.raises(ValueError, match="wrap it"):
        QuantizationAware(2)(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="wrap it"):
        QuantizationAware(2)(vit().blocks[0].attn)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="weights must be 'statsq' or 'lsq', got 'int'"):
        QuantizationAware(2, weights="int")  # type: ignore[arg-type]
    for setting in ("bits", "activation_bits", "edge_bits"):
        with pytest.raises(ValueError, match="bits must be a whole number from 2 to 8, got 16"):
            QuantizationAware(**{setting: 16})
    with pytest.raises(TypeError, match="got one batch"):
        QuantizationAware(2)(vit(), draw(4, 1, 8, 8))


def test_double_precision() -> None:
    x = draw(4, 1, 8, 8).double()
    model = QuantizationAware(2)(vit().double(), [x])
    out = model(x)
    assert out.dtype == torch.float64
    out.sum().backward()
    assert all(p.grad.dtype == torch.float64 for p in model.parameters() if p.grad is not None)

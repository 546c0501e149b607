from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from paperworks.compression.calls import as_batches, as_call
from paperworks.compression.layers import (
    SKIP,
    compressible,
    group_count,
    input_rows,
    replace,
    weight_matrix,
)
from paperworks.compression.rounding import RoundToNearest


class Same(nn.Conv2d):
    """Padded on the right and below before it multiplies."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.pad(x, (0, 1, 0, 2)))


class Scaled(nn.Linear):
    """A parameter of its own before the product."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs)
        self.gain = nn.Parameter(torch.linspace(1, 2, inputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(input=x * self.gain, weight=self.weight, bias=self.bias)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3),
        nn.Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0), dilation=(1, 2)),
        nn.Conv2d(4, 6, 3, groups=2, padding="same", dilation=2),
        nn.Conv2d(4, 4, 2, groups=4, padding="same"),
        nn.Conv2d(4, 6, 1, padding="valid"),
        nn.Conv2d(4, 6, 3, padding=(1, 2), padding_mode="reflect"),
        nn.Conv2d(4, 6, (3, 2), padding="same", padding_mode="circular", groups=2),
        Same(4, 6, 3, stride=2, groups=2),
        Scaled(9, 6),
        nn.Linear(9, 6),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_times_the_matrix_is_the_layer(layer: nn.Module, dtype: torch.dtype) -> None:
    layer = layer.to(dtype)
    x = torch.randn(2, 4, 8, 9, dtype=dtype)
    rows, weight = input_rows(layer, x), weight_matrix(layer)
    groups = group_count(layer)
    assert rows.shape[0] == groups
    products = rows @ weight.view(groups, -1, weight.shape[1]).mT  # (groups, rows, out / groups)
    expected = layer(x).detach()
    assert products.numel() == expected.numel()
    if isinstance(layer, nn.Conv2d):
        products = products.view(groups, 2, *expected.shape[2:], -1).permute(1, 0, 4, 2, 3)
        bias = layer.bias.view(-1, 1, 1)
    else:
        bias = layer.bias
    torch.testing.assert_close(products.reshape(expected.shape) + bias.detach(), expected)


def test_the_matrix_is_the_layers_own_memory() -> None:
    layer = nn.Conv2d(2, 3, 2)
    weight_matrix(layer).zero_()
    assert not layer.weight.any()
    layer = nn.Conv2d(2, 3, 2).to(memory_format=torch.channels_last)
    before = layer.weight.detach().clone()
    assert torch.equal(weight_matrix(layer).view(3, 2, 2, 2), before)
    weight_matrix(layer).zero_()
    assert not layer.weight.any()


def test_layers_are_found_by_kind_and_name() -> None:
    model = nn.ModuleDict(
        {
            "stem": nn.Conv2d(3, 8, 3),
            "body": nn.Sequential(nn.Linear(8, 8), nn.LayerNorm((8, 8)), nn.Embedding(8, 8)),
            "lm_head": nn.Linear(8, 2),
        }
    )
    assert list(compressible(model)) == ["stem", "body.0"]
    assert list(compressible(model, skip=["body.*"])) == ["stem", "lm_head"]
    assert list(compressible(model, kinds=(nn.Conv2d,), skip=())) == ["stem"]
    assert list(compressible(nn.Linear(2, 2))) == [""]


def test_what_cannot_be_compressed_is_named() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with pytest.raises(ValueError, match=r"Sequential has no Linear or Conv2d layer outside"):
        compressible(model, skip=["*"])
    with pytest.raises(
        ValueError, match=r"skip must be a list of patterns, got the string 'lm_head'"
    ):
        compressible(model, skip="lm_head")
    with torch.no_grad():
        model[0].weight[1, 2] = torch.nan
        model[0].weight[0, 0] = torch.inf
    with pytest.raises(ValueError, match=r"0 has 2 weights that are NaN or infinite, of 16"):
        compressible(model)


def test_a_pattern_that_matches_nothing_is_named() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    with pytest.raises(ValueError, match=r"skip: no module .* is called '3' or 'head\*', .* '2'"):
        compressible(model, skip=["0", "3", "head*"])
    # The default may match nothing, also where it is given beside others; a module may be no layer.
    assert list(compressible(model, skip=[*SKIP, "1", "2"])) == ["0"]


def test_a_head_is_left_alone_wherever_it_is(build_llama: Any) -> None:
    for tied in (True, False):
        wrapped = nn.ModuleDict({"lm": build_llama(tied=tied)})
        assert not any("lm_head" in name for name in compressible(wrapped))


def test_a_layer_without_weights_is_named() -> None:
    with pytest.raises(ValueError, match=r"0 has no weights, but a shape of \(4, 0\)"):
        compressible(nn.Sequential(nn.Linear(0, 4), nn.Linear(4, 4)))


def test_tied_weights_are_refused_by_name(llama: nn.Module) -> None:
    with pytest.raises(
        ValueError, match=r"the weight of lm_head is tied to that of model.embed_tokens.*skip="
    ):
        compressible(llama, skip=())
    assert "lm_head" not in compressible(llama)
    shared = nn.Linear(4, 4)
    with pytest.raises(ValueError, match="the weight of 0 is tied to that of 1"):
        compressible(nn.Sequential(shared, shared))


def test_a_layer_is_replaced_by_name() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2)))
    new = nn.Identity()
    replace(model, "0.0", new)
    assert model[0][0] is new
    with pytest.raises(ValueError, match=r"wrap it, as in nn.Sequential"):
        replace(nn.Linear(2, 2), "", new)


def test_hooks_stay_where_a_layer_is_replaced() -> None:
    model, seen = nn.Sequential(nn.Linear(2, 2)), []
    first = model[0].register_forward_hook(lambda *_: seen.append("after"))
    model[0].register_forward_pre_hook(lambda *_, **__: seen.append("before"), with_kwargs=True)
    replace(model, "0", nn.Linear(2, 2))
    model(torch.ones(1, 2))
    assert seen == ["before", "after"]
    first.remove()
    model(torch.ones(1, 2))
    assert seen == ["before", "after", "before"]
    # In a packed layer with the forward of another, on the outside alone.
    model = nn.Sequential(nn.Conv2d(2, 2, 1))
    model[0].register_forward_hook(lambda *_: seen.append("packed"))
    RoundToNearest(4)(model)(torch.ones(1, 2, 3, 3))
    assert seen[3:] == ["packed"]
    assert not model[0].layer._forward_hooks


def test_a_layer_of_a_torch_encoder_is_not_gone_past() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.Sequential(nn.TransformerEncoder(layer, 2)).eval()
    x = torch.randn(3, 5, 8)
    late = torch.arange(5) >= torch.tensor([[5], [3], [2]])
    with torch.no_grad():
        before = model[0](x, src_key_padding_mask=late)
        for at in ("0.layers.0.linear2", "0.layers.1.linear2"):
            replace(model, at, nn.Sequential(model.get_submodule(at)))  # computes the same
        after = model[0](x, src_key_padding_mask=late)
    torch.testing.assert_close(after[~late], before[~late])


def test_batches_are_calls() -> None:
    x = torch.zeros(2)
    assert as_call(x) == ((x,), {})
    assert as_call((x, 3)) == ((x, 3), {})
    assert as_call({"x": x}) == ((), {"x": x})
    with pytest.raises(TypeError, match=r"tensor, a tuple of arguments or a dict.*got int"):
        as_batches([3])
    with pytest.raises(ValueError, match="needs calibration data"):
        as_batches([])
    with pytest.raises(ValueError, match="needs calibration data"):
        as_batches(None)
    for one in (x, {"x": x}):
        with pytest.raises(TypeError, match=r"got one batch: use \[batch\]"):
            as_batches(one)
    assert len(as_batches(each for each in [x, x])) == 2


@pytest.mark.parametrize(
    "method", [nn.utils.weight_norm, torch.nn.utils.parametrizations.weight_norm]
)
def test_a_computed_weight_is_refused_by_name(method: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 4), method(nn.Linear(4, 4)))
    with pytest.raises(ValueError, match=r"the weight of 1 is computed from .*make it plain first"):
        compressible(model)
    assert list(compressible(model, skip=["1"])) == ["0"]


def test_a_layer_pruned_by_torch_is_refused_until_it_is_plain() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    prune.l1_unstructured(model[0], "weight", 0.5)
    with pytest.raises(ValueError, match=r"the weight of 0 .*weight_orig.*utils.prune.remove"):
        compressible(model)
    prune.remove(model[0], "weight")
    assert list(compressible(model)) == ["0"]


@pytest.mark.parametrize(
    "foreign",
    [
        nn.Conv1d(2, 2, 3),
        nn.LSTM(4, 4),
        nn.MultiheadAttention(4, 2),
        nn.Bilinear(2, 2, 2),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_would_be_left_alone_is_named(foreign: nn.Module) -> None:
    model = nn.ModuleDict({"body": nn.Linear(4, 4), "table": nn.Embedding(3, 4), "odd": foreign})
    name = type(foreign).__name__
    with pytest.raises(ValueError, match=rf"odd is a {name}: .*skip=\[.*, 'odd'\]"):
        compressible(model)
    assert list(compressible(model, skip=["odd"])) == ["body"]
    assert list(compressible(model, beside=(type(foreign),))) == ["body"]


def test_subclasses_count_unless_only_the_plain_ones_will_do() -> None:
    model = nn.Sequential(Same(3, 4, 3), nn.Conv2d(4, 4, 1))
    assert list(compressible(model)) == ["0", "1"]
    with pytest.raises(ValueError, match="0 is a Same: not a layer that can be compressed here"):
        compressible(model, plain=True)


def test_a_model_of_conv1d_alone_is_told_the_way_out() -> None:
    """GPT-2: there is nothing to skip to."""
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=7, n_embd=8, n_layer=1, n_head=2, n_positions=4)
    with pytest.raises(ValueError, match=r"there is no other; a Conv1D is a Linear .* transposed"):
        compressible(transformers.GPT2LMHeadModel(config))

from __future__ import annotations

import pytest
import torch
from torch import nn

from paperworks.compression.layers import (
    as_batches,
    as_call,
    compressible,
    group_count,
    input_rows,
    replace,
    weight_matrix,
)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3),
        nn.Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0), dilation=(1, 2)),
        nn.Conv2d(4, 6, 3, groups=2, padding="same", dilation=2),
        nn.Conv2d(4, 4, 2, groups=4, padding="same"),
        nn.Conv2d(4, 6, 1, padding="valid"),
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
            "body": nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Conv1d(8, 8, 1)),
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


def test_only_zero_padding_is_understood() -> None:
    layer = nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")
    with pytest.raises(ValueError, match="padding_mode='reflect' is not supported"):
        input_rows(layer, torch.zeros(1, 1, 4, 4))

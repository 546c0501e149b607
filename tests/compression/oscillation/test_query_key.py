"""Rewritten attention against the attention that it takes the place of."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paperworks.claims._vit import Attention
from paperworks.compression.oscillation import QuantizationAware, StatsQuantizer
from paperworks.compression.oscillation.query_key import QueryKeyProduct
from paperworks.compression.oscillation.recognise import _Exact, rewrite


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def filled(module: nn.Module) -> nn.Module:
    """With random weights and biases; PyTorch's own biases start at zero and would hide errors."""
    module.double()
    for i, p in enumerate(module.parameters()):
        p.data = draw(*p.shape, seed=i) / 2
    return module.eval()


def exact(module: nn.Module, query_key: bool = True) -> Any:
    return rewrite("attn", module, lambda w: _Exact(), lambda: None, query_key=query_key).eval()


@pytest.mark.parametrize("query_key", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_fused_attention_is_the_same_in_full_precision(query_key: bool, bias: bool) -> None:
    attention = filled(Attention(12, 3))
    if not bias:
        attention.qkv.bias = None
    x = draw(2, 7, 12, seed=9)
    expected = attention(x)
    assert torch.allclose(exact(attention, query_key)(x), expected, atol=1e-12)


def test_a_mask_and_the_gradients_are_the_same() -> None:
    attention = filled(nn.MultiheadAttention(8, 2, batch_first=True))
    x = draw(2, 5, 8, seed=9)
    upstream = draw(2, 5, 8, seed=10)
    mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
    (attention(x, x, x, attn_mask=mask)[0] * upstream).sum().backward()
    of_query = attention.in_proj_weight.grad[:8].clone()
    rewritten = exact(attention)
    (rewritten(x, x, x, attn_mask=mask)[0] * upstream).sum().backward()
    # The share of the query's bias in the key's gradient goes to the key bias instead.
    assert torch.allclose(rewritten.scores.product.query.grad, of_query, atol=1e-12)


@pytest.mark.parametrize("query_key", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_torch_attention_with_all_its_masks(batch_first: bool, query_key: bool) -> None:
    attention = filled(nn.MultiheadAttention(8, 2, batch_first=batch_first))
    rewritten = exact(attention, query_key)
    query, memory = draw(3, 4, 8, seed=1), draw(3, 6, 8, seed=2)
    value = draw(3, 6, 8, seed=3)
    padding = torch.zeros(3, 6, dtype=torch.bool)
    padding[0, 4:] = True
    # (batch * heads, tokens, tokens), PyTorch's three-dimensional form, and a floating one.
    each = torch.rand(6, 4, 6, generator=torch.Generator().manual_seed(4)) < 0.3
    each[:, :, 0] = False
    masks: list[dict[str, Any]] = [
        {},
        {"key_padding_mask": padding},
        {"attn_mask": each},
        {"attn_mask": draw(4, 6, seed=5), "average_attn_weights": False},
        {"need_weights": False},
    ]
    inputs = [query, memory, value]
    if not batch_first:
        inputs = [x.transpose(0, 1) for x in inputs]
    for options in masks:
        expected, expected_weights = attention(*inputs, **options)
        found, weights = rewritten(*inputs, **options)
        assert torch.allclose(found, expected, atol=1e-12)
        assert (weights is None) == (expected_weights is None)
        assert weights is None or torch.allclose(weights, expected_weights, atol=1e-12)


def test_the_product_is_quantized_once_with_a_scale_per_row() -> None:
    query, key = (nn.Linear(6, 8, bias=False).double() for _ in range(2))
    for i, layer in enumerate((query, key)):
        layer.weight.data = draw(8, 6, seed=i)
    product = QueryKeyProduct(query, key, 2, lambda w: StatsQuantizer(3))
    x = draw(1, 5, 6, seed=3)
    found = product(x).unflatten(-1, (2, 6))
    for head in range(2):
        rows = slice(4 * head, 4 * head + 4)
        a = query.weight[rows].T @ key.weight[rows]
        # Row i of A is what input i of the query multiplies.
        expected = x @ StatsQuantizer(3)(a).T
        assert torch.allclose(found[:, :, head], expected, atol=1e-12)


def test_the_gradient_goes_through_the_product() -> None:
    # d loss / d W_q,h = W_k,h (d loss / d A_h)^T, with the straight-through gradient of A.
    query, key = (nn.Linear(6, 8, bias=False).double() for _ in range(2))
    for i, layer in enumerate((query, key)):
        layer.weight.data = draw(8, 6, seed=i)
    product = QueryKeyProduct(query, key, 2, lambda w: StatsQuantizer(2))
    x, upstream = draw(1, 5, 6, seed=3), draw(1, 5, 12, seed=4)
    (product(x) * upstream).sum().backward()
    for head in range(2):
        rows = slice(4 * head, 4 * head + 4)
        of_a = upstream[0, :, 6 * head : 6 * head + 6].T @ x[0]
        expected_query = key.weight.data[rows] @ of_a.T
        expected_key = query.weight.data[rows] @ of_a
        assert torch.allclose(product.query.grad[rows], expected_query)
        assert torch.allclose(product.key.grad[rows], expected_key)


class Rotary(Attention):
    """Turns its queries by position, which no product of weights can do."""

    def forward(self, x: Tensor) -> Tensor:
        turn = torch.cos(torch.arange(x.shape[1], dtype=x.dtype))[:, None]
        return super().forward(x * turn)


class Normed(nn.Module):
    """Normalises queries, and has no forward of x alone."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = 2
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        return x + positions


@pytest.mark.parametrize(
    ("attention", "why"),
    [
        (Rotary(8, 2), "its output differs by"),
        (Normed(), "missing 1 required positional argument"),
        (nn.MultiheadAttention(8, 2, kdim=4, vdim=4), "kdim, vdim"),
        (nn.MultiheadAttention(8, 2, add_zero_attn=True), "add_zero_attn"),
    ],
)
def test_other_attention_is_refused_by_name(attention: nn.Module, why: str) -> None:
    model = nn.ModuleDict({"stem": nn.Linear(8, 8), "blocks": nn.ModuleList([attention])})
    kinds = [type(module) for module in model.modules()]
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=rf"blocks\.0 \({type(attention).__name__}\).*{why}"):
        QuantizationAware(2)(model)
    assert [type(module) for module in model.modules()] == kinds
    assert all(
        torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True)
    )


def test_arguments_that_would_be_lost_are_refused() -> None:
    rewritten = exact(filled(Attention(12, 3)))
    x = draw(2, 7, 12)
    assert rewritten(x, output_attentions=False).shape == x.shape
    with pytest.raises(ValueError, match="has no position_ids"):
        rewritten(x, position_ids=torch.zeros(7))
    with pytest.raises(ValueError, match="has no is_causal"):
        rewritten(x, is_causal=True)
    torch_like = exact(filled(nn.MultiheadAttention(8, 2)))
    with pytest.raises(ValueError, match=r"needs a batch axis, got \(5, 8\)"):
        torch_like(*[draw(5, 8)] * 3)

"""Finds attention in a model, and makes sure that it is what it looks like.

Three shapes are known: one fused ``qkv`` layer (timm, DeiT), separate layers for query, key and
value (transformers), and :class:`torch.nn.MultiheadAttention`. Names alone say little: the module
may also turn its queries (rotary embeddings), normalise them, or add a bias of positions. So the
rewritten module is run beside the original on random input, in full precision, before anything is
quantized; where they differ, a ValueError names the module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from paperworks.compression.lsq import FakeQuantizer
from paperworks.compression.oscillation.query_key import (
    AttentionParts,
    MakeInput,
    MakeWeight,
    QuantizedAttention,
    TorchAttention,
)
from paperworks.compression.running import evaluation

_SEPARATE = (("q_proj", "k_proj", "v_proj"), ("query", "key", "value"))
_DROPOUT = ("attn_drop", "attention_dropout", "dropout")
_OUT = ("proj", "o_proj", "out_proj")


class _Exact(FakeQuantizer):
    """No rounding, for the comparison in full precision."""

    bits, low, high = 32, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        return x

    def scale(self, x: Tensor) -> Tensor:
        return torch.zeros((), device=x.device)

    def codes(self, x: Tensor) -> Tensor:
        return x


def looks_like_attention(module: nn.Module) -> bool:
    """Whether the module holds the layers of one of the three shapes."""
    if isinstance(module, nn.MultiheadAttention):
        return True
    return _has_linear(module, "qkv") or any(
        all(_has_linear(module, name) for name in names) for names in _SEPARATE
    )


def rewrite(
    name: str,
    module: nn.Module,
    make_weight: MakeWeight,
    make_input: MakeInput,
    *,
    query_key: bool,
) -> QuantizedAttention:
    """The quantization-aware form of an attention module, checked against it.

    Raises
    ------
    ValueError
        If the module is none of the three shapes, or computes something else; it names the module.
    """
    try:
        parts = (
            _torch_parts(module) if isinstance(module, nn.MultiheadAttention) else _parts(module)
        )
        _compare(module, _build(parts, lambda w: _Exact(), lambda: None, query_key=query_key))
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(
            f"{name} ({type(module).__name__}) looks like attention, but cannot be rewritten: "
            f"{error}. Leave it out with skip=[{name + '.*'!r}], or quantize its layers one by one "
            "with query_key=False"
        ) from error
    new = _build(parts, make_weight, make_input, query_key=query_key).train(module.training)
    return new.to(parts.value.weight.device, parts.value.weight.dtype)


def layers_of(module: nn.Module) -> list[str]:
    """The names, inside the module, of the layers that a rewritten form takes over."""
    return [name for name, child in module.named_children() if isinstance(child, nn.Linear)]


def _build(
    parts: AttentionParts, make_weight: MakeWeight, make_input: MakeInput, *, query_key: bool
) -> QuantizedAttention:
    kind: Callable[..., QuantizedAttention] = (
        TorchAttention if parts.in_torch else QuantizedAttention
    )
    return kind(parts, make_weight, make_input, query_key=query_key)


def _parts(module: nn.Module) -> AttentionParts:
    fused = getattr(module, "qkv", None)
    if fused is not None:
        query, key, value = _split(fused.weight, fused.bias)
    else:
        names = next(names for names in _SEPARATE if _has_linear(module, names[0]))
        query, key, value = (getattr(module, name) for name in names)
    heads = getattr(module, "num_heads", None) or getattr(module, "num_attention_heads", None)
    if not isinstance(heads, int):
        raise ValueError("it has neither num_heads nor num_attention_heads")
    scale = next(
        (getattr(module, name) for name in ("scale", "scaling") if hasattr(module, name)),
        (query.out_features // heads) ** -0.5,
    )
    dropouts = [getattr(module, name, 0.0) for name in _DROPOUT]
    dropouts = [each.p if isinstance(each, nn.Dropout) else each for each in dropouts]
    out = next((getattr(module, name) for name in _OUT if _has_linear(module, name)), None)
    return AttentionParts(
        query=query,
        key=key,
        value=value,
        out=out,
        heads=heads,
        scale=float(scale),
        dropout=max(float(p) for p in dropouts),
        out_dropout=getattr(module, "proj_drop", nn.Identity()),
        returns_pair=isinstance(_call(module, _example(query)), tuple),
    )


def _torch_parts(module: nn.MultiheadAttention) -> AttentionParts:
    if module.in_proj_weight is None or module.bias_k is not None or module.add_zero_attn:
        raise ValueError("kdim, vdim, add_bias_kv and add_zero_attn are not supported")
    query, key, value = _split(module.in_proj_weight, module.in_proj_bias)
    return AttentionParts(
        query=query,
        key=key,
        value=value,
        out=module.out_proj,
        heads=module.num_heads,
        scale=module.head_dim**-0.5,
        dropout=module.dropout,
        out_dropout=nn.Identity(),
        batch_first=module.batch_first,
        in_torch=True,
    )


def _split(weight: Tensor, bias: Tensor | None) -> list[nn.Linear]:
    """The three layers of a fused one, in parameters of their own."""
    if weight.shape[0] % 3:
        raise ValueError(f"its fused layer has {weight.shape[0]} outputs, which is not 3 times any")
    rows = weight.shape[0] // 3
    layers = []
    for i in range(3):
        layer = nn.Linear(weight.shape[1], rows, bias=bias is not None, device="meta")
        layer.weight = nn.Parameter(weight.detach()[i * rows : (i + 1) * rows].clone())
        if bias is not None:
            layer.bias = nn.Parameter(bias.detach()[i * rows : (i + 1) * rows].clone())
        layers.append(layer)
    return layers


@torch.no_grad()
def _compare(module: nn.Module, rewritten: QuantizedAttention) -> None:
    """Both on random tokens; in evaluation mode, so that dropout does nothing."""
    x = _example(rewritten.value)
    expected, found = (
        y[0] if isinstance(y, tuple) else y for y in (_call(module, x), _call(rewritten, x))
    )
    gap = float((expected - found).abs().max() / expected.abs().max().clamp_min(1e-30))
    if not gap < 1e-3:
        raise ValueError(
            f"rewritten in full precision its output differs by {gap:.2g} of its largest entry "
            "(are there rotary embeddings, normalised queries or biases of positions?)"
        )


def _example(layer: nn.Linear) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, layer.in_features, generator=generator)
    return x.to(layer.weight.device, layer.weight.dtype)


@torch.no_grad()
def _call(module: nn.Module, x: Tensor) -> Any:
    torch_like = isinstance(module, nn.MultiheadAttention | TorchAttention)
    with evaluation(module):
        return module(x, x, x) if torch_like else module(x)


def _has_linear(module: nn.Module, name: str) -> bool:
    return isinstance(getattr(module, name, None), nn.Linear)

"""Query-key reparameterisation (QKR): one quantized matrix where attention multiplies two.

Of the paper's three techniques the third. The score of tokens ``x_i`` and ``x_j`` in head ``h`` is
``(W_q,h x_i + b_q,h) . (W_k,h x_j + b_k,h)``. With both weights quantized the gradient of one
depends on the other's rounding, and an oscillation of one stirs the other. So the product is formed
in full precision and quantized once::

    A_h = W_q,h^T W_k,h                         (dim, dim), a row for each input of the query
    score_ij = x_i . quantize(A_h) x_j + c_h . x_j          c_h = W_k,h^T b_q,h

What ``b_k`` adds is the same for all ``j`` and falls out of the softmax. ``c_h`` has ``dim``
numbers a head and stays in full precision, like a bias, as a parameter of its own; the authors
drop the query's bias. The inputs ``x``, ``A x``, the value and the softmax are quantized too.

The product costs ``heads * dim**2`` weights where query and key have ``2 * dim**2``, and in
training ``heads * head_dim * dim**2`` multiplications a step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from paperworks.compression.fake_quant import FakeQuantLinear
from paperworks.compression.lsq import FakeQuantizer

MakeWeight = Callable[[Tensor], FakeQuantizer]
MakeInput = Callable[[], FakeQuantizer | None]


@dataclass(frozen=True)
class AttentionParts:
    """What attention is made of, whichever library wrote it; see ``recognise.py``."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    out: nn.Linear | None
    heads: int
    scale: float
    dropout: float
    out_dropout: nn.Module
    batch_first: bool = True
    returns_pair: bool = False
    in_torch: bool = False


class QueryKeyProduct(nn.Module):
    """Keys as the queries' input sees them: ``x`` to ``quantize(A_h) x``, for all heads.

    Parameters
    ----------
    query, key : Linear
        With ``heads * head_dim`` outputs each.
    """

    def __init__(
        self, query: nn.Linear, key: nn.Linear, heads: int, make_weight: MakeWeight
    ) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = query.weight, key.weight
        self.weight_quantizer = make_weight(self.weight)

    @property
    def weight(self) -> Tensor:
        """``A`` of all heads, ``(heads * dim, dim)``, in full precision."""
        query, key = (w.unflatten(0, (self.heads, -1)) for w in (self.query, self.key))
        return (query.transpose(1, 2) @ key).flatten(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """From ``(batch, tokens, dim)`` to ``(batch, tokens, heads * dim)``."""
        return functional.linear(x, self.weight_quantizer(self.weight))


class ProductScores(nn.Module):
    """Scores by the product of query and key: QKR."""

    def __init__(self, parts: AttentionParts, make_weight: MakeWeight, make_input: MakeInput):
        super().__init__()
        self.heads = parts.heads
        self.product = QueryKeyProduct(parts.query, parts.key, parts.heads, make_weight)
        self.key_quantizer = make_input()
        self.key_bias = None
        if parts.query.bias is not None:
            key = parts.key.weight.data.unflatten(0, (parts.heads, -1))
            bias = parts.query.bias.data.unflatten(0, (parts.heads, -1))
            self.key_bias = nn.Parameter(torch.einsum("hcd,hc->hd", key, bias))

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """``(batch, heads, tokens of the query, tokens of the key)``, not scaled."""
        keys = rounded(self.key_quantizer, self.product(key)).unflatten(-1, (self.heads, -1))
        scores = query.unsqueeze(1) @ keys.permute(0, 2, 3, 1)
        if self.key_bias is not None:
            scores = scores + functional.linear(key, self.key_bias).transpose(1, 2).unsqueeze(2)
        return scores


class PlainScores(nn.Module):
    """Scores by query and key, quantized each for itself: what QKR is compared with."""

    def __init__(self, parts: AttentionParts, make_weight: MakeWeight, make_input: MakeInput):
        super().__init__()
        self.heads = parts.heads
        self.query = FakeQuantLinear.of(parts.query, make_weight(parts.query.weight), None)
        self.key = FakeQuantLinear.of(parts.key, make_weight(parts.key.weight), None)
        self.query_quantizer, self.key_quantizer = make_input(), make_input()

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """``(batch, heads, tokens of the query, tokens of the key)``, not scaled."""
        q = rounded(self.query_quantizer, self.query(query)).unflatten(-1, (self.heads, -1))
        k = rounded(self.key_quantizer, self.key(key)).unflatten(-1, (self.heads, -1))
        return q.transpose(1, 2) @ k.permute(0, 2, 3, 1)


class QuantizedAttention(nn.Module):
    """Attention with quantized weights and inputs, in the place of a library's own module.

    Its forward takes ``(x, mask)`` and returns a tensor or a pair, as the module did; ``mask``
    broadcasts to ``(batch, heads, tokens, tokens)``, is added where it is floating and lets through
    where it is True.
    """

    def __init__(
        self,
        parts: AttentionParts,
        make_weight: MakeWeight,
        make_input: MakeInput,
        *,
        query_key: bool,
    ) -> None:
        super().__init__()
        self.heads, self.scale, self.dropout = parts.heads, parts.scale, parts.dropout
        self.batch_first, self.returns_pair = parts.batch_first, parts.returns_pair
        self.out_dropout = parts.out_dropout
        self.input_quantizer = make_input()
        scores = ProductScores if query_key else PlainScores
        self.scores = scores(parts, make_weight, make_input)
        self.value = FakeQuantLinear.of(parts.value, make_weight(parts.value.weight), None)
        self.value_quantizer, self.softmax_quantizer = make_input(), make_input()
        self.out: nn.Module = nn.Identity()
        if parts.out is not None:
            self.out = FakeQuantLinear.of(parts.out, make_weight(parts.out.weight), make_input())

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The output ``(batch, tokens, dim)``, the weights ``(batch, heads, tokens, tokens)``."""
        q = rounded(self.input_quantizer, query)
        k = q if key is query else rounded(self.input_quantizer, key)
        x = k if value is key else rounded(self.input_quantizer, value)
        scores = self.scores(q, k) * self.scale
        if mask is not None and mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, -torch.inf)
        elif mask is not None:
            scores = scores + mask
        weights = rounded(self.softmax_quantizer, scores.softmax(-1))
        weights = functional.dropout(weights, self.dropout, self.training)
        v = rounded(self.value_quantizer, self.value(x)).unflatten(-1, (self.heads, -1))
        mixed = (weights @ v.transpose(1, 2)).transpose(1, 2).flatten(2)
        return self.out_dropout(self.out(mixed)), weights

    def forward(  # noqa: D102
        self, x: Tensor, mask: Tensor | None = None, **options: object
    ) -> Tensor | tuple[Tensor, Tensor]:
        for name in ("attention_mask", "attn_mask"):
            mask = options.pop(name, None) if mask is None else mask  # type: ignore[assignment]
        # Flags such as output_attentions change nothing here; a tensor or causality would.
        for name, value in options.items():
            if isinstance(value, Tensor) or (name == "is_causal" and value):
                raise ValueError(
                    f"quantization-aware attention has no {name}: give it an attention mask, or "
                    "make the model quantization-aware with query_key=False"
                )
        output, weights = self.attend(x, x, x, mask)
        return (output, weights) if self.returns_pair else output


class TorchAttention(QuantizedAttention):
    """In the place of :class:`torch.nn.MultiheadAttention`, with its forward."""

    # The encoder layers of PyTorch ask for these; without a bias they leave their fast path alone.
    in_proj_bias = None
    in_proj_weight = None

    def forward(  # type: ignore[override]
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As PyTorch's, on batches; there a True in a mask shuts out. ``is_causal`` is a hint."""
        if query.dim() != 3:
            raise ValueError(
                f"quantization-aware attention needs a batch axis, got {tuple(query.shape)}: "
                "use x.unsqueeze(0), or unsqueeze(1) with batch_first=False"
            )
        if not self.batch_first:
            same_key, same_value = key is query, value is key
            query = query.transpose(0, 1)
            key = query if same_key else key.transpose(0, 1)
            value = key if same_value else value.transpose(0, 1)
        mask = torch.zeros((), dtype=query.dtype, device=query.device)
        if attn_mask is not None:
            shaped = attn_mask.unflatten(0, (-1, self.heads)) if attn_mask.dim() == 3 else attn_mask
            mask = mask + _additive(shaped, query.dtype)
        if key_padding_mask is not None:
            mask = mask + _additive(key_padding_mask, query.dtype)[:, None, None]
        output, weights = self.attend(query, key, value, mask)
        if average_attn_weights:
            weights = weights.mean(1)
        return output if self.batch_first else output.transpose(0, 1), (
            weights if need_weights else None
        )


def rounded(quantizer: FakeQuantizer | None, x: Tensor) -> Tensor:
    """``x`` through the quantizer, where there is one."""
    return x if quantizer is None else quantizer(x)


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(mask, -torch.inf)

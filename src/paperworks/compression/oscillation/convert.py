"""A vision transformer in its quantization-aware form, by one call."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from paperworks.compression.calls import as_batches
from paperworks.compression.fake_quant import FakeQuantConv2d, FakeQuantLinear
from paperworks.compression.layers import SKIP, compressible, replace
from paperworks.compression.lsq import FakeQuantizer, LSQuantizer, check_bits
from paperworks.compression.oscillation.recognise import layers_of, looks_like_attention, rewrite
from paperworks.compression.oscillation.statsq import StatsQuantizer
from paperworks.compression.running import evaluation, run_model

EDGE_BITS = 8
SPARSE = 0.01  # from this share of zeros on a layer counts as pruned


class QuantizationAware:
    """Turn a model into one that trains with rounded weights and activations.

    Weights get :class:`StatsQuantizer`, activations learned steps
    (:class:`~paperworks.compression.lsq.LSQuantizer`, one per tensor), attention the product of
    query and key in one matrix. Then train as ever, export at the end. For a model that is not to
    be trained again, quantize after training; at 4 bits and more that is often enough.

    Parameters
    ----------
    bits : int
        Of the weights; the paper has 2, 3 and 4.
    activation_bits : int or None
        Of the inputs of layers and of attention; None leaves them alone. The default is ``bits``,
        as in the paper.
    weights : {"statsq", "lsq"}
        ``"lsq"`` is the baseline: learned steps, one per output channel.
    query_key : bool
        Whether attention is reparameterised.
    edge_bits : int
        Of the first and the last layer, weight and input, with learned steps: 8, as the paper has
        it and nearly everyone.
    skip : sequence of str
        Patterns as in :mod:`fnmatch`: layers that stay in full precision.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    >>> model = nn.Sequential(nn.Linear(4, 16), block, nn.Flatten(), nn.Linear(80, 3))
    >>> x = torch.randn(8, 5, 4, generator=torch.Generator().manual_seed(0))
    >>> model = QuantizationAware(2)(model, [x])
    >>> model(x).shape, type(model[1].self_attn.scores).__name__
    (torch.Size([8, 3]), 'ProductScores')
    """

    def __init__(
        self,
        bits: int = 2,
        *,
        activation_bits: int | Literal["same"] | None = "same",
        weights: Literal["statsq", "lsq"] = "statsq",
        query_key: bool = True,
        edge_bits: int = EDGE_BITS,
        skip: Sequence[str] = SKIP,
    ) -> None:
        if weights not in ("statsq", "lsq"):
            raise ValueError(f"weights must be 'statsq' or 'lsq', got {weights!r}")
        self.bits = check_bits(bits)
        self.activation_bits = bits if activation_bits == "same" else activation_bits
        if self.activation_bits is not None:
            check_bits(self.activation_bits)
        self.edge_bits = check_bits(edge_bits)
        self.weights, self.query_key, self.skip = weights, query_key, skip

    def __call__(self, model: nn.Module, calibration: Iterable[object] | None = None) -> nn.Module:
        """Change ``model`` in place and return it. Make the optimizer afterwards.

        Parameters
        ----------
        model : nn.Module
            Anything with Linear or Conv2d layers. Attention is rewritten where it is a timm-like
            module with a fused ``qkv`` layer, a transformers module with separate ones, or
            :class:`torch.nn.MultiheadAttention`.
        calibration : iterable of batches, optional
            Sets the steps of the activations; a batch or two will do. Without it the first batch
            of training does.

        Raises
        ------
        ValueError
            If there is no layer to quantize, a weight is not finite, or is pruned (StatsQ has no
            level at zero); or, with ``query_key``, if attention is found that cannot be rewritten.
            The message names the module, and the model is as it was.
        """
        batches = [] if calibration is None else as_batches(calibration)
        layers: dict[str, Any] = compressible(
            model, skip=self.skip, plain=True, beside=(nn.MultiheadAttention,)
        )
        edges = {next(iter(layers)), next(reversed(layers))}
        self._refuse_pruned({name: layers[name] for name in layers if name not in edges})
        new: dict[str, nn.Module] = {}
        for name, module in self._attention(model).items():
            try:
                new[name] = rewrite(
                    name, module, self._weight, self._input, query_key=self.query_key
                )
            except ValueError:
                if self.query_key:
                    raise
                continue  # its layers are quantized one by one
            for part in layers_of(module):
                layers.pop(f"{name}.{part}", None)
        for name, layer in layers.items():
            if name in edges:
                weight: FakeQuantizer = _channelwise(layer.weight, self.edge_bits)
                rounding: FakeQuantizer | None = _activation(self.edge_bits)
            else:
                weight, rounding = self._weight(layer.weight), self._input()
            kind = FakeQuantConv2d if isinstance(layer, nn.Conv2d) else FakeQuantLinear
            new[name] = kind.of(layer, weight, rounding)
        for name, module in new.items():
            replace(model, name, module)
        with evaluation(model):
            run_model(model, batches)
        return model

    def _attention(self, model: nn.Module) -> dict[str, nn.Module]:
        """Attention to rewrite: where a layer of it is to be skipped, all of it stays."""
        found = {}
        for name, module in model.named_modules():
            if looks_like_attention(module):
                inside = [f"{name}.{part}" for part in layers_of(module)]
                if not any(fnmatch.fnmatch(each, p) for each in (name, *inside) for p in self.skip):
                    found[name] = module
        return found

    def _weight(self, weight: Tensor) -> FakeQuantizer:
        if self.weights == "lsq":
            return _channelwise(weight, self.bits)
        return StatsQuantizer(self.bits)

    def _input(self) -> FakeQuantizer | None:
        return None if self.activation_bits is None else _activation(self.activation_bits)

    def _refuse_pruned(self, layers: dict[str, Any]) -> None:
        if self.weights == "lsq":
            return
        for name, layer in layers.items():
            rows = layer.weight.detach().flatten(1)
            rows = rows[rows.any(1)]  # a row of zeros stays one
            zeros = float((rows == 0).float().mean()) if rows.numel() else 0.0
            if zeros > SPARSE:
                raise ValueError(
                    f"{name} is pruned ({zeros:.0%} of its weights are zero) and StatsQ has no "
                    f"level at zero: use weights='lsq', or skip=[..., {name!r}]"
                )


def _channelwise(weight: Tensor, bits: int) -> LSQuantizer:
    quantizer = LSQuantizer(bits, channels=weight.shape[0]).to(weight.device, weight.dtype)
    quantizer.initialize(weight)
    return quantizer


def _activation(bits: int) -> LSQuantizer:
    return LSQuantizer(bits, signed=None, activation=True)


def quantized_parts(model: nn.Module) -> dict[str, Any]:
    """By name, every module of ``model`` that has a weight and its ``weight_quantizer``."""
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(getattr(module, "weight_quantizer", None), FakeQuantizer)
    }
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no fake-quantized weight: make it quantization-aware "
            "first, with QuantizationAware(bits)(model)"
        )
    return found

"""From the quantization-aware form to packed weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from paperworks.compression.grids import IntegerGrid
from paperworks.compression.inputs import InputQuantizer
from paperworks.compression.layers import check_finite, replace
from paperworks.compression.lsq import LSQuantizer
from paperworks.compression.oscillation.convert import quantized_parts
from paperworks.compression.oscillation.query_key import QueryKeyProduct
from paperworks.compression.packed import PackedWeight
from paperworks.compression.packed_layers import QuantizedLinear, quantized


@torch.no_grad()
def export_packed(model: nn.Module) -> nn.Module:
    """Replace every fake-quantized weight by its codes, packed at their own width.

    What the model computes stays the same, up to rounding of the last digits; it can no longer be
    trained. Inputs of layers are rounded by an
    :class:`~paperworks.compression.inputs.InputQuantizer`, those inside attention by the same
    modules as before. :func:`~paperworks.compression.save_compressed` writes the result; to read it
    back, give a model in the form of :class:`QuantizationAware`.

    Parameters
    ----------
    model : nn.Module
        Trained in the form that :class:`QuantizationAware` gives it. Changed in place, one layer
        after the other.

    Returns
    -------
    nn.Module
        The same object. Each layer is a :class:`~paperworks.compression.packed.QuantizedLinear` or
        ``QuantizedConv2d``; a product of query and key is one QuantizedLinear of ``heads * dim``
        outputs.

    Raises
    ------
    ValueError
        If the model has no fake-quantized weight, a weight is not finite, or a step has never been
        set; the message names the layer.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from paperworks.compression.oscillation import QuantizationAware, export_packed
    >>> mlp = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.Linear(64, 2))
    >>> x = torch.linspace(-1, 1, 12).view(3, 4)
    >>> model = QuantizationAware(2)(mlp, [x])
    >>> before = model(x)
    >>> model = export_packed(model)
    >>> model[2].weight.bits, bool((model(x) - before).abs().max() < 1e-5)
    (2, True)
    """
    parts = quantized_parts(model)
    for name, part in parts.items():
        check_finite(name, part.weight)
    for name, module in model.named_modules():
        if isinstance(module, LSQuantizer) and not module.initialized:
            raise ValueError(
                f"{name} has seen no data, so its step is not set: run a batch through the model "
                "before it is exported"
            )
    for name, part in parts.items():
        replace(model, name, _packed(part))
    return model


def _packed(part: Any) -> nn.Module:
    weight, rounding = part.weight, part.weight_quantizer
    scale = rounding.scale(weight).flatten()
    codes = rounding.codes(weight) - rounding.low
    packed = PackedWeight.pack(
        codes.flatten(1).to(torch.uint8),
        IntegerGrid(rounding.bits, signed=False),
        scale.expand(len(weight)),
        offset=(scale * (rounding.low + rounding.offset)).expand(len(weight)),
        shape=tuple(weight.shape),
    )
    if isinstance(part, QueryKeyProduct):
        return QuantizedLinear(packed.to(weight.dtype))
    inputs = part.input_quantizer
    if inputs is not None:
        inputs = InputQuantizer.of_integers(inputs.low, inputs.high, inputs.scale(torch.ones(())))
    return quantized(part.plain(), packed, inputs)

"""From a supernet to packed weights of the form that was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from paperworks.compression.eq_net.convert import choose, elastic_layers
from paperworks.compression.eq_net.forms import Form
from paperworks.compression.eq_net.quantizers import ElasticQuantizer
from paperworks.compression.grids import IntegerGrid
from paperworks.compression.inputs import InputQuantizer
from paperworks.compression.layers import check_finite, replace
from paperworks.compression.packed_layers import packed_layer


@torch.no_grad()
def export_subnet(
    model: nn.Module, form: str | Form | Mapping[str, str | Form] | None = None
) -> nn.Module:
    """Replace every elastic layer by its packed form. What the model computes stays the same.

    The other forms are gone afterwards: keep the supernet's state dict, or export a copy.

    Parameters
    ----------
    model : nn.Module
        Made by :class:`ElasticQuantization`, with batch normalisation calibrated for the form.
        Changed in place.
    form : as for :func:`choose`, optional
        By default the form that the model is in.

    Returns
    -------
    nn.Module
        The same object. Weights are ``QuantizedLinear`` and ``QuantizedConv2d``, asymmetric ones
        with an offset; inputs are rounded to the integers of their form times one scale.

    Raises
    ------
    ValueError
        If a weight is not finite, or the ranges of inputs have not been fitted; the message names
        the layer, and the model is as it was.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from paperworks.compression.eq_net import ElasticQuantization, choose, export_subnet
    >>> mlp = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.Linear(64, 2))
    >>> x = torch.linspace(-1, 1, 12).view(3, 4)
    >>> model = choose(ElasticQuantization()(mlp, [x]), "w3a4-tensor-asym")
    >>> before = model(x)
    >>> model = export_subnet(model)
    >>> model[2].weight.bits, bool((model(x) - before).abs().max() < 1e-5)
    (3, True)
    """
    if form is not None:
        choose(model, form)
    layers = elastic_layers(model)
    for name, layer in layers.items():
        check_finite(name, layer.weight)
        if not layer.input_quantizer.initialized:
            raise ValueError(
                f"{name} has seen no data, so the ranges of its inputs are not fitted: run a batch "
                "through the model before it is exported"
            )
    for name, layer in layers.items():
        replace(model, name, _packed(layer))
    return model


def _packed(layer: Any) -> nn.Module:
    weight, rounding = layer.weight, layer.weight_quantizer
    scale = rounding.scale(weight).flatten().expand(len(weight))
    codes = rounding.codes(weight) - rounding.low
    offset = None
    if not rounding.symmetric:
        offset = scale * (rounding.low - rounding.zero_point())
    return packed_layer(
        layer.plain(),
        codes.flatten(1).to(torch.uint8),
        IntegerGrid(rounding.bits, signed=rounding.symmetric),
        scale,
        offset=offset,
        input_quantizer=_inputs(layer.input_quantizer),
    )


def _inputs(rounding: ElasticQuantizer) -> InputQuantizer:
    first, last = (int(end - rounding.zero_point()) for end in (rounding.low, rounding.high))
    return InputQuantizer.of_integers(first, last, rounding.scale(torch.ones(())))

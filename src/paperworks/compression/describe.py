"""What a model weighs: bits, bytes and zeros of every layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from paperworks.compression.packed import PackedWeight


@dataclass(frozen=True)
class LayerSummary:
    """The weight of one layer.

    Attributes
    ----------
    name : str
        Of the layer in the model.
    kind : str
        Its class.
    shape : tuple of int
        Of the weight.
    format : str
        Number format of the weight: ``int4``, ``e2m1``, ``float32``.
    bytes : int
        What the weight takes in memory and on disk: codes, scales and all.
    bits_per_weight : float
        The same, by number of weights.
    sparsity : float
        The share of weights that are exactly zero.
    inputs : str
        Number format that the layer's inputs are rounded to, or ``""``.
    levels, counts : tuple
        A histogram: how many weights use each level of the table, by level before scaling; for
        a weight that is not packed, bins of its range relative to the largest magnitude.
    decoded : int
        Bytes in memory beside ``bytes``: a small convolution stays decoded once it has run.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    format: str
    bytes: int
    bits_per_weight: float
    sparsity: float
    inputs: str
    levels: tuple[float, ...]
    counts: tuple[int, ...]
    decoded: int = 0


_BINS = 41  # odd: zero is the middle of a bin


def describe(model: nn.Module) -> list[LayerSummary]:
    """One summary for every layer with a weight of two dimensions or more.

    Cost: each packed weight is decoded once, one at a time.

    Examples
    --------
    >>> layer = nn.Linear(4, 2)
    >>> _ = torch.nn.init.zeros_(layer.weight)
    >>> [(each.format, each.bytes, each.sparsity) for each in describe(nn.Sequential(layer))]
    [('float32', 32, 1.0)]
    """
    summaries, counted = [], set()
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, PackedWeight) or id(weight) in counted:
            continue  # seen with the layer it belongs to, or tied to one seen before
        if isinstance(weight, PackedWeight):
            form, size, values = weight.name, weight.bytes, weight.dequantize()
            levels, counts = _codes_used(weight)
        elif isinstance(weight, Tensor) and weight.dim() >= 2:
            form = str(weight.dtype).removeprefix("torch.")
            size, values = weight.numel() * weight.element_size(), weight.detach()
            levels, counts = _bins(values)
        else:
            continue
        counted.add(id(weight))
        quantizer = getattr(module, "input_quantizer", None)
        grid = getattr(quantizer, "grid", None)
        summaries.append(
            LayerSummary(
                name=name,
                kind=type(module).__name__,
                shape=tuple(values.shape),
                format=form,
                bytes=size,
                bits_per_weight=8 * size / values.numel(),
                sparsity=1 - int(values.count_nonzero()) / values.numel(),
                inputs=grid.name if grid is not None else "",
                levels=tuple(levels.tolist()),
                counts=tuple(counts.tolist()),
                decoded=weight.kept_bytes if isinstance(weight, PackedWeight) else 0,
            )
        )
    return summaries


def bits_per_weight(layers: Sequence[LayerSummary]) -> float:
    """The mean over all weights of these layers, scales and all."""
    return 8 * sum(each.bytes for each in layers) / sum(math.prod(each.shape) for each in layers)


def model_bytes(model: nn.Module, dtype: torch.dtype | None = None) -> int:
    """What all parameters and buffers take in memory, or with floats of ``dtype``.

    Tied ones count once. In memory small convolutions that have run count twice: packed, and as
    they stay decoded.
    """
    tensors = {id(each): each for each in (*model.parameters(), *model.buffers())}
    widths = [
        dtype.itemsize if dtype is not None and each.is_floating_point() else each.element_size()
        for each in tensors.values()
    ]
    size = sum(each.numel() * width for each, width in zip(tensors.values(), widths, strict=True))
    packed = (each for each in model.modules() if isinstance(each, PackedWeight))
    return size + (sum(each.kept_bytes for each in packed) if dtype is None else 0)


def _codes_used(weight: PackedWeight) -> tuple[Tensor, Tensor]:
    counts = torch.bincount(weight.unpack().flatten().int(), minlength=weight.table.numel())
    order = weight.table.argsort(stable=True)
    return weight.table[order], counts[order]


def _bins(weight: Tensor) -> tuple[Tensor, Tensor]:
    top = max(abs(float(end)) for end in weight.aminmax()) or 1.0  # no copy of the weight
    edge = top * _BINS / (_BINS - 1)  # the first and the last bin are centred on the extremes
    counts = torch.histc(weight.float(), _BINS, -edge, edge).long()
    return torch.linspace(-1, 1, _BINS), counts

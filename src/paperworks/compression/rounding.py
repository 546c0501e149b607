"""Rounding without a search: the baselines of the methods here.

- :class:`RoundToNearest`: integers, the range from the largest weight (or the two extremes).
- :class:`MinMaxFP`: floating point of one format, the range from the largest magnitude; "MinMax FP
  Quant" of the LLM-FP4 paper (arXiv:2310.16836, tables 1 to 3).
- :class:`SmoothQuant`: integers, after a part of the inputs' spread has been moved into the
  weights; G. Xiao, J. Lin, M. Seznec, H. Wu, J. Demouth, S. Han, "SmoothQuant", ICML 2023,
  arXiv:2211.10438, equation 4. There the factors are merged into the normalisation before the
  layer and so only layers after one have them; here each layer divides its own input, which works
  in any module and for every layer.

Scales are found and weights rounded in float32, whatever the dtype of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from paperworks.compression.grids import MAX_BITS, FloatGrid, IntegerGrid, is_whole
from paperworks.compression.inputs import InputQuantizer
from paperworks.compression.layers import SKIP, column_groups, group_count, weight_matrix
from paperworks.compression.layerwise import LayerwiseMethod, Observer
from paperworks.compression.observers import InputRange
from paperworks.compression.packed_layers import packed_layer


def channel_axis(layer: nn.Module) -> int:
    """Where the channels of a layer's input are."""
    return 1 if isinstance(layer, nn.Conv2d) else -1


def channel_largest(layer: nn.Module, seen: InputRange) -> Tensor:
    """The largest magnitude of each input channel, (channels,)."""
    channels = layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features
    return seen.largest.reshape(channels, -1).amax(1)  # type: ignore[arg-type]


def integer_range(
    weight: Tensor, bits: int, symmetric: bool
) -> tuple[IntegerGrid, Tensor, Tensor | None]:
    """The integers that reach the extremes of each row.

    Parameters
    ----------
    weight : (..., columns) float
    bits : int
    symmetric : bool
        False: from the lowest to the highest weight of the row (0 included), with an offset of
        whole steps, so that 0 stays a level.

    Returns
    -------
    grid : IntegerGrid
    scale : (...) float
    offset : (...) float or None
    """
    grid = IntegerGrid(bits, signed=symmetric)
    if symmetric:
        return grid, grid.scale_for(weight.abs().amax(-1)), None
    low, high = weight.amin(-1).clamp(max=0), weight.amax(-1).clamp(min=0)
    scale = grid.scale_for(high - low)
    return grid, scale, (low / scale).round() * scale


class RoundToNearest(LayerwiseMethod):
    """Integer weights by rounding; no calibration data.

    Parameters
    ----------
    weight_bits : int
        2 to 8.
    activation_bits : int, optional
        2 to 8: inputs are rounded too, each token by its own largest magnitude.
    group : int, optional
        Neighbouring columns that share a scale, a multiple of 64. Default: an output channel.
    symmetric : bool
        False: a range from the lowest to the highest weight, which needs an offset for each scale.
    skip : sequence of str
        Patterns of names of layers to leave alone.

    Raises
    ------
    ValueError
        For a width outside 2 to 8, or a group that does not divide a layer's columns.

    Notes
    -----
    O(weights) time.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 1, bias=False))
    >>> _ = model[0].weight.data.copy_(torch.tensor([[0.7, -0.26]]))
    >>> RoundToNearest(4)(model)[0].weight.dequantize()
    tensor([[ 0.7000, -0.3000]])
    """

    calibration = "unused"

    def __init__(
        self,
        weight_bits: int = 4,
        activation_bits: int | None = None,
        *,
        group: int | None = None,
        symmetric: bool = True,
        skip: Sequence[str] = SKIP,
    ):
        super().__init__(skip=skip)
        IntegerGrid(weight_bits)
        self.inputs = None if activation_bits is None else IntegerGrid(activation_bits)
        self.weight_bits, self.group, self.symmetric = weight_bits, group, symmetric

    def compress_layer(self, name: str, layer: nn.Module, seen: Any) -> nn.Module:
        """Round and pack one layer."""
        weight = weight_matrix(layer).float()
        columns = weight.view(len(weight), column_groups(name, weight, self.group), -1)
        grid, scale, offset = integer_range(columns, self.weight_bits, self.symmetric)
        shifted = columns if offset is None else columns - offset[..., None]
        codes = grid.encode(shifted / scale[..., None]).view(weight.shape)
        inputs = None
        if self.inputs is not None:
            inputs = InputQuantizer(self.inputs, axis=channel_axis(layer))
        return packed_layer(layer, codes, grid, scale, offset=offset, input_quantizer=inputs)


class MinMaxFP(LayerwiseMethod):
    """Floating-point weights and inputs of one format, at the range of their largest magnitude.

    Parameters
    ----------
    weight_bits : int
        2 to 8. Each output channel has its own range.
    activation_bits : int, optional
        2 to 8: one range for the inputs of a layer, from calibration data. None: left alone.
    weight_format, activation_format : (int, int), optional
        Exponent and mantissa bits. Default: half of the bits for the exponent: E2M1 of 4, E3M2
        of 6, E4M3 of 8, the paper's choices.
    skip : sequence of str
        Patterns of names of layers to leave alone.

    Raises
    ------
    ValueError
        For a format that is not of so many bits.

    Notes
    -----
    O(weights) time, and one run of the calibration data.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 1, bias=False))
    >>> _ = model[0].weight.data.copy_(torch.tensor([[0.6, -0.26]]))
    >>> MinMaxFP(4, None)(model)[0].weight.dequantize()
    tensor([[ 0.6000, -0.3000]])
    """

    def __init__(
        self,
        weight_bits: int = 4,
        activation_bits: int | None = 4,
        *,
        weight_format: tuple[int, int] | None = None,
        activation_format: tuple[int, int] | None = None,
        skip: Sequence[str] = SKIP,
    ):
        super().__init__(skip=skip)
        self.weights = _float_grid(weight_bits, weight_format)
        self.inputs = (
            None if activation_bits is None else _float_grid(activation_bits, activation_format)
        )
        self.calibration = "unused" if self.inputs is None else "required"

    def observer(self, name: str, layer: nn.Module) -> Observer:
        """The range of the inputs."""
        return InputRange()

    def compress_layer(self, name: str, layer: nn.Module, seen: Any) -> nn.Module:
        """Round and pack one layer."""
        weight = weight_matrix(layer).float()
        scale = self.weights.scale_for(weight.abs().amax(1))
        codes = self.weights.encode(weight / scale[:, None])
        inputs = None
        if self.inputs is not None:
            fixed = self.inputs.scale_for(seen.largest.max().float())
            inputs = InputQuantizer(self.inputs, fixed, axis=channel_axis(layer))
        return packed_layer(layer, codes, self.weights, scale, input_quantizer=inputs)


class SmoothQuant(LayerwiseMethod):
    """Integer weights and inputs, after moving a part of the inputs' spread into the weights.

    Channel ``j`` of the input is divided by ``largest|x_j|**alpha / largest|w_j|**(1 - alpha)``,
    and the weights are multiplied by it; then both are rounded.

    Parameters
    ----------
    weight_bits, activation_bits : int
        2 to 8.
    alpha : float
        0: the spread stays with the inputs, 1: all of it goes to the weights.
    per_token : bool
        True: each token is scaled by its own largest magnitude (the paper's O1 and O2); False: one
        scale for a layer from calibration data (O3), as floating-point formats have it here.
    skip : sequence of str
        Patterns of names of layers to leave alone.

    Raises
    ------
    ValueError
        For a width outside 2 to 8, or an ``alpha`` outside 0 to 1.

    Notes
    -----
    O(weights) time, and one run of the calibration data.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 1, bias=False))
    >>> _ = model[0].weight.data.copy_(torch.tensor([[1.0, 1.0]]))
    >>> x = torch.tensor([[16.0, 1.0]])
    >>> SmoothQuant(8, 8)(model, [x])[0].input_quantizer.divide
    tensor([4., 1.])
    """

    def __init__(
        self,
        weight_bits: int = 8,
        activation_bits: int = 8,
        *,
        alpha: float = 0.5,
        per_token: bool = True,
        skip: Sequence[str] = SKIP,
    ):
        super().__init__(skip=skip)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be from 0 to 1, got {alpha}")
        IntegerGrid(weight_bits)
        self.weight_bits, self.inputs = weight_bits, IntegerGrid(activation_bits)
        self.alpha, self.per_token = alpha, per_token

    def observer(self, name: str, layer: nn.Module) -> Observer:
        """The range of each input channel."""
        return InputRange()

    def compress_layer(self, name: str, layer: nn.Module, seen: Any) -> nn.Module:
        """Move the spread of one layer's inputs, then round and pack it."""
        weight = weight_matrix(layer).float()
        groups = group_count(layer)
        inputs = channel_largest(layer, seen).float()
        # (groups, rows, channels of the group, places of the kernel)
        by_channel = weight.view(groups, len(weight) // groups, len(inputs) // groups, -1)
        weights = by_channel.abs().amax((1, 3)).view(-1)
        factor = inputs**self.alpha / weights ** (1 - self.alpha)
        # Channels that are always zero, or whose weights are, have nothing to move.
        factor = torch.where((inputs > 0) & (weights > 0), factor, 1)
        moved = (by_channel * factor.view(groups, 1, -1, 1)).reshape(weight.shape)
        grid, scale, _ = integer_range(moved, self.weight_bits, True)
        codes = grid.encode(moved / scale[:, None])
        fixed = None if self.per_token else self.inputs.scale_for((inputs / factor).max())
        quantizer = InputQuantizer(self.inputs, fixed, divide=factor, axis=channel_axis(layer))
        return packed_layer(layer, codes, grid, scale, input_quantizer=quantizer)


def _float_grid(bits: int, form: tuple[int, int] | None) -> FloatGrid:
    if not is_whole(bits, 2, MAX_BITS):
        raise ValueError(f"a floating-point grid has 2 to {MAX_BITS} bits, got {bits!r}")
    exponent, mantissa = form or (bits // 2, bits - 1 - bits // 2)
    if 1 + exponent + mantissa != bits:
        raise ValueError(f"E{exponent}M{mantissa} with its sign is not of {bits} bits")
    return FloatGrid(exponent, mantissa)

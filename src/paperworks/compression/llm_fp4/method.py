"""The method as one call on a model, and the folding of its shifts into the weights."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from paperworks.compression.grids import MAX_BITS, FloatGrid, grid_from, is_whole, positive
from paperworks.compression.inputs import InputQuantizer
from paperworks.compression.layers import SKIP, group_count, weight_matrix
from paperworks.compression.layerwise import LayerwiseMethod, Observer
from paperworks.compression.llm_fp4.search import (
    Objective,
    Space,
    by_column,
    search_both,
    search_weights,
)
from paperworks.compression.observers import InputHessian, InputRange, InputSample
from paperworks.compression.packed import PackedWeight
from paperworks.compression.packed_layers import QuantizedLayer, packed_layer
from paperworks.compression.rounding import channel_axis, channel_largest

Bits = int | Mapping[str, int]
MaybeBits = int | None | Mapping[str, int | None]


class LLMFP4(LayerwiseMethod):
    """Weights and inputs of every layer in floating point of few bits, without training.

    Each layer gets a format ExMy for its weights, with a real-valued exponent bias (a range) for
    every output channel, and one for its inputs, with a real-valued bias for the tensor and a
    whole-numbered shift of it for every channel. They are searched in turns, so that the layer's
    output on calibration data changes least.

    Better choices: at 8 bits :class:`~paperworks.compression.rounding.MinMaxFP` does as well
    without a search; for weights alone, with the inputs left as they are,
    :class:`~paperworks.compression.gptq.GPTQ` goes further, since it lets later weights make up
    for the rounding of earlier ones.

    Parameters
    ----------
    weight_bits : int or mapping of str to int
        3 to 8. A mapping gives mixed widths: the first pattern (as in :mod:`fnmatch`) that
        matches a layer's name counts, as in ``{"*.down_proj": 8, "*": 4}``.
    activation_bits : int, None or mapping of str to these
        3 to 8; 16 or None leaves the inputs as they are.
    per_channel : bool
        False leaves out the shifts: the paper's searched baseline.
    gammas : (float, float)
        The biases tried are these factors, and those between, times that of the largest
        magnitude. The authors' values.
    steps : int
        How many. The authors' value. Where none of a few lies in range, the full one is taken.
    rounds : int
        How often weights and inputs take turns. The authors' value.
    samples : int
        Rows of calibration input kept per layer, drawn evenly. The authors keep all.
    shortlist : int or None
        So many of the ranked candidates are compared by the whole error, for each row of the
        weights and of the two best formats. None: all candidates and formats, as the authors do;
        about twenty times slower for an error that is lower by a part in two hundred or less.
    skip : sequence of str
        Patterns of names of layers to leave alone.

    Raises
    ------
    ValueError
        For a width outside 3 to 8, a search space without the full range, or a layer that no
        pattern matches.

    Notes
    -----
    For a layer of ``out * fan_in`` weights and for each format and round: O(out * fan_in * steps)
    to rank, O(out * fan_in**2 * shortlist) to compare. Memory beside the model: ``samples`` rows
    of input for each layer of a block, and a few matrices of the layer's size.

    References
    ----------
    S. Liu, Z. Liu, X. Huang, P. Dong, K.-T. Cheng, "LLM-FP4: 4-Bit Floating-Point Quantized
    Transformers", EMNLP 2023, arXiv:2310.16836.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    >>> rows = torch.linspace(-1, 1, 64).view(8, 8)
    >>> model = LLMFP4(4, 4)(model, [rows])
    >>> model[0].weight.bits, model[0].input_quantizer.grid.bits
    (4, 4)
    """

    def __init__(
        self,
        weight_bits: Bits = 4,
        activation_bits: MaybeBits = 4,
        *,
        per_channel: bool = True,
        gammas: tuple[float, float] = (0.01, 1.2),
        steps: int = 100,
        rounds: int = 3,
        samples: int = 1024,
        shortlist: int | None = 4,
        skip: Sequence[str] = SKIP,
    ):
        super().__init__(skip=skip)
        self.weight_bits = _by_pattern("weight_bits", weight_bits, untouched=False)
        self.activation_bits = _by_pattern("activation_bits", activation_bits, untouched=True)
        low, high = gammas
        if not 0 < low < 1 < high:
            raise ValueError(
                f"gammas must enclose the full range, 0 < first < 1 < second, got {gammas}"
            )
        for what, count in (("steps", steps), ("rounds", rounds), ("samples", samples)):
            if not is_whole(count, 1):
                raise ValueError(f"{what} must be a whole number >= 1, got {count!r}")
        if shortlist is not None and not is_whole(shortlist, 1):
            raise ValueError(
                f"shortlist must be a whole number >= 1 or None for all, got {shortlist!r}"
            )
        self.per_channel = per_channel
        self.rounds, self.samples = rounds, samples
        self.space = Space((float(low), float(high)), steps, shortlist)

    def check(self, layers: dict[str, nn.Module]) -> None:
        """Refuse a layer that has no widths."""
        for name in layers:
            self.bits(name)

    def bits(self, name: str) -> tuple[int, int | None]:
        """The widths of the weights and of the inputs of the layer called ``name``."""
        weight = _first_match("weight_bits", self.weight_bits, name)
        assert weight is not None
        return weight, _first_match("activation_bits", self.activation_bits, name)

    def observer(self, name: str, layer: nn.Module) -> Observer:
        """The second moment of the inputs is enough where they are not rounded."""
        return InputHessian() if self.bits(name)[1] is None else _SampleAndRange(self.samples)

    def compress_layer(self, name: str, layer: nn.Module, seen: Any) -> nn.Module:
        """Search the formats and ranges of one layer, and pack it."""
        weight_bits, input_bits = self.bits(name)
        flat = weight_matrix(layer).float().cpu()  # where the search's kernels run
        weight = flat.view(group_count(layer), -1, flat.shape[1])
        quantizer = None
        if input_bits is None:
            parts = zip(weight, torch.zeros_like(weight), seen.matrix.cpu(), strict=True)
            weights = search_weights([Objective(*part) for part in parts], weight_bits, self.space)
        else:
            weights, inputs = search_both(
                weight,
                seen.sample.sample.float().cpu(),
                positive(channel_largest(layer, seen.range).double().cpu()),
                (weight_bits, input_bits),
                space=self.space,
                rounds=self.rounds,
                per_channel=self.per_channel,
            )
            scale = inputs.scale * inputs.beta if self.per_channel else inputs.scale
            quantizer = InputQuantizer(inputs.grid, scale, axis=channel_axis(layer))
        codes = weights.grid.encode(flat / weights.scale[:, None])
        packed = packed_layer(layer, codes, weights.grid, weights.scale, input_quantizer=quantizer)
        device: Any = layer.weight.device
        return packed.to(device)


class _SampleAndRange:
    """A sample of the inputs, and the largest magnitude of each column over all of them."""

    def __init__(self, size: int):
        self.sample, self.range = InputSample(size), InputRange()

    def update(self, rows: Tensor) -> None:
        self.sample.update(rows)
        self.range.update(rows)


def fold(model: nn.Module) -> nn.Module:
    """Move the shifts of the inputs into the exponents of the weights (equations 17 to 19).

    After :class:`LLMFP4` a layer's inputs have a scale per channel. Folded, all channels share one
    scale, and the weights of a channel carry the rest as a shift of their exponents: a product of
    two low-bit floating-point matrices, with one factor per output channel to apply after it. The
    layer computes the same, bit for bit.

    The shifts take more exponent bits of the weights: one where weights and inputs have equally
    many. So this is for hardware that multiplies such matrices; here a scale per channel costs
    nothing, and 4 bits are fewer than 5.

    Parameters
    ----------
    model : nn.Module
        Changed in place. Layers without shifts stay as they are.

    Returns
    -------
    nn.Module
        ``model``.

    Raises
    ------
    ValueError
        If a layer's weights would take more than 8 bits.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    >>> rows = torch.linspace(-1, 1, 64).view(8, 8) * torch.arange(1, 9)
    >>> model = LLMFP4(4, 4)(model, [rows])
    >>> before = model(rows)
    >>> torch.equal(fold(model)(rows), before)
    True
    >>> model[0].input_quantizer.scale.numel()
    1
    """
    for name, layer in model.named_modules():
        if not isinstance(layer, QuantizedLayer):
            continue
        quantizer = layer.input_quantizer
        if quantizer is None or quantizer.scale is None or quantizer.scale.dim() == 0:
            continue
        grid = grid_from(layer.weight.name, layer.weight.table)
        if not isinstance(grid, FloatGrid) or not isinstance(quantizer.grid, FloatGrid):
            continue
        shared = quantizer.scale.max()
        beta = quantizer.scale / shared
        layer.weight = _shifted(name, layer, grid, beta)
        layer.input_quantizer = InputQuantizer(
            quantizer.grid, shared, divide=beta, axis=quantizer.axis
        )
    return model


def _shifted(name: str, layer: QuantizedLayer, grid: FloatGrid, beta: Tensor) -> PackedWeight:
    """The layer's weight with every column times its ``beta``, in a format that holds it."""
    weight = layer.weight
    # The lowest exponents move down by the largest shift.
    exponent = math.ceil(math.log2(2**grid.exponent - math.log2(beta.min())))
    if 1 + exponent + grid.mantissa > MAX_BITS:
        raise ValueError(
            f"folded, the weights of {name or 'the layer'} would be E{exponent}M{grid.mantissa}, "
            f"over {MAX_BITS} bits: leave the model unfolded, or give {name} fewer bits"
        )
    wider = FloatGrid(exponent, grid.mantissa)
    levels = grid.decode(weight.unpack()).view(layer.groups, -1, weight.fan_in)
    ratio = wider.largest / grid.largest  # a power of two
    levels = levels * (by_column(beta, levels) * ratio)[:, None]
    codes = wider.encode(levels.view(-1, weight.fan_in))
    packed = PackedWeight.pack(codes, wider, weight.scale / ratio, shape=weight.shape)
    return packed.to(weight.dtype)


def _by_pattern(what: str, bits: Any, *, untouched: bool) -> dict[str, int | None]:
    table = dict(bits) if isinstance(bits, Mapping) else {"*": bits}
    if untouched:
        table = {pattern: None if width == 16 else width for pattern, width in table.items()}
    for pattern, width in table.items():
        if not (untouched and width is None) and not is_whole(width, 3, MAX_BITS):
            more = ", or 16 or None for inputs as they are" if untouched else ""
            raise ValueError(f"{what} must be 3 to {MAX_BITS}{more}, got {width!r} for {pattern!r}")
    return table


def _first_match(what: str, table: dict[str, int | None], name: str) -> int | None:
    for pattern, width in table.items():
        if fnmatch.fnmatch(name, pattern):
            return width
    raise ValueError(f"no pattern of {what} matches the layer {name!r}: add '*'")

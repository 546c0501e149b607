"""Non-uniform quantization on a power law, with data and without.

Yvinec, Dapogny, Bailly, *NUPES: Non-Uniform Post-Training Quantization via Power Exponent Search*,
arXiv:2308.05600, and the data-free method it grew from: Yvinec, Dapogny, Cord, Bailly, *PowerQuant:
Automorphism Search for Non-Uniform Quantization*, arXiv:2301.09858. There is no public code of
either.

:mod:`.grid` has the levels, :mod:`.search` the exponent without data, :mod:`.learning` the exponent
and the weights with data, :mod:`.integer` the arithmetic on integers alone. What departs:

- The papers' exponent is one for the model. Here it is by default one for each layer: nothing in
  inference asks for more. ``exponent="model"`` is the papers' way.
- The scale of a channel may clip its largest weights, by default. The papers' is their largest
  magnitude: ``clip=False``.
- The data-driven part follows the abstract: weights learned over all levels, the exponent learned
  with them. How positions are relaxed and what keeps the gradients sane is this project's own work
  (see :mod:`.learning`). The calibration data enter as AdaRound's do here, as one quadratic form a
  layer.
- Inputs are rounded with a scale of their own for each token, and signed, also after a ReLU. The
  papers' scale is fixed beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from paperworks.compression.inputs import InputQuantizer
from paperworks.compression.layers import SKIP, weight_matrix
from paperworks.compression.layerwise import LayerwiseMethod
from paperworks.compression.nupes.grid import (
    check_bits,
    power_grid,
    power_levels,
    sign_magnitude,
    top_of,
)
from paperworks.compression.nupes.learning import learn_codes
from paperworks.compression.nupes.search import search_exponent
from paperworks.compression.observers import InputHessian
from paperworks.compression.packed_layers import packed_layer
from paperworks.compression.rounding import channel_axis
from paperworks.compression.row_scales import (
    check_settings,
    clipped_scale,
    largest,
    scale_rows,
    spread,
)


class NUPES(LayerwiseMethod):
    """Weights of few bits whose levels follow a power law; the exponent is found, not given.

    A weight is ``scale * sign(k) * |k / top|**(1 / a)`` with an integer ``k`` of ``weight_bits``
    bits. Without calibration data, ``a`` is the exponent whose levels lie nearest to the weights,
    and each weight takes the nearest. With calibration data, ``a`` and all ``k`` are then learned
    by gradient for the least ``mean |x @ (Q - W).T|**2`` of each layer, where a weight may end on
    any level and not only on one of the two around it.

    Take GPTQ for large layers (it needs no steps), and a floating-point format where the hardware
    has one. On a CPU a packed power weight is as fast as any other 4-bit table.

    Parameters
    ----------
    weight_bits : int
        2 to 8.
    activation_bits : int, optional
        2 to 8: inputs are rounded to a power grid of the layer's exponent, with a scale for each
        token. None leaves them as they are.
    group : int, optional
        Columns that share a scale, a multiple of 64. Default: one scale per output channel.
    exponent : "layer", "model" or float
        What one exponent is searched for; a number is taken as it is. The papers have "model". A
        layer's own costs nothing more and fits its weights better.
    clip : bool
        Whether a scale may be below the largest magnitude, where that lowers the weights' error.
        The papers have False; at 3 and 4 bits True lowers the error by a fifth to a third.
    steps : int
        Of Adam, with calibration data, on the whole of them each.
    lr : float
        In units of the distance between two integers.
    exponent_lr : float
        Of the exponent's logarithm, much smaller; 0 holds the exponent.
    skip : sequence of str
        Patterns of names of layers to leave alone.

    Raises
    ------
    ValueError
        For a bit width outside 2 to 8, or a setting that makes no sense; when called, as
        :class:`LayerwiseMethod`.

    Notes
    -----
    Without data O(weights), in three to thirty passes over them; with data
    O(steps * out * fan_in**2) a layer, and fan_in**2 numbers beside it.

    References
    ----------
    Yvinec et al. 2023, arXiv:2308.05600 and arXiv:2301.09858.

    Examples
    --------
    >>> import torch
    >>> model = NUPES(weight_bits=4)(nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2)))
    >>> model[0].weight.bits
    4
    >>> model = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> model = NUPES(weight_bits=3, steps=20)(model, [torch.randn(100, 64)])
    >>> model(torch.ones(1, 64)).shape
    torch.Size([1, 2])
    """

    calibration = "optional"

    def __init__(
        self,
        weight_bits: int = 4,
        activation_bits: int | None = None,
        *,
        group: int | None = None,
        exponent: Literal["layer", "model"] | float = "layer",
        clip: bool = True,
        steps: int = 200,
        lr: float = 0.03,
        exponent_lr: float = 1e-3,
        skip: Sequence[str] = SKIP,
    ):
        super().__init__(skip=skip)
        check_bits(weight_bits)
        if activation_bits is not None:
            check_bits(activation_bits)
        check_settings(steps, lr)
        if not exponent_lr >= 0:
            raise ValueError(f"exponent_lr must be >= 0, got {exponent_lr}")
        if isinstance(exponent, str) and exponent not in ("layer", "model"):
            raise ValueError(f"exponent must be 'layer', 'model' or a number, got {exponent!r}")
        if not isinstance(exponent, str) and not exponent > 0:
            raise ValueError(f"exponent must be > 0, got {exponent}")
        self.weight_bits = weight_bits
        self.activation_bits = activation_bits
        self.group = group
        self.exponent = exponent
        self.clip = clip
        self.steps = steps
        self.lr = lr
        self.exponent_lr = exponent_lr
        self._fixed: float | None = None

    def prepare(self, model: nn.Module, layers: dict[str, nn.Module], batches: list[Any]) -> None:
        """Search the exponent of the model, where it is to be one."""
        self._fixed = None if isinstance(self.exponent, str) else float(self.exponent)
        if self.exponent == "model":
            rows = [scale_rows(name, layer, self.group) for name, layer in layers.items()]
            self._fixed = search_exponent(rows, top_of(self.weight_bits), clip=self.clip)

    def observer(self, name: str, layer: nn.Module) -> InputHessian:
        """Gather the mean outer product of the layer's inputs."""
        return InputHessian()

    def compress_layer(self, name: str, layer: nn.Module, seen: InputHessian | None) -> nn.Module:
        """The layer on a packed weight with levels on a power law."""
        weight, top = weight_matrix(layer).float(), top_of(self.weight_bits)
        rows = scale_rows(name, layer, self.group)
        exponent = self._fixed or search_exponent([rows], top, clip=self.clip)
        levels = power_levels(exponent, top).float()
        scale = clipped_scale(rows, levels) if self.clip else largest(rows)
        scale = scale.view(weight.shape[0], -1)
        if seen is None:
            grid = power_grid(self.weight_bits, exponent)
            codes = grid.encode(weight / spread(scale, weight))
        else:
            numbers, exponent = learn_codes(
                weight,
                seen.matrix,
                spread(scale, weight),
                exponent,
                top,
                steps=self.steps,
                lr=self.lr,
                exponent_lr=self.exponent_lr,
            )
            grid = power_grid(self.weight_bits, exponent)
            codes = sign_magnitude(numbers, self.weight_bits)
        inputs = None
        if self.activation_bits is not None:
            inputs = InputQuantizer(
                power_grid(self.activation_bits, exponent), axis=channel_axis(layer)
            )
        return packed_layer(layer, codes, grid, scale, input_quantizer=inputs)

"""GPTQ: round one column after the other, and let the columns after it make up for the error.

E. Frantar, S. Ashkboos, T. Hoefler, D. Alistarh, "GPTQ: Accurate Post-Training Quantization for
Generative Pre-trained Transformers", ICLR 2023, arXiv:2210.17323, algorithm 1: columns in their own
order, the inverse Hessian from a Cholesky factor, updates in blocks.

Departures: a weight that is exactly zero stays zero (so that a pruned model stays pruned; its error
is made up for like any other), and every output channel of a grouped convolution has the Hessian of
its own group. The columns' order by their Hessian ("act-order" in the authors' code, not in the
paper) is left out: it needs a permutation of the inputs at run time where scales are grouped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from paperworks.compression.grids import IntegerGrid, is_whole
from paperworks.compression.hessian import inverse_cholesky
from paperworks.compression.layers import SKIP, column_groups, group_count, weight_matrix
from paperworks.compression.layerwise import LayerwiseMethod, Observer
from paperworks.compression.observers import InputHessian
from paperworks.compression.packed_layers import packed_layer
from paperworks.compression.rounding import integer_range


class GPTQ(LayerwiseMethod):
    """Integer weights by rounding with error feedback; the inputs stay as they are.

    Minimises ``|X w^ - X w|^2`` for each row ``w`` of the weights over the calibration inputs
    ``X``, greedily: a column is rounded, and the columns after it move to where the error is then
    the least.

    Parameters
    ----------
    weight_bits : int
        2 to 8.
    group : int, optional
        Neighbouring columns that share a scale, a multiple of 64; each scale is set when its group
        is reached. Default: one scale for an output channel.
    symmetric : bool
        False: a range from the lowest to the highest weight, which needs an offset for each scale.
    damping : float
        Part of the mean of the Hessian's diagonal that is added to it; the paper's value.
    block : int
        Columns that are finished before the rest is updated; of no effect on the result but by
        rounding. The paper's value.
    skip : sequence of str
        Patterns of names of layers to leave alone.

    Raises
    ------
    ValueError
        For a width outside 2 to 8, a group that does not divide a layer's columns, or a Hessian
        that damping does not make positive definite.

    Notes
    -----
    O(out * fan_in**2 + fan_in**3) a layer, O(fan_in**2) memory.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 1, bias=False))
    >>> _ = model[0].weight.data.copy_(torch.tensor([[7.0, 2.4]]))
    >>> x = torch.tensor([[1.0, 1.0], [1.0, 0.9]])
    >>> GPTQ(4)(model, [x])[0].weight.dequantize()
    tensor([[7., 2.]])
    """

    def __init__(
        self,
        weight_bits: int = 4,
        *,
        group: int | None = None,
        symmetric: bool = True,
        damping: float = 0.01,
        block: int = 128,
        skip: Sequence[str] = SKIP,
    ):
        super().__init__(skip=skip)
        IntegerGrid(weight_bits)
        if not damping >= 0:
            raise ValueError(f"damping must be >= 0, got {damping}")
        if not is_whole(block, 1):
            raise ValueError(f"block must be a whole number >= 1, got {block!r}")
        self.weight_bits, self.group, self.symmetric = weight_bits, group, symmetric
        self.damping, self.block = damping, block

    def observer(self, name: str, layer: nn.Module) -> Observer:
        """The second moment of the inputs."""
        return InputHessian()

    def compress_layer(self, name: str, layer: nn.Module, seen: Any) -> nn.Module:
        """Round and pack one layer."""
        weight = weight_matrix(layer)
        size = weight.shape[1] // column_groups(name, weight, self.group)
        factor = inverse_cholesky(seen.matrix, self.damping, name=name)
        split = weight.float().reshape(group_count(layer), -1, weight.shape[1])
        grid, codes, scale, offset = self._round(split, factor, size)
        return packed_layer(
            layer,
            codes.view(weight.shape),
            grid,
            scale.view(len(weight), -1),
            offset=None if offset is None else offset.view(len(weight), -1),
        )

    def _round(
        self, weight: Tensor, factor: Tensor, size: int
    ) -> tuple[IntegerGrid, Tensor, Tensor, Tensor | None]:
        """Codes of (groups, rows, columns), with a scale for every ``size`` columns of a row."""
        columns = weight.shape[2]
        kept = weight != 0
        weight = weight.clone()
        codes = torch.empty(weight.shape, dtype=torch.uint8, device=weight.device)
        scales, offsets = [], []
        for first in range(0, columns, self.block):
            last = min(first + self.block, columns)
            block = weight[:, :, first:last]
            errors = torch.empty_like(block)
            for i in range(first, last):
                if i % size == 0:
                    # Columns beyond the block do not know this block's errors yet.
                    if last < i + size:
                        ahead = errors[:, :, : i - first] @ factor[:, first:i, last : i + size]
                        reach = torch.cat(
                            [weight[:, :, i:last], weight[:, :, last : i + size] - ahead], 2
                        )
                    else:
                        reach = weight[:, :, i : i + size]
                    grid, scale, offset = integer_range(reach, self.weight_bits, self.symmetric)
                    scales.append(scale)
                    offsets.append(offset)
                zero = torch.zeros_like(scale) if offset is None else offset
                column = weight[:, :, i]
                wanted = torch.where(kept[:, :, i], column, 0)
                codes[:, :, i] = grid.encode((wanted - zero) / scale)
                rounded = grid.decode(codes[:, :, i]) * scale + zero
                errors[:, :, i - first] = (column - rounded) / factor[:, i, i, None]
                block[:, :, i - first :] -= (
                    errors[:, :, i - first, None] * factor[:, None, i, i:last]
                )
            weight[:, :, last:] -= errors @ factor[:, first:last, last:]
        found = None if self.symmetric else torch.stack(offsets, -1)  # type: ignore[arg-type]
        return grid, codes, torch.stack(scales, -1), found

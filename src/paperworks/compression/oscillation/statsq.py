"""Statistical weight quantization (StatsQ): the scale is a statistic of the weights, not learned.

Of the paper's three techniques the first; see :mod:`paperworks.compression.oscillation`. For a row
``w`` of a weight (an output channel), with ``n = 2**(bits-1)``::

    alpha = 2 * mean|w|
    k     = clip(floor(w * n / alpha), -n, n - 1)
    w_q   = alpha * (k + 1/2) / n
    gradient of w = gradient of w_q          (alpha counts as a constant)

Departures: the authors write the same ``k`` as ``round(w * n / alpha - 1/2)``, which on a threshold
goes to the even neighbour and here goes up. A row of zeros stays zero; there it divides by zero.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from paperworks.compression.grids import positive
from paperworks.compression.lsq import FakeQuantizer, check_bits


class StatsQuantizer(FakeQuantizer):
    """A fake quantizer for weights whose scale follows their mean absolute value.

    A learned scale moves all thresholds of a row at every step of the optimizer, and carries
    weights across them; this one moves only as far as the mean of the row does. The grid has the
    ``2**bits`` levels of half-integers, so zero is no level: use
    :class:`~paperworks.compression.lsq.LSQuantizer` for pruned weights.

    Parameters
    ----------
    bits : int
        2 to 8; the paper has 2, 3 and 4.

    Attributes
    ----------
    boundary : float or None
        While confidence-guided annealing runs, its boundary range: entries farther than that from
        a threshold get no gradient.

    Notes
    -----
    Three passes over the weight forward and none backward; keeps no tensor for the backward pass.

    Examples
    --------
    >>> import torch
    >>> weight = torch.tensor([[-0.9, 0.2, 0.6, -0.1]])
    >>> quantizer = StatsQuantizer(2)
    >>> quantizer(weight)  # alpha = 0.9: levels at -0.675, -0.225, 0.225, 0.675
    tensor([[-0.6750,  0.2250,  0.6750, -0.2250]])
    >>> quantizer.codes(weight)
    tensor([[-2.,  0.,  1., -1.]])
    """

    offset = 0.5

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = check_bits(bits)
        self.high = 2 ** (bits - 1) - 1
        self.low = -self.high - 1
        self.boundary: float | None = None

    def forward(self, weight: Tensor) -> Tensor:
        """``weight`` on its grid, of its shape (at least two axes) and dtype."""
        if self.boundary is not None:
            near = self.threshold_distance(weight) <= self.boundary
            weight = torch.where(near, weight, weight.detach())
        return _StatsQ.apply(weight, self)

    @torch.no_grad()
    def scale(self, x: Tensor) -> Tensor:
        """``alpha / n`` of each row: ``(rows, 1, ...)``."""
        return 2 / -self.low * x.abs().mean(dim=tuple(range(1, x.dim())), keepdim=True)

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:  # noqa: D102
        return (x / positive(self.scale(x))).floor_().clamp_(self.low, self.high)


class _StatsQ(torch.autograd.Function):
    """The straight-through estimator: the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, quantizer: StatsQuantizer) -> Tensor:
        scale = quantizer.scale(weight)
        codes = (weight / positive(scale)).floor_().clamp_(quantizer.low, quantizer.high)
        return codes.add_(quantizer.offset).mul_(scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None

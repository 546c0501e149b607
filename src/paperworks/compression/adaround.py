"""AdaRound: round each weight up or down, whichever serves the layer's output.

Nagel et al., *Up or Down? Adaptive Rounding for Post-Training Quantization*, arXiv:2004.10568.
A weight is ``scale * (floor(w / scale) + h)`` with the rectified sigmoid ``h`` of a free variable
(equation 23), and what is minimised is the error of the layer's output plus a penalty that drives
``h`` to 0 or 1 (equation 24), annealed from a flat to a sharp shape.

What differs from the paper, in this module and for what is built on it:

- A layer is linear, so its squared output error is a quadratic form in the weights' error, with the
  mean outer product of its inputs as matrix. That matrix is gathered once and every step takes the
  whole calibration set; the paper draws 32 images a step for 10,000 steps. So a few hundred steps
  do, and there is nothing to draw at random.
- At the start the relaxed weights are the real ones and the output error is zero, so that the
  paper's warm start, 20 % of the steps without the penalty, would do nothing here. It is left out.
- The output error of a row is counted in units of what rounding to nearest costs it. One strength
  of the penalty then fits layers whose outputs are a thousand times apart.
- The penalty's exponent falls from 8 to 2, the paper's from 20, and its strength rises from 0. With
  hundreds of steps in place of thousands that leaves less error, for AdaRound and for NUPES alike.
  Both were set on random layers with correlated inputs, not on the data of a claim.
- The activation function after the layer is not part of the error.
- A row whose learned rounding is no better than rounding to nearest keeps the latter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from paperworks.compression.grids import IntegerGrid
from paperworks.compression.layers import SKIP, weight_matrix
from paperworks.compression.layerwise import LayerwiseMethod
from paperworks.compression.observers import InputHessian
from paperworks.compression.packed_layers import packed_layer
from paperworks.compression.row_scales import (
    check_settings,
    clipped_scale,
    penalty_slope,
    row_errors,
    row_weights,
    scale_rows,
    spread,
    times,
)

_LOW, _HIGH = -0.1, 1.1  # where the sigmoid is cut, the paper's


def learn_rounding(
    weight: Tensor, hessian: Tensor, scale: Tensor, top: int, *, steps: int, lr: float
) -> Tensor:
    """Integers for the weights, each next to ``weight / scale``, that serve the output.

    Parameters
    ----------
    weight : (out, fan_in) float32
        Exact zeros stay zero.
    hessian : (groups, fan_in, fan_in) float32
        Mean outer product of the inputs.
    scale : (out, fan_in) float32
    top : int
        The integers are -top to top.
    steps : int
    lr : float

    Returns
    -------
    (out, fan_in) float32

    Notes
    -----
    O(steps * out * fan_in**2).
    """
    target = weight / scale
    start = target.round().clamp_(-top, top)
    below = target.floor().clamp_(-top, top)
    share = ((target - below).clamp_(0, 1) - _LOW) / (_HIGH - _LOW)
    free = torch.logit(share).requires_grad_()
    unit = row_weights(start * scale - weight, hessian)
    optimizer = torch.optim.Adam([free], lr, fused=True)
    for step in range(steps):
        sigmoid = torch.sigmoid(free.detach())
        part = (sigmoid * (_HIGH - _LOW) + _LOW).clamp_(0, 1)
        relaxed = (below + part).clamp_(-top, top)
        slope = times(relaxed * scale - weight, hessian) * (2 * unit) * scale
        slope += penalty_slope(part, step, steps)
        inside = (part > 0) & (part < 1)
        free.grad = slope * sigmoid * (1 - sigmoid) * (_HIGH - _LOW) * inside
        optimizer.step()
    learned = (below + (free.detach() >= 0)).clamp_(-top, top)
    learned[weight == 0] = 0
    better = row_errors(learned * scale - weight, hessian) < row_errors(
        start * scale - weight, hessian
    )
    return torch.where(better, learned, start)


class AdaRound(LayerwiseMethod):
    """Integer weights of few bits, rounded up or down by what serves the layer's output.

    For each layer, with the calibration inputs ``x``: minimise ``mean |x @ (Q - W).T|**2`` over
    ``Q = scale * n`` where each integer ``n`` is the one below or the one above ``w / scale``.
    :class:`NUPES` starts from it, with levels that are not equidistant and weights that may end
    on any of them. GPTQ solves the same problem by error feedback: faster, for large layers.

    Parameters
    ----------
    weight_bits : int
        2 to 8.
    group : int, optional
        Columns that share a scale, a multiple of 64. Default: one scale per output channel.
    steps : int
        Of Adam, on the whole calibration set each. The paper's 10,000 are on 32 images each.
    lr : float
    skip : sequence of str
        Patterns of names of layers to leave alone.

    Raises
    ------
    ValueError
        For a bit width outside 2 to 8; when called, as :class:`LayerwiseMethod`.

    Notes
    -----
    The scale of a channel is the one of least squared error, as in the paper's experiments. Cost:
    O(steps * out * fan_in**2) a layer, and fan_in**2 numbers beside it.

    References
    ----------
    Nagel et al. 2020, arXiv:2004.10568.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> model = AdaRound(weight_bits=4, steps=20)(model, [torch.randn(32, 8)])
    >>> model[0].weight.bits
    4
    """

    def __init__(
        self,
        weight_bits: int = 4,
        *,
        group: int | None = None,
        steps: int = 200,
        lr: float = 0.1,
        skip: Sequence[str] = SKIP,
    ):
        super().__init__(skip=skip)
        check_settings(steps, lr)
        self.grid = IntegerGrid(weight_bits)
        self.group = group
        self.steps = steps
        self.lr = lr

    def observer(self, name: str, layer: nn.Module) -> InputHessian:
        """Gather the mean outer product of the layer's inputs."""
        return InputHessian()

    def compress_layer(self, name: str, layer: nn.Module, seen: InputHessian) -> nn.Module:
        """The layer on packed integers."""
        weight = weight_matrix(layer).float()
        rows = scale_rows(name, layer, self.group)
        levels = torch.arange(self.grid.top + 1, dtype=torch.float32)
        scale = clipped_scale(rows, levels).view(weight.shape[0], -1)
        codes = learn_rounding(
            weight,
            seen.matrix,
            spread(scale, weight),
            self.grid.top,
            steps=self.steps,
            lr=self.lr,
        )
        return packed_layer(layer, self.grid.encode(codes), self.grid, scale)

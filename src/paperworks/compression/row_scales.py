"""What methods with a scale for each row, and those that learn their codes, share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paperworks.compression.grids import is_whole, positive
from paperworks.compression.layers import column_groups, weight_matrix

PENALTY = 60.0
"""Strength of the penalty at the end, for both methods here."""
SHARP, FLAT = 2.0, 8.0  # the penalty's exponent at the end and at the start
_RATIOS = [1 - 0.05 * k for k in range(13)]


def largest(weight: Tensor) -> Tensor:
    """(rows, 1): the largest magnitude of each row, and 1 where all are zero."""
    return positive(weight.abs().amax(1, keepdim=True))


def clipped_scale(weight: Tensor, levels: Tensor) -> Tensor:
    """The scale of each row that rounds it with the least squared error.

    Parameters
    ----------
    weight : (rows, columns) float
    levels : (n,) float
        Magnitudes from 0 up that a weight is rounded to, before scaling.

    Returns
    -------
    (rows, 1) float
        The largest magnitude of the row over the largest level, or down to 0.4 of that.

    Notes
    -----
    Thirteen roundings of the whole weight.
    """
    full = largest(weight) / levels[-1]
    errors = [
        (levels[nearest(weight.abs() / (full * ratio), levels)] * (full * ratio) - weight.abs())
        .square_()
        .sum(1)
        for ratio in _RATIOS
    ]
    best = torch.stack(errors).argmin(0)
    return full * full.new_tensor(_RATIOS)[best][:, None]


def nearest(size: Tensor, levels: Tensor) -> Tensor:
    """Which of ``levels`` (from 0 up) is nearest to each of ``size``: int64."""
    return torch.bucketize(size, (levels[1:] + levels[:-1]) / 2)


def scale_rows(name: str, layer: nn.Module, group: int | None) -> Tensor:
    """The weights of a layer, float32, one row for each scale."""
    weight = weight_matrix(layer).float()
    return weight.reshape(len(weight) * column_groups(name, weight, group), -1)


def spread(scale: Tensor, weight: Tensor) -> Tensor:
    """The scales (out, groups) as (out, fan_in), one for each weight."""
    return scale.repeat_interleave(weight.shape[1] // scale.shape[1], 1)


def times(delta: Tensor, hessian: Tensor) -> Tensor:
    """``delta @ hessian`` for (out, fan_in), group by group where there are several."""
    groups, fan_in, _ = hessian.shape
    return (delta.view(groups, -1, fan_in) @ hessian).view(delta.shape)


def row_errors(delta: Tensor, hessian: Tensor) -> Tensor:
    """(out, 1): mean squared error of each output, ``delta`` being the weights' error."""
    return (times(delta, hessian) * delta).sum(1, keepdim=True).clamp_(min=0)


def row_weights(delta: Tensor, hessian: Tensor) -> Tensor:
    """(out, 1): what makes the error of ``delta`` count 1 a weight in each row; 0 where none."""
    errors = row_errors(delta, hessian)
    return torch.where(errors > 0, delta.shape[1] / errors, 0.0)


def penalty_slope(part: Tensor, step: int, steps: int) -> Tensor:
    """The derivative of ``strength * (1 - abs(2 part - 1)**beta)``, both as of this step."""
    beta = FLAT + (SHARP - FLAT) * step / steps
    strength = PENALTY * step / steps
    centred = 2 * part - 1
    return centred.sign() * centred.abs().pow_(beta - 1) * (-2 * beta * strength)


def check_settings(steps: int, lr: float) -> None:
    """Raise where a number of steps or a step size makes no sense."""
    if not is_whole(steps, 1):
        raise ValueError(f"steps must be a whole number >= 1, got {steps!r}")
    if not lr > 0:
        raise ValueError(f"lr must be > 0, got {lr}")

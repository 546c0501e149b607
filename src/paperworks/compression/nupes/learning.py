"""Learn where on the grid each weight goes, and the grid's exponent with it.

AdaRound's relaxation knows two levels for each weight. Here a weight has a position ``v`` among
all the integers -top .. top, starts where the weight itself is, and may end on any of them. Half
of the steps are on a relaxation, the other half on the grid itself:

1. A weight stands for the level at ``v``, read linearly between neighbours:
   ``scale * sign(v) * ((1 - part) * level[cell] + part * level[cell + 1])``. AdaRound's penalty,
   repeated in every cell, rises until all positions are integers. The exponent is learned with
   them.
2. A weight stands for the level nearest to ``v``, and the slope of the line between levels is
   taken for that of the step (the straight-through estimate). No penalty holds a weight in its
   cell, so that weights whose inputs are alike can share an error out over several levels. Such
   steps are not monotone: of each row, the best codes on the way are kept.

What makes the exponent learnable. Taken by its letter, the operator ``|w|**a`` has a slope in
``w`` that is infinite at 0 for a < 1; reading back has one that is zero there, so that a weight at
level 0 would never leave it; and both have ``0 * log(0)`` as slope in ``a``. Between levels, a
linear function stands in for the power: its slope is the distance of two levels, bounded and never
zero. The exponent acts through the levels alone, of which 0 does not depend on it, so that no
logarithm of a small number is taken. Its logarithm is what is learned, so that it stays positive;
it starts from the data-free search, is held within ``BOUNDS``, and has a step size of its own.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from paperworks.compression.nupes.grid import BOUNDS, power_levels
from paperworks.compression.row_scales import nearest, penalty_slope, row_errors, row_weights, times

_WIDER = 3.0  # the first steps on the grid itself, in those of the relaxation


def position_of(size: Tensor, levels: Tensor) -> Tensor:
    """Where magnitudes lie among the levels: ``k`` at level k, linear in between.

    size: (...) float, clipped to the largest level; levels: (top + 1,) rising from 0.
    """
    size = size.clamp(max=float(levels[-1]))
    cell = (torch.bucketize(size, levels, right=True) - 1).clamp_(0, len(levels) - 2)
    return cell + (size - levels[cell]) / (levels[cell + 1] - levels[cell])


def slopes(
    position: Tensor, log_exponent: float, weight: Tensor, hessian: Tensor, scale: Tensor, top: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The slopes of each row's output error in the position of each weight and in log(exponent).

    Parameters
    ----------
    position, weight, scale : (out, fan_in) float32
    log_exponent : float
    hessian : (groups, fan_in, fan_in) float32
    top : int

    Returns
    -------
    by_position : (out, fan_in) float32
    by_exponent : (out, 1) float32
    part : (out, fan_in) float32
        How far each position is from the integer towards zero, 0 to 1.
    """
    levels = power_levels(math.exp(log_exponent), top)
    # d level / d log(exponent) = -level * log(level), which is 0 at level 0.
    change = (-torch.special.xlogy(levels, levels)).float()
    levels = levels.float()
    size, sign = position.abs(), position.sign()
    cell = size.floor().clamp_(max=top - 1)
    part = size - cell
    index = cell.int()
    gap = levels.diff()[index]
    value = torch.addcmul(levels[index], part, gap)
    pull = times(sign * scale * value - weight, hessian) * scale * 2
    turned = torch.addcmul(change[index], part, change.diff()[index])
    return pull * gap, (pull * sign * turned).sum(1, keepdim=True), part


def learn_codes(
    weight: Tensor,
    hessian: Tensor,
    scale: Tensor,
    exponent: float,
    top: int,
    *,
    steps: int,
    lr: float,
    exponent_lr: float,
) -> tuple[Tensor, float]:
    """Integers for the weights and an exponent, for the least error of the layer's output.

    Parameters
    ----------
    weight : (out, fan_in) float32
        Exact zeros stay zero.
    hessian : (groups, fan_in, fan_in) float32
        Mean outer product of the inputs.
    scale : (out, fan_in) float32
        What the level 1 stands for.
    exponent : float
        To start from.
    top : int
        The integers are -top to top.
    steps : int
    lr : float
        Of the relaxation, in units of the distance between two integers.
    exponent_lr : float
        Of the exponent's logarithm; 0 holds it.

    Returns
    -------
    (out, fan_in) float32, float
        Never worse in output error than the nearest levels at the exponent given.

    Notes
    -----
    O(steps * out * fan_in**2), as AdaRound.
    """
    size, sign = weight.abs() / scale, weight.sign()
    before = power_levels(exponent, top).float()
    start = nearest(size, before) * sign
    first = row_errors(_error(start, before, scale, weight), hessian)
    unit = row_weights(_error(start, before, scale, weight), hessian)
    free = (weight != 0) * unit  # a pruned weight does not move
    relaxed = steps - steps // 2
    position = position_of(size, before) * sign
    position, learned = _relax(
        position, exponent, weight, hessian, scale, free, top, relaxed, lr, exponent_lr
    )
    levels = power_levels(learned, top).float()
    plain, found = nearest(size, levels) * sign, position.round()
    codes, errors = _better(plain, found, levels, scale, weight, hessian)
    codes, errors = _walk(codes, errors, weight, hessian, scale, free, levels, steps // 2, lr)
    if errors.sum() > first.sum():
        return start, exponent
    return codes, learned


def _relax(
    start: Tensor,
    exponent: float,
    weight: Tensor,
    hessian: Tensor,
    scale: Tensor,
    free: Tensor,
    top: int,
    steps: int,
    lr: float,
    exponent_lr: float,
) -> tuple[Tensor, float]:
    """Positions and exponent after the first half; ``free``: (out, fan_in), a row's unit or 0."""
    position, log_exponent = start.requires_grad_(), torch.tensor(math.log(exponent))
    log_exponent.requires_grad_()
    groups: list[dict[str, Any]] = [
        {"params": [position]},
        {"params": [log_exponent], "lr": exponent_lr},
    ]
    optimizer = torch.optim.Adam(groups, lr, fused=True)
    now, log_now = position.detach(), log_exponent.detach()
    moves = free > 0
    low, high = min(BOUNDS[0], exponent), max(BOUNDS[1], exponent)  # a given one may lie outside
    for step in range(steps):
        by_position, by_exponent, part = slopes(now, float(log_now), weight, hessian, scale, top)
        penalty = penalty_slope(part, step, steps) * now.sign() * moves
        position.grad = by_position.mul_(free).add_(penalty)
        log_exponent.grad = (by_exponent * free.amax(1, keepdim=True)).sum()
        optimizer.step()
        now.clamp_(-top, top)
        log_now.clamp_(math.log(low), math.log(high))
    return now, float(log_now.exp())


def _walk(
    codes: Tensor,
    errors: Tensor,
    weight: Tensor,
    hessian: Tensor,
    scale: Tensor,
    free: Tensor,
    levels: Tensor,
    steps: int,
    lr: float,
) -> tuple[Tensor, Tensor]:
    """The best codes of each row on the way of the second half, and their errors."""
    top = len(levels) - 1
    gaps = levels.diff()
    position = codes.clone().requires_grad_()
    optimizer = torch.optim.Adam([position], lr, fused=True)
    now = position.detach()
    for step in range(steps):
        # Wide enough at first to cross a cell in a dozen steps, and then ever finer.
        optimizer.param_groups[0]["lr"] = _WIDER * lr * (1 - step / steps)
        hard = now.round()
        delta = _error(hard, levels, scale, weight)
        pull = times(delta, hessian)
        found = (pull * delta).sum(1, keepdim=True)
        better = found < errors
        codes, errors = torch.where(better, hard, codes), torch.where(better, found, errors)
        cell = now.abs().clamp_(max=top - 1).int()
        position.grad = pull.mul_(scale).mul_(free).mul_(gaps[cell])
        optimizer.step()
        now.clamp_(-top, top)
    return codes, errors


def _better(
    one: Tensor, other: Tensor, levels: Tensor, scale: Tensor, weight: Tensor, hessian: Tensor
) -> tuple[Tensor, Tensor]:
    """Of each row, the codes with the smaller error, and that error."""
    errors = [row_errors(_error(each, levels, scale, weight), hessian) for each in (one, other)]
    return torch.where(errors[1] < errors[0], other, one), torch.minimum(*errors)


def _error(codes: Tensor, levels: Tensor, scale: Tensor, weight: Tensor) -> Tensor:
    return codes.sign() * levels[codes.abs().int()] * scale - weight

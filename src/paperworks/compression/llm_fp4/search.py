"""The search of LLM-FP4: format and range of a layer's weights and of its inputs, in turns.

A range is given by the real-valued exponent bias of the paper's equation 7: a level of ``grid``
then stands for ``2**(grid.bias - bias)`` times itself. Both halves of the search are one problem:
round the rows of a matrix, and find the biases whose rounding errors ``e`` make the least error
of the layer's output. That error is quadratic. For a row ``w`` of the weights, with inputs ``X``
that are rounded to ``X^``, and for an input ``x``, with weights ``W`` that are rounded to ``W^``::

    |X^ w^ - X w|^2 = e (X^' X^) e' + 2 e X^' (X^ - X) w' + a constant
    |W^ x^ - W x|^2 = e (W^' W^) e' + 2 e W^' (W^ - W) x' + a constant

So a candidate costs a product with a (columns, columns) matrix, whatever the number of calibration
rows. Nearly all of that is spared: all candidates are first ranked by the largest eigenvectors of
that matrix together with the diagonal of what is left of it, which takes one pass over ``e``, and
only the first few are compared by the whole matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from paperworks.compression.grids import FloatGrid, float_grids, positive
from paperworks.compression.llm_fp4.kernels import errors, round_rows
from paperworks.compression.row_scales import spread

RANK = 8  # eigenvectors in the ranking; more of them change the result by less than 1 %
FORMATS = 2  # formats that are compared by the whole error


def formats(bits: int) -> list[FloatGrid]:
    """The formats to choose from: all with an exponent; of 8 bits those with 2 mantissa bits.

    As in the authors' code. The other two of 8 bits span over 60 binades, which nothing here does.
    """
    return [grid for grid in float_grids(bits) if bits < 8 or grid.mantissa >= 2]


def exponent_bias(grid: FloatGrid, largest: Tensor) -> Tensor:
    """The real-valued bias at which the largest level is ``largest`` (equations 7 and 14)."""
    return 2**grid.exponent - torch.log2(largest) + math.log2(2 - 2.0**-grid.mantissa) - 1


def scale_of(grid: FloatGrid, bias: Tensor) -> Tensor:
    """What a level of ``grid`` is multiplied by at that bias, float32."""
    return torch.exp2(grid.bias - bias).float()


@dataclass(frozen=True)
class Space:
    """What is tried: biases of ``gamma`` times that of the full range, with evenly spaced gammas.

    ``shortlist`` of them are compared by the whole error; None: all, and of all formats.
    """

    gammas: tuple[float, float]
    steps: int
    shortlist: int | None

    def biases(self, full: Tensor) -> Tensor:
        """The biases to try, (rows, steps), for those of the full range, (rows,).

        Where the range is over twice the full one, the format's highest binade is empty and its
        other levels are some of those at half that range: no number has a nearer level there.
        Such a bias is left out; it is -inf. A row that would have none left, as with few steps,
        tries its full range.
        """
        low, high = self.gammas
        gamma = low + (high - low) / self.steps * torch.arange(self.steps, dtype=full.dtype)
        tried = full[:, None] * gamma
        beyond = tried < full[:, None] - 1
        tried = tried.masked_fill(beyond, -math.inf)
        return torch.where(beyond.all(1, keepdim=True), full[:, None], tried)


@dataclass(frozen=True)
class Objective:
    """The error of the output when ``z`` is rounded, but for a constant.

    z, linear : (rows, columns) float32
    moment : (columns, columns) float32
        Of the other side of the product, rounded.
    other : (n, columns) float32, optional
        That side itself: cheaper where it has fewer rows than columns.
    """

    z: Tensor
    linear: Tensor
    moment: Tensor
    other: Tensor | None = None

    @cached_property
    def split(self) -> tuple[Tensor, Tensor]:
        """``moment`` as factor.T @ factor + diag(diagonal), nearly."""
        start = self.moment.diagonal().topk(min(RANK, len(self.moment))).indices
        basis = torch.linalg.qr(self.moment[:, start]).Q
        for _ in range(2):  # subspace iteration
            basis = torch.linalg.qr(self.moment @ basis).Q
        values, vectors = torch.linalg.eigh(basis.T @ self.moment @ basis)
        factor = (basis @ (vectors * values.clamp(min=0).sqrt())).T
        return (self.moment.diagonal() - factor.square().sum(0)).clamp(min=0), factor

    def rank(self, grid: FloatGrid, scale: Tensor, beta: Tensor | None = None) -> Tensor:
        """Nearly the error of each row at each of its scales, (rows, k).

        ``beta`` (columns,): the columns are divided by it before they are rounded.
        """
        z, linear, (diagonal, factor) = self.z, self.linear, self.split
        if beta is not None:
            z, linear, diagonal, factor = z / beta, linear * beta, diagonal * beta**2, factor * beta
        return errors(z, grid, scale, linear, diagonal, factor)

    def error(self, rounded: Tensor) -> Tensor:
        """The error of each row, (rows,) float64."""
        e = rounded - self.z
        if self.other is not None and len(self.other) < len(self.moment):
            square = (e @ self.other.T).square_().sum(-1)
        else:
            square = (e * (e @ self.moment)).sum(-1)
        return square.double() + (e * self.linear).sum(-1)


class Weights(NamedTuple):
    """The format, the scale of each row, and the rounded matrices of all groups."""

    grid: FloatGrid
    scale: Tensor
    rounded: Tensor


def search_weights(objectives: list[Objective], bits: int, space: Space) -> Weights:
    """A format for the layer, and a bias for each row of each of its groups.

    Costs O(rows * columns * (steps + shortlist * columns)) for each format.
    """
    sizes = [len(each.z) for each in objectives]
    full = positive(torch.cat([each.z.abs().amax(1) for each in objectives]).double())
    ranked = []
    for grid in formats(bits):
        scale = scale_of(grid, space.biases(exponent_bias(grid, full)))
        parts = zip(objectives, scale.split(sizes), strict=True)
        near = torch.cat([each.rank(grid, part) for each, part in parts])
        near, order = near.topk(min(space.shortlist or near.shape[1], near.shape[1]), largest=False)
        ranked.append((float(near[:, 0].sum()), grid, scale.gather(1, order)))
    ranked.sort(key=lambda each: each[0])
    found = []
    for _, grid, scale in ranked[: FORMATS if space.shortlist else None]:
        parts = zip(objectives, scale.split(sizes), strict=True)
        closest = [_closest(each, grid, part) for each, part in parts]
        found.append((sum(float(error.sum()) for error, _, _ in closest), grid, closest))
    _, grid, closest = min(found, key=lambda each: each[0])
    _, chosen, rounded = zip(*closest, strict=True)
    return Weights(grid, torch.cat(chosen), torch.stack(rounded))


def _closest(objective: Objective, grid: FloatGrid, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the scales (rows, k) the best of each row by the whole error: (error, scale, rounded)."""
    chosen, *others = scale.unbind(1)
    kept = round_rows(objective.z, grid, chosen)
    least = objective.error(kept)
    for candidate in others:
        rounded = round_rows(objective.z, grid, candidate)
        error = objective.error(rounded)
        better = error < least
        least = torch.where(better, error, least)
        chosen = torch.where(better, candidate, chosen)
        kept = torch.where(better[:, None], rounded, kept)
    return least, chosen, kept


class Inputs(NamedTuple):
    """The format, the scale of the tensor, the factor of each channel, and the rounded sample.

    A level of a channel stands for ``scale * beta`` times itself; ``beta`` are powers of two.
    """

    grid: FloatGrid
    scale: Tensor
    beta: Tensor
    rounded: Tensor


def split_bias(grid: FloatGrid, bias: Tensor, rho: Tensor) -> Tensor:
    """The factor of each channel when ``rho`` is the part of the bias that all share.

    Equation 15, with the bound of the text below it and of the authors' code (in print the
    equation itself has 2**(e-1)).

    Parameters
    ----------
    grid : FloatGrid
    bias : (channels,) float
        As of :func:`exponent_bias`.
    rho : () float

    Returns
    -------
    (channels,) float32
        ``2.0**-shift`` for whole numbers ``0 <= shift < 2**grid.exponent``.
    """
    shift = (bias.round() - rho.round()).clamp(0, 2**grid.exponent - 1)
    return torch.exp2(-shift).float()


def round_inputs(x: Tensor, grid: FloatGrid, scale: Tensor, beta: Tensor) -> Tensor:
    """(rows, columns) rounded to ``scale * beta`` times levels; beta: (columns,)."""
    return round_rows(x / beta, grid, scale.expand(len(x))) * beta


def search_inputs(
    objectives: list[Objective], bits: int, largest: Tensor, space: Space, per_channel: bool
) -> Inputs:
    """A format and a bias for the inputs, and a shift of it for each channel.

    ``largest`` (channels,) are the largest magnitudes, from which the shifts follow.
    """
    stack = torch.stack([each.z for each in objectives])
    candidates = []
    for grid in formats(bits):
        bias = exponent_bias(grid, largest)
        tried = space.biases(bias.min()[None])[0]
        tried = tried[tried.isfinite()]
        # The shifts depend on the rounded rho alone: those with the same are ranked at once.
        for whole in tried.round().unique():
            rho = tried[tried.round() == whole]
            beta = split_bias(grid, bias, whole) if per_channel else torch.ones(len(bias))
            scale = scale_of(grid, rho)
            near = torch.zeros(len(rho), dtype=torch.float64)
            for each, columns in zip(objectives, by_column(beta, stack), strict=True):
                near += each.rank(grid, scale.expand(len(each.z), -1), columns).double().sum(0)
            candidates += [
                (value, grid, one, beta) for value, one in zip(near.tolist(), scale, strict=True)
            ]
    candidates.sort(key=lambda each: each[0])
    best, least = None, math.inf
    for _, grid, scale, beta in candidates[: space.shortlist]:
        rounded = [
            round_inputs(each.z, grid, scale, columns)
            for each, columns in zip(objectives, by_column(beta, stack), strict=True)
        ]
        parts = zip(objectives, rounded, strict=True)
        error = sum(float(each.error(part).sum()) for each, part in parts)
        if best is None or error < least:
            best, least = Inputs(grid, scale, beta, torch.stack(rounded)), error
    assert best is not None
    return best


def by_column(beta: Tensor, x: Tensor) -> Tensor:
    """(channels,) to the (groups, columns) of ``x``: a channel of a convolution has several."""
    return spread(beta.view(len(x), -1), x[0])


def search_both(
    weight: Tensor,
    x: Tensor,
    largest: Tensor,
    bits: tuple[int, int],
    *,
    space: Space,
    rounds: int,
    per_channel: bool,
) -> tuple[Weights, Inputs]:
    """Weights and inputs in turns (algorithm 1).

    Parameters
    ----------
    weight : (groups, rows, columns) float32
    x : (groups, samples, columns) float32
    largest : (channels,) float64
        The largest magnitude of each input channel, positive.
    bits : (int, int)
        Of the weights and of the inputs.
    space : Space
    rounds : int
    per_channel : bool
        False: no shifts, the paper's baseline.
    """
    # The inputs start at their full range, in the format in the middle: as the authors start.
    grid = next(each for each in formats(bits[1]) if each.exponent == bits[1] // 2)
    bias = exponent_bias(grid, largest)
    beta = split_bias(grid, bias, bias.min()) if per_channel else torch.ones(len(bias))
    start = scale_of(grid, bias.min())
    rounded = torch.stack(
        [
            round_inputs(each, grid, start, columns)
            for each, columns in zip(x, by_column(beta, x), strict=True)
        ]
    )
    inputs: Inputs | None = None
    for _ in range(rounds):
        linear = 2 * weight @ ((rounded - x).mT @ rounded)
        parts = zip(weight, linear, rounded.mT @ rounded, rounded, strict=True)
        weights = search_weights([Objective(*part) for part in parts], bits[0], space)
        new = weights.rounded
        linear = 2 * x @ ((new - weight).mT @ new)
        parts = zip(x, linear, new.mT @ new, new, strict=True)
        before = inputs
        inputs = search_inputs(
            [Objective(*part) for part in parts], bits[1], largest, space, per_channel
        )
        rounded = inputs.rounded
        if before and before.grid is inputs.grid and torch.equal(before.scale, inputs.scale):
            break  # another round would find the same again
    assert inputs is not None
    return weights, inputs

"""Confidence-guided annealing (CGA): sure weights hold still while the others settle.

Of the paper's three techniques the second. After training, for some epochs more, only weights
within ``boundary`` of a threshold may move; the distance of two levels is the unit. A weight that
leaves the strip is sure of its level and stays there. As fewer and fewer move, so does the scale,
which is their statistic.

Departures: the authors fix the set of free weights before each step of the optimizer, as is done
here, and do nothing for the product of query and key (their mask there never reaches the
gradient). Here the gradient of its sure entries is zero; the entries themselves may still move
with the query and key weights, which many entries share, and cannot be held.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from paperworks.compression.oscillation.convert import quantized_parts
from paperworks.compression.oscillation.statsq import StatsQuantizer


class ConfidenceGuidedAnnealing:
    """Hold the weights that are sure of their level; call :meth:`step` after the optimizer's.

    Parameters
    ----------
    model : nn.Module
        Quantization-aware, with StatsQ weights. Layers with learned steps are not touched.
    boundary : float
        Half width of the strip around each threshold in which weights may move, in units of the
        distance of two levels; in (0, 0.5]. The authors use 0.003 to 0.01 and find 0.005 or 0.007
        best.

    Notes
    -----
    Keeps a second copy of the weights it holds, from the start to :meth:`stop`.

    Raises
    ------
    ValueError
        If ``boundary`` is outside its range or the model has no StatsQ weight.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from paperworks.compression.oscillation import ConfidenceGuidedAnnealing, QuantizationAware
    >>> mlp = nn.Sequential(nn.Linear(2, 8), nn.Linear(8, 8), nn.Linear(8, 2))
    >>> model = QuantizationAware(2)(mlp, [torch.ones(1, 2)])
    >>> optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    >>> annealing = ConfidenceGuidedAnnealing(model)
    >>> before = model[1].weight.detach().clone()
    >>> model(torch.ones(1, 2)).sum().backward()
    >>> optimizer.step()
    >>> annealing.step()
    >>> bool((model[1].weight == before).float().mean() > 0.9), annealing.free < 0.1
    (True, True)
    >>> annealing.stop()
    """

    def __init__(self, model: nn.Module, boundary: float = 0.005) -> None:
        if not 0 < boundary <= 0.5:
            raise ValueError(
                f"boundary must be in (0, 0.5], in distances of two levels, got {boundary}"
            )
        self._parts = [
            part
            for part in quantized_parts(model).values()
            if isinstance(part.weight_quantizer, StatsQuantizer)
        ]
        if not self._parts:
            raise ValueError("annealing needs StatsQ weights; this model has learned steps alone")
        self.boundary = boundary
        for part in self._parts:
            part.weight_quantizer.boundary = boundary
        # A product of query and key is no parameter, and has nothing to be held.
        self._held: list[tuple[Any, Tensor]] = [
            (part, part.weight.detach().clone())
            for part in self._parts
            if isinstance(part.weight, nn.Parameter)
        ]

    @property
    def free(self) -> float:
        """The share of the weights that may move at the next step."""
        near = total = 0
        for part in self._parts:
            distance = part.weight_quantizer.threshold_distance(part.weight)
            near += int((distance <= self.boundary).sum())
            total += distance.numel()
        return near / total

    @torch.no_grad()
    def step(self) -> None:
        """Put back the weights that were sure before the optimizer's step."""
        for part, held in self._held:
            free = part.weight_quantizer.threshold_distance(held) <= self.boundary
            held.copy_(torch.where(free, part.weight, held))
            part.weight.copy_(held)

    def stop(self) -> None:
        """Let all weights move again, and forget the copy."""
        for part in self._parts:
            part.weight_quantizer.boundary = None
        self._held = []

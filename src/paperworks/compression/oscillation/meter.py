"""How many weights oscillate: the meter of the paper's figures and tables.

A weight flips where its level changes in a step. It oscillates at that step where it goes back the
way it came: the change is opposite to its last one, however long ago that was. The frequency is an
exponential average of that event; a weight counts as oscillating where it exceeds 0.005, as in
M. Nagel, M. Fournarakis, Y. Bondarenko, T. Blankevoort, "Overcoming Oscillations in
Quantization-Aware Training", ICML 2022, arXiv:2203.11086, from whom the paper has it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paperworks.compression.oscillation.convert import quantized_parts


class OscillationMeter:
    """Count flips and oscillations of all quantized weights; call :meth:`step` at each step.

    A product of query and key counts as one matrix: it is what is quantized.

    Parameters
    ----------
    model : nn.Module
        Quantization-aware.
    momentum : float
        Weight of the newest step in the frequency: 0.01, as in both papers. A frequency needs some
        ``1 / momentum`` steps to settle.
    max_bits : int
        Weights of more bits are not counted: the 8-bit ends of a model cross their narrow levels
        all the time, and it does not matter.
    threshold : float
        Frequency from which a weight counts as oscillating. One return some 70 steps ago still
        counts with the defaults.

    Attributes
    ----------
    flips, oscillating : list of float
        After each step: the share of weights whose level changed, and of those that oscillate.

    Notes
    -----
    Seven bytes a weight, and a few passes over it at each step: as long as the rounding takes.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from paperworks.compression.oscillation import OscillationMeter, QuantizationAware
    >>> mlp = nn.Sequential(nn.Linear(2, 8), nn.Linear(8, 8), nn.Linear(8, 2))
    >>> model = QuantizationAware(2)(mlp, [torch.ones(1, 2)])
    >>> meter = OscillationMeter(model)
    >>> for _ in range(4):
    ...     _ = model[1].weight.data.neg_()
    ...     meter.step()
    >>> meter.flips[-1], meter.oscillating[-1], meter.by_part()
    (1.0, 1.0, {'1': 1.0})
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        momentum: float = 0.01,
        threshold: float = 0.005,
        max_bits: int = 4,
    ) -> None:
        if not 0 < momentum <= 1 or not 0 < threshold < 1:
            raise ValueError(
                "momentum must be in (0, 1] and threshold in (0, 1), "
                f"got {momentum} and {threshold}"
            )
        self.momentum, self.threshold = momentum, threshold
        self.flips: list[float] = []
        self.oscillating: list[float] = []
        parts = quantized_parts(model)
        self._parts = {n: p for n, p in parts.items() if p.weight_quantizer.bits <= max_bits}
        if not self._parts:
            fewest = min(part.weight_quantizer.bits for part in parts.values())
            raise ValueError(f"no weight has max_bits={max_bits} or less; the fewest are {fewest}")
        self._seen = self._codes()
        # Of the last change of each.
        self._direction = torch.zeros_like(self._seen, dtype=torch.int8)
        self._frequency = torch.zeros(self._seen.shape, device=self._seen.device)

    @torch.no_grad()
    def step(self) -> None:
        """Look at all weights once more."""
        codes = self._codes()
        change = torch.sign(codes - self._seen).to(torch.int8)
        moved = change != 0
        back = change * self._direction < 0
        self._frequency.lerp_(back.to(self._frequency), self.momentum)
        self._direction = torch.where(moved, change, self._direction)
        self._seen = codes
        self.flips.append(float(moved.float().mean()))
        self.oscillating.append(float((self._frequency > self.threshold).float().mean()))

    def by_part(self) -> dict[str, float]:
        """The share of oscillating weights of each layer or product, by name."""
        sizes = [part.weight.numel() for part in self._parts.values()]
        shares = [float((f > self.threshold).float().mean()) for f in self._frequency.split(sizes)]
        return dict(zip(self._parts, shares, strict=True))

    def _codes(self) -> Tensor:
        """The level of every weight, in one row."""
        codes = (p.weight_quantizer.codes(p.weight.detach()) for p in self._parts.values())
        # Two levels of eight bits may be 255 apart.
        return torch.cat([each.to(torch.int16).flatten() for each in codes])

    @torch.no_grad()
    def threshold_distances(self, bins: int = 20) -> tuple[Tensor, Tensor]:
        """How near the weights lie to the threshold next to them, as a histogram.

        A peak at 0 is the mark of oscillation: weights crowd where their level changes.

        Parameters
        ----------
        bins : int
            Of equal width, over 0 to 0.5, where 0.5 is a level of the grid and 1 the distance of
            two. Weights farther out count in the last bin.

        Returns
        -------
        share : (bins,) float32
            Of all weights; sums to 1.
        edges : (bins + 1,) float32
        """
        counts = torch.zeros(bins)
        for part in self._parts.values():
            distance = part.weight_quantizer.threshold_distance(part.weight).float().cpu()
            counts += torch.histc(distance.clamp_(max=0.5), bins, 0.0, 0.5)
        return counts / counts.sum(), torch.linspace(0, 0.5, bins + 1)

"""A fake quantizer with many forms (equation 1, section 3.2).

The forms share the tensor and nothing else: each has a learned step of its own, and the asymmetric
ones a learned zero point. In the symbols of the code::

    code  = clip(round(x / step + zero), low, high)     low = -2**(bits-1), high = 2**(bits-1) - 1
    x_q   = step * (code - zero)                        zero is a whole number, 0 where symmetric

An input takes the codes ``0 .. 2**bits - 1`` in the symmetric form where that leaves the smaller
error, as behind a ReLU (the authors: where no entry is negative). The gradients are those of LSQ
(:mod:`paperworks.compression.lsq`) and, of the zero point, of LSQ+ (Bhalgat et al.,
arXiv:2004.09576): what is learned is ``offset``, in the units of ``x``, with
``zero = round(-offset / step)``.

Departures. The authors' code adds the offset as it is, so that 0 is no level; here the zero point
is whole, as the paper has it, and within ``low .. high``, so that what is pruned stays pruned and
integer hardware can run it. Ranges start from the authors' search (shrink the range, keep the
smallest error in the power 2.4), in 40 steps and not 80 (5 for channels in the symmetric form),
and on a part of the entries of a large tensor.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from paperworks.compression.eq_net.forms import Space
from paperworks.compression.lsq import SMALLEST_STEP, FakeQuantizer, LSQuantizer

SHRINK = 40  # ranges tried: 1, 0.98, ..., 0.22 of the full one
POWER = 2.4
# A range is fitted to about so many entries of a tensor or channel, of all channels together, and
# of each channel at least.
ENTRIES, ENTRIES_OF_ALL, FEWEST = 1 << 12, 1 << 14, 64


class ElasticQuantizer(FakeQuantizer):
    """Rounds a weight or an input in the form that it was put into last.

    Made by :class:`~paperworks.compression.eq_net.convert.ElasticQuantization`.

    Parameters
    ----------
    space : Space
        What of it concerns weights, or inputs, is taken.
    weight : (out, ...) float, optional
        The weight that is to be rounded; steps are fitted to it at once. Without it the quantizer
        is for inputs, with one step for all of it, fitted to the first batch.

    Notes
    -----
    A form costs what LSQ costs, an asymmetric one two passes more. Stored are a step and an offset
    per form: of a weight of ``out`` channels ``3 * (out + 1)`` or fewer numbers per bit width.
    """

    def __init__(self, space: Space, weight: Tensor | None = None) -> None:
        super().__init__()
        self.activation = weight is None
        self._dims = 1 if weight is None else weight.dim()
        self.forms, self.offsets = nn.ModuleDict(), nn.ParameterDict()
        widths = space.weight_bits if weight is not None else space.activation_bits
        symmetries = space.weight_symmetric if weight is not None else space.activation_symmetric
        for bits in widths:
            for symmetric in symmetries:
                for per_channel in space.per_channel if weight is not None else (False,):
                    step = LSQuantizer(
                        bits,
                        signed=None if self.activation and symmetric else True,
                        channels=len(weight) if weight is not None and per_channel else None,
                        activation=self.activation,
                    )
                    key = _key(bits, per_channel, symmetric)
                    self.forms[key] = step
                    if not symmetric:
                        self.offsets[key] = nn.Parameter(torch.zeros_like(step.step))
        if weight is not None:
            self.to(weight.device, weight.dtype).initialize(weight.detach())
        self.select(widths[-1], weight is not None and space.per_channel[-1], symmetries[-1])

    def select(self, bits: int, per_channel: bool, symmetric: bool) -> None:
        """Take that form from here on."""
        self._form = _key(bits, per_channel and not self.activation, symmetric)

    @property
    def initialized(self) -> bool:
        """Whether steps are fitted."""
        return cast(LSQuantizer, next(iter(self.forms.values()))).initialized

    @property
    def bits(self) -> int:  # type: ignore[override]
        """Of the present form."""
        return self._rounding.bits

    @property
    def low(self) -> int:  # type: ignore[override]
        """The lowest code of the present form."""
        return self._rounding.low

    @property
    def high(self) -> int:  # type: ignore[override]
        """The highest code of the present form."""
        return self._rounding.high

    @property
    def symmetric(self) -> bool:
        """Whether the present form has no zero point."""
        return self._form not in self.offsets

    @property
    def offset(self) -> Tensor | float:  # type: ignore[override]
        """The level of the code 0, in units of the distance of two levels."""
        return 0.0 if self.symmetric else -self._shaped(self.zero_point())

    def zero_point(self) -> Tensor:
        """The whole number of the level 0: ``()``, or (out,) with one per channel."""
        step = self._rounding.step.detach().clamp_min(SMALLEST_STEP)
        if self.symmetric:
            return torch.zeros_like(step)
        return (-self.offsets[self._form].detach() / step).round_().clamp_(self.low, self.high)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` on the grid, of its shape and dtype."""
        if not self.initialized:
            self.initialize(x.detach())
        if self.symmetric:
            return self._rounding(x)
        step, offset = self._rounding.step, self.offsets[self._form]
        share = x.numel() / step.numel() / (x.shape[0] if self.activation else 1)
        learned = offset * (share * self.high) ** -0.5
        whole = self.zero_point() * -step.detach().clamp_min(SMALLEST_STEP)
        moved = self._shaped(whole + (learned - learned.detach()))
        return self._rounding(x - moved) + moved

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Fit the steps and zero points of all forms to ``x``.

        Raises
        ------
        ValueError
            If ``x`` is empty or not finite.
        """
        for key, module in self.forms.items():
            rounding = cast(LSQuantizer, module)
            rounding.initialize(x)
            rows = x.reshape(rounding.step.numel(), -1)
            symmetric = key not in self.offsets
            step, zero = fitted_range(rows, rounding.low, rounding.high, symmetric=symmetric)
            rounding.step.copy_(step.view_as(rounding.step))
            if not symmetric:
                self.offsets[key].copy_((-zero * step).view_as(rounding.step))

    def scale(self, x: Tensor) -> Tensor:  # noqa: D102
        return self._rounding.scale(x)

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:  # noqa: D102
        place = x / self.scale(x) + self._shaped(self.zero_point())
        return place.round_().clamp_(self.low, self.high)

    @property
    def _rounding(self) -> LSQuantizer:
        return cast(LSQuantizer, self.forms[self._form])

    def _shaped(self, value: Tensor) -> Tensor:
        return value if value.dim() == 0 else value.view(-1, *[1] * (self._dims - 1))


def fitted_range(rows: Tensor, low: int, high: int, *, symmetric: bool) -> tuple[Tensor, Tensor]:
    """Step and zero point of each row: of the shrunk ranges the one with the smallest error.

    Parameters
    ----------
    rows : (channels, entries) float
    low, high : int
        The codes that there are; ``low`` is 0 where there is no sign.
    symmetric : bool
        The zero point is 0.

    Returns
    -------
    step, zero : (channels,) float
        The zero point is a whole number between ``low`` and ``high``.
    """
    bottom, top = rows.aminmax(dim=1, keepdim=True)
    if symmetric:
        top = torch.maximum(top, -bottom)
        bottom = -top if low < 0 else torch.zeros_like(top)
    many = max(FEWEST, min(ENTRIES, ENTRIES_OF_ALL // len(rows)))
    few = rows[:, :: max(1, rows.shape[1] // many)]
    # All ranges at once, along a new first axis.
    part = 1 - 0.02 * torch.arange(SHRINK).to(rows).view(-1, 1, 1)
    step = ((top - bottom) * part / (high - low)).clamp_min_(SMALLEST_STEP)
    zero = torch.zeros_like(step)
    if not symmetric:
        zero = (low - part * bottom / step).round_().clamp_(low, high)
    error = (few / step).add_(zero).round_().clamp_(low, high).sub_(zero).mul_(step).sub_(few)
    best = error.abs_().pow_(POWER).mean(2, keepdim=True).argmin(0, keepdim=True)
    return step.gather(0, best).flatten(), zero.gather(0, best).flatten()


def _key(bits: int, per_channel: bool, symmetric: bool) -> str:
    granularity, symmetry = ("tensor", "channel")[per_channel], ("asym", "sym")[symmetric]
    return f"{granularity}-{symmetry}-{bits}"

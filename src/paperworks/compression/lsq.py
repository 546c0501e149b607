"""Learned step size quantization: the step of the grid is trained with the weights.

S. K. Esser, J. L. McKinstry, D. Bablani, R. Appuswamy, D. S. Modha, "Learned Step Size
Quantization", ICLR 2020, arXiv:1902.08153, equations 1 to 5 and section 2. With
``v = x / step``::

    x_q = step * round(clip(v, low, high))
    d x_q / d step = round(v) - v   where low < v < high, else low or high
    d x_q / d x    = 1              where low < v < high, else 0
    gradient of the step times 1 / sqrt(N * high)
    step at the start = 2 * mean|x| / sqrt(high)

``N`` counts the entries that share a step: of a weight all of them, of an activation those of one
example (the paper's number of features). The grid is ``low = -2**(bits-1)``,
``high = 2**(bits-1) - 1`` with a sign and ``0 .. 2**bits - 1`` without.

What the paper leaves open: a step stays above ``SMALLEST_STEP``, with the gradient passed on, so
that it can come back; and whether an activation has a sign can be found from its first batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from paperworks.compression.grids import positive

SMALLEST_STEP = 1e-8


class FakeQuantizer(nn.Module, ABC):
    """Rounds a tensor to a uniform grid and lets its gradient through.

    The levels are ``scale(x) * (k + offset)`` for the whole numbers ``low <= k <= high``; the
    thresholds between them lie half way. That much a meter or an export needs to know.
    """

    bits: int
    low: int
    high: int
    offset: float = 0.0

    @abstractmethod
    def scale(self, x: Tensor) -> Tensor:
        """The distance of two levels, in a shape that broadcasts with ``x``; no gradient."""

    @abstractmethod
    def codes(self, x: Tensor) -> Tensor:
        """The number ``k`` of each entry's level, in the dtype of ``x``; no gradient."""

    @torch.no_grad()
    def threshold_distance(self, x: Tensor) -> Tensor:
        """How far each entry is from the nearest threshold, in units of the distance of two levels.

        0 on a threshold, 1/2 on a level; beyond the outermost thresholds it grows without bound.
        """
        place = x / positive(self.scale(x)) + (0.5 - self.offset)
        return (place - place.round().clamp_(self.low + 1, self.high)).abs_()

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"bits={self.bits}, levels={self.low}..{self.high}"


class LSQuantizer(FakeQuantizer):
    """A fake quantizer with a learned step, for a weight or an activation.

    Use it where the step must follow the loss and not the data; at 2 or 3 bits
    :class:`~paperworks.compression.oscillation.StatsQuantizer` makes weights oscillate less.

    Parameters
    ----------
    bits : int
        2 to 8.
    signed : bool or None
        Whether there are levels below zero. None finds out from the first data: the grid with the
        smaller squared error at its first step wins (an output of GELU then counts as unsigned).
    channels : int, optional
        One step per channel, of so many; by default one step for the whole tensor.
    axis : int
        The axis of the channels: 0 for a weight; 1 or -1 for an activation.
    activation : bool
        True: the first axis is the batch and does not count in the scale of the step's gradient.

    Attributes
    ----------
    step : Parameter
        ``()`` or ``(channels,)``. Set from the first tensor that comes through, or by
        :meth:`initialize`. It is there from the start, so that an optimizer can be made before.

    Notes
    -----
    Four passes over the tensor forward and three backward. For the backward pass it keeps one
    tensor of its size, and its output, which the layer behind it keeps anyway.

    Examples
    --------
    >>> import torch
    >>> weight = torch.nn.Parameter(torch.tensor([[-0.9, 0.2], [0.6, 0.3]]))
    >>> quantizer = LSQuantizer(2)
    >>> quantizer(weight).detach() / quantizer.step.detach()
    tensor([[-1.,  0.],
            [ 1.,  0.]])
    >>> quantizer(weight).sum().backward()
    >>> weight.grad
    tensor([[1., 1.],
            [1., 1.]])
    """

    def __init__(
        self,
        bits: int,
        *,
        signed: bool | None = True,
        channels: int | None = None,
        axis: int = 0,
        activation: bool = False,
    ) -> None:
        super().__init__()
        self.bits = check_bits(bits)
        self.axis, self.activation = axis, activation
        self.step = nn.Parameter(torch.ones(() if channels is None else (channels,)))
        self.initialized = False
        self._set_sign(signed)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` on the grid, of its shape and dtype."""
        if not self.initialized:
            self.initialize(x)
        share = x.numel() / self.step.numel() / (x.shape[0] if self.activation else 1)
        return _LSQ.apply(x, self._shaped(x), self.low, self.high, (share * self.high) ** -0.5)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set the step, and the sign where it is open, from the tensor ``x``.

        Raises
        ------
        ValueError
            If ``x`` is empty or not finite.
        """
        if not x.numel() or not bool(torch.isfinite(x).all()):
            raise ValueError(
                f"a step cannot be set from a tensor of shape {tuple(x.shape)} that is empty or "
                "has NaN or infinite entries"
            )
        errors = {}
        for signed in (True, False) if self.signed is None else (self.signed,):
            self._set_sign(signed)
            axes = [i for i in range(x.dim()) if self.step.dim() == 0 or i != self.axis % x.dim()]
            self.step.copy_(2 * x.abs().mean(axes) / self.high**0.5)
            step = self._shaped(x).clamp_min(SMALLEST_STEP)
            rounded = (x / step).round_().clamp_(self.low, self.high).mul_(step)
            errors[signed] = float((rounded - x).square_().sum()), self.step.clone()
        chosen = min(errors, key=lambda signed: errors[signed][0])
        self._set_sign(chosen)
        self.step.copy_(errors[chosen][1])
        self.initialized = True

    def scale(self, x: Tensor) -> Tensor:  # noqa: D102
        if not self.initialized:
            self.initialize(x)
        return self._shaped(x).detach().clamp_min(SMALLEST_STEP)

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:  # noqa: D102
        return (x / self.scale(x)).round_().clamp_(self.low, self.high)

    def get_extra_state(self) -> Tensor:
        """What of its state is no parameter: whether it is initialized, and its sign."""
        return torch.tensor([self.initialized, bool(self.signed), self.signed is None])

    def set_extra_state(self, state: Any) -> None:
        """The inverse of :meth:`get_extra_state`."""
        initialized, signed, unknown = (bool(flag) for flag in state)
        self.initialized = initialized
        self._set_sign(None if unknown else signed)

    def _set_sign(self, signed: bool | None) -> None:
        self.signed = signed
        self.low = 0 if signed is False else -(2 ** (self.bits - 1))
        self.high = self.low + 2**self.bits - 1

    def _shaped(self, x: Tensor) -> Tensor:
        if self.step.dim() == 0:
            return self.step
        shape = [1] * x.dim()
        shape[self.axis] = -1
        return self.step.view(shape)


class _LSQ(torch.autograd.Function):
    """Equations 1 to 5 in few passes over memory.

    With ``g`` the gradient of the output, that of the step is ``sum g * round(clip(v))`` less
    ``sum g * v`` over the inside, where ``g`` is also the gradient of ``x``.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, step: Tensor, low: int, high: int, gradient_scale: float
    ) -> Tensor:
        step = step.clamp_min(SMALLEST_STEP)
        v = x / step
        out = v.round().clamp_(low, high).mul_(step)
        ctx.save_for_backward(v, out, step)
        ctx.low, ctx.high, ctx.gradient_scale = low, high, gradient_scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        v, out, step = ctx.saved_tensors
        # One pass for grad * (low < v < high), which is also hardtanh's gradient.
        grad_x = torch.ops.aten.hardtanh_backward(grad, v, ctx.low, ctx.high)
        if step.dim() == 0:
            on_grid, inside = _dot(grad, out), _dot(grad_x, v)
        else:
            on_grid = (grad * out).sum_to_size(step.shape)
            inside = (grad_x * v).sum_to_size(step.shape)
        return grad_x, (on_grid / step - inside) * ctx.gradient_scale, None, None, None


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.reshape(-1), b.reshape(-1))


def check_bits(bits: int) -> int:
    """``bits``, which must be a whole number from 2 to 8."""
    if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 8:
        raise ValueError(f"bits must be a whole number from 2 to 8, got {bits!r}")
    return bits

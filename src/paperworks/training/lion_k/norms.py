"""Kappas that are a norm: their conjugate is 0 on the unit ball of the dual norm.

The subgradient of a norm has dual norm 1 at every x but 0, so that the step's length does not
depend on the gradient's scale. Entries are divided by the largest before they are squared or
raised to a power: tiny and huge gradients keep their direction.
"""

# ruff: noqa: D102 (the methods are documented in Kappa)

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.linalg import vector_norm

from paperworks.training.lion_k.base import InPlaceKappa, Kappa, largest, within


class _Norm(Kappa):
    def conjugate(self, y: Tensor) -> Tensor:
        return within(self.gauge(y), y.new_zeros(()))


@dataclass(frozen=True)
class L2(_Norm, InPlaceKappa):
    """``|x|_2``: normalised momentum, one unit vector per tensor."""

    def value(self, x: Tensor) -> Tensor:
        return vector_norm(x)

    def subgradient_(self, x: Tensor) -> Tensor:
        x.div_(_nonzero(largest(x)))
        return x.div_(_nonzero(vector_norm(x, dtype=_wide(x))))

    def gauge(self, y: Tensor) -> Tensor:
        return vector_norm(y)

    @property
    def feasible_set(self) -> str:
        return "|x|_2 <= 1/weight_decay"


@dataclass(frozen=True)
class Lp(_Norm, InPlaceKappa):
    """``|x|_p`` for a finite p >= 1, with the ball of ``|x|_q``, ``1/p + 1/q = 1``.

    p near 1 is close to Lion; p = 2 is ``"l2"``; a large p moves the largest entries alone.
    """

    p: float = 1.5

    def __post_init__(self) -> None:
        if isinstance(self.p, bool) or not isinstance(self.p, int | float) or not self.p >= 1:
            raise ValueError(f"p must be a number >= 1 for a norm, got {self.p!r}")
        if self.p == math.inf:
            raise ValueError("p must be finite, got inf; use kappa 'linf'")

    @property
    def q(self) -> float:
        """The dual exponent ``p / (p - 1)``; infinite for p = 1."""
        return math.inf if self.p == 1 else self.p / (self.p - 1)

    def value(self, x: Tensor) -> Tensor:
        return _scaled_norm(x, self.p)

    def subgradient_(self, x: Tensor) -> Tensor:
        if self.p == 1:
            return x.sign_()
        x.div_(_nonzero(largest(x)))
        # The norm that the result must have: sum |z_i|^((p-1) q) = sum |z_i|^p.
        length = vector_norm(x, self.p, dtype=_wide(x)).pow(self.p - 1)
        return x.copy_(x.sign() * x.abs().pow(self.p - 1)).div_(_nonzero(length))

    def gauge(self, y: Tensor) -> Tensor:
        return _scaled_norm(y, self.q)

    @property
    def feasible_set(self) -> str:
        return f"|x|_{'inf' if self.p == 1 else f'{self.q:g}'} <= 1/weight_decay"


@dataclass(frozen=True)
class LInf(_Norm):
    """``|x|_inf``: only the entries of largest momentum move, in equal parts where they tie.

    Its l1 ball favours sparse weights.
    """

    def value(self, x: Tensor) -> Tensor:
        return largest(x)

    def subgradient(self, x: Tensor) -> Tensor:
        top = x.abs() == largest(x)
        return x.sign() * top / top.sum().clamp_min(1)

    def gauge(self, y: Tensor) -> Tensor:
        return y.abs().sum()

    @property
    def feasible_set(self) -> str:
        return "|x|_1 <= 1/weight_decay"


@dataclass(frozen=True)
class TopK(_Norm):
    """The sum of the k largest ``|x_i|``: the k entries of largest momentum move by a sign.

    k = 1 is ``"linf"`` but for ties, k >= the number of entries is Lion. The feasible set is the
    meeting of a box and an l1 ball.
    """

    k: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1:
            raise ValueError(f"k must be an integer >= 1, got {self.k!r}")

    def value(self, x: Tensor) -> Tensor:
        return x.abs().flatten().topk(min(self.k, x.numel())).values.sum()

    def subgradient(self, x: Tensor) -> Tensor:
        flat = x.flatten()
        top = flat.abs().topk(min(self.k, x.numel()), sorted=False).indices
        return torch.zeros_like(flat).index_copy_(0, top, flat[top].sign()).view_as(x)

    def gauge(self, y: Tensor) -> Tensor:
        return torch.maximum(largest(y), y.abs().sum() / self.k)

    @property
    def feasible_set(self) -> str:
        return f"|x|_inf <= 1/weight_decay and |x|_1 <= {self.k}/weight_decay"


@dataclass(frozen=True)
class Group(_Norm, InPlaceKappa):
    """``sum_r |x_r|_2`` over the slices ``x_r`` along ``dim``: one unit vector per slice.

    With ``dim = 0`` the slices are the rows of a linear layer's weight and the filters of a
    convolution. In a tensor of one dimension or none each entry is a group: there it is Lion.
    """

    dim: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.dim, bool) or not isinstance(self.dim, int):
            raise ValueError(f"dim must be an integer, got {self.dim!r}")

    def value(self, x: Tensor) -> Tensor:
        return self._lengths(x).sum()

    def subgradient_(self, x: Tensor) -> Tensor:
        axes = self._axes(x)
        if not axes or x.numel() == 0:
            return x.sign_()
        x.div_(_nonzero(vector_norm(x, torch.inf, axes, keepdim=True)))
        return x.div_(_nonzero(vector_norm(x, 2, axes, keepdim=True, dtype=_wide(x))))

    def gauge(self, y: Tensor) -> Tensor:
        return largest(self._lengths(y))

    @property
    def feasible_set(self) -> str:
        return f"|x_r|_2 <= 1/weight_decay for every slice x_r along dim {self.dim}"

    def _axes(self, x: Tensor) -> tuple[int, ...]:
        if x.ndim < 2:
            return ()
        if not -x.ndim <= self.dim < x.ndim:
            raise ValueError(
                f"kappa 'group' has dim={self.dim}, but a parameter has shape {tuple(x.shape)}; "
                "give that parameter a param group with a kappa of its own"
            )
        return tuple(axis for axis in range(x.ndim) if axis != self.dim % x.ndim)

    def _lengths(self, x: Tensor) -> Tensor:
        axes = self._axes(x)
        return vector_norm(x, 2, axes) if axes else x.abs()


def _nonzero(length: Tensor) -> Tensor:
    """``length`` with 1 for 0, so that the subgradient at 0 is 0."""
    return torch.where(length == 0, 1, length)


def _wide(x: Tensor) -> torch.dtype:
    """Sums of squares in half precision overflow: they are taken in float32."""
    return torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype


def _scaled_norm(x: Tensor, p: float) -> Tensor:
    top = largest(x)
    return top if p == math.inf else top * vector_norm(x / _nonzero(top), p)

"""The Walsh-Hadamard transform of torch tensors, with gradients."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from paperworks.numerics.sketching.hadamard_arrays import transform_in_place

_COMPILED = (torch.float32, torch.float64)


def transform_tensor(
    x: Tensor, axis: int, norm: str | None, overwrite_x: bool, workers: int | None
) -> Tensor:
    """:func:`hadamard_transform` of a tensor whose length along `axis` has been checked."""
    if x.is_complex():
        raise ValueError(
            f"x must hold real numbers, got dtype {x.dtype}; the transform is linear, so "
            "transform x.real and x.imag"
        )
    if not x.is_floating_point():
        if overwrite_x:
            raise ValueError(f"overwrite_x needs a floating tensor, got dtype {x.dtype}")
        x = x.double()
    scale = 1.0 / math.sqrt(x.shape[axis]) if norm == "ortho" else 1.0
    if not overwrite_x:
        result: Tensor = _Transform.apply(x, axis % x.ndim, scale, workers)
        return result
    if x.requires_grad:
        raise ValueError("overwrite_x needs a tensor that requires no gradient")
    with torch.no_grad():
        if _takes(x) and x.is_contiguous():
            transform_in_place(x.numpy(), axis % x.ndim, workers)
            torch.autograd.graph.increment_version(x)
            return x.mul_(scale) if scale != 1.0 else x
        return x.copy_(_transformed(x, axis % x.ndim, scale, workers))


def _takes(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in _COMPILED


def _transformed(x: Tensor, axis: int, scale: float, workers: int | None) -> Tensor:
    if _takes(x):
        y = x.detach().clone(memory_format=torch.contiguous_format)
        transform_in_place(y.numpy(), axis, workers)
        return y.mul_(scale) if scale != 1.0 else y
    n = x.shape[axis]
    y = x.movedim(axis, -1)
    shape = y.shape
    half = 1
    while half < n:
        pairs = y.reshape(*shape[:-1], n // (2 * half), 2, half)
        a, b = pairs[..., 0, :], pairs[..., 1, :]
        y = torch.stack((a + b, a - b), dim=-2)
        half *= 2
    y = y.reshape(shape).movedim(-1, axis)
    return y * scale if scale != 1.0 else y.clone()


class _Transform(torch.autograd.Function):
    """The matrix is symmetric, so the gradient is the transform of the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: int, scale: float, workers: int | None) -> Tensor:
        ctx.settings = (axis, scale, workers)
        return _transformed(x, axis, scale, workers)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        # Through the function again, for gradients of gradients.
        return _Transform.apply(grad, *ctx.settings), None, None, None

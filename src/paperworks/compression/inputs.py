"""Inputs of few bits, simulated: each number is rounded to a grid and stays a float."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paperworks.compression.grids import FloatGrid, Grid, IntegerGrid, grid_from
from paperworks.compression.input_kernels import INTEGERS, round_rows

_FEW = 1 << 15  # numbers up to which one thread in one pass beats torch


class InputQuantizer(nn.Module):
    """Rounds a layer's input to ``scale * level`` for the levels of a grid.

    Parameters
    ----------
    grid : Grid
        Signed: its largest level and the lowest one have the same magnitude.
    scale : Tensor, optional
        The factor of the levels: a scalar, (channels,) for one per channel, fixed from
        calibration data. None: each token (each row along the channels) has its own, so that its
        largest magnitude is the largest level.
    divide : (channels,) float, optional
        The input is divided by this before it is rounded and **not** multiplied again: the
        weights that follow carry the factor. SmoothQuant's migration, LLM-FP4's exponents.
    axis : int
        Where the channels are: -1 for a linear layer, 1 for a convolution.

    Examples
    --------
    >>> from paperworks.compression.grids import FloatGrid
    >>> InputQuantizer(FloatGrid(2, 1), torch.tensor(0.5))(torch.tensor([[0.3, 1.2, 9.0]]))
    tensor([[0.2500, 1.0000, 3.0000]])
    """

    scale: Tensor | None
    divide: Tensor | None

    def __init__(
        self,
        grid: Grid,
        scale: Tensor | None = None,
        *,
        divide: Tensor | None = None,
        axis: int = -1,
    ):
        super().__init__()
        for name, value in (("scale", scale), ("divide", divide)):
            if value is not None and not bool((torch.isfinite(value) & (value > 0)).all()):
                raise ValueError(f"{name} must be positive and finite, got {value}")
        self.grid = grid
        self.axis = axis
        self.register_buffer("scale", scale)
        self.register_buffer("divide", divide)

    @classmethod
    def of_integers(cls, first: int, last: int, scale: Tensor) -> InputQuantizer:
        """Rounds to ``scale`` times the whole numbers from ``first`` to ``last``, 2**bits of them.

        :class:`~paperworks.compression.grids.IntegerGrid` with a sign leaves out the lowest of
        them, which steps learned in training have.
        """
        if first == 0:
            return cls(IntegerGrid(last.bit_length(), signed=False), scale)
        return cls(Grid(torch.arange(first, last + 1), f"{first}..{last}"), scale)

    def forward(self, x: Tensor) -> Tensor:
        """The rounded input, of the shape and dtype of ``x``."""
        few = 0 < x.numel() <= _FEW and x.is_cpu and x.dtype == torch.float32
        if few and self._kernel is not None and not x.requires_grad:
            return self._round_few(x)
        if self.divide is not None:
            x = x / self._along(self.divide, x)
        if self.scale is not None:
            scale = self._along(self.scale, x)
        else:
            scale = self.grid.scale_for(x.abs().amax(self.axis, keepdim=True))
        return self.grid.round(x / scale) * scale

    @property
    def _kernel(self) -> tuple[float, float, float, int] | None:
        """Lowest and highest level, lowest normal number and mantissa, where it is so simple."""
        if self.axis != -1:
            return None
        grid = self.grid
        if isinstance(grid, IntegerGrid):
            return (-grid.top if grid.signed else 0, grid.top, 1, INTEGERS)
        if isinstance(grid, FloatGrid) and grid.mantissa > 0:
            return (-grid.largest, grid.largest, 2.0 ** (1 - grid.bias), grid.mantissa)
        return None

    def _round_few(self, x: Tensor) -> Tensor:
        low, high, lowest, mantissa = self._kernel  # type: ignore[misc]
        x = x.contiguous()
        out = torch.empty_like(x)
        none = np.empty(0, np.float32)
        scale, divide = (
            none if each is None else each.float().reshape(-1).numpy()
            for each in (self.scale, self.divide)
        )
        rows = (-1, x.shape[-1])
        round_rows(
            x.numpy().reshape(rows), scale, divide, np.float32(low), np.float32(high),
            np.float32(lowest), mantissa, out.numpy().reshape(rows),
        )  # fmt: skip
        return out

    def spec(self) -> dict[str, Any]:
        """What :meth:`from_spec` needs beside the state dict, as JSON values."""
        return {
            "grid": self.grid.name,
            "table": self.grid.table.tolist(),
            "scale": None if self.scale is None else list(self.scale.shape),
            "divide": None if self.divide is None else list(self.divide.shape),
            "axis": self.axis,
        }

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> InputQuantizer:
        """A quantizer of that form, for :meth:`load_state_dict` to fill."""
        sizes = (spec["scale"], spec["divide"])
        scale, divide = (None if size is None else torch.ones(size) for size in sizes)
        grid = grid_from(spec["grid"], torch.tensor(spec["table"]))
        return cls(grid, scale, divide=divide, axis=spec["axis"])

    def extra_repr(self) -> str:  # noqa: D102
        kind = "per token" if self.scale is None else f"scale {tuple(self.scale.shape)}"
        return f"{self.grid.name}, {kind}" + (", divided" if self.divide is not None else "")

    def _along(self, value: Tensor, x: Tensor) -> Tensor:
        value = value.to(x.dtype)
        if value.dim() == 0 or self.axis == -1:
            return value
        return value.view(-1, *[1] * (x.dim() - 1 - self.axis % x.dim()))

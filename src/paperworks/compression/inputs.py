"""Inputs of few bits, simulated: each number is rounded to a grid and stays a float."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paperworks.compression.grids import FloatGrid, Grid, IntegerGrid, grid_from
from paperworks.compression.kernels.inputs import (
    INTEGERS,
    LEVELS,
    NO_SEARCH,
    round_maps,
    round_rows,
    search_of,
)

_FEW = 1 << 20  # numbers up to which one thread in one pass beats torch


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
        self._made: tuple[Any, ...] | None = None

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
        plain = x.dtype == torch.float32 and x.is_cpu and not x.requires_grad and x.numel() > 0
        if plain and (x.numel() <= _FEW or _is_table(self.grid)):  # which torch searches slowly
            settings = self._settings()
            if settings is not None:
                return _round_few(x, settings, self.axis)
        if self.divide is not None:
            x = x / self._along(self.divide, x)
        if self.scale is not None:
            scale = self._along(self.scale, x)
        else:
            scale = self.grid.scale_for(x.abs().amax(self.axis, keepdim=True))
        return self.grid.round(x / scale) * scale

    def _settings(self) -> tuple[Any, ...] | None:
        """What :func:`round_rows` and :func:`round_maps` are told; None if torch has to round."""
        if (
            self._made is None
            or self._made[0] is not self.scale
            or self._made[1] is not self.divide
        ):
            self._made = (self.scale, self.divide, self._make())
        return self._made[2]

    def _make(self) -> tuple[Any, ...] | None:
        grid = self.grid
        levels: tuple[float, float, float]
        search = NO_SEARCH
        if isinstance(grid, IntegerGrid):
            levels = (-grid.top if grid.signed else 0, grid.top, 1)
            mantissa = INTEGERS
        elif isinstance(grid, FloatGrid) and not _is_table(grid):
            levels = (-grid.largest, grid.largest, 2.0 ** (1 - grid.bias))
            mantissa = grid.mantissa
        else:
            levels = (-grid.largest, grid.largest, 1)
            mantissa = LEVELS
            found = search_of(grid)
            if found is None:
                return None
            search = found
        factors = [
            np.empty(0, np.float32) if each is None else each.float().reshape(-1).numpy()
            for each in (self.scale, self.divide)
        ]
        return (*factors, *map(np.float32, levels), mantissa, *search)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}

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


def _is_table(grid: Grid) -> bool:
    """Whether its levels are searched, as those of no arithmetic rule."""
    if isinstance(grid, FloatGrid):
        return grid.mantissa == 0
    return not isinstance(grid, IntegerGrid)


def _round_few(x: Tensor, settings: tuple[Any, ...], axis: int) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    channels = axis % x.dim()
    run: Any = round_rows
    shape: tuple[int, ...] = (-1, x.shape[-1])
    if channels < x.dim() - 1:
        run, shape = round_maps, (math.prod(x.shape[:channels]), x.shape[channels], -1)
    run(x.numpy().reshape(shape), *settings, out.numpy().reshape(shape))
    return out

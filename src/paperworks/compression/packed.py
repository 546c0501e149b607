"""Weights of few bits, packed in memory.

A weight is ``scale * level + offset``: a code of b bits names the level in a table of 2**b, and
scale and offset belong to an output channel, or to a group of neighbouring columns of it. All
methods of this family end here, whatever their grid. A 4-bit weight takes half a byte in memory
and on disk, and its scales 4 bytes each beside it. A row of a matrix is padded to a multiple of 64
columns; the rows of a convolution, which may be nine weights long, and those of a matrix of up to
32 columns follow without a gap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from paperworks.compression.grids import Grid
from paperworks.compression.kernels.decoding import LANES, decode
from paperworks.compression.kernels.layout import pack, unpack
from paperworks.compression.kernels.products import matvec
from paperworks.compression.kernels.tables import (
    AFFINE,
    BYTES,
    TABLE,
    by_bytes,
    decodes_bytes,
    kind_of,
    planes,
)
from paperworks.compression.layers import TILE

FEW_ROWS = 4  # up to so many rows of input, decoding in registers beats decoding to memory
_CHUNK = 1 << 22  # weights decoded at a time otherwise: 16 MB
_SPLIT = 1 << 20  # weights from which a second thread pays
_SMALL = 1 << 15  # weights of a convolution up to which it stays decoded: 128 kB


class PackedWeight(nn.Module):
    """A weight whose codes are packed at their own bit width.

    Parameters
    ----------
    codes : (out, groups, bytes) uint8
        In the layout of :mod:`paperworks.compression.kernels.layout`; see :meth:`pack`.
    table : (2**bits,) float32
        The level of each code.
    scale : (out, groups) float32
    offset : (out, groups) float32, optional
    shape : tuple of int
        Of the weight that this stands for: (out, in) or (out, in / groups, height, width).
    name : str
        Of the grid, for reports.

    Notes
    -----
    With a row of input the cost is O(out * fan_in) multiply-adds and bits / 32 of the memory
    traffic of float32. With more than four rows, or 32 columns and fewer, the weight is decoded,
    16 MB at a time, and not kept; that of a convolution of up to 32,768 weights alone stays decoded
    beside its codes (:attr:`kept_bytes`).
    """

    codes: Tensor
    table: Tensor
    scale: Tensor
    offset: Tensor | None
    like: Tensor
    _ready: tuple[Any, ...] | None
    _decoder: tuple[Any, ...] | None
    _kept: Tensor | None

    def __init__(
        self,
        codes: Tensor,
        table: Tensor,
        scale: Tensor,
        offset: Tensor | None,
        shape: tuple[int, ...],
        name: str,
    ):
        super().__init__()
        self.register_buffer("codes", codes)
        self.register_buffer("table", table)
        self.register_buffer("scale", scale)
        self.register_buffer("offset", offset)
        # Follows the model where it is turned into another dtype, as nothing else here does.
        self.register_buffer("like", torch.empty(0, device=codes.device), persistent=False)
        self.shape = tuple(shape)
        self.fan_in = math.prod(self.shape[1:])
        self.name = name
        self._forget()

    @classmethod
    def pack(
        cls,
        codes: Tensor,
        grid: Grid,
        scale: Tensor,
        *,
        offset: Tensor | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> PackedWeight:
        """Pack codes of ``grid``.

        Parameters
        ----------
        codes : (out, fan_in) uint8
            As of :meth:`Grid.encode`.
        grid : Grid
        scale : (out, groups), (out, 1), (out,) or scalar float
            Each group is fan_in / groups neighbouring columns.
        offset : as ``scale``, optional
            Added to the scaled level; for grids that do not reach both signs.
        shape : tuple of int, optional
            Of the weight where it is not a matrix.

        Raises
        ------
        ValueError
            If ``fan_in`` is no multiple of the number of groups, or a group no multiple of 64
            columns (one group a row may have any length).
        """
        out, fan_in = codes.shape
        scale = _per_group(scale, out)
        groups = scale.shape[1]
        if fan_in % groups or (groups > 1 and fan_in // groups % TILE):
            raise ValueError(
                f"{fan_in} columns do not make {groups} groups of a multiple of {TILE} "
                f"columns; use another group size, or one scale per output channel"
            )
        if int(codes.max()) >= 2**grid.bits:
            raise ValueError(f"code {int(codes.max())} is beyond {grid.name}'s {grid.bits} bits")
        shape = shape or (out, fan_in)
        # Rows of few columns are decoded together: they follow without a gap.
        whole = _is_whole(shape)
        rows = codes.reshape(1, 1, -1) if whole else codes.view(out, groups, -1)
        size = rows.shape[-1]
        tiles = -(-size // TILE)
        padded = functional.pad(rows, (0, tiles * TILE - size))
        packed = pack(padded.view(*rows.shape[:2], tiles, TILE), grid.bits)
        return cls(
            packed,
            grid.table.to(codes.device, copy=True),
            scale.float().contiguous(),
            None if offset is None else _per_group(offset, out).float().contiguous(),
            shape,
            grid.name,
        )

    def spec(self) -> dict[str, Any]:
        """What :meth:`from_spec` needs beside the state dict, as JSON values."""
        return {
            "shape": list(self.shape),
            "codes": list(self.codes.shape),
            "groups": self.scale.shape[1],
            "bits": self.bits,
            "offset": self.offset is not None,
            "name": self.name,
            "dtype": str(self.dtype).removeprefix("torch."),
        }

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> PackedWeight:
        """A weight of that form, for :meth:`load_state_dict` to fill."""
        codes = torch.empty(spec["codes"], dtype=torch.uint8)
        scale = torch.empty(spec["shape"][0], spec["groups"])
        offset = torch.empty_like(scale) if spec["offset"] else None
        table = torch.empty(2 ** spec["bits"])
        weight = cls(codes, table, scale, offset, tuple(spec["shape"]), spec["name"])
        return weight.to(getattr(torch, spec["dtype"]))

    @property
    def bits(self) -> int:
        """The width of a code."""
        return self.table.numel().bit_length() - 1

    @property
    def bytes(self) -> int:
        """What the weight takes in memory and on disk: codes, table, scales and offsets."""
        return sum(buffer.numel() * buffer.element_size() for buffer in self.buffers())

    @property
    def kept_bytes(self) -> int:
        """What a small weight takes beside :attr:`bytes` from its first use on, decoded."""
        return 0 if self._kept is None else self._kept.numel() * self._kept.element_size()

    @property
    def dtype(self) -> torch.dtype:
        """Of the model that it is part of, which may ask for it; scales are float32 always."""
        return self.like.dtype

    def unpack(self) -> Tensor:
        """The codes as (out, fan_in) uint8."""
        size = self._columns
        codes = unpack(self.codes, self.bits).flatten(2)[:, :, :size]
        return codes.reshape(self.shape[0], self.fan_in)

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The weight that this stands for, in its own shape."""
        return self._decode(slice(None)).to(dtype).view(self.shape)

    def shared(self, dtype: torch.dtype) -> Tensor:
        """As :meth:`dequantize`, not to be changed: a small weight is decoded only once."""
        kept = self._kept
        if kept is None or kept.dtype != dtype:
            kept = self.dequantize(dtype)
            if self.codes.numel() * 8 <= _SMALL * self.bits:
                self._kept = kept
        return kept

    def row(self, index: Tensor) -> Tensor:
        """The rows ``index`` (any shape of int64) decoded: (..., fan_in) of :attr:`dtype`."""
        return self._decode(index.reshape(-1)).to(self.dtype).view(*index.shape, self.fan_in)

    def linear(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """``x @ weight.T + bias`` for x of shape (..., fan_in)."""
        rows = x.numel() // self.fan_in
        plain = not self._whole and x.is_cpu and x.dtype == torch.float32 and not x.requires_grad
        if plain and 0 < rows <= FEW_ROWS:
            product = self._times(x, rows)
            if bias is not None:
                product += bias
            return product
        out = self.shape[0]
        step = max(_CHUNK // self.fan_in, 1)
        if self._whole or step >= out:
            return functional.linear(x, self._decode(slice(None)).to(x.dtype), bias)
        parts = [
            functional.linear(x, self._decode(slice(first, first + step)).to(x.dtype))
            for first in range(0, out, step)
        ]
        product = torch.cat(parts, -1)
        return product if bias is None else product + bias

    def extra_repr(self) -> str:  # noqa: D102
        groups = self.scale.shape[1]
        return f"shape={self.shape}, {self.name}, bits={self.bits}, groups={groups}"

    def _apply(self, *args: Any, **kwargs: Any) -> PackedWeight:
        self._forget()
        table, scale, offset = self.table, self.scale, self.offset
        super()._apply(*args, **kwargs)
        # .half() and .bfloat16() are for activations: scales stay what they were fitted as.
        self.table, self.scale = table.to(self.table.device), scale.to(self.table.device)
        self.offset = None if offset is None else offset.to(self.table.device)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ready": None, "_decoder": None, "_kept": None}

    def _forget(self) -> None:
        """Drop what was made of the codes for use, since they or their device have changed."""
        self._ready, self._decoder, self._kept = None, None, None

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._forget()
        super()._load_from_state_dict(*args, **kwargs)

    @property
    def _affine(self) -> bool:
        """Whether a level is its code times a step, to the bit."""
        codes = torch.arange(self.table.numel(), dtype=torch.float32)
        step = self.table[1] - self.table[0]
        return torch.equal(self.table, self.table[0] + codes * step)

    @property
    def _whole(self) -> bool:
        """Whether all rows are packed as one."""
        return self.codes.shape[:2] != self.scale.shape

    @property
    def _columns(self) -> int:
        """Of a row of codes in a group, without padding."""
        return self.shape[0] * self.fan_in // (self.codes.shape[0] * self.codes.shape[1])

    def _decode(self, rows: slice | Tensor) -> Tensor:
        scale, offset = self.scale[rows], None if self.offset is None else self.offset[rows]
        if not self._whole:
            levels = self._levels(self.codes[rows], self._columns)
        elif isinstance(rows, Tensor):
            levels = self._levels_of_tiles(rows)
        else:
            levels = self._levels(self.codes, self._columns).view(-1, 1, self.fan_in)[rows]
        levels *= scale[:, :, None]
        if offset is not None:
            levels += offset[:, :, None]
        return levels.view(-1, self.fan_in)

    def _levels(self, packed: Tensor, columns: int) -> Tensor:
        """The levels of packed codes before scaling: (rows, groups, columns)."""
        if packed.device.type != "cpu":
            return self.table[unpack(packed, self.bits).flatten(2)[:, :, :columns].int()]
        levels = torch.empty(*packed.shape[:2], columns)
        if self._decoder is None:
            self._decoder = self._prepare_decoder()
        write, *tables = self._decoder
        write(packed.numpy(), *tables, levels.numpy())
        return levels

    def _levels_of_tiles(self, rows: Tensor) -> Tensor:
        """Rows that follow without a gap, (rows, 1, fan_in): only their tiles are decoded."""
        tiles = self.codes.view(-1, TILE * self.bits // 8)
        first = rows % self.shape[0] * self.fan_in
        count = (self.fan_in + TILE - 2) // TILE + 1  # wherever in a tile a row begins
        place = first[:, None] // TILE + torch.arange(count, device=rows.device)
        packed = tiles[place.clamp(max=len(tiles) - 1)].view(len(rows), 1, -1)
        levels = self._levels(packed, count * TILE)[:, 0]
        columns = first[:, None] % TILE + torch.arange(self.fan_in, device=rows.device)
        return levels.gather(1, columns)[:, None]

    def _times(self, x: Tensor, rows: int) -> Tensor:
        if self._ready is None:
            self._ready = self._prepare()
        multiply, codes, table, scale, offset, width = self._ready
        if width != self.fan_in:  # one group: a row's padding is at its end
            x = functional.pad(x, (0, width - self.fan_in))
        product = torch.empty(x.shape[:-1] + self.shape[:1])
        # Shaped as arrays, which takes a fifth of the time that it takes of tensors.
        given, out = x.contiguous().numpy(), product.numpy()
        multiply(codes, given.reshape(rows, -1), table, scale, offset, out.reshape(rows, -1))
        return product

    def _prepare_decoder(self) -> tuple[Any, ...]:
        table = self.table.numpy()
        kind, fast = TABLE, table
        if self._affine:
            kind, fast = AFFINE, np.array([table[0], table[1] - table[0]])
        elif decodes_bytes(table):
            kind, fast = BYTES, planes(table)
        return decode(self.bits, kind), table, fast

    def _prepare(self) -> tuple[Any, ...]:
        kind, factor = kind_of(self.table)
        scale = self.scale * factor
        offset = torch.zeros_like(scale) if self.offset is None else self.offset
        if kind == AFFINE:
            step = self.table[1] - self.table[0]
            offset = offset + scale * self.table[0]
            scale = scale * step
        table = functional.pad(self.table, (0, max(LANES - self.table.numel(), 0)))
        if by_bytes(self.bits, kind):
            kind, table = BYTES, torch.from_numpy(planes(table.numpy()))
        threads = min(torch.get_num_threads(), numba.get_num_threads())
        parallel = threads > 1 and self.codes.numel() * 8 // self.bits >= _SPLIT
        width = self.codes[0].numel() * 8 // self.bits
        multiply = matvec(self.bits, kind, parallel)
        arrays = (self.codes, table, scale, offset)
        return (multiply, *(each.contiguous().numpy() for each in arrays), width)


def padded_size(shape: Sequence[int]) -> int:
    """How many codes a weight of this shape is packed as, its padding counted."""
    rows = 1 if _is_whole(shape) else shape[0]
    columns = math.prod(shape) // rows
    return rows * -(-columns // TILE) * TILE


def _is_whole(shape: Sequence[int]) -> bool:
    """Whether rows follow without a gap: where padding would at least double them, or in kernels.

    A product with a row of input is fast on padded rows only, which kernels do not have.
    """
    columns = math.prod(shape[1:])
    return columns % TILE > 0 if len(shape) > 2 else 2 * columns <= TILE


def _per_group(value: Tensor, out: int) -> Tensor:
    if value.dim() < 2:
        value = value.reshape(-1, 1)
    return value.expand(out, value.shape[1])

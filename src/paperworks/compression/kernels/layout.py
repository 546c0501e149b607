"""Where codes of few bits lie in memory.

Codes of ``bits`` bits are split into fields of 8, 4, 2 and 1 bits (6 = 4 + 2) that are stored
apart, so that no code crosses a byte. Every TILE = 64 columns a field of width w takes 8 w bytes;
the byte k of a tile holds the columns k, k + 8 w, k + 16 w, ... from its low bits up. So eight
neighbouring codes always lie in eight neighbouring bytes at one shift.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from paperworks.compression.layers import TILE


def fields(bits: int) -> Iterator[tuple[int, int]]:
    """The (width, shift) of the fields that a code is split into, from its low bits up."""
    shift = 0
    for width in (8, 4, 2, 1):
        if bits & width:
            yield width, shift
            shift += width


def pack(codes: Tensor, bits: int) -> Tensor:
    """(out, groups, tiles, 64) codes to (out, groups, tiles * 8 * bits) bytes."""
    parts = []
    for width, shift in fields(bits):
        field = (codes >> shift) & (2**width - 1)
        sections = field.view(*codes.shape[:3], 8 // width, 8 * width)
        packed = torch.zeros_like(sections[:, :, :, 0])
        for place in range(8 // width):
            packed |= sections[:, :, :, place] << (place * width)
        parts.append(packed)
    return torch.cat(parts, -1).flatten(2).contiguous()


def unpack(packed: Tensor, bits: int) -> Tensor:
    """The inverse of :func:`pack`: (out, groups, tiles, 64)."""
    tiles = packed.view(*packed.shape[:2], -1, TILE * bits // 8)
    codes, start = None, 0
    for width, shift in fields(bits):
        field = tiles[..., start : start + 8 * width]
        places = [(field >> (place * width)) & (2**width - 1) for place in range(8 // width)]
        part = torch.cat(places, -1) << shift
        codes = part if codes is None else codes | part
        start += 8 * width
    assert codes is not None
    return codes

"""Packed codes decoded to memory, a tile of 64 at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from paperworks.compression.kernels.layout import fields
from paperworks.compression.kernels.tables import AFFINE, BYTES, TABLE
from paperworks.compression.layers import TILE

LANES = 8


def tile_bytes(builder: ir.IRBuilder, codes: ir.Value, at: ir.Value, bits: int) -> ir.Value:
    """The codes of the tile that starts at byte ``at``, as a vector of eight int64 of eight."""
    i64 = ir.IntType(64)
    eight = ir.VectorType(i64, LANES)
    plane, whole = 0, None
    for wide, shift in fields(bits):  # of a field, each section is ``wide`` of these int64
        address = builder.gep(codes, [builder.add(at, ir.Constant(i64, plane))])
        field = builder.load(builder.bitcast(address, ir.PointerType(ir.VectorType(i64, wide))))
        field.align = 1
        places = [place % wide for place in range(LANES)]
        places = ir.Constant(ir.VectorType(ir.IntType(32), LANES), places)
        field = builder.shuffle_vector(field, field, places)
        down = ir.Constant(eight, [place // wide * wide for place in range(LANES)])
        mask = int.from_bytes([2**wide - 1] * 8, "little")
        field = builder.and_(builder.lshr(field, down), ir.Constant(eight, [mask] * LANES))
        field = builder.shl(field, ir.Constant(eight, [shift] * LANES))
        whole = field if whole is None else builder.or_(whole, field)
        plane += LANES * wide
    return whole


def byte_levels(
    builder: ir.IRBuilder, table: ir.Value, bits: int
) -> Callable[[ir.Value], list[ir.Value]]:
    """What makes the 64 levels, four vectors of 16 float32, of a tile of :func:`tile_bytes`.

    table: pointer to what :func:`planes` gives, read where the builder stands now.
    """
    i32 = ir.IntType(32)
    tile_u8 = ir.VectorType(ir.IntType(8), TILE)
    count = 1 if bits < 7 else 2  # vectors of 64 bytes that hold one byte of each level
    parts = []
    for part in range(4 * count):
        address = builder.gep(table, [ir.Constant(ir.IntType(64), part * TILE // 4)])
        parts.append(builder.load(builder.bitcast(address, ir.PointerType(tile_u8))))
        parts[-1].align = 1

    def choose(tables: list[ir.Value], code: ir.Value) -> ir.Value:
        name = "permvar" if count == 1 else "vpermi2var"
        arguments = [tables[0], code, *tables[1:]]
        kind = ir.FunctionType(tile_u8, [tile_u8] * len(arguments))
        function = cgutils.get_or_insert_function(
            builder.module, kind, f"llvm.x86.avx512.{name}.qi.512"
        )
        return builder.call(function, arguments)

    def unpack(low: ir.Value, high: ir.Value, size: int, upper: bool) -> ir.Value:
        # Elements of two vectors in turn, of one half of each 128 bits: one instruction.
        length, half = 512 // size, 64 // size
        starts = [lane * 2 * half + upper * half for lane in range(4)]
        places = [
            start + i + other for start in starts for i in range(half) for other in (0, length)
        ]
        kind = ir.VectorType(ir.IntType(size), length)
        return builder.shuffle_vector(
            builder.bitcast(low, kind),
            builder.bitcast(high, kind),
            ir.Constant(ir.VectorType(i32, length), places),
        )

    def levels(tile: ir.Value) -> list[ir.Value]:
        # Unpacked twice, the bytes of a level lie in another place: there its code is put.
        by_four = ir.VectorType(i32, 16)
        places = ir.Constant(by_four, [4 * part + lane for lane in range(4) for part in range(4)])
        tile = builder.bitcast(tile, by_four)
        code = builder.bitcast(builder.shuffle_vector(tile, tile, places), tile_u8)
        found = [choose(parts[byte * count : (byte + 1) * count], code) for byte in range(4)]
        if bits == 8:  # a permutation of two vectors looks at seven bits
            sign = builder.and_(code, ir.Constant(tile_u8, [128] * TILE))
            found[3] = builder.xor(found[3], sign)
        result = []
        for upper in (False, True):
            low, high = (unpack(found[i], found[i + 1], 8, upper) for i in (0, 2))
            for last in (False, True):
                four = unpack(low, high, 16, last)
                result.append(builder.bitcast(four, ir.VectorType(ir.FloatType(), 16)))
        return result

    return levels


@intrinsic
def _write_tile(typingctx, codes, at, table, out, place, bits, kind):
    """Write the levels of the tile at byte ``at`` to ``place`` and the 63 after it.

    codes: pointer to uint8; out: pointer to float32; ``bits`` and ``kind`` are literals. table:
    pointer to float32; the lowest level and the step for AFFINE, what :func:`planes` gives for
    BYTES. Other kinds are left to the caller.
    """
    if not isinstance(bits, types.IntegerLiteral) or not isinstance(kind, types.IntegerLiteral):
        return None
    width, way = bits.literal_value, kind.literal_value
    floats = types.CPointer(types.float32)
    signature = types.void(
        types.CPointer(types.uint8), types.intp, floats, floats, types.intp, bits, kind
    )

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        codes, at, table, out, place = arguments[:5]
        i32, i64, count = ir.IntType(32), ir.IntType(64), 2 * LANES
        lanes_i32, lanes_f32 = ir.VectorType(i32, count), ir.VectorType(ir.FloatType(), count)

        def everywhere(index: int) -> ir.Value:
            value = builder.load(builder.gep(table, [ir.Constant(i64, index)]))
            one = ir.Constant(lanes_f32, ir.Undefined)
            one = builder.insert_element(one, value, ir.Constant(i32, 0))
            return builder.shuffle_vector(one, one, ir.Constant(lanes_i32, None))

        levels: list[ir.Value] = []
        if way in (AFFINE, BYTES):
            tile = tile_bytes(builder, codes, at, width)
        if way == BYTES:
            levels = byte_levels(builder, table, width)(tile)
        if way == AFFINE:
            start, step = everywhere(0), everywhere(1)
            tile = builder.bitcast(tile, ir.VectorType(ir.IntType(8), TILE))
            for first in range(0, TILE, count):
                these = ir.Constant(lanes_i32, list(range(first, first + count)))
                code = builder.zext(builder.shuffle_vector(tile, tile, these), lanes_i32)
                level = builder.fmul(step, builder.sitofp(code, lanes_f32))
                levels.append(builder.fadd(start, level))
        for part, level in enumerate(levels):
            first_of = builder.add(place, ir.Constant(i64, count * part))
            address = builder.gep(out, [first_of])
            builder.store(level, builder.bitcast(address, ir.PointerType(lanes_f32))).align = 4
        return context.get_dummy_value()

    return signature, generate


@cache
def decode(bits: int, kind: int) -> Callable[..., None]:
    """The compiled ``(codes, table, fast, out) -> None`` that writes the levels of packed codes.

    kind : AFFINE where ``table[0] + code * (table[1] - table[0])`` is the level, to the bit;
        BYTES where the processor has the instructions, and all 8 bits are a magnitude's and a
        sign; else TABLE

    codes : (rows, groups, bytes) uint8; table : (2**bits,) float32;
    fast : for BYTES what :func:`planes` makes of it, for AFFINE the lowest level and the step;
    out : (rows, groups, columns) float32, written.
    """
    # As arrays, since numba takes them for constants.
    layout = list(fields(bits))
    widths = np.array([width for width, _ in layout])
    shifts = np.array([shift for _, shift in layout])

    @njit(cache=True, nogil=True)
    def run(codes, table, fast, out):
        rows, groups, columns = out.shape
        tile = np.empty(TILE, np.uint8)
        start_at, step = table[0], table[1] - table[0]
        for row in range(rows):
            for group in range(groups):
                packed, levels = codes[row, group], out[row, group]
                whole = columns // TILE * TILE if kind != TABLE else 0
                for first in range(0, whole, TILE):
                    at = first * bits // 8
                    _write_tile(  # type: ignore[call-arg]
                        packed.ctypes, at, fast.ctypes, levels.ctypes, first, bits, kind
                    )
                for first in range(whole, columns, TILE):
                    # All codes of a tile at once: the inner loops become vector instructions.
                    at = first * bits // 8
                    tile[:] = 0
                    for k in range(widths.size):
                        wide, mask = widths[k], np.uint8((1 << widths[k]) - 1)
                        for section in range(8 // wide):
                            down, start = np.uint8(section * wide), section * 8 * wide
                            for byte in range(8 * wide):
                                field = (packed[at + byte] >> down) & mask
                                tile[start + byte] |= field << np.uint8(shifts[k])
                        at += 8 * wide
                    count = min(TILE, columns - first)
                    if kind == AFFINE:
                        for place in range(count):
                            levels[first + place] = start_at + step * np.float32(tile[place])
                    else:
                        for place in range(count):
                            levels[first + place] = table[tile[place]]

    return run

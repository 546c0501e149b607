"""Rows of input times packed weights, decoded in registers.

One row of input is limited by the memory that the weights take, so a packed weight is faster than
a float32 one as long as decoding keeps up. Plain loops do not: compilers turn a table look-up into
one load per weight. The dot product is therefore written in LLVM's vector instructions, eight
weights at a time, with the decoding that fits the grid.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from paperworks.compression.kernels.decoding import LANES, byte_levels, tile_bytes
from paperworks.compression.kernels.layout import fields
from paperworks.compression.kernels.tables import (
    AFFINE,
    BYTES,
    FLOAT,
    HAS_LONG_PERMUTE,
    HAS_PERMUTE,
    SIGNED,
    WIDE,
)
from paperworks.compression.layers import TILE


@intrinsic
def _dot_row(typingctx, codes, x, table, scale, groups, tiles, bits, kind):
    """The dot product of one row of weights with x; ``bits`` and ``kind`` are literals.

    codes: pointer to uint8; x: pointer to float32; table: pointer to float32, 2**bits of them and
    no fewer than 8; scale: pointer to ``groups`` float32; a group is ``tiles`` tiles. For AFFINE
    the level is the code itself; for BYTES the table is that of :func:`planes`.
    """
    if not isinstance(bits, types.IntegerLiteral) or not isinstance(kind, types.IntegerLiteral):
        return None
    width, way = bits.literal_value, kind.literal_value
    floats = types.CPointer(types.float32)
    signature = types.float32(
        types.CPointer(types.uint8), floats, floats, floats, types.intp, types.intp, bits, kind
    )

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        codes, x, table, scale, groups, tiles = arguments[:6]
        i32, i64, f32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
        lanes_u8 = ir.VectorType(ir.IntType(8), LANES)
        lanes_i32, lanes_f32 = ir.VectorType(i32, LANES), ir.VectorType(f32, LANES)
        long_i32, long_f32 = ir.VectorType(i32, 2 * LANES), ir.VectorType(f32, 2 * LANES)
        lanes_code = ir.VectorType(ir.IntType(16), LANES) if FLOAT <= way < WIDE else lanes_i32

        def function(name: str, result: ir.Type, *parameters: ir.Type) -> ir.Function:
            return cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(result, parameters), name
            )

        def load(pointer: ir.Value, offset: ir.Value, kind: ir.Type) -> ir.Value:
            at = builder.gep(pointer, [offset])
            loaded = builder.load(builder.bitcast(at, ir.PointerType(kind)))
            loaded.align = 4 if kind in (lanes_f32, long_f32) else 1  # rows start anywhere
            return loaded

        def splat(value: int) -> ir.Constant:
            return ir.Constant(lanes_code, [value] * LANES)

        zero = ir.Constant(lanes_f32, [0.0] * LANES)
        permute = function("llvm.x86.avx2.permps", lanes_f32, lanes_f32, lanes_i32)
        lanes_sum = long_f32 if way == BYTES else lanes_f32
        multiply_long = function("llvm.fma.v16f32", long_f32, long_f32, long_f32, long_f32)
        multiply_add = function("llvm.fma.v8f32", lanes_f32, lanes_f32, lanes_f32, lanes_f32)
        in_register = HAS_PERMUTE and (width < 4 or (width == 4 and way == SIGNED))
        by_sign = in_register and width == 4
        # Tables of 16 magnitudes and more, in registers of sixteen; two vectors at a time.
        choose = function(
            "llvm.x86.avx512.vpermi2var.ps.512", long_f32, long_f32, long_i32, long_f32
        )
        long = way == SIGNED and width > 4 and HAS_LONG_PERMUTE
        magnitudes = 2 ** (width - 1) if long else 0
        parts = [load(table, ir.Constant(i64, i), long_f32) for i in range(0, magnitudes, 16)]
        register = load(table, ir.Constant(i64, 0), lanes_f32) if in_register else None
        from_bytes = byte_levels(builder, table, width) if way == BYTES else None
        if by_sign:
            # The index is put on top of each magnitude, where a code's own bits take it off again
            # and leave its sign: one operation less for each weight.
            index = ir.Constant(lanes_i32, [lane << 28 for lane in range(LANES)])
            raw = builder.xor(builder.bitcast(register, lanes_i32), index)
            register = builder.bitcast(raw, lanes_f32)

        def with_sign(magnitude: ir.Value, code: ir.Value) -> ir.Value:
            top = builder.shl(code, splat(28))
            raw = builder.xor(builder.bitcast(magnitude, lanes_i32), top)
            return builder.bitcast(raw, lanes_f32)

        def from_half(code: ir.Value) -> ir.Value:
            # The bits as a float16's, subnormals included; its other bias is the caller's.
            missing = 5 - (width - 1 - (way - FLOAT))  # exponent bits, to be copies of the sign
            raw = builder.ashr(builder.shl(code, splat(16 - width)), splat(missing))
            raw = builder.and_(raw, splat(-(2**15) + 2 ** (15 - missing) - 1))
            half = builder.bitcast(raw, ir.VectorType(ir.HalfType(), LANES))
            return builder.fpext(half, lanes_f32)

        def from_bits(code: ir.Value) -> ir.Value:
            mantissa = way - WIDE
            bias = max(2 ** (width - 2 - mantissa) - 1, 1)
            magnitude = builder.and_(code, splat(2 ** (width - 1) - 1))
            raw = builder.shl(magnitude, splat(23 - mantissa))
            raw = builder.add(raw, splat((127 - bias) << 23))
            step = ir.Constant(lanes_f32, [2.0 ** (1 - bias - mantissa)] * LANES)
            small = builder.fmul(builder.sitofp(magnitude, lanes_f32), step)
            below = builder.icmp_unsigned("<", magnitude, splat(2**mantissa))
            raw = builder.select(below, builder.bitcast(small, lanes_i32), raw)
            sign = builder.shl(builder.lshr(code, splat(width - 1)), splat(31))
            return builder.bitcast(builder.or_(raw, sign), lanes_f32)

        def from_parts(code: ir.Value) -> ir.Value:
            # A permutation looks at five bits of an index; those above choose among its results.
            halves = zip(parts[::2], parts[1::2] or parts, strict=True)
            found = [builder.call(choose, [low, code, high]) for low, high in halves]
            for bit in range(5, width - 1):
                alone = builder.and_(code, ir.Constant(long_i32, [1 << bit] * 16))
                on = builder.icmp_signed("!=", alone, ir.Constant(long_i32, [0] * 16))
                found = [
                    builder.select(on, high, low)
                    for low, high in zip(found[::2], found[1::2], strict=True)
                ]
            top = ir.Constant(long_i32, [1 << (width - 1)] * 16)
            sign = builder.shl(builder.and_(code, top), ir.Constant(long_i32, [32 - width] * 16))
            raw = builder.or_(builder.bitcast(found[0], long_i32), sign)
            return builder.bitcast(raw, long_f32)

        def lanes_of(first: ir.Value, second: ir.Value, start: int, count: int) -> ir.Value:
            places = ir.Constant(ir.VectorType(i32, count), list(range(start, start + count)))
            return builder.shuffle_vector(first, second, places)

        def levels(codes: list[ir.Value]) -> list[ir.Value]:
            if not long:
                return [level(code) for code in codes]
            found = []
            for first, second in zip(codes[::2], codes[1::2], strict=True):
                both = from_parts(lanes_of(first, second, 0, 2 * LANES))
                found += [lanes_of(both, both, start, LANES) for start in (0, LANES)]
            return found

        def level(code: ir.Value) -> ir.Value:
            if way == AFFINE:
                return builder.sitofp(code, lanes_f32)
            if way >= WIDE:  # and below BYTES, which does not come here
                return from_bits(code)
            if way >= FLOAT:
                return from_half(code)
            if in_register:  # the permutation looks at three bits of an index
                value = builder.call(permute, [register, code])
                return with_sign(value, code) if by_sign else value
            value = ir.Constant(lanes_f32, ir.Undefined)
            for lane in range(LANES):
                index = builder.extract_element(code, ir.Constant(i32, lane))
                one = builder.load(builder.gep(table, [index]))
                value = builder.insert_element(value, one, ir.Constant(i32, lane))
            return value

        start, one = ir.Constant(i64, 0), ir.Constant(i64, 1)
        before = builder.block
        outer, inner = builder.append_basic_block("group"), builder.append_basic_block("tile")
        scaled, done = builder.append_basic_block("scaled"), builder.append_basic_block("done")
        builder.branch(outer)

        builder.position_at_end(outer)
        group, row = builder.phi(i64), builder.phi(lanes_f32)
        group.add_incoming(start, before)
        row.add_incoming(zero, before)
        first = builder.mul(group, tiles)
        builder.branch(inner)

        builder.position_at_end(inner)
        tile = builder.phi(i64)
        tile.add_incoming(start, outer)
        # Four sums that do not wait for one another.
        sums = [builder.phi(lanes_sum) for _ in range(4)]
        for each in sums:
            each.add_incoming(ir.Constant(lanes_sum, None), outer)
        totals = list(sums)
        at = builder.add(first, tile)
        code_at = builder.mul(at, ir.Constant(i64, TILE * width // 8))
        x_at = builder.mul(at, ir.Constant(i64, TILE))
        if from_bytes is not None:
            for part, weights in enumerate(from_bytes(tile_bytes(builder, codes, code_at, width))):
                inputs = load(x, builder.add(x_at, ir.Constant(i64, 16 * part)), long_f32)
                totals[part] = builder.call(multiply_long, [weights, inputs, totals[part]])
        else:
            tile_codes = []
            for vector in range(TILE // LANES):
                code, plane = None, 0
                for wide, shift in fields(width):
                    section, byte = divmod(vector, wide)
                    offset = builder.add(code_at, ir.Constant(i64, plane + LANES * byte))
                    field = builder.zext(load(codes, offset, lanes_u8), lanes_code)
                    field = builder.lshr(field, splat(section * wide))
                    if not by_sign:  # which does not look at the bits above
                        field = builder.and_(field, splat(2**wide - 1))
                    field = builder.shl(field, splat(shift))
                    code = field if code is None else builder.or_(code, field)
                    plane += LANES * wide
                tile_codes.append(code)
            for vector, weights in enumerate(levels(tile_codes)):
                inputs = load(x, builder.add(x_at, ir.Constant(i64, LANES * vector)), lanes_f32)
                total = totals[vector % 4]
                totals[vector % 4] = builder.call(multiply_add, [weights, inputs, total])
        next_tile = builder.add(tile, one)
        tile.add_incoming(next_tile, inner)
        for each, total in zip(sums, totals, strict=True):
            each.add_incoming(total, inner)
        builder.cbranch(builder.icmp_signed("<", next_tile, tiles), inner, scaled)

        builder.position_at_end(scaled)
        lanes = builder.fadd(builder.fadd(totals[0], totals[1]), builder.fadd(totals[2], totals[3]))
        if way == BYTES:
            halves = [lanes_of(lanes, lanes, start, LANES) for start in (0, LANES)]
            lanes = builder.fadd(*halves)
        factor = builder.load(builder.gep(scale, [group]))
        factors = ir.Constant(lanes_f32, ir.Undefined)
        for lane in range(LANES):
            factors = builder.insert_element(factors, factor, ir.Constant(i32, lane))
        new_row = builder.call(multiply_add, [lanes, factors, row])
        next_group = builder.add(group, one)
        group.add_incoming(next_group, scaled)
        row.add_incoming(new_row, scaled)
        builder.cbranch(builder.icmp_signed("<", next_group, groups), outer, done)

        builder.position_at_end(done)
        result = ir.Constant(f32, 0.0)
        for lane in range(LANES):
            part = builder.extract_element(new_row, ir.Constant(i32, lane))
            result = builder.fadd(result, part)
        return result

    return signature, generate


@cache
def matvec(bits: int, kind: int, parallel: bool) -> Callable[..., None]:
    """The compiled ``(codes, x, table, scale, offset, out) -> None`` for one kind of weight.

    codes : (columns, groups, bytes) uint8, as :func:`~paperworks.compression.kernels.layout.pack`
        lays them out
    x : (rows, groups * padded) float32, each group padded with zeros to whole tiles
    table : (max(2**bits, 8),) float32; unused for AFFINE and FLOAT
    scale, offset : (columns, groups) float32: a weight is ``scale * level + offset``
    out : (rows, columns) float32, written
    """

    @njit(parallel=parallel, cache=True)
    def run(codes, x, table, scale, offset, out):
        columns, groups, size = codes.shape
        tiles = size * 8 // (TILE * bits)
        rows, padded = x.shape[0], tiles * TILE
        sums = np.zeros((rows, groups), np.float32)
        for row in range(rows):
            for group in range(groups):
                for column in range(group * padded, (group + 1) * padded):
                    sums[row, group] += x[row, column]
        for column in prange(columns):
            for row in range(rows):
                total = _dot_row(  # type: ignore[call-arg,var-annotated]
                    codes[column].ctypes,
                    x[row].ctypes,
                    table.ctypes,
                    scale[column].ctypes,
                    groups,
                    tiles,
                    bits,
                    kind,
                )
                for group in range(groups):
                    total += offset[column, group] * sums[row, group]
                out[row, column] = total

    return run

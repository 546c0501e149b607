"""Which decoding fits a table of levels.

- equidistant levels: a multiplication, moved out of the loop;
- floating-point formats of up to 4 exponent bits: the conversion from float16;
- those of more: the bits of a float32, with a multiplication for subnormals;
- up to 8 magnitudes on x86 with AVX2: a permutation of a register that holds the table;
- up to 128 levels or magnitudes on x86 with AVX-512 VBMI: a permutation of registers for each of
  the four bytes of a level, 64 weights at a time;
- up to 128 magnitudes on x86 with AVX-512: permutations of pairs of registers, and a choice;
- anything else: one load per weight.
"""

from __future__ import annotations

import llvmlite.binding
import numpy as np
import torch
from torch import Tensor

from paperworks.compression.grids import FloatGrid

AFFINE, TABLE, SIGNED, FLOAT, WIDE, BYTES = 0, 1, 2, 3, 11, 20
"""Kinds of decoding. SIGNED: a table of magnitudes below a sign bit. FLOAT + m: ExMm, read as
float16, whose exponent bias is 15. WIDE + m: ExMm made into a float32. BYTES: a table by bytes."""
HALF_BIAS = 15
_CPU = llvmlite.binding.get_host_cpu_features()
HAS_PERMUTE = _CPU.get("avx2", False)
HAS_LONG_PERMUTE = _CPU.get("avx512f", False)
HAS_BYTE_PERMUTE = _CPU.get("avx512vbmi", False)


def kind_of(table: Tensor) -> tuple[int, float]:
    """How the kernels decode this table, and a factor that their levels lack."""
    levels = table.double()
    half = levels.numel() // 2
    bits = levels.numel().bit_length() - 1
    steps = levels.diff()
    if bool((steps == steps[0]).all()):
        return AFFINE, 1.0
    signed = torch.equal(levels[half:], -levels[:half])
    if bits <= 4 and signed:
        return SIGNED, 1.0
    for exponent in range(1, bits):
        grid = FloatGrid(exponent, bits - 1 - exponent)
        if torch.equal(grid.table, table):
            if exponent > 4:
                return WIDE + grid.mantissa, 1.0
            return FLOAT + grid.mantissa, 2.0 ** (HALF_BIAS - grid.bias)
    return (SIGNED if signed else TABLE), 1.0


def by_bytes(bits: int, kind: int) -> bool:
    """Whether a table of this kind is faster, here, as BYTES; with all 8 bits it must be SIGNED."""
    fits = (kind == SIGNED and bits > 4) or (kind == TABLE and 4 <= bits < 8)
    return fits and HAS_BYTE_PERMUTE


def decodes_bytes(table: np.ndarray) -> bool:
    """Whether BYTES decodes this table, to the bit, on this processor."""
    raw = table.view(np.int32)
    signed = table.size < 256 or bool((raw[128:] == raw[:128] ^ np.int32(-(2**31))).all())
    return signed and HAS_BYTE_PERMUTE


def planes(table: np.ndarray) -> np.ndarray:
    """A table of 2**bits float32 as BYTES takes it: all first bytes, all second ones, ...

    Of 256 levels only the first half is read. There are 64 or 128 bytes of each kind.
    """
    levels = table[:128]
    levels = np.pad(levels, (0, max(64 - levels.size, 0)))
    return np.ascontiguousarray(levels.view(np.uint8).reshape(-1, 4).T).view(np.float32).ravel()

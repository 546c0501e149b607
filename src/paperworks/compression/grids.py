"""Number formats of few bits: integers, floating point, and any table of levels.

A grid holds the 2**bits numbers that a code can stand for, before scaling. Rounding is to the
nearest level; a tie goes to the level whose code is even, which for integers and floating-point
formats is IEEE 754's rule and so agrees with ``torch.round`` and with ``ml_dtypes``. What lies
beyond the largest level is clipped to it.
"""

from __future__ import annotations

import math
import re
from functools import cached_property
from numbers import Integral

import torch
from torch import Tensor

MAX_BITS = 8


def is_whole(value: object, least: float, most: float = math.inf) -> bool:
    """Whether a setting is a whole number from ``least`` to ``most``; 4.0, "4" and True are not."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    return whole and least <= int(value) <= most  # type: ignore[call-overload]


class Grid:
    """The levels that the codes of a few bits stand for.

    Parameters
    ----------
    table : (2**bits,) float
        The level of each code, in the order of the codes. Levels may repeat (floating-point
        formats have two zeros); the first of equal ones is used.
    name : str
        How reports call it.

    Raises
    ------
    ValueError
        If the table is not of 2**bits finite values with 1 <= bits <= 8, or has no zero: a
        pruned weight must stay zero.
    """

    def __init__(self, table: Tensor, name: str):
        bits = max(table.numel() - 1, 1).bit_length()
        if table.dim() != 1 or table.numel() != 2**bits or bits > MAX_BITS:
            raise ValueError(
                f"a grid needs 2, 4, 8, ... or 256 levels in one row, got {tuple(table.shape)}"
            )
        if not bool(torch.isfinite(table).all()):
            raise ValueError(f"the levels of {name} must be finite, got {table.tolist()}")
        if not bool((table == 0).any()):
            raise ValueError(f"the levels of {name} must contain 0, got {table.tolist()}")
        self.table = table.to(torch.float32)
        self.bits = bits
        self.name = name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    def largest(self) -> float:
        """The largest magnitude of a level."""
        return float(self.table.abs().max())

    def scale_for(self, largest: Tensor) -> Tensor:
        """The scale at which the largest level is ``largest`` (>= 0); 1 where that is 0."""
        return positive(largest / self.largest)

    @cached_property
    def _sorted(self) -> tuple[Tensor, Tensor, Tensor]:
        # Stable, so that of two equal levels the first code comes first; it alone is kept.
        levels, codes = torch.sort(self.table.double(), stable=True)
        first = torch.ones_like(levels, dtype=torch.bool)
        first[1:] = levels[1:] != levels[:-1]
        levels, codes = levels[first], codes[first].to(torch.uint8)
        return levels, codes, (levels[1:] + levels[:-1]) / 2

    def encode(self, x: Tensor) -> Tensor:
        """The codes (uint8) of the nearest levels; x: float of any shape, already scaled."""
        _, codes, middles = self._sorted
        middles, codes = middles.to(x.device, x.dtype), codes.to(x.device)
        below = torch.bucketize(x, middles)
        nearest = codes[below]
        above = torch.bucketize(x, middles, right=True)
        tie = (above != below) & (nearest % 2 == 1)
        return torch.where(tie, codes[above], nearest)

    def decode(self, codes: Tensor) -> Tensor:
        """The float32 levels of codes of any integer type."""
        return self.table.to(codes.device)[codes.long()]

    def round(self, x: Tensor) -> Tensor:
        """The nearest levels, in the dtype of ``x``."""
        return self.decode(self.encode(x)).to(x.dtype)


class IntegerGrid(Grid):
    """Integers -(2**(bits-1) - 1) .. 2**(bits-1) - 1, or 0 .. 2**bits - 1 where unsigned.

    The signed form is symmetric: it does not use the lowest integer, as is usual for weights, so
    that the largest weight of either sign is a level. The unsigned form is for weights with an
    offset. The code of an integer is the integer plus 2**(bits-1), or itself where unsigned, so
    that levels are equidistant in the order of the codes.

    Examples
    --------
    >>> import torch
    >>> IntegerGrid(3).round(torch.tensor([-9.0, 0.5, 1.5, 2.2]))
    tensor([-3.,  0.,  2.,  2.])
    """

    def __init__(self, bits: int, *, signed: bool = True):
        if not is_whole(bits, 1 + signed, MAX_BITS):
            raise ValueError(
                f"an integer grid has {1 + signed} to {MAX_BITS} bits, got {bits!r} bits"
            )
        self.signed = signed
        self.top = 2 ** (bits - signed) - 1
        self.zero_code = 2 ** (bits - 1) if signed else 0
        levels = torch.arange(2**bits, dtype=torch.float32) - self.zero_code
        super().__init__(levels, f"{'int' if signed else 'uint'}{bits}")

    @property
    def largest(self) -> float:
        """The largest magnitude of a level that rounding gives."""
        return float(self.top)

    def round(self, x: Tensor) -> Tensor:
        """The nearest levels, in the dtype of ``x``."""
        return x.round().clamp(-self.top if self.signed else 0, self.top)

    def encode(self, x: Tensor) -> Tensor:
        """The codes (uint8) of the nearest levels; x: float of any shape, already scaled."""
        return (self.round(x) + self.zero_code).to(torch.uint8)


class FloatGrid(Grid):
    """Floating point ExMy: a sign bit, ``exponent`` and ``mantissa`` bits, subnormals, no inf.

    The exponent bias is 2**(exponent-1) - 1 (1 at least where there is an exponent), so that
    FloatGrid(2, 1) is OCP's float4_e2m1fn, (2, 3) and (3, 2) its 6-bit formats. All codes are
    numbers: none is kept for infinity or NaN (so that E4M3 reaches 480, not 448). Another bias
    is a factor of two, which the scale takes up. ``exponent=0`` gives signed integers.

    Codes are the bit patterns: sign, exponent, mantissa.

    Examples
    --------
    >>> import torch
    >>> FloatGrid(2, 1).round(torch.tensor([0.3, 2.4, 5.1, -100.0]))
    tensor([ 0.5000,  2.0000,  6.0000, -6.0000])
    """

    def __init__(self, exponent: int, mantissa: int):
        bits = 1 + exponent + mantissa
        if exponent < 0 or mantissa < 0 or not 2 <= bits <= MAX_BITS:
            raise ValueError(
                f"a floating-point grid has 2 to {MAX_BITS} bits with its sign, got "
                f"E{exponent}M{mantissa} with {bits} bits"
            )
        self.exponent, self.mantissa = exponent, mantissa
        self.bias = max(2 ** (exponent - 1) - 1, 1) if exponent else 1
        magnitude = torch.arange(2 ** (bits - 1))
        field, fraction = magnitude >> mantissa, magnitude & (2**mantissa - 1)
        # Where the exponent field is 0 the number is subnormal: no hidden bit, exponent as for 1.
        significand = (fraction + (field > 0) * 2**mantissa).double()
        positive = significand * 2.0 ** ((field.clamp(min=1) - self.bias - mantissa).double())
        super().__init__(torch.cat([positive, -positive]), f"e{exponent}m{mantissa}")

    def round(self, x: Tensor) -> Tensor:
        """The nearest levels, in the dtype of ``x``."""
        if self.mantissa == 0:  # the levels are powers of two: no step to be a multiple of
            return super().round(x)
        # The step below |x| is a power of two; dividing by it is exact and round() is half-even.
        clipped = x.clamp(-self.largest, self.largest)
        lowest = 2.0 ** (1 - self.bias)  # of the numbers that are not subnormal
        if x.dtype == torch.float32:  # the power of two is there already: the bits of the exponent
            power = (clipped.view(torch.int32) & 0x7F800000).view(torch.float32)
        else:
            _, exponent = torch.frexp(clipped)
            power = torch.ldexp(torch.ones_like(x), exponent - 1)
        step = power.clamp_(min=lowest).mul_(2.0**-self.mantissa)
        return (clipped / step).round_().mul_(step)


def positive(scale: Tensor) -> Tensor:
    """``scale`` (>= 0) with 1 for 0, to divide by: what is all zero stays zero."""
    return torch.where(scale > 0, scale, 1)


def float_grids(bits: int) -> list[FloatGrid]:
    """All floating-point formats of ``bits`` bits with at least one exponent bit."""
    if not 3 <= bits <= MAX_BITS:
        raise ValueError(f"floating-point formats have 3 to {MAX_BITS} bits, got {bits}")
    return [FloatGrid(exponent, bits - 1 - exponent) for exponent in range(1, bits)]


def grid_from(name: str, table: Tensor) -> Grid:
    """The grid that a saved model names: its own class where there is one, else the table."""
    if found := re.fullmatch(r"(u?)int(\d)", name):
        return IntegerGrid(int(found[2]), signed=not found[1])
    if found := re.fullmatch(r"e(\d)m(\d)", name):
        return FloatGrid(int(found[1]), int(found[2]))
    return Grid(table, name)

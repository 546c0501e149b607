"""The k largest magnitudes over many tensors: exact, without joining, copying or sorting them.

The bits of a float without its sign, read as an integer, are in the order of the magnitudes. So
the threshold is found digit by digit, 11 bits at a time from the top (a radix selection): one pass
over the weights counts which next digit those have that agree with the threshold so far. Three
passes settle float32, two the half precisions, six float64. Counts are kept per tensor (16 KB
each), which is what a floor per tensor needs: a tensor that falls short of its floor gets a lower
threshold of its own, refined in the same passes.

On the CPU the passes are compiled; elsewhere they are tensor operations on pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

_DIGIT = 11
_RADIX = 1 << _DIGIT
_PIECE = 1 << 20  # entries in one piece of work
_FORMATS = {
    torch.float16: (torch.int16, 15),
    torch.bfloat16: (torch.int16, 15),
    torch.float32: (torch.int32, 31),
    torch.float64: (torch.int64, 63),
}  # the integer of the same width, and how many bits the magnitude has
DTYPES = tuple(_FORMATS)


@dataclass(frozen=True)
class Cut:
    """What one tensor loses: magnitudes whose bits are below ``bits``, and some that equal it.

    ``ties`` magnitudes equal the threshold, of which the first ``drop`` go; ``kept`` entries stay.
    """

    bits: int
    ties: int
    drop: int
    kept: int


def select(weights: Sequence[Tensor], keep: int, floors: Sequence[int]) -> list[Cut]:
    """Where to cut each tensor so that the ``keep`` largest magnitudes of all stay.

    Tensor ``i`` keeps at least ``floors[i]`` entries, its own largest; exactly ``keep`` stay in
    all. Of equal magnitudes the earlier are dropped, in the order of the tensors and row by row.

    Parameters
    ----------
    weights : sequence of float tensors
        Finite, all of one of :data:`DTYPES`.
    keep : int
        At least the sum of the floors, at most the number of entries.
    floors : sequence of int
        Each at most the size of its tensor.

    Notes
    -----
    O(entries) time; 16 KB of memory a tensor.
    """
    width = _FORMATS[weights[0].dtype][1]
    # The tensors that a common threshold cuts; the others are held by their floor.
    common = np.ones(len(weights), dtype=bool)
    least = np.array(floors)
    prefix = [0] * len(weights)
    above = ties = np.zeros(len(weights), dtype=np.int64)
    for low in reversed(range(width % _DIGIT - _DIGIT, width, _DIGIT)):
        high, low = low + _DIGIT, max(low, 0)
        counts = np.stack(
            [_count(weight, p, high, low) for weight, p in zip(weights, prefix, strict=True)]
        )
        # reach[i, d]: how many entries of tensor i would stay if this digit were cut at d
        reach = above[:, None] + counts[:, ::-1].cumsum(1)[:, ::-1]
        total = np.where(common[:, None], np.maximum(reach, least[:, None]), least[:, None]).sum(0)
        cut = int(np.flatnonzero(total >= keep)[-1])
        common &= reach[:, cut] >= least
        digits = [
            cut if together else int(np.flatnonzero(own >= floor)[-1])
            for together, own, floor in zip(common, reach, floors, strict=True)
        ]
        each = np.arange(len(weights))
        ties = counts[each, digits]
        above = reach[each, digits] - ties
        prefix = [p << (high - low) | d for p, d in zip(prefix, digits, strict=True)]
    kept = np.maximum(above, least)
    spare = keep - int(kept.sum())
    for i in reversed(np.flatnonzero(common)):  # ties at the common threshold: the last ones stay
        extra = min(spare, int(above[i] + ties[i] - kept[i]))
        kept[i] += extra
        spare -= extra
    rows = zip(prefix, ties.tolist(), (above + ties - kept).tolist(), kept.tolist(), strict=True)
    return [Cut(*row) for row in rows]


def zero_below(weight: Tensor, cut: Cut) -> None:
    """Set to exactly zero what ``cut`` drops, in place, in one pass and no memory to speak of."""
    if cut.drop in (0, cut.ties):
        for _ in _each_piece(weight, partial(_zero, bits=cut.bits + (cut.drop > 0)), write=True):
            pass
    else:
        drop = cut.drop  # the first of the ties go, so the pieces are taken one after the other
        for piece in _pieces(weight, write=True):
            drop -= _zero(piece, bits=cut.bits, drop=drop)
    if not weight.is_inference():
        torch.autograd.graph.increment_version(weight)  # autograd does not see compiled writes


def _count(weight: Tensor, prefix: int, high: int, low: int) -> np.ndarray:
    """``(2048,)`` counts of the digit from bit ``low`` to ``high``, of those with this prefix."""
    total = np.zeros(_RADIX, dtype=np.int64)
    for found in _each_piece(weight, partial(_count_piece, prefix=prefix, high=high, low=low)):
        total += found
    return total


def _count_piece(piece: Tensor, *, prefix: int, high: int, low: int) -> np.ndarray:
    integers, sign = _as_integers(piece)
    if _compiled(piece):
        kind = np.dtype(f"u{integers.element_size()}").type
        array = integers.numpy().view(kind)
        return _count_compiled(
            array, kind(sign), np.uint64(prefix), np.uint64(high), np.uint64(low)
        )
    bits = integers & sign
    digits = (bits[(bits >> high) == prefix] >> low) & (_RADIX - 1)
    return torch.bincount(digits.long(), minlength=_RADIX).cpu().numpy()


def _zero(piece: Tensor, *, bits: int, drop: int = 0) -> int:
    """Zero what is below ``bits``, and the first ``drop`` that equal it; returns how many those."""
    integers, sign = _as_integers(piece)
    if _compiled(piece):
        kind = np.dtype(f"u{integers.element_size()}").type
        array = integers.numpy().view(kind)
        if not drop:
            _zero_compiled(array, kind(sign), kind(bits))
            return 0
        return int(_zero_ties_compiled(array, kind(sign), kind(bits), drop))
    magnitude = integers & sign
    gone = magnitude < bits
    equal = (magnitude == bits) & ((magnitude == bits).cumsum(0) <= drop)
    piece.masked_fill_(gone | equal, 0)
    return int(equal.sum())


def _compiled(piece: Tensor) -> bool:
    return piece.device.type == "cpu"


def _as_integers(piece: Tensor) -> tuple[Tensor, int]:
    """The bits as integers, and the mask that takes off the sign."""
    kind, width = _FORMATS[piece.dtype]
    return piece.view(kind), (1 << width) - 1


def _pieces(weight: Tensor, *, write: bool = False) -> Iterator[Tensor]:
    """Flat contiguous parts of a tensor in order, row by row.

    Where the tensor does not lie so in memory (channels last, a transpose) each row is copied,
    and written back after its use if ``write``.
    """
    weight = weight.detach()
    if weight.is_contiguous():
        yield from weight.view(-1).split(_PIECE)
        return
    for row in weight:
        copy = row.contiguous().view(-1)
        yield copy
        if write:
            row.copy_(copy.view(row.shape))


def _each_piece(
    weight: Tensor, work: Callable[[Tensor], Any], *, write: bool = False
) -> Iterator[Any]:
    """``work`` on every piece, several at once where that pays."""
    threads = torch.get_num_threads()
    pieces = _pieces(weight, write=write)
    if not _compiled(weight) or weight.numel() <= _PIECE or not weight.is_contiguous():
        yield from map(work, pieces)
        return
    # Threads of our own: numba's pool does not survive a fork, and data loaders fork.
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, pieces)


@numba.njit(nogil=True, cache=True)
def _count_compiled(array, sign, prefix, high, low):
    # Two tables in turn: a count that waits for the one before it to be stored is slow.
    counts = np.zeros((2, 2048), dtype=np.int64)
    last = np.uint64(2047)
    for i in range(array.size):
        bits = np.uint64(array[i] & sign)
        if bits >> high == prefix:
            counts[i & 1, (bits >> low) & last] += 1
    return counts[0] + counts[1]


@numba.njit(nogil=True, cache=True)
def _zero_compiled(array, sign, limit):
    zero = array.dtype.type(0)  # an untyped 0 would make a float of a 64-bit integer
    for i in range(array.size):
        array[i] = array[i] if (array[i] & sign) >= limit else zero


@numba.njit(nogil=True, cache=True)
def _zero_ties_compiled(array, sign, limit, drop):
    gone = 0
    for i in range(array.size):
        bits = array[i] & sign
        if bits < limit:
            array[i] = 0
        elif bits == limit and gone < drop:
            array[i] = 0
            gone += 1
    return gone

"""Random matrices S that are applied to A block by block of rows, so that A may be a stream.

Every kind is a sum over blocks of `block_rows` rows: ``S A = sum_i S_i A_i``. What ``S_i`` is
depends on the seed and on i alone, not on who computes it, or when. Entries have variance 1 / m.

*srht*: ``S = sqrt(N / m) R H D``. A Hadamard matrix of order N = P Q is ``H_P x H_Q``, so row
(p, q) of ``H D A`` is ``sum_i H_P[p, i] (H_Q D_i A_i)[q]``: the exact transform, from blocks of Q
rows, each transformed by itself and added under the signs of a column of ``H_P``. Padding with
zeros costs nothing, and the number of blocks need not be known before the last one.
*srct*: the same with the orthonormal cosine transform for ``H_Q``; it is the classical one, of
all rows at once, where one block holds them all.
*gaussian*, *rademacher*: independent entries.
*countsketch*, *osnap*: one and several entries a column of S. Without a bound on coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from paperworks.numerics.sketching.kernels import WIDTH, hadamard_block, hash_block, parity_signs

Floats = NDArray[np.float64]

TRANSFORMS = ("srht", "srct")
ENTRYWISE = (*TRANSFORMS, "gaussian", "rademacher", "tensor-srht")  # what the promise is for
SPARSE = ("countsketch", "osnap")
KINDS = (*ENTRYWISE, *SPARSE)

# A block of a transform has about as many rows as the sketch: fewer, and adding up costs more
# than transforming; more, and it leaves the cache.
LEAST_BLOCK, MOST_BLOCK = 1 << 10, 1 << 14
# Blocks of independent entries are drawn at this many numbers at once, 8 MB.
DENSE_NUMBERS = 1 << 20
# A stream without a known end is cut from a transform of this many blocks.
ENDLESS = 1 << 40


@dataclass(frozen=True)
class Sketch:
    """S, (rows, any): drawn, not formed. `block_rows` rows of A make one block.

    Plain data, so that it can be sent to other processes.
    """

    kind: str
    rows: int
    block_rows: int
    entropy: tuple[int, ...]
    nonzeros: int = 1  # entries in a column of S, of the sparse kinds
    high: Any = field(default=None, repr=False)  # sampled rows (p, q) of the transforms
    low: Any = field(default=None, repr=False)

    def zeros(self, columns: int) -> Floats:
        """An empty sum, in the layout that :meth:`add` needs."""
        if self.kind == "srht":
            return np.zeros((-(-columns // WIDTH), self.rows, WIDTH))
        return np.zeros((self.rows, columns))

    def finish(self, total: Floats, columns: int) -> Floats:
        """The sum as a (rows, columns) matrix, in the order of columns that LAPACK likes."""
        if self.kind == "srht":
            total = total.transpose(1, 0, 2).reshape(self.rows, -1)[:, :columns]
        return np.asfortranarray(total)

    def add(self, index: int, block: Floats, total: Floats) -> None:
        """Add the share of block `index`, (at most block_rows, columns), to `total`."""
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence((*self.entropy, index))))
        n = block.shape[0]
        if self.kind in TRANSFORMS:
            signs = random_signs(rng, n)
            weights = parity_signs(self.high, index, 1.0 / math.sqrt(self.rows))
            if self.kind == "srht":
                depth = max(1, min(total.shape[0], (1 << 16) // self.block_rows))
                strips = np.empty((depth, self.block_rows, WIDTH))
                hadamard_block(block, signs, self.low, weights, strips, total)
            else:
                waves = scipy.fft.dct(
                    signs[:, None] * block,
                    axis=0,
                    n=self.block_rows,
                    norm="ortho",
                    overwrite_x=True,
                )
                weights *= math.sqrt(self.block_rows)
                total += weights[:, None] * waves[self.low]
        elif self.kind in ("gaussian", "rademacher"):
            shape = (self.rows, n)
            normal = self.kind == "gaussian"
            S = rng.standard_normal(shape) if normal else random_signs(rng, shape)
            S *= 1.0 / math.sqrt(self.rows)
            total += S @ block
        else:
            # The rows of S are cut into as many parts as a column has entries, one in each.
            s = self.nonzeros
            cuts = np.arange(s + 1) * self.rows // s
            buckets = rng.integers(cuts[:-1], cuts[1:], size=(n, s))
            hash_block(block, buckets, random_signs(rng, (n, s)) / math.sqrt(s), total)


def draw_sketch(
    kind: str,
    rows: int,
    rng: np.random.Generator,
    *,
    n: int | None = None,
    block_rows: int | None = None,
    nonzeros: int = 8,
) -> Sketch:
    """A sketch of `rows` rows for a matrix of n rows, or of any number where n is None.

    `block_rows` is a power of two for the transforms, whose blocks it is the order of (for "srct"
    it may be any number); the random numbers of a sketch depend on it. `nonzeros` is OSNAP's.
    """
    entropy = tuple(int(v) for v in rng.integers(1 << 32, size=4))
    if kind in SPARSE:
        count = 1 if kind == "countsketch" else nonzeros
        if not 1 <= count <= rows:
            raise ValueError(f"nonzeros must be from 1 to the {rows} rows, got {count}")
        return Sketch(kind, rows, block_rows or MOST_BLOCK, entropy, nonzeros=count)
    if kind not in TRANSFORMS:
        return Sketch(kind, rows, block_rows or max(16, DENSE_NUMBERS // rows), entropy)

    order = block_rows or min(max(power_of_two(rows), LEAST_BLOCK), MOST_BLOCK)
    if n is not None and block_rows is None:
        order = min(order, power_of_two(n) if kind == "srht" else n)
    if kind == "srht" and order != power_of_two(order):
        raise ValueError(f"block_rows must be a power of two for 'srht', got {order}")
    blocks = ENDLESS if n is None else power_of_two(-(-n // order))
    if blocks * order < 1 << 40 and rows <= blocks * order:
        sample = rng.choice(blocks * order, rows, replace=False, shuffle=False)
        high, low = np.divmod(sample, order)
    else:
        high, low = rng.integers(blocks, size=rows), rng.integers(order, size=rows)
    along = np.argsort(low, kind="stable")  # rows of a block are then read in order
    return Sketch(kind, rows, order, entropy, high=high[along], low=low[along])


def random_signs(rng: np.random.Generator, shape: int | tuple[int, ...]) -> Floats:
    """Independent 1s and -1s, from one random bit each."""
    count = int(np.prod(shape))
    bits = np.unpackbits(np.frombuffer(rng.bytes(-(-count // 8)), np.uint8), count=count)
    signs: Floats = 2.0 * bits.astype(np.float64) - 1.0
    return signs.reshape(shape)


def power_of_two(n: int) -> int:
    """The least power of two that is not below n."""
    return 1 << max(0, n - 1).bit_length()

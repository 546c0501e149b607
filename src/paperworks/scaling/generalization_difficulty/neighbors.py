"""Exact nearest neighbours of many points in many dimensions, on a few cores.

What the two estimates of this package need, and scikit-learn's brute force does not give:
neighbours outside a point's own group, the closest pair of two classes, and speed on images.
Distances are bounded from below in a few dimensions and computed in full only where the bound
leaves a doubt. With an orthonormal basis ``V`` of ``r`` directions and ``e(x)`` the length of what
``V`` leaves of ``x``,

    ||x - y||^2  >=  ||V'x - V'y||^2 + (e(x) - e(y))^2,

which is itself a squared distance between vectors of ``r + 1`` entries, so that the bounds of a
block are one float32 matrix product. Any basis is right; the leading directions of a sample make
few doubts. The answer is that of brute force, up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Directions of the bound. CIFAR-10: 256 leave about 40 full distances for 10 neighbours.
_DIRECTIONS = 256
_SAMPLE = 2000
# Numbers in a block of bounds: 64 MiB of float32.
_BLOCK = 1 << 24
_LANE = 64
_GATHER = 1 << 22


@dataclass(frozen=True, eq=False)
class Points:
    """Points ready for distances: shifted rows, and the short rows whose distances bound theirs.

    Attributes
    ----------
    rows : (n, d) ndarray of float32 or float64
        The points less about their mean. float64 stays float64; all else is float32.
    short : (n, r) ndarray of float32
        Squared distances between these never exceed those of ``rows``, but for rounding.
    """

    rows: NDArray[Any]
    short: NDArray[np.float32]
    square: NDArray[np.float32]

    @classmethod
    def of(cls, X: NDArray[Any]) -> Points:
        """Centre ``X`` (n, d) and project it. O(n d r)."""
        kind = np.float64 if X.dtype == np.float64 else np.float32
        rows: NDArray[Any] = X.astype(kind)
        # Any centre will do; that of some rows is found without reading them all.
        some = X[:: max(1, len(X) // _SAMPLE)]
        np.subtract(rows, some.mean(axis=0, dtype=np.float64).astype(kind), out=rows)
        n, d = rows.shape
        flat: NDArray[np.float32] = rows.astype(np.float32, copy=False)
        if d <= _DIRECTIONS + _DIRECTIONS // 2:
            short = np.ascontiguousarray(flat)
        else:
            basis = _leading_directions(flat, _DIRECTIONS)
            short = np.empty((n, _DIRECTIONS + 1), np.float32)
            np.matmul(flat, basis, out=short[:, :-1])
            inside = np.einsum("ij,ij->i", short[:, :-1], short[:, :-1])
            short[:, -1] = np.sqrt(np.maximum(np.einsum("ij,ij->i", flat, flat) - inside, 0))
        return cls(rows, short, np.einsum("ij,ij->i", short, short))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def doubt(self) -> float:
        """How far rounding may lift a squared bound above the squared distance."""
        return float(32 * np.finfo(np.float32).eps * 2 * self.square.max(initial=0.0))

    def pairs(self, i: IntArray, j: IntArray, *, short: bool = False) -> FloatArray:
        """Squared distances between rows ``i`` and rows ``j``, or their lower bounds."""
        table = self.short if short else self.rows
        found = np.empty(len(i))
        step = max(1, _GATHER // table.shape[1])
        for at in range(0, len(i), step):
            gap = table[i[at : at + step]] - table[j[at : at + step]]
            found[at : at + step] = np.einsum("ij,ij->i", gap, gap)
        return found

    def bounds(
        self, queries: IntArray, first: int = 0
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Blocks of squared lower bounds from ``queries`` to the points from ``first`` on."""
        short, square = self.short[first:], self.square[first:]
        step = max(1, _BLOCK // len(short))
        buffer = np.empty((min(step, len(queries)), len(short)), np.float32)
        for at in range(0, len(queries), step):
            part = queries[at : at + step]
            block = np.matmul(self.short[part] * np.float32(-2), short.T, out=buffer[: len(part)])
            block += square
            block += self.square[part][:, None]
            yield slice(at, at + len(part)), block


def nearest(
    points: Points,
    k: int,
    queries: IntArray,
    *,
    groups: IntArray | None = None,
) -> tuple[FloatArray, IntArray]:
    """The ``k`` nearest other points of each query, nearest first.

    Parameters
    ----------
    points : Points
        All points, n of them.
    k : int
        How many neighbours.
    queries : (q,) ndarray of int
        Which points to ask for.
    groups : (n,) ndarray of int, optional
        A point's own group is passed over.

    Returns
    -------
    distances : (q, k) ndarray of float64
    indices : (q, k) ndarray of int64

    Raises
    ------
    ValueError
        If a query has fewer than ``k`` others to choose from.

    Notes
    -----
    O(q n r) for the bounds, with r the short dimension, and O(d) for each pair left in doubt;
    memory for one block of bounds besides the points.
    """
    distances = np.empty((len(queries), k))
    indices = np.empty((len(queries), k), np.int64)
    for part, block in points.bounds(queries):
        asked = queries[part]
        block[np.arange(len(asked)), asked] = np.inf
        if groups is not None:
            block[groups[asked][:, None] == groups[None, :]] = np.inf
        first = _smallest(block, k)
        for row, (query, start) in enumerate(zip(asked, first, strict=True)):
            bound = block[row]
            if not np.isfinite(bound[start]).all():
                raise ValueError(
                    f"point {query} has only {int(np.isfinite(bound).sum())} others to choose "
                    f"neighbours from, and {k} were asked for"
                )
            reach = points.pairs(np.full(k, query), start).max()
            near = np.flatnonzero(bound <= reach + points.doubt)
            square = points.pairs(np.full(len(near), query), near)
            order = np.argsort(square, kind="stable")[:k]
            distances[part.start + row] = np.sqrt(square[order])
            indices[part.start + row] = near[order]
    return distances, indices


def closest_rivals(points: Points, labels: IntArray) -> tuple[float, int, int]:
    """The smallest distance between two points of different labels, and the two points.

    O(n^2 r / 2): every pair is bounded, and few are computed in full.
    """
    order = np.argsort(labels, kind="stable")
    labels = labels[order]
    points = Points(points.rows[order], points.short[order], points.square[order])
    best, pair = np.inf, (0, 0)
    for end in (np.flatnonzero(np.diff(labels)) + 1).tolist():
        # One class against all that come after it: each pair once, none within a class.
        own = np.arange(np.searchsorted(labels, labels[end - 1]), end)
        for part, block in points.bounds(own, first=end):
            rows, columns = np.arange(len(block)), block.argmin(axis=1)
            for _ in range(2):  # each row's most promising pair; then whatever may be closer still
                square = points.pairs(own[part][rows], columns + end)
                if len(square) and square.min() < best:
                    at = int(square.argmin())
                    best = float(square[at])
                    pair = (own[part][rows[at]], columns[at] + end)
                rows, columns = np.nonzero(block <= best + points.doubt)
    return float(np.sqrt(best)), int(order[pair[0]]), int(order[pair[1]])


def distinct_rows(X: NDArray[Any]) -> tuple[IntArray, IntArray]:
    """The first of each set of equal rows, in order, and for every row which of them it equals.

    O(n d).
    """
    seen: dict[bytes, int] = {}
    first: list[int] = []
    which = np.empty(len(X), np.int64)
    for i, row in enumerate(X):
        # Plus zero: a negative zero equals a positive one.
        key = blake2b((row + 0).tobytes(), digest_size=16).digest()
        which[i] = seen.setdefault(key, len(first))
        if which[i] == len(first):
            first.append(i)
    return np.array(first, np.int64), which


def only(table: NDArray[Any], keep: IntArray) -> NDArray[Any]:
    """The rows ``keep``, without a copy where they are all."""
    return table if len(keep) == len(table) else table[keep]


def as_points(X: ArrayLike, name: str = "X") -> NDArray[Any]:
    """``X`` as a table with one row a point, checked: (n, d) of float32 or float64.

    Images and other arrays of more axes are flattened; small whole numbers become float32. May be
    the caller's own array: not to be written to.

    Raises
    ------
    ValueError
        If there are fewer than two points, no numbers, or any that is not finite.
    """
    table = np.asarray(X)
    if table.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got dtype {table.dtype}")
    if table.ndim < 2 or len(table) < 2 or table[0].size == 0:
        raise ValueError(
            f"{name} must hold two points or more, one a row, got shape {table.shape}; "
            f"a single column is {name}[:, None]"
        )
    if table.dtype.kind in "iu" and table.dtype.itemsize > 2:
        table = table.astype(np.float64)  # float32 would round large whole numbers
    elif table.dtype != np.float64:
        table = table.astype(np.float32)
    table = table.reshape(len(table), -1)
    with np.errstate(over="ignore", invalid="ignore"):
        total = table.sum()
    if not np.isfinite(total):  # or the sum overflows
        finite = np.isfinite(table).all(axis=1)
        if not finite.all():
            raise ValueError(f"{name} must be finite, but row {int(np.argmin(finite))} is not")
    return table


def _smallest(block: NDArray[np.float32], k: int) -> IntArray:
    """Columns of the ``k`` smallest of each row, in no order.

    The ``k`` smallest lie in the ``k`` lanes with the smallest minima, which saves nine tenths of
    a partition.
    """
    rows, n = block.shape
    whole = n // _LANE
    if whole <= 2 * k:
        return np.argpartition(block, k - 1, axis=1)[:, :k]
    lanes = block[:, : whole * _LANE].reshape(rows, whole, _LANE)
    keep = np.argpartition(lanes.min(axis=2), k - 1, axis=1)[:, :k]
    columns = (keep[:, :, None] * _LANE + np.arange(_LANE)).reshape(rows, -1)
    rest = np.broadcast_to(np.arange(whole * _LANE, n), (rows, n - whole * _LANE))
    columns = np.concatenate([columns, rest], axis=1)
    values = np.take_along_axis(block, columns, axis=1)
    best = np.argpartition(values, k - 1, axis=1)[:, :k]
    return np.take_along_axis(columns, best, axis=1)


def _leading_directions(rows: NDArray[np.float32], r: int) -> NDArray[np.float32]:
    """An orthonormal basis (d, r) near the leading directions of a sample of the rows."""
    rng = np.random.default_rng(0)  # speed depends on it, the answer does not
    sample = rows[np.sort(rng.choice(len(rows), min(len(rows), _SAMPLE), replace=False))]
    basis = rng.standard_normal((rows.shape[1], r), dtype=np.float32)
    for _ in range(3):
        basis = np.linalg.qr(sample.T @ (sample @ basis))[0]
    return np.ascontiguousarray(basis)

"""Where the rows of A and b come from: arrays, memory maps and streams of blocks.

A source gives its rows in blocks, sketches itself, and applies ``A'(B - A X)`` in one walk. It
never holds a second copy of A. Blocks that cannot be used raise a ValueError that names the row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

import joblib
import numpy as np

from paperworks.numerics.sketching.kernels import normal_pass
from paperworks.numerics.sketching.sketches import Floats, Sketch

WALK_NUMBERS = 1 << 21  # numbers of A in one block of a walk where rows have to be copied
WAVE_NUMBERS = 1 << 22  # numbers of A in one piece of work cut from a stream, 32 MB


class Rows(ABC):
    """What the solvers ask of a source.

    Attributes: d columns; k right-hand sides; n rows, None for a stream until its first end;
    `repeatable`, whether it can be walked twice.
    """

    d: int
    k: int
    n: int | None
    repeatable: bool

    @abstractmethod
    def sketch(self, sketch: Sketch, n_jobs: int | None) -> Floats:
        """``S [A, b]``, (rows, d + k)."""

    @abstractmethod
    def normal(self, X: Floats, *, use_b: bool, n_jobs: int | None) -> tuple[Floats, Floats]:
        """``A'(use_b * B - A X)``, (d, k), and the squared norms of what is in brackets, (k,)."""

    @abstractmethod
    def gram(self, n_jobs: int | None) -> Floats:
        """``A'A``, (d, d), in one walk."""


class ArrayRows(Rows):
    """An (n, d) array of any real dtype and layout, or a memory map, and an (n, k) array."""

    repeatable = True

    def __init__(self, A: np.ndarray, B: np.ndarray) -> None:
        self.A, self.B = A, B
        self.n, self.d = A.shape
        self.k = B.shape[1]

    def sketch(self, sketch: Sketch, n_jobs: int | None) -> Floats:
        """``S [A, b]``, a share of the blocks to each worker."""
        assert self.n is not None
        columns = self.d + self.k
        blocks = -(-self.n // sketch.block_rows)
        shares = _shares(blocks, joblib.effective_n_jobs(n_jobs))
        total = sum(
            joblib.Parallel(n_jobs=n_jobs, prefer="threads")(
                joblib.delayed(_sketch_rows)(
                    sketch,
                    first,
                    self.A[first * sketch.block_rows : last * sketch.block_rows],
                    self.B[first * sketch.block_rows : last * sketch.block_rows],
                )
                for first, last in shares
            )
        )
        return sketch.finish(total, columns)

    def normal(self, X: Floats, *, use_b: bool, n_jobs: int | None) -> tuple[Floats, Floats]:
        """``A'(use_b * B - A X)`` and squared norms, a share of the rows to each thread."""
        assert self.n is not None
        # Shared memory: to send A anywhere costs more than the walk.
        results = joblib.Parallel(n_jobs=n_jobs, require="sharedmem")(
            joblib.delayed(_walk)(self.A[first:last], self.B[first:last], X, use_b)
            for first, last in _shares(self.n, joblib.effective_n_jobs(n_jobs))
        )
        return sum(g for g, _ in results), sum(s for _, s in results)

    def gram(self, n_jobs: int | None) -> Floats:
        """``A'A``, a share of the rows to each thread."""
        assert self.n is not None
        return sum(
            joblib.Parallel(n_jobs=n_jobs, require="sharedmem")(
                joblib.delayed(_gram)(self.A[first:last])
                for first, last in _shares(self.n, joblib.effective_n_jobs(n_jobs))
            )
        )

    def whole(self) -> Floats:
        """``[A, b]`` itself, in columns."""
        check_block(self.A, self.B, 0)
        out = np.empty((self.A.shape[0], self.d + self.k), order="F")
        out[:, : self.d], out[:, self.d :] = self.A, self.B
        return out


class StreamRows(Rows):
    """Pairs of row blocks, (r, d) and (r,) or (r, k), from `start`, a function or an iterable.

    Blocks may be of any length; they are cut anew, so that the result does not depend on it.
    """

    def __init__(self, start: Callable[[], Iterable[Any]], b: np.ndarray | None, again: bool):
        self._start, self._b, self.repeatable = start, b, again
        self.n = None
        self._first: Iterator[tuple[np.ndarray, np.ndarray]] | None = self._pairs()
        head = next(self._first, None)
        if head is None:
            raise ValueError("the stream of row blocks is empty; it must give at least one block")
        self._head: tuple[np.ndarray, np.ndarray] | None = head
        self.d, self.k = head[0].shape[1], head[1].shape[1]
        self.vector = self._one_column

    def _pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        row, shape = 0, None
        for item in self._start():
            if self._b is None:
                if not isinstance(item, tuple | list) or len(item) != 2:
                    raise ValueError(
                        "without b, a stream must give pairs of blocks (A_i, b_i), got "
                        f"{type(item).__name__}; or pass b beside a stream of blocks of A"
                    )
                block, right = (np.asarray(part) for part in item)
            else:
                block = np.asarray(item)
                right = self._b[row : row + block.shape[0]] if block.ndim else block
            if block.ndim != 2 or right.ndim not in (1, 2) or right.shape[:1] != block.shape[:1]:
                raise ValueError(
                    f"the block at row {row} must be (r, d) with (r,) or (r, k) of b, got shapes "
                    f"{block.shape} and {right.shape}"
                )
            self._one_column = right.ndim == 1
            right = right[:, None] if right.ndim == 1 else right
            if shape is None:
                shape = (block.shape[1], right.shape[1])
            if (block.shape[1], right.shape[1]) != shape:
                raise ValueError(
                    f"the block at row {row} has {block.shape[1]} columns and {right.shape[1]} of "
                    f"b, where the first had {shape[0]} and {shape[1]}"
                )
            if block.shape[0]:
                check_block(block, right, row)
                yield block, right
            row += block.shape[0]
        if self._b is not None and row != self._b.shape[0]:
            raise ValueError(f"b has {self._b.shape[0]} rows, and the stream gave {row}")
        if self.n is not None and row != self.n:
            raise ValueError(
                f"the stream gave {row} rows this time and {self.n} before; the function must "
                "give the same rows whenever it is called"
            )
        self.n = row

    def _walk(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All pairs; the first time those that were already begun."""
        if self._first is None:
            yield from self._pairs()
            return
        rest, head = self._first, self._head
        self._first = self._head = None
        assert head is not None
        yield head
        yield from rest

    def sketch(self, sketch: Sketch, n_jobs: int | None) -> Floats:
        """``S [A, b]``, some blocks to each worker as they come."""
        columns = self.d + self.k
        rows = max(1, WAVE_NUMBERS // (columns * sketch.block_rows)) * sketch.block_rows
        total: Any = 0.0
        with joblib.Parallel(n_jobs=n_jobs, prefer="threads") as parts:
            wave = []
            for first, A, B in _recut(self._walk(), rows):
                wave.append(joblib.delayed(_sketch_rows)(sketch, first // sketch.block_rows, A, B))
                # A wave at a time: some backends hand nothing back before all has ended.
                if len(wave) == joblib.effective_n_jobs(n_jobs):
                    total = total + sum(parts(wave))
                    wave = []
            if wave:
                total = total + sum(parts(wave))
        return sketch.finish(total, columns)

    def normal(self, X: Floats, *, use_b: bool, n_jobs: int | None) -> tuple[Floats, Floats]:
        """``A'(use_b * B - A X)`` and squared norms, block after block."""
        self._check_repeatable()
        gradient, squares = np.zeros((self.d, self.k)), np.zeros(self.k)
        for A, B in self._walk():
            g, s = _walk(A, B, X, use_b)
            gradient += g
            squares += s
        return gradient, squares

    def gram(self, n_jobs: int | None) -> Floats:
        """``A'A``, block after block."""
        self._check_repeatable()
        total = np.zeros((self.d, self.d))
        for A, _ in self._walk():
            total += _gram(A)
        return total

    def _check_repeatable(self) -> None:
        if not self.repeatable:
            raise ValueError(
                'method "precondition" walks over the rows several times, and an iterator can be '
                "walked once; pass a function that returns a fresh iterator"
            )


def check_block(A: np.ndarray, B: np.ndarray, row: int) -> None:
    """Raise a ValueError at the first number that is not real and finite."""
    for name, part in (("A", A), ("b", B)):
        if part.dtype.kind not in "biuf":
            raise ValueError(f"{name} must hold real numbers, got dtype {part.dtype}")
        # A sum is quick and catches all; only a sum that overflowed needs a second look.
        if part.dtype.kind == "f" and not np.isfinite(part.sum(dtype=np.float64)):
            bad = np.argwhere(~np.isfinite(part))
            if bad.size:
                i, j = bad[0]
                where = f"row {row + i}, column {j}" if name == "A" else f"row {row + i}"
                raise ValueError(
                    f"{name} must be finite, got {part[i, j]} in {where}; drop such rows or fill "
                    "them in"
                )


def _shares(count: int, workers: int) -> list[tuple[int, int]]:
    """Cut range(count) into one share for each worker."""
    workers = max(1, min(workers, count))
    bounds = [count * i // workers for i in range(workers + 1)]
    return list(pairwise(bounds))


def _sketch_rows(sketch: Sketch, first: int, A: np.ndarray, B: np.ndarray) -> Floats:
    """The share of consecutive blocks, from block number `first` on."""
    d = A.shape[1]
    total = sketch.zeros(d + B.shape[1])
    step = sketch.block_rows
    joined = np.empty((min(step, A.shape[0]), d + B.shape[1]))
    for start in range(0, A.shape[0], step):
        part = joined[: min(step, A.shape[0] - start)]
        part[:, :d], part[:, d:] = A[start : start + step], B[start : start + step]
        if not np.isfinite(part.sum()):
            check_block(A[start : start + step], B[start : start + step], first * step + start)
        sketch.add(first + start // step, part, total)
    return total


def _gram(A: np.ndarray) -> Floats:
    total = np.zeros((A.shape[1], A.shape[1]))
    step = max(1, WALK_NUMBERS // A.shape[1])
    for start in range(0, A.shape[0], step):
        block = np.asarray(A[start : start + step], dtype=np.float64)
        total += block.T @ block
    return total


def _walk(A: np.ndarray, B: np.ndarray, X: Floats, use_b: bool) -> tuple[Floats, Floats]:
    gradient, rest = np.zeros((2, X.shape[1], X.shape[0]))
    squares = np.zeros(X.shape[1])
    across = np.ascontiguousarray(X.T)
    direct = A.dtype in (np.float32, np.float64) and A.flags.c_contiguous and A.flags.aligned
    step = A.shape[0] if direct else max(1, WALK_NUMBERS // A.shape[1])
    for start in range(0, A.shape[0], max(1, step)):
        block = np.asarray(A[start : start + step])
        if not direct:
            block = np.ascontiguousarray(block, dtype=np.float64)
        right = np.ascontiguousarray(B[start : start + step], dtype=np.float64)
        normal_pass(block, right, across, use_b, gradient, rest, squares)
    return (gradient + rest).T, squares


def _recut(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], rows: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The same rows in blocks of `rows`, the last one shorter, each with its first row's number."""
    first, held = 0, 0
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for A, B in pairs:
        start = 0
        while start < A.shape[0]:
            end = min(A.shape[0], start + rows - held)
            # Copies, since readers like to fill one buffer again and again.
            parts.append((A[start:end].copy(), B[start:end].copy()))
            held += end - start
            start = end
            if held == rows:
                yield first, *_joined(parts)
                first, held, parts = first + rows, 0, []
    if parts:
        yield first, *_joined(parts)


def _joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([A for A, _ in parts]), np.concatenate([B for _, B in parts])

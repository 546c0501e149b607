"""A statistical query on real rows: checked, and turned into whole numbers.

A value in [low, high] becomes a whole number of units, ``UNIT`` for the whole range. A sum over
rows is then exact, and one row changes it by at most ``UNIT``: nothing is lost to rounding where
noise has to hide it. A value is off by at most half a unit, :data:`ROUNDING` of the range.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import _safe_indexing

UNIT = 1 << 20
ROUNDING = 0.5 / UNIT

Rows = tuple[Any, ...]
Query = Callable[..., Any]


def as_rows(data: Any, name: str) -> Rows:
    """``(X, y)``, ``(X,)`` or ``X`` as a tuple of equally long parts.

    Raises
    ------
    ValueError
        If it is empty, its parts differ in length, or a number in it is NaN or infinite. Features
        that come with labels may be so: some estimators take them.
    """
    parts = data if isinstance(data, tuple) else (data,)
    try:
        rows = tuple(part if hasattr(part, "shape") else np.asarray(part) for part in parts)
    except ValueError as error:
        raise ValueError(
            f"{name} must be an array, or a tuple of arrays (X, y): {error}"
        ) from error
    lengths = [_length(part, name) for part in rows]
    if not rows or min(lengths) == 0:
        raise ValueError(f"{name} has no samples")
    if len(set(lengths)) > 1:
        raise ValueError(
            f"the parts of {name} must have one length, got {lengths}; give (X, y) as a tuple"
        )
    values = np.asarray(rows[-1].data if _is_sparse(rows[-1]) else rows[-1])
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinite values; fill or drop those samples")
    return rows


def _is_sparse(part: Any) -> bool:
    return hasattr(part, "tocsr")


def _length(part: Any, name: str) -> int:
    if len(part.shape) == 0:
        raise ValueError(f"{name} must be an array with one row a sample, got {part!r}")
    return int(part.shape[0])


def count(rows: Rows) -> int:
    """How many samples there are."""
    return _length(rows[0], "rows")


def fingerprint(rows: Rows | None) -> str:
    """SHA-256 of the values, so that a budget is never spent on other samples."""
    digest = hashlib.sha256()
    for part in rows or ():
        if _is_sparse(part):
            plain = part.tocsr().copy()
            plain.sum_duplicates()  # one order and one form for equal matrices
            plain.eliminate_zeros()
            places = (plain.indptr, plain.indices)
            arrays = [*(each.astype(np.int64) for each in places), plain.data]
        else:
            arrays = [np.asarray(part)]
        for values in arrays:
            digest.update(f"{values.dtype.str}{part.shape}".encode())
            if values.dtype.hasobject:
                digest.update("\x1f".join(map(repr, values.ravel().tolist())).encode())
            else:
                digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def evaluate(
    query: Query, rows: Rows, low: float, high: float, *, secret: bool = False
) -> NDArray[np.int64]:
    """Values of a query in units, one a sample.

    Parameters
    ----------
    query : callable
        ``query(*rows)`` gives (n,) numbers or booleans in [low, high].
    rows : tuple of (n, ...)
        The samples.
    low, high : float
        The query's stated range.
    secret : bool, default=False
        Whether an error may not name values, since it would tell about samples for free.

    Returns
    -------
    (n,) int64
        In [0, UNIT].

    Raises
    ------
    ValueError
        If a value is NaN or out of range, there is not one for each sample, or one sample's value
        changes with the others: the query is then no function of one sample.
    """
    n = count(rows)
    values = _values(query, rows)
    if values.shape != (n,):
        raise ValueError(
            f"a query must give one value for each of the {n} samples, got shape {values.shape}; "
            "return the values, not their mean"
        )
    bad = ~((values >= low) & (values <= high))  # also where NaN
    if bad.any():
        first = int(bad.argmax())
        got = "another for a sample of the holdout"
        raise ValueError(
            f"a query's values must lie in [{low:g}, {high:g}], got "
            f"{got if secret else f'{values[first]} for sample {first}'}; "
            "clip them, or state the range with low= and high="
        )
    # The samples of the largest and the smallest value, each asked about alone: a value that is
    # made from a mean, a rank or a random number hardly stays the same for both.
    for one in {int(values.argmax()), int(values.argmin())}:
        again = _values(query, tuple(_take(part, np.array([one])) for part in rows))
        # Batches of another size may round differently, by much less than this.
        if again.shape != (1,) or not abs(again[0] - values[one]) <= 1e-4 * (high - low):
            gave = "" if secret else f" ({again} and not {values[one]})"
            raise ValueError(
                "the query is no function of one sample: asked about a sample alone it gave "
                f"another value than among all{gave}; do not use means, ranks or random numbers "
                "inside it"
            )
    return np.rint((values - low) * (UNIT / (high - low))).astype(np.int64)


def _take(part: Any, rows: NDArray[np.int64]) -> Any:
    return part[rows] if isinstance(part, np.ndarray) else _safe_indexing(part, rows)


def _values(query: Query, rows: Rows) -> NDArray[np.float64]:
    return np.asarray(query(*rows), dtype=np.float64)


def checked_range(low: float, high: float) -> tuple[float, float]:
    """``(low, high)`` as floats, or an error where it is no range."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"low must be < high, and both finite, got {low!r} and {high!r}")
    return float(low), float(high)

"""From the caller's A and b to a source of rows, and back to the caller's kind of array."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from paperworks.numerics.sketching.kronecker import KroneckerRows
from paperworks.numerics.sketching.sketches import Floats
from paperworks.numerics.sketching.sources import ArrayRows, Rows, StreamRows


def open_rows(A: Any, b: Any, sketch: str) -> tuple[Rows, bool]:
    """The source of the rows, and whether b is a vector."""
    if hasattr(A, "tocsr"):
        raise ValueError(
            "A is sparse, and a dense sketch fills it in; scipy.sparse.linalg.lsmr keeps it "
            "sparse, or pass A.toarray()"
        )
    if sketch == "tensor-srht":
        return _factors(A, b)
    if not _array_like(A):
        return _stream(A, b)
    array = _array(A, "A")
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"A must be a matrix with rows and columns, got shape {array.shape}")
    if b is None:
        raise ValueError("b is missing; only a stream of pairs (A_i, b_i) brings its own")
    right = _array(b, "b")
    if right.ndim not in (1, 2) or right.shape[0] != array.shape[0] or right.size == 0:
        raise ValueError(
            f"b must have one row for each row of A, shape ({array.shape[0]},) or "
            f"({array.shape[0]}, k), got {right.shape}"
        )
    return ArrayRows(array, right.reshape(right.shape[0], -1)), right.ndim == 1


def _array_like(A: Any) -> bool:
    """Whether `A` is all there, and not a stream of blocks."""
    return isinstance(A, list | tuple) or hasattr(A, "__array__") or _is_tensor(A)


def _stream(A: Any, b: Any) -> tuple[Rows, bool]:
    start: Callable[[], Iterable[Any]]
    if isinstance(A, Iterator):
        start, again = (lambda: A), False
    elif callable(A):
        start, again = A, True
    elif isinstance(A, Iterable) and not isinstance(A, str | bytes | dict):
        start, again = (lambda: A), True
    else:
        raise ValueError(
            "A must be a matrix, an iterable of row blocks, or a function that returns one, got "
            f"{type(A).__name__}"
        )
    right = None if b is None else _array(b, "b")
    if right is not None and right.ndim not in (1, 2):
        raise ValueError(f"b must be (n,) or (n, k), got shape {right.shape}")
    source = StreamRows(start, right, again)
    if source.d == 0 or source.k == 0:
        raise ValueError(f"blocks must have columns, got {source.d} of A and {source.k} of b")
    return source, source.vector


def _factors(A: Any, b: Any) -> tuple[Rows, bool]:
    if not isinstance(A, Sequence) or len(A) < 2 or b is None:
        raise ValueError(
            "sketch 'tensor-srht' takes A as a tuple of two or more factors of a Kronecker "
            "product, (F_1, F_2, ...), and b; for a matrix take 'srht'"
        )
    factors = [np.asarray(_array(F, f"factor {j}"), dtype=np.float64) for j, F in enumerate(A)]
    for j, F in enumerate(factors):
        if F.ndim != 2 or F.size == 0:
            raise ValueError(f"factor {j} must be a matrix with rows and columns, got {F.shape}")
    shape = tuple(F.shape[0] for F in factors)
    n = math.prod(shape)
    right: Floats = np.asarray(_array(b, "b"), dtype=np.float64)
    if right.shape in ((n,), shape):
        return KroneckerRows(factors, right.reshape(*shape, 1)), True
    if right.ndim == 2 and right.shape[0] == n and right.size:
        return KroneckerRows(factors, right.reshape(*shape, -1)), False
    raise ValueError(
        f"b must have shape {shape}, ({n},) or ({n}, k) for factors of {shape} rows, got "
        f"{right.shape}"
    )


def _is_tensor(x: Any) -> bool:
    torch = sys.modules.get("torch")  # a tensor cannot exist before torch is imported
    return torch is not None and isinstance(x, torch.Tensor)


def _array(x: Any, name: str) -> np.ndarray:
    """`x` as an array of real numbers, without a copy where it is one."""
    if _is_tensor(x):
        x = x.detach().cpu()
        known = x.dtype in (sys.modules["torch"].float32, sys.modules["torch"].float64)
        x = (x if known or not x.is_floating_point() else x.float()).numpy()
    try:
        array = np.asarray(x)
    except ValueError:
        raise ValueError(
            f"{name} must be a matrix; its rows differ in length. Row blocks come by an iterator "
            "or a function, and factors of a Kronecker product with sketch='tensor-srht'"
        ) from None
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise ValueError(f"{name} has masked entries; drop their rows or fill them in")
    if array.dtype.kind == "c":
        raise ValueError(
            f"{name} must hold real numbers, got dtype {array.dtype}; stack real and imaginary "
            "parts as rows, with [[A.real, -A.imag], [A.imag, A.real]]"
        )
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}")
    return array


def like(A: Any, x: Floats) -> Any:
    """`x` with the floating dtype, library and device of `A`."""
    if _is_tensor(A):
        torch = sys.modules["torch"]
        dtype = A.dtype if A.is_floating_point() else torch.float64
        return torch.from_numpy(np.ascontiguousarray(x)).to(device=A.device, dtype=dtype)
    dtype = getattr(A, "dtype", None)
    single = isinstance(dtype, np.dtype) and dtype.kind == "f"
    return x.astype(dtype, copy=False) if single else x

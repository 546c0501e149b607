"""Fast Walsh-Hadamard transform along any axis, in place, for NumPy arrays and torch tensors.

``H_n`` is the Kronecker power of ``[[1, 1], [1, -1]]``, rows in natural (Sylvester's) order as in
``scipy.linalg.hadamard``.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

from paperworks.numerics.sketching.hadamard_arrays import transform_in_place


def hadamard_transform(
    x: Any,
    *,
    axis: int = -1,
    norm: str | None = None,
    overwrite_x: bool = False,
    workers: int | None = None,
) -> Any:
    r"""Walsh-Hadamard transform of `x` along one axis, in O(n log n) additions.

    ``y = x @ H`` with ``H = scipy.linalg.hadamard(n)`` for the last axis. H is symmetric and
    ``H @ H = n * I``: the transform divided by n is its own inverse, and with ``norm="ortho"`` it
    is its own inverse as it stands. For a length that is no power of two use a cosine transform
    (``scipy.fft.dct``), or pad with zeros.

    Parameters
    ----------
    x : (..., n) array
        Real; n a power of two, any leading (or, with `axis`, trailing) shape. float32 and float64
        keep their dtype, integers and booleans become float64. Torch tensors of any device are
        taken as well, of any floating dtype, and gradients flow through them; on the CPU in
        float32 and float64 they run on the compiled loops, elsewhere as tensor operations.
    axis : int
        The axis of length n.
    norm : {None, "ortho"}
        None leaves the entries of H at 1 and -1; "ortho" divides by ``sqrt(n)``.
    overwrite_x : bool
        Work in the memory of `x`, which is then also what is returned. It must be a floating
        array that can be written to (and a tensor that needs no gradient). With it, a contiguous
        `x` costs no memory beyond some caches' worth for each thread.
    workers : int, optional
        Threads. The default is as many as numba may use, one for short work.

    Returns
    -------
    (..., n) array or tensor
        Of the shape of `x`.

    Raises
    ------
    ValueError
        Where n is no power of two, or the dtype or another argument is not as said above.

    Notes
    -----
    ``n log2 n`` additions for each transform, and two walks over memory for n up to 2^27.

    Examples
    --------
    >>> import numpy as np
    >>> from paperworks.numerics import hadamard_transform
    >>> hadamard_transform([1.0, 2.0, 3.0, 4.0])
    array([10., -2., -4.,  0.])
    >>> x = np.arange(8.0).reshape(2, 4)
    >>> np.allclose(hadamard_transform(hadamard_transform(x, axis=0, norm="ortho"), axis=0,
    ...                                norm="ortho"), x)
    True
    """
    if norm not in (None, "ortho"):
        raise ValueError(f"norm must be None or 'ortho', got {norm!r}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be >= 1, got {workers}")
    torch = sys.modules.get("torch")  # a tensor cannot exist before torch is imported
    if torch is not None and isinstance(x, torch.Tensor):
        from paperworks.numerics.sketching.hadamard_torch import transform_tensor

        _check_axis(x.shape, axis)
        return transform_tensor(x, axis, norm, overwrite_x, workers)

    array = np.asarray(x)
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"x must hold real numbers, got dtype {array.dtype}; the transform is linear, so "
            "transform x.real and x.imag"
        )
    axis = _check_axis(array.shape, axis)
    if overwrite_x and not (
        isinstance(x, np.ndarray) and x.dtype in (np.float32, np.float64) and x.flags.writeable
    ):
        raise ValueError(
            "overwrite_x needs a float32 or float64 array that can be written to, got "
            f"{type(x).__name__} of dtype {array.dtype}"
        )
    dtype = np.float32 if array.dtype in (np.float16, np.float32) else np.float64
    if overwrite_x and array.flags.c_contiguous:
        work = array
    else:
        work = np.array(array, dtype=dtype, order="C")
    transform_in_place(work, axis, workers)
    if norm == "ortho":
        work *= 1.0 / math.sqrt(array.shape[axis])
    if overwrite_x and work is not array:
        array[...] = work
        return array
    return work.astype(array.dtype) if array.dtype == np.float16 else work


def _check_axis(shape: tuple[int, ...], axis: int) -> int:
    """`axis` counted from the front, of a length that can be transformed."""
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis {axis} is not one of the {len(shape)} of x, of shape {shape}")
    n = shape[axis]
    if n < 1 or n & (n - 1):
        way = f"pad with zeros to {1 << n.bit_length()}" if n else "there is nothing to transform"
        raise ValueError(f"the length along axis {axis} must be a power of two, got {n}; {way}")
    return axis % len(shape)

"""From the caller's arrays to checked float64, and back to the caller's kind of array."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

from paperworks.numerics.sinkhorn.kernels import Floats


def _is_tensor(x: Any) -> bool:
    torch = sys.modules.get("torch")  # a tensor cannot exist before torch is imported
    return torch is not None and isinstance(x, torch.Tensor)


def _to_float64(x: Any, name: str) -> Floats:
    if _is_tensor(x):
        x = x.detach().cpu()
        x = (x.double() if x.is_floating_point() else x).numpy()  # NumPy has no bfloat16
    array = np.asarray(x)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}")
    return np.ascontiguousarray(array, dtype=np.float64)


def like(M: Any, x: Floats) -> Any:
    """`x` with the dtype, library and device of `M`."""
    if _is_tensor(M):
        torch = sys.modules["torch"]
        dtype = M.dtype if M.is_floating_point() else torch.float64
        return torch.from_numpy(x).to(device=M.device, dtype=dtype)
    dtype = getattr(M, "dtype", np.dtype(np.float64))
    return x.astype(dtype, copy=False) if dtype.kind == "f" else x


def check_arrays(a: Any, b: Any, M: Any) -> tuple[Floats, Floats, Floats]:
    """`M`, `a` and `b` as float64, or a ValueError that says what is wrong with them."""
    costs = _to_float64(M, "M")
    weights = (_to_float64(a, "a"), _to_float64(b, "b"))
    if costs.ndim != 2 or costs.size == 0:
        raise ValueError(f"M must be a matrix with rows and columns, got shape {costs.shape}")
    for axis, (name, w) in enumerate(zip("ab", weights, strict=True)):
        if w.shape != (costs.shape[axis],):
            raise ValueError(
                f"{name} must have one weight for each {('row', 'column')[axis]} of M, shape "
                f"({costs.shape[axis]},), got {w.shape}"
            )
        if not np.isfinite(w).all():
            raise ValueError(f"{name} must be finite, got {w[~np.isfinite(w)][0]}")
        if w.min() < 0:
            raise ValueError(f"{name} must be >= 0, got {w.min()}")
    if not np.isfinite(costs).all():
        raise ValueError(
            f"M must be finite, got {costs[~np.isfinite(costs)][0]}; give a forbidden pair a cost "
            "well above all others"
        )
    if costs.min() < 0:
        raise ValueError(
            f"M must be >= 0, got {costs.min()}; a constant added to all costs leaves the plan as "
            "it is, so pass M - M.min()"
        )
    mass_a, mass_b = (float(w.sum()) for w in weights)
    single = any(str(getattr(x, "dtype", "")).endswith(("float32", "float16")) for x in (a, b))
    if not mass_a > 0 or abs(mass_a - mass_b) > (1e-5 if single else 1e-9) * mass_a:
        raise ValueError(
            f"a and b must have the same sum, above 0, got {mass_a} and {mass_b}; divide each by "
            "its sum"
        )
    return costs, weights[0], weights[1]


def check_numbers(
    M: Floats,
    reg: float,
    tol: float,
    max_sinkhorn: int,
    max_newton: int,
    warmup: int,
    density: float | None,
    scaling: float | None,
) -> None:
    """Raise a ValueError where a number makes no sense."""
    if not (reg > 0 and math.isfinite(reg)):
        raise ValueError(f"reg must be > 0 and finite, got {reg}; for exact transport use ot.emd")
    if M.max() / reg > 1e12:
        raise ValueError(
            f"reg = {reg} is too small for costs up to {M.max()}: float64 cannot tell the plan "
            "from the exact one; for exact transport use ot.emd"
        )
    if not (tol > 0 and math.isfinite(tol)):
        raise ValueError(f"tol must be > 0, got {tol}; the least that makes sense is about 1e-14")
    for name, value, least in (
        ("max_sinkhorn", max_sinkhorn, 0),
        ("max_newton", max_newton, 0),
        ("warmup", warmup, 0),
    ):
        if value < least:
            raise ValueError(f"{name} must be >= {least}, got {value}")
    if density is not None and not 0 < density <= 1:
        raise ValueError(
            f"density must be in (0, 1], got {density}; None keeps every entry that matters"
        )
    if scaling is not None and not (scaling > 1 and math.isfinite(scaling)):
        raise ValueError(f"scaling must be > 1, got {scaling}; None goes straight to reg")

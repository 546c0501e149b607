"""Lion's step on a CPU in one pass over memory, compiled with numba.

Step for step the same arithmetic as the tensor operations in ``optimizer.py``, fused multiply-adds
included. Whether a processor and a build of PyTorch round alike is checked once per dtype; where
they do not, the tensor operations are used.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import torch
from numba.extending import intrinsic
from torch import Tensor

# Below this many entries a second thread costs more than it saves.
SHARE = 1 << 18


def takes(p: Tensor, g: Tensor, m: Tensor) -> bool:
    """Whether :func:`step` can do these tensors, to the bit."""
    return (
        p.dtype in (torch.float32, torch.float64)
        and all(
            t.device.type == "cpu" and t.dtype == p.dtype and t.is_contiguous() for t in (p, g, m)
        )
        and _rounds_as_torch(p.dtype)
    )


def step(p: Tensor, g: Tensor, m: Tensor, *constants: float) -> None:
    """Overwrite ``p`` and ``m``; ``constants`` are keep, lr, old, new, decay, gain."""
    arrays = [t.detach().view(-1).numpy() for t in (p, g, m)]
    scalars = [arrays[0].dtype.type(c) for c in constants]
    n = p.numel()
    parts = min(torch.get_num_threads(), max(1, n // SHARE))
    if parts == 1:
        _kernel(*arrays, *scalars)
    else:
        # Threads of our own: numba's pool does not survive a fork, and data loaders fork.
        bounds = [n * i // parts for i in range(parts + 1)]
        with ThreadPoolExecutor(parts) as pool:
            jobs = [
                pool.submit(_kernel, *(a[lo:hi] for a in arrays), *scalars)
                for lo, hi in pairwise(bounds)
            ]
        for job in jobs:
            job.result()
    torch.autograd.graph.increment_version((p, m))


def _typed_fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c``, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return a(a, b, c), generate


_fma: Any = intrinsic(_typed_fma)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _kernel(p, g, m, keep, lr, old, new, decay, gain):
    for i in range(p.size):
        z = _fma(g[i], new, m[i] * old)
        kept = p[i] * keep
        if z > 0:
            kept = kept + lr
        elif z < 0:
            kept = kept - lr
        p[i] = kept
        m[i] = _fma(g[i], gain, m[i] * decay)


@cache
def _rounds_as_torch(dtype: torch.dtype) -> bool:
    generator = torch.Generator().manual_seed(0)
    p, g, m = (torch.randn(4099, dtype=dtype, generator=generator) for _ in range(3))
    keep, lr, old, new, decay, gain = 1 - 1e-3 / 3, 1e-3, -0.9, -(1 - 0.9), 0.99, 1 - 0.99
    direction = (m * old).add_(g, alpha=new).sign_()
    p_torch = (p * keep).add_(direction, alpha=lr)
    m_torch = (m * decay).add_(g, alpha=gain)
    scalar = np.float32 if dtype == torch.float32 else np.float64
    _kernel(p.numpy(), g.numpy(), m.numpy(), *map(scalar, (keep, lr, old, new, decay, gain)))
    return torch.equal(p, p_torch) and torch.equal(m, m_torch)

"""What methods gather of a layer's inputs while the calibration data run through it."""

from __future__ import annotations

import torch
from torch import Tensor


class InputNorms:
    """The mean square of every input column: what Wanda and GBLM-Pruner weigh with."""

    def __init__(self) -> None:
        self.rows = 0
        self._squares: Tensor | None = None

    def update(self, rows: Tensor) -> None:
        """Take in (groups, rows, fan_in) inputs."""
        squares = rows.double().square().sum(1)
        self._squares = squares if self._squares is None else self._squares + squares
        self.rows += rows.shape[1]

    @property
    def norms(self) -> Tensor:
        """(groups, fan_in) float32: the root of the mean square over all rows."""
        assert self._squares is not None
        return (self._squares / self.rows).sqrt().float()


class InputRange:
    """The largest magnitude of every input column: what SmoothQuant and MinMax scales need."""

    def __init__(self) -> None:
        self._largest: Tensor | None = None

    def update(self, rows: Tensor) -> None:
        """Take in (groups, rows, fan_in) inputs."""
        largest = rows.abs().amax(1)
        self._largest = largest if self._largest is None else torch.maximum(self._largest, largest)

    @property
    def largest(self) -> Tensor:
        """(groups, fan_in), in the dtype of the inputs."""
        assert self._largest is not None
        return self._largest


class InputHessian:
    """The mean outer product of the input rows: GPTQ's and SparseGPT's Hessian, but for a 2."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum: Tensor | None = None

    def update(self, rows: Tensor) -> None:
        """Take in (groups, rows, fan_in) inputs. Costs O(rows * fan_in**2) a group."""
        products = rows.float().mT @ rows.float()
        self._sum = products if self._sum is None else self._sum.add_(products)
        self.rows += rows.shape[1]

    @property
    def matrix(self) -> Tensor:
        """(groups, fan_in, fan_in) float32."""
        assert self._sum is not None
        return self._sum / self.rows


class InputSample:
    """A uniform sample of the input rows, for methods that measure a layer's output error.

    Parameters
    ----------
    size : int
        How many rows to keep.
    seed : int
        Of the layer's own generator: the sample does not depend on the other layers.
    """

    def __init__(self, size: int, seed: int = 0):
        if size < 1:
            raise ValueError(f"size must be >= 1, got {size}")
        self.size = size
        self._generator = torch.Generator().manual_seed(seed)
        self._keys = torch.empty(0)
        self._rows: Tensor | None = None

    def update(self, rows: Tensor) -> None:
        """Take in (groups, rows, fan_in) inputs."""
        # Every row draws a number; those with the largest numbers stay.
        keys = torch.cat([self._keys, torch.rand(rows.shape[1], generator=self._generator)])
        together = rows if self._rows is None else torch.cat([self._rows, rows], 1)
        keep = keys.topk(min(self.size, keys.numel())).indices.sort().values
        self._keys, self._rows = keys[keep], together[:, keep.to(rows.device)].clone()

    @property
    def sample(self) -> Tensor:
        """(groups, at most ``size``, fan_in), in the order they came."""
        assert self._rows is not None
        return self._rows

"""Rows of a Kronecker product of factors, which is never formed.

TensorSRHT for q factors: row t of S is ``1 / sqrt(m)`` times the Kronecker product over j of row
``p_j[t]`` of ``H D_j``, with signs and samples of their own for each factor. So ``S A`` is made of
rows of the transformed factors alone, and ``S b`` of a transform of b along each of its axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from paperworks.numerics.sketching.hadamard_arrays import transform_in_place
from paperworks.numerics.sketching.sketches import Floats, Sketch, power_of_two, random_signs
from paperworks.numerics.sketching.sources import Rows, check_block


class KroneckerRows(Rows):
    """``A = F_1 x ... x F_q`` with F_j (n_j, d_j), and b of shape (n_1, ..., n_q, k)."""

    repeatable = True

    def __init__(self, factors: Sequence[Floats], b: Floats) -> None:
        self.factors, self.b = factors, b
        self.n = self._n = math.prod(F.shape[0] for F in factors)
        self.d = math.prod(F.shape[1] for F in factors)
        self.k = b.shape[-1]
        for j, F in enumerate(factors):
            try:
                check_block(F, np.zeros(0), 0)
            except ValueError as error:
                raise ValueError(f"factor {j} of {error}") from None
        check_block(np.zeros(0), b.reshape(self.n, self.k), 0)

    def sketch(self, sketch: Sketch, n_jobs: int | None) -> Floats:
        """``S [A, b]``; in this process, since the factors are small."""
        rng = np.random.default_rng(sketch.entropy)
        left = np.ones((sketch.rows, 1))
        right = self.b
        samples = []
        for j, F in enumerate(self.factors):
            order = power_of_two(F.shape[0])
            signs = random_signs(rng, F.shape[0])
            picked = rng.integers(order, size=sketch.rows)
            padded = np.zeros((order, F.shape[1]))
            padded[: F.shape[0]] = signs[:, None] * F
            transform_in_place(padded, 0)
            left = (left[:, :, None] * padded[picked][:, None, :]).reshape(sketch.rows, -1)
            # b along its axis j, which stays padded until the sample is taken.
            shape = (*right.shape[:j], order, *right.shape[j + 1 :])
            padded = np.zeros(shape)
            inside = (slice(None),) * j + (slice(0, F.shape[0]),)
            padded[inside] = right * signs.reshape(-1, *(1,) * (right.ndim - j - 1))
            transform_in_place(padded, j)
            right = padded
            samples.append(picked)
        return np.asfortranarray(np.hstack([left, right[tuple(samples)]]) / math.sqrt(sketch.rows))

    def normal(self, X: Floats, *, use_b: bool, n_jobs: int | None) -> tuple[Floats, Floats]:
        """``A'(use_b * B - A X)`` and squared norms, one factor after another."""
        R = -self._times(X, self.factors)
        if use_b:
            R += self.b.reshape(self._n, self.k)
        return self._times(R, [F.T for F in self.factors]), (R * R).sum(0)

    def gram(self, n_jobs: int | None) -> Floats:
        """``A'A``: the Kronecker product of the factors' own."""
        total: Floats = np.ones((1, 1))
        for F in self.factors:
            total = np.asarray(np.kron(total, F.T @ F), dtype=np.float64)
        return total

    def whole(self) -> Floats:
        """``[A, b]`` itself; asked for only where it is smaller than the sketch would be."""
        A: np.ndarray = self.factors[0]
        for F in self.factors[1:]:
            A = np.kron(A, F)
        return np.asfortranarray(np.hstack([A, self.b.reshape(self._n, self.k)]))

    def _times(self, X: Floats, factors: Sequence[Floats]) -> Floats:
        """``kron(*factors) @ X``, one factor at a time."""
        out = X.reshape(*(F.shape[1] for F in factors), self.k)
        for j, F in enumerate(factors):
            out = np.moveaxis(np.tensordot(F, out, axes=(1, j)), 0, j)
        return out.reshape(-1, self.k)

"""Class probabilities from the log-odds of the boundaries, also where the boundaries cross.

Boundaries with different weights cross somewhere: P(y <= k) then falls with k, and the model's
own formula (Faletto and Bien, arXiv 2305.18700, model (5)) gives a negative probability. There
the cumulative probabilities are replaced by their isotonic regression (pool adjacent violators).
It is a projection on a convex cone that holds the true cumulative probabilities, so their squared
error (the ranked probability score) cannot rise.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from paperworks.statistics.isotonic import pool_rows


def crosses(eta: np.ndarray) -> np.ndarray:
    """Rows of ``eta`` (n, K-1) that decrease somewhere, (n,) bool."""
    return np.any(np.diff(eta, axis=1) < 0, axis=1)


def class_probabilities(eta: np.ndarray) -> np.ndarray:
    """Probabilities (n, K) from log-odds (n, K-1); non-negative, rows sum to 1."""
    below, above = eta[:, :-1], eta[:, 1:]
    # The product form keeps the small probabilities exact, where a difference would cancel.
    middle = expit(above) * expit(-below) * -np.expm1(np.minimum(below - above, 0.0))
    probabilities = np.column_stack([expit(eta[:, 0]), middle, expit(-eta[:, -1])])
    crossed = crosses(eta)
    if crossed.any():
        cumulative, _ = pool_rows(expit(eta[crossed]))
        probabilities[crossed] = np.diff(cumulative, axis=1, prepend=0.0, append=1.0)
    return probabilities

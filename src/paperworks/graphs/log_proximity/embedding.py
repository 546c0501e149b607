"""Points whose squared distances are a kernel's, from the whole of it or from some columns.

Everything here is blind to a number added to a row, a column or the whole of the kernel: what
clusters see is its centred form. A logarithmic kernel need not be positive semidefinite; its
negative part has no points and is left out.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg

_FLOOR = 1e-10
_LANDMARK_FLOOR = 1e-6  # below it a component says nothing, and its projection is noise


def embed(K: np.ndarray, n_components: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of a kernel.

    Parameters
    ----------
    K : (n, n) float64, symmetric
    n_components : int, optional
        Only the first ones.

    Returns
    -------
    (n, r) points, columns by falling variance, and their r eigenvalues (> 0).
    """
    centred = K - K.mean(axis=0)
    centred = centred - centred.mean(axis=1, keepdims=True)
    n = len(K)
    wanted = None if n_components is None or n_components >= n else (n - n_components, n - 1)
    values, vectors = scipy.linalg.eigh(centred, subset_by_index=wanted, check_finite=False)
    return _points(values, vectors, n_components, _FLOOR)


def embed_columns(C: np.ndarray, landmarks: np.ndarray, n_components: int) -> np.ndarray:
    """Principal components of a kernel from the columns of some landmarks.

    The components are those of the landmarks, and every node is projected on them (the Nystroem
    extension of kernel PCA, which is landmark multidimensional scaling). The diagonal of the
    kernel is not needed: it cancels.

    Parameters
    ----------
    C : (n, m) float64
        Kernel columns.
    landmarks : (m,) int
        Their rows.
    n_components : int
        At most this many; few, for small components of few landmarks are noise.

    Returns
    -------
    (n, r) float64
    """
    W = C[landmarks]
    W = (W + W.T) / 2
    means = W.mean(axis=0)
    centred = W - means
    centred = centred - centred.mean(axis=1, keepdims=True)
    values, vectors = scipy.linalg.eigh(centred, check_finite=False)
    points, kept = _points(values, vectors, n_components, _LANDMARK_FLOOR)
    outside = C - means
    outside -= outside.mean(axis=1, keepdims=True)  # rounding leaves eigenvectors a share of 1
    return outside @ (points / kept)


def _points(
    values: np.ndarray, vectors: np.ndarray, n_components: int | None, floor: float
) -> tuple[np.ndarray, np.ndarray]:
    values, vectors = values[::-1][:n_components], vectors[:, ::-1][:, :n_components]
    keep = values > floor * max(float(values[0]), 0.0)
    keep &= values > 0
    if not keep.any():  # all nodes are alike
        return np.zeros((len(vectors), 1)), np.ones(1)
    vectors, values = vectors[:, keep], values[keep]
    # The sign of an eigenvector is arbitrary: make the largest entry positive.
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(values))])
    return vectors * signs * np.sqrt(values), values

"""The inverse of a layer's Hessian in the form that error feedback needs: GPTQ's and SparseGPT's.

Where weight ``i`` of an output row is changed and the weights after it make up for that, the
inverse Hessian of what is still free is needed for each ``i``. All of them are read off one upper
triangular factor (Frantar and Alistarh, *SparseGPT*, arXiv:2301.00774, section 3.2; *GPTQ*,
arXiv:2210.17323, section 3.3, step 3). Both factor the inverse; here the Hessian is factored from
its last row upwards and the factor inverted, which gives the same matrix without ever forming the
inverse.
"""

from __future__ import annotations

import torch
from torch import Tensor


def inverse_cholesky(hessian: Tensor, damping: float = 0.01, *, name: str = "") -> Tensor:
    """The upper triangular ``U`` with ``U.T @ U`` the inverse of the damped Hessian.

    With ``F`` the weights from ``i`` on, the inverse Hessian of ``F`` alone has
    ``U[i, i] * U[i, i:]`` as its first row: changing weight ``i`` by ``-e`` is best made up for by
    changing the weights ``i:`` by ``-e / U[i, i] * U[i, i:]``, at a cost of
    ``(e / U[i, i])**2 / 2``.

    Parameters
    ----------
    hessian : (..., n, n) float
        Symmetric and positive semidefinite. Its scale cancels in the update.
    damping : float
        How much of the mean of the diagonal is added to it; 0.01 in both papers. Inputs that are
        always zero have a zero row; they take 1 on the diagonal, and no part in anything.
    name : str
        Of the layer, for the error.

    Returns
    -------
    (..., n, n) float
        In the dtype of ``hessian``; computed in float64.

    Raises
    ------
    ValueError
        If the damping is negative, or the damped Hessian is not positive definite.

    Notes
    -----
    O(n**3) time, O(n**2) memory.

    Examples
    --------
    >>> import torch
    >>> hessian = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    >>> u = inverse_cholesky(hessian, damping=0.0)
    >>> torch.allclose(u.mT @ u, hessian.inverse())
    True
    """
    if not damping >= 0:
        raise ValueError(f"damping must be >= 0, got {damping}")
    damped = hessian.double().clone()
    diagonal = damped.diagonal(dim1=-2, dim2=-1)  # a view
    never = diagonal == 0
    diagonal += damping * diagonal.mean(-1, keepdim=True)
    diagonal[never] = 1.0
    # flip(H) = L L.T gives H = R R.T with R = flip(L) upper triangular, and U is its inverse.
    lower, failed = torch.linalg.cholesky_ex(damped.flip(-2, -1))
    if bool(failed.any()):
        raise ValueError(
            f"{name or 'the layer'}: the Hessian is not positive definite at damping={damping}: "
            "give more damping, or more calibration data"
        )
    identity = torch.eye(hessian.shape[-1], dtype=damped.dtype, device=damped.device)
    upper = torch.linalg.solve_triangular(lower.flip(-2, -1), identity, upper=True)
    return upper.to(hessian.dtype)

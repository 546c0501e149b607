"""Quantiles in their order: three operators, also as layers of a network, and a penalty.

Fakoor et al. (arXiv 2103.00083), section 4: sorting, isotonic regression, the min-max sweep,
and the crossing penalty (19) with constant or adaptive margins (21).

Of the three, sorting and isotonic regression never raise the pinball loss summed over the levels,
at any y (proposition 2): quantiles that cross are the wrong way round for every y. The sweep has no
such guarantee. Each is piecewise linear, so a network is trained through it by its derivative: a
permutation for sorting, block means for isotonic regression.

Departure: the authors' code sorts softly in training *and* in prediction (fast-soft-sort), which
moves quantiles that do not cross and leaves the theorem behind. Here sorting is exact in both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from paperworks.statistics.isotonic import pool_rows
from paperworks.statistics.quantile_aggregation.levels import FloatArray, check_finite

if TYPE_CHECKING:
    from torch import Tensor

Operator = Literal["sort", "isotonic", "minmax"]
OPERATORS: tuple[Operator, ...] = ("sort", "isotonic", "minmax")


def uncross(q: ArrayLike, how: Operator = "sort") -> FloatArray:
    """Bring predicted quantiles into their order, row by row.

    Parameters
    ----------
    q : (n, m) float
        Predicted quantiles of increasing levels.
    how : {"sort", "isotonic", "minmax"}, default="sort"
        ``"sort"`` rearranges the values of a row. ``"isotonic"`` takes the nearest ordered row
        in squared distance (pool adjacent violators). ``"minmax"`` goes from the middle level
        outwards with a running maximum upwards and a running minimum downwards.

    Returns
    -------
    (n, m) float64
        Ordered rows; rows that were in order come back as they were.

    Raises
    ------
    ValueError
        For an unknown operator, a table that is not two-dimensional, NaN or infinities.

    Notes
    -----
    ``"sort"`` and ``"isotonic"`` never raise the pinball loss summed over a row's levels, nor so
    the weighted interval score, whatever y is. ``"minmax"`` can raise it. O(n m log m) or O(n m).

    Examples
    --------
    >>> from paperworks.statistics import uncross
    >>> uncross([[1.0, 4.0, 2.0, 5.0]])
    array([[1., 2., 4., 5.]])
    >>> uncross([[1.0, 4.0, 2.0, 5.0]], how="isotonic")
    array([[1., 3., 3., 5.]])
    """
    check_operator(how)
    table = np.array(q, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"q must be (n, m), a row for each prediction, got shape {table.shape}")
    check_finite(table, "q")
    if how == "sort":
        return np.sort(table, axis=1)
    if how == "isotonic":
        return pool_rows(table)[0]
    middle = table.shape[1] // 2
    table[:, middle:] = np.maximum.accumulate(table[:, middle:], axis=1)
    table[:, middle::-1] = np.minimum.accumulate(table[:, middle::-1], axis=1)
    return table


def check_operator(how: Any) -> None:
    """Refuse what is none of the three."""
    if how not in OPERATORS:
        raise ValueError(f"the operator must be one of {', '.join(OPERATORS)}, got {how!r}")


def uncross_tensor(q: Tensor, how: Operator) -> Tensor:
    """:func:`uncross` on a tensor ``(n, m)``, with derivatives."""
    import torch

    if how == "sort":
        return torch.sort(q, dim=1).values
    if how == "minmax":
        middle = q.shape[1] // 2
        below = torch.cummin(q[:, : middle + 1].flip(1), dim=1).values.flip(1)
        return torch.cat([below[:, :-1], torch.cummax(q[:, middle:], dim=1).values], dim=1)
    crossed = (q[:, 1:] < q[:, :-1]).any(dim=1)
    if not crossed.any():
        return q
    _, block = pool_rows(q.detach()[crossed].double().cpu().numpy())
    index = torch.from_numpy(block).to(q.device)
    # The value of a block is its mean, so the derivative is the mean over the block too.
    rows = q[crossed]
    total = torch.zeros_like(rows).scatter_add(1, index, rows)
    count = torch.zeros_like(rows).scatter_add(1, index, torch.ones_like(rows))
    pooled = (total / count.clamp(min=1)).gather(1, index)
    return q.masked_scatter(crossed[:, None], pooled)


def crossing_penalty(q: Tensor, margins: Tensor) -> Tensor:
    """Mean over rows and pairs of levels of ``max(0, q_low - q_high + margin)``: (19).

    ``q`` (n, m); ``margins`` (m, m), of which the part above the diagonal counts: entry (s, t) is
    how far the quantile of level t must lie above that of level s. A mean where the paper has a
    sum, as in the authors' code, so that the weight of the penalty keeps its meaning.
    """
    import torch

    m = q.shape[1]
    if m < 2:
        return q.new_zeros(())
    low, high = torch.triu_indices(m, m, offset=1, device=q.device)
    short = q[:, low] - q[:, high] + margins[low, high]
    return short.clamp(min=0).mean()


def margins(levels: FloatArray, margin: float, residuals: FloatArray | None = None) -> FloatArray:
    """Margins ``(m, m)`` between pairs of levels, the lower level first.

    Without ``residuals`` all are ``margin``. With them (y less a pilot's median) the margins are
    adaptive, equation (21): ``margin`` times the gap between the residuals' own quantiles.
    """
    m = len(levels)
    if residuals is None:
        return np.full((m, m), margin)
    quantiles = np.quantile(residuals, levels)
    return margin * np.maximum(quantiles[None, :] - quantiles[:, None], 0)

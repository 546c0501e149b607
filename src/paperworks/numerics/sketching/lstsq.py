"""Least squares on a random sketch of the rows, with a bound on every coordinate.

Song, Ye, Yin and Zhang, "A Nearly-Optimal Bound for Fast Regression with l-infinity Guarantee",
ICML 2023, arXiv:2302.00248: solve ``min ||S A x - S b||`` with a dense S of
``eps^-2 d log^3(n / delta)`` rows, and every coordinate is off by at most
``eps / sqrt(d) ||A x - b|| ||pinv(A)||``; TensorSRHT for Kronecker products. What departs from it:

- The theorem leaves the constant open, and with 1 its count exceeds n for most n. The default is
  the exact count for a Gaussian sketch (``rows.py``); ``rows="paper"`` gives the theorem's.
- The same law gives an error for every coordinate from the data, `coordinate_error`.
- ``method="precondition"`` is not in the paper: Blendenpik (Avron, Maymounkov and Toledo, SISC
  2010), started from the sketched solution and refined (Epperly, Meier and Nakatsukasa 2024).
- Where the sketch would be no smaller than A, LAPACK solves the problem itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from scipy.linalg import solve_triangular

from paperworks.numerics.sketching.inputs import like, open_rows
from paperworks.numerics.sketching.kronecker import KroneckerRows
from paperworks.numerics.sketching.precondition import EPS, refine
from paperworks.numerics.sketching.rows import (
    TENSOR_VARIANCE,
    check_promise,
    quantile,
    sketch_rows,
)
from paperworks.numerics.sketching.sketches import KINDS, SPARSE, Floats, draw_sketch
from paperworks.numerics.sketching.sources import ArrayRows, Rows

# Numbers below it have squares that float64 cannot hold, and so have those above its inverse.
LEAST = 1e-140


@dataclass(frozen=True, eq=False)
class SketchedLstsqResult:
    """What :func:`sketched_lstsq` returns, whatever its arguments.

    Arrays are NumPy arrays, or torch tensors where A is a tensor, of the floating dtype of A
    (float64 for integers, streams and factors). For b of shape (n, k) they have k columns.

    Attributes
    ----------
    x : (d,) or (d, k) array
        The solution.
    coordinate_error : (d,) or (d, k) array
        How far each entry of `x` may be from the exact solution. For "solve": all entries are
        within it at once with probability ``1 - delta``, by Student's law, exact for a Gaussian
        sketch; infinite for "countsketch" and "osnap". Else an estimate of what rounding and the
        end of the iterations left.
    residual_norm : (k,) float64 array, or float
        ``norm(A @ x - b)``; for "solve" an estimate of its least value, from the sketch.
    converged : bool
        False where "precondition" stopped short of its tolerance. The best that was reached is
        returned in any case.
    method : {"solve", "precondition", "direct"}
        What was done: "direct" where the sketch would have had no fewer rows than A.
    rows : int
        Rows of the sketch; those of A for "direct".
    n : int
        Rows of A.
    condition : float
        Condition number of A with its columns scaled to one length, from the sketch.
    iterations : int
        Refinements on the Gram matrix, or, for an A of condition above 3e6, or with more than 512
        columns, conjugate gradient iterations; each is one walk.
    passes : int
        Walks over A, the sketch included.

    Examples
    --------
    >>> import numpy as np
    >>> from paperworks.numerics import sketched_lstsq
    >>> A = np.vander(np.linspace(-1, 1, 5000), 3)
    >>> result = sketched_lstsq(A, A @ [3.0, 2.0, 1.0], method="precondition", rng=0)
    >>> result.x.round(12), result.converged, result.n
    (array([3., 2., 1.]), True, 5000)
    """

    x: Any
    coordinate_error: Any
    residual_norm: Any
    converged: bool
    method: str
    rows: int
    n: int
    condition: float
    iterations: int
    passes: int


def sketched_lstsq(
    A: Any,
    b: Any = None,
    *,
    eps: float = 0.5,
    delta: float = 0.01,
    sketch: str = "srht",
    method: str = "solve",
    rows: int | str | None = None,
    tol: float | None = None,
    max_iterations: int = 100,
    nonzeros: int = 8,
    block_rows: int | None = None,
    n_jobs: int | None = None,
    rng: Any = None,
) -> SketchedLstsqResult:
    r"""Solve a tall least-squares problem on a random sketch of its rows.

    Minimises ``norm(A @ x - b)`` for A of full column rank with many more rows than columns.
    With ``method="solve"`` each entry of the result is within
    ``eps / sqrt(d) * norm(A @ x - b) * norm(pinv(A))`` of the exact one, all at once, with
    probability at least ``1 - delta``, after one walk over A. With ``method="precondition"`` the
    solution is exact to machine precision, after some five walks, or up to thirty where A is ill
    conditioned.

    Take ``numpy.linalg.lstsq`` where n is not some hundred times d or A lacks full rank, and
    ``scipy.sparse.linalg.lsmr`` where A is sparse, or well conditioned and wanted to a few digits.

    Parameters
    ----------
    A : (n, d) array, stream of row blocks, or tuple of factors
        An array of any real dtype and layout, a memory map, or a torch tensor (worked on in
        float64 on the CPU; it is not copied as a whole). A stream is an iterable of pairs
        ``(A_i, b_i)`` of row blocks of any length (or of ``A_i`` alone, with `b` beside it), or a
        function that returns one afresh, which "precondition" needs. With
        ``sketch="tensor-srht"``: the factors ``(F_1, F_2, ...)`` of ``A = kron(F_1, F_2, ...)``,
        which is not formed.
    b : (n,) or (n, k) array
        Right-hand sides. For factors the shape ``(n_1, n_2, ...)`` is taken as well. Leave it out
        where a stream brings it.
    eps, delta : float
        The promise, for "solve": in (0, 1). Rows grow as ``eps**-2 * log(1 / delta)``.
    sketch : str
        "srht" (randomised Hadamard transform, ``n d log(rows)`` operations), "srct" (cosine),
        "gaussian" and "rademacher" (independent entries, ``n d rows``), "tensor-srht" (for
        factors). "countsketch" and "osnap" cost ``n d`` and ``n d nonzeros`` and promise nothing
        for single coordinates: they are taken with "precondition", or with explicit `rows`.
    method : {"solve", "precondition"}
        See above.
    rows : int or {"student", "paper"}, optional
        Rows of the sketch: a number, or a rule of :func:`sketch_rows`. The default is "student"
        for "solve". For "precondition" it is ``n / 64``, but from 8 d to 64 d: more rows cost
        more once and save iterations.
    tol : float, optional
        For "precondition": stop at ``norm(A @ (x - exact)) <= tol * norm(A @ exact)``, by
        estimate. The default goes on to machine precision.
    max_iterations : int
        For "precondition": most iterations, each a walk over A; 0 leaves the sketched solution.
    nonzeros : int
        Entries in a column of an "osnap" sketch.
    block_rows : int, optional
        Rows of A in one block. It is a power of two for "srht"; with "srct" the classical
        transform is the one of n rows at once. The default follows the rows of the sketch.
    n_jobs : int, optional
        Workers, as joblib counts them: threads, or what ``joblib.parallel_config`` names (Ray, for
        one), to which row blocks are sent for sketching. The sums of the workers' shares differ
        in rounding only.
    rng : int, numpy.random.Generator or None
        Source of the sketch.

    Returns
    -------
    SketchedLstsqResult

    Raises
    ------
    ValueError
        Where A lacks full column rank or has fewer rows than columns, where a number is not
        finite (the message says which), or another argument is not as said above.

    Notes
    -----
    Time is ``O(n d log(rows) + rows d^2)``, and for "precondition" ``O(n d)`` more for each
    iteration and ``O(n d^2)``, by BLAS, for the Gram matrix; memory beyond
    A is ``O(rows (d + k))`` for each worker. The first call on a machine compiles for some
    seconds, once.

    References
    ----------
    .. [1] Z. Song, M. Ye, J. Yin and L. Zhang, "A Nearly-Optimal Bound for Fast Regression with
       l-infinity Guarantee", ICML 2023, arXiv:2302.00248.
    .. [2] H. Avron, P. Maymounkov and S. Toledo, "Blendenpik: Supercharging LAPACK's
       Least-Squares Solver", SIAM J. Sci. Comput. 32, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from paperworks.numerics import sketched_lstsq
    >>> rng = np.random.default_rng(0)
    >>> A = rng.standard_normal((20_000, 3))
    >>> b = A @ [1.0, -2.0, 0.5] + rng.standard_normal(20_000)
    >>> exact = np.linalg.lstsq(A, b)[0]
    >>> rough = sketched_lstsq(A, b, eps=0.2, delta=0.05, rng=0)
    >>> rough.rows < 1000, bool((abs(rough.x - exact) <= rough.coordinate_error).all())
    (True, True)
    >>> fine = sketched_lstsq(A, b, method="precondition", rng=0)
    >>> fine.converged, np.allclose(fine.x, exact, rtol=1e-12)
    (True, True)
    """
    _check_options(sketch, method, tol, max_iterations, block_rows)
    check_promise(eps, delta)
    source, vector = open_rows(A, b, sketch)
    d, k = source.d, source.k
    if source.n is not None:
        _check_tall(source.n, d)
    m = _rows(rows, source, eps=eps, delta=delta, sketch=sketch, method=method)

    direct = source.n is not None and m >= source.n
    if direct and isinstance(source, ArrayRows | KroneckerRows):
        table, method = source.whole(), "direct"
        m = table.shape[0]
        passes = 1
    else:
        drawn = draw_sketch(
            sketch,
            m,
            np.random.default_rng(rng),
            n=source.n,
            block_rows=block_rows,
            nonzeros=nonzeros,
        )
        table = source.sketch(drawn, n_jobs)
        passes = 1
    assert source.n is not None
    _check_tall(source.n, d)
    _check_sizes(table, d)

    triangle = scipy.linalg.qr(table, mode="raw", overwrite_a=True, check_finite=False)[1]
    R, right = triangle[:d, :d], triangle[:d, d:]
    left_over = np.linalg.norm(triangle[d:, d:], axis=0)
    condition = _check_rank(R, sketched=method != "direct")
    X = solve_triangular(R, right, check_finite=False)
    spread = np.linalg.norm(solve_triangular(R, np.eye(d), check_finite=False), axis=1)

    converged, iterations = True, 0
    if method == "solve":
        degrees = m - d
        residual = left_over * math.sqrt(m / degrees)
        factors = len(source.factors) if isinstance(source, KroneckerRows) else 1
        width = (
            quantile(degrees, delta, d * k) * math.sqrt(TENSOR_VARIANCE ** (factors - 1))
            if sketch not in SPARSE
            else math.inf
        )
        off = width * spread[:, None] * left_over / math.sqrt(degrees)
    else:
        if method == "precondition":
            found = refine(source, X, R, tol=tol, max_iterations=max_iterations, n_jobs=n_jobs)
            X, residual, converged = found.X, found.residual, found.converged
            iterations, passes = found.iterations, passes + found.passes
            error = found.error
        else:
            residual, error = left_over, np.zeros(k)
        lengths = np.linalg.norm(R, axis=0)[:, None]
        rounding = (
            4.0 * EPS * (math.sqrt(d) * np.linalg.norm(lengths * X, axis=0) + condition * residual)
        )
        off = spread[:, None] * np.maximum(error, rounding)

    if vector:
        X, off, residual = X[:, 0], off[:, 0], float(residual[0])
    return SketchedLstsqResult(
        x=like(A, X),
        coordinate_error=like(A, off),
        residual_norm=residual,
        converged=converged,
        method=method,
        rows=m,
        n=source.n,
        condition=condition,
        iterations=iterations,
        passes=passes,
    )


def _check_options(
    sketch: str, method: str, tol: float | None, max_iterations: int, block_rows: int | None
) -> None:
    if sketch not in KINDS:
        raise ValueError(f"sketch must be one of {', '.join(KINDS)}, got {sketch!r}")
    if method not in ("solve", "precondition"):
        raise ValueError(f"method must be 'solve' or 'precondition', got {method!r}")
    if tol is not None and not (tol > 0.0 and math.isfinite(tol)):
        raise ValueError(f"tol must be > 0, got {tol}; None goes to machine precision")
    if max_iterations < 0:
        raise ValueError(f"max_iterations must be >= 0, got {max_iterations}")
    if block_rows is not None and block_rows < 1:
        raise ValueError(f"block_rows must be >= 1, got {block_rows}")


def _check_tall(n: int, d: int) -> None:
    if n < d:
        raise ValueError(
            f"A has {n} rows and {d} columns, and no unique solution; numpy.linalg.lstsq gives "
            "the one of least norm"
        )


def _rows(
    rows: int | str | None, source: Rows, *, eps: float, delta: float, sketch: str, method: str
) -> int:
    """Rows of the sketch: as asked, or by rule."""
    d, k, n = source.d, source.k, source.n
    if rows is None and method == "precondition":
        wanted = 16 * d if n is None else n // 64
        return max(min(max(wanted, 8 * d), 64 * d), d + k)
    if rows is None or isinstance(rows, str):
        if sketch in SPARSE:
            raise ValueError(
                f"{sketch!r} promises nothing for single coordinates, at any number of rows of "
                "this order; give rows as a number, or take 'srht', or method='precondition'"
            )
        rule = "student" if rows is None else rows
        factors = len(source.factors) if isinstance(source, KroneckerRows) else 1
        count = sketch_rows(d, eps=eps, delta=delta, n=n, rule=rule, rhs=k, factors=factors)
        return max(count, d + k)
    if not (rows >= d + k and rows % 1 == 0):
        raise ValueError(
            f"rows must be a whole number of at least d + k = {d + k} (columns of A and of b), "
            f"got {rows}"
        )
    return int(rows)


def _check_sizes(table: Floats, d: int) -> None:
    """Raise a ValueError where squares would leave the range of float64."""
    sizes = np.abs(table).max(0)
    for j, size in enumerate(sizes):
        if not (size == 0.0 or LEAST <= size <= 1.0 / LEAST):
            name = f"column {j} of A" if j < d else "b"
            raise ValueError(
                f"the numbers of {name} are too large or too small to square, about {size:.0e}; "
                "scale it"
            )


def _check_rank(R: Floats, *, sketched: bool) -> float:
    """Condition of R with columns of one length; a ValueError names the dependent columns."""
    d = R.shape[0]
    lengths = np.linalg.norm(R, axis=0)
    scaled = R / np.where(lengths > 0.0, lengths, 1.0)
    singular = np.linalg.svd(scaled, compute_uv=False)
    tolerance = EPS * max(100.0, 10.0 * d)
    if singular[-1] > tolerance * singular[0]:
        return float(singular[0] / singular[-1])
    diagonal, pivots = scipy.linalg.qr(scaled, pivoting=True, mode="r", check_finite=False)
    kept = min(int((np.abs(np.diag(diagonal)) > tolerance).sum()), d - 1)
    dropped = sorted(pivots[kept:])
    names = ", ".join(str(j) for j in dropped[:10])
    more = f" and {len(dropped) - 10} more" if len(dropped) > 10 else ""
    raise ValueError(
        f"A has rank {kept} of {d} {'(as seen by the sketch) ' if sketched else ''}within "
        f"rounding; without column{'s' * (len(dropped) > 1)} {names}{more} it has full rank. "
        "numpy.linalg.lstsq gives the solution of least norm"
    )

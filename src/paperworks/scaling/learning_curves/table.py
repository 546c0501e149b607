r"""Reading a metric table: a row for each training run, with its size of data and its error.

Files are those of :func:`~paperworks.scaling.read_runs`: CSV with a header, ``.tsv`` or ``.jsonl``,
``.gz`` behind any of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from paperworks.scaling.fitting import read_runs
from paperworks.scaling.learning_curves.shapes import FloatArray
from paperworks.scaling.lines import BadLine, BadLineError


@dataclass(frozen=True)
class CurveTable:
    """The rows of a metric table, arrays of shape (n,).

    Parameters
    ----------
    size, error : ndarray of float
        Amount of data, and error, > 0.
    model_size : ndarray of float or None
        Size of the model, where a column was named.
    learner, run : ndarray of str or None
        Which learner, and which run, where columns were named.
    lines : ndarray of int
        Each row's line in the file, from 1.
    bad : tuple of BadLine
        Lines that were left out, and why.
    """

    size: FloatArray
    error: FloatArray
    model_size: FloatArray | None
    learner: NDArray[np.str_] | None
    run: NDArray[np.str_] | None
    lines: NDArray[np.int64]
    bad: tuple[BadLine, ...]

    def of(self, learner: str) -> CurveTable:
        """The rows of one learner."""
        if self.learner is None or learner not in self.learner:
            known = "none" if self.learner is None else ", ".join(np.unique(self.learner))
            raise ValueError(f"no row is of learner {learner!r}; the table has {known}")
        mine = self.learner == learner
        return CurveTable(
            self.size[mine],
            self.error[mine],
            None if self.model_size is None else self.model_size[mine],
            self.learner[mine],
            None if self.run is None else self.run[mine],
            self.lines[mine],
            self.bad,
        )


def read_learning_curves(
    path: str | PathLike[str],
    *,
    size: str = "size",
    error: str = "error",
    accuracy: bool = False,
    percent: bool = False,
    model_size: str | None = None,
    learner: str | None = None,
    run: str | None = None,
    strict: bool = False,
) -> CurveTable:
    r"""Read a metric table.

    Parameters
    ----------
    path : path
        ``.csv``, ``.tsv`` or ``.jsonl``, with or without ``.gz``; UTF-8. Other columns are ignored.
    size : str
        The column of the amount of training data: examples, tokens, hours. Numbers > 0.
    error : str
        The column of the metric. Numbers > 0; lower is better, unless ``accuracy``.
    accuracy : bool
        The metric is a share of right answers: its error is 1 less it. A row without any error has
        no place on a log scale, and is bad.
    percent : bool
        The metric is in per cent; errors come out as fractions.
    model_size, learner, run : str, optional
        Columns of the model's size (numbers > 0), of the learner's name, and of the run that rows
        belong to which err together (a seed).
    strict : bool
        Stop at the first bad line. By default bad lines are left out and listed in ``bad``.

    Returns
    -------
    CurveTable

    Raises
    ------
    ValueError
        Where a column is missing, or no good line is left.
    BadLineError
        With ``strict``, at the first bad line.
    OSError
        Where the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "curve.csv")
    ...     _ = file.write_text("size,acc\n100,70\n200,80\n400,100\n")
    ...     table = read_learning_curves(file, error="acc", accuracy=True, percent=True)
    >>> table.error.round(2).tolist(), str(table.bad[0])
    ([0.3, 0.2], 'line 4: acc must be < 100: no errors have no place on a log scale')
    """
    variables = {"size": size} | ({"model_size": model_size} if model_size else {})
    runs = read_runs(path, variables, y=error, group=learner, zero_y=accuracy, strict=strict)
    bad = list(runs.bad)
    top = 100.0 if percent else 1.0
    errors = (top - runs.y) / top if accuracy else runs.y / top
    keep = np.ones(errors.size, dtype=bool)
    if accuracy:
        for row in np.flatnonzero((runs.y >= top) | (runs.y < 0)):
            value, line = float(runs.y[row]), int(runs.lines[row])
            if value == top:
                why = f"{error} must be < {top:g}: no errors have no place on a log scale"
            else:
                hint = "; is it in per cent?" if value > 1 and not percent else ""
                why = f"{error} must be between 0 and {top:g}, got {value:g}{hint}"
            bad.append(BadLine(line, why))
            keep[row] = False
    named = None
    if run is not None:
        # The core's reader knows one column of names; the other comes from a second pass.
        again = read_runs(path, variables, y=error, group=run, zero_y=accuracy, strict=strict)
        assert again.groups is not None
        names = dict(zip(again.lines.tolist(), again.groups.tolist(), strict=True))
        known = {each.line for each in bad}
        bad += [each for each in again.bad if each.line not in known]
        keep &= np.isin(runs.lines, again.lines)
        named = np.array([names.get(line, "") for line in runs.lines.tolist()])
    bad.sort(key=lambda each: each.line)
    if strict and bad:
        raise BadLineError(f"{path}, {bad[0]}")
    if not keep.any():
        raise ValueError(f"{path} holds no usable line; the first of {len(bad)} bad: {bad[0]}")
    return CurveTable(
        runs.variables["size"][keep],
        errors[keep],
        runs.variables["model_size"][keep] if model_size else None,
        runs.groups[keep] if runs.groups is not None else None,
        named[keep] if named is not None else None,
        runs.lines[keep],
        tuple(bad),
    )

"""Run logs: the table that every step of the recipe takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paperworks.scaling.fitting.runs import Runs, column_names, read_runs
from paperworks.scaling.lines import BadLine

FloatArray = NDArray[np.float64]

COLUMNS = {"run": "run", "N": "N", "B": "B", "S": "step", "loss": "loss", "D": "dataset"}


class MissingRunsError(ValueError):
    """A step of the recipe cannot be taken yet. ``needs`` says which runs it wants.

    Attributes
    ----------
    step : str
        The step's name.
    needs : tuple of str
        A sentence for each thing that is missing.

    Examples
    --------
    >>> str(MissingRunsError("the data law", ["longer runs", "runs on 1 more size"]))
    'the data law needs longer runs; and runs on 1 more size'
    """

    def __init__(self, step: str, needs: Sequence[str]) -> None:
        self.step, self.needs = step, tuple(needs)
        super().__init__(f"{step} needs " + "; and ".join(needs))


@dataclass(frozen=True, init=False, eq=False, repr=False)
class RunLog:
    """Losses along training runs, a row for each look at one.

    Parameters
    ----------
    run : (n,) str or int
        The run that a row belongs to.
    N : (n,) float
        Parameters of its model, without embeddings.
    B : (n,) float
        Its batch, in tokens.
    S : (n,) float
        Optimizer steps done.
    loss : (n,) float
        Test loss then, in nats per token. All runs must share one test set and one tokenizer.
    D : (n,) float, optional
        Tokens of its training set, where that was limited. By default no run saw its data twice.

    Raises
    ------
    ValueError
        Where shapes differ, a value is not positive, a run changes N, B or D, or has a step twice.

    Notes
    -----
    Rows are put in order of runs and steps. ``bad`` holds the lines of a file that were left out.

    Examples
    --------
    >>> log = RunLog(["a", "a", "b"], 1e6, [512, 512, 1024], [100, 10, 10], [3.1, 5.0, 4.5])
    >>> log
    RunLog(2 runs, 1 size, 2 batch sizes, 3 rows)
    >>> log.S.tolist()
    [10.0, 100.0, 10.0]
    """

    run: NDArray[np.str_]
    N: FloatArray
    B: FloatArray
    S: FloatArray
    loss: FloatArray
    D: FloatArray | None = None
    bad: tuple[BadLine, ...] = field(default=(), compare=False)

    def __init__(
        self,
        run: ArrayLike,
        N: ArrayLike,
        B: ArrayLike,
        S: ArrayLike,
        loss: ArrayLike,
        D: ArrayLike | None = None,
        bad: tuple[BadLine, ...] = (),
    ) -> None:
        named = np.atleast_1d(np.asarray(run)).astype(str)
        numbers = {"N": N, "B": B, "S": S, "loss": loss, **({} if D is None else {"D": D})}
        columns = {}
        for name, value in numbers.items():
            array = np.asarray(value, dtype=np.float64)
            if array.ndim > 1 or (array.ndim == 1 and array.shape != named.shape):
                raise ValueError(f"{name} must be a number or ({named.size},), got {array.shape}")
            wrong = array[~((array > 0) & np.isfinite(array))]
            if wrong.size:
                raise ValueError(f"{name} must be finite and > 0, got {wrong.flat[0]}")
            columns[name] = np.broadcast_to(array, named.shape)
        if not named.size:
            raise ValueError("a run log needs at least one row")
        order = np.lexsort((columns["S"], named))
        object.__setattr__(self, "run", named[order])
        for name in ("N", "B", "S", "loss", "D"):
            object.__setattr__(self, name, columns[name][order] if name in columns else None)
        object.__setattr__(self, "bad", tuple(bad))
        self._check_runs()

    def _check_runs(self) -> None:
        same = self.run[1:] == self.run[:-1]
        for name in ("N", "B", "D"):
            column = getattr(self, name)
            if column is None:
                continue
            at = np.flatnonzero(same & (column[1:] != column[:-1]))
            if at.size:
                raise ValueError(
                    f"run {str(self.run[at[0]])!r} has {name} {column[at[0]]:g} and "
                    f"{column[at[0] + 1]:g}; a run has one, so give its parts names of their own"
                )
        at = np.flatnonzero(same & (self.S[1:] == self.S[:-1]))
        if at.size:
            raise ValueError(f"run {str(self.run[at[0]])!r} has step {self.S[at[0]]:g} twice")

    def __repr__(self) -> str:
        def many(count: int, word: str) -> str:
            return f"{count:,} {word}" + ("" if count == 1 else "s")

        return (
            f"RunLog({many(len(self.runs), 'run')}, {many(len(np.unique(self.N)), 'size')}, "
            f"{many(len(np.unique(self.B)), 'batch size')}, {many(self.S.size, 'row')})"
        )

    @property
    def runs(self) -> tuple[str, ...]:
        """The names of the runs, in order."""
        return tuple(np.unique(self.run).tolist())

    def where(self, keep: NDArray[np.bool_]) -> RunLog:
        """The rows that ``keep``, (n,) bool, says."""
        if not keep.any():
            raise ValueError("no row of the run log is left")
        return RunLog(
            self.run[keep],
            self.N[keep],
            self.B[keep],
            self.S[keep],
            self.loss[keep],
            None if self.D is None else self.D[keep],
            self.bad,
        )

    def single_pass(self) -> NDArray[np.bool_]:
        """(n,) bool: rows whose run had not seen its data more than once yet."""
        if self.D is None:
            return np.ones(self.S.shape, dtype=bool)
        return np.asarray(self.S * self.B <= self.D)

    def parts(self) -> dict[str, RunLog]:
        """Each run by itself."""
        return {name: self.where(self.run == name) for name in self.runs}


def read_run_log(
    path: str | PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    strict: bool = False,
) -> RunLog:
    r"""Read a run log from a file.

    Parameters
    ----------
    path : path
        ``.csv``, ``.tsv`` or ``.jsonl``, with or without ``.gz``. Columns: ``run``, ``N``
        (parameters without embeddings), ``B`` (tokens in a batch), ``step``, ``loss`` (nats per
        token) and, where a training set was limited, ``dataset`` (its tokens). Others are ignored.
    columns : mapping of str to str, optional
        Other names for ``run``, ``N``, ``B``, ``S``, ``loss`` and ``D``, as ``{"N": "params"}``.
    strict : bool
        Stop at the first bad line. By default bad lines are left out and listed in ``bad``.

    Returns
    -------
    RunLog

    Raises
    ------
    ValueError
        Where a column is missing, no good line is left, or runs contradict themselves.
    OSError
        Where the file cannot be read.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "runs.csv")
    ...     _ = file.write_text("run,N,B,step,loss\na,1e6,512,10,5.0\na,1e6,512,20,-1\n")
    ...     log = read_run_log(file)
    >>> log, str(log.bad[0])
    (RunLog(1 run, 1 size, 1 batch size, 1 row), "line 3: loss must be > 0, got '-1'")
    """
    unknown = set(columns or {}) - set(COLUMNS)
    if unknown:
        raise ValueError(f"columns may rename {', '.join(COLUMNS)}; got {', '.join(unknown)}")
    named = COLUMNS | dict(columns or {})
    limited = named["D"] in column_names(path)
    if not limited and "D" in (columns or {}):
        raise ValueError(f"{path} has no column {named['D']!r}")
    wanted = ("N", "B", "S", "D") if limited else ("N", "B", "S")
    found = read_runs(
        path,
        {name: named[name] for name in wanted},
        y=named["loss"],
        group=named["run"],
        strict=strict,
    )
    v = found.variables
    return RunLog(_named(found), v["N"], v["B"], v["S"], found.y, v.get("D"), found.bad)


def _named(found: Runs) -> NDArray[np.str_]:
    if found.groups is None:
        raise ValueError("the runs have no names")
    return found.groups

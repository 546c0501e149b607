"""A holdout that a team shares as a file: the tables, the mechanism and the spent budget in one.

What ``paperworks holdout`` stands on. The tables are read from CSV files when the state file is
made, and kept inside it; later questions are expressions of their columns, or of columns that a
member brings along, such as a model's predictions.

Who can read the file can read the holdout. It keeps honest people honest; against others, let only
a service account read it, and ask through that.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperworks.statistics.adaptive.answers import Answer
from paperworks.statistics.adaptive.expressions import Expression
from paperworks.statistics.adaptive.holdout import ReusableHoldout
from paperworks.statistics.adaptive.ledger import Ledger, LedgerError, read_file
from paperworks.statistics.adaptive.mechanisms import Gaussian, Laplace, Mechanism, Splitting
from paperworks.statistics.adaptive.thresholdout import Thresholdout
from paperworks.statistics.adaptive.weights import FiniteDomain, MultiplicativeWeights

Table = NDArray[Any]  # structured: one field a column
_CLASSES: dict[str, type[Mechanism]] = {
    each.name: each for each in (Splitting, Laplace, Gaussian, Thresholdout, MultiplicativeWeights)
}
_ROW = "\x00row"  # a column that no CSV can have: which row this is


def read_table(path: str | os.PathLike[str]) -> Table:
    """A CSV file with a header as a structured array; columns are numbers where all cells are.

    Parameters
    ----------
    path : path
        Comma-separated, UTF-8.

    Returns
    -------
    (n,) structured array
        Fields are float64 or text.

    Raises
    ------
    ValueError
        If a cell is empty or NaN, a row has another number of cells, or a name comes twice.
    """
    with Path(path).open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.reader(stream))
    if len(rows) < 2 or not rows[0]:
        raise ValueError(f"{path} needs a header and at least one row")
    names = [name.strip() for name in rows[0]]
    if len(set(names)) < len(names) or not all(names):
        raise ValueError(f"the columns of {path} must have distinct names, got {names}")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(names):
            raise ValueError(
                f"line {number} of {path} has {len(row)} cells, the header has {len(names)}"
            )
        for name, cell in zip(names, row, strict=True):
            if cell.strip().lower() in ("", "nan", "na", "null"):
                raise ValueError(
                    f"line {number} of {path} has no value for {name!r} ({cell!r}); "
                    "fill it, or drop the row"
                )
    columns = {name: _column([row[i] for row in rows[1:]]) for i, name in enumerate(names)}
    return _table(columns)


def _column(cells: list[str]) -> NDArray[Any]:
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:
        return np.array([cell.strip() for cell in cells])


def _table(columns: Mapping[str, NDArray[Any]]) -> Table:
    made = np.empty(
        len(next(iter(columns.values()))), dtype=[(n, c.dtype) for n, c in columns.items()]
    )
    for name, column in columns.items():
        made[name] = column
    return made


class SharedHoldout:
    """A :class:`ReusableHoldout` over tables, opened from its state file.

    Parameters
    ----------
    path : path
        Made by :meth:`create`.

    Raises
    ------
    LedgerError
        If the file is not there, or is none of these.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        header, files = read_file(path)
        if "holdout" not in files:
            raise LedgerError(
                f"the state file {path} holds no tables: it belongs to a ReusableHoldout in Python"
            )
        tables = {
            name: np.load(io.BytesIO(content), allow_pickle=False)
            for name, content in files.items()
        }
        domain = tables.get("domain")
        self.guard = _guard(tables, _mechanism(header, domain), header["confidence"], path)
        self.tables = tables
        self.columns = [name for name in tables["holdout"].dtype.names if name != _ROW]

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        mechanism: Mechanism,
        holdout: Table,
        train: Table | None = None,
        *,
        confidence: float = 0.95,
    ) -> SharedHoldout:
        """Make a state file.

        Parameters
        ----------
        path : path
            Must not be there yet.
        mechanism : Mechanism
            As in :class:`ReusableHoldout`.
        holdout, train : structured array
            From :func:`read_table`, with the same columns.
        confidence : float, default=0.95
            As in :class:`ReusableHoldout`.

        Raises
        ------
        ValueError
            If the file is there, or the tables do not fit.
        """
        if Path(path).exists():
            raise ValueError(f"{path} is there already; its spent budget is not to be overwritten")
        tables = {"holdout": holdout}
        if train is not None:
            if train.dtype.names != holdout.dtype.names:
                raise ValueError(
                    f"train and holdout must have the same columns, got {train.dtype.names} and "
                    f"{holdout.dtype.names}"
                )
            for name in holdout.dtype.names or ():
                kinds = train.dtype[name].kind, holdout.dtype[name].kind
                if kinds[0] != kinds[1]:
                    raise ValueError(
                        f"column {name!r} is text in one table and numbers in the other"
                    )
            tables["train"] = train
        if isinstance(mechanism, MultiplicativeWeights):
            tables["domain"] = mechanism.domain.points
        else:
            # Rows are numbered over both tables, so that columns brought later find their row.
            start = 0
            for name in ("train", "holdout"):
                if name in tables:
                    tables[name] = _numbered(tables[name], start)
                    start += len(tables[name])
        guard = _guard(tables, mechanism, confidence, None)
        Ledger(
            path,
            guard.header,
            lambda: mechanism.start(guard.n_samples, guard.draw),
            {name: _bytes(table) for name, table in tables.items()},
        )
        return cls(path)

    def ask(
        self,
        query: str,
        *,
        low: float = 0.0,
        high: float = 1.0,
        extra: Mapping[str, Table] | None = None,
    ) -> Answer:
        """Answer a query written as an :class:`~.expressions.Expression`.

        Parameters
        ----------
        query : str
            Of the tables' columns and the extra ones.
        low, high : float, default=0, 1
            Its range.
        extra : mapping of {"train", "holdout"} to structured array, optional
            Further columns for the rows of each table, in their order.

        Raises
        ------
        BudgetExhausted
            If nothing is left.
        ValueError
            If the query does not parse, names an unknown column, or leaves its range.
        """
        expression = Expression(query)
        more = self._joined(extra or {})
        for name in expression.columns:
            if name not in self.columns and name not in more:
                raise ValueError(
                    f"there is no column {name!r}; there are {', '.join([*self.columns, *more])}"
                )

        def values(table: Table) -> Any:
            columns = {name: table[name] for name in self.columns}
            columns.update({name: column[table[_ROW]] for name, column in more.items()})
            found = np.asarray(expression(columns))
            return np.broadcast_to(found, len(table)) if found.ndim == 0 else found

        return self.guard.ask(values, low=low, high=high, name=query)

    def _joined(self, extra: Mapping[str, Table]) -> dict[str, NDArray[Any]]:
        """Extra columns over the rows of both tables."""
        if not extra:
            return {}
        if "domain" in self.tables:
            raise ValueError("multiplicative-weights asks about its domain's columns only")
        needed = [name for name in ("train", "holdout") if name in self.tables]
        if set(extra) != set(needed):
            raise ValueError(f"extra columns are needed for {' and '.join(needed)}")
        names: Sequence[str] = extra["holdout"].dtype.names or ()
        for table in needed:
            if extra[table].dtype.names != extra["holdout"].dtype.names:
                raise ValueError("extra columns must have the same names for train and holdout")
            if len(extra[table]) != len(self.tables[table]):
                raise ValueError(
                    f"the extra columns for {table} have {len(extra[table]):,} rows, it has "
                    f"{len(self.tables[table]):,}"
                )
        for name in names:
            if name in self.columns:
                raise ValueError(f"there is a column {name!r} already; rename the extra one")
            if len({extra[table].dtype[name].kind for table in needed}) > 1:
                raise ValueError(f"column {name!r} is text for one table and numbers for another")
        return {name: np.concatenate([extra[table][name] for table in needed]) for name in names}


def _guard(
    tables: Mapping[str, Table], mechanism: Mechanism, confidence: float, path: Any
) -> ReusableHoldout:
    return ReusableHoldout(
        tables.get("train"), tables["holdout"], mechanism, confidence=confidence, path=path
    )


def _mechanism(header: Mapping[str, Any], domain: Table | None) -> Mechanism:
    kind = _CLASSES[header["mechanism"]]
    names = [field.name for field in dataclasses.fields(kind)]
    parameters = {name: header[name] for name in names if name != "domain"}
    if domain is not None:
        parameters["domain"] = FiniteDomain(domain)
    return kind(**parameters)


def _numbered(table: Table, start: int) -> Table:
    columns = {name: table[name] for name in table.dtype.names or ()}
    return _table({**columns, _ROW: np.arange(start, start + len(table))})


def _bytes(table: Table) -> bytes:
    stream = io.BytesIO()
    np.save(stream, table, allow_pickle=False)
    return stream.getvalue()

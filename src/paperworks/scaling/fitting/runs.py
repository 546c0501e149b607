r"""Reading a person's own runs: a table with a row for each run, or for each point of one.

CSV with a header (``.tsv`` has tabs between its cells), or one JSON object a line (``.jsonl``);
``.gz`` behind any of them. Columns that nobody asked for are ignored.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperworks.scaling.fitting.law import FloatArray
from paperworks.scaling.lines import BadLine, BadLineError, numbered_lines


@dataclass(frozen=True)
class Runs:
    """What :func:`read_runs` found: columns of n numbers, and the lines that they came from.

    Attributes
    ----------
    variables : dict of str to (n,) float
        By the names that were asked for.
    y : (n,) float
        What was measured.
    groups : (n,) str, or None
        The run of each row, where a column says so.
    lines : (n,) int
        Each row's line in the file, from 1.
    bad : tuple of BadLine
        Lines that were left out, and why.
    """

    variables: dict[str, FloatArray]
    y: FloatArray
    groups: NDArray[np.str_] | None
    lines: NDArray[np.int64]
    bad: tuple[BadLine, ...]


def read_runs(
    path: str | PathLike[str],
    variables: Mapping[str, str],
    *,
    y: str = "loss",
    group: str | None = None,
    zero_y: bool = False,
    strict: bool = False,
) -> Runs:
    r"""Read runs from a file.

    Parameters
    ----------
    path : path
        ``.csv``, ``.tsv`` or ``.jsonl``, with or without ``.gz``; UTF-8.
    variables : mapping of str to str
        The column of each variable, as ``{"N": "params", "D": "tokens"}``. Numbers > 0.
    y : str
        The column of what was measured. Numbers > 0.
    group : str, optional
        The column that names the run, where a run has several rows.
    zero_y : bool
        Whether y may be 0 or less.
    strict : bool
        Stop at the first bad line. By default bad lines are left out and listed in ``bad``.

    Returns
    -------
    Runs

    Raises
    ------
    ValueError
        Where a column is missing from the file, or no good line is left.
    BadLineError
        With ``strict``, at the first bad line.
    OSError
        Where the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "runs.csv")
    ...     _ = file.write_text("params,loss\n1e6,4.2\n2e6,nan\n4e6,3.6\n")
    ...     runs = read_runs(file, {"N": "params"})
    >>> runs.y.tolist(), str(runs.bad[0])
    ([4.2, 3.6], "line 3: loss must be finite, got 'nan'")
    """
    path = Path(path)
    positive = [*variables.values(), *([] if zero_y else [y])]
    table: dict[str, list[float]] = {column: [] for column in (*variables.values(), y)}
    named: list[str] = []
    lines: list[int] = []
    bad: list[BadLine] = []
    for number, record, fault in _records(path, (*table, *([group] if group else []))):
        try:
            if fault:
                raise ValueError(fault)
            values = {column: _number(record, column) for column in table}
            for column in positive:
                if values[column] <= 0:
                    raise ValueError(f"{column} must be > 0, got {record[column]!r}")
            if group is not None and record.get(group) in (None, ""):
                raise ValueError(f"{group} is missing")
        except ValueError as error:
            bad.append(BadLine(number, str(error)))
            if strict:
                raise BadLineError(f"{path}, {bad[-1]}") from None
            continue
        for column, value in values.items():
            table[column].append(value)
        lines.append(number)
        if group is not None:
            named.append(str(record[group]))
    if not lines:
        seen = f"; the first of {len(bad)} bad: {bad[0]}" if bad else "; it is empty"
        raise ValueError(f"{path} holds no usable line{seen}")
    return Runs(
        {name: np.array(table[column]) for name, column in variables.items()},
        np.array(table[y]),
        np.array(named) if group is not None else None,
        np.array(lines, dtype=np.int64),
        tuple(bad),
    )


def column_names(path: str | PathLike[str]) -> tuple[str, ...]:
    """The columns of a file of runs: its header, or the fields of its first JSON line."""
    path = Path(path)
    for _, raw in numbered_lines(path):
        if _is_json(path):
            record = _parsed(raw)
            return tuple(record) if isinstance(record, dict) else ()
        return tuple(
            cell.strip() for cell in next(csv.reader([_text(raw)], delimiter=_delimiter(path)))
        )
    raise ValueError(f"{path} is empty")


def _records(path: Path, wanted: tuple[str, ...]) -> Iterator[tuple[int, Mapping[str, Any], str]]:
    """Each row's line, its cells by column, and what is wrong with the line as a whole."""
    header = column_names(path)
    missing = [column for column in wanted if column not in header]
    if missing and not _is_json(path):
        raise ValueError(
            f"{path} has no column {', '.join(map(repr, missing))}; it has {', '.join(header)}"
        )
    for position, (number, raw) in enumerate(numbered_lines(path)):
        if _is_json(path):
            record = _parsed(raw)
            if isinstance(record, dict):
                yield number, record, ""
            else:
                yield number, {}, "not a JSON object"
        elif position > 0:
            try:
                (cells,) = csv.reader([_text(raw)], delimiter=_delimiter(path), strict=True)
            except (csv.Error, ValueError) as error:
                yield number, {}, f"not CSV ({error})"
                continue
            fault = "" if len(cells) == len(header) else f"{len(cells)} cells, not {len(header)}"
            yield number, dict(zip(header, cells, strict=False)), fault


def _is_json(path: Path) -> bool:
    return ".jsonl" in path.suffixes or ".ndjson" in path.suffixes


def _delimiter(path: Path) -> str:
    return "\t" if ".tsv" in path.suffixes else ","


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        return None


def _number(record: Mapping[str, Any], column: str) -> float:
    cell = record.get(column)
    if cell is None or cell == "":
        raise ValueError(f"{column} is missing")
    if isinstance(cell, bool):
        raise ValueError(f"{column} must be a number, got {cell}")
    try:
        value = float(cell)
    except (TypeError, ValueError):
        raise ValueError(f"{column} must be a number, got {cell!r}") from None
    if not math.isfinite(value):
        raise ValueError(f"{column} must be finite, got {cell!r}")
    return value

"""Edge lists in files: text, gzip or Parquet, read at millions of lines a second.

A text file has an edge on each line: two node ids and, where there is one, a weight, set apart by
blanks, tabs, commas or semicolons. Lines that start with # or %, and a first line of column names,
are passed over.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numba
import numpy as np

from paperworks.graphs.adjacency import Duplicates, WeightedGraph, as_graph

_PIECE = 1 << 24
_FEWEST = 4  # bytes of the shortest edge, "1 2\n"
_SEPARATORS = (32, 9, 44, 59, 13)
_HEADERS = {"source", "src", "from", "u", "head", "node1", "start", "fromnodeid"}


def read_edge_list(
    path: str | os.PathLike[str],
    *,
    directed: bool = True,
    weighted: bool | None = None,
    duplicates: Duplicates = "raise",
    ids: Literal["int", "str"] = "int",
    progress: Callable[[int, int], object] | None = None,
) -> WeightedGraph:
    r"""Read a graph from a file of edges.

    Parameters
    ----------
    path : path
        ``.parquet`` is read as Parquet (needs the extra ``graphs``), whose first columns, or those
        called source, target and weight, are the edges. Anything else is text; ``.gz`` is
        unpacked on the way.
    directed : bool
        Whether a line is an edge one way. Default True.
    weighted : bool, optional
        Whether a third column holds weights. By default it does where it is there; False ignores
        all columns but two.
    duplicates : {"raise", "sum", "max"}
        What an edge is that is there twice, as in :func:`as_graph`.
    ids : {"int", "str"}
        What node ids are. Integers, with or without gaps, are read many times faster.
    progress : callable, optional
        Called with (bytes done, bytes of the file); for Parquet with rows.

    Returns
    -------
    WeightedGraph
        Its nodes are those of the file, ascending.

    Raises
    ------
    ValueError
        For a line that is no edge, naming it, a truncated file, negative weights, repeated edges,
        or a file without edges.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "edges.txt")
    ...     _ = file.write_text("# from to\n10 20\n20\t40\n")
    ...     read_edge_list(file)
    WeightedGraph(3 nodes, 2 directed edges)
    """
    path = Path(path)
    if ids not in ("int", "str"):
        raise ValueError(f"ids must be 'int' or 'str', got {ids!r}")
    if path.suffix == ".parquet":
        edges = _parquet(path, weighted, progress)
    elif ids == "str":
        edges = _strings(path, weighted)
    else:
        edges = _integers(path, weighted, progress)
    if not len(edges[0]):
        raise ValueError(f"{path} holds no edge")
    return as_graph(edges, directed=directed, duplicates=duplicates)


def _integers(path: Path, weighted: bool | None, progress: Any) -> tuple[np.ndarray, ...]:
    parts: list[tuple[np.ndarray, ...]] = []
    width = 2 if weighted is False else 0
    line = 1
    for piece in _pieces(path, progress):
        if line == 1:
            piece, skipped = _without_header(piece)
            line += skipped
        buffer = np.frombuffer(piece, dtype=np.uint8)
        most = len(piece) // _FEWEST + 1
        sources, targets = np.empty((2, most), dtype=np.int64)
        weights = np.empty(most)
        edges, lines, columns, bad = _parse(buffer, sources, targets, weights, width)
        if bad:
            raise ValueError(_wrong(path, line + lines, piece, lines, columns, bad))
        line += lines
        if edges and not width:
            width = columns
            if weighted and width == 2:
                raise ValueError(f"{path} has no third column, and weighted=True needs one")
        parts.append(
            tuple(part[:edges].copy() for part in (sources, targets, weights)[: width or 2])
        )
    if not parts:
        return np.empty(0), np.empty(0)
    held = [part for part in parts if part[0].size]
    if not held:
        return np.empty(0), np.empty(0)
    return tuple(np.concatenate(columns) for columns in zip(*held, strict=True))


def _wrong(path: Path, number: int, piece: bytes, at: int, columns: int, bad: int) -> str:
    text = piece.split(b"\n", at + 1)[at].decode("utf-8", "replace").strip()[:60]
    why = {
        1: "a node id must be a whole number of at most 18 digits; for names of any kind read with "
        "ids='str' (--string-ids)",
        2: "an edge needs two node ids",
        3: "a weight must be a number; to ignore the third column read with weighted=False "
        "(--unweighted)",
        4: f"it has {columns} columns where 2, or 3 with weights as in the lines before, are "
        "meant; to read the first two alone use weighted=False (--unweighted)",
    }[bad]
    return f"{path}, line {number}: {text!r}: {why}"


def _without_header(piece: bytes) -> tuple[bytes, int]:
    """The bytes after a first line of column names, and how many lines that took."""
    first, _, rest = piece.partition(b"\n")
    words = first.decode("utf-8-sig", "replace").replace(",", " ").replace(";", " ").split()
    if len(words) >= 2 and words[0].strip('"').lower() in _HEADERS:
        return rest, 1
    return (piece[3:], 0) if piece.startswith(b"\xef\xbb\xbf") else (piece, 0)


def _pieces(path: Path, progress: Any) -> Iterator[bytes]:
    """The file's bytes, unpacked, in pieces that end with a line."""
    size = path.stat().st_size
    with path.open("rb") as raw:
        stream: Any = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        rest = b""
        while True:
            try:
                read = stream.read(_PIECE)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise ValueError(f"{path} is truncated or no gzip file: {error}") from None
            if progress is not None:
                progress(raw.tell(), size)
            if not read:
                break
            whole, newline, after = (rest + read).rpartition(b"\n")
            rest = after
            if newline:
                yield whole + newline
        if rest.strip():
            yield rest + b"\n"


@numba.njit(cache=True, nogil=True)
def _parse(buffer, sources, targets, weights, width):
    """Edges of a piece of text. Returns edges, lines, columns, and what is wrong or 0.

    `width` 0 takes the number of columns from the first edge, 2 ignores what comes after two.
    """
    edges, lines, at, columns = 0, 0, 0, width
    while at < buffer.size:
        column, bad = 0, 0
        comment = False
        while buffer[at] != 10:
            letter = buffer[at]
            if letter == 32 or letter == 9 or letter == 44 or letter == 59 or letter == 13:
                at += 1
                continue
            if column == 0 and (letter == 35 or letter == 37):
                comment = True
            if comment or (column >= 2 and width == 2):
                while buffer[at] != 10:
                    at += 1
                break
            negative = False
            if letter == 45 or letter == 43:
                negative = letter == 45
                at += 1
            digits, whole, value, point, places = 0, 0, 0.0, False, 0
            while True:
                letter = buffer[at]
                if letter >= 48 and letter <= 57:
                    digits += 1
                    if digits <= 18:
                        whole = whole * 10 + (letter - 48)
                    value = value * 10.0 + (letter - 48)
                    if point:
                        places += 1
                elif letter == 46 and column == 2 and not point:
                    point = True
                else:
                    break
                at += 1
            exponent = 0
            if column == 2 and digits and (letter == 101 or letter == 69):
                at += 1
                minus = buffer[at] == 45
                if minus or buffer[at] == 43:
                    at += 1
                seen = 0
                while buffer[at] >= 48 and buffer[at] <= 57:
                    exponent = min(exponent * 10 + (buffer[at] - 48), 10_000)
                    seen += 1
                    at += 1
                if not seen:
                    bad = 3
                if minus:
                    exponent = -exponent
                letter = buffer[at]
            ends = (
                letter == 10 or letter == 32 or letter == 9 or letter == 44 or letter == 59
                or letter == 13
            )  # fmt: skip
            if not digits or not ends or bad or (column < 2 and digits > 18):
                bad = 3 if column == 2 else 1
                if column > 2:
                    bad = 4
                break
            if column == 0:
                sources[edges] = -whole if negative else whole
            elif column == 1:
                targets[edges] = -whole if negative else whole
            elif column == 2:
                scale = exponent - places
                if digits <= 18:
                    value = float(whole)
                if scale < 0:
                    value = value / 10.0 ** (-scale) if scale > -300 else value * 10.0**scale
                elif scale > 0:
                    value = value * 10.0**scale
                weights[edges] = -value if negative else value
            column += 1
        if bad:
            return edges, lines, column, bad
        if not comment and column:
            if column == 1:
                return edges, lines, column, 2
            if not columns:
                columns = column
            if column > 3 or column != columns:
                return edges, lines, column, 4
            edges += 1
        at += 1
        lines += 1
    return edges, lines, columns, 0


def _strings(path: Path, weighted: bool | None) -> tuple[np.ndarray, ...]:
    sources: list[str] = []
    targets: list[str] = []
    weights: list[float] = []
    width = 2 if weighted is False else 0
    number = 0
    for piece in _pieces(path, None):
        if not number:
            piece, number = _without_header(piece)
        for raw in piece.decode("utf-8", "replace").splitlines():
            number += 1
            words = raw.replace(",", " ").replace(";", " ").split()
            if not words or words[0][0] in "#%":
                continue
            width = width or len(words)
            if len(words) < 2 or width > 3 or (weighted is not False and len(words) != width):
                raise ValueError(
                    f"{path}, line {number}: {raw.strip()[:60]!r}: 2 columns, or 3 with weights as "
                    "in the lines before, are meant"
                )
            sources.append(words[0])
            targets.append(words[1])
            if width == 3:
                try:
                    weights.append(float(words[2]))
                except ValueError:
                    raise ValueError(
                        f"{path}, line {number}: {raw.strip()[:60]!r}: a weight must be a number"
                    ) from None
    if weighted and width == 2:
        raise ValueError(f"{path} has no third column, and weighted=True needs one")
    names = (np.array(sources, dtype=str), np.array(targets, dtype=str))
    return (*names, np.array(weights)) if width == 3 else names


def _parquet(path: Path, weighted: bool | None, progress: Any) -> tuple[np.ndarray, ...]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "reading Parquet needs the extra: pip install 'paperworks[graphs]'"
        ) from error
    try:
        file = parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from None
    names = file.schema_arrow.names
    lower = {name.lower(): name for name in names}
    found = [lower.get(name) for name in ("source", "target", "weight")]
    if found[0] is None or found[1] is None:
        found = [*names[:3], *[None] * (3 - len(names[:3]))]
    if weighted and found[2] is None:
        raise ValueError(f"{path} has no column of weights, and weighted=True needs one")
    columns = [name for name in (found[:2] if weighted is False else found) if name is not None]
    if len(columns) < 2:
        raise ValueError(f"{path} needs two columns of node ids or more, got {names}")
    parts: list[list[np.ndarray]] = []
    rows, total = 0, file.metadata.num_rows
    for batch in file.iter_batches(columns=columns, batch_size=1 << 20):
        read = []
        for name in columns:
            column = batch.column(batch.schema.get_field_index(name))
            if column.null_count:
                raise ValueError(f"{path}: column {name!r} has missing values")
            values = column.to_numpy(zero_copy_only=False)
            read.append(values.astype(str) if values.dtype.kind == "O" else values)
        parts.append(read)
        rows += batch.num_rows
        if progress is not None:
            progress(rows, total)
    if not parts:
        return np.empty(0), np.empty(0)
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

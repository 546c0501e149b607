"""Captions from parquet files, without a Python string per caption."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from paperworks.scaling.concept_frequency.arrays import Bytes, IntArray
from paperworks.scaling.concept_frequency.arrow import open_parquet, pyarrow
from paperworks.scaling.concept_frequency.batches import ROWS, TEXT, Batch, Ledger
from paperworks.scaling.concept_frequency.parts import Part


def read_parquet(part: Part, caption: str, tags: str | None, ledger: Ledger) -> Iterator[Batch]:
    """The samples of some row groups. A caption that is null counts as empty.

    Raises
    ------
    ValueError
        Where a column is not there or holds something else than text.
    BrokenFileError
        Where the file ends too early or is damaged.
    """
    arrow = pyarrow()
    with open_parquet(Path(part.path)) as file:
        names = file.schema_arrow.names
        wanted = [caption] if tags is None else [caption, tags]
        for name in wanted:
            if name not in names:
                raise ValueError(
                    f"{part.path} has no column {name!r}; its columns are {', '.join(names)}"
                )
        kind = file.schema_arrow.field(caption).type
        if arrow.types.is_dictionary(kind):
            kind = kind.value_type
        if not (arrow.types.is_string(kind) or arrow.types.is_large_string(kind)):
            raise ValueError(f"{part.path}: column {caption!r} must hold text, got {kind}")
        at = 0
        groups = range(part.start, part.stop)
        for record in file.iter_batches(ROWS, row_groups=groups, columns=wanted):
            values = record.column(wanted.index(caption)).cast(arrow.large_string())
            labels = None if tags is None else record.column(record.schema.get_field_index(tags))
            for low, high in _cuts(values):
                data, offsets = buffers(values[low:high])
                yield Batch(
                    data,
                    offsets,
                    np.arange(at + low, at + high),
                    None if labels is None else _plain(labels[low:high]),
                )
            at += len(values)
        ledger.lines = at


def _cuts(values: Any) -> list[tuple[int, int]]:
    """Bounds of pieces of at most ``TEXT`` bytes, or of one caption."""
    _, offsets = buffers(values)
    bounds, start = [], 0
    while start < len(values):
        stop = int(np.searchsorted(offsets, offsets[start] + TEXT, "right")) - 1
        stop = min(max(stop, start + 1), len(values))
        bounds.append((start, stop))
        start = stop
    return bounds


def buffers(values: Any) -> tuple[Bytes, IntArray]:
    """Bytes and offsets of a large_string array; null is empty."""
    values = values.fill_null("") if values.null_count else values
    _, bounds, data = values.buffers()
    offsets = np.frombuffer(bounds, dtype=np.int64)
    offsets = offsets[values.offset : values.offset + len(values) + 1]
    raw = np.frombuffer(data, dtype=np.uint8) if data is not None else np.zeros(0, dtype=np.uint8)
    return raw, offsets


def _plain(labels: Any) -> list[Any]:
    """Tags as Python values; what parquet calls a map is a list of pairs there already."""
    return labels.to_pylist()

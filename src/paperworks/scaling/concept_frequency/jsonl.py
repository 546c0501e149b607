"""Captions from JSON lines, plain or gzip: blocks through pyarrow, line by line where that fails.

pyarrow parses a block a few times faster than Python and says nothing of where it is wrong. So a
block that it refuses, or in which it does not find one caption a line, is read again line by line.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from paperworks.scaling.concept_frequency.batches import Batch, BrokenFileError, Ledger, Pending
from paperworks.scaling.concept_frequency.parquet import buffers
from paperworks.scaling.concept_frequency.parts import Part

_BLOCK = 1 << 23
_BOM = b"\xef\xbb\xbf"


def read_jsonl(part: Part, caption: str, tags: str | None, ledger: Ledger) -> Iterator[Batch]:
    """The samples of the lines that begin in the part; blank lines are passed over.

    A line needs ``caption``, a string or null (which counts as empty). Bad lines go to the ledger.

    Raises
    ------
    BrokenFileError
        Where a compressed file ends too early or is damaged.
    """
    fast = True
    for block in _blocks(part):
        lines = block.count(b"\n") + (not block.endswith(b"\n"))
        before = ledger.bad_total
        batch = _fast(block, lines, caption, tags, ledger.lines) if fast else None
        if batch is not None:
            yield batch
        else:
            yield from _slow(block, caption, tags, ledger)
            # Nothing was wrong, and still pyarrow could not: it will not do better later on.
            fast = fast and ledger.bad_total > before
        ledger.lines += lines


def _blocks(part: Part) -> Iterator[bytes]:
    """Blocks of whole lines."""
    path = Path(part.path)
    packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            left = _to_first_line(file, part.start)
            if left is None or (part.stop and part.start + left >= part.stop):
                return
            at = part.start + left
            while not part.stop or at < part.stop:
                want = min(_BLOCK, part.stop - at) if part.stop else _BLOCK
                block = file.read(want)
                if not block:
                    return
                if not block.endswith(b"\n"):
                    block += file.readline()
                yield block.removeprefix(_BOM) if at == 0 else block
                at += len(block)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BrokenFileError(f"{path} is truncated or damaged: {error}") from error


def _to_first_line(file: Any, start: int) -> int | None:
    """Go to the first line that begins at ``start`` or later; how far that is, None if nowhere."""
    if start == 0:
        return 0
    file.seek(start - 1)
    left = len(file.readline()) - 1
    return left if left >= 0 else None


def _fast(block: bytes, lines: int, caption: str, tags: str | None, number: int) -> Batch | None:
    """The whole block as one batch, or None where it must be read line by line."""
    try:
        import pyarrow
        import pyarrow.json as reader
    except ModuleNotFoundError:
        return None
    columns = {caption: pyarrow.large_string()}
    if tags is not None:
        columns[tags] = pyarrow.list_(pyarrow.string())
    try:
        block.decode()
        table = reader.read_json(
            io.BytesIO(block),
            reader.ReadOptions(use_threads=False, block_size=len(block) + 1),
            reader.ParseOptions(pyarrow.schema(columns), unexpected_field_behavior="ignore"),
        )
    except (pyarrow.ArrowException, ValueError):
        return None
    if table.num_rows != lines or table.column(caption).null_count:
        return None
    data, offsets = buffers(table.column(caption).combine_chunks())
    labels = None if tags is None else table.column(tags).to_pylist()
    return Batch(data, offsets, np.arange(number, number + lines), labels)


def _slow(block: bytes, caption: str, tags: str | None, ledger: Ledger) -> Iterator[Batch]:
    pending = Pending(tags is not None)
    lines = block.removesuffix(b"\n").split(b"\n")
    for number, raw in enumerate(lines, start=ledger.lines):
        if not raw.strip():
            continue
        try:
            text, labels = _sample(raw, caption, tags)
        except ValueError as error:
            ledger.note(number, str(error))
            continue
        pending.add(number, text, labels)
        if pending.full:
            yield from pending.take()
    yield from pending.take()


def _sample(raw: bytes, caption: str, tags: str | None) -> tuple[str, Any]:
    try:
        record = json.loads(raw.decode())
    except RecursionError:
        raise ValueError("not JSON (nested too deeply)") from None
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from None
    if not isinstance(record, dict):
        raise ValueError(f"must be a JSON object, got {type(record).__name__}")
    return caption_in(record, caption), None if tags is None else record.get(tags)


def caption_in(record: dict[str, Any], caption: str) -> str:
    """The caption of a JSON object; ValueError where it is missing or no text."""
    if caption not in record:
        raise ValueError(f"needs {caption!r}")
    text = record[caption]
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{caption!r} must be a string, got {json.dumps(text)[:80]}")
    return text or ""

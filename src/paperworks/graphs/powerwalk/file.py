"""Arrays in one file: memory-mapped, versioned, checksummed, there whole or not at all.

The file opens with eight letters, a version, the length of a header and its checksum; then the
header, JSON with what the arrays are; then the arrays, each at a multiple of 64 bytes, with the
checksum that the header names.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paperworks.writing import whole

MAGIC = b"PPRINDEX"
VERSION = 1
_START = struct.Struct("<8sIII")
_ALIGN = 64
_PIECE = 1 << 24


class IndexFileError(ValueError):
    """A file is no index, or a damaged one, or one of another version."""


def _checksum(array: np.ndarray) -> int:
    found, flat = 0, array.reshape(-1).view(np.uint8)
    for at in range(0, flat.size, _PIECE):
        found = zlib.crc32(flat[at : at + _PIECE].data, found)
    return found


def _up(offset: int) -> int:
    return -(-offset // _ALIGN) * _ALIGN


def write(path: str | os.PathLike[str], about: Mapping[str, Any], arrays: Mapping[str, Any]) -> int:
    """Write arrays of plain dtypes, with JSON about them; returns the size of the file."""
    held = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    entries: dict[str, dict[str, Any]] = {}
    offset = 0
    for name, array in held.items():
        entries[name] = {
            "dtype": array.dtype.str,
            "shape": list(array.shape),
            "offset": offset,
            "crc32": _checksum(array),
        }
        offset = _up(offset + array.nbytes)
    header = json.dumps({"about": dict(about), "arrays": entries}).encode()
    base = _up(_START.size + len(header))
    with whole(path) as part:
        with part.open("wb") as stream:
            stream.write(_START.pack(MAGIC, VERSION, len(header), zlib.crc32(header)))
            stream.write(header)
            for name, array in held.items():
                stream.write(b"\0" * (base + entries[name]["offset"] - stream.tell()))
                flat = array.reshape(-1).view(np.uint8)
                for at in range(0, flat.size, _PIECE):
                    stream.write(flat[at : at + _PIECE].data)
            stream.write(b"\0" * (base + offset - stream.tell()))
        return part.stat().st_size


def read(
    path: str | os.PathLike[str], *, verify: bool = True
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What was written: JSON, and arrays that are mapped from the file.

    Changes to the arrays stay in memory and never reach the file. Without `verify` their checksums
    are not computed, so that nothing but the header is read.

    Raises
    ------
    IndexFileError
        If the file is no index, truncated, damaged or of another version.
    OSError
        If it cannot be read at all.
    """
    path = Path(path)
    with path.open("rb") as stream:
        start = stream.read(_START.size)
        if not start.startswith(MAGIC):
            raise IndexFileError(f"{path} is no index of personalized PageRank")
        if len(start) < _START.size:
            raise IndexFileError(_truncated(path))
        _, version, length, crc = _START.unpack(start)
        if version != VERSION:
            raise IndexFileError(
                f"{path} is an index of version {version}, and this paperworks reads version "
                f"{VERSION}: build it anew, or take the paperworks that wrote it"
            )
        header = stream.read(length)
    size = path.stat().st_size
    if len(header) < length:
        raise IndexFileError(_truncated(path))
    if zlib.crc32(header) != crc:
        raise IndexFileError(f"{path} is damaged in its header: build the index anew")
    found = json.loads(header)
    base = _up(_START.size + length)
    arrays = {}
    for name, entry in found["arrays"].items():
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        count = int(np.prod(shape, dtype=np.int64))
        at = base + entry["offset"]
        if at + count * dtype.itemsize > size:
            raise IndexFileError(
                _truncated(path, f"{size:,} of {at + count * dtype.itemsize:,} bytes or more")
            )
        if not count:
            arrays[name] = np.empty(shape, dtype)
            continue
        # Mode "c": private to this process. Loops are compiled for writable arrays alone.
        arrays[name] = np.asarray(np.memmap(path, dtype, mode="c", offset=at, shape=shape))
        if verify and _checksum(arrays[name]) != entry["crc32"]:
            raise IndexFileError(f"{path} is damaged in {name!r}: build the index anew")
    return found["about"], arrays


def digest(about: Mapping[str, Any], arrays: Mapping[str, Any]) -> str:
    """A short text that is another for other contents."""
    found = hashlib.sha256(json.dumps(dict(about), sort_keys=True).encode())
    for name, array in arrays.items():
        held = np.ascontiguousarray(array)
        found.update(f"{name} {held.dtype.str} {held.shape}".encode())
        found.update(held.reshape(-1).view(np.uint8).data)
    return found.hexdigest()[:32]


def _truncated(path: Path, detail: str = "its header is cut") -> str:
    return f"{path} is truncated ({detail}): copy it again or build the index anew"

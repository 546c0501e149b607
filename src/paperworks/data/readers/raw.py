"""What all readers share: a file's bytes, unpacked where it is gzipped."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

#: The fields of one of the records in :mod:`paperworks.data.kinds`.
Fields = dict[str, Any]


def unpacked(path: Path) -> bytes:
    """The bytes of ``path``, gunzipped where its name ends in ``.gz``."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()

"""Captions from webdataset archives: members that share a name up to its first dot are a sample."""

from __future__ import annotations

import json
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paperworks.scaling.concept_frequency.batches import Batch, BrokenFileError, Ledger, Pending
from paperworks.scaling.concept_frequency.jsonl import caption_in
from paperworks.scaling.concept_frequency.parts import Part

Sample = dict[str, bytes]


def read_tar(part: Part, caption: str, tags: str | None, ledger: Ledger) -> Iterator[Batch]:
    """The samples of an archive: the caption from ``KEY.txt``, or from a field of ``KEY.json``.

    Tags come from ``KEY.json``. Images are skipped over, not read.

    Raises
    ------
    BrokenFileError
        Where the archive ends too early or is damaged.
    """
    pending = Pending(tags is not None)
    for number, (key, sample) in enumerate(_samples(Path(part.path))):
        ledger.lines = number + 1
        try:
            text, labels = _read(sample, caption, tags)
        except ValueError as error:
            ledger.note(number, f"{key}: {error}")
            continue
        pending.add(number, text, labels)
        if pending.full:
            yield from pending.take()
    yield from pending.take()


def _read(sample: Sample, caption: str, tags: str | None) -> tuple[str, Any]:
    record: dict[str, Any] = {}
    if "json" in sample and (tags is not None or "txt" not in sample):
        try:
            record = json.loads(sample["json"].decode())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"its .json is not JSON ({error})") from None
        if not isinstance(record, dict):
            raise ValueError(f"its .json must be an object, got {type(record).__name__}")
    labels = None if tags is None else record.get(tags)
    if "txt" in sample:
        try:
            return sample["txt"].decode(), labels
        except UnicodeDecodeError as error:
            raise ValueError(f"its .txt is not UTF-8 ({error})") from None
    if "json" not in sample:
        raise ValueError("has neither .txt nor .json")
    return caption_in(record, caption), labels


def _samples(path: Path) -> Iterator[tuple[str, Sample]]:
    """(key, content of its .txt and .json members), in the order of the archive."""
    key: str | None = None
    sample: Sample = {}
    for own, ending, content in _members(path):
        if own != key:
            if key is not None:
                yield key, sample
            key, sample = own, {}
        if content is not None:
            sample[ending] = content
    if key is not None:
        yield key, sample


def _members(path: Path) -> Iterator[tuple[str, str, bytes | None]]:
    """(key, ending, content where it is text) of every member that belongs to a sample."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                folder, slash, base = member.name.rpartition("/")
                stem, _, ending = base.partition(".")
                if member.isfile() and stem and ending:
                    ending = ending.lower()
                    file = archive.extractfile(member) if ending in ("txt", "json") else None
                    yield folder + slash + stem, ending, None if file is None else file.read()
                archive.members = []  # type: ignore[attr-defined]  # else all are kept
            # A header that cannot be read ends the loop as the true end does.
            assert archive.fileobj is not None
            archive.fileobj.seek(archive.offset)
            if archive.fileobj.read(512) != bytes(512):
                raise tarfile.ReadError("it has no end mark")
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise BrokenFileError(f"{path} is truncated or damaged: {error}") from error

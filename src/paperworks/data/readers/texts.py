"""Readers of running text, of problems as JSON lines, and of tables of records."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paperworks.data.readers.raw import Fields, unpacked


def split_text(paths: Sequence[Path]) -> Fields:
    """Files whose names say which part they are: train, valid or test."""
    parts: Fields = dict.fromkeys(("train", "valid", "test"))
    for path in paths:
        (part,) = (part for part in parts if f".{part}." in path.name)
        parts[part] = unpacked(path).decode("utf-8")
    return parts


def wikitext_zip(paths: Sequence[Path]) -> Fields:
    """The raw archive with ``wiki.{train,valid,test}.raw``."""
    with zipfile.ZipFile(paths[0]) as archive:
        members = {name.rpartition("/")[2]: name for name in archive.namelist()}
        return {
            part: archive.read(members[f"wiki.{part}.raw"]).decode("utf-8")
            for part in ("train", "valid", "test")
        }


def one_text(paths: Sequence[Path]) -> Fields:
    """One text, cut into its first 90 %, the next 5 % and the last 5 %."""
    text = unpacked(paths[0]).decode("utf-8")
    first, second = int(0.9 * len(text)), int(0.95 * len(text))
    return {"train": text[:first], "valid": text[first:second], "test": text[second:]}


def json_lines(paths: Sequence[Path]) -> Fields:
    """One JSON object a line; a file whose name begins with ``train`` is the training part."""
    parts: dict[str, tuple[Any, ...]] = {"train": (), "test": ()}
    for path in paths:
        # Not splitlines: a line separator (U+2028) may stand inside a record.
        lines = unpacked(path).decode("utf-8").split("\n")
        part = "train" if path.name.startswith("train") else "test"
        parts[part] = tuple(json.loads(line) for line in lines if line.strip())
    return dict(parts)


def json_list(paths: Sequence[Path]) -> Fields:
    """One JSON list of objects, all of them for testing: the objects themselves say their parts."""
    return {"train": (), "test": tuple(json.loads(unpacked(paths[0]).decode("utf-8")))}


def csv_records(paths: Sequence[Path], *, training: str) -> Fields:
    """Tables with a header and the same columns; where ``training`` is 1 a row is for training.

    Cells stay strings, as published.
    """
    parts: dict[str, list[dict[str, str]]] = {"train": [], "test": []}
    for path in paths:
        for row in csv.DictReader(io.StringIO(unpacked(path).decode("utf-8"), newline="")):
            parts["train" if row[training] == "1" else "test"].append(row)
    return {name: tuple(rows) for name, rows in parts.items()}

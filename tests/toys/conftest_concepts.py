"""Corpora in every format, and a slow count that shares no code with the library."""

from __future__ import annotations

import io
import json
import re
import tarfile
import unicodedata
from pathlib import Path
from typing import Any

import pytest

Sample = tuple[str, Any]


def slow_words(text: str) -> list[str]:
    """Words by walking over characters."""
    text = unicodedata.normalize("NFKC", text).casefold()
    word, found = "", []
    for here, after in zip(text, text[1:] + " ", strict=False):
        if here.isalnum() or (here in "'’" and word and after.isalnum()):
            word += here
        elif word:
            found.append(word)
            word = ""
    if word:
        found.append(word)
    return [re.sub("['’]", "", w[:-2] if re.search("['’]s$", w) else w) for w in found]


def slow_has(caption: str, concept: str, match: str, lemma: Any) -> bool:
    line = [lemma(word) for word in slow_words(caption)]
    wanted = [lemma(word) for word in slow_words(concept)]
    if match == "words":
        return set(wanted) <= set(line)
    return any(line[i : i + len(wanted)] == wanted for i in range(len(line)))


def slow_counts(
    samples: list[Sample], concepts: list[str], match: str, lemma: Any
) -> tuple[list[int], list[int], list[int], int]:
    """(text, image, both, misaligned)"""
    text, image, both, apart = [0] * len(concepts), [0] * len(concepts), [0] * len(concepts), 0
    for caption, tags in samples:
        tagged = [[lemma(word) for word in slow_words(tag)] for tag in tags or []]
        mine = [slow_has(caption, concept, match, lemma) for concept in concepts]
        shown = [[lemma(word) for word in slow_words(concept)] in tagged for concept in concepts]
        for i, (a, b) in enumerate(zip(mine, shown, strict=True)):
            text[i] += a
            image[i] += b
            both[i] += a and b
        apart += any(mine) and any(shown) and not any(map(all, zip(mine, shown, strict=True)))
    return text, image, both, apart


def write_jsonl(path: Path, samples: list[Sample]) -> Path:
    lines = [json.dumps({"caption": c, "tags": t}, ensure_ascii=False) for c, t in samples]
    content = ("\n".join(lines) + "\n").encode()
    if path.suffix == ".gz":
        import gzip

        content = gzip.compress(content)
    path.write_bytes(content)
    return path


def write_parquet(path: Path, samples: list[Sample], group: int = 7) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    table = pyarrow.table({"caption": [c for c, _ in samples], "tags": [t for _, t in samples]})
    parquet.write_table(table, path, row_group_size=group)
    return path


def write_tar(path: Path, samples: list[Sample], *, text: bool = True) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
        for number, (caption, tags) in enumerate(samples):
            record = {"tags": tags} if text else {"caption": caption, "tags": tags}
            members = {"jpg": b"\xff\xd8 no image", "json": json.dumps(record).encode()}
            if text:
                members["txt"] = caption.encode()
            for ending, content in members.items():
                info = tarfile.TarInfo(f"shard/{number:06d}.{ending}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


WRITERS = {
    "a.jsonl": write_jsonl,
    "a.jsonl.gz": write_jsonl,
    "a.parquet": write_parquet,
    "a.tar": write_tar,
    "a.tar.gz": write_tar,
}

"""Captions against concepts: ours, DuckDB, pyahocorasick, the authors' index of words, a regex.

All see the same captions in one process on one core, lemmatise with simplemma (each different word
once), and must give the same document frequencies. "words" asks for every word of a concept
anywhere in the caption (DuckDB and the authors' index do), "phrase" for them side by side
(pyahocorasick and the regex do). Captions are made of WikiText-2's words by their frequencies there
where PAPERWORKS_DATA holds it, else of made-up words, Zipf's. PAPERWORKS_BENCH_CAPTIONS sets the
largest size, for ours and DuckDB from parquet; 10 million take ours a minute and DuckDB many.
"""

from __future__ import annotations

import gzip
import itertools
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paperworks.scaling import count_captions, count_concepts
from paperworks.scaling.concept_frequency.concepts import as_concepts
from paperworks.scaling.concept_frequency.words import lemmatizer, words

pytest.importorskip("simplemma")
LARGEST = int(os.environ.get("PAPERWORKS_BENCH_CAPTIONS", "1_000_000"))
SMALL = [s for s in (10_000, 100_000) if s <= LARGEST]
LARGE = [s for s in (1_000_000, LARGEST) if s <= LARGEST]
CONCEPTS = 4_000


@cache
def vocabulary() -> tuple[list[str], np.ndarray]:
    """Words and how often each stands."""
    folder = os.environ.get("PAPERWORKS_DATA")
    file = Path(folder or "", "wikitext-2", "wiki.train.tokens.gz")
    if folder and file.is_file():
        with gzip.open(file, "rt") as text:
            found = Counter(w for w in text.read().split() if w.isalpha() and w.isascii())
        names, times = zip(*found.most_common(), strict=True)
        return list(names), np.array(times, dtype=float)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    names = tuple(map("".join, itertools.islice(itertools.product(syllables, repeat=3), 30_000)))
    return list(names), 1 / np.arange(1, 30_001)


def captions(count: int, seed: int = 0) -> list[str]:
    """Captions of 4 to 16 words, half of them behind a common opening."""
    names, times = vocabulary()
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, 17, count)
    drawn = iter(rng.choice(len(names), lengths.sum(), p=times / times.sum()).tolist())
    opening = ("a photo of the ", "", "", "Image: ")
    return [
        opening[i % 4] + " ".join(names[next(drawn)] for _ in range(length))
        for i, length in enumerate(lengths.tolist())
    ]


@cache
def concepts() -> list[str]:
    """4,000 names of one to three words, common and rare, that differ in their lemmas."""
    names, _ = vocabulary()
    rng = np.random.default_rng(1)
    lemma = lemmatizer("en")
    made: dict[tuple[str, ...], str] = {}
    while len(made) < CONCEPTS:
        size = int(rng.choice([1, 2, 3], p=[0.45, 0.4, 0.15]))
        ranks = np.exp(rng.uniform(np.log(50), np.log(20_000), size)).astype(int)
        name = " ".join(names[i] for i in ranks).lower()
        made.setdefault(tuple(lemma(w) for w in words(name)), name)
    return list(made.values())


def ours(lines: list[str], match: str) -> np.ndarray:
    return count_captions(lines, concepts(), match=match).text


def lemmas_of_words(lines: list[str]) -> dict[str, str]:
    lemma = lemmatizer("en")
    return {w: lemma(w.lower()) for w in set(itertools.chain.from_iterable(map(SPLIT, lines)))}


SPLIT = re.compile(r"[A-Za-z0-9]+").findall


def authors(lines: list[str], match: str) -> np.ndarray:
    """An index of lemmas to captions, intersected for concepts of several words."""
    table = lemmas_of_words(lines)
    index: dict[str, set[int]] = defaultdict(set)
    for row, line in enumerate(lines):
        for word in SPLIT(line):
            index[table[word]].add(row)
    lemma, none = lemmatizer("en"), set[int]()
    return np.array(
        [
            len(set.intersection(*(index.get(lemma(w), none) for w in words(name))))
            for name in concepts()
        ]
    )


def automaton(lines: list[str], match: str) -> np.ndarray:
    """Aho-Corasick over lemmatised captions, with spaces as borders of words."""
    ahocorasick = pytest.importorskip("ahocorasick")
    table, lemma = lemmas_of_words(lines), lemmatizer("en")
    machine = ahocorasick.Automaton()
    for number, name in enumerate(concepts()):
        machine.add_word(" " + " ".join(map(lemma, words(name))) + " ", number)
    machine.make_automaton()
    counts = np.zeros(CONCEPTS, dtype=np.int64)
    for line in lines:
        text = " " + " ".join([table[w] for w in SPLIT(line)]) + " "
        for number in {number for _, number in machine.iter(text)}:
            counts[number] += 1
    return counts


def regex(lines: list[str], match: str) -> np.ndarray:
    """One alternation of all names at every border of words, over lemmatised captions."""
    table, lemma = lemmas_of_words(lines), lemmatizer("en")
    patterns = {" ".join(map(lemma, words(name))): i for i, name in enumerate(concepts())}
    longest = sorted(patterns, key=len, reverse=True)
    # A look-ahead gives the longest name at each place; the shorter ones are its beginnings.
    machine = re.compile(r"(?<!\S)(?=(" + "|".join(map(re.escape, longest)) + r")(?!\S))")
    starts = {
        name: [
            patterns[part]
            for size in range(1, len(name.split()) + 1)
            if (part := " ".join(name.split()[:size])) in patterns
        ]
        for name in patterns
    }
    counts = np.zeros(CONCEPTS, dtype=np.int64)
    for line in lines:
        text = " ".join([table[w] for w in SPLIT(line)])
        for number in {n for found in machine.finditer(text) for n in starts[found[1]]}:
            counts[number] += 1
    return counts


def duck(lines: list[str], match: str) -> np.ndarray:
    """Words unnested and joined with lemmas and concepts; a concept needs all its lemmas."""
    duckdb, pyarrow = pytest.importorskip("duckdb"), pytest.importorskip("pyarrow")
    with duckdb.connect() as connection:
        connection.execute("SET threads TO 1")
        table = pyarrow.table({"caption": lines})
        connection.register("captions", table)
        return duck_query(connection, "(SELECT row_number() OVER () AS row, caption FROM captions)")


def duck_query(connection: Any, source: str) -> np.ndarray:
    import pyarrow

    lemma = lemmatizer("en")
    rows = [
        (number, part, len(parts))
        for number, name in enumerate(concepts())
        for parts in [sorted({lemma(w) for w in words(name)})]
        for part in parts
    ]
    names, parts, sizes = zip(*rows, strict=True)
    wanted = pyarrow.table({"concept": names, "lemma": parts, "size": sizes})
    tokens = f"(SELECT row, unnest({SPLITTER}) AS word FROM {source})"
    found = [w for (w,) in connection.execute(f"SELECT DISTINCT word FROM {tokens}").fetchall()]
    # Words of no concept do not reach the second query's join.
    pairs = [(w, base) for w in found if w and (base := lemma(w)) in set_of(parts)]
    lemmas = pyarrow.table({"word": [w for w, _ in pairs], "lemma": [base for _, base in pairs]})
    connection.register("lemmas", lemmas)
    connection.register("wanted", wanted)
    counted = connection.execute(
        "SELECT concept, count(*) FROM (SELECT row, concept FROM "
        f"{tokens} JOIN lemmas USING (word) JOIN wanted USING (lemma) "
        "GROUP BY row, concept, size HAVING size = 1 OR count(DISTINCT lemma) = size) "
        "GROUP BY concept"
    ).fetchall()
    counts = np.zeros(CONCEPTS, dtype=np.int64)
    for concept, times in counted:
        counts[concept] = times
    return counts


# These captions hold no mark but the colon; splitting by a regular expression takes twice as long.
SPLITTER = "string_split(lower(replace(caption, ':', ' ')), ' ')"


@cache
def set_of(parts: tuple[str, ...]) -> set[str]:
    return set(parts)


WORDS = {"paperworks": ours, "DuckDB": duck, "authors' index": authors}
PHRASES = {"paperworks": ours, "pyahocorasick": automaton, "regex": regex}


@cache
def expected(count: int, match: str) -> list[int]:
    return ours(captions(count), match).tolist()


@pytest.mark.parametrize("size", SMALL)
@pytest.mark.parametrize(
    ("match", "name"),
    [("words", n) for n in WORDS] + [("phrase", n) for n in PHRASES],
)
def test_captions_in_memory(race: Callable[..., Any], size: int, match: str, name: str) -> None:
    lines = captions(size)
    run = (WORDS if match == "words" else PHRASES)[name]
    if name == "regex" and size > 10_000:
        pytest.skip("a regex of 4,000 names takes minutes from here on")
    found = race(
        lambda: run(lines, match),
        group=f"{match}, {size:,} captions x {CONCEPTS:,} concepts",
        contender=name,
        ours=name == "paperworks",
        rounds=2,
        note=lambda counts: f"{int(counts.sum()):,} matches",
    )
    assert found.tolist() == expected(size, match)


@cache
def corpus(folder: Path, size: int) -> Path:
    import pyarrow
    import pyarrow.parquet as parquet

    path = folder / f"{size}.parquet"
    with parquet.ParquetWriter(path, pyarrow.schema({"caption": pyarrow.string()})) as writer:
        for start in range(0, size, 250_000):
            lines = captions(min(250_000, size - start), seed=start)
            writer.write_table(pyarrow.table({"caption": lines}))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus")


@pytest.mark.parametrize("size", sorted(set(LARGE)))
@pytest.mark.parametrize("name", ["paperworks", "DuckDB"])
def test_a_parquet_file(race: Callable[..., Any], folder: Path, size: int, name: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = corpus(folder, size)

    def ducks() -> np.ndarray:
        with duckdb.connect() as connection:
            connection.execute("SET threads TO 1")
            connection.execute(f"SET temp_directory = '{folder}/spill'")
            return duck_query(connection, f"(SELECT file_row_number AS row, caption FROM '{path}')")

    def mine() -> np.ndarray:
        return count_concepts(path, as_concepts(concepts())).text

    found = race(
        mine if name == "paperworks" else ducks,
        group=f"words, parquet of {size:,} captions x {CONCEPTS:,} concepts",
        contender=name,
        ours=name == "paperworks",
        rounds=1,
        warmup=0,
        note=lambda counts: f"{int(counts.sum()):,} matches",
    )
    seen[size].add(tuple(found.tolist()))
    assert len(seen[size]) == 1


seen: defaultdict[int, set[tuple[int, ...]]] = defaultdict(set)

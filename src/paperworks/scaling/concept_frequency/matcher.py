"""Which concepts stand in which captions.

The paper's rule (section 2; ``src/text_search_matches_inverted_index.py``): a caption matches a
concept when it holds the lemma of every word of the concept's name, anywhere and in any order. The
authors build an index of words and intersect lists of captions. Here all concepts are matched in
one pass: each pattern waits at its rarest lemma and is checked only where that lemma stands.

What departs, and why:

- a word of a concept that stands nowhere in the corpus is left out by the authors, so that "kite
  (bird of prey)" counts every kite; here it must be there, so that the count is what it says;
- digits stay ("a310" is no word without them), and so do verbs and adjectives (see ``words``);
- ``match="phrase"`` asks for the words in order and side by side, as Aho-Corasick over lemmas does.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperworks.scaling.concept_frequency.arrays import Bytes, IntArray
from paperworks.scaling.concept_frequency.concepts import Concepts
from paperworks.scaling.concept_frequency.words import Lemmas, lemmatizer, words

MATCHES = ("words", "phrase")
_WORDS_KEPT = 1 << 20
"""Different words remembered between batches: some 100 MB at most; then all are forgotten."""

IntHits = tuple[IntArray, NDArray[np.int32]]


class Matcher:
    """Finds concepts in batches of captions, and in lists of tags.

    Parameters
    ----------
    concepts : Concepts
    match : {"words", "phrase"}
    lemmas : str, callable or None

    Raises
    ------
    ValueError
        Where ``match`` is neither.
    """

    def __init__(self, concepts: Concepts, *, match: str = "words", lemmas: Lemmas = "en") -> None:
        if match not in MATCHES:
            raise ValueError(f"match must be one of {', '.join(MATCHES)}, got {match!r}")
        self.concepts = concepts
        self._phrase = match == "phrase"
        self._lemma = lemmatizer(lemmas)
        patterns = concepts.patterns(self._lemma)
        self._by_lemmas: dict[tuple[str, ...], list[int]] = {}
        for number, pattern in patterns:
            self._by_lemmas.setdefault(pattern, []).append(number)
        self._tags: dict[str, tuple[int, ...]] = {}
        if not self._phrase:
            patterns = [(number, tuple(dict.fromkeys(lemmas))) for number, lemmas in patterns]
        self._build(patterns)
        self._forget()
        self._clock = 1

    def _build(self, patterns: list[tuple[int, tuple[str, ...]]]) -> None:
        often = Counter(lemma for _, pattern in patterns for lemma in set(pattern))
        self._lemmas = {lemma: number for number, lemma in enumerate(often)}
        waiting: list[list[int]] = [[] for _ in self._lemmas]
        keys = []
        for number, (_, pattern) in enumerate(patterns):
            key = min(range(len(pattern)), key=lambda at: often[pattern[at]])
            keys.append(key)
            waiting[self._lemmas[pattern[key]]].append(number)
        lengths = [len(pattern) for _, pattern in patterns]
        self._patterns = (
            np.cumsum([0, *map(len, waiting)], dtype=np.int64),
            np.array([number for group in waiting for number in group], dtype=np.int64),
            np.cumsum([0, *lengths], dtype=np.int64),
            np.array(
                [self._lemmas[lemma] for _, pattern in patterns for lemma in pattern],
                dtype=np.int32,
            ),
            np.array(keys, dtype=np.int64),
            np.array([number for number, _ in patterns], dtype=np.int64),
        )
        self._lemma_seen = np.zeros(len(self._lemmas), dtype=np.int64)
        self._concept_seen = np.zeros(len(self.concepts), dtype=np.int64)

    def _forget(self) -> None:
        from paperworks.scaling.concept_frequency.kernels import empty_table  # numba, when needed

        self._table = empty_table()
        self._seq_start = np.zeros(1, dtype=np.int64)
        self._seq = np.zeros(0, dtype=np.int32)

    def find(self, data: Bytes, offsets: IntArray) -> IntHits:
        """Captions and concepts that match, each pair once: two arrays of one length.

        Parameters
        ----------
        data : (bytes,) uint8
            The captions in UTF-8, one after another.
        offsets : (captions + 1,) int64
            Where each begins, and where the last one ends.

        Returns
        -------
        rows : (hits,) int64, ascending
        concepts : (hits,) int32
        """
        from paperworks.scaling.concept_frequency.kernels import FOLD, intern, match

        if self._table[4][0] > _WORDS_KEPT:
            self._forget()
        tokens, first, *grown = intern(data, offsets, FOLD, *self._table)
        self._table = (*grown, self._table[4])
        self._learn()
        hits = match(
            tokens,
            first,
            self._seq_start,
            self._seq,
            *self._patterns,
            self._lemma_seen,
            self._concept_seen,
            self._clock,
            self._phrase,
        )
        self._clock += offsets.size - 1
        return hits

    def _learn(self) -> None:
        """Lemmas of the words that are new in the table."""
        _, _, starts, arena, counts = self._table
        old, new = self._seq_start.size - 1, int(counts[0])
        if old == new:
            return
        bounds = starts[old : new + 1].tolist()
        base = bounds[0]
        raw = arena[base : bounds[-1]].tobytes()
        lengths, found = [], []
        for low, high in itertools.pairwise(bounds):
            seq = self._lemmas_of(raw[low - base : high - base])
            lengths.append(len(seq))
            found += seq
        more = self._seq_start[-1] + np.cumsum(lengths, dtype=np.int64)
        self._seq_start = np.concatenate([self._seq_start, more])
        self._seq = np.concatenate([self._seq, np.array(found, dtype=np.int32)])

    def _lemmas_of(self, raw: bytes) -> list[int]:
        text = raw.decode("utf-8", "replace")
        return [self._lemmas.get(self._lemma(word), -1) for word in words(text)]

    def of_tag(self, tag: str) -> tuple[int, ...]:
        """The concepts that a tag names: those with the same lemmas in the same order."""
        found = self._tags.get(tag)
        if found is None:
            lemmas = tuple(self._lemma(word) for word in words(tag))
            found = self._tags[tag] = tuple(self._by_lemmas.get(lemmas, ()))
            if len(self._tags) > _WORDS_KEPT:
                self._tags.clear()
        return found


def pack(captions: Iterable[str]) -> tuple[Bytes, IntArray]:
    """Captions as ``Matcher.find`` takes them."""
    encoded = [caption.encode("utf-8", "replace") for caption in captions]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets


def accepted_tags(value: Any, threshold: float) -> list[str]:
    """The tags of one sample as strings: a list of them, or a mapping of tags to scores.

    Also a list of ``{"tag": ..., "score": ...}`` or of ``[tag, score]``. A tag counts from the
    threshold on, one without a score always.

    Raises
    ------
    ValueError
        Where the value is none of these.
    """
    if value is None:
        return []
    pairs = list(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, (list, tuple)):
        raise ValueError(f"tags must be a list or an object, got {value!r}")
    kept = []
    for pair in pairs:
        if isinstance(pair, str):
            kept.append(pair)
            continue
        if isinstance(pair, Mapping) and set(pair) == {"tag", "score"}:
            tag, score = pair["tag"], pair["score"]
        elif isinstance(pair, (list, tuple)) and len(pair) == 2:
            tag, score = pair
        else:
            raise ValueError(f"a tag must be a string, or a tag with a score, got {pair!r}")
        number = isinstance(score, (int, float)) and not isinstance(score, bool)
        if not isinstance(tag, str) or not number:
            raise ValueError(f"a tag must be a string, or a tag with a score, got {pair!r}")
        if score >= threshold:
            kept.append(tag)
    return kept

"""The two inner loops: captions to word numbers, and word numbers to concepts.

Both are compiled with numba. They see bytes and whole numbers only, so that Python is asked about
each different word once and not about each word.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from paperworks.scaling.concept_frequency.arrays import Bytes

APOSTROPHE = ord("'")
# What a byte is inside a word, in lower case; 0 parts words. Bytes of other scripts stay as they
# are: what is a letter among them, and in which case, is settled once per different word.
FOLD = np.zeros(256, dtype=np.uint8)
for _byte in range(256):
    if _byte >= 128 or chr(_byte).isalnum() or _byte == APOSTROPHE:
        FOLD[_byte] = ord(chr(_byte).lower()) if _byte < 128 else _byte

# (slots, hashes, starts, arena, counts): open addressing into words that lie one after another in
# the arena; counts = [words].
Table = tuple[NDArray[np.int32], NDArray[np.uint64], NDArray[np.int64], Bytes, NDArray[np.int64]]


def empty_table(size: int = 1 << 12) -> Table:
    """A table without words; ``size`` is a power of two."""
    return (
        np.full(size, -1, dtype=np.int32),
        np.zeros(size // 2, dtype=np.uint64),
        np.zeros(size // 2 + 1, dtype=np.int64),
        np.zeros(16 * size, dtype=np.uint8),
        np.zeros(1, dtype=np.int64),
    )


@njit(cache=True)
def intern(  # pragma: no cover - compiled
    data, offsets, fold, slots, hashes, starts, arena, counts
):
    """Numbers of all words of all captions, new ones numbered on; the table as it is then.

    ``data`` holds the captions' UTF-8 bytes, caption i from ``offsets[i]`` to ``offsets[i + 1]``.
    Linear in the bytes.
    """
    captions = offsets.size - 1
    tokens = np.empty(max(int(offsets[captions] - offsets[0]) // 2 + captions + 1, 1), np.int32)
    first = np.empty(captions + 1, np.int64)
    used = 0
    known = counts[0]
    for caption in range(captions):
        first[caption] = used
        at, end = offsets[caption], offsets[caption + 1]
        while at < end:
            if fold[data[at]] == 0:
                at += 1
                continue
            begin = at
            code = np.uint64(14695981039346656037)
            while at < end:
                letter = fold[data[at]]
                if letter == 0:
                    break
                code = (code ^ np.uint64(letter)) * np.uint64(1099511628211)
                at += 1
            length = at - begin
            mask = slots.size - 1
            slot = np.int64((code ^ (code >> np.uint64(29))) & np.uint64(mask))
            number = -1
            while slots[slot] >= 0:
                one = slots[slot]
                if hashes[one] == code and starts[one + 1] - starts[one] == length:
                    same = True
                    for i in range(length):
                        if arena[starts[one] + i] != fold[data[begin + i]]:
                            same = False
                            break
                    if same:
                        number = one
                        break
                slot = (slot + 1) & mask
            if number < 0:
                number = known
                begins = starts[known]
                if begins + length > arena.size:
                    longer = np.zeros(2 * arena.size + length, np.uint8)
                    longer[: arena.size] = arena
                    arena = longer
                for i in range(length):
                    arena[begins + i] = fold[data[begin + i]]
                hashes[known] = code
                starts[known + 1] = begins + length
                slots[slot] = known
                known += 1
                if 2 * known >= slots.size:
                    more_hashes = np.zeros(2 * hashes.size, np.uint64)
                    more_hashes[:known] = hashes[:known]
                    hashes = more_hashes
                    more_starts = np.zeros(2 * starts.size, np.int64)
                    more_starts[: known + 1] = starts[: known + 1]
                    starts = more_starts
                    slots = np.full(2 * slots.size, -1, np.int32)
                    mask = slots.size - 1
                    for one in range(known):
                        again = hashes[one]
                        slot = np.int64((again ^ (again >> np.uint64(29))) & np.uint64(mask))
                        while slots[slot] >= 0:
                            slot = (slot + 1) & mask
                        slots[slot] = one
            tokens[used] = number
            used += 1
    first[captions] = used
    counts[0] = known
    return tokens[:used], first, slots, hashes, starts, arena


@njit(cache=True)
def _emit(rows, concepts, found, row, concept):  # pragma: no cover
    if found == rows.size:
        longer_rows = np.empty(2 * found, np.int64)
        longer_rows[:found] = rows
        longer_concepts = np.empty(2 * found, np.int32)
        longer_concepts[:found] = concepts
        rows, concepts = longer_rows, longer_concepts
    rows[found] = row
    concepts[found] = concept
    return rows, concepts, found + 1


@njit(cache=True)
def match(  # pragma: no cover - compiled
    tokens,
    first,
    seq_start,
    seq,
    key_start,
    key_patterns,
    pat_start,
    pat_words,
    pat_key,
    pat_concept,
    lemma_seen,
    concept_seen,
    clock,
    phrase,
):
    """(caption, concept) of every concept in every caption, each pair once.

    Word w stands for lemmas ``seq[seq_start[w]:seq_start[w + 1]]``, -1 where no concept has it.
    A pattern is looked at only where its rarest lemma stands (``key_*``; that lemma is number
    ``pat_key`` of the pattern). The ``_seen`` arrays hold the clock of the last caption, so that
    nothing is cleared between captions. Linear in the words, plus the patterns looked at.
    """
    rows = np.empty(1024, np.int64)
    concepts = np.empty(1024, np.int32)
    found = 0
    line = np.empty(256, np.int32)
    for caption in range(first.size - 1):
        now = clock + caption
        long = 0
        for t in range(first[caption], first[caption + 1]):
            word = tokens[t]
            for s in range(seq_start[word], seq_start[word + 1]):
                lemma = seq[s]
                if not phrase:
                    if lemma < 0 or lemma_seen[lemma] == now:
                        continue
                    lemma_seen[lemma] = now
                if long == line.size:
                    longer = np.empty(2 * long, np.int32)
                    longer[:long] = line
                    line = longer
                line[long] = lemma
                long += 1
        for place in range(long):
            lemma = line[place]
            if lemma < 0:
                continue
            for k in range(key_start[lemma], key_start[lemma + 1]):
                pattern = key_patterns[k]
                concept = pat_concept[pattern]
                if concept_seen[concept] == now:
                    continue
                low, high = pat_start[pattern], pat_start[pattern + 1]
                there = True
                if phrase:
                    begin = place - pat_key[pattern]
                    if begin < 0 or begin + high - low > long:
                        continue
                    for i in range(low, high):
                        if line[begin + i - low] != pat_words[i]:
                            there = False
                            break
                else:
                    for i in range(low, high):
                        if lemma_seen[pat_words[i]] != now:
                            there = False
                            break
                if there:
                    concept_seen[concept] = now
                    rows, concepts, found = _emit(rows, concepts, found, caption, concept)
    return rows[:found], concepts[:found]

"""A test set of the rarest concepts, after "Let it Wag!" (section 6 of the paper).

The authors take 290 of the concepts that are rarest in LAION-400M, collect images for each from
three sources, remove outliers with a classifier and by hand, remove near duplicates by a perceptual
hash (10 bits of 64), keep the classes of which more than 450 images are left, and draw 450 of each.
They print no threshold of frequency; in their published counts, no concept of the 290 is matched
more than 435 times. Collecting and looking at images stays with people; the rest is here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paperworks.scaling.concept_frequency.concepts import Concepts, as_concepts
from paperworks.scaling.concept_frequency.words import Lemmas, lemmatizer, words

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")


@dataclass(frozen=True)
class LongTail:
    """The rarest concepts, rarest first.

    Parameters
    ----------
    concepts : tuple of str
    frequency : (concepts,) int64
    images_per_concept : int
        Test images wanted of each, and ``images_wanted`` in all.
    same : dict of str to str
        Candidates left out because they are another name of one that was met before, and which.
    frequent : int
        Candidates above the threshold.
    short : int
        How many concepts fewer than asked for there are.
    """

    concepts: tuple[str, ...]
    frequency: NDArray[np.int64]
    images_per_concept: int
    same: dict[str, str]
    frequent: int
    short: int

    @property
    def images_wanted(self) -> int:
        """Test images wanted in all."""
        return len(self.concepts) * self.images_per_concept


@dataclass(frozen=True)
class BalancedImages:
    """Equally many images of each concept.

    ``images`` maps a concept to its files, in the order drawn; ``too_few`` maps concepts that were
    left out to how many different images they have; ``duplicates`` counts the images that were
    taken for copies; ``unreadable`` lists files that are no whole image, with the reason.
    """

    images: dict[str, tuple[str, ...]]
    too_few: dict[str, int]
    duplicates: int
    unreadable: tuple[str, ...]


def long_tail(
    frequency: Mapping[str, int],
    count: int = 290,
    *,
    concepts: Concepts | Iterable[str] | Mapping[str, Iterable[str]] | None = None,
    max_frequency: int | None = None,
    images_per_concept: int = 450,
    lemmas: Lemmas = "en",
) -> LongTail:
    """The rarest concepts of a corpus, each once, and how many test images they need.

    Parameters
    ----------
    frequency : mapping of str to int
        How often each candidate occurs; the paper takes matches of both text and image.
    count : int
        How many concepts; the paper has 290.
    concepts : concepts or None
        The candidates with their synonyms, where there are any.
    max_frequency : int or None
        Candidates above it are no tail, however few there are.
    images_per_concept : int
        450 in the paper.
    lemmas : str, callable or None
        Two candidates are the same where a form of one has the same lemmas as a form of the other,
        in any order ("tree frogs", "Tree_Frog").

    Returns
    -------
    LongTail
        Ties in frequency go by name, so that the choice can be made again.

    Raises
    ------
    ValueError
        Where a number makes no sense or no candidate is rare enough.

    Examples
    --------
    >>> tail = long_tail({"dog": 9000, "tree frogs": 3, "Tree_Frog": 3, "A310": 0}, 3)
    >>> tail.concepts, tail.same, tail.images_wanted
    (('A310', 'Tree_Frog', 'dog'), {'tree frogs': 'Tree_Frog'}, 1350)
    """
    if count < 1 or images_per_concept < 1:
        raise ValueError(
            f"count and images_per_concept must be >= 1, got {count} and {images_per_concept}"
        )
    known = as_concepts(list(frequency) if concepts is None else concepts)
    forms = dict(zip(known.names, known.forms, strict=True))
    for name, times in frequency.items():
        if name not in forms:
            raise ValueError(f"the concept {name!r} has a frequency and is not among the concepts")
        if times < 0:
            raise ValueError(f"frequencies must be >= 0, got {times} for {name!r}")
    lemma = lemmatizer(lemmas)
    ranked = sorted(frequency, key=lambda name: (frequency[name], name))
    rare = [n for n in ranked if max_frequency is None or frequency[n] <= max_frequency]
    if not rare:
        raise ValueError(
            f"no concept occurs {max_frequency} times or less; the rarest: {ranked[0]!r} with "
            f"{frequency[ranked[0]]}"
        )
    owner: dict[tuple[str, ...], str] = {}
    chosen: list[str] = []
    same: dict[str, str] = {}
    for name in rare:
        if len(chosen) == count:
            break
        keys = [tuple(sorted(lemma(word) for word in words(form))) for form in forms[name]]
        first = next((owner[key] for key in keys if key in owner), None)
        if first is None:
            chosen.append(name)
        else:
            same[name] = first
        owner.update(dict.fromkeys((key for key in keys if key not in owner), first or name))
    return LongTail(
        concepts=tuple(chosen),
        frequency=np.array([frequency[name] for name in chosen], dtype=np.int64),
        images_per_concept=images_per_concept,
        same=same,
        frequent=len(ranked) - len(rare),
        short=count - len(chosen),
    )


def balance_images(
    folder: str | PathLike[str],
    tail: LongTail,
    *,
    bits: int = 10,
    rng: np.random.Generator | int | None = None,
) -> BalancedImages:
    """Draw equally many different images of each concept from ``folder/CONCEPT/``.

    Parameters
    ----------
    folder : path
        One folder per concept, named as it; spaces may be underscores.
    tail : LongTail
    bits : int
        Two images whose perceptual hashes differ in at most this many of 64 bits are the same; -1
        keeps all. 10 in the paper.
    rng : Generator, int or None

    Returns
    -------
    BalancedImages

    Raises
    ------
    ValueError
        Where the folder is not there, or ``bits`` is not in [-1, 63].

    Notes
    -----
    Cost: one decoding per image, and the square of a concept's images in 8-byte comparisons.
    """
    if not -1 <= bits <= 63:
        raise ValueError(f"bits must be in [-1, 63], got {bits}")
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder; it must hold one folder per concept")
    rng = np.random.default_rng(rng)
    images: dict[str, tuple[str, ...]] = {}
    too_few: dict[str, int] = {}
    unreadable: list[str] = []
    duplicates = 0
    for name in tail.concepts:
        places = [root / name, root / name.replace(" ", "_")]
        place = next((each for each in places if each.is_dir()), None)
        inside = sorted(place.iterdir()) if place is not None else []
        files, hashes = [], []
        for file in inside:
            if file.suffix.lower() in IMAGE_ENDINGS:
                try:
                    hashes.append(perceptual_hash(file))
                    files.append(str(file))
                except (OSError, ValueError, SyntaxError) as error:
                    unreadable.append(f"{file}: {error}")
        keep = distinct(np.array(hashes, dtype=np.uint64), bits)
        duplicates += len(files) - len(keep)
        if len(keep) < tail.images_per_concept:
            too_few[name] = len(keep)
            continue
        drawn = rng.permutation(keep)[: tail.images_per_concept]
        images[name] = tuple(files[i] for i in drawn)
    return BalancedImages(images, too_few, duplicates, tuple(unreadable))


def perceptual_hash(image: str | PathLike[str]) -> int:
    """64 bits of an image: its lowest 8 x 8 cosine frequencies at 32 x 32, above their median.

    The mean brightness does not count towards the median.
    """
    from PIL import Image
    from scipy.fft import dctn

    with Image.open(image) as opened:
        grey = opened.convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    low = dctn(np.asarray(grey, dtype=np.float64))[:8, :8].ravel()
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def distinct(hashes: NDArray[np.uint64], bits: int) -> Sequence[int]:
    """The first of each group of hashes within ``bits`` of it, in order."""
    kept: list[int] = []
    for number, value in enumerate(hashes):
        apart = np.bitwise_count(hashes[kept] ^ value) > bits if kept else np.ones(1, dtype=bool)
        if apart.all():
            kept.append(number)
    return kept

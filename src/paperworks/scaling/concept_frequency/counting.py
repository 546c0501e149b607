"""Concept frequencies of a corpus: text, image tags and both, in one pass (section 2 of the paper).

"Both" is the paper's matched count: samples whose caption and whose image tags have the concept.
The authors tag images with RAM++ at a threshold of 0.7; here the tags are read from the corpus,
whatever model made them. A sample is misaligned (section 5) when caption and tags both have
concepts and share none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from paperworks.scaling.concept_frequency.batches import Batch, BrokenFileError, Ledger
from paperworks.scaling.concept_frequency.concepts import Concepts, as_concepts
from paperworks.scaling.concept_frequency.counts import BadSample, ConceptCounts, total
from paperworks.scaling.concept_frequency.matcher import Matcher, pack
from paperworks.scaling.concept_frequency.parts import (
    Part,
    Path_,
    corpus_files,
    parts_of,
)
from paperworks.scaling.concept_frequency.running import BACKENDS, run_parts
from paperworks.scaling.concept_frequency.tally import (
    Settings,
    Tally,
    add_batch,
    blank,
    load_tally,
    save_tally,
)
from paperworks.scaling.concept_frequency.words import Lemmas

ConceptsLike = Concepts | Iterable[str] | Mapping[str, Iterable[str]] | str | PathLike[str]


def count_captions(
    captions: Iterable[str],
    concepts: ConceptsLike,
    *,
    tags: Sequence[Any] | None = None,
    tag_threshold: float = 0.7,
    match: str = "words",
    lemmas: Lemmas = "en",
) -> ConceptCounts:
    """Concept frequencies of captions in memory; the arguments are those of `count_concepts`.

    Parameters
    ----------
    captions : iterable of str
    concepts : list of str, mapping of str to synonyms, or path
    tags : sequence or None
        The tags of each sample, or None.

    Returns
    -------
    ConceptCounts

    Raises
    ------
    ValueError
        Where tags are not given for every caption, or cannot be read.

    Examples
    --------
    >>> counts = count_captions(
    ...     ["a house in the trees", "tree houses", "a dog"],
    ...     ["tree house", "dog"],
    ...     tags=[["house"], {"tree house": 0.9}, {"dog": 0.5}],
    ... )
    >>> counts.text.tolist(), counts.image.tolist(), counts.both.tolist()
    ([2, 1], [1, 0], [1, 0])
    """
    settings = Settings(as_concepts(concepts), "", None, tag_threshold, match, lemmas, False)
    captions = list(captions)
    if tags is not None and len(tags) != len(captions):
        raise ValueError(f"tags must be given for all {len(captions)} captions, got {len(tags)}")
    matcher = Matcher(settings.concepts, match=match, lemmas=lemmas)
    data, offsets = pack(captions)
    tally = blank(len(settings.concepts))
    ledger = Ledger()
    batch = Batch(data, offsets, np.arange(len(captions)), None if tags is None else list(tags))
    add_batch(tally, batch, settings, matcher, ledger)
    if ledger.bad:
        number, why = ledger.bad[0]
        raise ValueError(f"tags of caption {number}: {why}")
    return total(settings.concepts, [("", 0, tally)])


def count_concepts(
    corpus: Path_ | Iterable[Path_],
    concepts: ConceptsLike,
    *,
    caption: str = "caption",
    tags: str | None = None,
    tag_threshold: float = 0.7,
    match: str = "words",
    lemmas: Lemmas = "en",
    out: str | PathLike[str] | None = None,
    keep_samples: bool = False,
    n_jobs: int = 1,
    backend: str = "loky",
    strict: bool = False,
    progress: Callable[[int, int, int], None] | None = None,
) -> ConceptCounts:
    r"""Count in how many samples of an image-text corpus each concept occurs, in one pass.

    Parameters
    ----------
    corpus : path or iterable of paths
        Files that end in .parquet, .jsonl, .jsonl.gz, .tar or .tar.gz (webdataset), or folders of
        them.
    concepts : list of str, mapping of str to synonyms, or path
        The concepts; a path names a file with one a line, synonyms after it with tabs between.
    caption : str
        The column or field that holds the caption. In archives ``KEY.txt`` goes first.
    tags : str or None
        The column or field that holds a sample's image tags: a list of strings, or tags with
        scores. None counts captions alone.
    tag_threshold : float
        Tags with a lower score do not count; 0.7 is the paper's for RAM++.
    match : {"words", "phrase"}
        Every word of the concept anywhere in the caption, as in the paper, or the words in order
        and side by side.
    lemmas : str, callable or None
        The language of simplemma's lemmas, a function from a word to its lemma, or None for bare
        words.
    out : path or None
        A folder for the state of finished parts. A second call with the same arguments goes on
        from there; a part whose file has changed is counted again.
    keep_samples : bool
        Also keep which samples have which concept, for `ConceptCounts.samples_of`. Needs ``out``.
    n_jobs : int
        Parts counted at once, -1 for one per core.
    backend : {"loky", "ray"}
        Processes of this machine, or the Ray cluster that ``RAY_ADDRESS`` names (one is started
        here where none is). On a cluster every node must see the corpus under the same path;
        ``out`` is written by the caller alone.
    strict : bool
        Stop at the first bad sample or broken file. By default both are left out and reported.
    progress : callable or None
        Called with (parts done, parts, samples so far) after each part.

    Returns
    -------
    ConceptCounts

    Raises
    ------
    ValueError
        Where an argument makes no sense, a column is missing, or no sample has the tags asked for.
    BrokenFileError
        With ``strict``, for a file that ends too early or is damaged.
    ModuleNotFoundError
        Where an extra is missing.

    Notes
    -----
    Linear in the bytes of the captions, whatever the number of concepts; memory is bounded by
    batches of 65,536 samples and a million different words.

    Examples
    --------
    >>> import json, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "captions.jsonl")
    ...     _ = file.write_text("\n".join(json.dumps({"caption": c}) for c in ("dogs", "a cat")))
    ...     count_concepts(file, ["dog", "cat", "fox"]).text.tolist()
    [1, 1, 0]
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if n_jobs == 0 or n_jobs < -1:
        raise ValueError(f"n_jobs must be >= 1, or -1 for one per core, got {n_jobs}")
    if keep_samples and out is None:
        raise ValueError("keep_samples=True needs out=..., a folder to keep them in")
    settings = Settings(
        as_concepts(concepts), caption, tags, float(tag_threshold), match, lemmas, keep_samples
    )
    Matcher(settings.concepts, match=match, lemmas=lemmas)  # what is wrong with it shows here
    broken: dict[int, str] = {}
    parts: list[Part] = []
    for path in corpus_files(corpus):
        try:
            parts += parts_of(path)
        except BrokenFileError as error:
            if strict:
                raise
            broken[len(broken)] = str(error)
    folder = None if out is None else Path(out) / "parts"
    states = [None if folder is None else folder / f"{settings.key(part)}.state" for part in parts]
    tallies: dict[int, Tally] = {}
    for number, state in enumerate(states):
        tally = load_tally(state) if state is not None else None
        if tally is not None:
            tallies[number] = tally
    resumed = len(tallies)
    waiting = [number for number in range(len(parts)) if number not in tallies]
    done = sum(tally.samples for tally in tallies.values())
    if progress is not None:
        progress(resumed, len(parts), done)
    for number, tally in run_parts(parts, waiting, settings, n_jobs, backend):
        if strict and (tally.broken or tally.bad):
            raise _first_fault(parts, tallies, number, tally)
        state = states[number]
        if state is not None and not tally.broken:
            save_tally(state, tally)
        tallies[number] = tally
        done += tally.samples
        if progress is not None:
            progress(len(tallies), len(parts), done)
    placed = _placed(parts, tallies)
    counts = total(
        settings.concepts,
        placed,
        broken=tuple(broken.values()),
        parts=len(parts),
        resumed=resumed,
        _states=tuple(
            (path, before, state)
            for (path, before, tally), state in zip(placed, states, strict=True)
            if keep_samples and state is not None and not tally.broken
        ),
    )
    if tags is not None and counts.samples and not counts.tagged:
        raise ValueError(f"no sample has {tags!r}; name the column or field that holds the tags")
    return counts


def _placed(parts: Sequence[Part], tallies: Mapping[int, Tally]) -> list[tuple[str, int, Tally]]:
    """(file, lines of the file before the part, tally), in order."""
    before: dict[str, int] = {}
    placed = []
    for number, part in enumerate(parts):
        tally = tallies[number]
        placed.append((part.path, before.get(part.path, 0), tally))
        before[part.path] = before.get(part.path, 0) + tally.lines
    return placed


def _first_fault(
    parts: Sequence[Part], tallies: Mapping[int, Tally], number: int, tally: Tally
) -> ValueError:
    if tally.broken:
        return BrokenFileError(tally.broken)
    line, why = tally.bad[0]
    part = parts[number]
    earlier = [i for i in range(number) if parts[i].path == part.path]
    if all(i in tallies for i in earlier):
        line += sum(tallies[i].lines for i in earlier)
        return ValueError(str(BadSample(part.path, line + 1, why)))
    return ValueError(f"{part.path}, line {line + 1} after byte or group {part.start}: {why}")

"""``paperworks scaling concepts count``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paperworks.cli.common import Json, console, errors, print_json, say, user_errors
from paperworks.cli.scaling.concepts.common import KINDS, Lemmas, lemmas_of
from paperworks.writing import write_json

if TYPE_CHECKING:
    from paperworks.scaling import ConceptCounts

_SHOWN = 10


class MatchName(StrEnum):
    """How a concept of several words is matched."""

    WORDS = "words"
    PHRASE = "phrase"


class EngineName(StrEnum):
    """Where the parts of a corpus are counted."""

    LOCAL = "local"
    RAY = "ray"


def count(
    corpus: Annotated[
        list[Path],
        typer.Argument(help="Files (.parquet, .jsonl, .jsonl.gz, .tar, .tar.gz) or folders."),
    ],
    concepts: Annotated[
        Path, typer.Option(help="A text file: one concept a line, synonyms after it with tabs.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for counts.csv, report.json and the state.")],
    caption: Annotated[str, typer.Option(help="Column or field of the caption.")] = "caption",
    tags: Annotated[
        str | None, typer.Option(help="Column or field of the image tags; without it, text alone.")
    ] = None,
    tag_threshold: Annotated[
        float, typer.Option(help="Tags with a lower score do not count.")
    ] = 0.7,
    match: Annotated[
        MatchName, typer.Option(help="All words of a concept anywhere, or side by side in order.")
    ] = MatchName.WORDS,
    lemmas: Lemmas = "en",
    keep_samples: Annotated[
        bool, typer.Option("--keep-samples", help="Keep which samples have which concept.")
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Parts at once; -1: all cores.")] = 1,
    engine: Annotated[
        EngineName, typer.Option(help="This machine, or a Ray cluster (RAY_ADDRESS).")
    ] = EngineName.LOCAL,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first bad sample or broken file.")
    ] = False,
    json: Json = False,
) -> None:
    """Count in how many samples each concept occurs: in the caption, in the image tags, in both.

    Finished parts are kept in OUT, so the same command goes on where it was stopped. Bad samples
    are reported with file and line and left out; so are broken files, and the exit status is then
    1.
    """
    from paperworks.scaling import count_concepts

    with user_errors(*KINDS), _Progress() as progress:
        try:
            counts = count_concepts(
                corpus,
                concepts,
                caption=caption,
                tags=tags,
                tag_threshold=tag_threshold,
                match=match,
                lemmas=lemmas_of(lemmas),
                out=out,
                keep_samples=keep_samples,
                n_jobs=jobs,
                backend="loky" if engine == EngineName.LOCAL else "ray",
                strict=strict,
                progress=progress.update,
            )
        except KeyboardInterrupt:
            errors.print("[yellow]stopped:[/] the same command goes on from the finished parts")
            raise typer.Exit(130) from None
        counts.save(out / "counts.csv")
        report = _report(counts)
        write_json(out / "report.json", report)
    for bad in counts.bad[:_SHOWN]:
        errors.print("left out:", str(bad), style="yellow", soft_wrap=True, markup=False)
    if counts.bad_total > _SHOWN:
        errors.print(f"[yellow]left out:[/] {counts.bad_total - _SHOWN:,} more bad samples")
    for why in counts.broken:
        errors.print("broken:", why, style="red", soft_wrap=True, markup=False)
    if json:
        print_json(report)
    else:
        _show(counts, out)
    if counts.broken:
        raise typer.Exit(1)


class _Progress:
    """A bar on a terminal, nothing elsewhere."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed

        self._bar = Progress(
            TextColumn("parts"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[samples]:,} samples"),
            Elapsed(),
            console=errors,
            transient=True,
            disable=not errors.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, samples=0)

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, done: int, parts: int, samples: int) -> None:
        """Show how far it is."""
        self._bar.update(self._task, completed=done, total=parts, samples=samples)


def _report(counts: ConceptCounts) -> dict[str, Any]:
    table = zip(counts.names, counts.text, counts.image, counts.both, strict=True)
    return {
        "samples": counts.samples,
        "empty_captions": counts.empty,
        "tagged": counts.tagged,
        "misaligned": counts.misaligned,
        "bad_samples": counts.bad_total,
        "bad": [{"file": bad.path, "line": bad.line, "why": bad.why} for bad in counts.bad],
        "broken": list(counts.broken),
        "parts": counts.parts,
        "resumed": counts.resumed,
        "counts": [
            {"concept": name, "text": int(a), "image": int(b), "both": int(c)}
            for name, a, b, c in table
        ],
    }


def _show(counts: ConceptCounts, out: Path) -> None:
    from rich.table import Table

    frequency = counts.frequency()
    parts = "1 part" if counts.parts == 1 else f"{counts.parts:,} parts"
    say(
        f"{counts.samples:,} samples in {parts} ({counts.resumed:,} counted before), "
        f"{len(counts.names):,} concepts, {int((frequency == 0).sum()):,} of them never"
    )
    if counts.tagged:
        say(
            f"misaligned: {counts.misaligned / counts.samples:.2%} of samples have concepts in "
            "caption and tags and none in common"
        )
    table = Table("concept", "text", "image", "both")
    for column in table.columns[1:]:
        column.justify = "right"
    for number in frequency.argsort(kind="stable")[::-1][:_SHOWN]:
        places = (counts.text, counts.image, counts.both)
        table.add_row(counts.names[number], *(f"{place[number]:,}" for place in places))
    console.print(table)
    say(f"all of them: {out / 'counts.csv'}")

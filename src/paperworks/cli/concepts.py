"""``paperworks scaling concepts``: concepts in a corpus, and what follows from their counts."""

from __future__ import annotations

import csv
import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paperworks.cli.common import Json, console, errors, print_json, user_errors
from paperworks.writing import write_bytes, write_json

if TYPE_CHECKING:
    from paperworks.scaling import ConceptCounts, LogLinearTrend, TrendComparison
    from paperworks.scaling.concept_frequency.trend import Correlation

app = typer.Typer(
    name="concepts",
    help="Count concepts in an image-text corpus, fit accuracy to them, find the long tail.",
    no_args_is_help=True,
)

_SHOWN = 10
_KINDS = (ValueError, OSError, ModuleNotFoundError)


class MatchName(StrEnum):
    """How a concept of several words is matched."""

    WORDS = "words"
    PHRASE = "phrase"


class EngineName(StrEnum):
    """Where the parts of a corpus are counted."""

    LOCAL = "local"
    RAY = "ray"


class PlaceName(StrEnum):
    """Which counts are used."""

    TEXT = "text"
    IMAGE = "image"
    BOTH = "both"


class ZerosName(StrEnum):
    """What is done with concepts that never occur."""

    DROP = "drop"
    ONE = "one"


Lemmas = Annotated[
    str, typer.Option(help="Language of the lemmas, as en or de; none takes words as they are.")
]


@app.command()
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

    with user_errors(*_KINDS), _Progress() as progress:
        try:
            counts = count_concepts(
                corpus,
                concepts,
                caption=caption,
                tags=tags,
                tag_threshold=tag_threshold,
                match=match,
                lemmas=_lemmas(lemmas),
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


@app.command()
def fit(
    counts: Annotated[Path, typer.Argument(help="counts.csv, or any table like it.")],
    accuracy: Annotated[
        Path,
        typer.Argument(
            help="CSV with columns concept and accuracy, and similarity if you have it."
        ),
    ],
    place: Annotated[
        PlaceName | None, typer.Option(help="Which counts. Default: both if any, else text.")
    ] = None,
    zeros: Annotated[
        ZerosName, typer.Option(help="Concepts that never occur: left out, or taken as 1.")
    ] = ZerosName.DROP,
    gain: Annotated[
        float | None, typer.Option(help="How many times the data for this much more accuracy?")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Also compare rival laws at held-out concepts.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw into this file (.png, .svg).")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    json: Json = False,
) -> None:
    """Fit accuracy linear in log frequency over concepts, with correlations and tests."""
    from paperworks.scaling import compare_trends, fit_log_linear

    with user_errors(*_KINDS):
        frequencies, accuracies, similarity, lost = _join(counts, accuracy, place)
        trend = fit_log_linear(
            frequencies, accuracies, zeros=zeros, similarity=similarity, rng=seed
        )
        found = compare_trends(frequencies, accuracies, zeros=zeros, rng=seed) if compare else None
        if plot is not None:
            _plot(plot, frequencies, accuracies, trend)
    if lost:
        errors.print(f"[yellow]{lost:,} concepts are in one of the files only, left out[/]")
    if json:
        print_json(_trend_as_json(trend, found, gain) | {"in_one_file_only": lost})
        return
    _show_trend(trend, found, gain)
    if plot is not None:
        console.print(f"drawn: {plot}", soft_wrap=True, highlight=False)


@app.command()
def tail(
    counts: Annotated[Path, typer.Argument(help="counts.csv, or any table like it.")],
    out: Annotated[Path, typer.Option(help="Folder for concepts.csv (and images.csv).")],
    count: Annotated[int, typer.Option("--count", "-n", help="How many concepts.")] = 290,
    place: Annotated[
        PlaceName | None, typer.Option(help="Which counts. Default: both if any, else text.")
    ] = None,
    max_frequency: Annotated[
        int | None, typer.Option(help="Concepts above this are no tail.")
    ] = None,
    images_per_concept: Annotated[int, typer.Option(help="Test images wanted of each.")] = 450,
    concepts: Annotated[
        Path | None, typer.Option(help="The file of concepts, for its synonyms.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder with one folder of images per concept, to draw the set from."),
    ] = None,
    lemmas: Lemmas = "en",
    seed: Annotated[int, typer.Option(help="Seed of the draw of images.")] = 0,
    json: Json = False,
) -> None:
    """The rarest concepts, each once, how many test images they need, and the balanced set."""
    from paperworks.scaling import balance_images, long_tail
    from paperworks.scaling.concept_frequency.concepts import read_concepts

    with user_errors(*_KINDS):
        frequency = _place(_read(counts), place, counts)
        chosen = long_tail(
            frequency,
            count,
            concepts=None if concepts is None else read_concepts(concepts),
            max_frequency=max_frequency,
            images_per_concept=images_per_concept,
            lemmas=_lemmas(lemmas),
        )
        drawn = None if images is None else balance_images(images, chosen, rng=seed)
        rows = [
            (name, int(times), images_per_concept)
            for name, times in zip(chosen.concepts, chosen.frequency, strict=True)
        ]
        _table(out / "concepts.csv", ("concept", "frequency", "images_wanted"), rows)
        if drawn is not None:
            files = [(name, file) for name, group in drawn.images.items() for file in group]
            _table(out / "images.csv", ("concept", "file"), files)
    summary: dict[str, Any] = {
        "concepts": len(chosen.concepts),
        "short": chosen.short,
        "highest_frequency": int(chosen.frequency[-1]),
        "images_wanted": chosen.images_wanted,
        "same": chosen.same,
        "too_frequent": chosen.frequent,
    }
    if drawn is not None:
        summary["drawn_concepts"] = len(drawn.images)
        summary["drawn_images"] = sum(map(len, drawn.images.values()))
        summary["duplicates"] = drawn.duplicates
        summary["too_few"] = drawn.too_few
        summary["unreadable"] = list(drawn.unreadable)
    if json:
        print_json(summary)
        return
    for key, value in summary.items():
        many = isinstance(value, (dict, list))
        text = f"{len(value)}" if many else f"{value:,}"
        console.print(f"{key.replace('_', ' ')}: {text}", highlight=False)
    console.print(f"written: {out}", soft_wrap=True, highlight=False)


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


def _lemmas(name: str) -> str | None:
    return None if name == "none" else name


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
    console.print(
        f"{counts.samples:,} samples in {counts.parts:,} parts ({counts.resumed:,} counted "
        f"before), {len(counts.names):,} concepts, {int((frequency == 0).sum()):,} of them never",
        highlight=False,
        soft_wrap=True,
    )
    if counts.tagged:
        console.print(
            f"misaligned: {counts.misaligned / counts.samples:.2%} of samples have concepts in "
            "caption and tags and none in common",
            highlight=False,
            soft_wrap=True,
        )
    table = Table("concept", "text", "image", "both")
    for column in table.columns[1:]:
        column.justify = "right"
    for number in frequency.argsort(kind="stable")[::-1][:_SHOWN]:
        places = (counts.text, counts.image, counts.both)
        table.add_row(counts.names[number], *(f"{place[number]:,}" for place in places))
    console.print(table)
    console.print(f"all of them: {out / 'counts.csv'}", soft_wrap=True, highlight=False)


def _read(path: Path) -> dict[str, dict[str, int]]:
    from paperworks.scaling.concept_frequency.counts import read_counts_table

    return read_counts_table(path)


def _place(table: dict[str, dict[str, int]], place: str | None, path: Path) -> dict[str, int]:
    if place is None:
        place = next((p for p in ("both", "text") if any(table.get(p, {}).values())), None)
        if place is None:
            raise ValueError(
                f"{path} holds no count above 0 of text or both; name one with --place"
            )
    if place not in table:
        raise ValueError(f"{path} has no column {place}")
    return table[place]


def _join(counts: Path, accuracy: Path, place: str | None) -> tuple[Any, Any, Any, int]:
    """Frequencies, accuracies, similarities or None, and how many concepts one file alone has."""
    frequency = _place(_read(counts), place, counts)
    given: dict[str, tuple[float, float | None]] = {}
    with accuracy.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        columns = rows.fieldnames or []
        if not {"concept", "accuracy"} <= set(columns):
            raise ValueError(
                f"{accuracy} needs the columns concept and accuracy, got "
                f"{', '.join(columns) or 'none'}"
            )
        for row in rows:
            where = f"{accuracy}, line {rows.line_num}"
            values = [_number(row[c], c, where) for c in ("accuracy", "similarity") if c in columns]
            if row["concept"] in given:
                raise ValueError(f"{where}: {row['concept']!r} is there already")
            given[row["concept"]] = (values[0], values[1] if len(values) > 1 else None)
    shared = [name for name in frequency if name in given]
    if not shared:
        raise ValueError(f"{counts} and {accuracy} have no concept in common")
    similarity = [given[name][1] for name in shared]
    return (
        [frequency[name] for name in shared],
        [given[name][0] for name in shared],
        None if similarity[0] is None else similarity,
        len(frequency) + len(given) - 2 * len(shared),
    )


def _number(text: str | None, column: str, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: {column} must be a number, got {text!r}")
    return value


def _trend_as_json(
    trend: LogLinearTrend, found: TrendComparison | None, gain: float | None
) -> dict[str, Any]:
    def test(correlation: Correlation | None) -> Any:
        if correlation is None:
            return None
        return {"r": correlation.r, "t": _finite(correlation.t), "dof": correlation.dof,
                "p": correlation.p}  # fmt: skip

    record: dict[str, Any] = {
        "concepts": trend.concepts,
        "zeros": trend.zeros,
        "slope_per_decade": trend.slope,
        "slope_interval": [trend.slope_low, trend.slope_high],
        "intercept": trend.intercept,
        "rmse": trend.rmse,
        "pearson": test(trend.pearson),
        "spearman": test(trend.spearman),
        "at_equal_similarity": test(trend.partial),
    }
    if gain is not None:
        record["gain"] = gain
        record["times_the_data"] = _finite(trend.factor_for(gain))
    if found is not None:
        columns = (found.laws, found.rmse, found.excess, found.low, found.high)
        record["laws"] = [
            {"law": law, "rmse": float(a), "excess": float(b), "interval": [float(c), float(d)]}
            for law, a, b, c, d in zip(*columns, strict=True)
        ]
    return record


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else "infinite"


def _show_trend(trend: LogLinearTrend, found: TrendComparison | None, gain: float | None) -> None:
    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    say(
        f"{trend.concepts:,} concepts ({trend.zeros:,} never occur): accuracy = "
        f"{trend.intercept:.4g} + {trend.slope:.4g} log10(frequency)"
    )
    say(
        f"slope per tenfold frequency: {trend.slope_low:.4g} to {trend.slope_high:.4g} "
        f"({trend.confidence:.0%} interval over concepts); residual {trend.rmse:.4g}"
    )
    tests = (("Pearson", trend.pearson), ("Spearman", trend.spearman),
             ("Pearson at equal similarity", trend.partial))  # fmt: skip
    for name, test in tests:
        if test is not None:
            say(f"{name}: {test.r:.3f} (t = {test.t:.2f}, {test.dof} degrees, p = {test.p:.2g})")
    if gain is not None:
        say(f"{gain:g} more accuracy: {trend.factor_for(gain):.3g} times the data, by this line")
    if found is not None:
        for law, rmse, low, high in zip(found.laws, found.rmse, found.low, found.high, strict=True):
            say(f"  {law}: held-out error {rmse:.4g}; squared, {low:.3g} to {high:.3g} more")


def _plot(path: Path, frequency: Any, accuracy: Any, trend: LogLinearTrend) -> None:
    import numpy as np
    from matplotlib.figure import Figure

    f, y = np.asarray(frequency, dtype=float), np.asarray(accuracy, dtype=float)
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(f[f > 0], y[f > 0], ".", alpha=0.35, color="C0", label="concepts")
    band = trend.predict(np.geomspace(f[f > 0].min(), f.max(), 100))
    axes.plot(band.frequency, band.accuracy, color="C1", label="fitted line")
    axes.fill_between(band.frequency, band.low, band.high, color="C1", alpha=0.25, linewidth=0)
    axes.set(xscale="log", xlabel="frequency of the concept", ylabel="accuracy")
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _table(path: Path, columns: tuple[str, ...], rows: list[Any]) -> None:
    import io

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_bytes(path, buffer.getvalue().encode())

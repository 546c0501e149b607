"""``paperworks scaling concepts fit``."""

from __future__ import annotations

import csv
import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paperworks.cli.common import Json, errors, print_json, save_figure, say, user_errors
from paperworks.cli.scaling.concepts.common import KINDS, PlaceName, frequencies

if TYPE_CHECKING:
    from paperworks.scaling import LogLinearTrend, TrendComparison
    from paperworks.scaling.concept_frequency.trend import Correlation


class ZerosName(StrEnum):
    """What is done with concepts that never occur."""

    DROP = "drop"
    ONE = "one"


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

    with user_errors(*KINDS):
        occurrences, accuracies, similarity, lost = _join(counts, accuracy, place)
        trend = fit_log_linear(
            occurrences, accuracies, zeros=zeros, similarity=similarity, rng=seed
        )
        found = compare_trends(occurrences, accuracies, zeros=zeros, rng=seed) if compare else None
        if plot is not None:
            from paperworks.scaling import plots

            save_figure(plots.concept_trend(occurrences, accuracies, trend), plot)
    if lost:
        errors.print(f"[yellow]{lost:,} concepts are in one of the files only, left out[/]")
    if json:
        print_json(_trend_as_json(trend, found, gain) | {"in_one_file_only": lost})
        return
    _show_trend(trend, found, gain)
    if plot is not None:
        say(f"drawn: {plot}")


def _join(counts: Path, accuracy: Path, place: str | None) -> tuple[Any, Any, Any, int]:
    """Frequencies, accuracies, similarities or None, and how many concepts one file alone has."""
    frequency = frequencies(counts, place)
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

"""``paperworks passk``: coverage of a person's own samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paperworks.cli.common import (
    Json,
    console,
    count,
    errors,
    number,
    print_json,
    save_figure,
    say,
    show_left_out,
    user_errors,
)

if TYPE_CHECKING:
    from paperworks.scaling import Coverage, CoverageLaw

_TARGETS = (0.5, 0.9, 0.95, 0.99)


def passk(
    results: Annotated[
        Path, typer.Argument(help="JSON lines, one per sample or one per problem; .gz is fine.")
    ],
    k: Annotated[
        str | None,
        typer.Option(help="Numbers of samples, as 1,10,100. Default: powers of ten, and the most."),
    ] = None,
    fit: Annotated[
        bool, typer.Option("--fit", help="Fit the law coverage = exp(a k^b) and extrapolate.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw coverage over k into this file (.png, .svg, .pdf).")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    min_samples: Annotated[
        int, typer.Option(help="Leave out problems with fewer samples than this.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first bad line, and at a k too large.")
    ] = False,
    json: Json = False,
) -> None:
    """Coverage (pass@k) of your own samples, with intervals over problems.

    Each line of RESULTS is one sample, {"problem": "id", "correct": true}, or one problem,
    {"problem": "id", "n": 100, "c": 7}; other fields are ignored. Bad lines are reported with
    their numbers, counted and left out, or stop the command with --strict.

    A k that some problem has too few samples for is left out, with a word of it: a mean over the
    other problems would be of another set. --min-samples leaves out those problems instead.
    """
    from paperworks.scaling import coverage, read_counts

    with user_errors(ValueError, OSError):
        counts = read_counts(results, strict=strict)
        show_left_out(counts.bad)
        keep = counts.n >= min_samples
        if not keep.any():
            raise ValueError(
                f"no problem has {min_samples} samples, the most is {counts.n.max()}; "
                "lower --min-samples"
            )
        n, c = counts.n[keep], counts.c[keep]
        fewest = int(n.min())
        asked = _parse(k) if k is not None else _powers_of_ten(fewest)
        ks = [value for value in asked if value <= fewest]
        too_large = [value for value in asked if value > fewest]
        if too_large:
            word = (
                f"k = {', '.join(map(str, too_large))} left out: {int((n < max(too_large)).sum())} "
                f"of {n.size} problems have fewer samples (the fewest: {fewest})"
            )
            if n.max() >= max(too_large):
                word += f"; --min-samples {max(too_large)} leaves out those problems instead"
            if strict or not ks:
                raise ValueError(word)
            errors.print(f"[yellow]{word}[/]", soft_wrap=True, highlight=False)
        measured = coverage(n, c, ks, confidence=confidence, rng=seed)
        law = _fit(n, c, seed) if fit else None
        if plot is not None:
            from paperworks.scaling import log_spaced, plots

            curve = coverage(n, c, log_spaced(fewest), confidence=confidence, rng=seed)
            save_figure(plots.coverage_curve(curve, marked=measured, law=law), plot)

    summary: dict[str, Any] = {
        "problems": int(n.size),
        "samples": int(n.sum()),
        "correct": int(c.sum()),
        "samples_per_problem": [fewest, int(n.max())],
        "left_out_problems": int((~keep).sum()),
        "left_out_k": too_large,
        "bad_lines": [{"line": bad.line, "why": bad.why} for bad in counts.bad],
        "confidence": confidence,
    }
    if json:
        rows = zip(measured.k, measured.coverage, measured.low, measured.high, strict=True)
        names = ("k", "coverage", "low", "high")
        summary["coverage"] = [
            dict(zip(names, (int(row[0]), *map(float, row[1:])), strict=True)) for row in rows
        ]
        if law is not None:
            summary["law"] = _law_as_json(law, confidence)
        print_json(summary)
        return
    _show(summary, measured)
    if law is not None:
        _show_law(law, confidence)
    if plot is not None:
        say(f"drawn: {plot}")


def _parse(text: str) -> list[int]:
    try:
        values = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise ValueError(
            f"--k must be whole numbers with commas, as 1,10,100, got {text!r}"
        ) from None
    if values[0] < 1:
        raise ValueError(f"--k must be >= 1, got {values[0]}")
    return values


def _powers_of_ten(largest: int) -> list[int]:
    return sorted({10**i for i in range(len(str(largest)))} | {largest})


def _fit(n: Any, c: Any, seed: int) -> CoverageLaw:
    from paperworks.scaling import CoverageLaw

    law = CoverageLaw.fit_counts(n, c, rng=seed)
    if not law.converged:
        raise ValueError(
            f"the fit of the law did not converge in {law.iterations} steps; leave --fit out and "
            "look at the coverage first"
        )
    return law


def _law_as_json(law: CoverageLaw, confidence: float) -> dict[str, Any]:
    reaches = [law.samples_to_reach(target, confidence=confidence) for target in _TARGETS]
    return {
        "a": law.a,
        "b": law.b,
        "rmse": law.rmse,
        "points": int(law.k.size),
        "failed_draws": law.failed_draws,
        "samples_to_reach": [
            {
                "target": reach.target,
                "samples": number(reach.samples),
                "low": number(reach.low),
                "high": number(reach.high),
                "extrapolated": reach.extrapolated,
            }
            for reach in reaches
        ],
    }


def _show(summary: dict[str, Any], measured: Coverage) -> None:
    from rich.table import Table

    few, many = summary["samples_per_problem"]
    each = f"{few:,}" if few == many else f"{few:,} to {many:,}"
    say(
        f"{summary['problems']:,} problems, {each} samples each, {summary['correct']:,} of "
        f"{summary['samples']:,} samples correct"
    )
    if summary["bad_lines"]:
        console.print(f"[bold yellow]bad lines left out: {len(summary['bad_lines']):,}[/]")
    if summary["left_out_problems"]:
        console.print(
            f"[bold yellow]left out for too few samples: {summary['left_out_problems']:,} of "
            f"{summary['problems'] + summary['left_out_problems']:,} problems[/]"
        )
    table = Table("k", "coverage", f"{summary['confidence']:.0%} interval over problems")
    for column in table.columns:
        column.justify = "right"
    for at, value, low, high in zip(
        measured.k, measured.coverage, measured.low, measured.high, strict=True
    ):
        table.add_row(f"{at:,}", f"{value:.2%}", f"{low:.2%} to {high:.2%}")
    console.print(table)


def _show_law(law: CoverageLaw, confidence: float) -> None:
    say(
        f"law: coverage = exp({law.a:.4g} k^{law.b:.4g}), off by {law.rmse:.2%} on "
        f"{law.k.size} points up to k = {law.k.max():,.0f}"
    )
    for target in _TARGETS:
        reach = law.samples_to_reach(target, confidence=confidence)
        far = ", beyond the data" if reach.extrapolated else ""
        say(
            f"  {target:.0%} of problems: {count(reach.samples)} samples "
            f"({count(reach.low)} to {count(reach.high)}){far}"
        )

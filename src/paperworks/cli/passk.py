"""``paperworks passk``: coverage of a person's own samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paperworks.cli.common import Json, console, errors, print_json, user_errors

if TYPE_CHECKING:
    from paperworks.scaling import Coverage, CoverageLaw
    from paperworks.scaling.lines import BadLine

_TARGETS = (0.5, 0.9, 0.95, 0.99)
_SHOWN = 10


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
        for bad in counts.bad[:_SHOWN]:
            errors.print(f"[yellow]left out[/] {_plain(bad)}", soft_wrap=True, highlight=False)
        if len(counts.bad) > _SHOWN:
            errors.print(f"[yellow]left out[/] {len(counts.bad) - _SHOWN:,} more bad lines")
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
            _plot(plot, n, c, measured, law, confidence, seed)

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
        console.print(f"drawn: {plot}", soft_wrap=True, highlight=False)


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
                "samples": _number(reach.samples),
                "low": _number(reach.low),
                "high": _number(reach.high),
                "extrapolated": reach.extrapolated,
            }
            for reach in reaches
        ],
    }


def _show(summary: dict[str, Any], measured: Coverage) -> None:
    from rich.table import Table

    few, many = summary["samples_per_problem"]
    each = f"{few:,}" if few == many else f"{few:,} to {many:,}"
    console.print(
        f"{summary['problems']:,} problems, {each} samples each, {summary['correct']:,} of "
        f"{summary['samples']:,} samples correct",
        highlight=False,
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
    console.print(
        f"law: coverage = exp({law.a:.4g} k^{law.b:.4g}), off by {law.rmse:.2%} on "
        f"{law.k.size} points up to k = {law.k.max():,.0f}",
        highlight=False,
        soft_wrap=True,
    )
    for target in _TARGETS:
        reach = law.samples_to_reach(target, confidence=confidence)
        far = ", beyond the data" if reach.extrapolated else ""
        console.print(
            f"  {target:.0%} of problems: {_count(reach.samples)} samples "
            f"({_count(reach.low)} to {_count(reach.high)}){far}",
            highlight=False,
            soft_wrap=True,
        )


def _plot(
    path: Path,
    n: Any,
    c: Any,
    measured: Coverage,
    law: CoverageLaw | None,
    confidence: float,
    seed: int,
) -> None:
    import numpy as np
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    from paperworks.scaling import coverage, log_spaced

    curve = coverage(n, c, log_spaced(int(n.min())), confidence=confidence, rng=seed)
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.fill_between(curve.k, curve.low, curve.high, alpha=0.2, color="C0", linewidth=0)
    axes.plot(curve.k, curve.coverage, color="C0", label="measured")
    axes.plot(measured.k, measured.coverage, "o", color="C0")
    if law is not None:
        far = np.geomspace(1, max(int(n.min()) * 10, 10), 200)
        ahead = law.predict(far, confidence=confidence)
        axes.plot(far, ahead.coverage, "--", color="C1", label="law: exp(a k^b)")
        axes.fill_between(far, ahead.low, ahead.high, alpha=0.15, color="C1", linewidth=0)
    axes.set(xscale="log", xlabel="samples per problem, k", ylabel="coverage", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _number(value: Any) -> int | float | str:
    """A count as a JSON number; infinity, which JSON lacks, as a word."""
    as_float = float(value)
    if as_float == float("inf"):
        return "never"
    return int(as_float) if as_float < 2**53 else as_float


def _count(value: float) -> str:
    if value == float("inf"):
        return "never"
    return f"{value:,.0f}" if value < 1e7 else f"{value:.1e}"


def _plain(bad: BadLine) -> str:
    from rich.markup import escape

    return escape(str(bad))

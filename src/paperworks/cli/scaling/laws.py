"""``paperworks scaling fit``, ``compare`` and ``laws``: laws fitted to a person's own runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paperworks.cli.common import (
    Json,
    console,
    errors,
    print_json,
    save_figure,
    say,
    show_left_out,
    user_errors,
    warn,
)

if TYPE_CHECKING:
    from paperworks.scaling import HeldOut, Law, LawFit, Runs


RunsFile = Annotated[
    Path, typer.Argument(help="A table of runs: .csv, .tsv or .jsonl; .gz is fine.")
]
Columns = Annotated[
    str | None,
    typer.Option(
        help="Columns of the law's variables, as N=params,D=tokens; for a law of one variable the "
        "column alone. Default: columns of the variables' names."
    ),
]
Y = Annotated[str, typer.Option("--y", help="Column of what was measured.")]
Group = Annotated[
    str | None, typer.Option(help="Column that names the run, where a run has several rows.")
]
Linear = Annotated[
    bool, typer.Option("--linear", help="Fit errors of y and not of log y; y may then be 0.")
]
Delta = Annotated[
    float | None,
    typer.Option(help="Where Huber's loss turns into a line. Default: by the noise of the data."),
]
Confidence = Annotated[float, typer.Option(help="Level of the intervals.")]
Seed = Annotated[int, typer.Option(help="Seed of the bootstrap.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first bad line.")]
HoldOut = Annotated[
    float, typer.Option(help="Share of the runs, the largest, that is held out and predicted.")
]


def list_laws(json: Json = False) -> None:
    """List the laws that can be fitted."""
    from rich.table import Table

    from paperworks.scaling import LAWS

    if json:
        print_json([_law_as_json(law) for law in LAWS.values()])
        return
    table = Table("law", "formula", "variables")
    for law in LAWS.values():
        table.add_row(law.name, law.formula, ", ".join(law.variables))
    console.print(table)


def fit(
    runs: RunsFile,
    law: Annotated[str, typer.Option(help="One of `paperworks scaling laws`.")],
    columns: Columns = None,
    y: Y = "loss",
    group: Group = None,
    predict: Annotated[
        list[str] | None,
        typer.Option(help="A point to predict, as N=7e9,D=1.4e11. May be given several times."),
    ] = None,
    hold_out: HoldOut = 0.25,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the runs and the law here (.png, .svg, .pdf).")
    ] = None,
    linear: Linear = False,
    delta: Delta = None,
    resamples: Annotated[int, typer.Option(help="Bootstrap draws of the runs.")] = 1000,
    confidence: Confidence = 0.95,
    seed: Seed = 0,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Fit a law to your runs, say what it predicts, and how far it can be trusted.

    RUNS has a row for each run and columns of numbers: parameters, tokens, loss, whatever the law
    takes, in any unit; predictions are asked for in the same. Bad lines are reported by number and
    left out, or stop the command with --strict.

    Intervals hold the luck of the runs and not that the law may be wrong beyond them. So the
    largest runs are also predicted from the smaller ones alone: look at that error first.
    """
    from paperworks.scaling import fit_law, hold_out_largest
    from paperworks.scaling.fitting.laws import law_named

    with user_errors(ValueError, OSError):
        chosen = law_named(law)
        names = _columns(runs, columns, chosen.variables, y, group)
        if len(names) == 1:
            chosen = chosen.over(*names)
        points = [_point(text, chosen) for text in predict or ()]
        table = _read(runs, names, y, group, linear, strict)
        space: Any = "linear" if linear else "log"
        common: dict[str, Any] = {
            "groups": table.groups, "space": space, "delta": delta, "rng": seed,
            "confidence": confidence, "resamples": resamples,
        }  # fmt: skip
        found = fit_law(chosen, table.variables, table.y, **common)
        try:
            held = hold_out_largest(chosen, table.variables, table.y, fraction=hold_out, **common)
            not_held = ""
        except ValueError as error:
            held, not_held = None, str(error)
        said = [_prediction(found, point) for point in points]
        if plot is not None:
            from paperworks.scaling import plots

            save_figure(plots.law_fit(found, points=points, y=y), plot)
    if json:
        print_json(
            {
                "law": _law_as_json(found.law),
                "rows": int(found.y.size),
                "runs": found.runs,
                "bad_lines": [{"line": bad.line, "why": bad.why} for bad in table.bad],
                "converged": found.converged,
                "rms": found.rms,
                "delta": found.delta,
                "space": found.space,
                "confidence": confidence,
                "parameters": {
                    name: {"value": each.value, "low": each.low, "high": each.high}
                    for name, each in found.parameters.items()
                },
                "predictions": said,
                "held_out": _held_as_json(held) if held else {"error": not_held},
                "warnings": list(found.warnings),
            }
        )
        return
    _show(found, held, not_held, said, y)
    if plot is not None:
        say(f"drawn: {plot}")


def compare(
    runs: RunsFile,
    laws: Annotated[
        str | None,
        typer.Option(help="As power,power-offset. Default: all of these columns."),
    ] = None,
    columns: Columns = None,
    y: Y = "loss",
    group: Group = None,
    hold_out: HoldOut = 0.25,
    linear: Linear = False,
    delta: Delta = None,
    confidence: Confidence = 0.95,
    seed: Seed = 0,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Rank rival laws by their error on your largest runs, fitted to the smaller ones alone."""
    from rich.table import Table

    from paperworks.scaling import compare_laws
    from paperworks.scaling.fitting.laws import law_named

    with user_errors(ValueError, OSError):
        wanted = laws.split(",") if laws else _rivals(runs, columns, y, group, linear)
        names = _columns(runs, columns, law_named(wanted[0]).variables, y, group)
        table = _read(runs, names, y, group, linear, strict)
        found = compare_laws(
            wanted, table.variables, table.y, fraction=hold_out, groups=table.groups, delta=delta,
            space="linear" if linear else "log", confidence=confidence, rng=seed,
        )  # fmt: skip
    if json:
        print_json(
            {
                "laws": {name: _held_as_json(held) for name, held in found.ranked.items()},
                "failed": found.failed,
                "bad_lines": [{"line": bad.line, "why": bad.why} for bad in table.bad],
            }
        )
        return
    best = next(iter(found.ranked.values()))
    say(
        f"the {int(best.held_out.sum()):,} rows of the largest runs, predicted from the other "
        f"{int((~best.held_out).sum()):,}"
    )
    shown = Table("law", "error", "bias", f"within their {confidence:.0%} interval", "error of fit")
    for name, held in found.ranked.items():
        shown.add_row(
            name, _error(held.rms, linear), _error(held.bias, linear, sign=True),
            f"{held.covered:.0%}", _error(held.fit.rms, linear),
        )  # fmt: skip
    console.print(shown)
    for name, why in found.failed.items():
        errors.print(f"[yellow]{name} was not fitted:[/] {why}", soft_wrap=True, highlight=False)


def _columns(
    path: Path, columns: str | None, variables: tuple[str, ...], y: str, group: str | None
) -> dict[str, str]:
    """The column of each variable, by the name that a person uses for it."""
    given = [part.strip() for part in columns.split(",")] if columns else []
    pairs = {part.split("=")[0]: part.split("=")[-1] for part in given}
    if len(variables) > 1:
        unknown = [name for name in pairs if name not in variables]
        if unknown:
            raise ValueError(
                f"the variables are {', '.join(variables)}; --columns names {', '.join(unknown)}"
            )
        return {name: pairs.get(name, name) for name in variables}
    if not pairs:
        others = _others(path, y, group)
        if len(others) != 1:
            raise ValueError(
                f"which column is the variable? {path} has {', '.join(others) or 'none'} beside "
                f"{y}; say --columns NAME"
            )
        return {others[0]: others[0]}
    if len(pairs) > 1:
        raise ValueError(f"a law of one variable takes one column, got {', '.join(pairs)}")
    return pairs


def _others(path: Path, y: str, group: str | None) -> list[str]:
    from paperworks.scaling.fitting.runs import column_names

    return [name for name in column_names(path) if name not in (y, group)]


def _rivals(path: Path, columns: str | None, y: str, group: str | None, linear: bool) -> list[str]:
    """The laws of the variables that are there: several where their columns are, else of one."""
    from paperworks.scaling import LAWS

    there = [part.split("=")[0].strip() for part in columns.split(",")] if columns else []
    there = there or _others(path, y, group)
    of_one = [law for law in LAWS.values() if len(law.variables) == 1]
    several = [law for law in LAWS.values() if law not in of_one and {*law.variables} <= {*there}]
    # A share that rises to 1 is fitted in its own unit.
    return [law.name for law in several or of_one if linear or law.name != "exponentiated"]


def _read(
    path: Path, names: dict[str, str], y: str, group: str | None, linear: bool, strict: bool
) -> Runs:
    from paperworks.scaling import read_runs

    table = read_runs(path, names, y=y, group=group, zero_y=linear, strict=strict)
    show_left_out(table.bad)
    return table


def _point(text: str, law: Law) -> dict[str, float]:
    example = ",".join(f"{name}=1e9" for name in law.variables)
    try:
        point = {name: float(value) for name, value in (p.split("=") for p in text.split(","))}
    except ValueError:
        raise ValueError(f"--predict must look like {example}, got {text!r}") from None
    if set(point) != set(law.variables):
        raise ValueError(
            f"--predict must give {', '.join(law.variables)}, as {example}; got {text!r}"
        )
    return point


def _prediction(found: LawFit, point: dict[str, float]) -> dict[str, Any]:
    curve, run = found.predict(point), found.predict(point, new_run=True)
    return {
        **point,
        "value": float(curve.value),
        "low": float(curve.low),
        "high": float(curve.high),
        "new_run_low": float(run.low),
        "new_run_high": float(run.high),
        "times_beyond_the_data": float(curve.beyond),
    }


def _law_as_json(law: Law) -> dict[str, Any]:
    return {
        "name": law.name,
        "formula": law.formula,
        "variables": list(law.variables),
        "parameters": [each.name for each in law.parameters],
    }


def _held_as_json(held: HeldOut) -> dict[str, Any]:
    return {
        "rows": int(held.held_out.sum()),
        "error": held.rms,
        "bias": held.bias,
        "within_interval": held.covered,
        "error_of_fit": held.fit.rms,
        "parameters": {name: each.value for name, each in held.fit.parameters.items()},
    }


def _error(value: float, linear: bool, *, sign: bool = False) -> str:
    plus = "+" if sign else ""
    return f"{value:{plus}.3g}" if linear else f"{math.expm1(value):{plus}.2%}"


def _show(
    found: LawFit, held: HeldOut | None, not_held: str, said: list[dict[str, Any]], y: str
) -> None:
    from rich.table import Table

    linear = found.space == "linear"
    say(
        f"{found.law.formula}: {found.y.size:,} rows of {found.runs:,} runs, off by "
        f"{_error(found.rms, linear)}"
    )
    table = Table("parameter", "value", f"{found.confidence:.0%} interval over runs")
    for name, each in found.parameters.items():
        table.add_row(name, f"{each.value:.5g}", f"{each.low:.4g} to {each.high:.4g}")
    console.print(table)
    if held is not None:
        say(
            f"held out: {int(held.held_out.sum()):,} rows of the largest runs are predicted from "
            f"the others with an error of {_error(held.rms, linear)}; {held.covered:.0%} lie "
            f"in their {found.confidence:.0%} intervals"
        )
    else:
        errors.print(f"[yellow]no run was held out:[/] {not_held}", soft_wrap=True, highlight=False)
    for point in said:
        where = ", ".join(f"{name} = {point[name]:g}" for name in found.law.variables)
        beyond = point["times_beyond_the_data"]
        far = f"; {beyond:.3g} times beyond the runs" if beyond > 1.0000001 else ""
        say(
            f"{where}: {y} = {point['value']:.5g} ({point['low']:.4g} to {point['high']:.4g}; "
            f"one run {point['new_run_low']:.4g} to {point['new_run_high']:.4g}){far}"
        )
    for warning in found.warnings:
        warn(warning)

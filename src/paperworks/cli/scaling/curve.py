"""``paperworks scaling curve``: the learning curve of a person's own metric table."""

from __future__ import annotations

import math
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
    warn,
)

if TYPE_CHECKING:
    from paperworks.scaling import LearningCurve, ModelGrowth, SharedExponent
    from paperworks.scaling.learning_curves.results import DataNeeded


def curve(
    table: Annotated[
        Path, typer.Argument(help="A table of training runs: .csv, .tsv or .jsonl; .gz is fine.")
    ],
    size: Annotated[str, typer.Option(help="Column of the amount of training data.")] = "size",
    error: Annotated[str, typer.Option(help="Column of the metric.")] = "error",
    accuracy: Annotated[
        bool, typer.Option("--accuracy", help="The metric is an accuracy: its error is 1 less it.")
    ] = False,
    percent: Annotated[
        bool, typer.Option("--percent", help="The metric is in per cent. Errors are fractions.")
    ] = False,
    learner: Annotated[
        str | None,
        typer.Option(help="Column of the learner's name: a curve for each, and one exponent."),
    ] = None,
    model_size: Annotated[
        str | None,
        typer.Option(help="Column of the model's size: the best model at each size of the data."),
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="Column of the run (a seed), whose rows err together.")
    ] = None,
    chance: Annotated[
        float | None, typer.Option(help="Error of guessing, as 0.9 for ten classes, if known.")
    ] = None,
    target_error: Annotated[
        list[float] | None,
        typer.Option(help="How much data does this error take? May be given several times."),
    ] = None,
    predict: Annotated[
        list[float] | None,
        typer.Option(help="What error would this size give? May be given several times."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw points, curves and regions (.png, .svg, .pdf).")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    resamples: Annotated[int, typer.Option(help="Resampled curves behind them.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the resampling.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad line.")] = False,
    json: Json = False,
) -> None:
    """Find the regions of a learning curve, its exponent, and how much data a target takes.

    TABLE has a row for each training run: the amount of training data, in any unit, and a metric
    that is positive and falls with it (an error rate, a loss, a word error rate; --accuracy turns
    an accuracy into its error). Bad lines are reported by number and left out.

    With --model-size the curve is that of the best model at each size, and the best model's size is
    fitted as a power of the data's. With --learner each learner has its curve, and the command says
    whether one exponent does for all.
    """
    from paperworks.scaling import LearningCurve, ModelGrowth, SharedExponent
    from paperworks.scaling.learning_curves.table import read_learning_curves

    with user_errors(ValueError, OSError):
        if model_size and learner:
            raise ValueError(
                "--model-size and --learner ask different questions of a table; name the model "
                "sizes as learners, or give one of the two"
            )
        if model_size and run:
            raise ValueError("--run has no part in the choice of the best model; leave it out")
        rows = read_learning_curves(
            table, size=size, error=error, accuracy=accuracy, percent=percent, learner=learner,
            model_size=model_size, run=run, strict=strict,
        )  # fmt: skip
        show_left_out(rows.bad)
        common: dict[str, Any] = {
            "chance": chance, "confidence": confidence, "resamples": resamples, "rng": seed,
        }  # fmt: skip
        growth, shared = None, None
        curves: dict[str, LearningCurve] = {}
        if rows.model_size is not None:
            growth = ModelGrowth.fit(rows.size, rows.model_size, rows.error, confidence=confidence)
            curves["best model"] = LearningCurve.fit(
                growth.envelope_size, growth.envelope_error, **common
            )
        elif learner:
            assert rows.learner is not None
            for name in sorted(set(rows.learner.tolist())):
                mine = rows.of(name)
                try:
                    curves[name] = LearningCurve.fit(mine.size, mine.error, runs=mine.run, **common)
                except ValueError as fault:
                    raise ValueError(f"learner {name!r}: {fault}") from None
            if len(curves) > 1:
                shared = SharedExponent.fit(
                    rows.size, rows.error, rows.learner, runs=rows.run, **common
                )
        else:
            curves[""] = LearningCurve.fit(rows.size, rows.error, runs=rows.run, **common)
        needs = {
            name: [each.data_for(target) for target in target_error or ()]
            for name, each in curves.items()
        }
        ahead = {
            name: [(float(at), each.predict(at)) for at in predict or ()]
            for name, each in curves.items()
        }
        if plot is not None:
            from paperworks.scaling import plots

            save_figure(plots.learning_curves(curves, needs=needs, unit=size), plot)
    if json:
        summary: dict[str, Any] = {
            "rows": int(rows.size.size),
            "bad_lines": [{"line": bad.line, "why": bad.why} for bad in rows.bad],
            "confidence": confidence,
            "curves": [
                {
                    "name": name,
                    **_as_json(each),
                    "targets": [_need_as_json(need) for need in needs[name]],
                    "predictions": [
                        {"size": at, **_ends(said), "times_beyond": number(said.beyond)}
                        for at, said in ahead[name]
                    ],
                }
                for name, each in curves.items()
            ],
        }
        if shared is not None:
            summary["one_exponent"] = {
                **_ends(shared.exponent),
                "weight": shared.weight,
                "shape": str(shared.shape),
                "own": {name: _ends(each) for name, each in shared.own_exponents.items()},
            }
        if growth is not None:
            summary["model_size"] = {
                "alpha": _ends(growth.alpha),
                "beta": _ends(growth.beta),
                "best": dict(zip(growth.size.tolist(), growth.best.tolist(), strict=True)),
                "left_out": list(growth.left_out),
                "predictions": [
                    {"size": float(at), **_ends(growth.predict(at))} for at in predict or ()
                ],
            }
        print_json(summary)
        return
    for name, each in curves.items():
        _show(name, each, needs[name], ahead[name])
    if shared is not None:
        _show_shared(shared)
    if growth is not None:
        _show_growth(growth, predict or ())
    if plot is not None:
        say(f"drawn: {plot}")


def _show(
    name: str, curve: LearningCurve, needs: list[DataNeeded], ahead: list[tuple[float, Any]]
) -> None:
    from rich.markup import escape

    regions, best = curve.regions, curve.candidates[0]
    if name:
        say(f"[bold]{escape(name)}[/]")
    say(
        f"{curve.size.size:,} rows, sizes {count(regions.measured_from)} to "
        f"{count(regions.measured_to)}: {curve.shape} (weight {best.weight:.2f}), off by "
        f"{math.expm1(curve.rms):.2%}"
    )
    alpha = curve.exponent
    say(f"  error falls as size^-{alpha.value:.3g} ({alpha.low:.3g} to {alpha.high:.3g})")
    start, stop = regions.small_data_to, regions.irreducible_from
    say(
        f"  small-data region: {'up to ' + count(start.size) if start.size else 'none seen'} "
        f"({_span(start.low, start.high)}; weight {regions.small_data_weight:.2f})"
    )
    say(
        f"  irreducible region: {'from ' + count(stop.size) if curve.shape.floor else 'none seen'}"
        f" ({_span(stop.low, stop.high)}; weight {regions.irreducible_weight:.2f})"
    )
    if curve.shape.floor:
        floor = curve.floor
        say(f"  irreducible error: {floor.value:.4g} ({floor.low:.4g} to {floor.high:.4g})")
    for at, said in ahead:
        far = f", {number(said.beyond):.3g} times beyond the table" if said.beyond > 1 else ""
        say(
            f"  at {count(at)}: error {float(said.value):.4g} ({float(said.low):.4g} to "
            f"{float(said.high):.4g}){far}"
        )
    for need in needs:
        far = f", {need.more:,.3g} times the largest size" if need.extrapolated else ""
        far = far if need.reachable else ""
        say(
            f"  error {need.target:g}: {count(need.size)} ({_span(need.low, need.high)}){far}"
            + (f"; {need.never:.0%} of the draws never get there" if need.never > 0 else "")
        )
    for warning in curve.warnings:
        warn(f"{escape(name)}: {warning}" if name else warning)


def _show_shared(shared: SharedExponent) -> None:
    from rich.table import Table

    table = Table("learner", "own exponent", f"{shared.confidence:.0%} interval")
    for name, each in shared.own_exponents.items():
        table.add_row(name, f"{each.value:.4g}", f"{each.low:.4g} to {each.high:.4g}")
    console.print(table)
    one = shared.exponent
    verdict = "does for all" if shared.weight > 0.5 else "is not enough"
    say(
        f"one exponent {verdict}: {one.value:.4g} ({one.low:.4g} to {one.high:.4g}), weight "
        f"{shared.weight:.2f}; off by {math.expm1(shared.rms):.2%}, with their own by "
        f"{math.expm1(shared.own_rms):.2%}"
    )


def _show_growth(growth: ModelGrowth, sizes: list[float] | tuple[()]) -> None:
    alpha, beta = growth.alpha, growth.beta
    say(
        f"best model size = {alpha.value:.4g} size^{beta.value:.3g}; exponent {beta.low:.3g} to "
        f"{beta.high:.3g}, from {growth.size.size} sizes"
    )
    for at in sizes:
        said = growth.predict(at)
        say(
            f"  at {count(at)}: {float(said.value):.4g} ({float(said.low):.4g} to "
            f"{float(said.high):.4g})"
        )
    for each in growth.left_out:
        errors.print(f"[yellow]left out[/] size {each}", soft_wrap=True, highlight=False)


def _as_json(curve: LearningCurve) -> dict[str, Any]:
    regions = curve.regions
    return {
        "shape": str(curve.shape),
        "shapes": {str(each.shape): each.weight for each in curve.candidates},
        "rms": curve.rms,
        "exponent": _ends(curve.exponent),
        "amplitude": _ends(curve.amplitude),
        "irreducible_error": _ends(curve.floor),
        "chance": _ends(curve.chance),
        "small_data_to": {
            "size": number(regions.small_data_to.size),
            "low": number(regions.small_data_to.low),
            "high": number(regions.small_data_to.high),
            "weight": regions.small_data_weight,
        },
        "irreducible_from": {
            "size": number(regions.irreducible_from.size),
            "low": number(regions.irreducible_from.low),
            "high": number(regions.irreducible_from.high),
            "weight": regions.irreducible_weight,
        },
        "power_law_measured": list(regions.power_law) if regions.power_law else None,
        "warnings": list(curve.warnings),
    }


def _need_as_json(need: DataNeeded) -> dict[str, Any]:
    return {
        "target": need.target,
        "size": number(need.size),
        "low": number(need.low),
        "high": number(need.high),
        "times_the_largest": number(need.more),
        "extrapolated": need.extrapolated,
        "never": need.never,
    }


def _ends(each: Any) -> dict[str, Any]:
    return {name: number(getattr(each, name)) for name in ("value", "low", "high")}


def _span(low: float, high: float) -> str:
    if math.isinf(low):
        return "never"
    return f"{count(low)} to {count(high)}"

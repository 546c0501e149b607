"""``paperworks scaling recipe``: constants of the laws of training from a person's run logs."""

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
    warn,
)

if TYPE_CHECKING:
    from paperworks.scaling import Recipe, RunLog

_CURVE = 12  # steps of a predicted curve that are printed
_STEPS = {
    "size": "L(N) of converged runs",
    "data": "L(D)",
    "critical": "the critical batch",
    "steps": "the steps law",
    "trajectory": "the trajectory",
}


def recipe(
    runs: Annotated[
        Path, typer.Argument(help="Rows of training runs: .csv, .tsv or .jsonl; .gz is fine.")
    ],
    predict: Annotated[
        list[str] | None,
        typer.Option(
            help="A curve to predict, as N=1e9,B=5e5,S=1e5: parameters, tokens in a batch, and the "
            "last step (default: that of the longest run). May be given several times."
        ),
    ] = None,
    reach: Annotated[
        list[str] | None,
        typer.Option(
            help="A loss to reach, as N=1e9,loss=2.5: steps, tokens and the best batch. Add B=5e5 "
            "for a batch of yours, w=0.8 to weigh time more than compute, or S=1e5 for the most "
            "steps."
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Other names of columns, as N=params,S=iteration,B=batch_tokens."),
    ] = None,
    from_step: Annotated[
        float, typer.Option(help="First step that counts, behind the warm-up.")
    ] = 1,
    joint: Annotated[
        bool, typer.Option("--joint", help="All six constants at once, and not step by step.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw runs, law and curves here (.png, .svg, .pdf).")
    ] = None,
    resamples: Annotated[int, typer.Option(help="Bootstrap draws of the runs.")] = 500,
    confidence: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad line.")] = False,
    json: Json = False,
) -> None:
    """Find the constants of L(N, S, B) from small runs, and predict a large one beforehand.

    RUNS has a row for each look at a run: run (its name), N (parameters without embeddings), B
    (tokens in a batch), step, loss (nats per token on a test set) and, where a training set was
    limited, dataset (its tokens). Learning rates constant after a warm-up. Steps of the recipe that
    cannot be taken say which runs they still need; without the trajectory the exit status is 1.
    """
    from paperworks.scaling import MissingRunsError, estimate_recipe, missing_runs

    with user_errors(ValueError, OSError):
        log = _read(runs, columns, strict)
        method: Any = "joint" if joint else "stepwise"
        curves = [
            {"S": float(log.S.max())} | _parse("--predict", text, {"N", "B"}, {"S"})
            for text in predict or ()
        ]
        goals = [_parse("--reach", text, {"N", "loss"}, {"B", "w", "S"}) for text in reach or ()]
        try:
            found = estimate_recipe(
                log,
                method=method,
                from_step=from_step,
                confidence=confidence,
                resamples=resamples,
                rng=seed,
            )
        except MissingRunsError:
            missing = missing_runs(log, method=method, from_step=from_step)
            _give_up(log, missing, json)
            raise typer.Exit(1) from None
        first = max(from_step, float(log.S.min()))
        said = [_curve(found, each, first) for each in curves]
        plans = [_plan(found, each) for each in goals]
        if plot is not None:
            from paperworks.scaling import plots

            save_figure(plots.recipe(log, found, ahead=curves, from_step=from_step), plot)
    if json:
        print_json(_as_json(log, found, said, plans))
        return
    _show(log, found, said, plans)
    if plot is not None:
        say(f"drawn: {plot}")


def _read(path: Path, columns: str | None, strict: bool) -> RunLog:
    from paperworks.scaling import read_run_log

    try:
        names = dict(part.strip().split("=", 1) for part in columns.split(",")) if columns else {}
    except ValueError:
        raise ValueError(
            f"--columns must look like N=params,S=iteration, got {columns!r}"
        ) from None
    log = read_run_log(path, columns=names, strict=strict)
    show_left_out(log.bad)
    return log


def _parse(option: str, text: str, needed: set[str], more: set[str]) -> dict[str, float]:
    example = ",".join(f"{name}=..." for name in sorted(needed))
    try:
        point = {name.strip(): float(v) for name, v in (p.split("=") for p in text.split(","))}
    except ValueError:
        raise ValueError(f"{option} must look like {example}, got {text!r}") from None
    if not needed <= set(point) <= needed | more:
        raise ValueError(
            f"{option} takes {', '.join(sorted(needed))} and maybe {', '.join(sorted(more))}; "
            f"got {text!r}"
        )
    for name, value in point.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"{option}: {name} must be finite and > 0, got {value:g}")
    return point


def _curve(found: Recipe, point: dict[str, float], first: float) -> dict[str, Any]:
    import numpy as np

    steps = np.unique(np.geomspace(min(first, point["S"]), point["S"], _CURVE).round())
    curve = found.predict_curve(point["N"], point["B"], steps)
    run = found.predict_curve(point["N"], point["B"], steps, new_run=True)
    least = found.minimum_loss(point["N"])
    return {
        "N": point["N"],
        "B": point["B"],
        "minimum_loss": _estimate(least),
        "times_beyond_the_runs": float(curve.beyond.max()),
        "curve": [
            {"step": float(s), "loss": float(v), "low": float(a), "high": float(b),
             "new_run_low": float(c), "new_run_high": float(d)}
            for s, v, a, b, c, d in zip(
                steps, curve.value, curve.low, curve.high, run.low, run.high, strict=True
            )
        ],
    }  # fmt: skip


def _plan(found: Recipe, goal: dict[str, float]) -> dict[str, Any]:
    plan = found.plan(
        goal["N"],
        goal["loss"],
        batch=goal.get("B"),
        time_weight=goal.get("w"),
        max_steps=goal.get("S"),
    )
    names = ("batch", "steps", "tokens", "min_steps", "min_tokens", "critical_batch")
    return {"N": plan.N, "loss": plan.loss} | {n: _estimate(getattr(plan, n)) for n in names}


def _estimate(each: Any) -> dict[str, float | str]:
    return {name: number(getattr(each, name)) for name in ("value", "low", "high")}


def _as_json(
    log: RunLog, found: Recipe, said: list[dict[str, Any]], plans: list[dict[str, Any]]
) -> dict[str, Any]:
    laws = {}
    for name, law in (("size", found.size), ("data", found.data)):
        if law is not None:
            laws[name] = {key: _estimate(each) for key, each in law.parameters.items()}
    return {
        "rows": int(log.S.size),
        "runs": len(log.runs),
        "bad_lines": [{"line": bad.line, "why": bad.why} for bad in log.bad],
        "method": found.method,
        "confidence": found.confidence,
        "converged": found.trajectory.converged,
        "rms": found.trajectory.rms,
        "constants": {name: _estimate(each) for name, each in found.constants.items()},
        "laws": laws,
        "missing": {step: list(needs) for step, needs in found.missing.items()},
        "curves": said,
        "plans": plans,
        "warnings": list(found.warnings),
    }


def _give_up(log: RunLog, missing: dict[str, tuple[str, ...]], json: bool) -> None:
    if json:
        print_json(
            {
                "rows": int(log.S.size),
                "runs": len(log.runs),
                "bad_lines": [{"line": bad.line, "why": bad.why} for bad in log.bad],
                "missing": {step: list(needs) for step, needs in missing.items()},
            }
        )
        return
    errors.print("[bold red]the trajectory cannot be had from these runs[/]")
    _show_missing(missing)


def _show_missing(missing: dict[str, tuple[str, ...]]) -> None:
    for step, needs in missing.items():
        for need in needs:
            errors.print(f"[yellow]{_STEPS[step]} needs[/] {need}", soft_wrap=True, highlight=False)


def _show(
    log: RunLog, found: Recipe, said: list[dict[str, Any]], plans: list[dict[str, Any]]
) -> None:
    from rich.table import Table

    say(f"{log!r}: L(N, S, B) is off by {found.trajectory.rms:.2%}")
    level = f"{found.confidence:.0%} interval over runs"
    table = Table("constant", "value", level)
    for name, each in found.constants.items():
        table.add_row(name, f"{each.value:.4g}", f"{each.low:.3g} to {each.high:.3g}")
    for label, law in (("L(N)", found.size), ("L(D)", found.data)):
        if law is not None:
            for name, each in law.parameters.items():
                table.add_row(
                    f"{name} of {label}", f"{each.value:.4g}", f"{each.low:.3g} to {each.high:.3g}"
                )
    console.print(table)
    for curve in said:
        least = curve["minimum_loss"]
        far = curve["times_beyond_the_runs"]
        say(
            f"N = {curve['N']:,.0f}, B = {curve['B']:,.0f}: it would end at {least['value']:.4g} "
            f"({least['low']:.4g} to {least['high']:.4g})"
            + (f"; {far:.3g} times beyond the runs" if far > 1.0000001 else "")
        )
        table = Table("step", "loss", level, "of one run")
        for row in curve["curve"]:
            table.add_row(
                f"{row['step']:,.0f}",
                f"{row['loss']:.4f}",
                f"{row['low']:.4f} to {row['high']:.4f}",
                f"{row['new_run_low']:.4f} to {row['new_run_high']:.4f}",
            )
        console.print(table)
    for plan in plans:
        say(f"N = {plan['N']:,.0f} to loss {plan['loss']:g}")
        table = Table("", "value", level)
        for name in ("batch", "steps", "tokens", "min_steps", "min_tokens", "critical_batch"):
            value = plan[name]
            table.add_row(
                name.replace("_", " "),
                count(value["value"]),
                f"{count(value['low'])} to {count(value['high'])}",
            )
        console.print(table)
    _show_missing(found.missing)
    for warning in found.warnings:
        warn(warning)

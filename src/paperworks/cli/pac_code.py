"""``paperworks pac-code``: prediction sets for a person's own generated programs."""

from __future__ import annotations

import json as json_module
import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paperworks.cli.common import Json, console, errors, print_json, user_errors

if TYPE_CHECKING:
    from paperworks.statistics import PACCodeSets, ScoredProgram

app = typer.Typer(
    help="Programs with holes that contain the true program, with a PAC guarantee.",
    no_args_is_help=True,
)

Programs = Annotated[
    Path,
    typer.Argument(
        help="JSON lines: tokens, logprobs, target, and prompt or prefix where wanted; .gz is fine."
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Let this model write the programs: a name known here, a folder, or owner/name. The "
        "lines then need prompt (and target) only.",
    ),
]
MaxTokens = Annotated[int, typer.Option(help="With --model: most tokens of a program.")]
Stop = Annotated[
    list[str] | None,
    typer.Option(help=r"With --model: ends a program; may be repeated. Default: a line break."),
]
Keep = Annotated[
    Path | None, typer.Option(help="With --model: keep the scored programs as JSON lines.")
]


class Method(StrEnum):
    """How to choose what to cut."""

    MILP = "milp"
    GREEDY = "greedy"
    STATEMENTS = "statements"
    UNIFORM = "uniform"


class Language(StrEnum):
    """Of the programs."""

    PYTHON = "python"
    SQL = "sql"


class Unparsed(StrEnum):
    """What becomes of a program that does not parse."""

    ERROR = "error"
    HOLE = "hole"


@app.command()
def calibrate(
    programs: Programs,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where the calibration goes, as JSON.")
    ],
    epsilon: Annotated[float, typer.Option(help="Largest probability of a miss.")] = 0.1,
    delta: Annotated[
        float, typer.Option(help="Largest probability that the guarantee fails.")
    ] = 0.05,
    max_holes: Annotated[int, typer.Option(help="Most holes in a program.")] = 3,
    method: Annotated[Method, typer.Option(help="How to choose the holes.")] = Method.MILP,
    language: Annotated[Language, typer.Option(help="Of the programs.")] = Language.PYTHON,
    dialect: Annotated[str, typer.Option(help="Of SQL, as sqlglot names it.")] = "",
    unparsed: Annotated[
        Unparsed, typer.Option(help="For a generated program that does not parse.")
    ] = Unparsed.ERROR,
    jobs: Annotated[int, typer.Option(help="Programs in parallel.")] = 1,
    model: ModelName = None,
    max_tokens: MaxTokens = 64,
    stop: Stop = None,
    keep: Keep = None,
    json: Json = False,
) -> None:
    """Find the threshold with which the sets keep their promise.

    Each line of PROGRAMS is a generated program with the natural log-probability of each token,
    and the true program: {"tokens": ["f", "(x)"], "logprobs": [-0.1, -1.2], "target": "f(y)"}.
    "prefix" is code before the tokens that is certain. Programs must be independent draws of what
    the sets will be used on.
    """
    from paperworks.statistics import PACCodeSets

    with user_errors(ValueError, OSError, ImportError, RuntimeError):
        sets = PACCodeSets(
            epsilon,
            delta,
            max_holes=max_holes,
            method=method.value,
            language=language.value,
            dialect=dialect,
            unparsed=unparsed.value,
            n_jobs=jobs,
        )
        listed = _programs(programs, sets, model, max_tokens, stop, keep, truth=True)
        sets.fit(listed)
        sets.save(output)
    at = sets.thresholds_.tolist().index(sets.threshold_) if sets.threshold_ >= 0 else None
    removed = 1.0 if at is None else float(sets.removed_at_[at])
    if json:
        print_json(
            {
                "calibration": str(output),
                "programs": sets.n_calibration_,
                "epsilon": epsilon,
                "delta": delta,
                "threshold": None if at is None else sets.threshold_,
                "misses": sets.misses_,
                "allowed_misses": sets.allowed_misses_,
                "miss_bound": sets.miss_bound_,
                "removed": removed,
            }
        )
        return
    level = "none: every set is one hole" if at is None else f"{sets.threshold_:.4g}"
    console.print(
        f"{sets.n_calibration_} programs, threshold {level}\n"
        f"misses {sets.misses_}, {sets.allowed_misses_} allowed; with confidence {1 - delta:.4g} "
        f"a set misses with probability at most {sets.miss_bound_:.4g}, asked for {epsilon:.4g}\n"
        f"removed on average: {removed:.1%} of the nodes\n"
        f"written: {output}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


@app.command()
def predict(
    programs: Programs,
    calibration: Annotated[
        Path, typer.Option("--calibration", "-c", help="What `calibrate` wrote.")
    ],
    hole: Annotated[str, typer.Option(help="How a hole is printed.")] = "??",
    model: ModelName = None,
    max_tokens: MaxTokens = 64,
    stop: Stop = None,
    keep: Keep = None,
    json: Json = False,
) -> None:
    """Print each generated program with holes where the model was unsure.

    PROGRAMS as for `calibrate`; no target is needed. Where a line has one, --json says whether it
    is in the set.
    """
    from paperworks.statistics import PACCodeSets

    with user_errors(ValueError, OSError, ImportError, RuntimeError):
        sets = PACCodeSets.load(calibration)
        listed = _programs(programs, sets, model, max_tokens, stop, keep, truth=False)
        found = sets.predict(listed)
        rows: list[dict[str, Any]] = []
        for program, partial in zip(listed, found, strict=True):
            row: dict[str, Any] = {
                "code": partial.code(hole),
                "holes": partial.holes,
                "removed": partial.removed,
                "nll": partial.nll,
            }
            if program.target is not None:
                row["contains_target"] = partial.contains(program.target)
            rows.append(row)
    if json:
        threshold = None if sets.threshold_ == -math.inf else sets.threshold_
        print_json(
            {
                "threshold": threshold,
                "epsilon": sets.epsilon,
                "delta": sets.delta,
                "programs": rows,
            }
        )
        return
    for at, row in enumerate(rows):
        if at and any("\n" in each["code"] for each in rows):
            typer.echo("")
        typer.echo(row["code"])


def _programs(
    path: Path,
    sets: PACCodeSets,
    model: str | None,
    max_tokens: int,
    stop: list[str] | None,
    keep: Path | None,
    *,
    truth: bool,
) -> list[ScoredProgram]:
    """The programs of a file, or those that a model writes; each with its line where one is bad."""
    from paperworks.statistics import read_programs, write_programs

    if model is None:
        if keep is not None:
            raise ValueError("--keep needs --model: the programs of the file are scored already")
        lines, listed = [], []
        for line, program in read_programs(path):
            lines.append(line)
            listed.append(program)
    else:
        lines, listed = _scored(path, model, max_tokens, stop)
        if keep is not None:
            write_programs(keep, listed)
            errors.print(f"kept: {keep}", soft_wrap=True, highlight=False, markup=False)
    if not listed:
        raise ValueError(f"{path} holds no program")
    _check_lines(path, lines, listed, sets, truth)
    return listed


def _check_lines(
    path: Path, lines: list[int], listed: list[ScoredProgram], sets: PACCodeSets, truth: bool
) -> None:
    """Raise for the first program that does not parse, naming its line."""
    from paperworks.statistics.pac_code.languages import parse
    from paperworks.statistics.pac_code.tree import ProgramError

    for line, program in zip(lines, listed, strict=True):
        what = "the generated program"
        try:
            if sets.unparsed == "error":
                parse(program.code, sets.language, sets.dialect)
            what = "the target"
            if program.target is not None:
                parse(program.target, sets.language, sets.dialect)
            elif truth:
                raise ProgramError("it is missing; calibration needs the true program")
        except ProgramError as error:
            way_out = "; leave it out, or --unparsed hole" if "generated" in what else ""
            raise ValueError(f"{path}, line {line}: {what}: {error}{way_out}") from None


def _scored(
    path: Path, model: str, max_tokens: int, stop: list[str] | None
) -> tuple[list[int], list[ScoredProgram]]:
    """Programs that a model writes for the prompts of a file."""
    import gzip

    from paperworks.data import load_model
    from paperworks.statistics import score_programs

    opener: Any = gzip.open if path.suffix == ".gz" else open
    lines: list[int] = []
    tasks: list[dict[str, Any]] = []
    with opener(path, "rt", encoding="utf-8-sig") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.strip():
                continue
            try:
                task = json_module.loads(raw)
                if not isinstance(task, dict) or not isinstance(task.get("prompt"), str):
                    raise ValueError(f"with --model a line needs a prompt (a string): {raw:.80}")
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
            lines.append(number)
            tasks.append(task)
    if not tasks:
        raise ValueError(f"{path} holds no prompt")
    loaded, tokenizer = load_model(model)
    ends = [end.replace(r"\n", "\n").replace(r"\t", "\t") for end in stop] if stop else ["\n"]
    listed = score_programs(
        loaded,
        tokenizer,
        [task["prompt"] for task in tasks],
        targets=[task.get("target") for task in tasks],
        prefixes=[task.get("prefix") or "" for task in tasks],
        max_tokens=max_tokens,
        stop=ends,
    )
    return lines, listed

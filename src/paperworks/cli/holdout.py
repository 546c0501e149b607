"""``paperworks holdout``: a holdout that a team shares as a file, with a budget."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paperworks.cli.common import Json, console, errors, print_json, user_errors

if TYPE_CHECKING:
    from paperworks.statistics.adaptive import Status
    from paperworks.statistics.adaptive.mechanisms import Mechanism

app = typer.Typer(
    help="Share a holdout as a file that answers adaptive questions until its budget is spent.",
    no_args_is_help=True,
)

_File = Annotated[Path, typer.Argument(help="The state file.")]
_SOURCES = {"holdout": "the holdout", "train": "the training set", "model": "the model"}
_PLANNED = "splitting, laplace, gaussian, thresholdout or multiplicative-weights."


@contextmanager
def _plain_errors() -> Iterator[None]:
    from paperworks.statistics.adaptive import BudgetExhausted, LedgerError

    with user_errors(ValueError, OSError, LedgerError, BudgetExhausted):
        yield


@app.command()
def init(
    state: Annotated[Path, typer.Argument(help="The state file to make.")],
    holdout: Annotated[Path, typer.Option(help="The holdout, a CSV file with a header.")],
    train: Annotated[
        Path | None, typer.Option(help="The training set, with the same columns.")
    ] = None,
    mechanism: Annotated[str, typer.Option(help=f"One of {_PLANNED}")] = "thresholdout",
    queries: Annotated[int | None, typer.Option(help="How many queries will be asked.")] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="Largest error that is promised, for values in [0, 1].")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Probability that the promise holds.")] = 0.95,
    domain: Annotated[
        Path | None,
        typer.Option(help="All possible rows, a CSV file; for multiplicative-weights."),
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(help="Thresholdout by hand: answers that the holdout may give itself."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Thresholdout by hand: how far the training set may be off")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Thresholdout by hand: the scale of the answers' noise.")
    ] = None,
    json: Json = False,
) -> None:
    """Make a state file from tables.

    Give --queries, --tolerance or both, and the mechanism is planned so that its error is proven.
    With --queries, --budget, --threshold and --scale Thresholdout takes your parameters, and says
    what they prove. The tables are kept in the state file: who can read it can read them.
    """
    with _plain_errors():
        from paperworks.statistics.adaptive import FiniteDomain, Thresholdout, plan_holdout
        from paperworks.statistics.adaptive.shared import SharedHoldout, read_table

        table = read_table(holdout)
        by_hand = {"budget": budget, "threshold": threshold, "scale": scale}
        made: Mechanism
        if any(value is not None for value in by_hand.values()):
            missing = [f"--{name}" for name, value in by_hand.items() if value is None]
            if queries is None:
                missing.append("--queries")
            if missing or mechanism != "thresholdout" or tolerance is not None:
                raise ValueError(
                    "thresholdout by hand takes --queries, --budget, --threshold and --scale, and "
                    f"no --tolerance; missing: {', '.join(missing) or 'none'}"
                )
            assert queries is not None
            assert budget is not None
            assert threshold is not None
            assert scale is not None
            made = Thresholdout(queries, budget, threshold, scale)
        else:
            made = plan_holdout(
                len(table),
                queries=queries,
                tolerance=tolerance,
                confidence=confidence,
                mechanism=mechanism,
                domain=None if domain is None else FiniteDomain(read_table(domain)),
            )
        shared = SharedHoldout.create(
            state,
            made,
            table,
            None if train is None else read_table(train),
            confidence=confidence,
        )
        status = shared.guard.status()
    if json:
        print_json({"state": str(state), **_as_json(status)})
        return
    console.print(f"made {state}", highlight=False, markup=False, soft_wrap=True)
    _show(status)


@app.command()
def ask(
    state: _File,
    query: Annotated[
        str,
        typer.Argument(help="An expression of columns, such as 'prediction == label'."),
    ],
    holdout_columns: Annotated[
        Path | None,
        typer.Option(help="Further columns for the holdout's rows, a CSV file: predictions, say."),
    ] = None,
    train_columns: Annotated[
        Path | None, typer.Option(help="The same columns for the training set's rows.")
    ] = None,
    low: Annotated[float, typer.Option(help="Smallest value that the query can take.")] = 0.0,
    high: Annotated[float, typer.Option(help="Largest value that the query can take.")] = 1.0,
    json: Json = False,
) -> None:
    """Ask for the mean of an expression over the distribution that the holdout is from.

    The expression gives a value between --low and --high for each row: columns, numbers, texts in
    quotes, + - * / % **, comparisons, and/or/not, and abs, clip, exp, log, max, min, sign, sqrt,
    where. col("two words") is a column whose name is not a plain word.

    Exit status 2 also where the budget is spent.
    """
    with _plain_errors():
        from paperworks.statistics.adaptive.shared import SharedHoldout, read_table

        shared = SharedHoldout(state)
        files = {"train": train_columns, "holdout": holdout_columns}
        extra = {name: read_table(path) for name, path in files.items() if path is not None}
        answer = shared.ask(query, low=low, high=high, extra=extra)
    if json:
        print_json(asdict(answer))
        return
    console.print(f"{answer.value:.6g}", highlight=False)
    bound = min(answer.error_bound, high - low)
    errors.print(
        f"from {_SOURCES[answer.source]}, {_within(answer.error_bound, high - low, bound)}; "
        f"{answer.queries_left:,} queries left, {answer.budget_left:,} of them may be the "
        "holdout's own",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def status(
    state: _File,
    last: Annotated[int, typer.Option(help="Show so many of the latest answers.")] = 5,
    json: Json = False,
) -> None:
    """Show what is spent, how many more queries the accuracy lasts for, and the latest answers."""
    with _plain_errors():
        from paperworks.statistics.adaptive.shared import SharedHoldout

        if last < 0:
            raise ValueError(f"--last must be >= 0, got {last}")
        shared = SharedHoldout(state)
        found, history = shared.guard.status(), shared.guard.history(last)
    if json:
        print_json({**_as_json(found), "columns": shared.columns, "answers": history})
        return
    _show(found)
    console.print(f"columns: {', '.join(shared.columns)}", highlight=False, markup=False)
    if history:
        from rich.table import Table
        from rich.text import Text

        table = Table("#", "asked", "query", "answer", "from", "cost")
        for row in history:
            table.add_row(
                str(row["number"]),
                row["asked"],
                Text(row["name"]),
                f"{row['value']:.6g}",
                row["source"],
                str(row["cost"]),
            )
        console.print(table)


def _as_json(found: Status) -> dict[str, Any]:
    values = asdict(found)
    # JSON has no infinity; a bound of 1 or more promises nothing anyway.
    values["error_bound"] = min(values["error_bound"], 1.0)
    return values


def _within(bound: float, width: float, shown: float) -> str:
    if bound >= width:
        return "no accuracy is proven"
    return f"within {shown:.3g} of the truth"


def _show(found: Status) -> None:
    console.print(
        f"{found.mechanism} over {found.samples:,} samples: "
        f"{found.queries_asked:,} queries asked, {found.queries_left:,} left; "
        f"{found.budget_spent:,} answers from the holdout, {found.budget_left:,} left",
        highlight=False,
        soft_wrap=True,
    )
    if found.error_bound >= 1:
        console.print(
            "[yellow]no accuracy is proven for these parameters[/]; "
            "use --tolerance for a promise, or more samples",
            highlight=False,
            soft_wrap=True,
        )
    else:
        console.print(
            f"promise: with probability {found.confidence:g} no answer is further than "
            f"{found.error_bound:.3g} from the truth (of a range of 1)",
            highlight=False,
            soft_wrap=True,
        )

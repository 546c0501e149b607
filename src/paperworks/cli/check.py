"""``paperworks check``: run claims and say what holds."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from paperworks import catalog
from paperworks.catalog import UnknownPaperError
from paperworks.cli.common import Json, console, errors, print_json, user_errors, write_report

if TYPE_CHECKING:
    from paperworks.experiment import Claim

Papers = Annotated[
    list[str] | None, typer.Argument(help="Ids of papers, or of single claims (paper/claim).")
]
Family = Annotated[str | None, typer.Option(help="Only the papers of this family.")]
StorePath = Annotated[
    Path | None,
    typer.Option("--store", help="The file of results.", envvar="PAPERWORKS_STORE"),
]


class TierName(StrEnum):
    """The tiers of a claim, for the command line."""

    QUICK = "quick"
    FULL = "full"


class EngineName(StrEnum):
    """The engines, for the command line."""

    LOCAL = "local"
    RAY = "ray"


class DeviceName(StrEnum):
    """The devices, for the command line."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


def check(
    papers: Papers = None,
    every: Annotated[bool, typer.Option("--all", help="Every claim there is.")] = False,
    family: Family = None,
    tier: Annotated[
        TierName, typer.Option(help="Embedded data and seconds, or real data and minutes.")
    ] = TierName.QUICK,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            help="Trials at once. Default: one for each core, but one in all for the full tier, "
            "whose trials use all cores, and on a GPU.",
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Seeds per claim, in place of the claim's own.")
    ] = None,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh",
            help="Run again what the store has already, and make anew what trials share, such as "
            "trained networks.",
        ),
    ] = False,
    engine: Annotated[
        EngineName, typer.Option(help="This machine, or a Ray cluster (RAY_ADDRESS).")
    ] = EngineName.LOCAL,
    device: Annotated[DeviceName, typer.Option(help="Where trials run.")] = DeviceName.AUTO,
    report: Annotated[
        Path | None, typer.Option(help="Write the HTML report of these claims to this file.")
    ] = None,
    store: StorePath = None,
    as_json: Json = False,
) -> None:
    """Run the claims of papers beside their contenders and give a verdict on each.

    Finished trials are kept, so a second run only does what is missing, and Ctrl-C loses nothing
    but the trials under way. The exit status is 0 when every trial ran, whatever the verdicts,
    and 1 when one failed or could not run.
    """
    from paperworks.cli.live import Progress, verdict_table
    from paperworks.experiment.machine import resolve_device
    from paperworks.experiment.runner import execute, extra_with, missing, plan
    from paperworks.experiment.store import Store, StoreError
    from paperworks.report import collect, render

    with user_errors(UnknownPaperError, ValueError, ModuleNotFoundError, StoreError):
        chosen = select(papers or [], every, family)
        place = resolve_device(device)
        if jobs is None:
            jobs = os.cpu_count() or 1 if tier == TierName.QUICK and place == "cpu" else 1
        offered = [claim for claim in chosen if claim.tier(tier) is not None]
        if not offered:
            raise ValueError(f"none of these claims has a {tier} tier; try the other one")
        lacking = {claim.id: names for claim in offered if (names := missing(claim))}
        for claim, names in lacking.items():
            extras = ",".join(sorted({extra_with(name) for name in names}))
            errors.print(
                f"[yellow]{claim} cannot run:[/] {', '.join(names)} missing;",
                escape(f"pip install 'paperworks[{extras}]'"),
                soft_wrap=True,
                highlight=False,
            )
        able = [claim for claim in offered if claim.id not in lacking]
        trials = plan(able, tier=tier, seeds=seeds, device=place)
        if fresh:
            from paperworks.claims._kept import SINCE  # loads torch

            # By the environment, since that is what reaches the processes of trials.
            os.environ[SINCE] = str(time.time())
        with Store(store) as kept:
            finished = execute(trials, kept, jobs=jobs, engine=engine, fresh=fresh)
            done = 0
            try:
                with Progress(able, trials, kept, tier, place) as progress:
                    for each in finished:
                        progress.update(each)
                        done += 1
            except KeyboardInterrupt:
                with contextlib.suppress(KeyboardInterrupt):
                    finished.close()
                errors.print(
                    f"[yellow]stopped:[/] {done} of {len(trials)} trials are kept; "
                    "the same command goes on from there"
                )
                raise typer.Exit(130) from None
            entries = collect(offered, kept, tier=tier, device=place)
        if as_json:
            print_json([entry.to_dict() for entry in entries])
        else:
            console.print(verdict_table(entries))
        if report is not None:
            write_report(report, render(entries, "html"))
    failures = [failure for entry in entries for failure in entry.failures]
    for key, record in failures:
        lines = record.outcome.error.strip().splitlines() or ["no message"]
        errors.print(
            f"[red]{key.claim}, seed {key.seed}: {record.outcome.status}:[/]",
            escape(lines[-1] if record.outcome.status == "error" else lines[0]),
            soft_wrap=True,
            highlight=False,
        )
    if failures or lacking:
        raise typer.Exit(1)


def select(papers: Sequence[str], every: bool, family: str | None) -> list[Claim]:
    """The claims that the arguments name.

    Raises
    ------
    ValueError, UnknownPaperError
        If nothing or too much was named, or something that does not exist.
    """
    from paperworks.experiment import registry

    if papers and (every or family):
        raise ValueError("name papers, or give --all or --family, not both")
    if not papers and not every and not family:
        raise ValueError("name a paper, or give --all; `paperworks list` shows the papers")
    if not papers:
        among = {paper.id for paper in catalog.select(family=family)}
        papers = [id for id in registry.papers() if id in among]
        if not papers:
            raise ValueError(f"no paper of the family {family!r} has a claim yet")
    return [claim for name in papers for claim in _named(name)]


def _named(name: str) -> Iterator[Claim]:
    from paperworks.experiment import registry

    paper, _, wanted = name.partition("/")
    if catalog.get(paper).id not in registry.papers():
        raise ValueError(f"{paper} has no claim yet; `paperworks list --status ready`")
    found = registry.claims(paper)
    chosen = [claim for claim in found if wanted in ("", claim.name)]
    if not chosen:
        names = ", ".join(claim.id for claim in found)
        raise ValueError(f"there is no claim {name!r}; {paper} has {names}")
    yield from chosen

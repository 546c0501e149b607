"""Write the README's table of papers and docs/verdicts.md from the catalogue and the store.

``python tools/readme.py`` writes both; ``--check`` only tells whether the papers of the README's
table and their statuses are those of the catalogue, and asks no store, so that it can run anywhere.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

from paperworks import catalog
from paperworks.experiment import registry
from paperworks.experiment.store import Store
from paperworks.experiment.verdict import conclusions
from paperworks.report import Entry, latest

ROOT = Path(__file__).parent.parent
README, VERDICTS = ROOT / "README.md", ROOT / "docs" / "verdicts.md"
BEGIN, END = "<!-- papers: written by `make readme` -->", "<!-- papers: end -->"


def main() -> None:
    text = README.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    table, tail = rest.split(END)
    if "--check" in sys.argv[1:]:
        rows = dict(re.findall(r"^\| \[`([^`]+)`\]\([^)]*\) \| [^|]+ \| (\w+) \|", table, re.M))
        wanted = {paper.id: paper.status for paper in catalog.load()}
        if rows != wanted:
            differing = sorted(set(rows.items()) ^ set(wanted.items()))
            sys.exit(f"README's table is out of date ({differing[:4]} ...): run `make readme`")
        return
    with Store() as store:
        entries = {paper: latest(registry.claims(paper), store) for paper in registry.papers()}
    README.write_text(f"{head}{BEGIN}\n\n{papers_table(entries)}\n{END}{tail}", encoding="utf-8")
    VERDICTS.write_text(verdicts(entries), encoding="utf-8")


def papers_table(entries: dict[str, list[Entry]]) -> str:
    """The table: papers that are there first, with how many of their claims hold."""
    there = [paper for paper in catalog.load() if paper.status != "planned"]
    planned = [paper for paper in catalog.load() if paper.status == "planned"]
    lines = ["| paper | family | status | title | its claims here |", "|---|---|---|---|---|"]
    lines += [
        f"| [`{paper.id}`](docs/papers/{paper.id}.md) | {paper.family} | {paper.status} "
        f"| {paper.title} | {tally(entries[paper.id])} |"
        for paper in there
    ]
    lines += [
        "",
        f"A claim counts by its full tier where that was run to its end. {measured(entries)} "
        "Each claim with its interval: [docs/verdicts.md](docs/verdicts.md).",
        "",
        f"<details><summary>{len(planned)} papers are planned</summary>",
        "",
        "| paper | family | status | title |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| [`{paper.id}`]({paper.url}) | {paper.family} | {paper.status} | {paper.title} |"
        for paper in planned
    ]
    return "\n".join([*lines, "", "</details>", ""])


def tally(entries: list[Entry]) -> str:
    """How many claims have which verdict."""
    last = {entry.claim.id: entry for entry in entries}  # the full tier comes after the quick one
    found = Counter(entry.verdict.conclusion for entry in last.values())
    many = {each: each.replace("holds", "hold").replace("does", "do") for each in conclusions()}
    return (
        ", ".join(
            f"{found[each]} {each if found[each] == 1 else many[each]}"
            for each in conclusions()
            if found[each]
        )
        or "–"
    )


def measured(entries: dict[str, list[Entry]]) -> str:
    """When and on what."""
    every = [entry for group in entries.values() for entry in group]
    machines = {f"{e.machine['processor']}, {e.machine['cores']} cores" for e in every}
    days = sorted({entry.finished[:10] for entry in every}) or ["never"]
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"Measured {when} on {' and '.join(sorted(machines)) or 'no machine yet'}."


def verdicts(entries: dict[str, list[Entry]]) -> str:
    """The page with a row for each claim and tier."""
    lines = [
        "# Verdicts",
        "",
        "Written by `make readme` from the results of one machine; `paperworks check PAPER` gives "
        "yours. [How a verdict is made](claims.md). An effect is against the strongest contender, "
        "with a 95 % interval over seeds; above 1× or above 0 it speaks for the claim. A tier is "
        "here once it has run to its end; a commit is named where the code has changed since. "
        + measured(entries),
        "",
    ]
    for paper in catalog.load():
        if entries.get(paper.id):
            lines += [
                f"## {paper.id}",
                "",
                f"[{paper.title}](papers/{paper.id}.md)",
                "",
                "| claim | tier | verdict | effect | needs |",
                "|---|---|---|---|---|",
                *map(row, entries[paper.id]),
                "",
            ]
    return "\n".join(lines)


def row(entry: Entry) -> str:
    """One claim in one tier."""
    tier = entry.tier if entry.current else f"{entry.tier}, {entry.machine['commit']}"
    statement = entry.claim.statement.replace("|", "\\|")
    return (
        f"| **{entry.claim.name}**: {statement} | {tier} | {entry.verdict.conclusion} "
        f"| {entry.effect_text} ({entry.interval_text}) | {entry.needed_text} |"
    )


if __name__ == "__main__":
    main()

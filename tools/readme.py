"""Write the README's table of papers from the catalogue and the store, or check it.

``python tools/readme.py`` writes the table; ``--check`` only tells whether its papers and their
statuses are those of the catalogue, and asks no store, so that it can run anywhere.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path

from paperworks import catalog
from paperworks.experiment import registry
from paperworks.experiment.store import Store
from paperworks.report import Entry, collect

README = Path(__file__).parent.parent / "README.md"
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
    README.write_text(f"{head}{BEGIN}\n\n{papers_table()}\n{END}{tail}", encoding="utf-8")


def papers_table() -> str:
    """The table: papers that are there first, with the verdicts that the store has."""
    entries: dict[str, list[Entry]] = defaultdict(list)
    with Store() as store:
        for paper in registry.papers():
            entries[paper] = [
                entry for entry in collect(registry.claims(paper), store) if entry.complete
            ]
    machines = {
        f"{entry.machine['processor']}, {entry.machine['cores']} cores"
        for group in entries.values()
        for entry in group
    }
    there = [paper for paper in catalog.load() if paper.status != "planned"]
    planned = [paper for paper in catalog.load() if paper.status == "planned"]
    head = "| paper | family | status | {} |\n|---|---|---|---|"
    last = max((entry.finished for group in entries.values() for entry in group), default="never")
    measured = f"Measured {last[:10]} on {' and '.join(sorted(machines)) or 'no machine yet'}."
    lines = [head.format("what was found (quick tier unless said)")]
    lines += [
        f"| [`{paper.id}`](docs/papers/{paper.id}.md) | {paper.family} | {paper.status} "
        f"| {'; '.join(map(_finding, entries[paper.id])) or '–'} |"
        for paper in there
    ]
    lines += ["", measured, "", f"<details><summary>{len(planned)} papers are planned</summary>"]
    lines += ["", head.format("title")]
    lines += [
        f"| [`{paper.id}`]({paper.url}) | {paper.family} | {paper.status} | {paper.title} |"
        for paper in planned
    ]
    return "\n".join([*lines, "", "</details>", ""])


def _finding(entry: Entry) -> str:
    tier = " (full tier)" if entry.tier == "full" else ""
    return (
        f"`{entry.claim.name}`{tier} **{entry.verdict.conclusion}**: {entry.effect_text} "
        f"({entry.interval_text})"
    )


if __name__ == "__main__":
    main()

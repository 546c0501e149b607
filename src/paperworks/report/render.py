"""The report as one HTML page, as Markdown or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import jinja2

import paperworks
from paperworks import catalog
from paperworks.experiment.machine import commit
from paperworks.experiment.verdict import conclusions
from paperworks.report.entries import Entry

FORMATS = ("html", "md", "json")

_MARKS = {
    "holds": "✓",
    "holds in part": "◐",
    "inconclusive": "?",
    "does not hold": "✗",
    "not run": "·",
}


def render(entries: Sequence[Entry], format: str = "html") -> str:
    """The entries as text in one of :data:`FORMATS`.

    The HTML page stands alone: its style, script and figures are inside it, and it asks the
    network for nothing.

    Raises
    ------
    ValueError
        If the format is unknown.
    """
    if format == "html":
        return _html(entries)
    if format == "md":
        return _markdown(entries)
    if format == "json":
        return json.dumps([entry.to_dict() for entry in entries], indent=2, ensure_ascii=False)
    raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")


def environment() -> jinja2.Environment:
    """Where the page templates are."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("paperworks.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def _html(entries: Sequence[Entry]) -> str:
    from paperworks.report.figures import figures  # matplotlib is slow to import

    papers = catalog.load()
    return (
        environment()
        .get_template("report.html")
        .render(
            entries=entries,
            figures=figures,
            marks=_MARKS,
            conclusions=conclusions(),
            families=sorted({entry.paper.family for entry in entries}),
            ready=sum(paper.status == "ready" for paper in papers),
            papers=len(papers),
            commit=commit(),
            version=paperworks.__version__,
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            slug=_slug,
            duration=duration,
        )
    )


def _slug(entry: Entry) -> str:
    return f"{entry.claim.id}-{entry.tier}-{entry.device}".replace("/", "-")


def _markdown(entries: Sequence[Entry]) -> str:
    lines = [
        "| claim | tier | verdict | effect | 95 % interval | the paper needs | strongest contender "
        "| time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for entry in entries:
        best = entry.verdict.strongest
        cells = (
            f"`{entry.claim.id}`",
            entry.tier,
            entry.verdict.conclusion,
            entry.effect_text,
            entry.interval_text,
            entry.needed_text,
            best.contender if best else "–",
            duration(entry.seconds) if entry.trials else "–",
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def duration(seconds: float) -> str:
    """Seconds as people say them: ``0.4 s``, ``12 s``, ``3 min 5 s``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"

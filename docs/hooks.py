"""Fill in the pages that the catalogue decides: the list of papers and those not there yet."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

from paperworks import catalog

DOCS = Path(__file__).parent


def on_config(config: Any) -> Any:
    """Put every paper into the navigation, family by family."""
    families = [
        {family: [{paper.id: f"papers/{paper.id}.md"} for paper in catalog.select(family=family)]}
        for family in catalog.families()
    ]
    for item in config.nav:
        if item == {"Papers": "papers"}:
            item["Papers"] = ["papers/index.md", *families]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the list of papers, a page for each paper that has none, and CONTRIBUTING."""
    generated = {"papers/index.md": index()}
    for paper in catalog.load():
        if not (DOCS / "papers" / f"{paper.id}.md").exists():
            generated[f"papers/{paper.id}.md"] = planned(paper)
    contributing = (DOCS.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    generated["contributing.md"] = contributing.replace("](docs/", "](")
    for uri, content in generated.items():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_content(html: str, **context: Any) -> str:
    """Turn formulas into MathML, which browsers draw by themselves: no script, no network."""
    return re.sub(
        r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>',
        lambda found: convert(
            unescape(found[2]), display="inline" if found[1] == "span" else "block"
        ),
        html,
        flags=re.DOTALL,
    )


def index() -> str:
    lines = ["# Papers", "", "| paper | family | status | title |", "|---|---|---|---|"]
    lines += [
        f"| [`{paper.id}`]({paper.id}.md) | {paper.family} | {paper.status} | {paper.title} |"
        for paper in catalog.load()
    ]
    return "\n".join([*lines, ""])


def planned(paper: catalog.Paper) -> str:
    return "\n".join(
        [
            f"# {paper.title}",
            "",
            f"`{paper.id}` · {paper.family} · [arXiv {paper.arxiv}]({paper.url}) ({paper.year})",
            "",
            "!!! note\n    Planned: there is no method yet.",
            "",
            paper.summary,
            "",
            f"**What the paper says.** {paper.claim}",
            "",
        ]
    )

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from paperworks.report import Entry, render
from paperworks.report.figures import figures
from paperworks.report.render import duration

VOID = {"meta", "input", "br", "link", "img"}


class Page(HTMLParser):
    """Checks that tags nest, and collects ids and what would be asked from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.asked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if named.get("id"):
            self.ids.append(str(named["id"]))
        for name in ("src", "data", "xlink:href"):
            if name in named and not str(named[name]).startswith("#"):
                self.asked.append(f"{tag} {name}={named[name]}")
        if tag == "link":
            self.asked.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def test_the_page_stands_alone_and_is_well_formed(entries: list[Entry]) -> None:
    html = render(entries)
    page = Page()
    page.feed(html)
    assert page.open == []
    assert page.asked == []
    assert len(page.ids) == len(set(page.ids))
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_the_page_says_it_all(entries: list[Entry]) -> None:
    html = render(entries)
    assert "paperworks check presto/dear &lt;&amp;&gt; --tier quick --device cpu" in html
    assert "Costs 1 &lt; 2 &amp; more." in html
    assert "dear <&>" not in html
    assert "RuntimeError: seed 3 went wrong" in html
    assert "1 of 5 trials failed" in html
    assert "it has not run with this code" in html
    assert html.count("<section") == 4
    assert html.count("<svg") == 3 + 4  # effects of three, curves of 2 + 1 + 1 works


def test_figures_take_the_page_s_colour_and_keep_their_ids_apart(entries: list[Entry]) -> None:
    drawn = [svg for entry in entries for svg in figures(entry)]
    assert figures(entries[3]) == []
    for svg in drawn:
        assert svg.startswith('<svg role="img" aria-label="')
        assert "currentColor" in svg
        assert "#010203" not in svg
        assert "viewBox" in svg
        assert not re.search(r'<svg[^>]* (width|height)="', svg)
    clips = [id for svg in drawn for id in set(re.findall(r'clipPath id="([^"]+)"', svg))]
    assert len(clips) == len(set(clips)) > 0
    assert figures(entries[0]) == figures(entries[0])


def test_markdown_has_a_row_per_entry(entries: list[Entry]) -> None:
    lines = render(entries, "md").splitlines()
    assert len(lines) == 2 + 4
    assert len({line.count(" | ") for line in lines[2:]}) == 1
    assert lines[2].startswith("| `lion-k/cheap` | quick | holds | 2.")


def test_json_is_the_entries(entries: list[Entry]) -> None:
    assert json.loads(render(entries, "json")) == json.loads(
        json.dumps([entry.to_dict() for entry in entries])
    )


def test_an_unknown_format_is_named(entries: list[Entry]) -> None:
    with pytest.raises(ValueError, match="format must be one of html, md, json, got 'pdf'"):
        render(entries, "pdf")


def test_a_report_of_nothing_is_still_a_page() -> None:
    page = Page()
    page.feed(render([]))
    assert page.open == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (12.4, "12 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text

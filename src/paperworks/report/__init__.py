"""What the store knows, for people: a self-contained HTML page, Markdown or JSON."""

from paperworks.report.entries import Entry, collect, latest
from paperworks.report.render import FORMATS, render

__all__ = ["Entry", "collect", "latest", "render", "FORMATS"]

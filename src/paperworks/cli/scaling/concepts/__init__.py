"""``paperworks scaling concepts``: concepts in a corpus, and what follows from their counts."""

from __future__ import annotations

import typer

from paperworks.cli.scaling.concepts import count, fit, tail

app = typer.Typer(
    name="concepts",
    help="Count concepts in an image-text corpus, fit accuracy to them, find the long tail.",
    no_args_is_help=True,
)
app.command("count")(count.count)
app.command("fit")(fit.fit)
app.command("tail")(tail.tail)

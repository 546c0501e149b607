"""``paperworks scaling``: how results grow, from a person's own runs."""

from __future__ import annotations

import typer

from paperworks.cli.scaling import (
    concepts,
    curve,
    difficulty,
    encoder_decoder,
    laws,
    prune,
    recipe,
)

app = typer.Typer(help="Scaling laws from your own runs.", no_args_is_help=True)
app.command("laws")(laws.list_laws)
app.command("fit")(laws.fit)
app.command("compare")(laws.compare)
app.command("recipe")(recipe.recipe)
app.command("encoder-decoder")(encoder_decoder.encoder_decoder)
app.command("curve")(curve.curve)
app.command("prune")(prune.prune)
app.command("difficulty")(difficulty.difficulty)
app.add_typer(concepts.app, name="concepts")

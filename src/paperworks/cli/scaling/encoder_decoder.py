"""``paperworks scaling encoder-decoder``: the sizes of both halves, from a person's own models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paperworks.cli.common import (
    Json,
    console,
    errors,
    print_json,
    say,
    show_left_out,
    user_errors,
    warn,
)

if TYPE_CHECKING:
    from paperworks.scaling import BleuLaw, Comparison, EncoderDecoderLaw
    from paperworks.scaling.nmt.records import TranslationRuns
    from paperworks.scaling.nmt.split import Split

_ALL = "all rows"


@dataclass(frozen=True)
class _OfSet:
    """What is told of one test set."""

    law: EncoderDecoderLaw
    rivals: Comparison | str  # or why there are none
    splits: list[Split]
    bleu: BleuLaw | None
    bleu_rivals: Comparison | None


def encoder_decoder(
    runs: Annotated[
        Path, typer.Argument(help="A table of models: .csv, .tsv or .jsonl; .gz is fine.")
    ],
    budget: Annotated[
        list[float] | None,
        typer.Option(help="Parameters to divide between both halves. May be given several times."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Reference sizes, as 2.5e8,3e8. Default: the models' geometric means."),
    ] = None,
    mix: Annotated[
        str | None,
        typer.Option(help="Weights of the test sets in a mixture, as news=2,web=1."),
    ] = None,
    encoder: Annotated[str, typer.Option(help="Column: encoder's parameters.")] = "encoder_params",
    decoder: Annotated[str, typer.Option(help="Column: decoder's parameters.")] = "decoder_params",
    loss: Annotated[str, typer.Option(help="Column: test loss.")] = "loss",
    test_set: Annotated[str, typer.Option(help="Column: test set, if there is one.")] = "test_set",
    bleu: Annotated[str, typer.Option(help="Column: BLEU, if there is one.")] = "bleu",
    hold_out: Annotated[
        float, typer.Option(help="Share of the models that is held out and predicted.")
    ] = 0.25,
    resamples: Annotated[int, typer.Option(help="Bootstrap draws of the models.")] = 1000,
    confidence: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad line.")] = False,
    json: Json = False,
) -> None:
    """Loss of encoder-decoder models in the sizes of both halves, and how to divide a budget.

    RUNS has a row for each model and test set: parameters of the encoder and of the decoder without
    embeddings and softmax, the test loss, and if you have them the test set's name and BLEU. Each
    test set gets a law of its own, beside one in total parameters on held-out models.
    """
    import numpy as np

    from paperworks.scaling.nmt.bleu import BleuLaw, compare_bleu_laws
    from paperworks.scaling.nmt.composition import fit_test_sets
    from paperworks.scaling.nmt.law import compare_with_total
    from paperworks.scaling.nmt.records import read_translation_runs

    with user_errors(ValueError, OSError):
        bars = _pair(reference)
        weights = _weights(mix)
        table = read_translation_runs(
            runs, encoder=encoder, decoder=decoder, loss=loss, test_set=test_set, bleu=bleu,
            strict=strict,
        )  # fmt: skip
        names = table.test_set if table.test_set is not None else np.full(len(table.loss), _ALL)
        common: dict[str, Any] = {"resamples": resamples, "confidence": confidence, "rng": seed}
        both = fit_test_sets(
            table.N_e, table.N_d, table.loss, names, N_e_bar=bars[0], N_d_bar=bars[1], **common
        )
        mixture = None if weights is None else both.mixture(weights)
        found: dict[str, _OfSet] = {}
        for name, law in both.laws.items():
            of = names == name
            rivals: Comparison | str
            try:
                rivals = compare_with_total(
                    table.N_e[of], table.N_d[of], table.loss[of], fraction=hold_out, **common
                )
            except ValueError as error:
                rivals = str(error)
            quality = _quality(table, of)
            bleu_law = bleu_rivals = None
            if quality is not None and quality[0].size > 3:
                bleu_law = BleuLaw.fit(*quality, **common)
                try:
                    bleu_rivals = compare_bleu_laws(*quality, fraction=hold_out, **common)
                except ValueError:  # too few models to hold some out
                    bleu_rivals = None
            splits = [law.optimal_split(each) for each in budget or ()]
            found[name] = _OfSet(law, rivals, splits, bleu_law, bleu_rivals)
        mixed = [mixture.optimal_split(each) for each in budget or ()] if mixture else []

    if json:
        print_json(
            {
                "rows": int(table.loss.size),
                "bad_lines": [{"line": bad.line, "why": bad.why} for bad in table.bad],
                "confidence": confidence,
                "test_sets": {name: _as_json(of_set) for name, of_set in found.items()},
                "mixture": {"weights": weights, "splits": [_split_as_json(s) for s in mixed]}
                if mixture
                else None,
            }
        )
        return
    show_left_out(table.bad)
    for name, of_set in found.items():
        _show(name, of_set)
    for split in mixed:
        say(f"the mixture: {_said(split)}")


def _pair(text: str | None) -> tuple[float | None, float | None]:
    if text is None:
        return None, None
    try:
        first, second = map(float, text.split(","))
    except ValueError:
        raise ValueError(f"--reference must be two sizes, as 2.5e8,3e8, got {text!r}") from None
    return first, second


def _weights(text: str | None) -> dict[str, float] | None:
    if text is None:
        return None
    try:
        return {name: float(weight) for name, weight in (p.split("=") for p in text.split(","))}
    except ValueError:
        raise ValueError(f"--mix must be weights by name, as news=2,web=1, got {text!r}") from None


def _quality(table: TranslationRuns, of: Any) -> tuple[Any, Any] | None:
    """Losses and BLEUs of these rows, where there is BLEU."""
    import numpy as np

    if table.bleu is None:
        return None
    there = of & np.isfinite(table.bleu)
    return table.loss[there], table.bleu[there]


def _as_json(found: _OfSet) -> dict[str, Any]:
    law, rivals, bleu = found.law, found.rivals, found.bleu
    return {
        "law": {
            **{name: _ends_as_json(each) for name, each in law.intervals.items()},
            "N_e_bar": law.N_e_bar,
            "N_d_bar": law.N_d_bar,
        },
        "models": law.source.runs if law.source else 0,
        "converged": law.converged,
        "warnings": list(law.warnings),
        "held_out": {"error": rivals} if isinstance(rivals, str) else _held_as_json(rivals),
        "splits": [_split_as_json(split) for split in found.splits],
        "bleu": None
        if bleu is None
        else {
            **{name: _ends_as_json(each) for name, each in bleu.intervals.items()},
            "held_out": _held_as_json(found.bleu_rivals) if found.bleu_rivals else None,
        },
    }


def _ends_as_json(each: Any) -> dict[str, float]:
    return {"value": each.value, "low": each.low, "high": each.high}


def _held_as_json(found: Comparison) -> dict[str, Any]:
    return {
        name: {"rms_log_error": held.rms, "mean_log_error": held.bias}
        for name, held in found.ranked.items()
    }


def _split_as_json(split: Split) -> dict[str, Any]:
    return {
        "budget": split.budget, "encoder_share": split.share, "encoder": split.encoder,
        "decoder": split.decoder, "loss": split.loss, "share_interval": split.share_interval,
        "loss_interval": split.loss_interval,
    }  # fmt: skip


def _said(split: Split) -> str:
    sure = ""
    if split.share_interval is not None:
        sure = f" ({split.share_interval[0]:.1%} to {split.share_interval[1]:.1%})"
    text = (
        f"of {split.budget:.4g} parameters {split.share:.1%}{sure} to the encoder, that is "
        f"{split.encoder:.4g} and {split.decoder:.4g}; loss {split.loss:.4f}"
    )
    if split.loss_interval is not None:
        text += f" ({split.loss_interval[0]:.4f} to {split.loss_interval[1]:.4f})"
    return text


def _show(name: str, found: _OfSet) -> None:
    from rich.markup import escape
    from rich.table import Table

    law, rivals, bleu = found.law, found.rivals, found.bleu
    models = law.source.runs if law.source else 0
    say(f"[bold]{escape(name)}[/]: {models} models")
    say("L = alpha (N_e_bar / N_e)^p_e (N_d_bar / N_d)^p_d + L_inf")
    table = Table("constant", "value", "interval over models")
    for constant, each in law.intervals.items():
        table.add_row(constant, f"{each.value:.5g}", f"{each.low:.4g} to {each.high:.4g}")
    table.add_row("N_e_bar", f"{law.N_e_bar:.5g}", "chosen")
    table.add_row("N_d_bar", f"{law.N_d_bar:.5g}", "chosen")
    console.print(table)
    if isinstance(rivals, str):
        errors.print(f"[yellow]no model was held out:[/] {rivals}", soft_wrap=True, highlight=False)
    else:
        told = ", ".join(
            f"{law_name} is off by {math.expm1(held.rms):.2%}"
            for law_name, held in rivals.ranked.items()
        )
        say(f"the largest models, held out: {told}")
    for split in found.splits:
        say(_said(split))
    if bleu is not None:
        say(f"BLEU = {bleu.c:.4g} L^-{bleu.p:.4g}")
    if found.bleu_rivals is not None:
        held = found.bleu_rivals.ranked["bleu-power"]
        best = next(iter(found.bleu_rivals.ranked))
        say(
            "the models of least loss, held out: by the others BLEU would be off by "
            f"{math.expm1(held.bias):+.2%}; {best} predicts them best"
        )
    for warning in law.warnings:
        warn(f"{escape(name)}: {warning}")

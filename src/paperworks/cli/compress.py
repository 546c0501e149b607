"""``paperworks compress`` and ``paperworks eval``: a language model made smaller, and measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from paperworks.cli.common import Json, console, errors, print_json, user_errors

_DEFAULT_MODEL = "smollm2-135m-instruct"
_HELD_OUT = 0.2  # of a calibration file, where no other text is given
_TO_CALIBRATE = ("train", "valid")  # parts of a data set: the first that is there
_TO_MEASURE = ("test",)

_Length = Annotated[int, typer.Option(min=2, help="Tokens of a sequence.")]
_EvalWindows = Annotated[
    int | None, typer.Option(min=1, help="Sequences to measure on, from the start of the text.")
]


def compress(
    out: Annotated[Path, typer.Option(help="Folder to write. Must not exist.")],
    calibration: Annotated[
        str,
        typer.Option(
            help="Text to calibrate on: a file, or a data set as wikitext-2-raw, of which the "
            "training part is taken, or the validation part where that is not on this machine."
        ),
    ],
    model: Annotated[
        str, typer.Argument(help="A folder or hub name of transformers, or a small model's name.")
    ] = _DEFAULT_MODEL,
    prune: Annotated[
        list[str] | None,
        typer.Option(help="METHOD:SPARSITY or METHOD:N:M, as gblm:0.5 or wanda:2:4."),
    ] = None,
    quantize: Annotated[
        list[str] | None,
        typer.Option(help="METHOD:BITS, as llm-fp4:w4a4, nupes:w4 or rtn:w4g64."),
    ] = None,
    embeddings: Annotated[
        int | None,
        typer.Option(help="Bits of the embeddings and the head tied to them. Default: float."),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(help="Layers that all steps leave alone, as 'model.layers.0.*'."),
    ] = None,
    heldout: Annotated[
        str | None,
        typer.Option(
            help="Text to measure on: a file, or the test part of a data set. Default: the last "
            "fifth of the calibration file, or the test part of the same data set."
        ),
    ] = None,
    length: _Length = 512,
    windows: Annotated[int, typer.Option(min=1, help="Calibration sequences.")] = 32,
    heldout_windows: _EvalWindows = 16,
    seed: Annotated[int, typer.Option(help="Of the places of the calibration sequences.")] = 0,
    json: Json = False,
) -> None:
    """Make a language model smaller, block by block, and say what it cost.

    Steps are done in order: those of --prune first, then --quantize. OUT gets packed safetensors,
    the configuration, the tokenizer and a report (report.html, report.json). An interrupted run
    goes on at the last finished block when the same command is given again.

    Prune with gblm, wanda, sparsegpt, magnitude, global-magnitude. Quantize with llm-fp4, nupes
    (learned), power (NUPES without data), gptq, adaround, smoothquant, minmax-fp, rtn.
    """
    from paperworks.compression.pipeline import compress as run
    from paperworks.compression.steps import Step
    from paperworks.data.errors import DataError
    from paperworks.report.compression import render_compression

    steps = [Step("prune", text) for text in prune or ()]
    steps += [Step("quantize", text) for text in quantize or ()]
    with user_errors(ValueError, OSError, ImportError, DataError):
        text, measured = _texts(calibration, heldout)
        with _bar() as progress, _says_how_to_go_on(out):
            report = run(
                model,
                steps,
                calibration=text,
                heldout=measured,
                out=out,
                length=length,
                windows=windows,
                heldout_windows=heldout_windows,
                seed=seed,
                embeddings=embeddings,
                skip=skip or (),
                page=render_compression,
                progress=progress,
            )
    if json:
        print_json(report)
        return
    _show(report, out)


def evaluate(
    folder: Annotated[
        str, typer.Argument(metavar="DIR", help="A compressed model, or any that compress takes.")
    ],
    text: Annotated[
        str,
        typer.Option(help="A text file, or a data set as wikitext-2-raw: its test part is taken."),
    ],
    length: _Length = 512,
    windows: _EvalWindows = None,
    json: Json = False,
) -> None:
    """Perplexity and size of a compressed model, or of one that is not."""
    from paperworks.compression.describe import bits_per_weight, describe, model_bytes
    from paperworks.compression.saving import FORM, load_compressed
    from paperworks.compression.text import perplexity
    from paperworks.data import load_model
    from paperworks.data.errors import DataError
    from paperworks.data.files import human_size

    with user_errors(ValueError, OSError, ImportError, DataError):
        compressed = Path(folder, FORM).is_file() or Path(folder, "report.json").is_file()
        network, tokenizer = (load_compressed if compressed else load_model)(folder)
        words = _text(text, _TO_MEASURE)
        with _bar() as progress:
            score = perplexity(
                network,
                tokenizer,
                words,
                length=length,
                windows=windows,
                progress=lambda done, total: progress("perplexity", done, total, ""),
            )
    result: dict[str, Any] = {
        "perplexity": score.value,
        "tokens": score.tokens,
        "bytes": model_bytes(network),
        "bits_per_weight": bits_per_weight(describe(network)),
    }
    if json:
        print_json(result)
        return
    console.print(
        f"perplexity {score.value:.3f} on {score.tokens:,} tokens · "
        f"{human_size(result['bytes'])} in memory · "
        f"{result['bits_per_weight']:.2f} bits per weight",
        highlight=False,
        soft_wrap=True,
    )


def _texts(calibration: str, heldout: str | None) -> tuple[str, str]:
    """The text to calibrate on, and the one to measure on."""
    text = _text(calibration, _TO_CALIBRATE)
    if heldout is None and Path(calibration).is_file():
        cut = int(len(text) * (1 - _HELD_OUT))
        return text[:cut], text[cut:]
    return text, _text(heldout or calibration, _TO_MEASURE)


def _text(source: str, parts: Sequence[str]) -> str:
    """A file's text, or of a data set the first of these parts that is here."""
    from paperworks import data

    path = Path(source)
    if path.is_file():
        try:
            return path.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not a text in UTF-8: {error}") from error
    if source not in data.names():
        raise ValueError(f"{source} is no file here, and no data set: see `paperworks data list`")
    loaded = data.load(source)
    if not isinstance(loaded, data.Text):
        raise ValueError(f"{source} is not running text: use a text file, or wikitext-2-raw")
    text: str | None = next(filter(None, (getattr(loaded, part) for part in parts)), None)
    if text is None:
        raise ValueError(f"{source} has no {' or '.join(parts)} part here: use a text file")
    return text


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int, str], None]]:
    """Progress on standard error: a bar for each phase, and the part at work."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[part]}"),
    )
    with Bar(*columns, console=errors) as bar:
        tasks: dict[str, Any] = {}

        def progress(phase: str, done: int, total: int, part: str) -> None:
            if phase not in tasks:
                tasks[phase] = bar.add_task(phase, part="")
            bar.update(tasks[phase], completed=done, total=total, part=part)

        yield progress


@contextmanager
def _says_how_to_go_on(out: Path) -> Iterator[None]:
    from paperworks.compression.partial import holds_blocks

    try:
        yield
    except KeyboardInterrupt:
        folder = out.with_name(out.name + ".partial")
        errors.print(
            f"interrupted; finished blocks are in {folder}: the same command goes on from there"
            if holds_blocks(folder)
            else "interrupted before a block was finished: nothing is kept",
            soft_wrap=True,
        )
        raise


def _show(report: dict[str, Any], out: Path) -> None:
    from paperworks.data.files import human_size

    before, after = report["before"], report["after"]
    table = Table("", "before", "after")
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("perplexity", f"{before['perplexity']:.3f}", f"{after['perplexity']:.3f}")
    table.add_row("in memory", human_size(before["bytes"]), human_size(after["bytes"]))
    table.add_row(
        "on disk", human_size(before["bytes_on_disk"]), human_size(after["bytes_on_disk"])
    )
    table.add_row("bits per weight", "", f"{after['bits_per_weight']:.2f}")
    console.print(table)
    spent = f"{report['seconds']:.0f} s"
    if report["peak_memory"] is not None:
        spent += f", at most {human_size(report['peak_memory'])} of memory"
    console.print(spent, highlight=False)
    console.print(f"written: {out}", soft_wrap=True, highlight=False)

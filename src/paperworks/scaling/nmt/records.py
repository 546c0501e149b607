"""A person's own table of translation models: sizes, loss, test set, BLEU."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from paperworks.scaling.fitting.runs import column_names, read_runs
from paperworks.scaling.lines import BadLine, BadLineError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class TranslationRuns:
    """What :func:`read_translation_runs` found, a row for each model and test set.

    Attributes
    ----------
    N_e, N_d, loss : (n,) float
        Parameters of encoder and decoder, and test loss.
    test_set : (n,) str, or None
        The test set of each row, where the file has such a column.
    bleu : (n,) float, or None
        BLEU, NaN where the cell is empty; None where the file has no such column.
    lines : (n,) int
        Each row's line in the file, from 1.
    bad : tuple of BadLine
        Lines that were left out, and why.
    """

    N_e: FloatArray
    N_d: FloatArray
    loss: FloatArray
    test_set: NDArray[np.str_] | None
    bleu: FloatArray | None
    lines: NDArray[np.int64]
    bad: tuple[BadLine, ...]


def read_translation_runs(
    path: str | PathLike[str],
    *,
    encoder: str = "encoder_params",
    decoder: str = "decoder_params",
    loss: str = "loss",
    test_set: str = "test_set",
    bleu: str = "bleu",
    strict: bool = False,
) -> TranslationRuns:
    r"""Read a table of encoder-decoder models.

    Parameters
    ----------
    path : path
        ``.csv``, ``.tsv`` or ``.jsonl``, with or without ``.gz``, as
        :func:`paperworks.scaling.read_runs` takes it.
    encoder, decoder : str
        Columns of the parameters of each half, without embeddings and softmax. Numbers > 0.
    loss : str
        Column of the test loss. Numbers > 0.
    test_set : str
        Column that names the test set, if there is such a column. It may not be empty then.
    bleu : str
        Column of BLEU, if there is such a column. Numbers > 0, or empty where it was not measured.
    strict : bool
        Stop at the first bad line. By default bad lines are left out and listed in ``bad``.

    Returns
    -------
    TranslationRuns

    Raises
    ------
    ValueError
        Where a column is missing from the file, or no good line is left.
    BadLineError
        With ``strict``, at the first bad line.
    OSError
        Where the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "runs.csv")
    ...     _ = file.write_text("encoder_params,decoder_params,loss,bleu\n"
    ...                         "1e8,2e8,1.61,31.2\n2e8,-1,1.55,32.0\n2e8,4e8,1.52,\n")
    ...     runs = read_translation_runs(file)
    >>> runs.loss.tolist(), runs.bleu.tolist(), str(runs.bad[0])
    ([1.61, 1.52], [31.2, nan], "line 3: decoder_params must be > 0, got '-1'")
    """
    there = column_names(path)
    sets = test_set if test_set in there else None
    sizes = {"N_e": encoder, "N_d": decoder}
    runs = read_runs(path, sizes, y=loss, group=sets, strict=strict)
    n_e, n_d = runs.variables["N_e"], runs.variables["N_d"]
    if bleu not in there:
        return TranslationRuns(n_e, n_d, runs.y, runs.groups, None, runs.lines, runs.bad)
    scores, bad = _scores(path, sizes, loss, sets, bleu, runs.lines)
    if bad and strict:
        raise BadLineError(f"{path}, {bad[0]}")
    keep = ~np.isin(runs.lines, [each.line for each in bad])
    if not keep.any():
        raise ValueError(f"{path} holds no usable line; the first of {len(bad)} bad: {bad[0]}")
    names = None if runs.groups is None else runs.groups[keep]
    every = tuple(sorted((*runs.bad, *bad), key=lambda each: each.line))
    return TranslationRuns(
        n_e[keep], n_d[keep], runs.y[keep], names, scores[keep], runs.lines[keep], every
    )


def _scores(
    path: str | PathLike[str],
    sizes: dict[str, str],
    loss: str,
    sets: str | None,
    bleu: str,
    lines: NDArray[np.int64],
) -> tuple[FloatArray, list[BadLine]]:
    """BLEU of the rows on these lines, NaN where there is none, and cells that are no BLEU."""
    scores = np.full(len(lines), np.nan)
    try:
        read = read_runs(path, {**sizes, "loss": loss}, y=bleu, group=sets)
    except ValueError:  # no line has both a loss and a BLEU
        return scores, []
    scores[np.searchsorted(lines, read.lines)] = read.y
    good = set(lines.tolist())
    bad = [each for each in read.bad if each.line in good and each.why != f"{bleu} is missing"]
    return scores, bad

"""From a folder to a smaller folder: the steps in order, resumed where they were interrupted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from paperworks.compression.checkpoint import FolderCheckpoint
from paperworks.compression.describe import bits_per_weight, describe, model_bytes
from paperworks.compression.embeddings import EmbeddingQuantizer
from paperworks.compression.layerwise import LayerwiseMethod
from paperworks.compression.saving import FORM, load_compressed, read_form, save_compressed
from paperworks.compression.steps import Step
from paperworks.compression.text import calibration_windows, encode, perplexity
from paperworks.data import LoadedModel, load_model
from paperworks.writing import read_json, write_json

REPORT = "report.json"
Progress = Callable[[str, int, int, str], None]
"""Called with the phase, the number done, the total, and the part that starts."""


class OtherRunError(ValueError):
    """What lies in the way was begun with other settings."""


def compress(
    model: str | os.PathLike[str],
    steps: Sequence[Step],
    *,
    calibration: str,
    heldout: str,
    out: str | os.PathLike[str],
    length: int = 512,
    windows: int = 32,
    heldout_windows: int | None = 16,
    seed: int = 0,
    embeddings: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compress a language model by the steps in order, and write it with a report.

    Each finished block is kept in ``OUT.partial``; the same call goes on from there after an
    interruption. ``OUT`` appears at the end, complete.

    Parameters
    ----------
    model : str or path
        As for :func:`paperworks.data.load_model`.
    steps : sequence of Step
        What to do, in order.
    calibration : str
        Text that the methods calibrate on.
    heldout : str
        Text that perplexity is measured on, before and after.
    out : path
        The folder to write; must not exist.
    length : int
        Tokens of a sequence, of both texts.
    windows : int
        Calibration sequences, drawn at random places. 128 of 2,048 tokens are usual for large
        models; 32 of 512 take a minute or so for a small one.
    heldout_windows : int, optional
        Sequences of the held-out text, from its start. None: all of them.
    seed : int
        Of the places of the calibration sequences.
    embeddings : int, optional
        Bits of the embeddings and of the head tied to them; see :class:`EmbeddingQuantizer`.
        Default: they stay as they are.
    progress : callable (phase, done, total, name), optional

    Returns
    -------
    dict
        The report, as written to ``report.json``.

    Raises
    ------
    FileExistsError
        If ``out`` exists.
    OtherRunError
        If ``OUT.partial`` was begun with other settings.
    ValueError
        For steps in an impossible order, a text shorter than a sequence, and what the methods
        refuse.
    """
    target = Path(out)
    partial = target.with_name(target.name + ".partial")
    if target.exists():
        raise FileExistsError(f"{target} exists: choose another folder, or remove it first")
    _check_order(steps, embeddings)
    methods = [step.method() for step in steps]
    small = None if embeddings is None else EmbeddingQuantizer(embeddings)
    started = time.perf_counter()
    network, tokenizer = _load(model)
    batches = calibration_windows(tokenizer, calibration, length=length, count=windows, seed=seed)
    encode(tokenizer, heldout, length)  # an error now and not after the work
    request = {
        "model": os.fspath(model),
        "steps": [asdict(step) for step in steps],
        "calibration": hashlib.sha256(calibration.encode()).hexdigest(),
        "length": length,
        "windows": windows,
        "seed": seed,
        "embeddings": embeddings,
    }
    _claim(partial, request)

    def score(phase: str) -> float:
        tell = None if progress is None else lambda d, t: progress(phase, d, t, "")
        result = perplexity(
            network, tokenizer, heldout, length=length, windows=heldout_windows, progress=tell
        )
        return result.value

    before = {"perplexity": score("perplexity before"), "bytes": model_bytes(network)}
    for number, (step, method) in enumerate(zip(steps, methods, strict=True)):
        label = f"{step.kind} {step.text}"
        tell = None
        if progress is not None:
            tell = lambda d, t, name, label=label: progress(label, d, t, name)  # noqa: E731
        data = None if step.data_free else batches
        _apply(method, network, data, partial / f"step-{number}", tell)
    if small is not None:
        small(network)
    after = {"perplexity": score("perplexity after"), "bytes": model_bytes(network)}
    layers = describe(network)
    after["bits_per_weight"] = bits_per_weight(layers)
    report = {**request, "before": before, "after": after, "layers": list(map(asdict, layers))}
    report["heldout_windows"] = heldout_windows
    report["seconds"] = time.perf_counter() - started
    report["peak_memory"] = _peak_memory()
    made = partial / "model"
    shutil.rmtree(made, ignore_errors=True)
    save_compressed(network, made, tokenizer=tokenizer, notes={"steps": request["steps"]})
    after["bytes_on_disk"] = (made / "model.safetensors").stat().st_size
    (made / REPORT).write_text(json.dumps(report, indent=1), "utf-8")
    made.rename(target)
    shutil.rmtree(partial)
    return report


def _load(model: str | os.PathLike[str]) -> LoadedModel:
    """The model; one that was pruned here, and no more, can be worked on further."""
    if not Path(model, FORM).is_file():
        return load_model(model)
    packed = read_form(model)["layers"]
    if packed:
        raise ValueError(
            f"{os.fspath(model)} is already compressed ({len(packed)} layers of few bits, as "
            f"{next(iter(packed))}): take the model that it was made from, with all steps at once"
        )
    return load_compressed(model)


def _apply(
    method: Any, model: nn.Module, batches: list[Any] | None, folder: Path, tell: Any
) -> None:
    if isinstance(method, LayerwiseMethod):
        method(model, batches, progress=tell, checkpoint=FolderCheckpoint(folder))
    else:
        method(model)


def _peak_memory() -> int | None:
    """The most bytes that this process has held so far; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _check_order(steps: Sequence[Step], embeddings: int | None) -> None:
    if not steps and embeddings is None:
        raise ValueError("nothing to do: give --prune, --quantize or --embeddings")
    kinds = [step.kind for step in steps]
    if kinds != sorted(kinds):  # "prune" < "quantize"
        raise ValueError("prune before you quantize: packed weights cannot be pruned")
    if kinds.count("quantize") > 1:
        raise ValueError("one --quantize is enough: packed weights cannot be quantized again")


def _claim(partial: Path, request: dict[str, Any]) -> None:
    """Take the folder of an interrupted run of the same request, or begin one."""
    note = partial / "request.json"
    if note.is_file():
        begun = read_json(note)
        differing = [key for key in request if begun.get(key) != request[key]]
        if differing:
            raise OtherRunError(
                f"{partial} was begun with another {' and '.join(differing)}: remove it, or "
                "choose another --out"
            )
        return
    write_json(note, request)

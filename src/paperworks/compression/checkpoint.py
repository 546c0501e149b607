"""Finished blocks on disk, so that an interrupted compression goes on where it stopped."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paperworks.compression.layers import conv_settings
from paperworks.compression.saving import build, form_of
from paperworks.data.models import require
from paperworks.writing import whole


class FolderCheckpoint:
    """Keeps the compressed layers of each block as one safetensors file in a folder.

    A file is written beside its name and renamed, so a block is there whole or not at all.

    Parameters
    ----------
    folder : path
        Made where it does not exist. One folder holds one walk over one model.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        require("llm", "safetensors")
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def holds(self, block: str) -> bool:
        """Whether a block is finished."""
        return self._path(block).is_file()

    def restore(self, block: str) -> dict[str, nn.Module]:
        """The compressed layers of a finished block by name."""
        from safetensors import safe_open

        layers = {}
        with safe_open(self._path(block), framework="pt") as file:
            for name, form in json.loads(file.metadata()["forms"]).items():
                layer = build(form) if "weight" in form else _plain(form)
                tensors = {key: file.get_tensor(f"{name}:{key}") for key in layer.state_dict()}
                layer.load_state_dict(tensors, assign=True)
                layers[name] = layer
        return layers

    def save(self, block: str, layers: dict[str, nn.Module]) -> None:
        """Keep the compressed layers of a block."""
        from safetensors.torch import save_file

        forms = {name: form_of(layer) or _plain_form(layer) for name, layer in layers.items()}
        tensors = {
            f"{name}:{key}": tensor.contiguous()
            for name, layer in layers.items()
            for key, tensor in layer.state_dict().items()
        }
        with whole(self._path(block)) as part:
            save_file(tensors, part, metadata={"forms": json.dumps(forms)})

    def _path(self, block: str) -> Path:
        return self.folder / f"{block.replace(' ', '-') or 'model'}.safetensors"


def _plain_form(layer: nn.Module) -> dict[str, Any]:
    """The form of a layer that was changed and not replaced: a pruned one."""
    form: dict[str, Any] = {"kind": type(layer).__name__, "bias": layer.bias is not None}
    if isinstance(layer, nn.Conv2d):
        form["sizes"] = [layer.in_channels, layer.out_channels, list(layer.kernel_size)]
        form["settings"] = conv_settings(layer)
    elif isinstance(layer, nn.Linear):
        form["sizes"] = [layer.in_features, layer.out_features]
        form["settings"] = {}
    else:
        raise ValueError(f"a {type(layer).__name__} cannot be kept in a checkpoint")
    return form


def _plain(form: dict[str, Any]) -> nn.Module:
    kind = {"Linear": nn.Linear, "Conv2d": nn.Conv2d}[form["kind"]]
    with torch.device("meta"):
        return kind(*form["sizes"], bias=form["bias"], **form["settings"])

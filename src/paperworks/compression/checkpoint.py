"""Finished blocks on disk, so that an interrupted compression goes on where it stopped."""

from __future__ import annotations

import json
import os
from pathlib import Path

from torch import nn

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

    def restore(self, block: str, layers: dict[str, nn.Module]) -> dict[str, nn.Module]:
        """The compressed layers of a finished block by name.

        Those of ``layers`` that were changed and not replaced, as by pruning, are filled in place.
        """
        from safetensors import safe_open

        restored = {}
        with safe_open(self._path(block), framework="pt") as file:
            for name, form in json.loads(file.metadata()["forms"]).items():
                layer = layers[name] if form is None else build(form, layers[name])
                tensors = {key: file.get_tensor(f"{name}:{key}") for key in layer.state_dict()}
                layer.load_state_dict(tensors, assign=form is not None)
                restored[name] = layer
        return restored

    def save(self, block: str, layers: dict[str, nn.Module]) -> None:
        """Keep the compressed layers of a block."""
        from safetensors.torch import save_file

        forms = {name: form_of(layer) for name, layer in layers.items()}
        tensors = {
            f"{name}:{key}": tensor.contiguous()
            for name, layer in layers.items()
            for key, tensor in layer.state_dict().items()
        }
        with whole(self._path(block)) as part:
            save_file(tensors, part, metadata={"forms": json.dumps(forms)})

    def _path(self, block: str) -> Path:
        return self.folder / f"{block.replace(' ', '-') or 'model'}.safetensors"

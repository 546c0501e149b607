"""Embedding tables of few bits, with the output head that is tied to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from paperworks.compression.grids import IntegerGrid
from paperworks.compression.layers import check_finite, replace
from paperworks.compression.packed import PackedWeight
from paperworks.compression.packed_layers import quantized


class EmbeddingQuantizer:
    """Rounds embedding tables to integers, with one scale a row; needs no data.

    The other methods here leave embeddings alone, and with them the head of a language model that
    shares their weight. In a small model that is most of what is left: 28 of the 135 million
    weights of SmolLM2. Eight bits cost next to nothing in perplexity. Subclasses of Embedding keep
    their own forward, as those that scale their rows or count positions.

    Parameters
    ----------
    bits : int
        2 to 8. Eight, since a row of an embedding is used whole and errors do not average out.

    Examples
    --------
    >>> model = nn.Sequential(nn.Embedding(10, 64))
    >>> EmbeddingQuantizer(8)(model)[0].weight.bits
    8
    """

    def __init__(self, bits: int = 8):
        self.grid = IntegerGrid(bits)

    def targets(self, model: nn.Module) -> dict[str, nn.Module]:
        """Every embedding of ``model`` and each layer tied to one, by name.

        Raises
        ------
        ValueError
            If there is no embedding, one is not finite or scales its rows to ``max_norm``, or one
            is tied to a layer that has no packed form.
        """
        tables = set()
        for name, module in model.named_modules():
            if isinstance(module, nn.Embedding) and module.weight is not None:
                if module.max_norm is not None:
                    raise ValueError(
                        f"{name or 'the layer'} scales its rows to max_norm={module.max_norm} as "
                        "it is used, which packed rows cannot be: scale them once, and set it to "
                        "None"
                    )
                tables.add(id(module.weight))
        if not tables:
            raise ValueError(f"{type(model).__name__} has no Embedding layer")
        found: dict[str, nn.Module] = {}
        for name, module in model.named_modules(remove_duplicate=False):
            if id(module._parameters.get("weight")) in tables:
                if not isinstance(module, nn.Embedding | nn.Linear):
                    raise ValueError(
                        f"{name} shares the weight of an embedding, and no packed form of its "
                        f"{type(module).__name__} is known"
                    )
                check_finite(name, module.weight)
                found[name] = module
        return found

    def __call__(self, model: nn.Module, calibration: Iterable[Any] | None = None) -> nn.Module:
        """Replace every embedding, and each layer tied to one, in place; return ``model``.

        Raises
        ------
        ValueError
            As of :meth:`targets`.
        """
        packed: dict[int, PackedWeight] = {}
        for name, module in self.targets(model).items():
            table: Tensor = module.weight  # type: ignore[assignment]
            if id(table) not in packed:
                weight = table.detach().float()
                scale = self.grid.scale_for(weight.abs().amax(1))
                codes = self.grid.encode(weight / scale[:, None])
                packed[id(table)] = PackedWeight.pack(codes, self.grid, scale)
            replace(model, name, quantized(module, packed[id(table)]))
        return model

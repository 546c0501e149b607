"""Methods by name, as the command line gives them: ``gblm:0.5``, ``llm-fp4:w4a4``."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from paperworks.compression.layers import SKIP

Kind = Literal["prune", "quantize"]


@dataclass(frozen=True)
class Step:
    """One method with its settings, in the order of the command line.

    Attributes
    ----------
    kind : "prune" or "quantize"
    text : str
        As given, as ``gblm:2:4``.
    """

    kind: Kind
    text: str

    @property
    def data_free(self) -> bool:
        """Whether the method is to see no calibration data though it could: ``power``."""
        return self.text.partition(":")[0] in _WITHOUT_DATA

    def method(self, skip: Sequence[str] = (), scratch: Path | None = None) -> Any:
        """A fresh instance of the method, that leaves layers like ``skip`` alone too.

        ``scratch`` is a folder for files that a method needs for a while.

        Raises
        ------
        ValueError
            For a name or a setting that is not known.
        """
        name, _, setting = self.text.partition(":")
        table = _METHODS[self.kind]
        if name not in table:
            known = ", ".join(table)
            raise ValueError(f"no method {name!r} to {self.kind} with; there are: {known}")
        module, attribute = table[name]
        build: Callable[..., Any] = getattr(
            importlib.import_module(f"paperworks.compression.{module}"), attribute
        )
        try:
            settings = _sparsity(setting) if self.kind == "prune" else _widths(name, setting)
            accepted = inspect.signature(build).parameters
            if "folder" in accepted:
                settings["folder"] = scratch
            if "group" in settings and "group" not in accepted:
                raise ValueError(f"{name} has no groups: give {setting.partition('g')[0]}")
            return build(**settings, skip=(*SKIP, *skip))
        except (ValueError, TypeError) as error:
            raise ValueError(f"--{self.kind} {self.text}: {error}") from error


_METHODS: dict[Kind, dict[str, tuple[str, str]]] = {
    "prune": {
        "gblm": ("gblm", "GBLMPruner"),
        "wanda": ("pruning", "Wanda"),
        "sparsegpt": ("sparsegpt", "SparseGPT"),
        "magnitude": ("pruning", "MagnitudePruner"),
        "global-magnitude": ("global_magnitude", "GlobalMagnitudePruner"),
    },
    "quantize": {
        "llm-fp4": ("llm_fp4", "LLMFP4"),
        "nupes": ("nupes", "NUPES"),
        "power": ("nupes", "NUPES"),
        "gptq": ("gptq", "GPTQ"),
        "adaround": ("adaround", "AdaRound"),
        "smoothquant": ("rounding", "SmoothQuant"),
        "minmax-fp": ("rounding", "MinMaxFP"),
        "rtn": ("rounding", "RoundToNearest"),
    },
}

_WITHOUT_DATA = ("power",)
_INPUTS_LEFT_ALONE = ("gptq", "adaround")
_INPUTS_ROUNDED = ("smoothquant",)


def _sparsity(setting: str) -> dict[str, Any]:
    if ":" in setting:
        return {"pattern": setting}
    try:
        return {"sparsity": float(setting)}
    except ValueError:
        raise ValueError(
            f"expected a sparsity as 0.5 or a pattern as 2:4, got {setting!r}"
        ) from None


def _widths(name: str, setting: str) -> dict[str, Any]:
    found = re.fullmatch(r"w(\d+)(?:a(\d+))?(?:g(\d+))?", setting)
    if not found:
        raise ValueError(f"expected bits as w4, w4a8 or w4g64, got {setting!r}")
    settings: dict[str, Any] = {"weight_bits": int(found[1])}
    inputs = int(found[2]) if found[2] and int(found[2]) < 16 else None  # w4a16 is w4
    if name in _INPUTS_LEFT_ALONE:
        if inputs is not None:
            raise ValueError(f"{name} leaves inputs as they are: give w{found[1]}")
    elif inputs is None and name in _INPUTS_ROUNDED:
        raise ValueError(f"{name} rounds inputs too: give w{found[1]}a8, for example")
    else:
        settings["activation_bits"] = inputs
    if found[3]:
        settings["group"] = int(found[3])
    return settings

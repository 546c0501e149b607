"""Find claims by the paper's id: the claims of ``some-paper`` are in ``claims/some_paper.py``.

A module there whose name begins with an underscore is shared by several papers' claims.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import paperworks
from paperworks.experiment.claim import Claim


def papers() -> tuple[str, ...]:
    """The ids of all papers that have claims, in alphabetical order. Imports none of them."""
    folder = Path(paperworks.__file__).parent / "claims"
    return tuple(
        sorted(
            module.name.replace("_", "-")
            for module in pkgutil.iter_modules([str(folder)])
            if not module.name.startswith("_")
        )
    )


def claims(paper: str) -> tuple[Claim, ...]:
    """The claims of one paper.

    Raises
    ------
    LookupError
        If the paper has none. The message lists the papers that have.
    """
    if paper not in papers():
        raise LookupError(f"no claim for {paper!r}; papers with claims: {', '.join(papers())}")
    module = importlib.import_module(f"paperworks.claims.{paper.replace('-', '_')}")
    return tuple(module.CLAIMS)

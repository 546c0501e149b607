r"""The measures of the paper by name, and how each runs through its parameter.

Ivashkin and Chebotarev (arXiv 1605.01046), section 1.2. A is the adjacency matrix, D the degrees,
L = D - A, P = D^-1 A, rho the spectral radius of A, and p in (0, 1) the normalised parameter:

==================  ==============================================  ====================
name                kernel                                          native parameter
==================  ==============================================  ====================
walk                inv(I - t A)                                    t = p / rho
forest              inv(I + t L)                                    t = p / (2 (1 - p))
comm                exp(t A)                                        t = p / (2 (1 - p))
heat                exp(-t L)                                       t = p / (2 (1 - p))
ppr                 inv(I - alpha P), symmetrised                   alpha = p
log-<each of them>  entrywise logarithm                             the same
sp, ct              of the distance; pinv(L)                        none
sp-ct               (1 - p) resistance + p shortest path            lambda = p
sct, scct           sigmoid(alpha K / sigma)                        alpha = p / (2 (1 - p))
rsp, fe             of the distance                                 beta = (1 - p) / p
==================  ==============================================  ====================

The ranges are those of the authors' code. Personalised PageRank is not in this paper but in its
successor (Avrachenkov, Chebotarev, Rubanov, arXiv 1702.05926); it is here in plain and
logarithmic form like the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Range = Literal["radius", "ray", "unit", "temperature", "none"]


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes
    ----------
    name : str
        As passed to :meth:`GraphProximity.kernel`.
    title : str
        What it is called in print.
    family : str
        The plain measure that it is or is the logarithm of.
    logarithmic : bool
    range : {"radius", "ray", "unit", "temperature", "none"}
        How the normalised parameter p becomes the native one: p / rho, p / (2 (1 - p)), p,
        (1 - p) / p; or it has none.
    connected : bool
        Whether it needs a connected graph.
    in_blocks : bool
        Whether columns of its kernel can be had without the whole of it.
    additive : bool
        Whether its distance is cutpoint additive: d(i, j) + d(j, k) = d(i, k) where all paths from
        i to k go through j.
    """

    name: str
    title: str
    family: str
    logarithmic: bool
    range: Range
    connected: bool
    in_blocks: bool
    additive: bool

    @property
    def symbol(self) -> str:
        """The native parameter in the paper's letter; empty where there is none."""
        letters = {"sp-ct": "lambda", "ppr": "alpha", "sct": "alpha", "scct": "alpha"}
        if self.range == "none":
            return ""
        return "beta" if self.range == "temperature" else letters.get(self.family, "t")

    def native(self, p: float, rho: float) -> float:
        """The native parameter of the normalised one."""
        if self.range == "none":
            return 0.0
        if not 0 < p < 1:
            raise ValueError(
                f"the parameter of {self.name!r} must lie in (0, 1), got {p}; pass "
                f"native={p} if {self.symbol} = {p} is meant"
            )
        if self.range == "radius":
            return p / rho if rho > 0 else p
        if self.range == "ray":
            return 0.5 * p / (1 - p)
        return (1 - p) / p if self.range == "temperature" else p

    def check_native(self, value: float, rho: float) -> float:
        """``value``, if the measure exists there."""
        value = float(value)
        high = {"radius": 1 / rho if rho > 0 else float("inf"), "unit": 1.0}.get(
            self.range, float("inf")
        )
        closed = self.family == "sp-ct"  # a mixture of two: either may be all of it
        inside = 0 <= value <= 1 if closed else 0 < value < high
        if self.range != "none" and not inside:
            ends = "[0, 1]" if closed else f"(0, {high:.6g})"
            raise ValueError(f"{self.symbol} of {self.name!r} must lie in {ends}, got {value}")
        return value


def _pair(name: str, title: str, range_: Range, additive: bool) -> list[Measure]:
    return [
        Measure(name, title, name, False, range_, False, True, False),
        Measure(f"log-{name}", f"logarithmic {title}", name, True, range_, True, True, additive),
    ]


_ALL = [
    *_pair("walk", "walk (Katz)", "radius", True),
    *_pair("forest", "forest (regularised Laplacian)", "ray", True),
    *_pair("comm", "communicability", "ray", False),
    *_pair("heat", "heat", "ray", False),
    *_pair("ppr", "personalised PageRank", "unit", True),
    Measure("sp", "shortest path", "sp", False, "none", True, True, True),
    Measure("ct", "commute time", "ct", False, "none", True, False, True),
    Measure("sp-ct", "shortest path and commute time", "sp-ct", False, "unit", True, False, True),
    Measure("sct", "sigmoid commute time", "sct", False, "ray", True, False, False),
    Measure("scct", "sigmoid corrected commute time", "scct", False, "ray", True, False, False),
    Measure("rsp", "randomised shortest paths", "rsp", False, "temperature", True, False, True),
    Measure("fe", "free energy", "fe", False, "temperature", True, True, True),
]
MEASURES: dict[str, Measure] = {measure.name: measure for measure in _ALL}
"""All measures by name."""

PAIRS: tuple[tuple[str, str], ...] = tuple(
    (measure.family, measure.name) for measure in _ALL if measure.logarithmic
)
"""The pairs (plain, logarithmic) that the paper compares, and personalised PageRank."""


def find(name: str) -> Measure:
    """The measure called ``name``; "katz" is "walk"."""
    aliases = {"katz": "walk", "log-katz": "log-walk"}
    measure = MEASURES.get(aliases.get(name, name)) if isinstance(name, str) else None
    if measure is None:
        raise ValueError(f"measure must be one of {', '.join(MEASURES)}, got {name!r}")
    return measure

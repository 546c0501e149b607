"""Forms of quantization, and the space of them that a layer can take (section 3.2, table 1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any, Literal

import numpy as np

from paperworks.compression.lsq import check_bits

ALL_BITS = (2, 3, 4, 5, 6, 7, 8)
_NAME = re.compile(r"w(\d+)a(\d+)(?:-(channel|tensor))?(?:-(sym|asym))?(?:-(sym|asym))?")


@dataclass(frozen=True)
class Form:
    """How one layer is quantized.

    As a name: ``w4a8-tensor-asym-sym`` has 4-bit weights and 8-bit inputs, one step for the whole
    weight, weights with a zero point, inputs without. What is left out at the end is ``channel``,
    ``sym`` and ``sym``: ``w4a8`` is ``w4a8-channel-sym-sym``.

    Parameters
    ----------
    weight_bits, activation_bits : int
        2 to 8.
    per_channel : bool
        One step (and zero point) per output channel of the weight, or one for all of it. Inputs
        always have one for all, as in the paper.
    weight_symmetric, activation_symmetric : bool
        False: a zero point moves the grid to where the values are.

    Examples
    --------
    >>> form = Form.parse("w4a8-tensor-asym")
    >>> form.weight_bits, form.per_channel, form.weight_symmetric
    (4, False, False)
    >>> str(Form(2, 2))
    'w2a2-channel-sym-sym'
    """

    weight_bits: int
    activation_bits: int
    per_channel: bool = True
    weight_symmetric: bool = True
    activation_symmetric: bool = True

    def __post_init__(self) -> None:
        check_bits(self.weight_bits)
        check_bits(self.activation_bits)

    @classmethod
    def parse(cls, name: str | Form) -> Form:
        """The form of that name.

        Raises
        ------
        ValueError
            If it is no name of a form.
        """
        if isinstance(name, Form):
            return name
        found = _NAME.fullmatch(name)
        if found is None:
            raise ValueError(
                f"{name!r} is no form; write it as w4a8 or w4a8-tensor-asym-sym: bits, then "
                "channel or tensor, sym or asym for weights, sym or asym for inputs"
            )
        weight, activation, granularity, *symmetry = found.groups()
        flags = (each != "asym" for each in symmetry)
        return cls(int(weight), int(activation), granularity != "tensor", *flags)

    def __str__(self) -> str:
        granularity = "channel" if self.per_channel else "tensor"
        symmetry = ("sym" if each else "asym" for each in astuple(self)[3:])
        return "-".join((f"w{self.weight_bits}a{self.activation_bits}", granularity, *symmetry))


Setting = dict[str, Form]
"""The form of every layer, by the layer's name."""


@dataclass(frozen=True)
class Space:
    """The forms that a layer can take: every combination of what is listed.

    A smaller space trains better and stores fewer steps; one of a single form is a static network.
    The paper leaves out 2 bits for networks of separable convolutions.

    Parameters
    ----------
    weight_bits, activation_bits : sequence of int
        From 2 to 8, all of them by default.
    per_channel, weight_symmetric, activation_symmetric : sequence of bool
        One or both of True and False; both by default.

    Raises
    ------
    ValueError
        If one of them is empty, or holds something else.

    Examples
    --------
    >>> space = Space(weight_bits=(2, 4, 8), activation_bits=(8,), per_channel=(True,))
    >>> len(space), "w4a8-channel-asym" in space, "w3a8" in space
    (12, True, False)
    >>> print(Space.only("w4a4-tensor").random(np.random.default_rng(0)))
    w4a4-tensor-sym-sym
    """

    weight_bits: Sequence[int] = ALL_BITS
    activation_bits: Sequence[int] = ALL_BITS
    per_channel: Sequence[bool] = (False, True)
    weight_symmetric: Sequence[bool] = (False, True)
    activation_symmetric: Sequence[bool] = (False, True)

    def __post_init__(self) -> None:
        for field in fields(self):
            values = getattr(self, field.name)
            if field.name.endswith("bits"):
                for bits in values:
                    check_bits(bits)
            elif not all(isinstance(value, bool) for value in values):
                raise ValueError(f"{field.name} must list True, False or both, got {values!r}")
            if not len(values):
                raise ValueError(f"{field.name} must list at least one value, got {values!r}")
            object.__setattr__(self, field.name, tuple(sorted(set(values))))

    @classmethod
    def only(cls, form: str | Form) -> Space:
        """The space of one form."""
        return cls(*((value,) for value in astuple(Form.parse(form))))

    def __len__(self) -> int:
        return int(np.prod([len(values) for values in self.choices()]))

    def __contains__(self, form: str | Form) -> bool:
        values = astuple(Form.parse(form))
        return all(value in each for value, each in zip(values, self.choices(), strict=True))

    def random(
        self, rng: np.random.Generator, bits: Literal["any", "highest", "lowest"] = "any"
    ) -> Form:
        """A form drawn evenly; its bits the highest or the lowest where so asked."""
        drawn: list[Any] = [values[rng.integers(len(values))] for values in self.choices()]
        if bits != "any":
            end = -1 if bits == "highest" else 0
            drawn[:2] = self.weight_bits[end], self.activation_bits[end]
        return Form(*drawn)

    def choices(self) -> tuple[Any, ...]:
        """The values of each field of a form, sorted."""
        return tuple(getattr(self, field.name) for field in fields(self))

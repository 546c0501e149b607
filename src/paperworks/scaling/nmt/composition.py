r"""Test sets by their origin: a law for each, and what a mixture of them does.

Ghorbani et al., arXiv 2109.07740, find that what a test set was made from rules how its loss falls:
text written in the target language and translated back into the source ("target-original") goes
on improving with size, while translated targets ("source-original") do not behave alike. So each
set gets constants of its own.

The loss of a mixture is the mean of the losses, weighted by target tokens. A sum of two bivariate
laws is no bivariate law. Its floor is the mean of the floors; its slopes are means of the sets'
exponents weighted by what is left to learn in each, so they drift with size towards the set that
falls slowest. One law fitted to a mixture takes this drift for a higher floor. :class:`Mixture`
keeps the sets apart, so that it can be asked for any weights after the fits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from paperworks.scaling.nmt.law import EncoderDecoderLaw
from paperworks.scaling.nmt.split import LayerChoice, Split, best_layers

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Composition:
    """A law for each test set.

    Attributes
    ----------
    laws : dict of str to EncoderDecoderLaw
        By the test set's name, in the order in which the runs name them. All have the same
        reference sizes, so their ``alpha`` compare.

    Examples
    --------
    >>> source = EncoderDecoderLaw(0.3, 0.05, 0.20, 1.0, 1e8, 1e8)
    >>> target = EncoderDecoderLaw(0.6, 0.20, 0.40, 1.4, 1e8, 1e8)
    >>> both = Composition({"source-original": source, "target-original": target})
    >>> half = both.mixture({"source-original": 1, "target-original": 1})
    >>> float(half(1e8, 1e8)), half.L_inf
    (1.65, 1.2)
    """

    laws: dict[str, EncoderDecoderLaw]

    def mixture(self, weights: Mapping[str, float] | None = None) -> Mixture:
        """The loss of a test set made of these ones.

        Parameters
        ----------
        weights : mapping of str to float, optional
            Target tokens of each set, or anything proportional to them; sets left out have none. By
            default all sets weigh the same.

        Raises
        ------
        ValueError
            For an unknown set, a weight that is negative or not finite, or none above 0.
        """
        given = dict.fromkeys(self.laws, 1.0) if weights is None else dict(weights)
        for name, weight in given.items():
            if name not in self.laws:
                raise ValueError(
                    f"there is no test set {name!r}; there are {', '.join(map(repr, self.laws))}"
                )
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"the weight of {name!r} must be finite and >= 0, got {weight}")
        total = sum(given.values())
        if not total > 0:
            raise ValueError(f"some weight must be > 0, got {given}")
        return Mixture(
            tuple((weight / total, self.laws[name]) for name, weight in given.items() if weight)
        )


@dataclass(frozen=True)
class Mixture:
    """Loss of a mixture of test sets, as :meth:`Composition.mixture` makes it.

    Attributes
    ----------
    parts : tuple of (float, EncoderDecoderLaw)
        Weights that sum to 1, and laws.
    """

    parts: tuple[tuple[float, EncoderDecoderLaw], ...]

    @property
    def L_inf(self) -> float:  # noqa: N802
        """The mixture's floor: the mean of the sets' floors."""
        return sum(weight * law.L_inf for weight, law in self.parts)

    def __call__(self, N_e: ArrayLike, N_d: ArrayLike) -> FloatArray:
        """Loss at these sizes, in their broadcast shape."""
        return np.asarray(sum(weight * law(N_e, N_d) for weight, law in self.parts))

    def exponents(self, N_e: ArrayLike, N_d: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """The slopes of ``log(L - L_inf)``: what a law fitted near these sizes would find.

        Each is the mean of the sets' exponents, weighted by the reducible loss that is left in
        them.
        """
        left = [weight * (law(N_e, N_d) - law.L_inf) for weight, law in self.parts]
        total = sum(left)
        slope_e = sum(each * law.p_e for each, (_, law) in zip(left, self.parts, strict=True))
        slope_d = sum(each * law.p_d for each, (_, law) in zip(left, self.parts, strict=True))
        return np.asarray(slope_e / total), np.asarray(slope_d / total)

    def optimal_split(self, budget: float) -> Split:
        """How to divide a budget for the least loss of the mixture.

        There is no closed form, and the best share depends on the budget. It lies between the sets'
        own best shares, where the loss has one minimum: each part is convex in the share.

        Raises
        ------
        ValueError
            Where ``budget`` is not positive, or a set has no best split of its own.
        """
        own = [law.optimal_split(budget).share for _, law in self.parts]
        low, high = min(own), max(own)

        def loss(share: float) -> float:
            return self.L_inf + sum(
                weight * float(law.reducible(budget, share)) for weight, law in self.parts
            )

        share = low
        if high - low > 1e-12:
            share = float(
                minimize_scalar(
                    loss, bounds=(low, high), method="bounded", options={"xatol": 1e-10}
                ).x
            )
        return Split(budget, share, budget * share, budget * (1 - share), loss(share))

    def best_layers(self, budget: float, encoder_layer: float, decoder_layer: float) -> LayerChoice:
        """Whole layers within a budget, as :meth:`EncoderDecoderLaw.best_layers`."""
        return best_layers(self, budget, encoder_layer, decoder_layer)


def fit_test_sets(
    N_e: ArrayLike,
    N_d: ArrayLike,
    loss: ArrayLike,
    test_set: ArrayLike,
    *,
    N_e_bar: float | None = None,
    N_d_bar: float | None = None,
    groups: ArrayLike | None = None,
    **settings: Any,
) -> Composition:
    """Fit a law of its own to each test set.

    Parameters
    ----------
    N_e, N_d, loss : (n,) float
        As for :meth:`EncoderDecoderLaw.fit`: a row for each model and test set.
    test_set : (n,) str
        The test set of each row, as "source-original" and "target-original".
    N_e_bar, N_d_bar : float, optional
        Reference sizes of all the laws; by default the geometric means over all rows.
    groups, **settings
        As for :meth:`EncoderDecoderLaw.fit`.

    Returns
    -------
    Composition

    Raises
    ------
    ValueError
        As :meth:`EncoderDecoderLaw.fit`, with the name of the set.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> N_e, N_d = rng.uniform(1e7, 1e9, (2, 40))
    >>> kind = np.array(["source-original", "target-original"] * 20)
    >>> floor = np.where(kind == "source-original", 1.0, 1.4)
    >>> loss = (floor + 30 * N_e**-0.1 * N_d**-0.2) * np.exp(rng.normal(0, 1e-3, 40))
    >>> both = fit_test_sets(N_e, N_d, loss, kind, resamples=50)
    >>> sorted(both.laws), both.laws["target-original"].L_inf > both.laws["source-original"].L_inf
    (['source-original', 'target-original'], True)
    """
    sizes = [np.asarray(each, dtype=np.float64) for each in (N_e, N_d)]
    y, names = np.asarray(loss, dtype=np.float64), np.asarray(test_set).astype(str)
    runs = None if groups is None else np.asarray(groups)
    for label, column in (("N_e", sizes[0]), ("N_d", sizes[1]), ("loss", y), ("groups", runs)):
        if column is not None and column.shape != names.shape:
            raise ValueError(
                f"{label} and test_set must have one entry for each row, got shapes "
                f"{column.shape} and {names.shape}"
            )
    if not names.size:
        raise ValueError("test_set holds no row")
    bars = []
    for label, given, column in (("N_e", N_e_bar, sizes[0]), ("N_d", N_d_bar, sizes[1])):
        bad = column[~(np.isfinite(column) & (column > 0))]
        if bad.size:
            raise ValueError(f"{label} must be finite and > 0, got {bad[0]}")
        bars.append(float(np.exp(np.log(column).mean())) if given is None else given)
    laws = {}
    for name in dict.fromkeys(names.tolist()):
        rows = names == name
        try:
            laws[name] = EncoderDecoderLaw.fit(
                sizes[0][rows],
                sizes[1][rows],
                y[rows],
                N_e_bar=bars[0],
                N_d_bar=bars[1],
                groups=None if runs is None else runs[rows],
                **settings,
            )
        except ValueError as error:
            raise ValueError(f"test set {name!r}: {error}") from None
    return Composition(laws)

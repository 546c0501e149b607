"""What a law is worth: the error on the largest runs when only the smaller ones were seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paperworks.scaling.fitting.fit import fit_law
from paperworks.scaling.fitting.law import FloatArray, Law, log_variables
from paperworks.scaling.fitting.laws import law_named
from paperworks.scaling.fitting.result import LawFit
from paperworks.scaling.fitting.solve import Space


@dataclass(frozen=True)
class HeldOut:
    """A law's predictions of runs that it did not see.

    Attributes
    ----------
    fit : LawFit
        The fit to the smaller runs.
    held_out : (n,) bool
        Which rows were held out.
    measured, predicted, low, high : (h,) float
        y of those rows, and what the fit said of them, with its interval for a new run.
    """

    fit: LawFit
    held_out: NDArray[np.bool_]
    measured: FloatArray
    predicted: FloatArray
    low: FloatArray
    high: FloatArray

    @property
    def rms(self) -> float:
        """Root mean squared error of the predictions: of log y, or of y in linear space."""
        return float(np.sqrt(np.mean(self._errors**2)))

    @property
    def bias(self) -> float:
        """Mean error of the predictions, predicted less measured, in the same unit."""
        return float(np.mean(self._errors))

    @property
    def covered(self) -> float:
        """Share of the held-out rows within their intervals."""
        return float(np.mean((self.low <= self.measured) & (self.measured <= self.high)))

    @property
    def _errors(self) -> FloatArray:
        if self.fit.space == "linear":
            return self.predicted - self.measured
        return np.asarray(np.log(self.predicted) - np.log(self.measured))


@dataclass(frozen=True)
class Comparison:
    """Rival laws on one division of the data, the best on held-out runs first.

    ``failed`` says of laws that could not be fitted why.
    """

    ranked: dict[str, HeldOut]
    failed: dict[str, str]


def hold_out_largest(
    law: Law | str,
    variables: Mapping[str, ArrayLike],
    y: ArrayLike,
    *,
    fraction: float = 0.25,
    by: str | None = None,
    groups: ArrayLike | None = None,
    space: Space = "log",
    delta: float | None = None,
    confidence: float = 0.95,
    resamples: int = 200,
    rng: int | np.random.Generator = 0,
) -> HeldOut:
    """Fit the smaller runs, and predict the largest.

    Parameters
    ----------
    law, variables, y, groups, space, delta, confidence, resamples, rng
        As for :func:`fit_law`.
    fraction : float
        Share of the runs that is held out, the largest; at least one.
    by : str, optional
        The variable that says which runs are large. By default the product of the law's variables
        (with N and D that is the compute).

    Returns
    -------
    HeldOut

    Raises
    ------
    ValueError
        As :func:`fit_law` for what is left; and where ``fraction`` is not between 0 and 1.

    Notes
    -----
    Rows that are as large as the smallest held-out run are held out too: what is fitted is smaller
    than all that is predicted.

    Examples
    --------
    >>> x = np.geomspace(1e3, 1e7, 20)
    >>> found = hold_out_largest("power", {"D": x}, 3 * x**-0.2, resamples=20)
    >>> int(found.held_out.sum()), bool(found.rms < 1e-8)
    (5, True)
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be between 0 and 1, got {fraction}")
    chosen = law_named(law)
    if len(chosen.variables) == 1 and len(variables) == 1:
        chosen = chosen.over(*variables)
    logx, shape = log_variables(chosen, variables)
    n = len(logx)
    values = np.asarray(y, dtype=np.float64)
    if values.shape != shape:
        raise ValueError(f"y must be (n,) like the variables, got {values.shape} and {shape}")
    if by is not None and by not in variables:
        raise ValueError(f"by must be one of {', '.join(variables)}, got {by!r}")
    size = logx.sum(1) if by is None else np.log(np.asarray(variables[by], dtype=np.float64))
    runs = np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    largest = np.full(runs.max() + 1, -np.inf)
    np.maximum.at(largest, runs, size)
    wanted = max(1, round(fraction * len(largest)))
    # A hair, so that equal sizes stay together whatever their rounding.
    out = (largest >= np.sort(largest)[-wanted] - 1e-9)[runs]
    columns = {
        name: np.broadcast_to(np.asarray(variables[name], dtype=np.float64), n)
        for name in chosen.variables
    }
    if out.all():
        raise ValueError("all runs are equally large, so none can be held out for its size")
    fit = fit_law(
        chosen,
        {name: column[~out] for name, column in columns.items()},
        values[~out],
        groups=runs[~out],
        space=space,
        delta=delta,
        confidence=confidence,
        resamples=resamples,
        rng=rng,
    )
    said = fit.predict({name: column[out] for name, column in columns.items()}, new_run=True)
    return HeldOut(fit, out, values[out], said.value, said.low, said.high)


def compare_laws(
    laws: Iterable[Law | str],
    variables: Mapping[str, ArrayLike],
    y: ArrayLike,
    *,
    fraction: float = 0.25,
    by: str | None = None,
    groups: ArrayLike | None = None,
    space: Space = "log",
    delta: float | None = None,
    confidence: float = 0.95,
    resamples: int = 200,
    rng: int = 0,
) -> Comparison:
    """Rank rival laws by their error on the largest runs, all fitted to the same smaller ones.

    Parameters
    ----------
    laws : iterable of str or Law
        The rivals, all of the variables that are given.
    variables, y, fraction, by, groups, space, delta, confidence, resamples, rng
        As for :func:`hold_out_largest`.

    Returns
    -------
    Comparison
        A law that has more parameters than there are runs is in ``failed``, not an error.

    Raises
    ------
    ValueError
        Where no law could be fitted; the reasons are named.

    Examples
    --------
    >>> x = np.geomspace(1e3, 1e7, 20)
    >>> y = 0.5 + 30 * x**-0.5
    >>> list(compare_laws(["power", "power-offset"], {"D": x}, y, resamples=20).ranked)
    ['power-offset', 'power']
    """
    found: dict[str, HeldOut] = {}
    failed: dict[str, str] = {}
    for law in laws:
        chosen = law_named(law)
        try:
            found[chosen.name] = hold_out_largest(
                chosen,
                variables,
                y,
                fraction=fraction,
                by=by,
                groups=groups,
                space=space,
                delta=delta,
                confidence=confidence,
                resamples=resamples,
                rng=rng,
            )
        except ValueError as error:
            failed[chosen.name] = str(error)
    if not found:
        raise ValueError("; ".join(failed.values()) or "there is no law to compare")
    ranked = dict(sorted(found.items(), key=lambda item: item[1].rms))
    return Comparison(ranked, failed)

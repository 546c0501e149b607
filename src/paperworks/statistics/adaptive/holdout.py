"""``ReusableHoldout``: the guard, with a scorer's interface and a budget that cannot be copied."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperworks.statistics.adaptive.answers import Answer, Status
from paperworks.statistics.adaptive.ledger import Ledger
from paperworks.statistics.adaptive.mechanisms import (
    Mechanism,
    State,
)
from paperworks.statistics.adaptive.noise import source
from paperworks.statistics.adaptive.queries import (
    UNIT,
    Query,
    as_rows,
    checked_range,
    count,
    evaluate,
    fingerprint,
)
from paperworks.statistics.adaptive.weights import MultiplicativeWeights
from paperworks.statistics.checking import probability


def correct(estimator: Any, X: Any, y: Any) -> NDArray[np.bool_]:
    """Whether each prediction is right: the mean is the accuracy.

    Parameters
    ----------
    estimator : fitted classifier
        Has ``predict``.
    X : (n, d)
        Features.
    y : (n,)
        Labels.

    Returns
    -------
    (n,) bool
        True where right.
    """
    return np.asarray(estimator.predict(X)) == np.asarray(y)


class ReusableHoldout:
    """A guard around a holdout that answers adaptively chosen queries, and knows when to stop.

    Ask about it as often as the mechanism allows, choosing each query by the answers before, and
    the answers stay near the truth of the distribution that the holdout is from. As a scorer it
    drops into a model-selection loop. Where the holdout is used once, there is no need for it.

    Parameters
    ----------
    train : (X, y), array or None
        The training set, in the holdout's form. :class:`Thresholdout` needs it; the others do
        without, and take None.
    holdout : (X, y) or array
        Independent samples that nobody has looked at. Parts may be arrays, DataFrames or sparse
        matrices. For :class:`MultiplicativeWeights` one array of points of its domain.
    mechanism : Mechanism
        From :func:`plan_holdout`, or made by hand.
    confidence : float, default=0.95
        Probability that ``error_bound`` holds for all answers together.
    path : path, optional
        An SQLite file for the spent budget, made where there is none. It makes the guard safe to
        send to other processes, and a later run goes on with what is left. Without it the guard
        lives in this process's memory and refuses to be sent elsewhere.
    per_sample : callable, default=correct
        What the scorer averages: ``per_sample(estimator, X, y)`` gives (n,) values.
    low, high : float, default=0, 1
        Their range.
    random_state : int, optional
        Repeats the noise, for simulations only; not with ``path``.

    Raises
    ------
    ValueError
        For bad data or parameters.
    LedgerError
        If the file cannot be used, or belongs to other data or another mechanism.

    Notes
    -----
    The promise: if the holdout's samples are independent draws, and nothing made from them was
    seen but the guard's answers, then with probability ``confidence`` no answer is further than
    ``error_bound`` from its query's true mean, whatever the analyst does with the answers. It is
    no promise against an analyst who reads the holdout's file, or whose query does more than
    return a function of each sample (stores the rows, or fails for some labels on purpose: a
    query that fails is not charged).

    A copy of a guard is the same guard: copying does not copy the budget. A copy of its *file*
    does, which only discipline prevents.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import LogisticRegression
    >>> from paperworks.statistics.adaptive import ReusableHoldout, Thresholdout
    >>> X, y = make_classification(4000, random_state=0)
    >>> train, holdout = (X[:2000], y[:2000]), (X[2000:], y[2000:])
    >>> mechanism = Thresholdout(queries=100, budget=20, threshold=0.045, scale=0.01)
    >>> guard = ReusableHoldout(train, holdout, mechanism)
    >>> models = [LogisticRegression(C=C).fit(*train) for C in (0.01, 1, 100)]
    >>> scores = [guard(model) for model in models]
    >>> guard.status().queries_left
    97
    """

    def __init__(
        self,
        train: Any,
        holdout: Any,
        mechanism: Mechanism,
        *,
        confidence: float = 0.95,
        path: str | os.PathLike[str] | None = None,
        per_sample: Callable[[Any, Any, Any], Any] = correct,
        low: float = 0.0,
        high: float = 1.0,
        random_state: int | None = None,
    ) -> None:
        if not isinstance(mechanism, Mechanism):
            raise ValueError(
                "mechanism must be one of Splitting, Laplace, Gaussian, Thresholdout and "
                f"MultiplicativeWeights, or what plan_holdout returns, got {mechanism!r}"
            )
        if path is not None and random_state is not None:
            raise ValueError(
                "random_state repeats the noise, and a guard with a path would repeat it in every "
                "process; leave one of them out"
            )
        self.mechanism = mechanism
        self.confidence = probability("confidence", confidence)
        self.per_sample = per_sample
        self.low, self.high = checked_range(low, high)
        self.holdout = as_rows(holdout, "holdout")
        self.n_samples = count(self.holdout)
        self.train = None if train is None else as_rows(train, "train")
        self._check_parts()
        self._cells: NDArray[np.int64] | None = None
        if isinstance(mechanism, MultiplicativeWeights):
            self._cells = mechanism.domain.nearest(self.holdout[0])
        self._bound = mechanism.error_bound(self.n_samples, self.confidence)
        self.draw = source(random_state)
        self._prints = fingerprint(self.train), fingerprint(self.holdout)
        self.header = {
            **mechanism.describe(),
            "confidence": self.confidence,
            "train": self._prints[0],
            "holdout": self._prints[1],
        }
        self._ledger = Ledger(path, self.header, lambda: mechanism.start(self.n_samples, self.draw))

    def _check_parts(self) -> None:
        guess = self.mechanism.guess
        if guess == "train" and self.train is None:
            raise ValueError(f"{self.mechanism.name} needs a training set: train=(X, y)")
        if self.train is not None and len(self.train) != len(self.holdout):
            raise ValueError(
                f"train and holdout must have the same parts, got {len(self.train)} and "
                f"{len(self.holdout)}"
            )
        if guess == "model" and len(self.holdout) != 1:
            raise ValueError(
                f"{self.mechanism.name} needs the holdout as one array of points of its domain; "
                "put the label into the points as a column"
            )

    def ask(self, query: Query, *, low: float = 0.0, high: float = 1.0, name: str = "") -> Answer:
        """Answer one statistical query.

        Parameters
        ----------
        query : callable
            ``query(X, y)``, or ``query(x)`` where the holdout is one array: a value in
            [``low``, ``high``] for each sample, each a function of that sample alone. With
            :class:`MultiplicativeWeights` it is asked about the domain's points instead.
        low, high : float, default=0, 1
            The range of its values.
        name : str
            For the history.

        Returns
        -------
        Answer
            The value, what it cost, and what is left.

        Raises
        ------
        BudgetExhausted
            If nothing is left. The query is then not run.
        ValueError
            If a value is NaN or out of range, or depends on other samples. Nothing is charged.
        """
        if not callable(query):
            raise ValueError(f"query must be a function of the samples, got {query!r}")
        low, high = checked_range(low, high)
        self.mechanism.check(self._ledger.state())
        n, guess = self.n_samples, None
        if isinstance(self.mechanism, MultiplicativeWeights):
            on_domain = evaluate(query, (self.mechanism.domain.points,), low, high)
            assert self._cells is not None
            values = on_domain[self._cells]
        else:
            if self.mechanism.guess == "train":
                assert self.train is not None
                known = evaluate(query, self.train, low, high)
                guess = round(int(known.sum()) * n / len(known))
            values = evaluate(query, self.holdout, low, high, secret=True)
        with self._ledger.turn() as turn:
            if isinstance(self.mechanism, MultiplicativeWeights):
                guess = self.mechanism.expect(turn.state, on_domain, n)
            reply = self.mechanism.answer(turn.state, values, guess, self.draw)
            if isinstance(self.mechanism, MultiplicativeWeights) and reply.cost:
                assert guess is not None
                self.mechanism.learn(turn.state, on_domain, guess / (n * UNIT), reply)
            value = low + (high - low) * reply.value
            turn.record = name, value, reply
        left = self._left(turn.state)
        return Answer(value, reply.source, reply.cost, *left, self._bound * (high - low))

    def __call__(self, estimator: Any, X: Any = None, y: Any = None) -> float:
        """Score a fitted estimator, as scikit-learn's scorers do.

        Parameters
        ----------
        estimator : fitted estimator
            Handed to ``per_sample``.
        X, y : array, optional
            The holdout, or the training set (whose mean is plain and free). Anything else is
            refused: the guard knows only its own data. Leave them out in a loop of your own.

        Returns
        -------
        float
            The guard's answer.

        Raises
        ------
        BudgetExhausted
            If nothing is left. scikit-learn's searches turn that into a score of NaN with a
            warning, unless ``error_score="raise"``.
        ValueError
            If ``X`` and ``y`` are other data.
        """
        if len(self.holdout) != 2:
            raise ValueError("a scorer needs train=(X, y) and holdout=(X, y); use ask() instead")

        def query(X: Any, y: Any) -> Any:
            return self.per_sample(estimator, X, y)

        if X is not None:
            given = fingerprint((X, y))
            if self.train is not None and given == self._prints[0]:
                values = evaluate(query, self.train, self.low, self.high)
                return self.low + (self.high - self.low) * float(values.mean()) / UNIT
            if given != self._prints[1]:
                raise ValueError(
                    "the guard scores its own holdout (and its training set) only, and these data "
                    "are neither; search with X, y, cv = guard.search_data()"
                )
        return self.ask(query, low=self.low, high=self.high, name=_short(estimator)).value

    def search_data(self) -> tuple[Any, Any, list[tuple[NDArray[np.int64], NDArray[np.int64]]]]:
        """``X, y, cv`` for scikit-learn's searches: fitted on train, scored on holdout.

        Returns
        -------
        X : (n_train + n, d)
            Both sets, the training set first.
        y : (n_train + n,)
            Their labels.
        cv : list of one (train, test) pair of int64
            The split.

        Raises
        ------
        ValueError
            Without a training set or labels.

        Examples
        --------
        ``GridSearchCV(model, grid, scoring=guard, cv=cv, refit=False).fit(X, y)``. With
        ``refit=True`` the best model would be fitted to the holdout too.
        """
        if self.train is None or len(self.holdout) != 2:
            raise ValueError("a search needs train=(X, y) and holdout=(X, y)")
        X, y = (_stack(*pair) for pair in zip(self.train, self.holdout, strict=True))
        n_train = count(self.train)
        return X, y, [(np.arange(n_train), np.arange(n_train, n_train + self.n_samples))]

    def status(self) -> Status:
        """What is spent and left, as the file says now."""
        state = self._ledger.state()
        queries_left, budget_left = self._left(state)
        return Status(
            self.mechanism.name,
            self.n_samples,
            state["asked"],
            queries_left,
            state["spent"],
            budget_left,
            self._bound,
            self.confidence,
        )

    def history(self, last: int | None = None) -> list[dict[str, Any]]:
        """The answers given so far (or the last few): number, time, name, value, source, cost."""
        return self._ledger.answers(last)

    def _left(self, state: State) -> tuple[int, int]:
        queries = self.mechanism.queries - state["asked"]
        budget = self.mechanism.units - state["spent"]
        return (queries if budget else 0), budget

    def __copy__(self) -> ReusableHoldout:
        return self

    def __deepcopy__(self, memo: Any) -> ReusableHoldout:
        return self  # scikit-learn's clone copies scorers; a budget must not double by that

    def __reduce__(self) -> tuple[Any, ...]:
        if self._ledger.path is None:
            raise TypeError(
                "a guard in memory cannot be sent to another process, since both could spend the "
                "same unit of its budget; give path= to share it through a file"
            )
        arguments = {
            "train": self.train,
            "holdout": self.holdout,
            "mechanism": self.mechanism,
            "confidence": self.confidence,
            "path": self._ledger.path,
            "per_sample": self.per_sample,
            "low": self.low,
            "high": self.high,
        }
        return _reopened, (arguments,)

    def __repr__(self) -> str:
        return f"ReusableHoldout({self.n_samples} samples, {self.mechanism!r})"


def _reopened(arguments: dict[str, Any]) -> ReusableHoldout:
    return ReusableHoldout(**arguments)


def _short(estimator: Any) -> str:
    return " ".join(repr(estimator).split())[:200]


def _stack(first: Any, second: Any) -> Any:
    """Two arrays, frames or sparse matrices, one upon the other."""
    if hasattr(first, "tocsr"):
        from scipy import sparse

        return sparse.vstack([first, second], format="csr")
    if hasattr(first, "iloc"):
        import pandas

        return pandas.concat([first, second], ignore_index=True)
    return np.concatenate([np.asarray(first), np.asarray(second)])

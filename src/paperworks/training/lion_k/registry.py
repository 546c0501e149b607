"""The named kappas, and how one is written into a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from types import MappingProxyType
from typing import Any

from paperworks.training.lion_k import elementwise, norms
from paperworks.training.lion_k.base import Kappa

KAPPAS: Mapping[str, type[Kappa]] = MappingProxyType(
    {
        "l1": elementwise.L1,
        "lp": norms.Lp,
        "l2": norms.L2,
        "linf": norms.LInf,
        "topk": norms.TopK,
        "group": norms.Group,
        "huber": elementwise.Huber,
        "deadzone": elementwise.DeadZone,
        "relativistic": elementwise.Relativistic,
        "tanh": elementwise.LogCosh,
        "quadratic": elementwise.Quadratic,
    }
)
"""The named kappas: name to class."""


def kappa(name: str, **settings: Any) -> Kappa:
    """The kappa called ``name``.

    Parameters
    ----------
    name : str
        A key of :data:`KAPPAS`.
    **settings
        ``p`` for lp, ``k`` for topk, ``dim`` for group, ``delta`` for huber, ``threshold`` for
        deadzone, ``eps`` for relativistic, ``scale`` for tanh. The last four are in the unit of
        the gradient.

    Returns
    -------
    Kappa

    Raises
    ------
    ValueError
        For an unknown name or setting, and a setting outside its range.

    Examples
    --------
    >>> import torch
    >>> from paperworks.training import lion_k
    >>> lp = lion_k.kappa("lp", p=4)
    >>> lp.feasible_set
    '|x|_1.33333 <= 1/weight_decay'
    >>> for name in lion_k.KAPPAS:
    ...     s = lion_k.kappa(name).subgradient(torch.zeros(3))
    ...     assert s.tolist() == [0, 0, 0]
    """
    if name not in KAPPAS:
        raise ValueError(
            f"no kappa is called {name!r}; there are {', '.join(KAPPAS)}, "
            "or pass a Kappa of your own"
        )
    known = [field.name for field in fields(KAPPAS[name])]  # type: ignore[arg-type]
    for setting in settings:
        if setting not in known:
            raise ValueError(
                f"kappa {name!r} takes {', '.join(known) or 'no settings'}; got {setting!r}"
            )
    return KAPPAS[name](**settings)


def to_plain(kappa: Kappa) -> dict[str, Any]:
    """A named kappa as plain values, which ``torch.load`` reads without trusting the file."""
    for name, kind in KAPPAS.items():
        if type(kappa) is kind:
            return {"name": name, **asdict(kappa)}  # type: ignore[call-overload]
    return {"name": None}


def from_plain(plain: Mapping[str, Any], present: Kappa) -> Kappa:
    """The kappa of a checkpoint; one of the user's own is taken from the optimizer at hand."""
    settings = dict(plain)
    name = settings.pop("name")
    if name is not None:
        return kappa(name, **settings)
    if type(present) in KAPPAS.values():
        raise ValueError(
            "the checkpoint was saved with a kappa of the user's own, which is not stored in it; "
            "pass that kappa to LionK before load_state_dict"
        )
    return present

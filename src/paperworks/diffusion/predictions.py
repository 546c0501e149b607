"""What a network predicts of a noisy sample, and how each prediction says all the others.

With ``x = alpha x0 + sigma eps`` any one of these fixes the rest, exactly and linearly:

===================  =======================  =====================================
``"epsilon"``        the noise                ``eps``
``"sample"``         the data                 ``x0``
``"v_prediction"``   Salimans and Ho 2022     ``alpha eps - sigma x0``
``"flow_prediction"``  flow matching          ``eps - x0``
``"score"``          grad log density         ``-eps / sigma``
===================  =======================  =====================================

The names are those of diffusers, and ``"score"``.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

Prediction = Literal["epsilon", "sample", "v_prediction", "flow_prediction", "score"]
Factor = float | Tensor
"""A number, or a tensor that broadcasts with the sample."""


def noise_and_data(
    value: Tensor, kind: Prediction, x: Tensor, alpha: Factor, sigma: Factor
) -> tuple[Tensor, Tensor]:
    """``(eps, x0)`` that a prediction stands for.

    Parameters
    ----------
    value, x : (batch, ...) float
        The prediction, and the noisy sample that it was made for.
    kind : str
        What ``value`` predicts.
    alpha, sigma : float or Tensor
        Of the schedule at the sample's time; both above 0, unless the prediction needs no division
        by them.

    Raises
    ------
    ValueError
        For an unknown kind.
    """
    if kind == "epsilon":
        return value, (x - sigma * value) / alpha
    if kind == "sample":
        return (x - alpha * value) / sigma, value
    if kind == "v_prediction":
        power = alpha**2 + sigma**2
        return (alpha * value + sigma * x) / power, (alpha * x - sigma * value) / power
    if kind == "flow_prediction":
        total = alpha + sigma
        return (x + alpha * value) / total, (x - sigma * value) / total
    if kind == "score":
        return -sigma * value, (x + sigma**2 * value) / alpha
    raise ValueError(f"prediction must be one of {', '.join(get_args(Prediction))}; got {kind!r}")


def convert(
    value: Tensor,
    x: Tensor,
    alpha: Factor,
    sigma: Factor,
    *,
    source: Prediction,
    target: Prediction,
) -> Tensor:
    """One prediction turned into another.

    Parameters
    ----------
    value, x : (batch, ...) float
        The prediction, and the noisy sample that it was made for.
    alpha, sigma : float or Tensor
        Of the schedule at the sample's time.
    source, target : str
        What ``value`` predicts, and what is wanted.

    Returns
    -------
    (batch, ...) float

    Raises
    ------
    ValueError
        For an unknown kind.

    Examples
    --------
    >>> import torch
    >>> x0, eps = torch.tensor([1.0]), torch.tensor([-0.5])
    >>> convert(eps, 0.8 * x0 + 0.6 * eps, 0.8, 0.6, source="epsilon", target="sample")
    tensor([1.])
    """
    noise, data = noise_and_data(value, source, x, alpha, sigma)
    return of_noise_and_data(noise, data, target, alpha, sigma)


def of_noise_and_data(
    noise: Tensor, data: Tensor, kind: Prediction, alpha: Factor, sigma: Factor
) -> Tensor:
    """The prediction of that kind, for ``noise`` and ``data`` of the same sample: the target that
    a network is trained on.

    Raises
    ------
    ValueError
        For an unknown kind.
    """
    if kind == "epsilon":
        return noise
    if kind == "sample":
        return data
    if kind == "v_prediction":
        return alpha * noise - sigma * data
    if kind == "flow_prediction":
        return noise - data
    if kind == "score":
        return -noise / sigma
    raise ValueError(f"prediction must be one of {', '.join(get_args(Prediction))}; got {kind!r}")

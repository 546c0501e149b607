from __future__ import annotations

from itertools import product
from typing import Any, get_args

import pytest
import torch

from paperworks.diffusion.predictions import Prediction, convert, of_noise_and_data

KINDS: tuple[Any, ...] = get_args(Prediction)


@pytest.mark.parametrize(("source", "target"), list(product(KINDS, KINDS)))
@pytest.mark.parametrize(("alpha", "sigma"), [(0.6, 0.8), (1.0, 7.0), (0.3, 0.7), (0.999, 0.01)])
def test_each_says_all_the_others(source: Any, target: Any, alpha: float, sigma: float) -> None:
    generator = torch.Generator().manual_seed(0)
    data, noise = (torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in "ab")
    x = alpha * data + sigma * noise
    # By the definitions, each from data and noise.
    meaning = {
        "epsilon": noise,
        "sample": data,
        "v_prediction": alpha * noise - sigma * data,
        "flow_prediction": noise - data,
        "score": (alpha * data - x) / sigma**2,
    }
    found = convert(meaning[source], x, alpha, sigma, source=source, target=target)
    torch.testing.assert_close(found, meaning[target], rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(
        of_noise_and_data(noise, data, source, alpha, sigma), meaning[source]
    )


def test_a_factor_for_each_sample() -> None:
    alpha, sigma = torch.tensor([[0.6], [1.0]]), torch.tensor([[0.8], [2.0]])
    x, value = torch.ones(2, 3), torch.full((2, 3), 0.5)
    found = convert(value, x, alpha, sigma, source="epsilon", target="sample")
    torch.testing.assert_close(found[:, 0], torch.tensor([1.0, 0.0]))


def test_an_unknown_kind() -> None:
    x = torch.zeros(1)
    with pytest.raises(ValueError, match=r"must be one of epsilon, .*; got 'noise'"):
        convert(x, x, 1, 1, source="noise", target="sample")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"must be one of epsilon, .*; got 'noise'"):
        convert(x, x, 1, 1, source="epsilon", target="noise")  # type: ignore[arg-type]

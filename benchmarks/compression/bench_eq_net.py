"""Elastic quantization: what a training step and a search cost.

First one optimizer step of a ResNet-8 on a batch of 64 images of 16 x 16: in full precision, of one
static network (the same quantizers, one form), of the elastic network, and of as many static ones
as there are forms to serve. PyTorch's own quantization-aware training stands beside the static one;
its quantizers find ranges by observers and do not learn them. Then a search for mixed precision:
with the predictor, and by evaluating as many candidates on 256 images, which is what the predictor
saves. The elastic step goes through three networks (``GroupProgressiveGuidance.parts``), and serves
392 forms.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.ao import quantization as ao
from torch.nn.functional import cross_entropy

from paperworks.claims._vision import ResNet, accuracy, initialised
from paperworks.compression.eq_net import (
    AccuracyPredictor,
    ElasticQuantization,
    GroupProgressiveGuidance,
    Space,
    measure,
    sample_settings,
    search_precision,
    setting_cost,
    weight_distribution_loss,
)

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(64, 3, 16, 16, generator=GENERATOR)
Y = torch.randint(0, 10, (64,), generator=GENERATOR)
FORMS = ("w2a2-tensor", "w4a4-channel-asym", "w8a8-channel", "w4a8-channel-sym-asym")


def _network(width: float) -> nn.Module:
    return initialised(lambda: ResNet(8, width), 0)


def _torch_qat(model: nn.Module) -> nn.Module:
    weights = ao.FakeQuantize.with_args(
        observer=ao.MovingAveragePerChannelMinMaxObserver, quant_min=-8, quant_max=7,
        dtype=torch.qint8, qscheme=torch.per_channel_symmetric,
    )  # fmt: skip
    inputs = ao.FakeQuantize.with_args(
        observer=ao.MovingAverageMinMaxObserver, quant_min=0, quant_max=15, dtype=torch.quint8
    )
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.qconfig = ao.QConfig(activation=inputs, weight=weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is on its way to torchao
        return ao.prepare_qat(model.train())


def _static(form: str) -> Callable[[nn.Module], nn.Module]:
    return lambda model: ElasticQuantization(Space.only(form))(model, [X])


def _step(model: nn.Module, backward: Callable[[nn.Module], None]) -> Callable[[], None]:
    model(X)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)

    def step() -> None:
        optimizer.zero_grad()
        backward(model)
        optimizer.step()

    return step


def _labels(model: nn.Module) -> None:
    cross_entropy(model(X), Y).backward()


def _guided(model: nn.Module) -> None:
    guidance = GroupProgressiveGuidance(np.random.default_rng(0))
    weight_distribution_loss(model).backward()
    for part in guidance.parts(model, X, Y):
        part.backward()


CONTENDERS = (
    "float32",
    "torch prepare_qat, 4 bits",
    "static",
    "static, 4 networks",
    "EQ-Net, all forms",
)


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("width", [0.5, 1])
def test_training_step(race: Any, width: float, contender: str) -> None:
    model = _network(width)
    if contender == "EQ-Net, all forms":
        steps = [_step(ElasticQuantization()(model, [X]), _guided)]
    elif contender.startswith("static"):
        forms = FORMS if "networks" in contender else FORMS[1:2]
        steps = [_step(_static(form)(copy.deepcopy(model)), _labels) for form in forms]
    else:
        steps = [_step(model if contender == "float32" else _torch_qat(model), _labels)]

    def run() -> None:
        for step in steps:
            step()

    race(
        run,
        group=f"optimizer step of a ResNet-8, width {width:g}",
        contender=contender,
        ours=contender.startswith("EQ-Net"),
        rounds=5,
        warmup=2,
        note="serves 392 forms" if contender.startswith("EQ-Net") else "",
    )


@pytest.mark.parametrize("contender", ["EQ-Net's predictor", "evaluating every candidate"])
@pytest.mark.parametrize("candidates", [100, 1000, 10_000])
def test_search(race: Any, candidates: int, contender: str) -> None:
    if contender != "EQ-Net's predictor" and candidates > 100:
        pytest.skip("it grows with the candidates; 100 of them say how long one takes")
    model = ElasticQuantization()(_network(0.5), [X])
    rng = np.random.default_rng(0)
    settings = sample_settings(model, 300, rng)
    images, labels = X.repeat(4, 1, 1, 1), Y.repeat(4)

    def evaluate() -> Any:
        return measure(
            model, settings[:100], lambda net: accuracy(net, images, labels), batches=[X]
        )

    if contender != "EQ-Net's predictor":
        race(evaluate, group=f"search of {candidates} candidates", contender=contender, rounds=1)
        return
    worth = [np.mean([form.weight_bits for form in each.values()]) / 8 for each in settings]
    predictor = AccuracyPredictor().fit(settings, worth)
    budget = setting_cost(model, X[:1]).size / 2
    generations = max(1, candidates // 75)  # a quarter of a population of 100 is kept

    def search() -> Any:
        return search_precision(
            model, predictor, X[:1], np.random.default_rng(1), size=budget, generations=generations
        )

    race(search, group=f"search of {candidates} candidates", contender=contender, ours=True)


def test_fitting_the_predictor(race: Any) -> None:
    model = ElasticQuantization()(_network(0.5), [X])
    settings = sample_settings(model, 300, np.random.default_rng(0))
    worth = [np.mean([form.weight_bits for form in each.values()]) / 8 for each in settings]
    race(
        lambda: AccuracyPredictor().fit(settings, worth),
        group="fit the predictor to 300 settings, once",
        contender="EQ-Net's predictor",
        ours=True,
        rounds=1,
    )

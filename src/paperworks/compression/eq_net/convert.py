"""From a trained module to the elastic supernet, and from form to form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace as changed
from typing import Any, cast

from torch import nn

from paperworks.compression.calls import as_batches
from paperworks.compression.eq_net.forms import Form, Setting, Space
from paperworks.compression.eq_net.quantizers import ElasticQuantizer
from paperworks.compression.fake_quant import FakeQuantConv2d, FakeQuantLinear
from paperworks.compression.layers import SKIP, compressible, replace
from paperworks.compression.lsq import check_bits
from paperworks.compression.running import evaluation, run_model


class ElasticQuantization:
    """Turn a trained model into one that runs at any bit width, granularity and symmetry.

    Train the result with :class:`GroupProgressiveGuidance`, then :func:`choose` a form, calibrate
    batch normalisation for it (``torch.optim.swa_utils.update_bn``) and use it, or
    :func:`export_subnet`. Worth it where one model must serve several targets, or where bit widths
    are to be searched. For one known form a space of that form alone is LSQ or LSQ+ training, at a
    third of the cost.

    Parameters
    ----------
    space : Space
        The forms to choose from; by default 2 to 8 bits, both granularities and symmetries.
    edge_bits : int or None
        The bits of weight and input of the first and the last layer, in every form: 8, as in the
        paper. None treats them as the others.
    skip : sequence of str
        Patterns as in :mod:`fnmatch`: layers that stay in full precision.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from paperworks.compression.eq_net import ElasticQuantization, choose, chosen
    >>> mlp = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 2))
    >>> model = ElasticQuantization()(mlp, [torch.randn(16, 4)])
    >>> _ = choose(model, "w2a4-tensor-asym")
    >>> for name, form in chosen(model).items():
    ...     print(name, form)
    0 w8a8-tensor-asym-sym
    2 w2a4-tensor-asym-sym
    3 w8a8-tensor-asym-sym
    """

    def __init__(
        self,
        space: Space | None = None,
        *,
        edge_bits: int | None = 8,
        skip: Sequence[str] = SKIP,
    ) -> None:
        self.space = Space() if space is None else space
        self.edge_bits = edge_bits if edge_bits is None else check_bits(edge_bits)
        self.skip = skip

    def __call__(self, model: nn.Module, calibration: Iterable[object] | None = None) -> nn.Module:
        """Change ``model`` in place and return it, in its highest form. Make the optimizer after.

        Parameters
        ----------
        model : nn.Module
            Anything with Linear or Conv2d layers. Weights and biases stay the same parameters.
        calibration : iterable of batches, optional
            Fits the ranges of inputs; a batch will do. Without it the first batch of training
            does.

        Raises
        ------
        ValueError
            If there is no such layer, or a weight is tied or not finite; the message names it.

        Notes
        -----
        Fitting tries 40 ranges for each of up to 28 forms of a weight and 14 of an input, on a
        few thousand entries of it.
        """
        batches = [] if calibration is None else as_batches(calibration)
        layers: dict[str, Any] = compressible(model, skip=self.skip, plain=True)
        edges = {next(iter(layers)), next(reversed(layers))}
        for name, layer in layers.items():
            space, own = self.space, self.edge_bits if name in edges else None
            if own is not None:
                space = changed(space, weight_bits=(own,), activation_bits=(own,))
            kind = FakeQuantConv2d if isinstance(layer, nn.Conv2d) else FakeQuantLinear
            new: Any = kind.of(
                layer, ElasticQuantizer(space, layer.weight), ElasticQuantizer(space)
            )
            new.space, new.edge_bits = space, own
            replace(model, name, new)
        highest = {
            name: Form(*(values[-1] for values in layer.space.choices()))
            for name, layer in elastic_layers(model).items()
        }
        choose(model, highest)
        with evaluation(model):
            run_model(model, batches[:1])  # one batch fits all ranges
        return model


def elastic_layers(model: nn.Module) -> dict[str, Any]:
    """The elastic layers of a supernet by name, each with its ``space`` and its ``form``.

    Raises
    ------
    ValueError
        If there is none.
    """
    found = dict(_elastic(model, ""))
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no elastic layer: make it a supernet first, with "
            "ElasticQuantization()(model)"
        )
    return found


def _elastic(module: nn.Module, prefix: str) -> Iterator[tuple[str, Any]]:
    # Not named_modules(): a layer has dozens of quantizers inside, and this runs at every step.
    for name, child in module.named_children():
        if isinstance(getattr(child, "weight_quantizer", None), ElasticQuantizer):
            yield prefix + name, child
        else:
            yield from _elastic(child, f"{prefix}{name}.")


def choose(model: nn.Module, form: str | Form | Mapping[str, str | Form]) -> nn.Module:
    """Put a supernet, or single layers of it, into a form. Returns the model.

    Parameters
    ----------
    model : nn.Module
        Made by :class:`ElasticQuantization`. The form is not part of its state dict.
    form : str, Form or mapping of layer names to them
        One form is for the whole net; the first and the last layer keep the bits of the edges.
        A mapping changes the layers that it names and no other.

    Raises
    ------
    ValueError
        If a layer does not have that form, or there is no such layer. Nothing is changed then.

    Notes
    -----
    The statistics of batch normalisation are those of the forms that ran last: calibrate them
    before the network is evaluated, as the paper does.

    Examples
    --------
    >>> from torch import nn
    >>> model = ElasticQuantization(edge_bits=None)(nn.Sequential(nn.Linear(4, 4)))
    >>> choose(model, {"0": "w3a5"})[0].form.weight_bits
    3
    """
    layers = elastic_layers(model)
    if isinstance(form, Mapping):
        unknown = [name for name in form if name not in layers]
        if unknown:
            raise ValueError(f"no elastic layer is called {unknown[0]!r}; there are {list(layers)}")
        setting = {name: Form.parse(each) for name, each in form.items()}
    else:
        setting = {name: _within(layer, Form.parse(form)) for name, layer in layers.items()}
    for name, each in setting.items():
        if each not in layers[name].space:
            raise ValueError(f"{name} has no form {each}; it has {layers[name].space}")
    for name, each in setting.items():
        layer = layers[name]
        layer.form = each
        layer.weight_quantizer.select(each.weight_bits, each.per_channel, each.weight_symmetric)
        layer.input_quantizer.select(each.activation_bits, False, each.activation_symmetric)
    return model


def chosen(model: nn.Module) -> Setting:
    """The form of each elastic layer by name: what :func:`choose` takes.

    Examples
    --------
    >>> from torch import nn
    >>> from paperworks.compression.eq_net import ElasticQuantization, Space, chosen
    >>> only = ElasticQuantization(Space.only("w4a4"), edge_bits=None)
    >>> {name: str(form) for name, form in chosen(only(nn.Sequential(nn.Linear(4, 4)))).items()}
    {'0': 'w4a4-channel-sym-sym'}
    """
    return {name: cast(Form, layer.form) for name, layer in elastic_layers(model).items()}


def _within(layer: Any, form: Form) -> Form:
    """``form``, in a layer at the edge with that layer's own bits."""
    own = layer.edge_bits
    return form if own is None else changed(form, weight_bits=own, activation_bits=own)

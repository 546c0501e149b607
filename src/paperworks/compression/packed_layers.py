"""The layers that run on packed weights."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from paperworks.compression.calls import in_order
from paperworks.compression.grids import Grid
from paperworks.compression.inputs import InputQuantizer
from paperworks.compression.layers import HOOKS, group_count
from paperworks.compression.packed import PackedWeight


class QuantizedLayer(nn.Module):
    """What the layers here have: packed weight, bias, and rounding of inputs."""

    bias: Tensor | None
    stands_for: type[nn.Module] = nn.Linear
    """The class of layer that it takes the place of."""

    def __init__(
        self,
        weight: PackedWeight,
        bias: Tensor | None = None,
        input_quantizer: InputQuantizer | None = None,
    ):
        super().__init__()
        self.weight = weight
        self.register_buffer("bias", None if bias is None else bias.detach())
        self.input_quantizer = input_quantizer

    @property
    def groups(self) -> int:
        """How many independent matrices share the weight, as those of a grouped convolution."""
        return 1

    def rounded(self, x: Tensor) -> Tensor:
        """The input as the weight sees it."""
        return x if self.input_quantizer is None else self.input_quantizer(x)


class QuantizedLinear(QuantizedLayer):
    """A linear layer on a packed weight, and on rounded inputs where asked.

    Parameters
    ----------
    weight : PackedWeight
        Of shape (out, in).
    bias : (out,) float, optional
    input_quantizer : InputQuantizer, optional
        Applied to the input first; the simulation of inputs of few bits.
    """

    @property
    def in_features(self) -> int:
        """As of ``nn.Linear``."""
        return self.weight.shape[1]

    @property
    def out_features(self) -> int:
        """As of ``nn.Linear``."""
        return self.weight.shape[0]

    def forward(self, input: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return self.weight.linear(self.rounded(input), self.bias)


class QuantizedForward(QuantizedLayer):
    """A layer with the forward of the one that it takes the place of, on a packed weight.

    For convolutions, which have settings and ways of padding, and for subclasses, which may do
    anything before and after. The weight is decoded whole at each call; one of up to 32,768 numbers
    stays decoded from the first call on, beside its codes.

    Parameters
    ----------
    weight : PackedWeight
    layer : Linear, Conv2d or a subclass
        What it is beside its weight and bias is kept.
    bias : (out,) float, optional
    input_quantizer : InputQuantizer, optional
        Applied to what forward is given: before a padding of the layer's own.
    """

    def __init__(
        self,
        weight: PackedWeight,
        layer: nn.Module,
        bias: Tensor | None = None,
        input_quantizer: InputQuantizer | None = None,
    ):
        super().__init__(weight, bias, input_quantizer)
        self.layer = _without_weight(layer)
        self.stands_for = type(layer)

    @property
    def groups(self) -> int:
        """As of :class:`QuantizedLayer`."""
        return group_count(self.layer)

    def forward(self, *given: Any, **named: Any) -> Any:
        """As of the layer."""
        (x, *more), named = in_order(self.layer, given, named)
        x = self.rounded(x)
        layer = _with(self.layer, weight=self.weight.shared(x.dtype), bias=self.bias)
        return layer.forward(x, *more, **named)


class QuantizedConv2d(QuantizedForward):
    """A two-dimensional convolution on a packed weight."""

    def forward(self, *given: Any, **named: Any) -> Any:
        """As of the layer."""
        layer: Any = self.layer
        if len(given) != 1 or named or type(layer).forward is not nn.Conv2d.forward:
            return super().forward(*given, **named)
        # No layer of this call is needed, which would take a tenth of a small convolution's time.
        x = self.rounded(given[0])
        return layer._conv_forward(x, self.weight.shared(x.dtype), self.bias)


class QuantizedEmbedding(nn.Module):
    """An embedding on a packed weight: only the rows asked for are decoded."""

    stands_for: type[nn.Module] = nn.Embedding

    def __init__(self, weight: PackedWeight):
        super().__init__()
        self.weight = weight

    @property
    def num_embeddings(self) -> int:
        """As of ``nn.Embedding``."""
        return self.weight.shape[0]

    @property
    def embedding_dim(self) -> int:
        """As of ``nn.Embedding``."""
        return self.weight.shape[1]

    def forward(self, input: Tensor) -> Tensor:
        """(...) int64 to (..., dim) of the dtype that the layer's weight had."""
        return self.weight.row(input)


class QuantizedEmbeddingForward(QuantizedEmbedding):
    """A subclass of Embedding with its own forward, as one that scales its rows.

    Parameters
    ----------
    weight : PackedWeight
    layer : nn.Embedding
        What it is beside its weight is kept.
    """

    def __init__(self, weight: PackedWeight, layer: nn.Module):
        super().__init__(weight)
        self.layer = _without_weight(layer)

    def forward(self, *given: Any, **named: Any) -> Any:
        """As of the layer."""
        return _with(self.layer, weight=_Rows.of(self.weight)).forward(*given, **named)


class _Rows(Tensor):
    """In the place of an embedding's weight: has its shape and dtype, and gives rows of it."""

    packed: PackedWeight

    @classmethod
    def of(cls, packed: PackedWeight) -> _Rows:
        rows = packed.like.new_empty(()).expand(packed.shape).as_subclass(cls)
        rows.packed = packed
        return rows

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is functional.embedding:
            given = dict(zip(("input", "weight"), args, strict=False)) | (kwargs or {})
            return given["weight"].packed.row(given["input"])
        if func.__name__ == "__get__":  # shape, dtype, device
            return super().__torch_function__(func, types, args, kwargs)
        raise TypeError(
            f"an embedding of few bits gives rows alone, and the forward of its class asks for "
            f"{func.__name__} of the whole table"
        )


def _without_weight(layer: nn.Module) -> nn.Module:
    bare = copy.copy(layer)
    bare._parameters = {
        name: None if name in ("weight", "bias") else each
        for name, each in layer._parameters.items()
    }
    for hooks in HOOKS:  # those are of the layer in whose place it is called
        setattr(bare, hooks, OrderedDict())
    return bare


def _with(bare: nn.Module, **tensors: Any) -> Any:
    """A layer of one call, so that calls do not see one another; copy.copy takes longer."""
    layer = object.__new__(type(bare))
    layer.__dict__ = {**bare.__dict__, **tensors}
    return layer


def packed_layer(
    layer: nn.Module,
    codes: Tensor,
    grid: Grid,
    scale: Tensor,
    *,
    offset: Tensor | None = None,
    input_quantizer: InputQuantizer | None = None,
) -> nn.Module:
    """The packed form of ``layer``, its weight given as for :meth:`PackedWeight.pack`."""
    shape = tuple(layer.weight.shape)  # type: ignore[arg-type]
    weight = PackedWeight.pack(codes, grid, scale, offset=offset, shape=shape)
    return quantized(layer, weight, input_quantizer)


def quantized(
    layer: nn.Module, weight: PackedWeight, input_quantizer: InputQuantizer | None = None
) -> nn.Module:
    """The packed form of ``layer``: its bias and settings, on ``weight``.

    Raises
    ------
    ValueError
        If the layer is no Linear, Conv2d or Embedding, or no subclass of one.
    """
    like: Any = layer.weight
    weight.to(like.dtype)
    if type(layer) is nn.Linear:
        return QuantizedLinear(weight, layer.bias, input_quantizer)
    if isinstance(layer, nn.Linear | nn.Conv2d):
        kind = QuantizedConv2d if isinstance(layer, nn.Conv2d) else QuantizedForward
        return kind(weight, layer, layer.bias, input_quantizer)
    if isinstance(layer, nn.Embedding) and input_quantizer is None:
        plain = type(layer) is nn.Embedding
        return QuantizedEmbedding(weight) if plain else QuantizedEmbeddingForward(weight, layer)
    raise ValueError(f"no packed form of {type(layer).__name__}: use Linear, Conv2d or Embedding")

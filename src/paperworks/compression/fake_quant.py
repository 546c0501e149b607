"""Linear and Conv2d layers whose weight and input are rounded on the way."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor, nn
from torch.nn import functional

from paperworks.compression.lsq import FakeQuantizer

L = TypeVar("L", bound="FakeQuantLayer")


class FakeQuantLayer(nn.Module):
    """What both have: ``weight_quantizer``, and ``input_quantizer`` or None.

    The weight and the bias are the very parameters of the layer that it takes the place of, so
    that an optimizer made before still trains them.
    """

    weight: Tensor
    weight_quantizer: FakeQuantizer
    input_quantizer: FakeQuantizer | None

    @classmethod
    def of(
        cls: type[L],
        layer: nn.Linear | nn.Conv2d,
        weight_quantizer: FakeQuantizer,
        input_quantizer: FakeQuantizer | None,
    ) -> L:
        """The quantization-aware form of ``layer``, its hooks and settings kept."""
        new = cls.__new__(cls)
        new.__dict__ = {name: copy.copy(value) for name, value in layer.__dict__.items()}
        new.weight_quantizer = weight_quantizer
        new.input_quantizer = input_quantizer
        return new.to(layer.weight.device, layer.weight.dtype)

    def plain(self) -> nn.Module:
        """The layer without its rounding: a Linear or Conv2d of the same parameters."""
        kind = nn.Conv2d if isinstance(self, nn.Conv2d) else nn.Linear
        new = kind.__new__(kind)
        new.__dict__ = {name: copy.copy(value) for name, value in self.__dict__.items()}
        for name in ("weight_quantizer", "input_quantizer"):
            new._modules.pop(name, None)
            new.__dict__.pop(name, None)  # None is no module
        return new

    def rounded(self, x: Tensor) -> Tensor:
        """The input as the weight sees it."""
        return x if self.input_quantizer is None else self.input_quantizer(x)


class FakeQuantLinear(FakeQuantLayer, nn.Linear):
    """A Linear layer, quantization-aware."""

    def forward(self, x: Tensor) -> Tensor:
        """From ``(..., in_features)`` to ``(..., out_features)``."""
        return functional.linear(self.rounded(x), self.weight_quantizer(self.weight), self.bias)


class FakeQuantConv2d(FakeQuantLayer, nn.Conv2d):
    """A Conv2d layer, quantization-aware."""

    def forward(self, x: Tensor) -> Tensor:
        """From ``(batch, channels, height, width)`` to the same with the filters' channels."""
        return self._conv_forward(self.rounded(x), self.weight_quantizer(self.weight), self.bias)

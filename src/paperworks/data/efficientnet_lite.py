"""EfficientNet-lite0 in torch, for the weights that :func:`paperworks.data.load_model` brings.

The network of Google's efficientnet/lite (2020), the quantisation-friendly variant of M. Tan and
Q. Le, "EfficientNet", arXiv:1905.11946, table 1: no squeeze-and-excitation, ReLU6 in place of
swish, stem and head not scaled. Stochastic depth, which matters in training from scratch alone, is
left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

SIDE = 224  # pixels of the images it was trained on
_CROP = SIDE / (SIDE + 32)  # the share of the shorter side that the published evaluation keeps
# repeats, kernel, stride, expansion, channels in, channels out
_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
# Beginnings of the names in the published weights, and what they are called here.
_RENAMED = (
    ("_conv_stem.", "stem.conv."),
    ("_bn0.", "stem.norm."),
    ("_conv_head.", "head.conv."),
    ("_bn1.", "head.norm."),
    ("_fc.", "classifier."),
    ("_expand_conv.", "expand.conv."),
    ("_depthwise_conv.", "depthwise.conv."),
    ("_project_conv.", "project.conv."),
)
_BLOCK_NORMS = {"_bn0": "expand.norm", "_bn1": "depthwise.norm", "_bn2": "project.norm"}


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: the odd pixel goes to the right and below."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to ceil(height / stride), ceil(width / stride)."""
        pads: list[int] = []
        for size, kernel, stride in zip(
            reversed(x.shape[-2:]), reversed(self.kernel_size), reversed(self.stride), strict=True
        ):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(nn.functional.pad(x, pads) if any(pads) else x)


class ConvNorm(nn.Module):
    """Convolution, batch normalisation, and ReLU6 unless ``active`` is False."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        super().__init__()
        self.conv = SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, h, w) to (batch, outputs, h', w')."""
        x = self.norm(self.conv(x))
        return nn.functional.relu6(x) if self.active else x


class InvertedResidual(nn.Module):
    """Expand (where asked), depthwise convolution, project; a skip where the shapes allow it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = ConvNorm(inputs, hidden, 1) if expansion != 1 else nn.Identity()
        self.depthwise = ConvNorm(hidden, hidden, kernel, stride, groups=hidden)
        self.project = ConvNorm(hidden, outputs, 1, active=False)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, h, w) to (batch, outputs, ceil(h / stride), ceil(w / stride))."""
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.skip else y


class EfficientNetLite0(nn.Module):
    """The classifier: (batch, 3, 224, 224) float to (batch, 1000) logits.

    Other sizes from 32 pixels on run too. Inputs are ``(pixel - 127) / 128``, see
    :func:`preprocess`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 32, 3, 2)
        self.blocks = nn.Sequential(
            *(
                InvertedResidual(
                    inputs if i == 0 else outputs, outputs, kernel, stride if i == 0 else 1, expand
                )
                for repeats, kernel, stride, expand, inputs, outputs in _STAGES
                for i in range(repeats)
            )
        )
        self.head = ConvNorm(320, 1280, 1)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(1280, 1000)

    def features(self, x: Tensor) -> Tensor:
        """(batch, 3, h, w) to the pooled features (batch, 1280)."""
        return self.head(self.blocks(self.stem(x))).mean(dim=(-2, -1))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 3, h, w) to logits (batch, 1000)."""
        return self.classifier(self.dropout(self.features(x)))


def rename_weights(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict under this module's names."""
    renamed = {}
    for name, tensor in published.items():
        prefix, rest = "", name
        if name.startswith("_blocks."):
            _, number, rest = name.split(".", 2)
            prefix = f"blocks.{number}."
            norm, dot, tail = rest.partition(".")
            rest = _BLOCK_NORMS.get(norm, norm) + dot + tail
        for old, new in _RENAMED:
            if rest.startswith(old):
                rest = new + rest.removeprefix(old)
        renamed[prefix + rest] = tensor
    return renamed


def preprocess(images: Any) -> Tensor:
    """RGB images to the network's input, as the published evaluation does it.

    Parameters
    ----------
    images : (height, width, 3) or (n, height, width, 3) array of uint8
        Any size; the central 87.5 % of the shorter side is kept and resized to 224 by bicubic
        interpolation.

    Returns
    -------
    Tensor
        (n, 3, 224, 224) float32, n = 1 for a single image.

    Raises
    ------
    ValueError
        For another shape or dtype.
    """
    from PIL import Image

    array = np.asarray(images)
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] != 3:
        raise ValueError(
            "images must be uint8 of shape (height, width, 3) or (n, height, width, 3), "
            f"got {array.dtype} {array.shape}"
        )
    batch = array[None] if array.ndim == 3 else array
    height, width = batch.shape[1:3]
    side = _CROP * min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    pixels = np.stack(
        [
            np.asarray(
                Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
            )
            for image in batch
        ]
    )
    scaled = (pixels.astype(np.float32) - 127.0) / 128.0
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))

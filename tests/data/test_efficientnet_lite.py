from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d

from paperworks.data.efficientnet_lite import EfficientNetLite0, SameConv2d, preprocess


@pytest.mark.parametrize("size", [5, 6, 7, 8])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_same_convolution_pads_as_tensorflow(size, kernel, stride):
    conv = SameConv2d(1, 1, kernel, stride, bias=False).double()
    x = torch.arange(size * size, dtype=torch.float64).reshape(1, 1, size, size) ** 1.3
    outputs = -(-size // stride)
    # Place the windows so that what sticks out is shared, the odd pixel behind the end.
    before = max((outputs - 1) * stride + kernel - size, 0) // 2
    padded = np.pad(x[0, 0].numpy(), ((before, kernel + stride), (before, kernel + stride)))
    full = correlate2d(padded, conv.weight[0, 0].detach().numpy(), mode="valid")
    expected = full[::stride, ::stride][:outputs, :outputs]
    np.testing.assert_allclose(conv(x)[0, 0].detach().numpy(), expected, rtol=1e-9, atol=1e-9)


def test_same_convolution_by_hand():
    conv = SameConv2d(1, 1, 3, 2, bias=False)
    torch.nn.init.ones_(conv.weight)
    row = torch.zeros(1, 1, 4, 4)
    row[0, 0, 0] = torch.tensor([1.0, 2.0, 4.0, 8.0])
    assert conv(row)[0, 0, 0].tolist() == [7.0, 12.0]  # no zero in front, one behind


def test_size_and_shapes():
    model = EfficientNetLite0().eval()
    assert sum(p.numel() for p in model.parameters()) == 4_652_008
    with torch.no_grad():
        assert model(torch.zeros(2, 3, 64, 48)).shape == (2, 1000)
        assert model.features(torch.zeros(1, 3, 64, 64)).shape == (1, 1280)


def test_preprocess():
    grey = np.full((300, 400, 3), 127, dtype=np.uint8)
    assert preprocess(grey).shape == (1, 3, 224, 224)
    assert preprocess(np.stack([grey, grey])).abs().max() == 0
    wide = np.zeros((256, 512, 3), dtype=np.uint8)
    wide[16:240, 144:368] = 255  # exactly the central 224 x 224
    assert torch.all(preprocess(wide) == 1.0)
    channels = np.zeros((256, 256, 3), dtype=np.uint8)
    channels[..., 2] = 255
    assert preprocess(channels)[0, :, 0, 0].tolist() == [-127 / 128, -127 / 128, 1.0]


@pytest.mark.parametrize(
    "images",
    [np.zeros((224, 224, 3)), np.zeros((224, 224), np.uint8), np.zeros((3, 8, 8), np.uint8)],
)
def test_preprocess_refuses_other_input(images):
    with pytest.raises(ValueError, match="images must be uint8 of shape"):
        preprocess(images)

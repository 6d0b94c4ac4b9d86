"""The flagship against PyTorch's functions, step by step as its file says."""

import pytest
import torch
import torch.nn.functional as F

from hybridlib.models.botnet import BottleneckTransformer
from hybridlib.models.flagship import SIZES, Flagship


def norm(x, bn):
    return F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=1e-5)


def test_forward_is_what_the_file_says():
    torch.manual_seed(0)
    model = Flagship.from_size("nano", num_classes=10).double().eval()
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.rand_like(value))
        x = image = torch.randn(2, 3, 32, 32, dtype=torch.float64)
        stem, *stages = model.convolutions
        x = norm(F.conv2d(x, stem[0].weight, padding=1), stem[1]).relu()
        for halve, refine in zip(stages[::2], stages[1::2]):
            x = F.conv2d(x, halve[0].weight, padding=1)
            x = norm(F.max_pool2d(x, 2), halve[2]).relu()
            branch = x
            for brick in refine.body:
                branch = norm(F.conv2d(branch, brick[0].weight, padding=1), brick[1]).relu()
            x = x + branch
        assert x.shape == (2, 64, 8, 8)
        for block in model.attention:
            assert isinstance(block, BottleneckTransformer)
            x = block(x)
        logits = x.mean((2, 3)) @ model.head.weight.T + model.head.bias
        torch.testing.assert_close(model(image), logits, rtol=1e-10, atol=1e-10)
        (first, second) = model.trace(image).maps
        assert first.weights.shape == second.weights.shape == (2, 4, 64, 64)
        assert first.grid == (8, 8)


def test_attention_starts_as_nothing():
    """The last norm of each bottleneck starts at 0, so the first steps are a convolutional network's."""
    model = Flagship.from_size("nano", num_classes=10)
    x = torch.rand(2, 64, 8, 8)
    torch.testing.assert_close(model.attention.train()(x), x)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(image_size=30), r"image_size=30 is not a multiple of the halvings=4.*28 or 32"),
        (dict(num_heads=3), r"widths\[-1\]=160 is not a multiple of 4 x num_heads=12"),
        (dict(widths=(32, 64)), r"three and two entries, for example widths=\(32, 64, 160\)"),
        (dict(depths=(1, 0)), r"depth=0 must be greater than 0"),
        (dict(attention=0), r"attention=0 must be greater than 0"),
    ],
)
def test_what_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        Flagship(**SIZES["small"] | changes)

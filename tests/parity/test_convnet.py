"""ResNet against torchvision with copied weights: outputs, gradients and running statistics."""

from functools import partial

import pytest
import torch
import torchvision
from torch import nn

from hybridlib.models.convnet import SIZES, ConvNet
from hybridlib.pretrained import names

convert = partial(names.convert, "convnet")

PEERS = {"ResNet-18": torchvision.models.resnet18, "ResNet-50": torchvision.models.resnet50}
# torchvision.models.ResNet18_Weights and ResNet50_Weights, meta["num_params"]
PARAMETERS = {"ResNet-18": 11_689_512, "ResNet-50": 25_557_032}


def randomise(model: nn.Module) -> None:
    """Norms that are no identity and statistics that are not 0 and 1, so that each of them shows in
    the output."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


def pair(size: str, *, dtype: torch.dtype = torch.float64) -> tuple[ConvNet, nn.Module]:
    """Our model and torchvision's, with the same random weights."""
    torch.manual_seed(0)
    theirs = PEERS[size](num_classes=10)
    randomise(theirs)
    ours = ConvNet.from_size(size, num_classes=10)
    ours.load_state_dict(convert(theirs.state_dict()))
    return ours.to(dtype), theirs.to(dtype)


@pytest.mark.parametrize("size", PEERS)
@pytest.mark.parametrize("side", [64, 75])  # 75 is odd after each halving: padding must agree
def test_logits_in_float64(size, side):
    ours, theirs = pair(size)
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    assert (ours.eval()(x) - theirs.eval()(x)).abs().max() < 1e-9


@pytest.mark.parametrize("size", PEERS)
def test_logits_in_float32(size):
    ours, theirs = pair(size, dtype=torch.float32)
    x = torch.randn(2, 3, 64, 64)
    assert (ours.eval()(x) - theirs.eval()(x)).abs().max() < 1e-4


@pytest.mark.parametrize("size", PEERS)
@pytest.mark.parametrize("training", [False, True])
def test_gradients_and_statistics(size, training):
    ours, theirs = pair(size)
    x = torch.randn(4, 3, 64, 64, dtype=torch.float64)
    target = torch.tensor([0, 3, 5, 9])
    images = [x.clone().requires_grad_() for _ in range(2)]
    losses = [
        nn.functional.cross_entropy(model.train(training)(image), target)
        for model, image in zip((ours, theirs), images)
    ]
    for loss in losses:
        loss.backward()
    assert abs(losses[0] - losses[1]) < 1e-9
    assert_same(images[0].grad, images[1].grad, "image")
    expected = convert({name: p.grad for name, p in theirs.named_parameters()})
    gradients = {name: p.grad for name, p in ours.named_parameters()}
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert gradient.abs().max() > 0, name
        assert_same(gradient, expected[name], name)
    state = ours.state_dict()  # in training the running statistics have moved by one batch
    for name, tensor in convert(theirs.state_dict()).items():
        assert_same(state[name].double(), tensor.double(), name)


def assert_same(ours, theirs, name):
    """Equal to 1e-9 of the largest entry: gradients are small numbers, so an absolute bound would
    say little."""
    assert (ours - theirs).abs().max() <= 1e-9 * theirs.abs().max().clamp_min(1e-30), name


@pytest.mark.parametrize("size", PEERS)
def test_parameter_count(size):
    with torch.device("meta"):
        model = ConvNet.from_size(size)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[size]
    weights = torchvision.models.get_model_weights(size.lower().replace("-", ""))["DEFAULT"]
    assert weights.meta["num_params"] == PARAMETERS[size]


@pytest.mark.parametrize("size", PEERS)
def test_convert_reaches_every_entry_once(size):
    with torch.device("meta"):
        ours, theirs = ConvNet.from_size(size), PEERS[size]()
    converted_state = convert(theirs.state_dict())
    assert len(converted_state) == len(theirs.state_dict())
    assert {k: v.shape for k, v in converted_state.items()} == {
        k: v.shape for k, v in ours.state_dict().items()
    }


@pytest.mark.parametrize("size", SIZES)
def test_trace_has_the_logits_and_no_maps(size):
    model = ConvNet.from_size(size, num_classes=10).eval()
    x = torch.randn(2, 3, 64, 64)
    trace = model.trace(x)
    assert torch.equal(trace.logits, model(x)) and trace.maps == ()

"""The flagship against PyTorch's functions, step by step as its file says."""

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from hybridlib.cli.main import main
from hybridlib.data import load
from hybridlib.models.botnet import BottleneckTransformer
from hybridlib.models.flagship import CALIBRATION_IMAGES, FLOOR, SIZES, Flagship, Whiten
from hybridlib.studies import flagship as study
from hybridlib.studies.study import RunSpec


def norm(x, bn):
    return F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=1e-5)


def stage(x, halve, refine):
    x = F.conv2d(x, halve[0].weight, padding=1)
    x = norm(F.max_pool2d(x, 2), halve[2]).relu()
    if not len(refine.body):
        return x
    branch = x
    for brick in refine.body:
        branch = norm(F.conv2d(branch, brick[0].weight, padding=1), brick[1]).relu()
    return x + branch


def test_forward_is_what_the_file_says():
    torch.manual_seed(0)
    model = Flagship.from_size("nano", num_classes=10).double().eval()
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.rand_like(value))
        image = torch.randn(2, 3, 32, 32, dtype=torch.float64)
        x = F.conv2d(image, model.whiten.kernels).relu()
        for halve, refine in model.convolutions:
            x = stage(x, halve, refine)
        assert x.shape == (2, 64, 7, 7)
        for block in model.attention:
            assert isinstance(block, BottleneckTransformer)
            x = block(x)
        x = stage(x, *model.last)
        assert x.shape == (2, 64, 3, 3)
        logits = x.mean((2, 3)) @ model.head.weight.T + model.head.bias
        torch.testing.assert_close(model(image), logits, rtol=1e-10, atol=1e-10)
        first, second = model.trace(image).maps
        assert first.weights.shape == second.weights.shape == (2, 4, 49, 49)
        assert first.grid == (7, 7)


def test_attention_starts_as_nothing():
    """The last norm of each bottleneck starts at 0, so the first steps are a convolutional
    network's."""
    model = Flagship.from_size("nano", num_classes=10)
    x = torch.rand(2, 64, 7, 7)
    torch.testing.assert_close(model.attention.train()(x), x)


def test_a_refining_convolution_starts_by_passing_its_input_on():
    model = Flagship.from_size("nano", num_classes=10)
    x = torch.rand(2, 64, 5, 5)
    torch.testing.assert_close(model.last[1].body[0][0](x), x)
    wider = Flagship.from_size("small", num_classes=10).convolutions[1][0][0]
    x = torch.rand(2, 64, 5, 5)
    torch.testing.assert_close(wider(x)[:, :64], x)
    assert wider.weight[64:].std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)


def smooth_images(count: int) -> torch.Tensor:
    """Neighbours alike, as in photographs, and the colours too."""
    torch.manual_seed(0)
    grey = F.avg_pool2d(torch.randn(count, 1, 12, 12), 5, stride=1)
    return 3 * grey + 0.3 * torch.randn(count, 3, 8, 8)


def test_windows_are_whitened():
    """Second moments of the first layer's numbers, against a loop over every window."""
    images, layer = smooth_images(40), Whiten(3)
    layer.calibrate(images)
    windows = torch.stack(
        [
            image[:, y : y + 2, x : x + 2].flatten()
            for image in images.double()
            for y in range(7)
            for x in range(7)
        ]
    )
    before = windows.T @ windows / len(windows)
    assert (before / before.diagonal().mean()).fill_diagonal_(0).abs().max() > 0.8  # alike
    numbers = layer.double()(images.double()).permute(0, 2, 3, 1).flatten(0, 2)
    assert numbers.shape == (len(windows), 24)
    after = numbers[:, :12].T @ numbers[:, :12] / len(numbers)
    variances = torch.linalg.eigvalsh(before)
    torch.testing.assert_close(
        after, torch.diag(variances / (variances + FLOOR)), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(numbers[:, 12:], -numbers[:, :12])


def test_kernels_before_calibration_are_orthonormal_and_none_is_trained():
    kernels = Whiten(3).kernels[:12].flatten(1)
    torch.testing.assert_close(kernels @ kernels.T, torch.eye(12))
    assert not [
        name for name, _ in Flagship.from_size("nano").named_parameters() if "whiten" in name
    ]


def expected_kernels(data):
    layer = Whiten(3)
    layer.calibrate(data.train.normalise(data.train.evenly(CALIBRATION_IMAGES)))
    return layer.kernels


DATA = dict(source="digits", image_size=16, per_class=2, copies=1)


def test_the_study_calibrates_on_training_images_and_judges_with_the_mirror_image():
    data = load(**DATA)
    spec = RunSpec("x", "flagship", 0, dict(DATA), dict(augment="shift-flip"), size="nano")
    torch.manual_seed(0)
    model = study.build(spec, data)
    torch.testing.assert_close(model.whiten.kernels, expected_kernels(data))
    images = data.test.normalise(data.test.evenly(len(data.test)))
    labels = data.test.labels
    with torch.no_grad():
        model.eval()
        both = model(images) + model(images.flip(-1))
    measurements = study.measure(spec, model, data)
    assert measurements["mirrored_accuracy"] == pytest.approx(
        (both.argmax(1) == labels).float().mean()
    )
    digits = RunSpec("x", "flagship", 0, dict(DATA), dict(augment="none"), size="nano")
    assert measurements.keys() - study.measure(digits, model, data).keys() == {"mirrored_accuracy"}


def test_the_command_calibrates_too(tmp_path):
    main(
        "train flagship --data digits --image-size 16 --per-class 2 --steps 1 --batch-size 4"
        f" --quiet --device cpu --out {tmp_path}".split()
    )
    kernels = load_file(tmp_path / "weights.safetensors")["whiten.kernels"]
    assert json.loads((tmp_path / "run.json").read_text())["data"]["image_size"] == 16
    data = load("digits", image_size=16, per_class=2)
    torch.testing.assert_close(kernels, expected_kernels(data))


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(image_size=8), r"image_size=8 must be at least 9.*image_size=32"),
        (dict(num_heads=3), r"widths\[1\]=160 is not a multiple of 4 x \(num_heads=3\)=12"),
        (dict(widths=(32, 64)), r"three entries each, for example widths=\(64, 160, 160\)"),
        (dict(depths=(1, 0, -1)), r"depths=\(1, 0, -1\) must be 0 or more each"),
        (dict(attention=0), r"attention=0 must be greater than 0"),
    ],
)
def test_what_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        Flagship(**SIZES["small"] | changes)

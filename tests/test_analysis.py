"""The numbers of `analysis` against published ones, brute force and loops."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hybridlib.analysis import (
    Cost,
    ReceptiveField,
    attention_distance,
    cosine_similarity,
    cost,
    effective_receptive_field,
    equivariance_error,
    grid_correlation,
    invariance_error,
    mass_within,
    receptive_field,
    rollout,
    tokens_to_map,
    uniform_attention_distance,
)
from hybridlib.layers.trace import AttentionMap
from hybridlib.models.convnet import ConvNet
from hybridlib.models.vit import ViT

few = settings(max_examples=20, deadline=None, derandomize=True, database=None)


def random_map(*, batch=2, heads=3, grid=(3, 4), extra=(), seed=0, queries=None):
    torch.manual_seed(seed)
    tokens = len(extra) + grid[0] * grid[1]
    weights = torch.randn(batch, heads, queries or tokens, tokens, dtype=torch.float64).softmax(
        dim=-1
    )
    return AttentionMap(weights, grid=grid, extra=extra)


# Receptive field


def resnet50(*, stride_on_3x3):
    layers = [(7, 2), (3, 2)]
    for stage, depth in enumerate((3, 4, 6, 3)):
        for block in range(depth):
            stride = 2 if stage and not block else 1
            layers += (
                [(1, 1), (3, stride), (1, 1)] if stride_on_3x3 else [(1, stride), (3, 1), (1, 1)]
            )
    return layers


@pytest.mark.parametrize(
    "layers, size, jump",
    [
        pytest.param(resnet50(stride_on_3x3=True), 427, 32, id="ResNet-50 v1.5"),
        pytest.param(resnet50(stride_on_3x3=False), 483, 32, id="ResNet-50 of the paper"),
        pytest.param([(16, 16)], 16, 16, id="ViT's patches"),
        pytest.param([(3, 2)] * 4 + [(1, 1)], 31, 16, id="early convolutions 1GF and 4GF"),
        pytest.param(
            [(3, s) for s in (2, 2, 1, 2, 1, 2)] + [(1, 1)], 55, 16, id="early convolutions 18GF"
        ),
        pytest.param([(7, 2), (3, 2), (4, 4)], 23, 16, id="CeiT's image-to-tokens"),
        pytest.param([], 1, 1, id="nothing"),
    ],
)
def test_receptive_field_of_known_networks(layers, size, jump):
    fields = receptive_field(layers)
    assert fields[0] == ReceptiveField(1, 1) and len(fields) == len(layers) + 1
    assert fields[-1] == ReceptiveField(size, jump)


def test_receptive_field_of_torchvisions_resnet():
    """The layers as torchvision's own modules have them, shortcuts left out."""
    with torch.device("meta"):
        modules = torchvision.models.resnet50().named_modules()
    layers = []
    for name, module in modules:
        if isinstance(module, nn.MaxPool2d):
            layers.append((module.kernel_size, module.stride))
        elif isinstance(module, nn.Conv2d) and "downsample" not in name:
            layers.append((module.kernel_size[0], module.stride[0]))
    assert len(layers) == 1 + 1 + 16 * 3
    assert receptive_field(layers)[-1] == ReceptiveField(427, 32)


@few
@given(
    layers=st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 2)), min_size=1, max_size=3
    )
)
def test_receptive_field_by_perturbing_pixels(layers):
    """A real stack of convolutions: which pixels of a row change a unit, and how far apart its
    neighbour's pixels are."""
    # Positive weights and no padding, so that no influence cancels. With dilation some pixels
    # between the first and the last do not count; the field reaches from the first to the last.
    convs = (nn.Conv2d(1, 1, (1, k), stride=(1, s), dilation=d, bias=False) for k, s, d in layers)
    stack = nn.Sequential(*convs).double()
    for conv in stack:
        nn.init.uniform_(conv.weight, 0.5, 1.0)
    expected = receptive_field(layers)[-1]
    width = expected.size + expected.jump
    # no change, then each pixel
    images = torch.cat([torch.zeros(1, width), torch.eye(width)]).double()[:, None, None]
    with torch.no_grad():
        out = stack(images)[:, 0, 0]  # image unit
    assert out.shape[1] == 2
    changed_units = [(out[1:, unit] != out[0, unit]).nonzero()[:, 0].tolist() for unit in (0, 1)]
    assert changed_units[0][-1] - changed_units[0][0] + 1 == expected.size
    assert changed_units[1][0] - changed_units[0][0] == expected.jump


# Effective receptive field


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_effective_receptive_field_of_a_linear_stack_is_binomial(depth):
    """Kernels (1 2 1) x (1 2 1): L of them give the binomial coefficients of 2L along each axis."""
    kernel = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64)
    kernel = torch.outer(kernel, kernel)[None, None]

    def features(x):
        for _ in range(depth):
            x = F.conv2d(x, kernel, padding=1)
        return x

    images = torch.randn(3, 1, 15, 15, dtype=torch.float64)
    field = effective_receptive_field(features, images)
    line = torch.zeros(15, dtype=torch.float64)
    line[7 - depth : 7 + depth + 1] = torch.tensor(
        [math.comb(2 * depth, k) for k in range(2 * depth + 1)]
    )
    expected = torch.outer(line, line)
    torch.testing.assert_close(field, expected / expected.max(), rtol=0, atol=1e-12)
    assert not images.requires_grad
    assert mass_within(field, share=1 - 1e-9) == 2 * depth + 1


def test_effective_receptive_field_averages_absolute_gradients():
    """Two images on which a ReLU network's gradients differ in sign and place."""
    torch.manual_seed(0)  # some unit must be on
    layer = nn.Conv2d(1, 2, 3, padding=1).double()
    images = torch.randn(4, 1, 9, 9, dtype=torch.float64)
    field = effective_receptive_field(lambda x: layer(x).relu(), images)
    mixture = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()
    expected = torch.zeros(9, 9, dtype=torch.float64)
    with torch.no_grad():
        on = layer(images)[:, :, 4, 4] > 0  # b c
        for b in range(4):
            gradient = sum(mixture[b, c] * on[b, c] * layer.weight[c, 0] for c in range(2))
            expected[3:6, 3:6] += gradient.abs() / 4
    torch.testing.assert_close(field, expected / expected.max(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "shape, cells, share, side",
    [
        ((5, 5), {(2, 2): 1.0}, 1.0, 1),
        ((5, 5), {(2, 2): 0.5, (1, 3): 0.5}, 0.5, 1),
        ((5, 5), {(2, 2): 0.5, (1, 3): 0.5}, 0.51, 3),
        ((5, 5), {(0, 0): 1.0}, 0.9, 5),
        ((4, 4), {(2, 2): 1.0}, 0.9, 1),  # the centre of an even side is at h // 2
        ((4, 4), {(0, 0): 1.0}, 0.9, 4),  # a square of 5 would not fit
        ((3, 7), {(1, 6): 1.0}, 0.9, 7),
    ],
)
def test_mass_within_known_fields(shape, cells, share, side):
    field = torch.zeros(shape, dtype=torch.float64)
    for cell, mass in cells.items():
        field[cell] = mass
    assert mass_within(field, share=share) == side


@few
@given(
    rows=st.integers(1, 7),
    columns=st.integers(1, 7),
    seed=st.integers(0, 99),
    share=st.floats(0.05, 0.95),
)
def test_mass_within_against_a_loop(rows, columns, seed, share):
    field = torch.rand(
        rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    inside = {}  # mass by distance from the centre, the larger of rows and columns
    for r in range(rows):
        for c in range(columns):
            distance = max(abs(r - rows // 2), abs(c - columns // 2))
            inside[distance] = inside.get(distance, 0.0) + field[r, c].item()
    total, radius = sum(inside.values()), 0
    while sum(mass for distance, mass in inside.items() if distance <= radius) < share * total:
        radius += 1
    assert mass_within(field, share=share) == min(2 * radius + 1, max(rows, columns))


# Equivariance


def circular(stride=1):
    torch.manual_seed(0)
    return nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular", stride=stride).double()


@pytest.fixture(scope="module")
def images():
    return torch.randn(
        2, 2, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )


@pytest.mark.parametrize("shift", [0, 1, 5, -3])
def test_a_circular_convolution_is_equivariant(images, shift):
    assert equivariance_error(circular(), images, shift=shift) < 1e-12


def test_what_breaks_equivariance(images):
    zero_padded = nn.Conv2d(2, 3, 3, padding=1).double()
    assert equivariance_error(zero_padded, images, shift=0) == 0
    assert 0.01 < equivariance_error(zero_padded, images, shift=1) < 1
    assert equivariance_error(circular(stride=2), images, shift=2, stride=2) < 1e-12
    assert equivariance_error(circular(stride=2), images, shift=1, stride=2) > 0.1
    torch.manual_seed(0)
    positions = torch.randn(16, 16, dtype=torch.float64)
    assert equivariance_error(lambda x: x + positions, images, shift=1) > 0.1


def test_equivariance_error_is_relative_to_the_output(images):
    """f(x) = weights * x: the error by hand."""
    weights = torch.linspace(1, 2, 16, dtype=torch.float64)
    rolled_images = images.roll(3, dims=-1)
    expected = ((weights - weights.roll(3)) * rolled_images).norm() / (weights * images).norm()
    assert equivariance_error(lambda x: weights * x, images, shift=3) == pytest.approx(
        expected.item(), rel=1e-12
    )
    assert equivariance_error(lambda x: 7 * weights * x, images, shift=3) == pytest.approx(
        expected.item(), rel=1e-12
    )


def test_invariance(images):
    layer = circular()
    assert invariance_error(lambda x: layer(x).relu().mean(dim=(-2, -1)), images, shift=3) < 1e-12
    expected = (images.roll(3, dims=-1) - images).norm() / images.norm()
    assert invariance_error(lambda x: x, images, shift=3) == pytest.approx(
        expected.item(), rel=1e-12
    )


# Attention distance


@pytest.mark.parametrize("extra", [(), ("class",), ("class", "distillation")])
def test_attention_distance_against_a_loop(extra):
    attention = random_map(extra=extra)
    rows, columns = attention.grid
    cells = [(r, c) for r in range(rows) for c in range(columns)]
    skip = len(extra)
    expected = []
    for h in range(3):
        total = 0.0
        for b in range(2):
            for q, (qr, qc) in enumerate(cells):
                row = attention.weights[b, h, skip + q, skip:].tolist()
                total += sum(
                    w * 8 * math.hypot(kr - qr, kc - qc) for w, (kr, kc) in zip(row, cells)
                ) / sum(row)
        expected.append(total / (2 * len(cells)))
    assert attention_distance(attention, patch_size=8).tolist() == pytest.approx(
        expected, rel=1e-12
    )


def test_attention_distance_of_known_heads():
    """One head looks at itself, one at its right neighbour, one everywhere alike."""
    eye = torch.eye(9, dtype=torch.float64)
    right = torch.zeros(9, 9, dtype=torch.float64)
    for q in range(9):
        right[q, q if q % 3 == 2 else q + 1] = 1
    weights = torch.stack([eye, right, torch.full((9, 9), 1 / 9, dtype=torch.float64)])[None]
    distance = attention_distance(AttentionMap(weights, grid=(3, 3)), patch_size=4)
    uniform = uniform_attention_distance((3, 3), patch_size=4)
    assert distance.tolist() == pytest.approx([0, 4 * 2 / 3, uniform], rel=1e-6)
    assert uniform_attention_distance((1, 3), patch_size=1) == pytest.approx((4 * 1 + 2 * 2) / 9)


# Rollout


def test_rollout_against_a_loop():
    maps = [random_map(seed=i, extra=("class",), grid=(2, 2)) for i in range(3)]
    joint = rollout(maps)
    assert joint.shape == (2, 5, 5)
    for b in range(2):
        expected = [[float(i == j) for j in range(5)] for i in range(5)]
        for attention in maps:
            layer = [
                [
                    0.5 * sum(attention.weights[b, h, i, j].item() for h in range(3)) / 3
                    + 0.5 * (i == j)
                    for j in range(5)
                ]
                for i in range(5)
            ]
            expected = [
                [sum(layer[i][m] * expected[m][j] for m in range(5)) for j in range(5)]
                for i in range(5)
            ]
        torch.testing.assert_close(
            joint[b], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12
        )
    torch.testing.assert_close(joint.sum(-1), torch.ones(2, 5, dtype=torch.float64))


def test_maps_that_do_not_fit():
    square = random_map()
    oblong = random_map(queries=1)
    with pytest.raises(ValueError, match="at least one attention map"):
        rollout([])
    with pytest.raises(ValueError, match="1 queries and 12 keys"):
        rollout([square, oblong])  # a matrix of one row would be broadcast over the identity
    with pytest.raises(ValueError, match="1 queries and 12 keys"):
        attention_distance(oblong, patch_size=4)
    with pytest.raises(ValueError, match="over 4 tokens and those before it over 12"):
        rollout([square, random_map(grid=(2, 2))])


# Similarity


def test_cosine_similarity_against_a_loop():
    vectors = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    similarity = cosine_similarity(vectors)
    for i in range(5):
        for j in range(5):
            a, b = vectors[i].tolist(), vectors[j].tolist()
            dot = sum(x * y for x, y in zip(a, b))
            expected = dot / (math.hypot(*a) * math.hypot(*b))
            assert similarity[i, j].item() == pytest.approx(expected, abs=1e-12)


def test_grid_correlation_against_numpy():
    grid, n = (3, 4), 12
    similarity = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    cells = [(r, c) for r in range(3) for c in range(4)]
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    near = [-math.dist(cells[i], cells[j]) for i, j in pairs]
    expected = np.corrcoef([similarity[i, j].item() for i, j in pairs], near)[0, 1]
    assert grid_correlation(similarity, grid) == pytest.approx(expected, abs=1e-9)
    closeness = torch.tensor(
        [[-math.dist(a, b) for b in cells] for a in cells], dtype=torch.float64
    )
    assert grid_correlation(2 * closeness + 5, grid) == pytest.approx(1, abs=1e-9)
    assert grid_correlation(-closeness, grid) == pytest.approx(-1, abs=1e-9)
    with pytest.raises(ValueError, match=r"shape \(12, 12\) and grid=\(2, 2\) has 4 positions"):
        grid_correlation(closeness, (2, 2))


# Cost


@pytest.mark.parametrize(
    "size, image_size, billions",
    [
        ("Ti/16", 224, 1.3),  # ConViT, table 1, prints 1
        ("S/16", 224, 4.6),  # CoAtNet, table 13
        ("B/16", 224, 17.5),  # the same
        ("B/16", 384, 55.4),  # the same
        ("L/16", 384, 190.7),  # CoAtNet, table 4
    ],
)
def test_cost_of_vit_against_the_papers(size, image_size, billions):
    with torch.device("meta"):
        model_cost = cost(ViT.from_size(size, image_size=image_size), image_size=image_size)
    assert model_cost.macs / 1e9 == pytest.approx(billions, abs=0.1, rel=0.003)
    assert model_cost == vit_by_hand(size, image_size)


def vit_by_hand(size, image_size):
    dim, depth = {"Ti/16": (192, 12), "S/16": (384, 12), "B/16": (768, 12), "L/16": (1024, 24)}[
        size
    ]
    patches = (image_size // 16) ** 2
    n = patches + 1
    projections, products, mlp = 4 * n * dim * dim, 2 * n * n * dim, 8 * n * dim * dim
    macs = patches * 768 * dim + depth * (projections + products + mlp) + dim * 1000
    block = 4 * (dim * dim + dim) + 2 * 2 * dim + 8 * dim * dim + 5 * dim
    parameters = 769 * dim + dim + n * dim + depth * block + 2 * dim + 1001 * dim + (1000 - dim)
    return Cost(parameters, macs)


@pytest.mark.parametrize("size, weights", [("B/16", "vit_b_16"), ("L/16", "vit_l_16")])
def test_cost_of_vit_against_torchvision(size, weights):
    metadata = torchvision.models.get_model_weights(weights)["IMAGENET1K_V1"].meta
    with torch.device("meta"):
        model_cost = cost(ViT.from_size(size), image_size=224)
    assert model_cost.macs / 1e9 == pytest.approx(metadata["_ops"], abs=5.1e-4)
    assert model_cost.parameters == metadata["num_params"]


@pytest.mark.parametrize("size, weights", [("ResNet-18", "resnet18"), ("ResNet-50", "resnet50")])
def test_cost_of_resnet_against_torchvision(size, weights):
    metadata = torchvision.models.get_model_weights(weights)["DEFAULT"].meta
    with torch.device("meta"):
        model_cost = cost(ConvNet.from_size(size), image_size=224)
    assert model_cost.macs / 1e9 == pytest.approx(metadata["_ops"], abs=5.1e-4)
    assert model_cost.parameters == metadata["num_params"]


def test_cost_sees_fused_attention_and_leaves_the_model_as_it_was():
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))
            self.dropout = nn.Dropout(0.5)

        def forward(self, x):
            tokens = self.dropout(x.flatten(2)) * self.scale  # b c n
            return F.scaled_dot_product_attention(tokens, tokens, tokens)

    model = Fused().train()
    # Three tokens of 16 numbers: Q K^T and A V.
    assert cost(model, image_size=4) == Cost(1, 2 * 3 * 3 * 16)
    assert model.training and model.dropout.training
    cost(model.eval(), image_size=4)
    assert not model.training


@pytest.mark.parametrize("error", [equivariance_error, invariance_error])
def test_what_is_no_batch_of_images_is_named(error):
    with pytest.raises(ValueError, match=r"images has shape \(\); expected \(batch, channels"):
        error(nn.Identity(), torch.tensor(3), shift=1)


@pytest.mark.parametrize("error", [equivariance_error, invariance_error])
def test_what_gives_no_tensor_is_named(error, images):
    name = "features" if error is equivariance_error else "model"
    with pytest.raises(ValueError, match=f"{name}=<function .* gives None and must give a tensor"):
        error(lambda images: None, images, shift=1)


def test_whole_numbers_can_be_compared_and_a_map_has_four_axes(images):
    assert invariance_error(lambda images: images.argmax(1), images, shift=0) == 0
    with pytest.raises(ValueError, match=r"features gives has shape \(\); expected \(batch"):
        equivariance_error(torch.mean, images, shift=1)


def test_a_stride_of_nothing_is_named(images):
    with pytest.raises(ValueError, match="stride=0 must be greater than 0"):
        equivariance_error(nn.Identity(), images, shift=1, stride=0)


def test_cost_of_nothing():
    assert cost(nn.ReLU(), image_size=4) == Cost(0, 0)
    with pytest.raises(ValueError, match="image_size=-1 must be greater than 0"):
        cost(nn.ReLU(), image_size=-1)


def test_tokens_to_map():
    tokens = torch.arange(2 * 7 * 3).view(2, 7, 3)
    image = tokens_to_map(tokens, (2, 3), extra=1)
    assert image.shape == (2, 3, 2, 3)
    for r in range(2):
        for c in range(3):
            assert torch.equal(image[:, :, r, c], tokens[:, 1 + 3 * r + c])
    with pytest.raises(ValueError, match="7 tokens are not extra=4 and the 6 .* use extra=1"):
        tokens_to_map(tokens, (2, 3), extra=4)
    with pytest.raises(ValueError, match="7 tokens are not extra=0 .* use 8 tokens"):
        tokens_to_map(tokens, (2, 4))

"""Our BoTNet is the authors' block: stored vectors, timm's attention live, a loop over the
definition."""

from copy import deepcopy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from reference import assert_equal, gradients, images, load_case, randomise
from timm.layers.bottleneck_attn import BottleneckAttn
from torch import nn

from benchmarks.peers import assembled_botnet
from hybridlib.layers.position import RelativePositions2d
from hybridlib.models.botnet import (
    SIZES,
    AbsolutePositions2d,
    BoTNet,
    BottleneckAttention,
    BottleneckTransformer,
)
from hybridlib.pretrained import names

convert = partial(names.convert, "botnet", same_settings=True)

# FACTS, section 4, counted on the authors' block: 20.852M. S1 has 14x14 positions in all three
# blocks.
PARAMETERS = {"BoTNet-50": 20_852_008, "BoTNet-S1-50": 20_859_176}


def attention_case():
    case = load_case("botnet_timm_attn_scaledpos")
    ours = BottleneckAttention(32, grid=(6, 4), num_heads=4).eval()
    ours.load_state_dict(convert(case.state))
    return case, ours


def stack_case():
    case = load_case("botnet_gistlike_stack")
    ours = nn.Sequential(
        BottleneckTransformer(32, 64, stride=2, grid=(8, 8)),
        BottleneckTransformer(64, 64, stride=1, grid=(4, 4)),
        BottleneckTransformer(64, 64, stride=1, grid=(4, 4)),
    ).eval()
    ours.load_state_dict(convert(case.state))
    return case, ours


@torch.no_grad()
def test_stored_attention():
    case, ours = attention_case()
    x = case.inputs["x"]
    y, weights = ours.trace(x)
    assert_equal(ours(x), case.outputs["y"])
    assert_equal(y, case.outputs["y"])
    assert_equal(weights, case.outputs["attn"])
    double = deepcopy(ours).double()
    assert_equal(double(x.double()), case.outputs["y_f64"])
    assert_equal(double.trace(x.double())[0], case.outputs["y_f64"])


@torch.no_grad()
def test_stored_position_logits():
    case, ours = attention_case()
    query = ours.split(case.inputs["x"])[0]
    assert_equal(ours.positions(query), case.outputs["rel_logits_unscaled_q"])


@torch.no_grad()
def test_stored_stack():
    case, ours = stack_case()
    x = case.inputs["x"]
    assert_equal(ours(x), case.outputs["y"])
    assert_equal(deepcopy(ours).double()(x.double()), case.outputs["y_f64"])
    for i, block in enumerate(ours):
        x, weights = block.trace(x)
        assert_equal(weights, case.outputs[f"attn/{i}"])
    assert_equal(x, case.outputs["y"])


@pytest.mark.parametrize("grid", [(5, 5), (3, 7), (1, 4)])
def test_relative_logits_by_the_definition(grid):
    height, width = grid
    positions = RelativePositions2d(grid, 6).double()
    query = images(2, 3, height * width, 6, dtype=torch.float64)
    logits = positions(query)
    for q in range(height * width):
        for k in range(height * width):
            row, column = k // width - q // width, k % width - q % width  # key - query
            r = positions.rows[row + height - 1] + positions.columns[column + width - 1]
            assert_equal(logits[:, :, q, k], query[:, :, q] @ r)


def test_absolute_logits_by_the_definition():
    positions = AbsolutePositions2d((2, 3), 6).double()
    query = images(2, 3, 6, 6, dtype=torch.float64)
    for k in range(6):
        r = positions.rows[k // 3] + positions.columns[k % 3]
        assert_equal(positions(query)[..., k], query @ r)


@pytest.mark.parametrize("grid", [(7, 7), (6, 4), (3, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_timm_attention_and_gradients(grid, dtype):
    peer = BottleneckAttn(24, feat_size=grid, num_heads=4, scale_pos_embed=True)
    peer = randomise(peer, seed=1).to(dtype)
    ours = BottleneckAttention(24, grid=grid, num_heads=4).to(dtype)
    ours.load_state_dict(convert(peer.state_dict()))
    x, target = images(2, 24, *grid, dtype=dtype), images(2, 24, *grid, seed=3, dtype=dtype)
    ours_x, peer_x = (x.clone().requires_grad_() for _ in range(2))
    outputs = ours(ours_x), ours.trace(ours_x)[0], peer(peer_x)
    assert_equal(outputs[0], outputs[2])
    assert_equal(outputs[1], outputs[2])
    with torch.no_grad():  # the fused kernel
        assert_equal(ours(x), outputs[2])
    expected = convert(gradients(peer, F.mse_loss(outputs[2], target, reduction="sum")))
    for output in outputs[:2]:
        loss = F.mse_loss(output, target, reduction="sum")
        actual = gradients(ours, loss)
        assert actual.keys() == expected.keys()
        for name in expected:
            assert expected[name].abs().max() > 1e-2, f"{name} has no gradient to compare"
            assert_equal(
                actual[name], expected[name], tolerance=1e-3 if dtype == torch.float32 else 1e-9
            )


def whole_pair(*, stride: int, dtype: torch.dtype) -> tuple[BoTNet, nn.Module]:
    """BoTNet-50 for 64x64 images, and torchvision's ResNet-50 with the peer's blocks as its last
    stage."""
    size = {2: "BoTNet-50", 1: "BoTNet-S1-50"}[stride]
    torch.manual_seed(0)
    peer = assembled_botnet({**SIZES[size], "image_size": 64, "num_classes": 10})
    for module in peer.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    ours = BoTNet.from_size(size, num_classes=10, image_size=64)
    ours.load_state_dict(convert(peer.state_dict()))
    return ours.to(dtype), peer.to(dtype)


@torch.no_grad()
def test_whole_model_in_float32():
    ours, peer = whole_pair(stride=2, dtype=torch.float32)
    x = images(2, 3, 64, 64)
    assert_equal(ours.eval()(x), peer.eval()(x))
    assert_equal(ours.trace(x).logits, peer(x))


@pytest.mark.parametrize("stride", [2, 1])
def test_whole_model_and_gradients_in_float64(stride):
    ours, peer = whole_pair(stride=stride, dtype=torch.float64)
    x, labels = images(2, 3, 64, 64, dtype=torch.float64), torch.tensor([3, 1])
    losses = [F.cross_entropy(model.train()(x), labels) for model in (ours, peer)]
    assert_equal(losses[0], losses[1])
    expected, actual = convert(gradients(peer, losses[1])), gradients(ours, losses[0])
    assert actual.keys() == expected.keys()
    for name in expected:
        size = expected[name].abs().max()
        assert size > 0, f"{name} has no gradient to compare"
        assert (actual[name] - expected[name]).abs().max() < 1e-9 * size, name


def test_parameters():
    assert PARAMETERS.keys() == SIZES.keys() - {"nano"}
    resnet = 25_557_032  # torchvision's meta["num_params"]
    kernels, projections = 3 * 9 * 512**2, 3 * 3 * 512**2
    offsets = {"BoTNet-50": 27 + 13 + 13, "BoTNet-S1-50": 27 + 27 + 27}  # 2 x 14 - 1 and 2 x 7 - 1
    for size, count in PARAMETERS.items():
        with torch.device("meta"):
            model = BoTNet.from_size(size)
        assert sum(p.numel() for p in model.parameters()) == count
        assert count == resnet - kernels + projections + 2 * 128 * offsets[size]


@torch.no_grad()
def test_maps_of_each_block():
    model = BoTNet.from_size("nano", num_classes=10).eval()
    maps = model.trace(images(2, 3, 32, 32)).maps
    assert [m.grid for m in maps] == [(16, 16), (8, 8), (8, 8), (8, 8)]
    assert [m.block for m in maps] == [4, 5, 6, 7]
    assert all(
        m.weights.shape[:2] == (2, 4) and m.extra == () and m.kind == "content" for m in maps
    )


@torch.no_grad()
def test_oblong_images_equal_timm():
    """The whole last stage on maps of 8x12 and 4x6, attention and positions by timm."""
    model = BoTNet(image_size=(32, 48), stem="large", widths=(16, 32), depths=(1, 2), num_classes=5)
    model = randomise(model, seed=3).double().eval()
    x = images(2, 3, 32, 48, dtype=torch.float64)
    assert [m.grid for m in model.trace(x).maps] == [(8, 12), (4, 6)]
    for block, grid in zip(model.stages[-1], [(8, 12), (4, 6)]):
        peer = BottleneckAttn(8, feat_size=grid, num_heads=4, scale_pos_embed=True).double()
        names = {"qkv.weight": "to_qkv.weight", "pos_embed.height_rel": "positions.rows"}
        names |= {"pos_embed.width_rel": "positions.columns"}
        own = block.spatial.state_dict()
        state = {theirs: own[ours] for theirs, ours in names.items()}
        state["qkv.weight"] = state["qkv.weight"][..., None, None]
        peer.load_state_dict(state)
        part = images(2, 8, *grid, dtype=torch.float64)
        assert_equal(block.spatial(part), peer.eval()(part))
        assert_equal(block.spatial.trace(part)[0], peer(part))


@torch.no_grad()
def test_odd_maps():
    """Side 72 enters the last stage as 5x5 and leaves as 3x3: pooling and shortcut round alike."""
    model = BoTNet(image_size=72, stem="large", widths=(16, 32, 48, 64), depths=(1, 1, 1, 2)).eval()
    trace = model.trace(images(1, 3, 72, 72))
    assert [m.grid for m in trace.maps] == [(5, 5), (3, 3)]
    pool = model.stages[-1][0].pool
    assert_equal(pool(torch.ones(1, 1, 5, 5)), torch.ones(1, 1, 3, 3))  # the mean of what is there


@torch.no_grad()
def test_a_block_starts_as_its_shortcut():
    block = BottleneckTransformer(8, 16, stride=2, grid=(4, 4))
    x = images(2, 8, 4, 4)
    assert_equal(block(x), F.relu(block.shortcut(x)))
    assert len(block.shortcut) == 3 and isinstance(block.shortcut[2], nn.ReLU)


@torch.no_grad()
def test_without_positions_order_does_not_matter():
    x, order = images(2, 16, 4, 4), torch.randperm(16, generator=torch.Generator().manual_seed(0))

    def shuffle(tensor):
        return tensor.flatten(2)[:, :, order].unflatten(2, (4, 4))

    def change(positions):
        attention = randomise(BottleneckAttention(16, grid=(4, 4), positions=positions), seed=4)
        return (attention(shuffle(x)) - shuffle(attention(x))).abs().max()

    assert change("none") < 1e-5
    assert change("absolute") > 1e-2 and change("relative") > 1e-2


def test_without_positions_any_size():
    model = BoTNet.from_size("nano", num_classes=10, positions="none").eval()
    assert model(images(1, 3, 48, 40)).shape == (1, 10)


@pytest.mark.parametrize("positions", ["relative", "absolute"])
def test_other_sizes_are_refused(positions):
    model = BoTNet.from_size("nano", num_classes=10, positions=positions)
    with pytest.raises(
        ValueError, match="map is 24x20 .* 16x16; .*image_size.* or positions='none'"
    ):
        model(images(1, 3, 48, 40))
    assert BoTNet.from_size("nano", image_size=48, positions=positions).eval()(
        images(1, 3, 48, 48)
    ).shape == (1, 1000)


@pytest.mark.parametrize(
    "wrong_arguments, message",
    [
        (dict(positions="rotary"), "unknown name 'rotary'; there are relative, absolute, none"),
        (
            dict(num_heads=3),
            r"widths\[-1\]=32 is not a multiple of 4 x \(num_heads=3\)=12 .*widths\[-1\]=24 or 36",
        ),
        (dict(last_stride=3), "last_stride=3 must be 1 or 2, for example last_stride=2"),
        (dict(widths=(32,), depths=(1,)), "at least two, for example widths="),
        (dict(depths=(1, 1, 1)), "one entry for each stage"),
        (dict(depths=(1, 0)), r"depths\[-1\]=0 must be greater than 0"),
        (dict(stem="huge"), "unknown stem 'huge'"),
        (dict(image_size=0), "image_size=0 must be greater than 0"),
    ],
)
def test_errors(wrong_arguments, message):
    valid = dict(image_size=32, stem="small", widths=(16, 32), depths=(1, 1), num_classes=5)
    BoTNet(**valid)
    with pytest.raises(ValueError, match=message):
        BoTNet(**{**valid, **wrong_arguments})

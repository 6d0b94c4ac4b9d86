"""Our CoAtNet is the paper's, as far as public code goes: stored vectors, and timm live, set to the
paper's text."""

from copy import deepcopy
from functools import partial
from itertools import product

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from einops import rearrange
from reference import assert_equal, gradients, images, load_case, record_attention
from timm.models.maxxvit import MaxxVit
from torch import nn

from benchmarks.peers import timm_coatnet
from hybridlib.layers.convolution import MBConv, SqueezeExcite
from hybridlib.layers.position import RelativeBias
from hybridlib.models.coatnet import SIZES, CoAtNet, RelativeAttention, RelativeTransformerBlock
from hybridlib.pretrained import names

convert = partial(names.convert, "coatnet", same_settings=True)

# FACTS, section 9, "plain head, expand from output": 24.45, 41.64, 73.64, 164.61, 273.06 M.
PARAMETERS = {
    "CoAtNet-0": 24_446_228,
    "CoAtNet-1": 41_635_184,
    "CoAtNet-2": 73_635_144,
    "CoAtNet-3": 164_605_432,
    "CoAtNet-4": 273_064_456,
}
PAPER = dict(  # timm's options that follow the paper's text
    head_hidden_size=0,  # no hidden layer; None would leave it
    conv_stride_mode="1x1",
    conv_pool_type="max",
    transformer_pool_type="max",
)
# stored case: module, grid of its map
MODULES = {
    "coatnet_mbconv_s1": (lambda: MBConv(16, 16), None),
    "coatnet_mbconv_s2_1x1_max": (lambda: MBConv(16, 24, stride=2), None),
    "coatnet_tfm_s1": (lambda: RelativeTransformerBlock(32, 32, head_dim=8, grid=(6, 4)), (6, 4)),
    "coatnet_tfm_s2_max": (
        lambda: RelativeTransformerBlock(16, 32, stride=2, head_dim=8, grid=(5, 5)),
        (5, 5),
    ),
}


@pytest.mark.parametrize("name", MODULES)
@torch.no_grad()
def test_stored_blocks(name):
    make, grid = MODULES[name]
    case, ours = load_case(name), make().eval()
    ours.load_state_dict(convert(case.state, grid=grid))
    x = case.inputs["x"]
    assert_equal(ours(x), case.outputs["y"])
    assert_equal(deepcopy(ours).double()(x.double()), case.outputs["y_f64"])
    if grid:
        y, weights = ours.trace(x)
        assert_equal(y, case.outputs["y"])
        assert_equal(weights, case.outputs["attn"])
        assert tuple(y.shape[-2:]) == grid


@torch.no_grad()
def test_stored_attention():
    case = load_case("coatnet_relattn")
    ours = RelativeAttention(32, 32, head_dim=8, grid=(6, 4)).eval()
    ours.load_state_dict(convert(case.state, grid=(6, 4)))
    assert_equal(ours.bias((6, 4))[None], case.outputs["bias"])
    for dtype, expected in ((torch.float32, "y"), (torch.float64, "y_f64")):
        tokens = rearrange(case.inputs["x"].to(dtype), "b c h w -> b (h w) c")
        layer = deepcopy(ours).to(dtype)
        y, weights = layer.trace(tokens, grid=(6, 4))
        expected = rearrange(case.outputs[expected], "b c h w -> b (h w) c")
        assert_equal(layer(tokens, grid=(6, 4)), expected)
        assert_equal(y, expected)
        assert_equal(weights.float(), case.outputs["attn"])


@torch.no_grad()
def test_stored_model():
    case = load_case("coatnet_timm_closest_to_paper")
    ours = CoAtNet(
        image_size=96,
        stem_width=16,
        widths=(16, 24, 32, 64),
        depths=(1, 2, 2, 2),
        head_dim=8,
        num_classes=10,
    ).eval()
    ours.load_state_dict(convert(case.state))
    x = case.inputs["x"]
    trace = ours.trace(x)
    assert_equal(ours(x), case.outputs["logits"])
    assert_equal(trace.logits, case.outputs["logits"])
    assert_equal(deepcopy(ours).double()(x.double()), case.outputs["logits_f64"])
    assert_equal(ours.stages(ours.embed(x)), case.outputs["feat_last_prenorm"])
    assert len(trace.maps) == 4
    for i, attention in enumerate(trace.maps):
        assert_equal(attention.weights, case.outputs[f"attn/{i}"])
    assert [m.grid for m in trace.maps] == [(6, 6), (6, 6), (3, 3), (3, 3)]
    assert [m.block for m in trace.maps] == [3, 4, 5, 6]


def randomise(model: nn.Module) -> None:
    """Norms that are no identity, statistics that are not 0 and 1, tables and biases that show."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 and "norm" in name and name.endswith("weight"):
            nn.init.uniform_(parameter, 0.5, 1.0)
        elif parameter.ndim == 1 or name.endswith("table"):
            nn.init.normal_(parameter, std=0.3)


SHAPE = dict(
    stem_width=16, widths=(16, 24, 32, 48), depths=(1, 2, 2, 2), head_dim=8, num_classes=10
)


def make_peer(image_size: int, *, letters: str = "CCTT", stride_mode: str = "1x1") -> MaxxVit:
    """timm's model for images of that side, by the paper's text, with random weights."""
    torch.manual_seed(0)
    peer = timm_coatnet(
        {**SHAPE, "image_size": image_size, "layout": letters}, stride_mode=stride_mode
    )
    randomise(peer)
    return peer


def make_ours(image_size: int, *, letters: str = "CCTT", stride_in: str = "expand") -> CoAtNet:
    return CoAtNet(**SHAPE, image_size=image_size, layout=letters, stride_in=stride_in)


@pytest.mark.parametrize("letters", ["CCCC", "CCCT", "CCTT", "CTTT", "TTTT"])
@torch.no_grad()
def test_layouts_equal_timm(letters):
    ours, peer = make_ours(64, letters=letters).eval(), make_peer(64, letters=letters).eval()
    ours.load_state_dict(convert(peer.state_dict()))
    x = images(2, 3, 64, 64)
    logits, maps = record_attention(peer, x)
    trace = ours.trace(x)
    assert_equal(ours(x), logits)
    assert_equal(trace.logits, logits)
    assert len(maps) == len(trace.maps)
    for attention, expected in zip(trace.maps, maps):
        assert_equal(attention.weights, expected)


@pytest.mark.parametrize("letters", ["CCCC", "CCTT"])
@pytest.mark.parametrize("side", [64, 72])  # 72: odd maps
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.no_grad()
def test_depthwise_stride_equals_timm(letters, side, dtype):
    ours = make_ours(side, letters=letters, stride_in="depthwise").eval().to(dtype)
    peer = make_peer(side, letters=letters, stride_mode="dw").eval().to(dtype)
    ours.load_state_dict(convert(peer.state_dict()))
    x = images(2, 3, side, side, dtype=dtype)
    assert_equal(ours(x), peer(x))
    assert_equal(ours.trace(x).logits, peer(x))
    expand = make_ours(side, letters=letters).eval().to(dtype)  # the same tensors, other sums
    expand.load_state_dict(ours.state_dict())
    assert (expand(x) - peer(x)).abs().max() > 0.01


def test_depthwise_stride_by_name():
    torch.manual_seed(0)
    ours = CoAtNet.from_size("nano", stride_in="depthwise")
    first = ours.stages[0][0]
    assert (first.expand[0].stride, first.depthwise[0].stride) == ((1, 1), (2, 2))
    torch.manual_seed(0)
    paper = CoAtNet.from_size("nano").state_dict()
    assert all(torch.equal(paper[name], tensor) for name, tensor in ours.state_dict().items())
    with pytest.raises(ValueError, match="unknown name 'pool'; there are expand, depthwise"):
        CoAtNet.from_size("nano", stride_in="pool")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_and_statistics(training, dtype):
    ours, peer = make_ours(64).to(dtype), make_peer(64).to(dtype)
    ours.load_state_dict(convert(peer.state_dict()))
    x, labels = images(4, 3, 64, 64, dtype=dtype), torch.tensor([3, 1, 4, 1])
    losses = [F.cross_entropy(model.train(training)(x), labels) for model in (ours, peer)]
    assert_equal(losses[0], losses[1])
    expected, actual = convert(gradients(peer, losses[1])), gradients(ours, losses[0])
    assert actual.keys() == expected.keys()
    # Of the largest entry, as gradients differ in size. Some are zero in theory (a bias before
    # BatchNorm in training, a key's bias before the softmax) and noise in practice: the second
    # term.
    rtol, atol = (1e-3, 1e-6) if dtype == torch.float32 else (1e-9, 1e-13)
    for name in expected:
        size = expected[name].abs().max()
        assert (actual[name] - expected[name]).abs().max() <= rtol * size + atol, name
    assert sum(e.abs().max() > 1e-4 for e in expected.values()) > 0.8 * len(expected)
    state = ours.state_dict()  # in training the running statistics have moved by one batch
    for name, tensor in convert(peer.state_dict()).items():
        assert_equal(state[name].to(dtype), tensor.to(dtype))


def bilinear(table: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear resizing by the definition: cell i of n covers (i + 1/2) / n of the side."""

    def weights(new: int, old: int) -> np.ndarray:
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(old)[None, :]))

    return np.einsum(
        "ij,hjk,lk->hil", weights(size[0], table.shape[1]), table, weights(size[1], table.shape[2])
    )


@pytest.mark.parametrize("side", [96, 128, 48])
@torch.no_grad()
def test_other_sizes(side):
    """Ours built for 64 and given another size, against timm built for that size with resized
    tables."""
    small, peer = make_peer(64).double().eval(), make_peer(side).double().eval()
    ours = make_ours(64).double().eval()
    ours.load_state_dict(convert(small.state_dict()))
    state = small.state_dict()
    for name, table in peer.state_dict().items():
        if name.endswith("bias_table"):
            old, new = (int(len(t) ** 0.5) for t in (state[name], table))
            maps = rearrange(state[name], "(r c) h -> h r c", r=old).numpy()
            state[name] = rearrange(torch.tensor(bilinear(maps, (new, new))), "h r c -> (r c) h")
    peer.load_state_dict(state)
    x = images(1, 3, side, side, dtype=torch.float64)
    logits, maps = record_attention(peer, x)
    trace = ours.trace(x)
    assert_equal(ours(x), logits)
    assert_equal(trace.logits, logits)
    for attention, expected in zip(trace.maps, maps, strict=True):
        assert attention.grid == (side // 16,) * 2 or attention.grid == (-(-side // 32),) * 2
        assert_equal(attention.weights, expected)


@torch.no_grad()
def test_oblong_images():
    model = make_ours(64).eval()
    trace = model.trace(images(1, 3, 64, 96))
    assert [m.grid for m in trace.maps] == [(4, 6), (4, 6), (2, 3), (2, 3)]
    assert_equal(trace.logits, model(images(1, 3, 64, 96)))


def test_bias_by_the_definition():
    bias = RelativeBias((3, 4), 2)
    values, cells = bias((3, 4)), list(product(range(3), range(4)))
    for (q, query), (k, key) in product(enumerate(cells), enumerate(cells)):
        offset = query[0] - key[0] + 2, query[1] - key[1] + 3  # query - key, from 0
        assert torch.equal(values[:, q, k], bias.table[:, offset[0], offset[1]])


def test_resized_table():
    bias = RelativeBias((4, 5), 2).double()
    actual = bias.for_grid((7, 3))
    assert_equal(actual, torch.tensor(bilinear(bias.table.detach().numpy(), (13, 5))))
    assert actual.requires_grad  # fine-tuning at another size trains the table


@torch.no_grad()
def test_full_size():
    """CoAtNet-0 at 224 against timm's entry point, set to the paper's text."""
    torch.manual_seed(0)
    peer = timm.create_model("coatnet_0_224", **PAPER).eval()
    randomise(peer)
    ours = CoAtNet.from_size("CoAtNet-0").eval()
    ours.load_state_dict(convert(peer.state_dict()))
    x = images(1, 3, 224, 224)
    assert_equal(ours(x), peer(x))


def test_parameters():
    assert PARAMETERS.keys() == {size for size in SIZES if not size.startswith("nano")}
    for size, count in PARAMETERS.items():
        with torch.device("meta"):
            ours = CoAtNet.from_size(size)
            peer = timm.create_model(f"coatnet_{size[-1]}_224", **PAPER)
        assert sum(p.numel() for p in ours.parameters()) == count
        assert sum(p.numel() for p in peer.parameters()) == count


@pytest.mark.parametrize("layout", ["".join(letters) for letters in product("CT", repeat=4)])
@torch.no_grad()
def test_any_layout(layout):
    model = CoAtNet.from_size("nano", num_classes=5, layout=layout).eval()
    trace = model.trace(images(1, 3, 32, 32))
    sides = (16, 16, 8, 4)
    expected = [
        (side, side)
        for letter, side, depth in zip(layout, sides, SIZES["nano"]["depths"])
        for _ in range(depth)
        if letter == "T"
    ]
    assert [m.grid for m in trace.maps] == expected
    assert_equal(trace.logits, model(images(1, 3, 32, 32)))


@torch.no_grad()
def test_vit_rel_attends_on_patches_everywhere():
    model = CoAtNet.from_size("nano ViT_REL", num_classes=5).eval()
    trace = model.trace(images(1, 3, 32, 40))
    assert [(m.grid, m.block) for m in trace.maps] == [((8, 10), i) for i in range(4)]
    assert not any(isinstance(m, (MBConv, nn.BatchNorm2d, nn.MaxPool2d)) for m in model.modules())
    with pytest.raises(ValueError, match="image width=42 is not a multiple of stem_stride=4"):
        model(images(1, 3, 32, 42))


def test_drop_path_leaves_branches_out():
    torch.manual_seed(0)
    model = CoAtNet.from_size("nano", num_classes=5, drop_path=1.0)
    rates = [m.drop_path.p for m in model.modules() if hasattr(m, "drop_path")]
    assert rates == [i / 4 for i in range(5)]
    block = model.stages[-1][-1].train()  # rate 1: only the shortcut is left
    x = images(2, 64, 8, 8)
    assert_equal(block(x), block.shortcut(x))


@pytest.mark.parametrize(
    "wrong_arguments, message",
    [
        (
            dict(layout="CCXT"),
            "layout='CCXT' must be four letters, each C .* or T .*'CCTT', or layout='ViT_REL'",
        ),
        (dict(layout="CCT"), "layout='CCT' must be four letters"),
        (dict(layout="cctt"), "layout='cctt' must be four letters"),
        (dict(layout=""), "layout='' must be four letters"),
        (
            dict(layout="ViT_REL"),
            r"widths=\(16, 24, 32, 48\) has 4 entries and layout='ViT_REL' has 1 stage;",
        ),
        (
            dict(depths=(1, 1, 1)),
            r"depths=\(1, 1, 1\) has 3 entries and layout='CCTT' has 4 stages",
        ),
        (dict(depths=(1, 1, 0, 1)), r"depths\[2\]=0 must be greater than 0"),
        (dict(strides=(2, 2, 2, 0)), r"strides\[3\]=0 must be greater than 0"),
        (
            dict(widths=(16, 24, 30, 48)),
            "dim=30 is not a multiple of head_dim=8 .*; use dim=24 or 32",
        ),
        (dict(widths=(18, 24, 32, 48)), "out_channels=18 is not a multiple of 4"),
        (dict(stem_width=0), "stem_width=0 must be greater than 0"),
        (dict(stem_stride=0), "stem_stride=0 must be greater than 0"),
        (dict(image_size=-1), "image_size=-1 must be greater than 0"),
        (dict(drop_path=1.5), "drop_path=1.5 must be between 0 and 1"),
    ],
)
def test_errors(wrong_arguments, message):
    valid = dict(
        image_size=64,
        stem_width=16,
        widths=(16, 24, 32, 48),
        depths=(1, 1, 1, 1),
        head_dim=8,
        num_classes=5,
    )
    CoAtNet(**valid)
    with pytest.raises(ValueError, match=message):
        CoAtNet(**{**valid, **wrong_arguments})


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: SqueezeExcite(8, hidden=0), "hidden=0 must be greater than 0"),
        (lambda: MBConv(8, 8, stride=0), "stride=0 must be greater than 0"),
        (lambda: MBConv(8, 8, expansion=0), "expansion=0 must be greater than 0"),
        (lambda: RelativeBias((0, 3), 2), "rows=0 must be greater than 0"),
        (
            lambda: convert({"rel_pos.relative_position_bias_table": torch.zeros(77, 4)}),
            "77 offsets .* give grid=",
        ),
    ],
)
def test_errors_of_parts(make, message):
    with pytest.raises(ValueError, match=message):
        make()

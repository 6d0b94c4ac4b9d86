"""Our ConViT is timm's and the authors': the stored vectors, and live with copied weights."""

from copy import deepcopy
from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
from reference import assert_equal, gradients, images, load_case, randomise, record_attention
from timm.layers import resample_abs_pos_embed
from timm.models.convit import ConVit

from hybridlib.layers.position import quadratic_encoding, relative_offsets
from hybridlib.models.convit import SIZES, ConViT, GatedPositionalSelfAttention
from hybridlib.pretrained import names

convert = partial(names.convert, "convit")

CONFIG = dict(image_size=32, patch_size=4, num_classes=10, dim=48, depth=4, num_heads=4)
PEER = dict(img_size=32, patch_size=4, num_classes=10, embed_dim=12, depth=4, num_heads=4)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])

# Counted by timm 1.0.31, the fact sheet's 5.711, 27.777 and 86.540 million. timm has no "+" models;
# its class builds them from 64 dimensions for each head (table 1: 10, 48 and 152 million).
PUBLIC = {
    "Ti": (48, 4, 5_710_512),
    "Ti+": (64, 4, 9_972_912),
    "S": (48, 9, 27_777_322),
    "S+": (64, 9, 48_979_882),
    "B": (48, 16, 86_540_040),
    "B+": (64, 16, 153_134_856),
}


def make_peer(**changes) -> ConVit:
    return randomise(ConVit(**{**PEER, **changes}, local_up_to_layer=3), seed=1).eval()


def make_pair(*, dtype: torch.dtype = torch.float32) -> tuple[ConViT, ConVit]:
    """Ours and timm's for 32x32 images with the same random weights."""
    peer = make_peer().to(dtype)
    ours = ConViT(**CONFIG, local_depth=3).to(dtype).eval()
    ours.load_state_dict(convert(peer.state_dict()))
    return ours, peer


def applied(maps):
    """The weights that each block applied to its values: gated ones, and plain ones in the end."""
    return [m for m in maps if m.kind == "gated" or m.extra]


@pytest.fixture(scope="module")
def case():
    return load_case("convit_official")


@pytest.fixture
def ours(case):
    model = ConViT(**CONFIG, local_depth=3).eval()
    model.load_state_dict(convert(case.state))
    return model


@torch.no_grad()
def test_stored_logits(case, ours):
    x = case.inputs["x"]
    assert_equal(ours(x), case.outputs["logits"])
    assert_equal(ours.double()(x.double()), case.outputs["logits_f64"])


@torch.no_grad()
def test_stored_maps(case, ours):
    x = case.inputs["x"]
    trace = ours.trace(x)
    assert_equal(trace.logits, case.outputs["logits"])
    output_names = {"content": "attn_content", "gated": "attn", "position": "attn_pos"}
    expected = [(i, kind) for i in range(3) for kind in ("content", "position", "gated")]
    assert [(m.block, m.kind) for m in trace.maps] == [*expected, (3, "content")]
    for attention in trace.maps[:9]:
        weights = case.outputs[f"{output_names[attention.kind]}/{attention.block}"]
        assert_equal(attention.weights, weights.expand(2, -1, -1, -1))
        assert (attention.grid, attention.extra) == ((8, 8), ())
    assert_equal(trace.maps[9].weights, case.outputs["attn/3"])
    assert (trace.maps[9].grid, trace.maps[9].extra) == ((8, 8), ("class",))
    assert_equal(ours.double().trace(x.double()).logits, case.outputs["logits_f64"])


@DTYPES
@torch.no_grad()
def test_live(dtype):
    ours, peer = make_pair(dtype=dtype)
    x = images(2, 3, 32, 32, dtype=dtype)
    logits, maps = record_attention(peer, x)
    trace = ours.trace(x)
    assert_equal(ours(x), logits)
    assert_equal(trace.logits, logits)
    assert len(maps) == 4
    for attention, expected in zip(applied(trace.maps), maps, strict=True):
        assert_equal(attention.weights, expected)


@pytest.mark.parametrize("side", [16, 48])
@DTYPES
@torch.no_grad()
def test_other_sizes(side, dtype):
    """timm's ConVit takes one size: its twin is built for another, with timm's own resizing."""
    ours, peer = make_pair(dtype=dtype)
    state = peer.state_dict()
    state["pos_embed"] = resample_abs_pos_embed(
        state["pos_embed"], [side // 4] * 2, num_prefix_tokens=0
    )
    resized_peer = make_peer(img_size=side).to(dtype)
    resized_peer.load_state_dict(state)
    x = images(2, 3, side, side, dtype=dtype)
    logits, maps = record_attention(resized_peer, x)
    trace = ours.trace(x)
    assert_equal(ours(x), logits)
    assert_equal(trace.logits, logits)
    for attention, expected in zip(applied(trace.maps), maps, strict=True):
        assert attention.grid == (side // 4, side // 4)
        assert_equal(attention.weights, expected)


@torch.no_grad()
def test_oblong():
    """No public code takes oblong images; the fused and the open computation agree on one."""
    ours, _ = make_pair(dtype=torch.float64)
    x = images(2, 3, 24, 40, dtype=torch.float64)
    trace = ours.trace(x)
    assert {m.grid for m in trace.maps} == {(6, 10)}
    assert_equal(ours(x), trace.logits)


@DTYPES
def test_gradients(dtype):
    """The bias of the position scores cancels in the softmax, so that its gradient is 0."""
    ours, peer = make_pair(dtype=dtype)
    x, labels = images(4, 3, 32, 32, dtype=dtype), torch.tensor([3, 1, 4, 1])
    expected = convert(gradients(peer, F.cross_entropy(peer(x), labels)))
    actual = gradients(ours, F.cross_entropy(ours(x), labels))
    assert actual.keys() == expected.keys()
    for name in expected:
        cancels = name.endswith("to_position_scores.bias")
        assert cancels or expected[name].abs().max() > 1e-3, f"{name} has no gradient to compare"
        assert_equal(actual[name], expected[name])


LOCAL = load_case("convit_local_init").outputs


@pytest.mark.parametrize("heads", [4, 9, 16, 5])
@pytest.mark.parametrize("alpha", [1.0, 0.5])
@torch.no_grad()
def test_stored_local_start(heads, alpha):
    """With 5 heads only 4 have a place; the fifth starts random, and its stored v gives its map."""
    layer = GatedPositionalSelfAttention(8 * heads, num_heads=heads, locality_strength=alpha)
    reference = LOCAL[f"pos_proj_weight/h{heads}_alpha{alpha}"].flip(1)
    places = int(heads**0.5) ** 2
    v = layer.to_position_scores.weight
    assert_equal(v[:places], reference[:places])
    assert v[places:].abs().max() < 0.1 * alpha if places < heads else places == heads
    assert torch.equal(layer.to_v.weight, torch.eye(8 * heads))
    assert LOCAL[f"v_weight_is_eye/h{heads}_alpha{alpha}"].item() == 1
    v[places:] = reference[places:]
    expected = LOCAL[f"pos_attn_5x5/h{heads}_alpha{alpha}"]
    assert_equal(layer.position_weights((5, 5)), expected)
    rows, columns = layer.position_factors((5, 5))
    product = rows[:, :, None, :, None] * columns[:, None, :, None, :]
    assert_equal(product.reshape(heads, 25, 25), expected)


def test_stored_gates_and_encoding(case):
    assert_equal(GatedPositionalSelfAttention(10, num_heads=5).gate_logits, LOCAL["gating_init"])
    for side, reference in ((4, LOCAL["rel_indices_4x4"]), (8, case.outputs["rel_indices"])):
        assert_equal(quadratic_encoding(relative_offsets((side, side))).flip(-1), reference[0])


def test_whole_model_starts_local():
    for block in ConViT.from_size("nano 9 heads").local_blocks:
        reference = LOCAL["pos_proj_weight/h9_alpha1.0"].flip(1)
        assert_equal(block.attention.to_position_scores.weight, reference)
        assert torch.equal(block.attention.to_v.weight, torch.eye(63))
        assert_equal(block.attention.gates, torch.full((9,), 0.7310586))


@torch.no_grad()
def test_nine_heads_with_closed_gates_are_a_convolution():
    """alpha and lambda large: head h passes on its channels of the patch at its shift, and `out`
    mixes them, which is a 3x3 convolution whose kernel has one cell for each group of channels."""
    layer = GatedPositionalSelfAttention(18, num_heads=9, locality_strength=50.0).double()
    layer.gate_logits.fill_(50.0)
    kernel = torch.zeros(18, 18, 3, 3, dtype=torch.float64)
    for head in range(9):
        channels = slice(2 * head, 2 * head + 2)
        kernel[:, channels, head % 3, head // 3] = layer.out.weight[:, channels]
    x = images(2, 18, 6, 7, dtype=torch.float64)
    expected = F.conv2d(x, kernel, layer.out.bias)  # inside only: attention has no zero padding
    tokens = layer(x.flatten(2).transpose(1, 2), grid=(6, 7))
    actual = tokens.transpose(1, 2).reshape(2, 18, 6, 7)[:, :, 1:-1, 1:-1]
    assert_equal(actual, expected)


@torch.no_grad()
def test_full_size():
    """A paper size from timm's entry point, at 224."""
    peer = randomise(timm.create_model("convit_tiny"), seed=3).eval()
    ours = ConViT.from_size("Ti").eval()
    ours.load_state_dict(convert(peer.state_dict()))
    x = images(1, 3, 224, 224)
    assert_equal(ours(x), peer(x))


def test_class_token_needs_a_block():
    with pytest.raises(
        ValueError, match="depth=4 must be greater than local_depth=4: .* for example depth=5"
    ):
        ConViT(**CONFIG, local_depth=4)


def test_a_model_without_local_blocks_is_a_vit_without_a_class_position():
    model = ConViT(**CONFIG, local_depth=0)
    assert [m.kind for m in model.trace(images(1, 3, 32, 32)).maps] == ["content"] * 4
    assert deepcopy(model).positions.table.shape == (1, 64, 48)


def test_parameters():
    assert PUBLIC.keys() == {size for size in SIZES if "nano" not in size}
    for size, (head_dim, heads, count) in PUBLIC.items():
        with torch.device("meta"):
            ours = ConViT.from_size(size)
            peer = ConVit(embed_dim=head_dim, num_heads=heads, depth=12, local_up_to_layer=10)
        assert sum(p.numel() for p in ours.parameters()) == count
        assert sum(p.numel() for p in peer.parameters()) == count
    for size, name in (("Ti", "convit_tiny"), ("S", "convit_small"), ("B", "convit_base")):
        with torch.device("meta"):
            peer = timm.create_model(name)
        assert sum(p.numel() for p in peer.parameters()) == PUBLIC[size][2]

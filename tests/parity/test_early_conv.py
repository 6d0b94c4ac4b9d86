"""Our ViT_C and ViT_P are torchvision's: the stored vectors, and live with copied weights."""

import math
from copy import deepcopy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from reference import assert_equal, gradients, images, load_case
from timm.layers import resample_abs_pos_embed
from torch import nn

from benchmarks.peers import torchvision_maps, torchvision_vit
from hybridlib.analysis import cost, receptive_field
from hybridlib.layers.attention import count_attention_macs
from hybridlib.layers.convolution import count_conv_macs
from hybridlib.models.early_conv import SIZES, EarlyConvViT
from hybridlib.models.vit import ViT
from hybridlib.pretrained import names

convert = partial(names.convert, "early_conv")

# Table 1 of the paper: parameters in millions, multiply-adds in billions.
TABLE = {
    "C-1GF": (4.6, 1.1),
    "P-1GF": (4.8, 1.1),
    "C-4GF": (17.8, 4.0),
    "P-4GF": (18.5, 3.9),
    "C-18GF": (81.6, 17.7),
    "P-18GF": (86.7, 17.5),  # torchvision's, and ours, has 86.57
    "C-36GF": (167.8, 35.0),
    "P-36GF": (178.4, 35.9),
}
PARAMETERS = {  # the same in torchvision's twin, which the test builds
    "C-1GF": 4_567_936,
    "P-1GF": 4_830_376,
    "C-4GF": 17_754_136,
    "P-4GF": 18_507_112,
    "C-18GF": 81_573_160,
    "P-18GF": 86_567_656,
    "C-36GF": 167_796_008,
    "P-36GF": 178_364_392,
}

SHAPE = dict(
    image_size=64, patch_size=16, dim=48, depth=3, num_heads=4, mlp_ratio=3.0, num_classes=10
)
STEMS = {
    "vitc": ((8, 2), (16, 2), (32, 2), (48, 2)),
    "vitp": None,
    "vitc with strides of 1": ((8, 4), (8, 1), (16, 4)),
}


def pair(stem, *, image_size=64):
    """Ours for 64x64 images and torchvision's for `image_size`, with the same random weights, in
    float64."""
    torch.manual_seed(0)
    peer = torchvision_vit({**SHAPE, "stem": stem}).double()
    for name, tensor in peer.state_dict().items():
        if name.endswith("running_var"):
            nn.init.uniform_(tensor, 0.5, 1.5)
        elif tensor.is_floating_point():
            centre = (
                1.0
                if name.endswith((".1.weight", "ln_1.weight", "ln_2.weight", "ln.weight"))
                else 0.0
            )
            nn.init.normal_(tensor, centre, 0.3 if tensor.ndim < 2 else tensor[0].numel() ** -0.5)
    nn.init.normal_(peer.class_token)
    nn.init.normal_(peer.encoder.pos_embedding)
    ours = EarlyConvViT(**SHAPE, stem=stem).double()
    ours.load_state_dict(convert(peer.state_dict()))
    if image_size != 64:
        larger = torchvision_vit({**SHAPE, "image_size": image_size, "stem": stem}).double()
        table = resample_abs_pos_embed(
            peer.encoder.pos_embedding.data, [image_size // 16] * 2, num_prefix_tokens=1
        )
        larger.load_state_dict({**peer.state_dict(), "encoder.pos_embedding": table})
        peer = larger
    return ours, peer


# The stored vectors


@pytest.mark.parametrize("name", ["vitc", "vitp"])
@torch.no_grad()
def test_stored_vectors(name):
    case = load_case(f"earlyconv_torchvision_{name}")
    x, out = case.inputs["x"], case.outputs
    model = EarlyConvViT(**SHAPE, stem=STEMS[name]).eval()
    model.load_state_dict(convert(case.state))
    assert_equal(model(x), out["logits"])
    assert_equal(model.patch_embedding(x), out["stem_tokens"])
    trace = model.trace(x)
    assert_equal(trace.logits, out["logits"])
    assert len(trace.maps) == 3
    for i, attention in enumerate(trace.maps):
        assert_equal(attention.weights, out[f"attn/{i}"])
        assert (attention.grid, attention.extra, attention.block) == ((4, 4), ("class",), i)
    assert_equal(model.double()(x.double()), out["logits_f64"])


# Live


@pytest.mark.parametrize("stem", STEMS.values(), ids=STEMS)
@pytest.mark.parametrize("training", [False, True])
def test_gradients_and_statistics(stem, training):
    ours, peer = pair(stem)
    ours.train(training)
    peer.train(training)
    x = images(4, 3, 64, 64, dtype=torch.float64)
    pixels = [x.clone().requires_grad_() for _ in range(2)]
    logits = [model(image) for model, image in zip((ours, peer), pixels)]
    assert_equal(*logits)
    target = torch.tensor([0, 3, 7, 9])
    losses = [F.cross_entropy(out, target) for out in logits]
    assert_equal(
        *(
            torch.autograd.grad(loss, image, retain_graph=True)[0]
            for loss, image in zip(losses, pixels)
        )
    )
    mine, theirs = gradients(ours, losses[0]), convert(gradients(peer, losses[1]))
    assert mine.keys() == theirs.keys()
    for name, gradient in mine.items():
        assert gradient.abs().max() > 1e-9, name
        assert_equal(gradient, theirs[name])
    for name, tensor in convert(peer.state_dict()).items():
        assert_equal(ours.state_dict()[name].double(), tensor.double())


@pytest.mark.parametrize("stem", STEMS.values(), ids=STEMS)
@pytest.mark.parametrize("side", [64, 96, 32])
@torch.no_grad()
def test_other_sizes(stem, side):
    """torchvision takes one size; its twin for another gets the same table, resized by timm."""
    ours, peer = pair(stem, image_size=side)
    x = images(2, 3, side, side, dtype=torch.float64)
    assert_equal(ours.eval()(x), peer.eval()(x))
    trace = ours.trace(x)
    assert_equal(trace.logits, peer(x))
    for attention, expected in zip(trace.maps, torchvision_maps(peer, x), strict=True):
        assert_equal(attention.weights, expected)


@torch.no_grad()
def test_oblong_images():
    """Half of an image twice as wide sees the stem of that half, away from the seam."""
    ours, _ = pair(STEMS["vitc"])
    ours.eval()
    x = images(1, 3, 64, 128, dtype=torch.float64)
    assert ours(x).shape == (1, 10)
    assert ours.trace(x).maps[0].grid == (4, 8)
    whole = ours.patch_embedding(x).unflatten(1, (4, 8))
    left_half = ours.patch_embedding(x[..., :64]).unflatten(1, (4, 4))
    assert_equal(whole[:, :, :3], left_half[:, :, :3])
    assert (whole[:, :, 4] - left_half[:, :, 3]).abs().max() > 1e-3


# Sizes


def paper_sizes():
    return [size for size in SIZES if not size.startswith("nano")]


def test_every_paper_size_is_in_the_table():
    assert set(TABLE) == set(PARAMETERS) == set(paper_sizes())


@pytest.mark.parametrize("size", TABLE)
def test_parameters_and_operations(size):
    with torch.device("meta"):
        ours, peer = EarlyConvViT.from_size(size), torchvision_vit(SIZES[size])
        model_cost = cost(ours, image_size=224)
    parameters = sum(p.numel() for p in ours.parameters())
    assert parameters == sum(p.numel() for p in peer.parameters()) == PARAMETERS[size]
    millions, billions = TABLE[size]
    assert parameters / 1e6 == pytest.approx(millions, abs=0.15 if size == "P-18GF" else 0.0501)
    # the table cuts where it could round: P-36GF has 35.97
    assert model_cost.macs / 1e9 == pytest.approx(billions, abs=0.1)
    assert model_cost.macs == macs_by_hand(**SIZES[size])


def macs_by_hand(
    *, image_size, patch_size, dim, depth, num_heads, mlp_ratio=4.0, stem=None, classes=1000
):
    side, channels, macs = image_size, 3, 0
    for width, stride in stem or ():
        side //= stride
        macs += count_conv_macs((side, side), channels, width, kernel=3)
        channels = width
    patches = (image_size // patch_size) ** 2
    macs += patches * dim * (channels if stem else channels * patch_size**2)
    tokens = patches + 1
    macs += depth * (count_attention_macs(tokens, dim) + 2 * tokens * dim * int(dim * mlp_ratio))
    return macs + dim * classes


@pytest.mark.parametrize("size", SIZES)
def test_stem_rules(size):
    """Section 3: a stride of 2 doubles the channels (but in the first layer), a stride of 1 keeps
    them; one block is paid."""
    stem = SIZES[size].get("stem")
    if stem is None:
        assert size.endswith("P") or size.startswith("P-")
        return
    for (before, _), (channels, stride) in zip(stem, stem[1:]):
        assert channels == before * stride
    assert math.prod(stride for _, stride in stem) == SIZES[size]["patch_size"]
    twin = SIZES["nano P" if size == "nano" else size.replace("C", "P")]
    assert SIZES[size] == {**twin, "depth": twin["depth"] - 1, "stem": stem}


@pytest.mark.parametrize(
    "size, expected", [("C-1GF", 31), ("C-4GF", 31), ("C-18GF", 55), ("nano", 11)]
)
def test_receptive_field_of_the_stem(size, expected):
    fields = receptive_field([(3, stride) for _, stride in SIZES[size]["stem"]] + [(1, 1)])
    assert (fields[-1].size, fields[-1].jump) == (expected, SIZES[size]["patch_size"])


@pytest.mark.parametrize("size", ["nano", "nano P"])
def test_nano_costs_what_vit_nano_costs(size):
    vit = cost(ViT.from_size("nano", num_classes=10), image_size=32)
    ours = cost(EarlyConvViT.from_size(size, num_classes=10), image_size=32)
    assert 0.9 < ours.macs / vit.macs < 1.1


@torch.no_grad()
def test_without_a_stem_it_is_vit():
    ours = EarlyConvViT.from_size("nano P", num_classes=10).eval()
    vit = ViT.from_size("nano", num_classes=10).eval()
    vit.load_state_dict(deepcopy(ours.state_dict()))
    x = images(2, 3, 32, 32)
    assert torch.equal(ours(x), vit(x))


def test_stem_starts_as_in_torchvision():
    torch.manual_seed(0)
    ours, peer = EarlyConvViT(**SIZES["C-1GF"]), torchvision_vit(SIZES["C-1GF"])
    theirs = convert(peer.state_dict())
    for name, tensor in ours.patch_embedding.state_dict(prefix="patch_embedding.").items():
        if not tensor.is_floating_point():
            continue
        expected, n = theirs[name], tensor.numel()
        assert tensor.shape == expected.shape
        std = expected.std().item()
        assert tensor.std().item() == pytest.approx(std, rel=5 / n**0.5, abs=1e-12), name
        assert tensor.mean().item() == pytest.approx(
            expected.mean().item(), abs=6 * std / n**0.5 + 1e-12
        ), name
    assert ours.head.weight.std() > 0 and peer.heads.head.weight.std() == 0


def test_strides_must_multiply_to_the_patch():
    with pytest.raises(
        ValueError,
        match=r"stem=\(\(8, 2\),\) .* multiply to patch_size=16, not to 2; use patch_size=2 or",
    ):
        EarlyConvViT(**SHAPE, stem=((8, 2),))
    with pytest.raises(ValueError, match=r"stem\[1\]\[0\]=0 must be greater than 0"):
        EarlyConvViT(**SHAPE, stem=((8, 2), (0, 8)))
    assert EarlyConvViT(**SHAPE, stem=((48, 16),))(torch.zeros(1, 3, 64, 64)).shape == (1, 10)

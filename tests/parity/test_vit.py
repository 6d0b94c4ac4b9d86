"""Our ViT is timm's ViT: the stored vectors, and live with copied weights."""

from copy import deepcopy
from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
from reference import assert_equal, gradients, images, load_case, randomise, record_attention
from timm.models.vision_transformer import VisionTransformer

from hybridlib.models.vit import SIZES, ViT
from hybridlib.pretrained import names

convert = partial(names.convert, "vit")

CONFIG = dict(image_size=32, patch_size=4, num_classes=10, dim=48, depth=3, num_heads=4)

# Counted by timm 1.0.31 and printed in millions by the papers: 5.717, 22.051, 86.568, 304.327.
PUBLIC = {
    "Ti/16": ("vit_tiny_patch16_224", 5_717_416),
    "S/16": ("vit_small_patch16_224", 22_050_664),
    "B/16": ("vit_base_patch16_224", 86_567_656),
    "L/16": ("vit_large_patch16_224", 304_326_632),
}


def make_pair(*, dtype: torch.dtype = torch.float32) -> tuple[ViT, VisionTransformer]:
    """Ours and timm's for 32x32 images with the same random weights."""
    peer = VisionTransformer(
        img_size=32,
        patch_size=4,
        num_classes=10,
        embed_dim=48,
        depth=3,
        num_heads=4,
        dynamic_img_size=True,  # other sizes than 32, with resized positions
    )
    peer = randomise(peer, seed=1).to(dtype).eval()
    ours = ViT(**CONFIG).to(dtype).eval()
    ours.load_state_dict(convert(peer.state_dict()))
    return ours, peer


@pytest.fixture(scope="module")
def case():
    return load_case("vit_timm")


@pytest.fixture(scope="module")
def ours(case):
    model = ViT(**CONFIG).eval()
    model.load_state_dict(convert(case.state))
    return model


@torch.no_grad()
def test_stored_logits(case, ours):
    assert_equal(ours(case.inputs["x"]), case.outputs["logits"])
    assert_equal(deepcopy(ours).double()(case.inputs["x"].double()), case.outputs["logits_f64"])


@torch.no_grad()
def test_stored_maps(case, ours):
    trace = ours.trace(case.inputs["x"])
    assert_equal(trace.logits, case.outputs["logits"])
    assert len(trace.maps) == case.config["depth"]
    for i, attention in enumerate(trace.maps):
        assert_equal(attention.weights, case.outputs[f"attn/{i}"])
        assert (attention.grid, attention.extra, attention.block) == ((8, 8), ("class",), i)


@torch.no_grad()
def test_stored_tokens(case, ours):
    tokens, _ = ours.embed(case.inputs["x"])
    for block in ours.blocks:
        tokens = block(tokens)
    assert_equal(ours.norm(tokens), case.outputs["tokens"])


# The training size, larger, smaller and oblong.
@pytest.mark.parametrize("size", [(32, 32), (48, 48), (16, 16), (24, 40)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.no_grad()
def test_other_sizes(size, dtype):
    ours, peer = make_pair(dtype=dtype)
    x = images(2, 3, *size, dtype=dtype)
    logits, maps = record_attention(peer, x)
    trace = ours.trace(x)
    assert_equal(ours(x), logits)
    assert_equal(trace.logits, logits)
    assert len(maps) == len(trace.maps) == 3
    for attention, expected in zip(trace.maps, maps):
        assert attention.grid == (size[0] // 4, size[1] // 4)
        assert_equal(attention.weights, expected)


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients(size, dtype):
    ours, peer = make_pair(dtype=dtype)
    x, labels = images(4, 3, *size, dtype=dtype), torch.tensor([3, 1, 4, 1])
    expected = convert(gradients(peer, F.cross_entropy(peer(x), labels)))
    actual = gradients(ours, F.cross_entropy(ours(x), labels))
    assert actual.keys() == expected.keys()
    for name in expected:
        assert expected[name].abs().max() > 1e-3, f"{name} has no gradient to compare"
        assert_equal(actual[name], expected[name])


@torch.no_grad()
def test_full_size():
    """A paper size from timm's entry point, at 224."""
    peer = randomise(timm.create_model("vit_tiny_patch16_224"), seed=3).eval()
    ours = ViT.from_size("Ti/16").eval()
    ours.load_state_dict(convert(peer.state_dict()))
    x = images(1, 3, 224, 224)
    assert_equal(ours(x), peer(x))


def test_parameters():
    assert PUBLIC.keys() == SIZES.keys() - {"nano"}
    for size, (name, count) in PUBLIC.items():
        with torch.device("meta"):
            ours, peer = ViT.from_size(size), timm.create_model(name)
        assert sum(p.numel() for p in ours.parameters()) == count
        assert sum(p.numel() for p in peer.parameters()) == count

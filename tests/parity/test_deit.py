"""Our DeiT is timm's, plain and distilled: the stored vectors, and live with copied weights."""

from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
from reference import assert_equal, gradients, images, load_case, randomise, record_attention
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer

from hybridlib.models.deit import SIZES, DeiT
from hybridlib.pretrained import names

convert = partial(names.convert, "deit")

CONFIG = dict(image_size=32, patch_size=4, num_classes=10, dim=48, depth=3, num_heads=4)
PEER = dict(img_size=32, patch_size=4, num_classes=10, embed_dim=48, depth=3, num_heads=4)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])

# Counted by timm 1.0.31; the distilled ones in millions in the fact sheet: 5.911, 22.436, 87.338.
PUBLIC = {
    "Ti": ("deit_tiny_patch16_224", 5_717_416),
    "S": ("deit_small_patch16_224", 22_050_664),
    "B": ("deit_base_patch16_224", 86_567_656),
    "Ti distilled": ("deit_tiny_distilled_patch16_224", 5_910_800),
    "S distilled": ("deit_small_distilled_patch16_224", 22_436_432),
    "B distilled": ("deit_base_distilled_patch16_224", 87_338_192),
}


def make_pair(*, second_token: str | None = "distillation", dtype: torch.dtype = torch.float32):
    """Ours and timm's for 32x32 images with the same random weights."""
    make_peer = VisionTransformerDistilled if second_token else VisionTransformer
    peer = randomise(make_peer(**PEER, dynamic_img_size=True), seed=1).to(dtype).eval()
    ours = DeiT(**CONFIG, second_token=second_token).to(dtype).eval()
    ours.load_state_dict(convert(peer.state_dict()))
    return ours, peer


@pytest.fixture(scope="module")
def case():
    return load_case("deit_distilled_timm")


@pytest.fixture
def ours(case):
    model = DeiT(**CONFIG, second_token="distillation").eval()
    model.load_state_dict(convert(case.state))
    return model


@torch.no_grad()
def test_stored_logits(case, ours):
    x = case.inputs["x"]
    assert_equal(ours(x), case.outputs["logits"])
    by_class, by_distillation = ours.both_logits(x)
    assert_equal(by_class, case.outputs["logits_class"])
    assert_equal(by_distillation, case.outputs["logits_dist"])
    assert_equal(
        by_class.softmax(-1) + by_distillation.softmax(-1), case.outputs["softmax_late_fusion"]
    )
    assert_equal(ours.double()(x.double()), case.outputs["logits_f64"])


@torch.no_grad()
def test_stored_tokens(case, ours):
    extra = ours.encode_extra(case.inputs["x"])
    assert_equal(extra[:, 0], case.outputs["cls_embed"])
    assert_equal(extra[:, 1], case.outputs["dist_embed"])
    cosine = F.cosine_similarity(extra[:, 0], extra[:, 1], dim=-1)
    assert_equal(cosine, case.outputs["cos_cls_dist_last"])


@torch.no_grad()
def test_stored_maps(case, ours):
    trace = ours.trace(case.inputs["x"])
    assert_equal(trace.logits, case.outputs["logits"])
    assert len(trace.maps) == case.config["depth"]
    for i, attention in enumerate(trace.maps):
        assert_equal(attention.weights, case.outputs[f"attn/{i}"])
        assert (attention.grid, attention.block) == ((8, 8), i)
        assert attention.extra == ("class", "distillation")


# The training size, larger, smaller and oblong.
@pytest.mark.parametrize("size", [(32, 32), (48, 48), (16, 16), (24, 40)])
@pytest.mark.parametrize("second_token", [None, "distillation"])
@DTYPES
@torch.no_grad()
def test_sizes(size, second_token, dtype):
    ours, peer = make_pair(second_token=second_token, dtype=dtype)
    x = images(2, 3, *size, dtype=dtype)
    logits, maps = record_attention(peer, x)
    trace = ours.trace(x)
    assert_equal(ours(x), logits)
    assert_equal(trace.logits, logits)
    assert len(maps) == len(trace.maps) == 3
    for attention, expected in zip(trace.maps, maps):
        assert attention.grid == (size[0] // 4, size[1] // 4)
        assert_equal(attention.weights, expected)


@DTYPES
def test_gradients_of_both_heads(dtype):
    """Each head with its own label, as in hard distillation: timm returns both only in training."""
    ours, peer = make_pair(dtype=dtype)
    peer.train().set_distilled_training(True)
    x, labels, teacher_labels = images(4, 3, 32, 32, dtype=dtype), [3, 1, 4, 1], [3, 2, 4, 8]
    losses = [
        sum(F.cross_entropy(z, torch.tensor(y)) for z, y in zip(logits, [labels, teacher_labels]))
        for logits in (ours.both_logits(x), peer(x))
    ]
    actual, expected = gradients(ours, losses[0]), convert(gradients(peer, losses[1]))
    assert actual.keys() == expected.keys()
    for name in expected:
        assert expected[name].abs().max() > 1e-3, f"{name} has no gradient to compare"
        assert_equal(actual[name], expected[name])


def test_logits_in_training_are_one_tensor():
    ours, peer = make_pair()
    x = images(2, 3, 32, 32)
    expected = peer(x)
    assert_equal(ours.train()(x), expected)


def test_second_class_token():
    """The paper's control is the same network; only its name for the second token differs."""
    torch.manual_seed(0)
    distilled_model = DeiT.from_size("nano distilled", num_classes=10)
    torch.manual_seed(0)
    control = DeiT.from_size("nano two class", num_classes=10)
    x = images(1, 3, 32, 32)
    assert torch.equal(distilled_model(x), control(x))
    assert control.trace(x).maps[0].extra == ("class", "second class")


def test_one_head_has_no_second_answer():
    with pytest.raises(ValueError, match="second_token='distillation'"):
        DeiT.from_size("nano", num_classes=10).both_logits(images(1, 3, 32, 32))
    with pytest.raises(ValueError, match="'dist'; there are distillation, class"):
        DeiT(**CONFIG, second_token="dist")


@torch.no_grad()
def test_full_size():
    """A paper size from timm's entry point, at 224."""
    peer = randomise(timm.create_model("deit_tiny_distilled_patch16_224"), seed=3).eval()
    ours = DeiT.from_size("Ti distilled").eval()
    ours.load_state_dict(convert(peer.state_dict()))
    x = images(1, 3, 224, 224)
    assert_equal(ours(x), peer(x))


def test_parameters():
    assert PUBLIC.keys() == {size for size in SIZES if "nano" not in size}
    for size, (name, count) in PUBLIC.items():
        with torch.device("meta"):
            ours, peer = DeiT.from_size(size), timm.create_model(name)
        assert sum(p.numel() for p in ours.parameters()) == count
        assert sum(p.numel() for p in peer.parameters()) == count
    with torch.device("meta"):
        larger = DeiT.from_size("B distilled", image_size=384)
        peer = timm.create_model("deit_base_distilled_patch16_384")
    counts = [sum(p.numel() for p in model.parameters()) for model in (larger, peer)]
    assert counts == [87_630_032] * 2  # 87.630M

"""Converters take the variant whose sums ours does, and no other: logits against timm's and
torchvision's models with random weights."""

import pytest
import timm
import torch
from parity.reference import assert_equal, images, randomise
from safetensors.torch import save_file

from benchmarks.peers import assembled_botnet, stir, timm_coatnet, timm_vit, torchvision_vit
from hybridlib.models.botnet import BoTNet, BottleneckAttention
from hybridlib.models.coatnet import CoAtNet
from hybridlib.models.deit import DeiT
from hybridlib.models.early_conv import EarlyConvViT
from hybridlib.models.vit import ViT
from hybridlib.pretrained import load_file, names
from hybridlib.weight_files import CheckpointError

PATCHES = dict(image_size=32, patch_size=8, dim=48, depth=2, num_heads=4, num_classes=5)
STEM = dict(PATCHES, stem=((16, 2), (16, 1), (32, 4)))
BOTNET = dict(
    image_size=64,
    stem="large",
    widths=(256, 512, 1024, 2048),
    depths=(1, 1, 1, 2),
    last_stride=2,
    num_classes=5,
)
COATNET = dict(
    image_size=64,
    layout="CCTT",
    stem_width=16,
    widths=(16, 24, 32, 48),
    depths=(1, 2, 1, 1),
    head_dim=8,
    num_classes=5,
)


def save(peer, folder):
    save_file(peer.state_dict(), folder / "peer.safetensors")
    return folder / "peer.safetensors"


def differ(ours, peer, side):
    x = images(2, 3, side, side)
    return (ours.eval()(x) - peer.eval()(x)).abs().max().item()


@pytest.mark.parametrize(
    ("make", "peer", "row"),
    [
        (EarlyConvViT, torchvision_vit, STEM),
        (EarlyConvViT, torchvision_vit, PATCHES),
        (EarlyConvViT, timm_vit, PATCHES),
        (ViT, torchvision_vit, PATCHES),
        (DeiT, torchvision_vit, PATCHES),
        (DeiT, timm_vit, dict(PATCHES, second_token="distillation")),
    ],
)
@torch.no_grad()
def test_names_of_torchvision_and_timm(make, peer, row, tmp_path):
    peer, ours = stir(peer(row), seed=1).eval(), make(**row).eval()
    load_file(save(peer, tmp_path), ours)
    x = images(2, 3, 32, 32)
    assert_equal(ours(x), peer(x))


@torch.no_grad()
def test_a_stem_does_not_go_into_patches(tmp_path):
    with pytest.raises(CheckpointError, match="too many: patch_embedding.0"):
        load_file(save(torchvision_vit(STEM), tmp_path), EarlyConvViT(**PATCHES))


@pytest.mark.parametrize(
    ("make", "peer", "row"), [(BoTNet, assembled_botnet, BOTNET), (CoAtNet, timm_coatnet, COATNET)]
)
@torch.no_grad()
def test_what_the_tensors_do_not_tell_must_be_said(make, peer, row, tmp_path):
    peer, ours = stir(peer(row), seed=1).eval(), make(**row).eval()
    path = save(peer, tmp_path)
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    setting = {BoTNet: "scale_pos_embed=True", CoAtNet: "conv_stride_mode='1x1'"}[make]
    with pytest.raises(CheckpointError, match=f"{setting}.*give same_settings=True"):
        load_file(path, ours)
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.state_dict().items())
    load_file(path, ours, same_settings=True)
    x = images(2, 3, 64, 64)
    assert_equal(ours(x), peer(x))


@pytest.mark.parametrize("change", [dict(stride_mode="dw"), dict(pool_type="avg2")])
@torch.no_grad()
def test_why_coatnet_needs_the_word(change, tmp_path):
    """timm's defaults have the same tensors and make other logits; without the word they are
    refused."""
    peer, ours = stir(timm_coatnet(COATNET, **change), seed=1), CoAtNet(**COATNET)
    with pytest.raises(CheckpointError, match="timm's tensors do not tell"):
        load_file(save(peer, tmp_path), ours)
    load_file(tmp_path / "peer.safetensors", ours, same_settings=True)
    assert differ(ours, peer, 64) > 0.01


@torch.no_grad()
def test_why_botnet_needs_the_word():
    from timm.layers.bottleneck_attn import BottleneckAttn

    unscaled_peer = randomise(BottleneckAttn(32, feat_size=(4, 4), num_heads=4), seed=1)
    with pytest.raises(ValueError, match="timm's tensors do not tell"):
        names.convert("botnet", unscaled_peer.state_dict())
    ours = BottleneckAttention(32, grid=(4, 4))
    ours.load_state_dict(names.convert("botnet", unscaled_peer.state_dict(), same_settings=True))
    x = images(2, 32, 4, 4)
    assert (ours(x) - unscaled_peer(x)).abs().max() > 0.01


def test_models_of_timm_that_are_others_are_refused_whatever_is_said(tmp_path):
    """botnet26t's shortcut has no ReLU; coatnet_0's head has a hidden layer."""
    for name, make, size in (
        ("botnet26t_256", BoTNet, "BoTNet-50"),
        ("coatnet_0_224", CoAtNet, "CoAtNet-0"),
    ):
        with torch.device("meta"):
            ours = make.from_size(size)
        ours = ours.to_empty(device="cpu")
        path = save(timm.create_model(name), tmp_path)
        with pytest.raises(CheckpointError, match="does not hold the weights of"):
            load_file(path, ours, same_settings=True)


def test_another_model_has_no_converter():
    with pytest.raises(ValueError, match="unknown name 'flagship'; there are convnet, vit"):
        names.convert("flagship", {})

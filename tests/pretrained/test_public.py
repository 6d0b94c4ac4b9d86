"""The catalogue of public weights is timm's, and so is what the loaded models compute."""

import numpy as np
import pytest
import timm
import torch
from parity.reference import assert_equal, images, record_attention
from peers import CONVIT, DISTILLED, ON_HUB, TINY, architecture, make_peer, put_in_cache
from timm.data import ImageNetInfo, resolve_data_config
from timm.layers import resample_abs_pos_embed
from timm.models import get_pretrained_cfg

from hybridlib import analysis, pretrained
from hybridlib.models import create
from hybridlib.pretrained import PUBLIC
from hybridlib.pretrained.catalogue import ARCHITECTURES


@pytest.mark.parametrize("name", ON_HUB)
def test_catalogue_says_what_timm_says(name):
    theirs, ours = get_pretrained_cfg(name, allow_unregistered=False), PUBLIC[name]
    assert name in timm.list_pretrained(architecture(name))
    assert theirs.hf_hub_id == ours.hub and theirs.license == ours.licence
    assert theirs.num_classes == pretrained.IMAGENET_CLASSES
    config = resolve_data_config(pretrained_cfg=theirs.to_dict())
    assert config == {
        "input_size": (3, ours.preparation.image_size, ours.preparation.image_size),
        "mean": ours.preparation.mean,
        "std": ours.preparation.std,
        "crop_pct": ours.preparation.crop,
        "crop_mode": "center",
        "interpolation": ours.preparation.interpolation,
    }


def test_catalogue_has_all_that_fits():
    """Every tag of 1000 classes that timm has for these architectures."""
    stems = [stem for stem in ARCHITECTURES if not stem.startswith("ceit")]
    sides = [f"{stem}{side}" for stem in stems for side in ("", "_224", "_384")]
    names = [name for side in sides for name in timm.list_pretrained(f"{side}.*")]
    fitting_names = {name for name in names if get_pretrained_cfg(name).num_classes == 1000}
    assert fitting_names == set(ON_HUB) and len(fitting_names) == 27


@pytest.mark.parametrize("name", ON_HUB)
def test_every_name_has_the_shape_of_our_model(name, tmp_path):
    """Names, shapes, heads and norms at full size, without memory: the whole path is below."""
    public = PUBLIC[name]
    side = public.preparation.image_size
    with torch.device("meta"):
        peer = timm.create_model(architecture(name))
        ours = create(public.model, public.size, image_size=side)
    converted_state = pretrained.names.convert(public.model, peer.state_dict())
    shapes = {key: tensor.shape for key, tensor in ours.state_dict().items()}
    assert {key: tensor.shape for key, tensor in converted_state.items()} == shapes
    mine = [module.num_heads for module in ours.modules() if hasattr(module, "num_heads")]
    theirs = [block.attn.num_heads for block in peer.blocks]
    assert mine == theirs and {
        m.eps for m in ours.modules() if isinstance(m, torch.nn.LayerNorm)
    } == {peer.norm.eps}


def test_class_names_are_imagenet_s_in_order():
    """timm describes a class by its WordNet synonyms; torchvision's name is nearly always one."""
    classes, info = pretrained.loading.imagenet_classes(), ImageNetInfo()
    descriptions = [info.index_to_description(k).lower() for k in range(1000)]
    matches = sum(name.lower() in text for name, text in zip(classes, descriptions, strict=True))
    shifted_matches = sum(
        name.lower() in text for name, text in zip(classes[1:], descriptions, strict=False)
    )
    assert matches > 900 and shifted_matches < 100 and len(set(classes)) == 1000


SHALLOW = [name for name in ON_HUB if "_384" not in name and "large" not in name]
ONE_EACH = list({architecture(name): name for name in SHALLOW}.values())


@pytest.mark.parametrize("name", ONE_EACH)
@torch.no_grad()
def test_each_architecture_from_the_cache(name, tmp_path, shallow):
    peer = make_peer(name, **shallow(name))
    pretrained_model = pretrained.load(name, cache=put_in_cache(tmp_path, name, peer.state_dict()))
    assert (
        not pretrained_model.model.training
        and pretrained_model.entry is PUBLIC[name]
        and pretrained_model.preparation is not None
    )
    assert pretrained_model.source.endswith("model.safetensors") and pretrained_model.classes[
        :2
    ] == ("tench", "goldfish")
    x = images(1, 3, 224, 224)
    logits, maps = record_attention(peer, x)
    trace = pretrained_model.model.trace(x)
    assert_equal(pretrained_model.model(x), logits)
    assert_equal(trace.logits, logits)
    for attention, expected in zip(analysis.applied(trace.maps), maps, strict=True):
        assert_equal(attention.weights, expected)


@torch.no_grad()
def test_whole_models(whole):
    cache, peers = whole
    for name, peer in peers.items():
        x = images(1, 3, 224, 224)
        assert_equal(pretrained.load(name, cache=cache).model(x), peer(x))


@pytest.mark.parametrize("name", [TINY, DISTILLED, CONVIT])
@torch.no_grad()
def test_another_image_size(name, tmp_path, shallow):
    """timm's models are built for one size; the table is resized with timm's own function."""
    options = shallow(name)
    peer = make_peer(name, **options)
    cache = put_in_cache(tmp_path, name, peer.state_dict())
    pretrained_model = pretrained.load(name, cache=cache, image_size=160)
    assert (
        pretrained_model.model.positions.grid == (10, 10)
        and pretrained_model.preparation.image_size == 160
    )
    larger = timm.create_model(architecture(name), img_size=160, **options).eval()
    state = peer.state_dict()
    prefix = 0 if name == CONVIT else peer.num_prefix_tokens
    state["pos_embed"] = resample_abs_pos_embed(
        state["pos_embed"], [10, 10], num_prefix_tokens=prefix
    )
    larger.load_state_dict(state)
    x = images(2, 3, 160, 160)
    assert_equal(pretrained_model.model(x), larger(x))


@torch.no_grad()
def test_another_number_of_classes(whole):
    """Fresh heads that start as a new model's do; all else is the file's."""
    cache, peers = whole
    torch.manual_seed(5)
    pretrained_model = pretrained.load(DISTILLED, cache=cache, num_classes=7)
    torch.manual_seed(5)
    fresh = create("deit", "Ti distilled", num_classes=7)
    for head in ("head", "second_head"):
        assert torch.equal(
            getattr(pretrained_model.model, head).weight, getattr(fresh, head).weight
        )
    assert pretrained_model.classes == ()
    x = images(1, 3, 224, 224)
    assert_equal(
        pretrained_model.model.encode_extra(x), peers[DISTILLED].forward_features(x)[:, :2]
    )
    assert (
        pretrained_model.see(np.zeros((8, 8, 3), np.uint8)).predictions[0][0].startswith("class ")
    )


def test_second_call_leaves_the_network_alone(whole, sockets):
    for _ in range(2):
        pretrained.load(TINY, cache=whole[0])
    assert sockets == []

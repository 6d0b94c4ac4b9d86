"""From a reader's own picture through a loaded model and `analysis` to the explorer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from parity.reference import assert_equal, images, randomise
from peers import CONVIT, DISTILLED, TINY
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.models import get_pretrained_cfg

from hybridlib import analysis, pretrained
from hybridlib.data import Preparation
from hybridlib.models.ceit import CeiT
from hybridlib.pretrained import PUBLIC
from hybridlib.widgets import AttentionExplorer


@pytest.mark.parametrize("name", [TINY, DISTILLED, CONVIT, "vit_base_patch16_384.augreg_in1k"])
def test_a_picture_is_prepared_as_timm_does(name, photograph, tmp_path):
    preparation, picture = PUBLIC[name].preparation, Image.fromarray(photograph)
    config = resolve_data_config(pretrained_cfg=get_pretrained_cfg(name).to_dict())
    expected = create_transform(**config, is_training=False)(picture)
    actual = preparation(picture)[0]
    assert actual.shape == expected.shape
    step = 1 / 255 / min(preparation.std)  # Pillow and torchvision round a bicubic sum differently
    assert (actual - expected).abs().max() < 1.5 * step and (
        actual - expected
    ).abs().mean() < 0.1 * step


def test_a_picture_may_be_a_file_an_array_or_grey(photograph, tmp_path):
    preparation = PUBLIC[TINY].preparation
    picture = Image.fromarray(photograph)
    picture.save(tmp_path / "china.png")
    expected = preparation.square(picture)
    assert expected.shape == (3, 224, 224) and expected.dtype == torch.uint8
    for source in (photograph, tmp_path / "china.png", str(tmp_path / "china.png")):
        assert torch.equal(preparation.square(source), expected)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter
    picture.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    assert torch.equal(preparation.square(tmp_path / "turned.png"), expected)
    grey = preparation.square(photograph[..., 0])
    assert torch.equal(grey[0], grey[2]) and torch.equal(grey[0], expected[0])
    white = preparation(np.full((300, 500, 3), 255, np.uint8))
    assert_equal(white, torch.ones(1, 3, 224, 224))


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        ("nowhere.png", "there is no file 'nowhere.png'"),
        (np.zeros((4, 4, 3)), r"\(4, 4, 3\) and type float64.*uint8"),
        (np.zeros((4, 4, 5), np.uint8), r"\(4, 4, 5\)"),
        (np.zeros((0, 4), np.uint8), r"\(0, 4\)"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (None, "not a NoneType"),
    ],
)
def test_what_is_no_picture(picture, message):
    with pytest.raises(ValueError, match=message):
        PUBLIC[TINY].preparation(picture)


def test_preparation_checks_itself():
    for changes, message in (
        (dict(crop=0), "crop=0"),
        (dict(crop=1.1), "crop=1.1"),
        (dict(image_size=0), "image_size=0"),
        (dict(interpolation="nearest"), "'nearest' must be 'bicubic' or 'bilinear'"),
    ):
        with pytest.raises(ValueError, match=message):
            Preparation(**{**dict(image_size=8, mean=(0,) * 3, std=(1,) * 3), **changes})


@torch.no_grad()
def test_see_gives_what_timm_gives(seen, whole, photograph):
    for name, result in seen.items():
        peer = whole[1][name]
        config = resolve_data_config(pretrained_cfg=get_pretrained_cfg(name).to_dict())
        expected = peer(create_transform(**config)(Image.fromarray(photograph))[None]).softmax(-1)
        assert_equal(
            result.logits.softmax(-1), expected, tolerance=2e-2
        )  # pictures differ by a grey value
        ((class_name, probability),) = result.predictions
        best = int(result.logits.argmax())
        assert class_name == pretrained.loading.imagenet_classes()[best]
        assert probability == pytest.approx(float(result.logits.softmax(-1)[0, best]))
        assert result.images.shape == (1, 224, 224, 3) and result.images.dtype == np.uint8


def test_several_pictures(whole, photograph):
    pretrained_model = pretrained.load(TINY, cache=whole[0])
    both = pretrained_model.see(photograph, photograph[:, ::-1].copy())
    assert both.images.shape[0] == len(both.predictions) == 2 == both.maps[0].weights.shape[0]
    assert_equal(both.logits[:1], pretrained_model.see(photograph).logits)


SIZES_IN_BYTES = {
    TINY: 12 * 3 * 197 * 197,
    DISTILLED: 12 * 3 * 198 * 198,
    CONVIT: 4 * (10 * 196 * 196 + 2 * 197 * 197),
}


@pytest.mark.parametrize("name", [TINY, DISTILLED, CONVIT])
def test_explorer_of_a_picture(name, seen):
    result = seen[name]
    explorer = AttentionExplorer(
        result.images, analysis.applied(result.maps), predictions=result.predictions
    )
    assert len(explorer.codes) == SIZES_IN_BYTES[name] and len(explorer.layers) == 12
    assert result.predictions[0][0] in explorer.captions[0]
    assert explorer.fallback().axes
    extra = {TINY: ["class"], DISTILLED: ["class", "distillation"], CONVIT: ["class"]}[name]
    assert explorer.layers[-1]["extra"] == extra
    all_kinds = AttentionExplorer(result.images, result.maps)
    assert len(all_kinds.layers) == (32 if name == CONVIT else 12)


def test_a_selection_is_as_small_as_documented():
    """197 tokens, 12 blocks of 12 heads: the figures in the docstrings of `select` and `see`."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(1, 12, 197, 197, generator=generator).softmax(-1)
    maps = [analysis.AttentionMap(weights, (14, 14), ("class",), block) for block in range(12)]
    picture = np.zeros((1, 224, 224, 3), np.uint8)

    def byte_count(maps):
        explorer = AttentionExplorer(picture, maps)
        return len(explorer.codes) + len(explorer.scales)

    assert byte_count(maps) == 12 * 12 * 197 * 201 == 5_701_968
    assert byte_count(analysis.select(maps, heads="mean")) == 12 * 197 * 201 == 475_164
    assert 4 / 3 * byte_count(analysis.select(maps, heads="mean")) < 700_000  # a page, in base64
    assert byte_count(analysis.select(maps, extra_rows=True)) == 12 * 12 * 201 == 28_944
    assert byte_count(analysis.select(maps, blocks=[0, 11], heads=[3])) == 2 * 197 * 201


def test_select(seen):
    maps = seen[DISTILLED].maps
    few = analysis.select(maps, blocks=[11, 2], heads=[2, 0], extra_rows=True)
    assert [m.block for m in few] == [2, 11] and few[0].extra == ("class", "distillation")
    assert torch.equal(few[1].weights, maps[11].weights[:, [2, 0], :2])
    assert_equal(analysis.select(maps, heads="mean")[3].weights[:, 0], maps[3].weights.mean(1))
    for same, attention in zip(analysis.select(maps), maps, strict=True):
        assert vars(same) == vars(attention) | {"weights": same.weights}
        assert torch.equal(same.weights, attention.weights)
    for arguments, message in (
        (dict(blocks=[12]), "no map of block 12"),
        (dict(heads=[3]), "no head 3 in block 0; it has 0 to 2"),
        (dict(heads="nano"), "heads='nano' must be 'mean' or numbers of heads"),
    ):
        with pytest.raises(ValueError, match=message):
            analysis.select(maps, **arguments)
    with pytest.raises(ValueError, match="gated map of block 0 has no extra tokens"):
        analysis.select(analysis.applied(seen[CONVIT].maps), extra_rows=True)
    assert len(analysis.select(seen[CONVIT].maps, blocks=[0, 11])) == 4


def test_rollout_of_a_late_class_token(seen):
    """As if the class token had been there from the start and had seen only itself."""
    maps = analysis.applied(seen[CONVIT].maps)
    assert [m.kind for m in maps] == ["gated"] * 10 + ["content"] * 2 and [
        m.block for m in maps
    ] == list(range(12))
    padded_maps = []
    for m in maps:
        whole = torch.eye(197).repeat(1, 4, 1, 1)
        skip = 1 - len(m.extra)
        whole[:, :, skip:, skip:] = m.weights
        padded_maps.append(replace(m, weights=whole, extra=("class",)))
    joint = analysis.rollout(maps)
    assert joint.shape == (1, 197, 197)
    assert_equal(joint, analysis.rollout(padded_maps))
    assert_equal(joint.sum(-1), torch.ones(1, 197))
    assert analysis.rollout(maps[:10]).shape == (1, 196, 196)


def test_rollout_refuses_several_kinds_of_a_block(seen):
    with pytest.raises(
        ValueError, match=r"block 0 has maps of the kinds content and position.*analysis\.applied"
    ):
        analysis.rollout(seen[CONVIT].maps)


def test_rollout_of_a_distilled_deit(seen):
    joint = analysis.rollout(seen[DISTILLED].maps)
    assert joint.shape == (1, 198, 198)
    assert_equal(joint.sum(-1), torch.ones(1, 198))


def test_ceit_s_layer_attention_is_set_apart():
    model = randomise(CeiT.from_size("nano"), seed=0).eval()
    maps = model.trace(images(1, 3, 32, 32)).maps
    with pytest.raises(
        ValueError,
        match=r"class-over-layers map of block 4 has 1 queries and 4 keys.*analysis\.applied",
    ):
        analysis.rollout(maps)
    with pytest.raises(ValueError, match=r"analysis\.applied"):
        analysis.attention_distance(maps[-1], patch_size=4)
    assert analysis.applied(maps) == maps[:-1]
    assert analysis.rollout(analysis.applied(maps)).shape == (1, 65, 65)


def test_tokens_that_leave_or_change_are_no_late_tokens(seen):
    local, plain = analysis.applied(seen[CONVIT].maps)[9:11]
    with pytest.raises(ValueError, match="over 196 tokens and those before it over 197"):
        analysis.rollout([plain, local])
    with pytest.raises(ValueError, match="over 198 tokens and those before it over 197"):
        second = replace(plain, extra=("other",))
        analysis.rollout([second, seen[DISTILLED].maps[0]])


def test_attention_distance_of_every_map(seen):
    for name, count in ((TINY, 3), (DISTILLED, 3), (CONVIT, 4)):
        for m in seen[name].maps:
            distance = analysis.attention_distance(m, patch_size=16)
            assert (
                distance.shape == (count,)
                and (0 < distance).all()
                and (distance < 16 * 13 * 2**0.5).all()
            )

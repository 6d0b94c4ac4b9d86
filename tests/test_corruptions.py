"""Photographs changed on purpose, against SciPy, Pillow, NumPy and sums by hand."""

import numpy as np
import pytest
import torch
from einops import rearrange
from PIL import Image, ImageEnhance
from scipy.ndimage import gaussian_filter

from hybridlib.data.corruptions import CORRUPTIONS, corrupt

PICTURES = torch.randint(
    0, 256, (64, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_level_0_changes_nothing_and_a_seed_gives_the_same_again(kind):
    assert torch.equal(corrupt(PICTURES, kind, 0), PICTURES)
    for level in CORRUPTIONS[kind].levels:
        changed = corrupt(PICTURES, kind, level, seed=3)
        assert changed.dtype == torch.uint8 and changed.shape == PICTURES.shape
        assert torch.equal(changed, corrupt(PICTURES, kind, float(level), seed=3))
        assert not torch.equal(changed, PICTURES)
        by_lot = kind not in ("blur", "grey")
        assert torch.equal(changed, corrupt(PICTURES, kind, level, seed=4)) != by_lot


@pytest.mark.parametrize("grid", [2, 4, 8])
def test_shuffled_tiles_are_the_same_tiles_each_picture_in_an_order_of_its_own(grid):
    def tiles(images):
        cut = rearrange(images, "n c (r y) (q x) -> n (r q) (c y x)", r=grid, q=grid)
        return [[tile.numpy().tobytes() for tile in picture] for picture in cut]

    orders = []
    for before, after in zip(tiles(PICTURES), tiles(corrupt(PICTURES, "shuffle", grid))):
        assert sorted(before) == sorted(after)
        orders.append(tuple(before.index(tile) for tile in after))
    assert len(set(orders)) > (16 if grid == 2 else 60)  # of 64; there are 24 orders of four
    stay = np.mean([i == place for order in orders for i, place in enumerate(order)])
    assert abs(stay - 1 / grid**2) < 0.1  # one in so many stays where it was


@pytest.mark.parametrize("share, patches", [(0.25, 16), (0.5, 32), (0.75, 48)])
def test_so_many_patches_are_hidden_and_the_rest_is_as_it_was(share, patches):
    fill = (300 / 3, 7, 251.4)
    changed = corrupt(PICTURES, "hide", share, fill=fill)
    cut = [rearrange(x, "n c (r y) (q x) -> n (r q) c y x", y=4, x=4) for x in (PICTURES, changed)]
    hidden = (cut[1] == torch.tensor([100, 7, 251])[:, None, None]).flatten(2).all(-1)
    assert (hidden.sum(1) == patches).all()
    assert torch.equal(cut[0][~hidden], cut[1][~hidden])
    often = hidden.float().mean(0)  # each patch in its turn
    assert (often - share).abs().max() < 4.5 * (share * (1 - share) / 64) ** 0.5


def test_noise_has_its_deviation():
    grey = torch.full((20, 3, 32, 32), 128, dtype=torch.uint8)
    noise = corrupt(grey, "noise", 0.1).double() - 128
    assert abs(noise.mean()) < 0.4 and abs(noise.std() - 25.5) < 0.4
    assert (noise[0] - noise[1]).abs().mean() > 20  # each picture has its own


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_blur_is_scipys(sigma):
    expected = gaussian_filter(
        PICTURES.double().numpy(),
        (0, 0, sigma, sigma),
        mode="mirror",
        radius=int(np.ceil(3 * sigma)),
    )
    np.testing.assert_allclose(corrupt(PICTURES, "blur", sigma).numpy(), expected, atol=0.51)


def test_colour_goes_as_in_pillow():
    for level in (0.5, 1.0):
        changed = corrupt(PICTURES, "grey", level)
        for picture, image in zip(changed[:5], PICTURES[:5]):
            pillow = ImageEnhance.Color(Image.fromarray(image.permute(1, 2, 0).numpy()))
            expected = np.asarray(pillow.enhance(1 - level)).transpose(2, 0, 1)
            np.testing.assert_allclose(picture.numpy(), expected.astype(float), atol=1.01)


@pytest.mark.parametrize("pixels", [2, 8])
def test_moved_in_one_of_four_ways_over_mirrored_edges(pixels):
    wide = np.pad(PICTURES.numpy(), ((0, 0), (0, 0), (pixels,) * 2, (pixels,) * 2), mode="reflect")
    ways = {
        name: wide[:, :, pixels - down :, pixels - right :][:, :, :32, :32]
        for name, (down, right) in {
            "up": (-pixels, 0),
            "down": (pixels, 0),
            "left": (0, -pixels),
            "right": (0, pixels),
        }.items()
    }
    found = [
        [name for name, moved in ways.items() if (moved[i] == picture).all()]
        for i, picture in enumerate(corrupt(PICTURES, "move", pixels).numpy())
    ]
    assert all(len(names) == 1 for names in found)
    assert {name for (name,) in found} == set(ways)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((PICTURES, "turn", 1), "kind='turn'|unknown"),
        ((PICTURES.float(), "blur", 1), "must be uint8 n c h w"),
        ((PICTURES[0], "blur", 1), "must be uint8 n c h w"),
        ((PICTURES, "blur", -1), "level=-1 must be 0 or more, for example level=0.5"),
        ((PICTURES, "noise", float("nan")), "level=nan must be 0 or more"),
        ((PICTURES, "blur", 40), "level=40 must be at most 10 .* for example level=1"),
        (
            (PICTURES, "shuffle", 5),
            "must divide the side of the images, 32x32, for example level=2",
        ),
        ((PICTURES, "shuffle", 2.5), "level=2.5 must divide"),
        ((PICTURES, "hide", 1.5), "must be at most 1, for example level=0.5"),
        ((PICTURES[:, :1], "grey", 1), "of three channels and not 1"),
        ((PICTURES, "move", 32), "whole number below the side of the images, 32x32"),
        ((PICTURES, "move", 1.5), "level=1.5 must be a whole number"),
    ],
)
def test_what_does_not_fit_is_said(arguments, message):
    with pytest.raises(ValueError, match=message):
        corrupt(*arguments)

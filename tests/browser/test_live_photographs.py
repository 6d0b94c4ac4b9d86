"""Photographs changed in the browser: as the library changes them, and named as PyTorch names
them."""

import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from hybridlib import live, pretrained
from hybridlib.data.corruptions import corrupt

from .page import add_link, pixels, serious, settle, swipe
from .samples import live_photographs

FILE = "live_photographs_math.js"
PICTURES, LABELS, CLASSES = live.photographs()
NAMES = ("convnet_nano_digits", "vit_nano_digits")


@torch.no_grad()
def pytorch(name, picture):
    """Class and share that the shipped model gives to a picture `3 32 32`."""
    loaded = pretrained.load(name)
    images = torch.from_numpy(np.ascontiguousarray(picture))[None]
    shares = loaded.model(loaded.preparation.normalise(images)).softmax(-1)[0]
    return CLASSES[shares.argmax()], round(100 * shares.max().item())


def ready(page):
    """Wait until both models have answered to what is shown."""
    page.locator(".lf").scroll_into_view_if_needed()
    settle(page)
    page.wait_for_function(
        """() => document.querySelector(".lf-table").getAttribute("aria-busy") === "false" &&
          [...document.querySelectorAll(".lf-answer")].every((n) => n.textContent.length > 1)"""
    )
    return page


def shown(page):
    ready(page)
    return pixels(page.locator(".lf-board canvas"))[..., :3].astype(np.uint8).transpose(2, 0, 1)


def answers(page):
    ready(page)
    return [
        (
            row.locator(".lf-answer").text_content(),
            int(row.locator(".lf-sure").text_content().removesuffix(" %")),
        )
        for row in page.locator(".lf-table tbody tr").all()
    ]


def measured(page):
    ready(page)
    return page.locator(".lf-number").all_text_contents()


def readout(page):
    ready(page)
    return page.locator(".lf > .hx-readout").text_content()


def tiles(picture, grid):
    side = 32 // grid
    return [
        picture[:, side * r : side * (r + 1), side * c : side * (c + 1)]
        for r in range(grid)
        for c in range(grid)
    ]


def test_each_change_is_the_librarys(javascript):
    """Blur, colour and place as hybridlib.data.corruptions has them; tiles and patches by hand."""
    order = [5, 0, 3, 1, 2, 4, 7, 6, 15, 14, 13, 12, 11, 10, 9, 8]
    result = javascript(
        FILE,
        """const p = Uint8Array.from(arg.picture);
           const list = (x) => [...x];
           return { blur: arg.sigmas.map((s) => list(m.softened(p, s))),
             grey: [0.5, 1].map((s) => list(m.paled(p, s))),
             tiles: list(m.withTiles(p, 4, arg.order)), slid: list(m.slid(p, [3, -5])),
             hidden: list(m.covered(p, new Set([0, 9]), [1, 2, 3])),
             noisy: list(m.noisy(Uint8Array.from(p, () => 128), 0.1, m.seeded(7))) };""",
        dict(picture=PICTURES[4].ravel().tolist(), order=order, sigmas=[0.5, 1, 2]),
    )
    image = torch.from_numpy(PICTURES[4:5])
    shaped = {
        key: np.array(value).reshape(-1, 3, 32, 32)
        if key in ("blur", "grey")
        else np.array(value).reshape(3, 32, 32)
        for key, value in result.items()
    }
    for sigma, blurred in zip((0.5, 1, 2), shaped["blur"]):
        expected = corrupt(image, "blur", sigma)[0].numpy()
        assert abs(blurred - expected.astype(int)).max() <= 1
        assert (blurred != expected).mean() < 0.01  # where a half is rounded otherwise
    for share, pale in zip((0.5, 1), shaped["grey"]):
        assert abs(pale - corrupt(image, "grey", share)[0].numpy().astype(int)).max() <= 1
    before, after = tiles(PICTURES[4], 4), tiles(shaped["tiles"], 4)
    assert all((after[place] == before[tile]).all() for place, tile in enumerate(order))
    wide = np.pad(PICTURES[4], ((0, 0), (5, 5), (5, 5)), mode="reflect")
    np.testing.assert_array_equal(shaped["slid"], wide[:, 2:34, 10:42])
    hidden = PICTURES[4].copy()
    for top, left in ((0, 0), (4, 4)):
        hidden[:, top : top + 4, left : left + 4] = np.array([1, 2, 3])[:, None, None]
    np.testing.assert_array_equal(shaped["hidden"], hidden)
    noise = shaped["noisy"] - 128.0
    assert abs(noise.mean()) < 2 and abs(noise.std() - 25.5) < 1.5
    assert abs(np.corrcoef(noise.ravel()[:-1], noise.ravel()[1:])[0, 1]) < 0.06


def test_lots_are_fair_and_repeat_themselves(javascript):
    result = javascript(
        FILE,
        """const draw = (seed) => m.shuffledOrder(16, m.seeded(seed));
           return { same: [draw(3), draw(3)], many: Array.from({ length: 2000 }, (_, i) => draw(i)) };""",
    )
    assert result["same"][0] == result["same"][1] != list(range(16))
    many = np.array(result["many"])
    assert (np.sort(many, axis=1) == np.arange(16)).all()
    first = np.bincount(many[:, 0], minlength=16)  # each tile on the first place: 125 times
    assert abs(first - 125).max() < 4.5 * (2000 / 16 * 15 / 16) ** 0.5


def test_a_photograph_becomes_the_mean_colours_of_its_middle(javascript):
    wide = np.random.default_rng(0).integers(0, 256, (64, 100, 4))
    result = javascript(
        FILE,
        """return arg.map(([rgba, w, h]) => [...m.squareOf(rgba, w, h)]);""",
        [[wide.ravel().tolist(), 100, 64], [wide[:5, :3].ravel().tolist(), 3, 5]],
    )
    middle = wide[:, 18:82, :3].reshape(32, 2, 32, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    np.testing.assert_allclose(np.array(result[0]).reshape(3, 32, 32), middle, atol=0.51)
    small = np.array(result[1]).reshape(3, 32, 32)  # 3 x 3 pixels, enlarged
    np.testing.assert_array_equal(small[:, 0, 0], wide[1, 0, :3])
    np.testing.assert_array_equal(small[:, -1, -1], wide[3, 2, :3])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_names_what_pytorch_names(show, theme):
    page = ready(show(live_photographs(), theme=theme))
    np.testing.assert_array_equal(shown(page), PICTURES[0])
    page.get_by_label("take photograph 6, bird").click()
    page.get_by_label("how much").fill("3")
    picture = shown(page)
    np.testing.assert_array_equal(
        np.sort([t.tobytes() for t in tiles(picture, 8)]),
        np.sort([t.tobytes() for t in tiles(PICTURES[5], 8)]),
    )
    assert (picture != PICTURES[5]).any()
    assert answers(page) == [pytorch(name, picture) for name in NAMES]
    right = sum(answer == "bird" for answer, _ in answers(page))
    assert readout(page).startswith(
        f"Photograph 6, bird, 8 × 8 tiles shuffled. {right} of 2 models say bird."
    )
    marks = page.locator(".lf-mark").all_text_contents()
    assert marks == ["✓" if answer == "bird" else "✗" for answer, _ in answers(page)]


def test_each_kind_and_strength_with_the_number_that_belongs_to_it(show):
    page = ready(show(live_photographs()))
    assert measured(page) == ["–", "71 %"]
    before = shown(page)
    for kind, level, words, number in (
        ("shuffle", 2, "4 × 4 tiles shuffled", "33 %"),
        ("hide", 1, "25 % of the patches hidden", "60 %"),
        ("noise", 3, "noise of 0.2", "–"),
        ("blur", 2, "blurred by 1 pixel", "–"),
        ("grey", 2, "without colour", "–"),
        ("move", 3, "moved by 8 pixels", "–"),
    ):
        page.get_by_role("combobox").select_option(kind)
        page.get_by_label("how much").fill(str(level))
        assert words in readout(page)
        assert page.locator(".lf-table thead th").last.text_content() == f"of 2,000, {words}"
        assert measured(page) == ["–", number]
        assert answers(page) == [pytorch(name, shown(page)) for name in NAMES]
        assert (shown(page) != before).any()
        once = shown(page)
        draw = page.get_by_role("button", name="Another draw")
        if kind in ("blur", "grey"):
            assert draw.is_disabled()
        else:
            draw.click()
            assert (shown(page) != once).any()
    page.get_by_role("button", name="As it was").click()
    np.testing.assert_array_equal(shown(page), before)


def place(page, row, column, grid):
    box = page.locator(".lf-board").bounding_box()
    return (
        box["x"] + (column + 0.5) * box["width"] / grid,
        box["y"] + (row + 0.5) * box["height"] / grid,
    )


def exchanged(picture, one, other):
    changed, side = picture.copy(), 8
    for (r, c), (y, x) in ((one, other), (other, one)):
        changed[:, side * r : side * (r + 1), side * c : side * (c + 1)] = picture[
            :, side * y : side * (y + 1), side * x : side * (x + 1)
        ]
    return changed


def test_a_mouse_exchanges_tiles_hides_patches_and_moves(show):
    page = ready(show(live_photographs()))
    page.mouse.move(*place(page, 0, 0, 4))
    page.mouse.down()
    page.mouse.move(*place(page, 2, 3, 4), steps=5)
    page.mouse.up()
    expected = exchanged(PICTURES[0], (0, 0), (2, 3))
    np.testing.assert_array_equal(shown(page), expected)
    assert "changed by hand" in readout(page) and measured(page) == ["–", "–"]
    page.mouse.click(*place(page, 1, 1, 4))  # or one after the other
    page.mouse.click(*place(page, 3, 0, 4))
    np.testing.assert_array_equal(shown(page), exchanged(expected, (1, 1), (3, 0)))

    page.get_by_role("combobox").select_option("hide")
    page.mouse.move(*place(page, 2, 1, 8))
    page.mouse.down()
    page.mouse.move(*place(page, 2, 3, 8), steps=8)
    page.mouse.up()
    expected = PICTURES[0].copy()
    expected[:, 8:12, 4:16] = np.array([125, 123, 114])[:, None, None]
    np.testing.assert_array_equal(shown(page), expected)
    page.mouse.click(*place(page, 2, 3, 8))  # shown again
    expected[:, 8:12, 12:16] = PICTURES[0][:, 8:12, 12:16]
    np.testing.assert_array_equal(shown(page), expected)

    page.get_by_role("combobox").select_option("move")
    page.mouse.move(*place(page, 10, 10, 32))
    page.mouse.down()
    page.mouse.move(*place(page, 13, 5, 32), steps=4)
    page.mouse.up()
    wide = np.pad(PICTURES[0], ((0, 0), (5, 5), (5, 5)), mode="reflect")
    np.testing.assert_array_equal(shown(page), wide[:, 2:34, 10:42])
    assert answers(page) == [pytorch(name, shown(page)) for name in NAMES]


def test_a_finger_exchanges_tiles(show):
    page = ready(show(live_photographs(), width=375, touch=True))
    page.locator(".lf-board").scroll_into_view_if_needed()
    x, y = place(page, 0, 1, 4)
    swipe(page, x, y, page.locator(".lf-board").bounding_box()["height"] / 2)
    np.testing.assert_array_equal(shown(page), exchanged(PICTURES[0], (0, 1), (2, 1)))
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_by_keyboard_alone(show):
    page = ready(show(live_photographs()))
    board = page.get_by_role("application", name=re.compile("^Photograph 1, airplane"))
    board.focus()
    for key in ("ArrowRight", "ArrowDown", "Enter", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    np.testing.assert_array_equal(shown(page), exchanged(PICTURES[0], (1, 1), (1, 3)))
    assert "Now the tile in row 2, column 4" in board.get_attribute("aria-label")
    page.get_by_role("combobox").select_option("hide")
    board.focus()
    page.keyboard.press("Enter")
    hidden = PICTURES[0].copy()
    hidden[:, 4:8, 12:16] = np.array([125, 123, 114])[:, None, None]
    np.testing.assert_array_equal(shown(page), hidden)
    page.get_by_role("combobox").select_option("move")
    board.focus()
    page.keyboard.press("ArrowUp")
    wide = np.pad(PICTURES[0], ((0, 0), (1, 1), (1, 1)), mode="reflect")
    np.testing.assert_array_equal(shown(page), wide[:, 2:34, 1:33])
    page.get_by_role("combobox").select_option("blur")
    board.focus()
    page.keyboard.press("ArrowUp")
    assert "blurred by 0.5 pixels" in readout(page)
    page.keyboard.press("ArrowLeft")
    np.testing.assert_array_equal(shown(page), PICTURES[0])


def test_a_photograph_of_the_readers_and_what_is_none(show):
    page = ready(show(live_photographs()))
    upload = page.locator(".lf input[type=file]")
    file = io.BytesIO()
    image = np.zeros((100, 160, 3), np.uint8)
    image[:, 80:] = (200, 40, 0)
    Image.fromarray(image).save(file, "png")
    upload.set_input_files({"name": "mine.png", "mimeType": "image/png", "buffer": file.getvalue()})
    page.wait_for_function("document.querySelector('.lf-board').ariaLabel.startsWith('mine.png')")
    picture = shown(page)
    np.testing.assert_array_equal(picture[:, 5, 3], (0, 0, 0))
    np.testing.assert_array_equal(picture[:, 5, 28], (200, 40, 0))
    said = [answer for answer, _ in answers(page)]
    assert said == [pytorch(name, picture)[0] for name in NAMES]
    assert all(f"say {answer}" in readout(page) for answer in said)
    assert page.locator(".lf-mark").all_text_contents() == ["", ""]  # nobody knows what it is
    upload.set_input_files({"name": "words.txt", "mimeType": "text/plain", "buffer": b"none"})
    page.wait_for_function("document.querySelector('.lf-message').textContent")
    assert "words.txt is not a picture" in page.locator(".lf-message").text_content()
    np.testing.assert_array_equal(shown(page), picture)
    page.get_by_label("take photograph 2, airplane").click()
    np.testing.assert_array_equal(shown(page), PICTURES[1])
    assert page.locator(".lf-message").text_content() == ""


def test_a_link_in_the_text_sets_it(show):
    page = ready(show(live_photographs()))
    add_link(page, "#photographs?change=shuffle&level=8&picture=3&draw=2").click()
    assert readout(page).startswith("Photograph 3, automobile, 8 × 8 tiles shuffled.")
    once = shown(page)
    add_link(page, "#photographs?change=grey&level=1").click()
    assert "Photograph 3, automobile, without colour" in readout(page)
    add_link(page, "#photographs?change=shuffle&level=8&draw=2").click()
    np.testing.assert_array_equal(shown(page), once)
    add_link(page, "#photographs?change=nothing&level=7&picture=99").click()
    np.testing.assert_array_equal(shown(page), PICTURES[2])


def test_no_accessibility_finding(show):
    page = ready(show(live_photographs(), width=375))
    assert serious(page) == []

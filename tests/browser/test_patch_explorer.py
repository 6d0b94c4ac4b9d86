"""Driving the patch explorer."""

import io

import numpy as np
import pytest
from PIL import Image

from hybridlib.widgets import PatchExplorer

from . import page as drawn
from .page import settle
from .samples import patch_explorer


def facts(page):
    settle(page)
    return page.locator("dl.hx-facts dd").all_text_contents()


def wait_for_picture(page, name="Temple"):
    """Wait for a picture to be read and drawn."""
    page.wait_for_selector(f'canvas[aria-label="the picture: {name}"]')
    settle(page)


def pixels(page, selector=".hx-picture canvas"):
    return drawn.pixels(page.locator(selector).first)[..., :3]


def quarters(size=(300, 200)):
    """A wide PNG of four colours, so that crop, scale and place can be read off."""
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    half = size[1] // 2, size[0] // 2
    picture[: half[0], : half[1]] = 255, 0, 0
    picture[: half[0], half[1] :] = 0, 255, 0
    picture[half[0] :, : half[1]] = 0, 0, 255
    picture[half[0] :, half[1] :] = 255, 255, 255
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_slider_changes_the_number_of_tokens(show, theme):
    page = show(PatchExplorer(), theme=theme)
    assert facts(page) == [
        "14 × 14",
        "(224 / 16)² = 196",
        "3 · 16² = 768",
        "197",
        "197² = 38 809",
        "× 1.0",
    ]
    slider = page.get_by_label("Patch side")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert facts(page)[:2] == ["28 × 28", "(224 / 8)² = 784"] and facts(page)[5] == "× 16"
    assert slider.get_attribute("aria-valuetext") == "8 pixels"
    page.keyboard.press("End")
    assert facts(page)[:4] == ["4 × 4", "(224 / 56)² = 16", "3 · 56² = 9 408", "17"]
    assert page.evaluate("models[0].get('patch_size')") == 56


def test_a_patch_is_shown_as_the_vector_that_the_library_cuts(show):
    page = show(PatchExplorer())
    wait_for_picture(page)
    picture = page.get_by_role("application").first
    for key in ("PageUp", "Home", "ArrowRight", "ArrowRight", "ArrowDown"):
        picture.press(key)
    settle(page)
    assert (
        "Patch at row 2, column 3 is token 17 of 196"
        in page.locator(".hx-readout").first.text_content()
    )
    patch = pixels(page)[16:32, 32:48]
    np.testing.assert_array_equal(pixels(page, ".hx-close"), patch)
    vector = patch.transpose(2, 0, 1).reshape(3, -1)  # channel, then row, then column
    strip = pixels(page, ".hx-strip")
    for channel in range(3):
        np.testing.assert_array_equal(strip[channel, :, channel], vector[channel])
    first = page.locator(".hx-values").text_content().splitlines()[1]
    assert first == "green " + " ".join(f"{v / 255:.2f}" for v in vector[1, :6]) + " …"
    assert page.locator(".hx-ribbon span").all_text_contents() == [str(n) for n in range(13, 22)]


def test_hover_touch_and_leaving(show):
    page = show(PatchExplorer(), width=375, touch=True)
    picture = page.get_by_role("application").first
    box = picture.bounding_box()
    page.touchscreen.tap(box["x"] + 0.99 * box["width"], box["y"] + 2)
    settle(page)
    readout = page.locator(".hx-readout").first
    assert "row 1, column 14 is token 14" in readout.text_content()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    settle(page)
    assert "row 1, column 1 is token 1" in readout.text_content()
    page.mouse.move(1, 1)
    settle(page)
    assert "row 1, column 14 is token 14" in readout.text_content()


@pytest.mark.parametrize("calm", [False, True])
def test_shuffling_keeps_the_patches_and_putting_back_restores_them(show, calm):
    page = show(PatchExplorer(), calm=calm)
    wait_for_picture(page)

    def patches(picture):
        blocks = picture.reshape(14, 16, 14, 16, 3).transpose(0, 2, 1, 3, 4).reshape(196, -1)
        return sorted(map(bytes, blocks.astype(np.uint8)))

    before = pixels(page)
    page.get_by_role("button", name="Shuffle the patches").click()
    page.wait_for_timeout(0 if calm else 800)  # calm: no motion, so it is there at once
    settle(page)
    after = pixels(page)
    assert (before != after).any() and patches(before) == patches(after)
    assert "without position embeddings" in page.locator(".hx-readout").first.text_content()
    page.get_by_role("button", name="Put them back").click()
    page.wait_for_timeout(0 if calm else 800)
    settle(page)
    np.testing.assert_array_equal(pixels(page), before)


def check_quarters(page):
    wait_for_picture(page, "your own picture")
    picture = pixels(page)
    for (row, col), colour in {
        (40, 40): (255, 0, 0),
        (40, 180): (0, 255, 0),
        (180, 40): (0, 0, 255),
        (180, 180): (255,) * 3,
    }.items():
        assert tuple(picture[row, col]) == colour
    assert "It has not left this browser" in page.locator(".hx-note").first.text_content()
    assert page.get_by_role("button", name="Temple").get_attribute("aria-pressed") == "false"


def test_the_reader_s_own_picture(show):
    page = show(PatchExplorer())
    page.locator("input[type=file]").set_input_files(
        {"name": "mine.png", "mimeType": "image/png", "buffer": quarters()}
    )
    check_quarters(page)
    page.get_by_role("button", name="Temple").click()
    wait_for_picture(page)
    assert tuple(pixels(page)[40, 40]) != (255, 0, 0)


def test_a_dropped_picture(show):
    page = show(PatchExplorer())
    transfer = page.evaluate_handle(
        """(bytes) => { const t = new DataTransfer();
        t.items.add(new File([Uint8Array.from(bytes)], "dropped.png", { type: "image/png" })); return t; }""",
        list(quarters((200, 300))),
    )
    page.get_by_role("application").first.dispatch_event("drop", {"dataTransfer": transfer})
    check_quarters(page)


def test_a_file_that_is_no_picture_is_refused_in_words(show):
    page = show(PatchExplorer())
    wait_for_picture(page)
    before = pixels(page)
    page.locator("input[type=file]").set_input_files(
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"}
    )
    page.wait_for_function("document.querySelector('.hx-note').textContent.startsWith('notes.txt')")
    assert (
        page.locator(".hx-note").first.text_content()
        == "notes.txt is not a picture that this browser can read: try a PNG or JPEG file."
    )
    np.testing.assert_array_equal(pixels(page), before)


def test_positions_follow_the_patch_and_have_their_own_cursor(show):
    explorable = patch_explorer()
    page = show(explorable)
    cosines = np.frombuffer(explorable.positions, np.int8).reshape(16, 16) / 127
    readout = page.locator(".hx-readout").nth(1)
    grid = page.get_by_role("application").nth(1)
    for key in ("PageUp", "Home"):
        grid.press(key)
    settle(page)
    text = readout.text_content().replace("−", "-")
    assert text.startswith(
        f"Position row 1, column 1: mean cosine {cosines[0, [1, 4]].mean():.2f} with its neighbours"
    )
    large = pixels(page, ".hx-positions .hx-stack:nth-child(2) canvas")
    assert large.sum(-1).argmax() == 0  # a position is most like itself
    picture = page.get_by_role("application").first
    for key in ("PageDown", "End"):
        picture.press(key)
    settle(page)
    assert readout.text_content().startswith("Position row 4, column 4")

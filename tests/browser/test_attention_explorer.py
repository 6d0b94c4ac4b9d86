"""Driving the attention explorer."""

import re

import numpy as np
import pytest
import torch

from hybridlib import analysis
from hybridlib.layers.trace import AttentionMap

from .page import settle
from .samples import attention_explorer, mixed_attention


def readout(page):
    settle(page)
    return page.locator(".hx-readout").text_content()


def strongest(page):
    """The list of the strongest patches as {(row, column): percent}, rows and columns from 0."""
    matches = [
        re.fullmatch(r"row (\d+), column (\d+): ([\d.]+) %", text)
        for text in page.locator(".hx-top-patches li").all_text_contents()
    ]
    return {(int(m[1]) - 1, int(m[2]) - 1): float(m[3]) for m in matches}


def check(page, row):
    """The list names patches that the exact row (1 + 16 tokens) ranks highest; bytes may change the
    order of equals."""
    weights = strongest(page)
    step = 100 * float(row.max()) / 510 + 0.06  # half a byte, and the rounding of the text
    assert all(
        weight == pytest.approx(100 * float(row[1 + 4 * r + c]), abs=step)
        for (r, c), weight in weights.items()
    )
    assert sorted(weights.values()) == pytest.approx(
        sorted(100 * row[1:].astype(float))[-5:], abs=step
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_list_shows_the_weights_of_any_picture_layer_head_and_query(show, theme):
    explorable = attention_explorer()
    weights = explorable._weights
    page = show(explorable, theme=theme)
    assert readout(page).startswith("Block 1, head 1, asked by the class token.")
    check(page, weights[0][0, 0, 0])
    page.get_by_role("radio", name="block 3, head 2").click()
    assert readout(page).startswith("Block 3, head 2")
    check(page, weights[2][0, 1, 0])
    page.get_by_role("radio", name="block 3, mean of heads").click()
    settle(page)
    check(page, weights[2][0].mean(0)[0])
    page.get_by_role("button", name="Picture 2").click()
    settle(page)
    check(page, weights[2][1].mean(0)[0])
    assert (
        page.locator(".hx-caption").text_content()
        == "Picture 2 · label: one · the model says: one (52%)"
    )
    page.get_by_role("application").press("Home")
    assert "the patch at row 3, column 1" in readout(page)
    check(page, weights[2][1].mean(0)[1 + 2 * 4])


def test_hover_asks_for_a_patch_and_leaving_gives_back_the_class_token(show):
    explorable = attention_explorer()
    page = show(explorable)
    box = page.get_by_role("application").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 3 / 8, box["y"] + box["height"] * 7 / 8)
    assert "asked by the patch at row 4, column 2" in readout(page)
    check(page, explorable._weights[0][0, 0, 1 + 3 * 4 + 1])
    assert page.get_by_role("button", name="class token").get_attribute("aria-pressed") == "false"
    page.mouse.move(1, 1)
    assert "asked by the class token" in readout(page)
    page.mouse.click(box["x"] + 3, box["y"] + 3)
    page.mouse.move(1, 1)
    assert "asked by the patch at row 1, column 1" in readout(page)
    page.get_by_role("button", name="class token").click()
    assert "asked by the class token" in readout(page)


def test_keys_walk_over_patches_and_heads(show):
    page = show(attention_explorer())
    picture = page.get_by_role("application")
    picture.focus()
    for key, place in (
        ("ArrowRight", "row 3, column 4"),
        ("ArrowUp", "row 2, column 4"),
        ("Home", "row 2, column 1"),
        ("End", "row 2, column 4"),
        ("PageUp", "row 1, column 4"),
    ):
        page.keyboard.press(key)
        assert place in readout(page) and place in picture.get_attribute("aria-label")
    page.get_by_role("radio", name="block 1, head 1").focus()
    for key, name in (
        ("ArrowDown", "block 2, head 1"),
        ("End", "block 2, mean of heads"),
        ("ArrowLeft", "block 2, head 4"),
        ("Home", "block 2, head 1"),
        ("ArrowUp", "block 1, head 1"),
        ("ArrowUp", "block 1, head 1"),
    ):
        page.keyboard.press(key)
        settle(page)
        radio = page.locator("[role='radio'][aria-checked='true']")
        assert radio.count() == 1 and radio.get_attribute("aria-label") == name
        assert page.evaluate("document.activeElement.ariaLabel") == name


def test_rollout_multiplies_the_layers(show):
    explorable = attention_explorer()
    page = show(explorable)
    page.get_by_role("radio", name="block 3, head 1").click()
    page.get_by_label("Show").select_option("rollout")
    assert readout(page).startswith("Rollout up to block 3, asked by the class token")
    maps = [
        AttentionMap(torch.tensor(w[:1]), (4, 4), ("class",), i)
        for i, w in enumerate(explorable._weights)
    ]
    check(page, analysis.rollout(maps)[0, 0].numpy())


def test_the_overlay_is_painted_and_can_be_faded(show):
    explorable = attention_explorer()
    page = show(explorable)
    overlay = page.locator(".hx-overlay")
    pixels = overlay.evaluate(
        "(n) => [...n.getContext('2d').getImageData(0, 0, n.width, n.height).data]"
    )
    lightness = np.reshape(pixels, (16, 4))[:, :3].sum(-1)
    assert lightness.argmax() == explorable._weights[0][0, 0, 0, 1:].argmax()
    assert overlay.evaluate("(n) => getComputedStyle(n).opacity") == "0.65"
    page.get_by_label("Overlay").fill("20")
    settle(page)
    assert overlay.evaluate("(n) => getComputedStyle(n).opacity") == "0.2"


def test_a_touch_asks_for_a_patch(show):
    page = show(attention_explorer(), width=375, touch=True)
    picture = page.get_by_role("application")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.9)
    assert "row 4, column 4" in readout(page)


def test_layers_that_differ_keep_their_own_grid_and_tokens(show):
    page = show(mixed_attention())
    assert "Block 1 (position), head 1, asked by the patch at row 3, column 3" in readout(page)
    assert page.get_by_label("Show").is_disabled()
    assert page.get_by_text("rollout needs the same tokens in every layer").is_visible()
    page.get_by_role("application").press("Home")
    assert "row 3, column 1" in readout(page)
    page.get_by_role("radio", name="block 2, head 3").click()
    # the same place on a grid half as fine
    assert "asked by the patch at row 2, column 1" in readout(page)
    assert page.locator(".hx-overlay").evaluate("(n) => n.width") == 2
    page.get_by_role("radio", name="block 3, head 1").click()
    assert "asked by the class token" in readout(page)
    page.get_by_role("radio", name="block 4 class-over-layers, head 1").click()
    assert "To the block 2 token:" in readout(page)
    assert page.locator(".hx-overlay").is_hidden()

"""Driving the receptive-field explorable."""

import numpy as np
import pytest

from hybridlib.widgets import ReceptiveField

from .page import settle

FACTS = "dl.hx-facts dd"


def facts(page):
    settle(page)
    return page.locator(FACTS).all_text_contents()


def is_lit(page):
    """Which input pixels are lit, as an array of booleans."""
    canvas = page.locator(".hx-input canvas")
    data = canvas.evaluate(
        "(n) => [n.width, ...n.getContext('2d').getImageData(0, 0, n.width, n.height).data]"
    )
    return np.reshape(data[1:], (data[0], data[0], 4))[..., 3] > 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_layers_widen_the_field(show, theme):
    page = show(ReceptiveField([{"kernel": 3}]), theme=theme)
    assert facts(page)[:3] == ["3 × 3 px", "1 px", "33 × 33"] and is_lit(page).sum() == 9
    page.get_by_role("button", name="Add a layer").click()
    assert facts(page)[0] == "5 × 5 px" and is_lit(page).sum() == 25
    page.locator(".hx-layers").get_by_label("kernel").nth(1).select_option("7")
    assert facts(page)[0] == "9 × 9 px" and is_lit(page).sum() == 81
    assert "r = 3 + (7 − 1) · 1 = 9" in page.locator(".hx-worked").nth(1).text_content()
    page.locator(".hx-layers").get_by_label("stride").nth(0).select_option("2")
    assert facts(page)[:3] == ["15 × 15 px", "2 px", "17 × 17"]
    page.locator(".hx-layers").get_by_label("dilation").nth(1).select_option("2")
    assert facts(page)[0] == "27 × 27 px"
    assert "2 · (7 − 1) · 2 = 27" in page.locator(".hx-worked").nth(1).text_content()
    page.get_by_role("button", name="remove layer 2").click()
    assert facts(page)[0] == "3 × 3 px"
    assert page.evaluate("models[0].get('layers').length") == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("One 3 × 3 convolution", ["3 × 3 px", "1 px", "33 × 33", "25 %"]),
        ("ViT: 16 × 16 patches", ["16 × 16 px", "16 px", "4 × 4", "25 %"]),
        ("Early-convolution stem", ["31 × 31 px", "16 px", "4 × 4"]),
        ("CeiT image-to-tokens", ["23 × 23 px", "16 px", "4 × 4"]),
        ("ResNet-50, all of it", ["427 × 427 px", "32 px", "7 × 7"]),
        ("One attention layer", ["whole picture", "1 px", "33 × 33", "25 %"]),
    ],
)
def test_examples(show, name, expected):
    page = show(ReceptiveField())
    page.get_by_label("Example").select_option(name)
    assert facts(page)[: len(expected)] == expected


def test_attention_lights_every_pixel(show):
    page = show(ReceptiveField([{"kernel": 3}], grid=17))
    assert is_lit(page).sum() == 9
    page.get_by_label("End with an attention layer").check()
    assert facts(page)[0] == "whole picture" and is_lit(page).all()
    page.get_by_label("End with an attention layer").uncheck()
    assert facts(page)[0] == "3 × 3 px" and is_lit(page).sum() == 9


def test_hover_moves_the_field_and_leaving_gives_back_the_clicked_unit(show):
    page = show(ReceptiveField([{"kernel": 3}], grid=17))
    assert is_lit(page)[7:10, 7:10].all()
    picture = page.get_by_role("application")
    box = picture.bounding_box()
    pixel = box["width"] / (17 + 2 * 2)  # two pixels of frame on each side for a field of three

    def at(row, col):
        return box["x"] + (col + 2.5) * pixel, box["y"] + (row + 2.5) * pixel

    page.mouse.click(*at(4, 12))
    settle(page)
    assert is_lit(page)[3:6, 11:14].all() and is_lit(page).sum() == 9
    page.mouse.move(*at(0, 0))
    settle(page)
    # the rest of the field hangs over the corner
    assert is_lit(page)[:2, :2].all() and is_lit(page).sum() == 4
    page.mouse.move(1, 1)
    settle(page)
    assert is_lit(page)[3:6, 11:14].all()
    assert "row 5, column 13" in picture.get_attribute("aria-label")


def test_keys_walk_over_units_not_pixels(show):
    page = show(ReceptiveField([{"kernel": 3, "stride": 2}], grid=17))
    page.get_by_role("application").focus()
    page.keyboard.press("Home")
    settle(page)
    first = is_lit(page).any(0).nonzero()[0]
    page.keyboard.press("ArrowRight")
    settle(page)
    assert list(first) == [0, 1] and list(is_lit(page).any(0).nonzero()[0]) == [1, 2, 3]
    page.keyboard.press("End")
    settle(page)
    assert "row 5, column 9 of 9 × 9" in page.locator(".hx-readout").text_content()


def test_a_touch_picks_a_unit(show):
    page = show(ReceptiveField([{"kernel": 1}], grid=9), width=375, touch=True)
    picture = page.get_by_role("application")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    page.touchscreen.tap(box["x"] + 0.99 * box["width"], box["y"] + 0.5 * box["height"])
    settle(page)
    assert is_lit(page)[4, 8] and is_lit(page).sum() == 1


def test_brightness_follows_the_paths(show):
    page = show(ReceptiveField([{"kernel": 3}] * 5))
    canvas = page.locator(".hx-input canvas")
    row = canvas.evaluate("(n) => [...n.getContext('2d').getImageData(0, 16, 33, 1).data]")
    lightness = np.reshape(row, (33, 4))[11:22, :3].sum(-1)  # the field's eleven pixels
    assert (np.diff(lightness[:6]) > 0).all() and (np.diff(lightness[5:]) < 0).all()


def test_a_picture_too_small_for_the_stack_says_so(show):
    page = show(ReceptiveField([{"kernel": 16, "stride": 16}], grid=33))
    page.get_by_label("Picture side").select_option("17")
    assert facts(page)[2] == "1 × 1"
    page.evaluate("models[0].set('grid', 9)")
    settle(page)
    assert "too small" in page.locator(".hx-readout").text_content()


def test_the_list_stops_at_twenty_layers(show):
    page = show(ReceptiveField([{"kernel": 1}] * 19))
    page.get_by_role("button", name="Add a layer").click()
    assert page.get_by_role("button", name="Add a layer").is_disabled()
    assert page.locator(".hx-layers li").count() == 20

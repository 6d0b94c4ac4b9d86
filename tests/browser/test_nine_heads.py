"""Driving the nine-heads explorable."""

import re

import numpy as np
import pytest

from hybridlib.widgets import NineHeads

from .page import settle


def errors(page):
    """Largest error inside and at the border, as the readout says them."""
    text = page.locator(".hx-readout").text_content()
    match = re.search(r"inside ([\d.]*\d)( × 10\S+)?, at the border ([\d.]*\d)( × 10\S+)?", text)
    return [
        0.0 if tiny else float(number) for number, tiny in (match.group(1, 2), match.group(3, 4))
    ]


def set_alpha(page, power):
    page.get_by_label("Sharpness α").fill(str(power))
    settle(page)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_sharp_heads_become_the_kernel_and_the_border_stays(show, theme):
    page = show(NineHeads(), theme=theme)
    soft = errors(page)
    peaks = page.locator(".hx-grid3 .hx-tile > span")
    assert peaks.nth(4).text_content() == "peak 0.32"
    set_alpha(page, 2)
    assert set(peaks.all_text_contents()) == {"peak 1.00"}
    inside, border = errors(page)
    assert inside == 0 and border > 1 and soft[0] > 1
    assert page.locator(".hx-core").all_text_contents() == ["−1.00"] * 4 + ["8.00"] + ["−1.00"] * 4
    outside = page.locator(".hx-applied td:not(.hx-core)").all_text_contents()
    assert set(outside) == {"0.00"} and len(outside) == 16


def test_a_ring_of_zeros_mends_the_border(show):
    page = show(NineHeads(alpha=50))
    assert errors(page)[1] > 1
    page.get_by_label("Ring of zeros").check()
    settle(page)
    assert errors(page) == [0, 0]
    assert page.evaluate("models[0].get('pad')") is True


def test_hover_shows_a_pixel_and_leaving_gives_back_the_clicked_one(show):
    page = show(NineHeads())
    picture = page.locator(".hx-four .hx-stack").first
    box = picture.bounding_box()
    cell = box["width"] / 8

    def at(row, col):
        return box["x"] + (col + 0.5) * cell, box["y"] + (row + 0.5) * cell

    page.mouse.click(*at(1, 2))
    settle(page)
    assert "row 2, column 3" in page.locator(".hx-readout").text_content()
    assert page.evaluate("models[0].get('query')") == [1, 2]
    page.mouse.move(*at(6, 5))
    settle(page)
    assert "row 7, column 6" in page.locator(".hx-readout").text_content()
    page.mouse.move(1, 1)
    settle(page)
    assert "row 2, column 3" in page.locator(".hx-readout").text_content()
    assert picture.get_attribute("aria-label").endswith("row 2, column 3")


def test_arrow_keys_walk_and_stop_at_the_edge(show):
    page = show(NineHeads())
    picture = page.get_by_role("application")
    picture.focus()
    for key, place in (
        ("ArrowRight", "row 5, column 6"),
        ("End", "row 5, column 8"),
        ("ArrowRight", "row 5, column 8"),
        ("Home", "row 5, column 1"),
        ("ArrowUp", "row 4, column 1"),
        ("PageDown", "row 8, column 1"),
    ):
        page.keyboard.press(key)
        settle(page)
        assert place in page.locator(".hx-readout").text_content()
    page.wait_for_function(
        "document.querySelector('[role=status]').textContent.includes('row 8, column 1')"
    )


def test_a_touch_picks_a_pixel(show):
    page = show(NineHeads(), width=375, touch=True)
    picture = page.get_by_role("application")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 16, box["y"] + box["height"] / 16)
    settle(page)
    assert "row 1, column 1" in page.locator(".hx-readout").text_content()


def test_the_kernel_can_be_written(show):
    page = show(NineHeads(alpha=100))
    page.get_by_label("kernel weight, row 1, column 1").fill("2.5")
    settle(page)
    assert page.locator(".hx-core").first.text_content() == "2.50"
    page.get_by_role("button", name="Blur").click()
    settle(page)
    assert page.locator(".hx-core").all_text_contents()[4] == "0.25"
    assert page.evaluate("models[0].get('kernel')")[4] == 0.25


def test_a_head_can_be_dragged_off_its_pixel_and_put_back(show):
    page = show(NineHeads(alpha=100))
    head = page.get_by_label(re.compile(r"^head 5,"))
    box = page.locator(".hx-plane").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 2 * box["width"] / 5, middle[1])
    page.mouse.up()
    settle(page)
    assert "centre 0, 2;" in head.get_attribute("aria-label")
    cells = page.locator(".hx-applied td").all_text_contents()
    # the weight of the centre has moved two to the right
    assert cells[12] == "0.00" and cells[14] == "8.00"
    head.focus()
    page.keyboard.press("ArrowLeft")
    settle(page)
    assert "centre 0, 1.9;" in head.get_attribute("aria-label")
    page.get_by_role("button", name="Put heads back").click()
    settle(page)
    assert page.locator(".hx-applied td").all_text_contents()[12] == "8.00"


def test_pictures_show_the_numbers(show):
    """The canvas of the image holds the image, and where the difference is nil it is the neutral
    colour."""
    image = np.linspace(0, 1, 30).reshape(5, 6)
    page = show(NineHeads(image, alpha=100))
    settle(page)
    read_pixels = """(n) => [...n.getContext("2d").getImageData(0, 0, n.width, n.height).data]"""
    canvases = page.locator(".hx-four canvas")
    pixels = np.reshape(canvases.nth(0).evaluate(read_pixels), (5, 6, 4))[..., 0]
    np.testing.assert_allclose(pixels, image * 255, atol=0.6)
    difference = np.reshape(canvases.nth(3).evaluate(read_pixels), (5, 6, 4))[..., :3]
    assert (difference[1:-1, 1:-1] == 238).all() and not (difference[0] == 238).all()


def test_python_can_turn_the_slider(show):
    page = show(NineHeads())
    page.evaluate("models[0].set('alpha', 100)")
    settle(page)
    assert page.get_by_label("Sharpness α").input_value() == "2"
    assert errors(page)[0] == 0


def test_python_can_change_the_image(show):
    """A smaller image than before: pictures, cursor, query and the error chart are the new
    one's."""
    page = show(NineHeads(alpha=2))
    for key in ("PageDown", "End"):
        page.get_by_role("application").press(key)
    chart = page.locator(".hx-chart .hx-line").first
    before = chart.get_attribute("d")
    image = np.linspace(0, 1, 20).round(4).reshape(4, 5)
    page.evaluate("(image) => models[0].set('image', image)", image.tolist())
    settle(page)
    read_pixels = """(n) => [n.height, n.width, ...n.getContext("2d").getImageData(0, 0, n.width, n.height).data]"""
    rows, cols, *pixels = page.locator(".hx-four canvas").first.evaluate(read_pixels)
    assert (rows, cols) == (4, 5)
    np.testing.assert_allclose(np.reshape(pixels, (4, 5, 4))[..., 0], image * 255, atol=0.6)
    assert page.locator(".hx-grid3 canvas").first.evaluate("(n) => [n.height, n.width]") == [4, 5]
    assert "Query pixel: row 4, column 5." in page.locator(".hx-readout").text_content()
    assert chart.get_attribute("d") != before
    page.get_by_role("application").press("Home")
    settle(page)
    assert "Query pixel: row 4, column 1." in page.locator(".hx-readout").text_content()
    page.evaluate("models[0].set('query', [0, 2])")
    settle(page)
    assert "Query pixel: row 1, column 3." in page.locator(".hx-readout").text_content()

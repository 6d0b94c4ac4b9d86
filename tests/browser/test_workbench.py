"""Driving the workbench: pad, tools and systems; and PyTorch beside it."""

import re

import numpy as np
import pytest

from .bench import agrees, answers, drag, draw_seven, picture, ready
from .page import serious, settle, swipe
from .samples import digits, workbench


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_read_the_drawing_as_pytorch_does(show, theme):
    page = ready(show(workbench(), theme=theme))
    np.testing.assert_array_equal(picture(page)[8:24, 8:24], digits(1)[0])
    agrees(page, "convnet", "vit")
    draw_seven(page, card=1)  # either picture is the pad
    ink = picture(page)
    np.testing.assert_array_equal(ink, picture(page, 1))
    assert (
        ink[6, 12:20].min() > 200
        and ink[:, :3].max() == 0
        and 0 < ink[3, 15] < ink[4, 15] < ink[6, 15]
    )
    agrees(page, "convnet", "vit")
    assert [answers(page, i).argmax() for i in (0, 1)] == [7, 7]
    texts = page.locator(".wb-says").all_text_contents()
    assert [text[0] for text in texts] == ["7", "7"]
    page.get_by_role("button", name="Undo").click()
    settle(page)
    assert picture(page).max() == 0


def test_an_empty_pad_asks_for_a_drawing_and_no_model(show):
    page = show(workbench(start=-1))
    settle(page)
    assert page.evaluate("asked") == []
    assert page.locator(".wb-empty").all_text_contents() == ["Draw something."] * 2
    assert set(page.locator(".wb-bars .wb-share").all_text_contents()) == {"–"}
    draw_seven(page)
    ready(page)
    assert sorted(page.evaluate("asked")) == ["convnet_nano_digits", "vit_nano_digits"]
    page.get_by_role("button", name="Clear").click()
    settle(page)
    assert page.locator(".wb-empty").all_text_contents() == ["Draw something."] * 2
    assert set(page.locator(".wb-share").all_text_contents()) == {"–"}
    assert page.locator(".wb-overlay:visible").count() == 0


def test_a_finger_draws_without_scrolling_on_a_narrow_page(show):
    page = ready(show(workbench(), width=320, touch=True))
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.get_by_role("button", name="Clear").click()
    pad = page.locator(".wb-pad").nth(1)
    pad.scroll_into_view_if_needed()
    scroll = page.evaluate("window.scrollY")
    box = pad.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 4
    swipe(page, x, y, box["height"] / 2, steps=5)
    assert picture(page)[9:23, 15:17].min() > 180
    assert page.evaluate("window.scrollY") == scroll
    agrees(page, "convnet", "vit")
    sticky = page.locator(".wb-both")
    assert sticky.is_visible() and re.fullmatch(
        r"Convnet says \d, .* · ViT says \d, .*", sticky.text_content()
    )
    assert serious(page) == []


def test_moving_by_keys_and_by_dragging(show):
    page = ready(show(workbench()))
    before = picture(page)
    pad = page.locator(".wb-pad").first
    for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
        pad.press(key)
    settle(page)
    np.testing.assert_array_equal(picture(page), np.roll(before, (-1, 2), (0, 1)))
    agrees(page, "convnet", "vit")
    page.wait_for_function(
        "document.querySelector('[role=status]').textContent.startsWith('Moved 1 up, 2 right."
        " Convnet says')"
    )
    page.get_by_role("radio", name="Move").click()
    drag(page, [(16, 16), (13, 20)])
    np.testing.assert_array_equal(picture(page), np.roll(before, (3, -1), (0, 1)))
    agrees(page, "convnet", "vit")
    for _ in range(20):
        pad.press("ArrowLeft")  # out of the sheet, and back whole
    settle(page)
    assert picture(page)[:, 8:].max() == 0
    for _ in range(21):
        pad.press("ArrowRight")
    settle(page)
    np.testing.assert_array_equal(picture(page), np.roll(before, 3, 0))
    pad.press("Delete")
    settle(page)
    assert picture(page).max() == 0


def test_erasing_a_sample(show):
    page = ready(show(workbench()))
    before = picture(page)
    page.get_by_role("radio", name="Erase").click()
    drag(page, [(16, 8), (16, 24)])
    after = picture(page)
    assert after[10:22, 16].max() == 0
    np.testing.assert_allclose(after[:, :13], before[:, :13], atol=9)  # in sixteen levels
    assert page.locator(".wb-sample[aria-pressed='true']").count() == 0
    agrees(page, "convnet", "vit")


def test_covering_a_part(show):
    page = ready(show(workbench()))
    whole, before = picture(page), answers(page, 1)
    page.get_by_role("radio", name="Cover").click()
    box = page.locator(".wb-pad").nth(1).bounding_box()
    page.mouse.move(box["x"] + 16.5 * box["width"] / 32, box["y"] + 12.5 * box["height"] / 32)
    settle(page)
    covered_picture = whole.copy()
    covered_picture[8:16, 12:20] = 0
    np.testing.assert_array_equal(picture(page), covered_picture)
    agrees(page, "convnet", "vit")
    page.mouse.move(5, 5)
    np.testing.assert_array_equal(answers(page, 1), before)
    pad = page.locator(".wb-pad").first
    pad.press("ArrowDown")
    pad.press("ArrowDown")
    page.get_by_role("slider", name="Square").fill("4")
    page.get_by_label("Colour").select_option("128")
    settle(page)
    grey_picture = whole.copy()
    grey_picture[15:19, 14:18] = 128
    np.testing.assert_array_equal(picture(page), grey_picture)
    agrees(page, "convnet", "vit")
    pad.press("Delete")
    settle(page)
    np.testing.assert_array_equal(picture(page), whole)


def test_a_model_that_does_not_come_is_told_and_may_be_tried_again(show):
    page = show(workbench(start=-1))
    page.evaluate(
        "window.lost = models[0].files.vit_nano_digits; delete models[0].files.vit_nano_digits"
    )
    draw_seven(page)
    card = page.locator(".wb-card").nth(1)
    card.get_by_text("None here.").wait_for()
    ready(page, cards=1)  # the other answers all the same
    page.evaluate("models[0].files.vit_nano_digits = window.lost")
    card.get_by_role("button", name="Try again").click()
    ready(page)
    agrees(page, "convnet", "vit")


def test_one_system_or_two(show):
    page = ready(show(workbench()))
    page.get_by_label("Look with").select_option("1")
    settle(page)
    assert page.locator(".wb-card:visible").count() == 1
    page.get_by_label("Look with").select_option("2")
    ready(page)
    assert page.locator(".wb-card:visible").count() == 2
    agrees(page, "convnet", "vit")

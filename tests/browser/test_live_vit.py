"""Driving the ViT that runs in the browser."""

import base64
import re

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from .page import pixels, settle, swipe
from .samples import digits, live_vit, random_vit


def take(page, sample=1):
    """Take a sample and wait for the answer."""
    page.get_by_role("button", name=f"sample {sample}").click()
    wait_for_answer(page)


def wait_for_answer(page):
    page.wait_for_function(
        "document.querySelector('.hx-readout').textContent.startsWith('The model says')"
    )
    settle(page)


def answer_percents(page):
    wait_for_answer(page)
    return [int(text.removesuffix(" %")) for text in page.locator(".hx-share").all_text_contents()]


def drawing(page):
    return pixels(page.locator(".hx-pad canvas"))[..., 0]


def pytorch_percents(pixels):
    """What the sample's model says of a drawing (0..255) in PyTorch."""
    model = random_vit().eval()
    with torch.no_grad():
        image = torch.tensor(pixels / 255, dtype=torch.float32).expand(1, 3, 32, 32)
        return (100 * model(image).softmax(-1)[0]).numpy()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_answers_as_pytorch_does(show, theme):
    page = show(live_vit(), theme=theme)
    take(page)
    percents = answer_percents(page)
    # a sample is not softened
    np.testing.assert_array_equal(drawing(page)[8:24, 8:24], digits(1)[0])
    np.testing.assert_allclose(percents, pytorch_percents(drawing(page)), atol=1.5)
    best = int(np.argmax(percents))
    assert (
        page.locator(".hx-readout").first.text_content()
        == f"The model says {best}, with {percents[best]} %."
    )


def test_an_empty_pad_gets_no_answer_and_asks_for_nothing(show):
    page = show(live_vit())

    def nothing_is_said():
        settle(page)
        assert drawing(page).max() == 0
        assert page.locator(".hx-readout").first.text_content() == "Draw something."
        assert set(page.locator(".hx-share").all_text_contents()) == {""}
        assert page.locator(".hx-best").count() == 0 and not page.locator(".hx-heads").is_visible()

    nothing_is_said()
    page.locator(".hx-pad").press("ArrowLeft")
    nothing_is_said()
    assert page.evaluate("asked") == []
    take(page)
    assert page.locator(".hx-heads").is_visible()
    page.get_by_role("button", name="Clear").click()
    nothing_is_said()
    take(page, 2)
    assert page.evaluate("asked") == ["random"]


def test_a_model_that_does_not_come_is_told_and_can_be_tried_again(show):
    explorable = live_vit()
    file = explorable._offered.pop("random")
    page = show(explorable)
    again = page.get_by_role("button", name="Try again")
    assert not again.is_visible()
    page.get_by_role("button", name="sample 1").click()
    page.wait_for_function("document.querySelector('.hx-readout').textContent === 'None here.'")
    assert again.is_visible() and set(page.locator(".hx-share").all_text_contents()) == {""}
    page.evaluate("(text) => { models[0].files.random = text; }", base64.b64encode(file).decode())
    again.click()
    np.testing.assert_allclose(answer_percents(page), pytorch_percents(drawing(page)), atol=1.5)
    assert not again.is_visible()


def test_drawing_changes_answer_and_maps(show):
    """A stroke of the pen is softened: the model is shown what the page shows."""
    page = show(live_vit())
    take(page)
    before = answer_percents(page)
    maps = page.locator(".hx-overlay").evaluate("(n) => n.toDataURL()")
    page.get_by_role("button", name="Clear").click()
    box = page.locator(".hx-pad").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.5 * box["height"], steps=4)
    page.mouse.up()
    after = answer_percents(page)
    ink = drawing(page)
    # across the stroke, before it is softened
    row = np.clip(1.4 + 0.5 - np.abs(np.arange(32) + 0.5 - 16), 0, 1)
    np.testing.assert_allclose(
        ink[:, 15] / 255, gaussian_filter1d(row, 1.2, mode="constant", radius=4), atol=0.03
    )
    np.testing.assert_allclose(after, pytorch_percents(ink), atol=1.5)
    assert after != before
    assert page.locator(".hx-overlay").evaluate("(n) => n.toDataURL()") != maps


def test_a_finger_draws_without_scrolling(show):
    page = show(live_vit(), width=375, touch=True)
    page.locator(".hx-pad").scroll_into_view_if_needed()
    scroll = page.evaluate("window.scrollY")
    box = page.locator(".hx-pad").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 4
    swipe(page, x, y, box["height"] / 2, steps=5)
    assert (drawing(page)[10:22, 15:17] > 160).all()
    assert page.evaluate("window.scrollY") == scroll


def test_without_a_pointer(show):
    """Samples, arrow keys, clutter and Delete do what a hand with a pen does."""
    page = show(live_vit())
    take(page, 2)
    before = drawing(page)
    np.testing.assert_array_equal(before[8:24, 8:24], digits(2)[1])
    pad = page.locator(".hx-pad")
    pad.press("ArrowRight")
    pad.press("ArrowUp")
    settle(page)
    np.testing.assert_array_equal(drawing(page)[7:23, 9:25], digits(2)[1])
    page.wait_for_function("document.querySelector('[role=status]').textContent !== ''")
    assert re.fullmatch(
        r"The model says \d, with \d+ %\.", page.get_by_role("status").text_content()
    )
    ink = drawing(page)
    for _ in range(5):
        page.get_by_role("button", name="Add clutter").click()
    settle(page)
    assert (drawing(page) >= ink).all() and (drawing(page) > ink).any()
    pad.press("Delete")
    settle(page)
    assert drawing(page).max() == 0


def test_a_wider_pen_leaves_more_ink(show):
    page = show(live_vit())

    def dot(width):
        page.get_by_role("button", name="Clear").click()
        page.get_by_label("Pen width").fill(str(width))
        page.locator(".hx-pad").click()
        settle(page)
        return drawing(page).sum()

    assert dot(3) > 2 * dot(1)


def test_attention_of_the_drawing(show):
    page = show(live_vit())
    take(page)
    readout = page.locator(".hx-readout").nth(1)
    assert readout.text_content().startswith("Block 1, head 1, asked by the class token.")
    page.get_by_role("radio", name="block 4, head 3").click()
    box = page.locator(".hx-picture").bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    settle(page)
    assert readout.text_content().startswith(
        "Block 4, head 3, asked by the patch at row 1, column 1."
    )
    page.get_by_label("Show").select_option("rollout")
    settle(page)
    first = readout.text_content()
    assert first.startswith("Rollout up to block 4")
    page.get_by_role("button", name="sample 3").click()
    settle(page)
    assert page.locator(".hx-top-patches li").count() == 5

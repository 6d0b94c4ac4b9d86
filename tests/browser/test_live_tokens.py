"""DeiT's two tokens in the browser: every answer and map is PyTorch's for the tokens that were
set."""

import re
from functools import partial

import numpy as np
import pytest
import torch

from hybridlib import pretrained

from . import desk
from .desk import answer_percents, draw, tally
from .page import add_link, pixels, settle
from .samples import live_tokens, pictures

NAME = "deit_nano_digits"


def model(*, part=0.0, is_swapped=False):
    """The trained model with its tokens and their rows of positions as the reader may set them."""
    net = pretrained.load(NAME).model
    rows = net.positions.table.data[0]
    pairs = [(net.class_token.data, net.second_token.data), (rows[0], rows[1])]
    for one, two in pairs:
        first, second = (two.clone(), one.clone()) if is_swapped else (one.clone(), two.clone())
        one.copy_(first)
        two.copy_((1 - part) * second + part * first)
    return net


normalise, expected, right = desk.pytorch(NAME)
ready = partial(desk.ready, explorable=".lk")


@torch.no_grad()
def token_maps(net, block, head):
    """Attention to the patches, asked by the class and by the distillation token: two rows of
    64."""
    return net.trace(normalise(pictures(1))).maps[block].weights[0, head, :2, 2:].numpy()


def readout(page):
    settle(page)
    return page.locator(".lk > .hx-readout").text_content()


def move(page, part):
    page.get_by_label("Move the distillation token").fill(str(part))
    settle(page)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_answers_as_pytorch_does(show, theme):
    page = ready(show(live_tokens(), theme=theme))
    net = model()
    np.testing.assert_allclose(answer_percents(page), expected(net), atol=0.6)
    assert tally(page) == right(net)
    with torch.no_grad():
        heads = [100 * logits.softmax(-1)[0] for logits in net.both_logits(normalise(pictures(1)))]
    for i, head in enumerate(heads):
        bars = page.locator(f".lk-answers .lk-bar{i}").evaluate_all(
            "(bars) => bars.map((bar) => parseFloat(bar.style.height))"
        )
        np.testing.assert_allclose(bars, head, atol=0.1)
        words = page.locator(".lk-words").text_content().split("; ")[i]
        assert f": {int(head.argmax())} " in words


@pytest.mark.parametrize(
    ("part", "is_swapped"), [(1, False), (0.5, False), (0, True), (0.25, True)]
)
def test_tokens_that_are_moved_or_swapped_give_pytorchs_answers(show, part, is_swapped):
    page = ready(show(live_tokens()))
    if is_swapped:
        page.get_by_role("button", name="Swap the two tokens").click()
    move(page, part)
    net = model(part=part, is_swapped=is_swapped)
    np.testing.assert_allclose(answer_percents(page), expected(net), atol=0.6)
    assert tally(page) == right(net)
    page.get_by_role("button", name="As trained").click()
    np.testing.assert_allclose(answer_percents(page), expected(model()), atol=0.6)
    assert (
        page.get_by_role("button", name="Swap the two tokens").get_attribute("aria-pressed")
        == "false"
    )


def test_the_readout_gives_the_cosines_and_how_far_the_maps_differ(show):
    page = ready(show(live_tokens()))
    page.get_by_role("radio", name="block 2, head 3").click()
    net = model()
    with torch.no_grad():
        first, last = (
            torch.cat([net.class_token, net.second_token], 1)[0],
            net.encode_extra(normalise(pictures(1)))[0],
        )
    at_input, at_end = (
        torch.nn.functional.cosine_similarity(*pair, dim=0).item() for pair in (first, last)
    )
    one, two = token_maps(net, 1, 2)
    text = readout(page)
    match = re.search(
        r"tokens: (.\S+) at the input, (\S+) behind the last block. Block 2, head 3: the two maps"
        r" differ by (\d+) %",
        text,
    )
    assert float(match[1].replace("−", "-")) == pytest.approx(at_input, abs=6e-3)
    assert float(match[2].replace("−", "-")) == pytest.approx(at_end, abs=6e-3)
    assert int(match[3]) == pytest.approx(50 * np.abs(one - two).sum(), abs=0.6)


def test_equal_tokens_have_equal_maps(show):
    page = ready(show(live_tokens()))
    move(page, 1)
    text = readout(page)
    assert (
        "tokens: 1.00 at the input, 1.00 behind the last block" in text and "differ by 0 %" in text
    )
    heads = page.locator(".ld-head canvas")
    assert heads.count() == 16
    for pair in heads.all():
        shown = pixels(pair)
        assert np.abs(shown[:, :8] - shown[:, 8:]).max() <= 2 and shown.std() > 10


def test_the_small_maps_are_both_tokens_side_by_side(show):
    page = ready(show(live_tokens()))
    one, two = token_maps(model(), 2, 1)
    head = page.get_by_role("radio", name="block 3, head 2")
    shown = pixels(head.locator("canvas"))
    assert shown.shape == (8, 16, 4)
    for row, part in ((one, shown[:, :8]), (two, shown[:, 8:])):
        assert np.corrcoef(part[..., :3].sum(-1).ravel(), row)[0, 1] > 0.85
    difference = 50 * np.abs(one - two).sum()
    match = re.search(r"maps differ by (\d+) %", head.get_attribute("aria-label"))
    assert int(match[1]) == pytest.approx(difference, abs=0.6)


def test_the_maps_are_pytorchs(show):
    page = ready(show(live_tokens()))
    rows = token_maps(model(), 0, 0)
    pixel_maps = [
        pixels(canvas).reshape(64, 4) for canvas in page.locator(".lk-maps .lk-over").all()
    ]
    for row, shown in zip(rows, pixel_maps):
        assert np.corrcoef(shown[:, :3].sum(1), row)[0, 1] > 0.85
    difference = rows[0] - rows[1]
    strong = np.abs(difference) > 0.3 * np.abs(difference).max()
    warm = pixel_maps[2][:, 0] > pixel_maps[2][:, 2]  # orange where the class token gives more
    assert (warm == (difference > 0))[strong].all() and strong.sum() > 3
    assert page.locator(".hx-legend").first.text_content() == f"0 %{100 * rows.max():.0f} %"


def test_the_keyboard_reaches_every_head(show):
    page = ready(show(live_tokens()))
    page.get_by_role("radio", name="block 1, head 1").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert "Block 2, head 3" in readout(page)
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith(
        "block 2, head 3, maps differ by"
    )
    page.get_by_label("Move the distillation token").focus()
    page.keyboard.press("End")
    assert "1.00 at the input" in readout(page)
    page.get_by_role("button", name="Swap the two tokens").focus()
    page.keyboard.press("Enter")
    np.testing.assert_allclose(
        answer_percents(page), expected(model(part=1, is_swapped=True)), atol=0.6
    )


def test_a_mouse_draws_and_drags_the_slider(show):
    page = ready(show(live_tokens()))
    page.get_by_role("button", name="take the 3").click()
    page.get_by_role("radio", name="block 3, head 4").click()
    assert "Block 3, head 4" in readout(page)
    page.get_by_role("button", name="Clear").click()
    assert readout(page).startswith("Draw something.")
    draw(page)
    assert readout(page).startswith("It says ")
    slider = page.get_by_label("Move the distillation token")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 8, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, y, steps=5)
    page.mouse.up()
    assert "1.00 at the input" in readout(page)


def test_a_finger_draws_and_moves_the_slider(show):
    page = ready(show(live_tokens(), width=375, touch=True))
    page.get_by_role("button", name="Clear").tap()
    assert readout(page).startswith("Draw something.")
    slider = page.get_by_label("Move the distillation token")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    page.touchscreen.tap(box["x"] + 0.97 * box["width"], box["y"] + box["height"] / 2)
    assert "1.00 at the input" in readout(page) or float(slider.input_value()) > 0.9
    pad = page.locator(".ld-pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert readout(page).startswith("It says ")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_a_link_in_the_text_sets_it(show):
    page = ready(show(live_tokens()))
    add_link(page, "#tokens?part=0.5&swap=yes&block=3&head=4&digit=1").click()
    assert "Block 3, head 4" in readout(page)
    np.testing.assert_allclose(
        answer_percents(page), expected(model(part=0.5, is_swapped=True)), atol=0.6
    )


def test_the_numbers_that_it_computes_need_no_page(javascript):
    result = javascript(
        "live_tokens_math.js",
        """const map = { data: Float32Array.from(arg), queries: 3, keys: 4, grid: [1, 2], extra: ["class", "distillation"] };
           const { class: one, distillation: two, apart } = m.askedBy(map, 1);
           const { weights, size, share } = m.sideBySide({ class: [1, 2, 3, 4], distillation: [5, 6, 7, 8], grid: [2, 2], apart: 0.5 });
           return { one: [...one], two: [...two], apart, cosine: m.cosine([3, 4], [4, 3]), both: [...weights], size, share };""",
        [float(v) / 32 for v in range(24)],
    )
    assert result == dict(
        one=[14 / 32, 15 / 32],
        two=[18 / 32, 19 / 32],
        apart=4 / 32,
        cosine=pytest.approx(0.96),
        both=[1, 2, 5, 6, 3, 4, 7, 8],
        size=[2, 4],
        share=0.5,
    )

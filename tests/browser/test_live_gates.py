"""Turning ConViT's gates and shifts in the browser: every answer is PyTorch's for the weights that
were set."""

import re
from functools import partial

import numpy as np
import pytest
import torch

from hybridlib import pretrained

from . import desk
from .desk import answer_percents, draw, tally
from .page import add_link, pixels, settle, swipe
from .samples import live_gates, pictures

NAME = "convit_nano_digits"


def model():
    return pretrained.load(NAME).model


normalise, expected, right = desk.pytorch(NAME)
ready = partial(desk.ready, explorable=".lg")


def gates(net, value, block=slice(None), head=slice(None)):
    for local in net.local_blocks[block] if isinstance(block, slice) else [net.local_blocks[block]]:
        local.attention.gate_logits.data[head] = value
    return net


def flip(net):
    for block in net.local_blocks:
        block.attention.to_position_scores.weight.data[:, 1:] *= -1
    return net


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_answers_as_pytorch_does(show, theme):
    page = ready(show(live_gates(), theme=theme))
    np.testing.assert_allclose(answer_percents(page), expected(model()), atol=0.6)
    assert tally(page) == right(model())


@pytest.mark.parametrize(
    ("button", "edit"),
    [
        ("All content (s = 0)", lambda net: gates(net, -20.0)),
        ("All position (s = 1)", lambda net: gates(net, 20.0)),
        ("Flip all shifts", flip),
    ],
)
def test_what_the_buttons_set_is_what_pytorch_computes(show, button, edit):
    page = ready(show(live_gates()))
    page.get_by_role("button", name=button).click()
    np.testing.assert_allclose(answer_percents(page), expected(edit(model())), atol=0.6)
    assert tally(page) == right(edit(model()))
    page.get_by_role("button", name="As trained").click()
    np.testing.assert_allclose(answer_percents(page), expected(model()), atol=0.6)
    assert tally(page) == right(model())


def test_one_gate_one_strength_one_shift(show):
    page = ready(show(live_gates()))
    page.get_by_role("radio", name="block 2, head 3").click()
    page.get_by_label("Gate s").fill("0.2")
    page.get_by_label("Strength").fill("0.5")
    net = model()
    scores = net.local_blocks[1].attention.to_position_scores.weight.data
    old = scores[2].clone()
    gates(net, float(np.log(0.2 / 0.8)), 1, 2)
    alpha = 10**0.5
    scores[2] = torch.cat([-torch.ones(1), old[1:] / -old[0]]) * alpha
    np.testing.assert_allclose(answer_percents(page), expected(net), atol=0.6)
    disc = page.get_by_role("button", name=re.compile("^head 3:"))
    disc.focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    settle(page)
    row, column = map(
        float,
        re.search(
            r"head 3: (\S+) down, (\S+) right", disc.get_attribute("aria-label").replace("−", "-")
        ).groups(),
    )
    start = -old[1].item() / (2 * old[0].item())
    assert (
        row == pytest.approx(start + 0.3, abs=0.08)
        and f"{column:.1f}" == f"{-old[2].item() / (2 * old[0].item()):.1f}"
    )
    scores[2] = torch.tensor([-alpha, 2 * alpha * row, 2 * alpha * column])
    np.testing.assert_allclose(answer_percents(page), expected(net), atol=1.6)


def test_this_gate_for_its_block(show):
    page = ready(show(live_gates()))
    page.get_by_role("radio", name="block 1, head 2").click()
    page.get_by_label("Gate s").fill("0.5")
    page.get_by_role("button", name="This gate for its block").click()
    np.testing.assert_allclose(answer_percents(page), expected(gates(model(), 0.0, 0)), atol=0.6)


def test_the_maps_are_pytorchs(show):
    """The brightest patch of each map, for the patch that the keyboard chose."""
    page = ready(show(live_gates()))
    grid = page.locator(".lg-maps [role='application']")
    grid.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    settle(page)
    assert "patch at row 5, column 5" in page.locator(".hx-readout").text_content()
    with torch.no_grad():
        maps = {
            m.kind: m.weights[0, 0, 4 * 8 + 4]
            for m in model().trace(normalise(pictures(1))).maps
            if m.block == 0
        }
    most = max(weights_.max() for weights_ in maps.values())
    for kind, canvas in zip(("content", "position", "gated"), page.locator(".lg-over").all()):
        lightness = pixels(canvas).reshape(64, 4)[:, :3].sum(1)
        assert np.corrcoef(lightness, maps[kind])[0, 1] > 0.85, kind
    assert page.locator(".hx-legend").text_content() == f"0 %{100 * most:.0f} %"


def test_a_mouse_drags_a_head_and_draws(show):
    page = ready(show(live_gates()))
    page.locator(".lg-plane").scroll_into_view_if_needed()
    plane = page.locator(".lg-plane").bounding_box()
    unit = plane["width"] / 7
    start = [page.locator(".lg-disc .lg-dot").nth(3).bounding_box()[k] for k in ("x", "y", "width")]
    x, y = start[0] + start[2] / 2, start[1] + start[2] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + unit, y + 2 * unit, steps=4)
    page.mouse.up()
    settle(page)
    text = page.locator(".hx-readout").text_content()
    row, column = map(
        float,
        re.search(r"looks (\S+) patches down and (\S+) right", text.replace("−", "-")).groups(),
    )
    assert (row, column) == (
        pytest.approx(2.5, abs=0.25),
        pytest.approx(1.5, abs=0.25),
    ) and "head 4" in text
    page.get_by_role("button", name="Clear").click()
    settle(page)
    assert page.locator(".hx-readout").text_content().startswith("Draw something.")
    draw(page)
    assert page.locator(".hx-readout").text_content().startswith("It says ")


def test_a_finger_moves_a_head_without_scrolling(show):
    page = ready(show(live_gates(), width=375, touch=True))
    page.locator(".lg-plane").scroll_into_view_if_needed()
    scroll = page.evaluate("window.scrollY")
    box = page.locator(".lg-disc .lg-dot").first.bounding_box()
    unit = page.locator(".lg-plane").bounding_box()["width"] / 7
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    swipe(page, x, y, -unit)
    text = page.locator(".hx-readout").text_content().replace("−", "-")
    assert "head 1" in text and float(re.search(r"looks (\S+) patches", text)[1]) == pytest.approx(
        -1.55, abs=0.3
    )
    # the readout may need a line more
    assert page.evaluate("window.scrollY") == pytest.approx(scroll, abs=30)


def test_the_keyboard_reaches_every_head(show):
    page = ready(show(live_gates()))
    page.get_by_role("radio", name="block 1, head 1").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    settle(page)
    assert "Block 3, head 2" in page.locator(".hx-readout").text_content()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith(
        "block 3, head 2, gate 0.7"
    )


def test_words_of_the_text_set_it(show):
    page = ready(show(live_gates()))
    add_link(page, "#gates?gate=0.4&block=2&head=1").click()
    settle(page)
    assert "Block 2, head 1: gate 0.40" in page.locator(".hx-readout").text_content()
    np.testing.assert_allclose(
        answer_percents(page), expected(gates(model(), float(np.log(0.4 / 0.6)), 1, 0)), atol=0.6
    )
    add_link(page, "#gates?shifts=flip").click()  # a link starts from the trained weights
    np.testing.assert_allclose(answer_percents(page), expected(flip(model())), atol=0.6)


def test_a_model_that_does_not_come_can_be_asked_for_again(show):
    page = desk.asked_again(show, live_gates(), NAME)
    np.testing.assert_allclose(answer_percents(page), expected(model()), atol=0.6)

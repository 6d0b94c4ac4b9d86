"""A convolution stem in the browser: its maps, its windows and its answers are PyTorch's, also with
channels switched off."""

import copy
import re

import numpy as np
import pytest
import torch
from einops import rearrange

from hybridlib import analysis, pretrained

from . import desk
from .desk import answer_percents, tally
from .page import add_link, settle
from .samples import live_stem, pictures

NAME = "early_conv_nano_digits"
STRIDES = ((3, 2), (3, 1), (3, 2), (1, 1))  # kernel and stride of its four steps

normalise, expected, right = desk.pytorch(NAME)


def model():
    return pretrained.load(NAME).model


def ready(page):
    page.locator(".ls").scroll_into_view_if_needed()
    page.get_by_role("radio", name="1 × 1").wait_for()
    settle(page)
    return page


def without(step, channels):
    """The model with these channels of a step of its stem (from 0) set to zero."""
    net = copy.deepcopy(model())
    last = net.patch_embedding[step]
    own = last[1] if step < 3 else last
    with torch.no_grad():
        own.weight[channels] = 0
        own.bias[channels] = 0
    return net


def readout(page):
    """(step, channel, value) of the readout."""
    text = page.locator(".ls > .hx-readout").text_content().replace("−", "-")
    step, channel, value = re.search(
        r"(Patches|Convolution \d), channel (\d+), row \d+, column \d+: (-?[\d.]+)\.", text
    ).groups()
    return step, int(channel), float(value)


def value(step, channel, cell):
    """What that cell of the step's map is in PyTorch, from 0; step 0 is the ViT's patches."""
    with torch.no_grad():
        if step == 0:
            name = "vit_nano_digits"
            tokens = pretrained.load(name).model.patch_embedding(desk.normalise(name, pictures(1)))
            return rearrange(tokens, "b (h w) d -> b d h w", h=8)[0, channel][cell].item()
        x = normalise(pictures(1))
        for layer in list(model().patch_embedding)[:step]:
            x = layer(x)
        return x[0, channel][cell].item()


def test_it_answers_as_pytorch_does(show):
    page = ready(show(live_stem()))
    np.testing.assert_allclose(answer_percents(page), expected(model()), atol=0.6)
    assert tally(page) == right(model())


@pytest.mark.parametrize("step", range(5))
def test_every_step_shows_what_pytorch_makes(show, step):
    page = ready(show(live_stem()))
    page.get_by_role("radio").nth(step).click()
    grid, channels = page.locator(".ls-maps [role='application']").all()
    channels.focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    grid.focus()
    page.keyboard.press("ArrowDown")
    settle(page)
    name, channel, number = readout(page)
    assert channel == 11 and name == ("Patches" if step == 0 else f"Convolution {step}")
    assert number == pytest.approx(value(step, 10, (4, 3)), abs=0.02)


def test_the_frame_is_what_the_cell_reads(show):
    page = ready(show(live_stem()))
    fields = analysis.receptive_field(STRIDES)[1:]
    for step, field in enumerate(fields, start=1):
        page.get_by_role("radio").nth(step).click()
        settle(page)
        assert (
            f"It reads {field.size} × {field.size} pixels; its neighbour's window starts"
            f" {field.jump} pixels further" in (page.locator(".ls > .hx-readout").text_content())
        )
        box, whole = (
            page.locator(s).bounding_box() for s in (".ls-picture .hx-ring", ".ls-picture canvas")
        )
        unit = whole["width"] / 32
        x = torch.zeros(1, 3, 32, 32, requires_grad=True)
        y = model().train().patch_embedding[0][0](x) if step == 1 else None
        start = 3 * field.jump - (field.size - 1) // 2
        if y is not None:  # the frame of the first layer, by its gradient
            pixels = torch.autograd.grad(y[0, :, 3, 3].sum(), x)[0].abs().sum((0, 1)).nonzero()
            assert (pixels.min().item(), pixels.max().item()) == (start, start + field.size - 1)
        assert round((box["x"] - whole["x"]) / unit) == max(0, start) and round(
            (box["y"] - whole["y"]) / unit
        ) == max(0, start)
        assert round(box["width"] / unit) == field.size + min(0, start)


def test_channels_switched_off_are_zero_in_pytorch_too(show):
    page = ready(show(live_stem()))
    page.get_by_role("button", name="Switch its row off").click()
    net = without(0, list(range(8)))
    np.testing.assert_allclose(answer_percents(page), expected(net), atol=0.6)
    assert tally(page) == right(net)
    assert "8 switched off" in page.locator(".ls > .hx-readout").text_content()
    page.get_by_role("button", name="As trained").click()
    np.testing.assert_allclose(answer_percents(page), expected(model()), atol=0.6)
    page.get_by_role("radio").nth(4).click()
    page.get_by_role("button", name="Switch this channel off").click()
    np.testing.assert_allclose(answer_percents(page), expected(without(3, [0])), atol=0.6)
    assert readout(page)[2] == 0
    page.get_by_role("radio").first.click()
    settle(page)
    assert page.get_by_role("button", name="Switch this channel off").is_disabled()


def test_words_of_the_text_set_it(show):
    page = ready(show(live_stem()))
    add_link(page, "#stem?step=3&channel=5&cell=2,7&off=1,2,3").click()
    settle(page)
    text = page.locator(".ls > .hx-readout").text_content()
    assert "3 switched off. Convolution 2, channel 5, row 2, column 7" in text
    np.testing.assert_allclose(answer_percents(page), expected(without(1, [0, 1, 2])), atol=0.6)


def test_a_finger_and_a_mouse_choose_channels_and_cells(show):
    page = ready(show(live_stem(), width=375, touch=True))
    all_channels = page.locator(".ls-all")
    all_channels.scroll_into_view_if_needed()
    box = all_channels.bounding_box()
    page.touchscreen.tap(box["x"] + 3.5 * box["width"] / 8, box["y"] + 0.5 * box["height"] / 4)
    settle(page)
    assert readout(page)[1] == 4
    page.mouse.move(box["x"] + 0.5 * box["width"] / 8, box["y"] + 0.5 * box["height"] / 4)
    settle(page)
    assert readout(page)[1] == 1
    page.mouse.move(5, 5)
    settle(page)
    assert readout(page)[1] == 4  # what was tapped is kept

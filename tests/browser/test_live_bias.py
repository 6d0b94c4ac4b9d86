"""Editing CoAtNet's biases in the browser: every answer is PyTorch's for the tables that were
set."""

from functools import partial

import numpy as np
import pytest
import torch

from hybridlib import pretrained
from hybridlib.models.coatnet import RelativeAttention

from . import desk
from .desk import answer_percents, tally
from .page import add_link, pixels, settle, swipe
from .samples import live_bias, pictures

NAME = "coatnet_nano_digits"


def model():
    return pretrained.load(NAME).model


normalise, expected, right = desk.pytorch(NAME)
ready = partial(desk.ready, explorable=".lb")


def attentions(net):
    return [part for part in net.modules() if isinstance(part, RelativeAttention)]


def edited_model(change, only=None):
    """The model with change(table) in all heads, or in one: (block, head)."""
    net = model()
    for block, attention in enumerate(attentions(net)):
        table = attention.bias.table.data
        for head in range(len(table)):
            if only in (None, (block, head)):
                table[head] = change(table[head].clone())
    return net


def near(table):
    far = (torch.arange(len(table)) - len(table) // 2).abs() > 1
    table[far], table[:, far] = -1e4, -1e4
    return table


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_answers_as_pytorch_does(show, theme):
    page = ready(show(live_bias(), theme=theme))
    np.testing.assert_allclose(answer_percents(page), expected(model()), atol=0.6)
    assert tally(page) == right(model())


@pytest.mark.parametrize("scope", ["all", "one"])
@pytest.mark.parametrize(
    ("button", "change"),
    [
        ("Zero", torch.zeros_like),
        ("Flip the sign", lambda table: table.flip(0, 1)),
        ("Shift by one", lambda table: table.flatten().roll(1).reshape(table.shape)),
        ("Only 3 × 3", near),
    ],
)
def test_what_the_buttons_set_is_what_pytorch_computes(show, button, change, scope):
    page = ready(show(live_bias()))
    page.locator(".lb select").select_option(scope)
    page.get_by_role("button", name=button).click()
    net = edited_model(change, None if scope == "all" else (1, 0))
    np.testing.assert_allclose(answer_percents(page), expected(net), atol=0.6)
    assert tally(page) == right(net)
    page.get_by_role("button", name="As trained").click()
    np.testing.assert_allclose(answer_percents(page), expected(model()), atol=0.6)


def test_bias_alone_silences_the_queries(show):
    page = ready(show(live_bias()))
    page.get_by_role("button", name="Bias alone").click()
    net = model()
    for attention in attentions(net):
        width = attention.to_qkv.out_features // 3
        attention.to_qkv.weight.data[:width] = 0
        attention.to_qkv.bias.data[:width] = 0
    np.testing.assert_allclose(answer_percents(page), expected(net), atol=0.6)
    assert tally(page) == right(net)
    assert "content 0.0" in page.locator(".hx-readout").text_content()


def with_bias(value, block, head, place):
    net = model()
    attentions(net)[block].bias.table.data[head, place[0], place[1]] = value
    return net


def test_keys_change_one_offset_of_one_head(show):
    page = ready(show(live_bias()))
    page.get_by_role("radio", name="block 1, head 2").click()
    sheet = page.get_by_role("application", name="Table of biases")
    sheet.focus()
    for key in ("ArrowUp", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    for _ in range(6):
        page.keyboard.press("PageUp")
    page.keyboard.press("-")
    settle(page)
    place = (7 + 1, 7 - 2)  # query - key, for the key 1 up and 2 right
    before = float(attentions(model())[0].bias.table.data[1, place[0], place[1]])
    assert sheet.get_attribute("aria-label").startswith("Table of biases. 1 up, 2 right: ")
    np.testing.assert_allclose(
        answer_percents(page), expected(with_bias(before + 5.75, 0, 1, place)), atol=0.6
    )
    page.keyboard.press("Delete")
    np.testing.assert_allclose(answer_percents(page), expected(with_bias(0, 0, 1, place)), atol=0.6)


def test_the_maps_and_the_readout_are_pytorchs(show):
    page = ready(show(live_bias()))
    net = model()
    with torch.no_grad():
        weight = net.trace(normalise(pictures(1))).maps[1].weights[0, 0, 8 * 4 + 4]
        bias = attentions(net)[1].bias((8, 8))[0, 8 * 4 + 4]
    pixel_maps = [pixels(canvas).reshape(64, 4) for canvas in page.locator(".lb-maps canvas").all()]
    assert int(pixel_maps[2][:, :3].sum(1).argmax()) == int(weight.argmax())
    top = int(weight.argmax())
    text = page.locator(".hx-readout").text_content()
    assert f"listens most to row {top // 8 + 1}, column {top % 8 + 1}" in text
    assert float(text.split("bias ")[1].rstrip(".").replace("−", "-")) == pytest.approx(
        float(bias[top]), abs=0.051
    )


def test_the_scores_in_the_page_are_pytorchs(javascript):
    """Content, bias and softmax of one query, for a map that is not square."""
    torch.manual_seed(0)
    attention = RelativeAttention(4, 4, head_dim=2, grid=(2, 3))
    attention.bias.table.data.normal_()
    x = torch.randn(1, 6, 4)
    result = javascript(
        "live_bias_math.js",
        """const net = { parameters: { "a.bias.table": [2, 3, 5], "a.to_qkv.weight": [12, 4] },
             parameter: () => Float32Array.from(arg.table) };
           const [layer] = m.biasLayers(net);
           const made = m.biasedRow(net, layer, Float32Array.from(arg.qkv), 1, [1, 0]);
           return { layer, weights: [...made.weights], places: [[-1, 2], [0, 0]].map((v) => m.offsetOf(layer, m.placeOf(layer, v))) };""",
        {
            "qkv": attention.to_qkv(x).flatten().tolist(),
            "table": attention.bias.table.flatten().tolist(),
        },
    )
    assert result["layer"] == {"name": "a", "heads": 2, "size": [2, 3], "dim": 2} and result[
        "places"
    ] == [[-1, 2], [0, 0]]
    _, weight = attention.trace(x, grid=(2, 3))
    torch.testing.assert_close(torch.tensor(result["weights"]), weight[0, 1, 3])


def test_a_mouse_paints_the_table(show):
    page = ready(show(live_bias()))
    sheet = page.get_by_role("application", name="Table of biases")
    sheet.scroll_into_view_if_needed()
    box = sheet.bounding_box()
    unit = box["width"] / 15
    page.mouse.move(box["x"] + 9.5 * unit, box["y"] + 6.5 * unit)  # 1 up, 2 right
    page.mouse.down()
    page.mouse.move(box["x"] + 10.5 * unit, box["y"] + 6.5 * unit, steps=3)
    page.mouse.up()
    settle(page)
    assert sheet.get_attribute("aria-label") == "Table of biases. 1 up, 3 right: 4.00"
    net = with_bias(4, 1, 0, (8, 5))
    attentions(net)[1].bias.table.data[0, 8, 4] = 4
    np.testing.assert_allclose(answer_percents(page), expected(net), atol=0.6)


def test_a_finger_paints_without_scrolling(show):
    page = ready(show(live_bias(), width=375, touch=True))
    sheet = page.get_by_role("application", name="Table of biases")
    sheet.scroll_into_view_if_needed()
    scroll = page.evaluate("window.scrollY")
    box = sheet.bounding_box()
    x, y = box["x"] + 7.5 * box["width"] / 15, box["y"] + 4.5 * box["width"] / 15
    swipe(page, x, y, -box["width"] / 15, steps=1)
    assert sheet.get_attribute("aria-label") == "Table of biases. 4 up: 4.00"
    assert page.evaluate("window.scrollY") == pytest.approx(scroll, abs=30)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_the_keyboard_reaches_layers_with_more_heads(show):
    page = ready(show(live_bias()))
    page.get_by_role("radio", name="block 2, head 1").focus()
    for key in ("ArrowDown", *["ArrowRight"] * 5):
        page.keyboard.press(key)
    settle(page)
    assert "Block 3, head 6" in page.locator(".hx-readout").text_content()
    tops = page.locator(".ld-heads > span").evaluate_all(
        "(nodes) => nodes.map((n) => n.getBoundingClientRect().left)"
    )
    assert len(tops) == 3 and len(set(tops)) == 1  # each layer begins a line


def test_a_link_in_the_text_sets_it(show):
    page = ready(show(live_bias()))
    add_link(page, "#bias?edit=none&block=1&head=2&offset=-2,0&value=8&query=5,4").click()
    settle(page)
    assert (
        "Block 1, head 2: the cell at row 5, column 4" in page.locator(".hx-readout").text_content()
    )
    np.testing.assert_allclose(
        answer_percents(page), expected(with_bias(8, 0, 1, (9, 7))), atol=0.6
    )

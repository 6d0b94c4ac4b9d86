"""Editing BoTNet's tables in the browser: every answer is PyTorch's for the tables that were
set."""

from functools import partial

import numpy as np
import pytest
import torch

from hybridlib import pretrained
from hybridlib.layers.attention import attention_weights

from . import desk
from .desk import answer_percents, draw, tally
from .page import add_link, pixels, settle, swipe
from .samples import live_tables, pictures

NAME = "botnet_nano_digits"


def model():
    return pretrained.load(NAME).model


normalise, expected, right = desk.pytorch(NAME)
ready = partial(desk.ready, explorable=".lt")


def edited_model(change, blocks=slice(None)):
    net = model()
    for block in net.stages[-1][blocks]:
        for table in (block.spatial.positions.rows, block.spatial.positions.columns):
            table.data = change(table.data)
    return net


def query_of(net, block, head, cell):
    """The scaled query of a cell of the first picture, and the attention it belongs to."""
    with torch.no_grad():
        x = net.trunk(normalise(pictures(1)))
        for earlier in net.stages[-1][:block]:
            x = earlier(x)
        attention = net.stages[-1][block].spatial
        q, k, _, bias = attention.split(net.stages[-1][block].reduce(x))
        place = cell[0] * attention.grid[1] + cell[1]
        return (
            q[0, head, place] * q.shape[-1] ** -0.5,
            attention,
            attention_weights(q, k, bias=bias)[0, head, place],
            bias[0, head, place],
        )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_answers_as_pytorch_does(show, theme):
    page = ready(show(live_tables(), theme=theme))
    np.testing.assert_allclose(answer_percents(page), expected(model()), atol=0.6)
    assert tally(page) == right(model())


@pytest.mark.parametrize("scope", ["all", "one"])
@pytest.mark.parametrize(
    ("button", "change"),
    [
        ("Zero", torch.zeros_like),
        ("Flip the sign", lambda table: table.flip(0)),
        ("Shift by one", lambda table: table.roll(1, dims=0)),
    ],
)
def test_what_the_buttons_set_is_what_pytorch_computes(show, button, change, scope):
    page = ready(show(live_tables()))
    page.locator(".lt select").select_option(scope)
    page.get_by_role("button", name=button).click()
    net = edited_model(change, slice(None) if scope == "all" else slice(1, 2))
    np.testing.assert_allclose(answer_percents(page), expected(net), atol=0.6)
    assert tally(page) == right(net)
    page.get_by_role("button", name="As trained").click()
    np.testing.assert_allclose(answer_percents(page), expected(model()), atol=0.6)


def test_a_shuffle_is_one_and_another_follows(show, javascript):
    page = ready(show(live_tables()))
    orders = javascript(
        "live_tables_math.js",
        "return [0, 1].map((seed) => Object.fromEntries([31, 15].map((n) => [n, m.order(n,"
        " seed)])));",
        None,
    )
    for order in orders:
        assert all(sorted(places) == list(range(int(n))) != places for n, places in order.items())
    assert orders[0] != orders[1]
    page.get_by_role("button", name="Shuffle").click()
    once = edited_model(lambda table: table[orders[0][str(len(table))]])
    np.testing.assert_allclose(answer_percents(page), expected(once), atol=0.6)


def test_a_bar_moved_by_keys_gives_pytorchs_logit_and_answer(show):
    page = ready(show(live_tables()))
    page.get_by_role("radio", name="block 2, head 3").click()
    chart = page.get_by_label("Rows table")
    chart.focus()
    page.keyboard.press("ArrowLeft")  # offset -1: the key one cell above
    for _ in range(8):
        page.keyboard.press("PageUp")
    settle(page)
    net = model()
    query, attention, _, _ = query_of(net, 1, 2, (4, 4))
    row = 7 - 1
    target = (query @ attention.positions.rows[row]).item() + 8
    assert float(chart.get_attribute("aria-valuenow")) == pytest.approx(target, abs=5e-3)
    with torch.no_grad():
        attention.positions.rows[row] += 8 * query / query.square().sum()
    np.testing.assert_allclose(answer_percents(page), expected(net), atol=0.6)
    assert chart.get_attribute("aria-valuetext").startswith("offset −1: ")
    page.keyboard.press("Delete")
    settle(page)
    assert float(chart.get_attribute("aria-valuenow")) == pytest.approx(0, abs=1e-3)


def test_the_window_of_usable_offsets_follows_the_query(show):
    page = ready(show(live_tables()))
    grid = page.locator(".lt-maps [role='application']")
    grid.focus()
    page.keyboard.press("Home")
    page.keyboard.press("PageUp")
    settle(page)
    chart = page.get_by_label("Rows table")
    used_bars = (
        "(n) => [...n.querySelectorAll('.lt-bar')].map((b) => b.classList.contains('lt-used'))"
    )
    # from the first row all keys are at or below it
    assert chart.evaluate(used_bars) == [False] * 7 + [True] * 8
    grid.focus()
    page.keyboard.press("PageDown")
    settle(page)
    assert chart.evaluate(used_bars) == [True] * 8 + [False] * 7


def test_the_maps_are_pytorchs(show):
    page = ready(show(live_tables()))
    _, _, attention, bias = query_of(model(), 1, 0, (4, 4))
    pixel_maps = [pixels(canvas).reshape(64, 4) for canvas in page.locator(".lt-maps canvas").all()]
    assert np.corrcoef(pixel_maps[2][:, :3].sum(1), attention)[0, 1] > 0.85
    strong = bias.abs() > 0.3 * bias.abs().max()
    warm = pixel_maps[1][:, 0] > pixel_maps[1][:, 2]  # orange above zero, blue below
    assert (torch.tensor(warm) == (bias > 0))[strong].all() and strong.sum() > 8
    top = int(attention.argmax())
    assert (
        f"listens most to row {top // 8 + 1}, column {top % 8 + 1}"
        in page.locator(".hx-readout").text_content()
    )
    assert (
        page.locator(".hx-legend").last.text_content() == f"0 %{100 * float(attention.max()):.0f} %"
    )


def test_the_logits_in_the_page_are_pytorchs(javascript):
    """Rows, columns and softmax of one query, for a map that is not square."""
    torch.manual_seed(0)
    qkv, rows, columns = torch.randn(6, 12), torch.randn(3, 2), torch.randn(5, 2)
    result = javascript(
        "live_tables_math.js",
        """const net = { parameters: { "a.positions.rows": [3, 2], "a.positions.columns": [5, 2], "a.to_qkv.weight": [12, 4] },
             parameter: (name) => Float32Array.from(name.endsWith("rows") ? arg.rows : arg.columns) };
           const [layer] = m.tableLayers(net);
           const made = m.logitsOf(net, layer, Float32Array.from(arg.qkv), 1, [1, 0]);
           return { layer, weights: [...made.weights], position: [...made.position] };""",
        {
            "qkv": qkv.flatten().tolist(),
            "rows": rows.flatten().tolist(),
            "columns": columns.flatten().tolist(),
        },
    )
    assert result["layer"] == {"name": "a", "size": [2, 3], "dim": 2, "heads": 2}
    query = qkv[3, 2:4] * 2**-0.5
    position = torch.stack(
        [query @ (rows[r - 1 + 1] + columns[c - 0 + 2]) for r in range(2) for c in range(3)]
    )
    torch.testing.assert_close(torch.tensor(result["position"]), position)
    torch.testing.assert_close(
        torch.tensor(result["weights"]), (qkv[:, 6:8] @ query + position).softmax(0)
    )


def test_a_mouse_paints_a_table_and_draws(show):
    page = ready(show(live_tables()))
    chart = page.get_by_label("Columns table")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    unit = box["width"] / 15
    page.mouse.move(box["x"] + 9.5 * unit, box["y"] + 0.1 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 10.5 * unit, box["y"] + 0.1 * box["height"], steps=4)
    page.mouse.up()
    settle(page)
    value = float(chart.get_attribute("aria-valuenow"))
    assert value > 2 and "offset +3: " in chart.get_attribute("aria-valuetext")
    page.get_by_role("button", name="Clear").click()
    settle(page)
    assert page.locator(".hx-readout").text_content().startswith("Draw something.")
    draw(page)
    assert page.locator(".hx-readout").text_content().startswith("It says ")


def test_a_finger_paints_a_table_without_scrolling(show):
    page = ready(show(live_tables(), width=375, touch=True))
    chart = page.get_by_label("Rows table")
    chart.scroll_into_view_if_needed()
    scroll = page.evaluate("window.scrollY")
    box = chart.bounding_box()
    x, y = box["x"] + 7.5 * box["width"] / 15, box["y"] + 0.5 * box["height"]
    swipe(page, x, y, -0.4 * box["height"])
    assert (
        "offset 0: " in chart.get_attribute("aria-valuetext")
        and float(chart.get_attribute("aria-valuenow")) > 2
    )
    # the readout may need a line more
    assert page.evaluate("window.scrollY") == pytest.approx(scroll, abs=30)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_the_keyboard_reaches_every_head(show):
    page = ready(show(live_tables()))
    page.get_by_role("radio", name="block 2, head 1").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    settle(page)
    assert "Block 3, head 3" in page.locator(".hx-readout").text_content()
    for key in ("ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
    settle(page)
    # the first block attends on 16 x 16 cells
    assert page.get_by_label("Rows table").locator(".lt-bar").count() == 31


def test_a_link_in_the_text_sets_it(show):
    page = ready(show(live_tables()))
    add_link(page, "#tables?edit=flip&in=one&block=3&head=4&query=2,7").click()
    settle(page)
    assert (
        "Block 3, head 4: the cell at row 2, column 7" in page.locator(".hx-readout").text_content()
    )
    np.testing.assert_allclose(
        answer_percents(page),
        expected(edited_model(lambda table: table.flip(0), slice(2, 3))),
        atol=0.6,
    )


def test_a_model_that_does_not_come_can_be_asked_for_again(show):
    page = desk.asked_again(show, live_tables(), NAME)
    np.testing.assert_allclose(answer_percents(page), expected(model()), atol=0.6)

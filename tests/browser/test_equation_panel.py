"""The equation's control panel in a browser: its numbers against float64 NumPy, its keys, its
links."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from hybridlib.widgets import EquationPanel, palette
from hybridlib.widgets import equation_numbers as numbers
from hybridlib.widgets.equation_panel import SIDE
from hybridlib.widgets.equation_systems import KERNELS, SYSTEMS

from .page import settle

CASES = [(system, join) for system, own in SYSTEMS.items() for join in own["joins"]]
BUSY = dict(
    scale=0.8,
    window=5,
    gate=-0.7,
    alpha=0.3,
    spacing=1.25,
    down=2.0,
    right=-1.5,
    strength=1.1,
    reach=2.2,
    tolerance=0.2,
    positions=0.9,
    kernel="slope",
    heads=9,
)


@pytest.mark.parametrize(("system", "join"), CASES)
def test_the_browser_computes_what_numpy_does(javascript, system, join):
    """Scores, maps of every head and the whole output, far from where the knobs start."""
    panel = EquationPanel(system, join=join, **{key: BUSY[key] for key in SYSTEMS[system]["knobs"]})
    picture, state = panel.picture(), panel.state
    queries = [0, 9 * SIDE + 17, SIDE * SIDE - 1]
    body = """const plain = (scores) => scores && [...scores].map((v) => (v === -Infinity ? null : v));
        const made = m.equation(Float64Array.from(arg.pixels), arg.side, arg.system, arg.state, arg.kernels);
        const rows = arg.queries.map(made.at).map(({ content, inside, offsets, maps }) =>
            [plain(content), plain(inside), offsets && offsets.map(plain), maps.map((map) => [...map])]);
        const drawn = made.heads === 1 && (rows[1][1] || rows[1][2]);
        const table = drawn && [0, 1, 2, 3, 4, 5].map((k) => made.byOffset(arg.queries[1], -9, k - 17));
        return { rows, table, output: [...made.fill(new Float64Array(arg.pixels.length), 0, arg.side ** 2)], heads: made.heads };"""
    result = javascript(
        "equation_math.js",
        body,
        dict(
            pixels=picture.ravel().tolist(),
            side=SIDE,
            system=SYSTEMS[system],
            state=state,
            kernels=KERNELS,
            queries=queries,
        ),
    )
    content, offset = numbers.content_scores(picture, state), numbers.offset_scores(picture, state)
    maps = numbers.attention(picture, state)
    assert result["heads"] == len(maps)
    close = lambda ours, theirs: np.testing.assert_allclose(
        np.array(ours, float), theirs, atol=1e-10, rtol=1e-10
    )
    for q, (by_content, inside, by_offset, page_maps) in zip(queries, result["rows"], strict=True):
        assert (by_content is None, by_offset is None) == (content is None, offset is None)
        if content is not None:
            close(by_content, content[q])
        if offset is not None:
            close(by_offset, np.where(np.isfinite(offset[:, q]), offset[:, q], np.nan))
        if inside is not None:
            close(inside, numbers.inside_scores(picture, state)[q])
        close(page_maps, maps[:, q])
    if result["table"]:  # the same by its offset, of the keys in the first row
        scores = numbers.inside_scores(picture, state) if system == "vit" else offset[0]
        close(result["table"], scores[queries[1], :6])
    close(result["output"], numbers.output(picture, state).ravel())


READ_PIXELS = """(n) => [n.height, n.width, ...n.getContext("2d").getImageData(0, 0, n.width, n.height).data]"""


def canvas(page, tile):
    rows, columns, *rgba = page.locator(f".eq-tile-{tile} canvas").first.evaluate(READ_PIXELS)
    return np.reshape(rgba, (rows, columns, 4))[..., :3]


def state(page):
    return page.evaluate("models[0].get('state')")


def words(page):
    settle(page)
    return page.locator(".hx-readout").text_content()


def on(page):
    """The terms of the written equation that are on."""
    terms = page.locator(".eq-line .eq-term:not(.eq-off):not(.eq-off .eq-term)").all_text_contents()
    return terms, page.locator(".eq-told p:visible .eq-term").all_text_contents()


# ------------------------------------------------------------------------------------ what is shown


@pytest.mark.parametrize("system", SYSTEMS)
def test_pictures_and_words_have_pythons_numbers(show, javascript, system):
    panel = EquationPanel(system, picture="temple", query=[9, 6])
    page = show(panel)
    text = words(page)
    picture = panel.picture()
    weights, output = numbers.shown_map(picture, panel.state), numbers.output(picture, panel.state)
    values = re.search(r"Output (−?[\d.]+), where the picture has ([\d.]+)\.", text).groups()
    np.testing.assert_allclose(
        [float(v.replace("−", "-")) for v in values],
        [output[9, 6].mean(), picture[9, 6].mean()],
        atol=0.00051,
    )
    scale = "twoSided" if weights.min() < 0 else "ramp"
    expected = javascript(
        "colours.js",
        f"return arg.map(m.{scale})",
        (weights / np.abs(weights).max()).ravel().tolist(),
    )
    # one step of the scale
    assert np.abs(canvas(page, "map") - np.reshape(expected, (SIDE, SIDE, 3))).max() <= 3
    if weights.min() >= 0:
        row, column, percent = re.search(
            r"Strongest key: row (\d+), column (\d+) with ([\d.]+) %", text
        ).groups()
        assert weights[int(row) - 1, int(column) - 1] == weights.max() and float(
            percent
        ) == pytest.approx(100 * weights.max(), abs=0.051)
        cells, away = map(
            float, re.search(r"over ([\d.]+) cells, ([\d.]+) cells away", text).groups()
        )
        rows, columns = np.indices(weights.shape)
        assert away == pytest.approx((weights * np.hypot(rows - 9, columns - 6)).sum(), abs=0.051)
        assert cells == pytest.approx(np.exp(-(weights * np.log(weights + 1e-300)).sum()), rel=0.01)
        page.wait_for_selector(".eq[data-output=whole]")
        np.testing.assert_allclose(canvas(page, "output"), np.rint(255 * output), atol=1)
    np.testing.assert_allclose(canvas(page, "picture"), np.rint(255 * picture), atol=1)


LIGHTS = {
    "convolution": ["offset"],
    "cordonnier": ["offset"],
    "nonlocal": ["content"],
    "vit": ["content"],
    "bilateral": ["content", "offset"],
    "botnet": ["content", "offset"],
    "coatnet": ["content", "offset"],
    "convit": ["(1 − s)", "content", "s", "offset"],
}


def test_the_equation_lights_the_terms_of_each_system(show):
    page = show(EquationPanel())
    for system, own in SYSTEMS.items():
        page.get_by_role("button", name=own["title"], exact=True).click()
        settle(page)
        assert state(page)["system"] == system and on(page)[0] == LIGHTS[system]
        assert on(page)[1] == [
            term for term in ("content", "offset", "s") if term in LIGHTS[system]
        ]
        assert page.locator(".eq-tile-content .eq-none").is_visible() == (
            "content" not in LIGHTS[system]
        )
        count = len(set(own["knobs"]) - {"gate"}) + (len(own["joins"]) > 1) + (system == "convit")
        assert page.locator(".eq-knobs label:visible").count() == count
        assert page.locator(".eq-heads .eq-head:visible").count() == {
            "convolution": 9,
            "cordonnier": 9,
            "convit": 4,
        }.get(system, 0)
    colours = "(all) => all.map((n) => getComputedStyle(n).backgroundColor)"
    fills = page.locator(".eq-line .eq-content, .eq-line .eq-offset").evaluate_all(colours)
    hex_colours = [
        "#" + "".join(f"{int(v):02x}" for v in re.findall(r"\d+", fill)[:3]) for fill in fills[:2]
    ]
    assert hex_colours == [palette.PARTS["attention"], palette.PARTS["convolution"]]


def test_how_they_meet_can_be_changed(show):
    page = show(EquationPanel("botnet"))
    for join, lights in (
        ("gate", LIGHTS["convit"]),
        ("content", ["content"]),
        ("offset", ["offset"]),
        ("sum", ["content", "offset"]),
    ):
        page.get_by_label("They meet").select_option(join)
        settle(page)
        assert on(page)[0] == lights and state(page)["join"] == join
        assert page.get_by_label("Gate λ").is_visible() == (join == "gate")
    assert state(page) == EquationPanel("botnet").state


def test_a_slider_turns_the_map(show):
    panel = EquationPanel("convit")
    page = show(panel)
    page.get_by_label("Gate λ").fill("-3")
    text = words(page)
    expected = numbers.shown_map(panel.picture(), {**panel.state, "gate": -3.0})
    assert f"with {100 * expected.max():.1f} %" in text and state(page)["gate"] == -3
    assert "σ(−3) = 0.05" in page.locator(".eq-told").text_content()
    page.get_by_label("Sharpness α").focus()
    before = state(page)["alpha"]
    page.keyboard.press("ArrowRight")
    assert before < state(page)["alpha"] < 1.1 * before
    page.get_by_label(re.compile("^Heads")).select_option("9")
    settle(page)
    assert state(page)["heads"] == 9 and page.locator(".eq-head").count() == 9


def test_one_head_or_all(show):
    panel = EquationPanel("convolution")
    page = show(panel)
    page.get_by_role("button", name="head 1, W −1").click()
    assert "Head 1 of 9. Strongest key: row 11, column 12 with 100.0 %" in words(page)
    page.get_by_role("application", name="Picture").press("PageUp")
    assert "It looks past the border, where there is nothing." in words(page)
    page.get_by_role("button", name="All together").click()
    # the kernel's first row is outside
    assert "Weights from −1.00 to 8.00, sum 3.00." in words(page)


# --------------------------------------------------------------------------------------- driving it


def test_keys_walk_and_are_announced(show):
    page = show(EquationPanel("vit", query=[0, 22]))
    grid = page.get_by_role("application", name="Picture")
    grid.focus()
    for key, place in (
        ("ArrowRight", [0, 23]),
        ("ArrowRight", [0, 23]),
        ("ArrowDown", [1, 23]),
        ("Home", [1, 0]),
        ("PageDown", [23, 0]),
    ):
        page.keyboard.press(key)
        settle(page)
        assert state(page)["query"] == place
    page.wait_for_function(
        "document.querySelector('[role=status]').textContent.includes('Query: row 24, column 1')"
    )


def test_hover_shows_a_cell_and_leaving_gives_back_the_clicked_one(show):
    page = show(EquationPanel("coatnet"))
    box = page.locator(".eq-tile-picture .hx-stack").bounding_box()
    at = lambda row, column: (
        box["x"] + (column + 0.5) * box["width"] / SIDE,
        box["y"] + (row + 0.5) * box["height"] / SIDE,
    )
    page.mouse.click(*at(3, 4))
    assert state(page)["query"] == [3, 4]
    page.mouse.move(*at(20, 10))
    assert "row 21, column 11" in words(page) and state(page)["query"] == [3, 4]
    page.mouse.move(1, 1)
    assert "row 4, column 5" in words(page)


def test_a_finger_picks_the_query_and_moves_the_table(show):
    page = show(EquationPanel("botnet"), width=320, touch=True)
    for tile, fraction, check in (
        ("picture", 0.02, ("query", [0, 0])),
        ("side.eq-tile-offset", 0.99, ("down", 8)),
    ):
        stack = page.locator(f".eq-tile-{tile} .hx-stack")
        stack.scroll_into_view_if_needed()
        box = stack.bounding_box()
        page.touchscreen.tap(
            box["x"] + fraction * box["width"], box["y"] + fraction * box["height"]
        )
        settle(page)
        assert state(page)[check[0]] == check[1]
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_arrow_keys_move_the_tables_centre(show):
    panel = EquationPanel("coatnet")
    page = show(panel)
    table = page.get_by_role("application", name="Table of offsets")
    for key in ("ArrowDown", "ArrowDown", "ArrowLeft"):
        table.press(key)
    settle(page)
    assert (state(page)["down"], state(page)["right"]) == (2, -1)
    assert "2 down, -1 right" in table.get_attribute("aria-label")
    moved_map = numbers.shown_map(panel.picture(), {**panel.state, "down": 2.0, "right": -1.0})
    assert f"with {100 * moved_map.max():.1f} %" in words(page)
    page.get_by_role("button", name="Bilateral filter").click()
    settle(page)
    assert page.locator(".eq-tile-side .eq-fixed").is_visible()


def test_links_in_the_text_set_the_panel_that_they_name(show):
    page = show(EquationPanel("vit"), EquationPanel("vit", name="second"))
    page.evaluate(
        """() => document.querySelector("main").insertAdjacentHTML("beforeend", `
        <a href="#panel?system=convit&gate=-2&query=3,4&head=2">one</a> <a href="#second?positions=0">two</a>
        <a href="#panel?gate=99&query=30,0&system=none&head=9&picture=digit&join=x&kernel=blur&heads=9">three</a>`)"""
    )
    page.get_by_role("link", name="one").click()
    settle(page)
    expected = EquationPanel("convit", gate=-2.0, query=[3, 4], head=2).state
    assert (
        state(page) == expected
        and page.evaluate("models[1].get('state')") == EquationPanel("vit").state
    )
    page.get_by_role("link", name="two").click()
    settle(page)
    assert (
        page.evaluate("models[1].get('state')") == EquationPanel("vit", positions=0.0).state
        and state(page) == expected
    )
    page.get_by_role("link", name="three").click()  # what makes no sense is left out
    settle(page)
    digit = EquationPanel("convit", picture="digit").state
    assert state(page) == {**digit, "gate": -2, "heads": 9}
    assert page.evaluate("location.hash") == "" and page.locator("#panel").evaluate(
        "(n) => n.getBoundingClientRect().top < innerHeight"
    )


def test_python_can_set_the_state(show):
    page = show(EquationPanel("vit"))
    other = EquationPanel("bilateral", picture="edge", reach=5.0)
    page.evaluate("(state) => models[0].set('state', state)", other.state)
    assert "Bilateral filter. Query: row 13, column 10" in words(page)
    assert page.get_by_label("Reach").evaluate("(n) => 10 ** n.value") == pytest.approx(5, rel=0.03)
    assert page.get_by_role("button", name="picture: edge").get_attribute("aria-pressed") == "true"


def test_a_picture_of_the_readers_own(show, tmp_path):
    half = np.zeros((40, 80, 3), np.uint8)
    half[:, 40:] = (250, 100, 50)
    buffer = io.BytesIO()
    Image.fromarray(half).save(buffer, format="PNG")
    page = show(EquationPanel("nonlocal", query=[5, 20]))
    choose = page.locator("input[type=file]")
    choose.set_input_files(
        {"name": "mine.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
    )
    page.wait_for_function("document.body.textContent.includes('It has not left this browser.')")
    settle(page)
    picture = canvas(page, "picture")
    assert (picture[:, :11] == 0).all() and (np.abs(picture[:, 13:] - [250, 100, 50]) <= 3).all()
    assert (canvas(page, "map")[:, :11].sum(-1) < canvas(page, "map")[5, 20].sum()).all()
    choose.set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"words"})
    page.wait_for_function(
        "document.body.textContent.includes('notes.txt is not a picture that this browser can"
        " read')"
    )
    page.get_by_role("button", name="picture: digit").click()
    settle(page)
    assert state(page)["picture"] == "digit" and (canvas(page, "picture")[0] == 0).all()

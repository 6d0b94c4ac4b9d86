"""The picture of a network in a browser: its layout, its keys, and the numbers that it shows
against PyTorch's."""

import base64
import json
import re

import numpy as np
import pytest
import torch

from hybridlib import live, pretrained
from hybridlib.widgets import Network, palette
from hybridlib.widgets.network_outline import Cell, outline, shape_words

from .page import settle
from .samples import pictures

NAMES = list(pretrained.shipped("digits"))
every = pytest.mark.parametrize("name", NAMES)


def stored(name):
    graph = json.loads(live.graph_path(name).read_text("utf-8"))
    return (
        [{**module, "shape": module["at"][2]} for module in graph["modules"]],
        graph["flow"],
        graph["input"][2],
    )


def plain(row):
    """A row of the still picture as the browser's: lists and dicts."""

    def strip(items):
        return [
            (
                {"place": item.place, "label": item.label, "sub": item.sub, "kind": item.kind}
                if isinstance(item, Cell)
                else {"join": item.join, "main": strip(item.main), "side": strip(item.side)}
            )
            for item in items
        ]

    return {
        "members": row.members,
        "title": row.title,
        "path": row.path,
        "kind": row.kind,
        "strip": strip(row.strip),
    }


@every
def test_the_browser_draws_the_rows_of_the_still_picture(javascript, name):
    modules, flow, _ = stored(name)
    body = """const bare = (strip) => strip.map(({ place, label, sub, kind, join, main, side }) => join
            ? { join, main: bare(main), side: bare(side) } : { place, label, sub, kind });
        return [m.networkOutline(arg[0], arg[1]).map((row) => ({ ...row, strip: bare(row.strip) })), arg[0].map(m.shapeWords)];"""
    rows, shapes = javascript("network_outline.js", body, [modules, flow])
    assert rows == [plain(row) for row in outline(modules, flow)]
    assert shapes == [shape_words(module) for module in modules]


@every
def test_boxes_keep_inside_the_picture_and_off_each_other(javascript, name):
    """Closed, with all blocks shown, with all parts opened, and with both."""
    modules, flow, size = stored(name)
    body = """const [modules, flow, options] = arg;
        const widths = [236, 330, 430, 1000];
        const lay = (open) => widths.map((width) => m.networkLayout(modules, flow, { ...options, width, open: new Set(open) }));
        const [closed] = lay([]);
        const folds = closed.boxes.filter((box) => box.role === "block" && box.opens).map((box) => box.opens);
        const parts = closed.boxes.filter((box) => box.role === "cell" && box.opens).map((box) => box.opens);
        return [lay([]), lay(folds), lay(parts), lay([...folds, ...parts])].flat();"""
    for layout in javascript("network_math.js", body, [modules, flow, {"input": size}]):
        width = layout["width"]
        cells = [box for box in layout["boxes"] if box["role"] == "cell"]
        for box in layout["boxes"]:
            assert (
                box["x"] >= 0
                and box["x"] + box["w"] <= width
                and box["y"] + box["h"] <= layout["height"]
            ), box["key"]
        for i, one in enumerate(cells):
            for other in cells[i + 1 :]:
                apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
                assert (
                    apart
                    or one["y"] + one["h"] <= other["y"]
                    or other["y"] + other["h"] <= one["y"]
                ), (one, other)
        assert len({box["key"] for box in layout["boxes"]}) == len(layout["boxes"])


@every
def test_opened_folds_show_every_block_and_keys_reach_every_box(javascript, name):
    modules, flow, size = stored(name)
    body = """const options = { width: 430, input: arg[2] };
        const closed = m.networkLayout(arg[0], arg[1], options).boxes;
        const open = new Set(closed.filter((box) => box.role === "block" && box.opens).map((box) => box.opens));
        const boxes = m.networkLayout(arg[0], arg[1], { ...options, open }).boxes;
        const walk = (key, at, end) => { const seen = [at]; while (seen.length < 500) { const next = m.stepTo(boxes, seen.at(-1), key);
            if (next === seen.at(-1)) break; seen.push(next); } return seen; };
        return [closed, boxes, walk("ArrowRight", 0), walk("ArrowDown", 0), m.stepTo(boxes, 3, "Home"), m.stepTo(boxes, 3, "End"),
            m.stepTo(boxes, 3, "x"), walk("ArrowUp", boxes.length - 1)];"""
    closed, boxes, right, down, home, end, other, up = javascript(
        "network_math.js", body, [modules, flow, size]
    )
    blocks = [box for box in boxes if box["role"] == "block"]
    assert [len(box["members"]) for box in blocks] == [1] * len(blocks)
    assert [box["place"] for box in blocks] == [
        member for row in outline(modules, flow) for member in row.members
    ]
    shown = lambda found: sorted(
        member for box in found if box["role"] == "cell" for member in box["members"]
    )
    assert shown(boxes) == shown(closed)
    assert right == list(range(len(boxes)))
    rows = sorted({box["y"] for box in boxes})
    assert [boxes[at]["y"] for at in down] == rows and [boxes[at]["y"] for at in up] == rows[::-1]
    assert (home, end, other) == (0, len(boxes) - 1, -1)


def test_the_colours_are_those_of_the_still_pictures(javascript):
    colours = javascript(
        "colours.js",
        "return Object.entries(m.PARTS).map(([kind, rgb]) => [kind, m.css(rgb), m.inkOn(rgb)])",
    )
    told = {kind: (re.findall(r"\d+", rgb), ink) for kind, rgb, ink in colours}
    assert {
        kind: "#" + "".join(f"{int(v):02x}" for v in rgb) for kind, (rgb, _) in told.items()
    } == palette.PARTS
    assert {kind: ink + ink[1:] for kind, (_, ink) in told.items()} == {
        kind: palette.colour_of(kind)[1] for kind in palette.PARTS
    }


# ------------------------------------------------------------------------ numbers against PyTorch's


def computed(name, picture):
    """What every module makes of the picture: all calls, by name, in PyTorch's own `trace` or
    forward pass."""
    told, model, made = pretrained.header(name), pretrained.load(name).model, {}
    mean, std = (
        torch.tensor([float(v) for v in told[key].split()]).view(3, 1, 1) for key in ("mean", "std")
    )

    def note(key, out):
        if isinstance(out, torch.Tensor):
            made.setdefault(key, []).append(out.clone())  # ReLU writes over its input

    for key, part in model.named_modules():
        if key:
            part.register_forward_hook(lambda _, a, out, key=key: note(key, out))
    image = torch.from_numpy(picture).permute(2, 0, 1) / 255
    with torch.no_grad():
        logits = model(((image - mean) / std)[None])
    return made, logits[0]


def numbers_in(text):
    return [float(word.replace("−", "-")) for word in re.findall(r"[-−]?\d+\.\d+", text)]


@every
def test_the_numbers_shown_are_pytorchs(show, name):
    """Every box of the closed picture, walked by the arrow keys, where the forward pass computes as
    much: of the last block of a transformer it computes only what the head reads."""
    page = show(Network(name, pictures=pictures(2)))
    made, logits = computed(name, pictures(2)[0])
    grid = page.get_by_role("application")
    grid.focus()
    page.wait_for_selector(".hx-network-here canvas")
    sizes = {module["name"]: np.prod(module["shape"]) for module in stored(name)[0]}
    checked = set()
    for _ in range(100):
        key, *_ = page.locator(".hx-network-here .hx-note").first.text_content().split(" · ")
        if key in made and len(made[key]) == 1 and made[key][0].numel() == sizes[key]:
            values = made[key][0]
            expected = [values.min().item(), values.mean().item(), values.max().item()]
            np.testing.assert_allclose(
                numbers_in(page.locator(".hx-readout").text_content()), expected, atol=0.00501
            )
            checked.add(key)
        before = grid.get_attribute("aria-label")
        grid.press("ArrowRight")
        if grid.get_attribute("aria-label") == before:
            break
    assert len(checked) >= 7
    shown = page.locator(".hx-logits li > span:last-child").all_text_contents()
    last = made["second_head"][0][0] if name.startswith("deit") else logits
    np.testing.assert_allclose([numbers_in(text)[0] for text in shown], last, atol=0.00501)


@every
def test_what_a_box_reads_is_pytorchs_to_one_in_ten_thousand(javascript, name):
    """The same numbers unrounded, read as the picture reads them."""
    made, _ = computed(name, pictures(1)[0])
    body = """const text = (array) => { const bytes = new Uint8Array(Float32Array.from(array).buffer);
            let text = ""; for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192)); return btoa(text); };
        return m.load(arg[0]).then((net) => net.run(m.normalised(new Uint8Array(arg[1]), net.metadata, net.input))
        .modules.map(({ name, read }) => [name, text(read())]));"""
    file = base64.b64encode(live.packed(name)).decode("ascii")
    worst, count = 0.0, 0
    for key, text in javascript("network.js", body, [file, pictures(1)[0].flatten().tolist()]):
        values = np.frombuffer(base64.b64decode(text), "<f4")
        if key in made and len(made[key]) == 1 and made[key][0].numel() == len(values):
            worst = max(worst, np.abs(values - made[key][0].numpy().ravel()).max())
            count += 1
    assert count > 30 and 0 < worst < 1e-4


@pytest.mark.parametrize(
    "shape, kind, expected",
    [
        ([1, 8, 16, 16], "convolution", ("tiles", 8, 8, 16, 16)),
        ([1, 128, 8, 8], "block", ("tiles", 128, 16, 8, 8)),
        ([4, 64, 64], "position", ("tiles", 4, 4, 64, 64)),
        ([1, 65, 64], "norm", ("matrix", 1, 1, 65, 64)),
        ([1, 64], "norm", ("matrix", 1, 1, 1, 64)),
        ([1, 10], "head", ("bars", 1, 1, 1, 10)),
    ],
)
def test_how_numbers_are_shown(javascript, shape, kind, expected):
    got = javascript("network_numbers.js", "return m.wayToShow(arg[0], arg[1])", [shape, kind])
    assert (got["way"], got["count"], got["shown"], got["rows"], got["columns"]) == expected


def test_tiles_and_matrix_have_the_colours_of_their_numbers(show, javascript):
    page = show(Network("ceit_nano_digits", pictures=pictures(1)))
    made, _ = computed("ceit_nano_digits", pictures(1)[0])
    grid = page.get_by_role("application")
    grid.focus()
    page.wait_for_selector(".hx-network-here canvas")
    read = """(n) => [n.height, n.width, ...n.getContext("2d").getImageData(0, 0, n.width, n.height).data]"""
    grid.press("ArrowRight")  # the first convolution
    values = made["patch_embedding.conv"][0][0].numpy()
    canvases = page.locator(".hx-tiles canvas")
    assert canvases.count() == 16
    top = np.abs(values).max()
    for channel in (0, 15):
        rows, columns, *rgba = canvases.nth(channel).evaluate(read)
        assert (rows, columns) == (16, 16)
        expected = javascript(
            "colours.js",
            "return arg.map((v) => m.twoSided(v))",
            (values[channel] / top).ravel().tolist(),
        )
        # one step of the scale
        assert np.abs(np.reshape(rgba, (-1, 4))[:, :3] - np.array(expected)).max() <= 3
    for _ in range(4):
        grid.press("ArrowRight")
    assert page.locator(".hx-network-here .hx-note").first.text_content().startswith("positions · ")
    assert page.locator("canvas.hx-matrix").evaluate(read)[:2] == [65, 64]


# --------------------------------------------------------------------------------------- driving it


def here(page):
    return page.locator(".hx-network-here .hx-title").text_content()


def test_nothing_is_fetched_before_first_use(show):
    page = show(Network("vit_nano_digits"))
    settle(page)
    assert (
        page.evaluate("window.asked") == [] and page.locator(".hx-network-here canvas").count() == 0
    )
    assert (
        here(page) == "patches" and "32×32×3" in page.locator("svg .hx-shape").first.text_content()
    )
    page.get_by_role("application").hover()
    page.wait_for_selector(".hx-network-here canvas")
    assert page.evaluate("window.asked") == ["vit_nano_digits"]


def test_a_model_that_does_not_come_is_said_in_words(show):
    page = show(Network("vit_nano_digits"))
    page.evaluate("delete models[0].files['vit_nano_digits']")
    page.get_by_role("button", name="picture 1").click()
    page.wait_for_function("document.body.textContent.includes('None here.')")
    page.get_by_role("application").press("ArrowRight")
    assert here(page) == "tokens, + class"  # the picture works without numbers


def test_keys_open_and_close_blocks_and_parts(show):
    page = show(Network("vit_nano_digits"))
    grid = page.get_by_role("application")
    for _ in range(3):
        grid.press("ArrowRight")
    assert here(page) == "Transformer block"
    assert page.locator(".hx-block-title").all_text_contents() == ["Transformer block × 4"]
    assert "Enter opens it" in grid.get_attribute("aria-label")
    grid.press("Enter")
    assert page.locator(".hx-block-title").all_text_contents() == ["Transformer block"] * 4
    grid.press("Enter")
    assert page.locator(".hx-block-title").count() == 1
    grid.press("ArrowRight")
    grid.press("ArrowRight")
    assert here(page) == "attention, 4 heads"
    grid.press(" ")
    assert page.locator(".hx-inner-frame").count() == 1
    words = page.locator("svg text").all_text_contents()
    assert words.count("linear") == 2 and "to qkv" in words
    grid.press("End")
    assert here(page) == "head, 10 classes"
    grid.press("Home")
    assert here(page) == "patches"


def test_which_of_equal_blocks_is_shown(show):
    page = show(Network("vit_nano_digits", pictures=pictures(1)))
    made, _ = computed("vit_nano_digits", pictures(1)[0])
    grid = page.get_by_role("application")
    for _ in range(5):
        grid.press("ArrowRight")
    page.wait_for_selector(".hx-network-here canvas")
    for block in (0, 2, 1):
        page.get_by_label("Which").select_option(str(block))
        assert (
            f"blocks.{block}.attention"
            in page.locator(".hx-network-here .hx-note").first.text_content()
        )
        values = made[f"blocks.{block}.attention"][0]
        expected = [values.min().item(), values.mean().item(), values.max().item()]
        np.testing.assert_allclose(
            numbers_in(page.locator(".hx-readout").text_content()), expected, atol=0.00501
        )
    grid.press("Enter")  # opened, its parts are those of the block that stands first


def test_a_finger_picks_a_box_and_a_button_opens_it(show):
    page = show(Network("botnet_nano_digits"), width=320, touch=True)
    page.get_by_text("Stage 3 · Bottleneck transformer × 3").scroll_into_view_if_needed()
    box = page.get_by_text("Stage 3 · Bottleneck transformer × 3").bounding_box()
    page.touchscreen.tap(box["x"] + 5, box["y"] + 5)
    assert here(page) == "Stage 3 · Bottleneck transformer"
    page.get_by_role("button", name="Show all 3").tap()
    assert page.get_by_text("Stage 3 · Bottleneck transformer").count() >= 4
    page.get_by_role("button", name="Close").tap()
    assert page.get_by_text("Stage 3 · Bottleneck transformer × 3").count() == 1


def test_the_mouse_gives_back_the_box_last_clicked(show):
    page = show(Network("vit_nano_digits"))
    page.get_by_text("feed-forward", exact=True).last.click()
    assert here(page) == "feed-forward, MLP"
    page.get_by_text("positions", exact=True).hover()
    assert here(page) == "positions"
    page.mouse.move(5, 5)
    assert here(page) == "feed-forward, MLP"


def test_what_is_new_stands_out(show):
    page = show(Network("botnet_nano_digits", new=["stages.2"]))
    fills = (
        "() => [...document.querySelectorAll('svg rect')].map((n) => n.style.fill).filter(Boolean)"
    )
    blue, orange = "rgb(71, 148, 215)", "rgb(237, 148, 15)"
    new = page.evaluate(fills)
    # two blocks with their bands: 2 x 1x1, 2 x 1x1, and the shortcut
    assert new.count(orange) == 4 and new.count(blue) == 5
    page.evaluate("models[0].set('new', [])")
    everything = page.evaluate(fills)
    assert everything.count(orange) == 4 and everything.count(blue) > 20
    page.evaluate("models[0].set('new', ['BottleneckAttention'])")
    assert set(page.evaluate(fills)) == {orange}


def test_what_is_in_something_new_is_new_when_it_is_opened(show):
    page = show(Network("ceit_nano_digits", new=["LeFF"]))
    colours = "() => [...document.querySelectorAll('rect.hx-part')].map((n) => n.style.fill)"
    assert page.evaluate(colours) == ["rgb(95, 197, 148)"]
    page.get_by_text("LeFF", exact=True).dblclick()
    opened = page.evaluate(colours)
    # its convolutions and norms
    assert opened.count("rgb(71, 148, 215)") == 3 and opened.count("rgb(195, 192, 229)") == 3


def test_a_legend_says_what_colour_and_grey_mean(show):
    told = lambda: page.locator(".hx-key li").all_text_contents()
    page = show(Network("botnet_nano_digits", known=["convnet_nano_digits"]))
    assert told() == ["New:", "attention", "pooling", "other parts", "known from ConvNet"]
    fills = (
        "() => [...new Set([...document.querySelectorAll('rect.hx-part')].map((n) =>"
        " n.style.fill))].sort()"
    )
    assert page.evaluate(fills) == ["rgb(237, 148, 15)", "rgb(245, 215, 86)"]
    swatches = page.locator(".hx-key .hx-swatch").evaluate_all(
        "(all) => all.map((n) => getComputedStyle(n).backgroundColor)"
    )
    assert swatches[:2] == ["rgb(237, 148, 15)", "rgb(245, 215, 86)"]
    known = page.locator("rect.hx-plain").first.evaluate("(n) => getComputedStyle(n).fill")
    assert swatches[-1] == known
    about = page.locator(".hx-network-here .hx-note").first
    grid = page.get_by_role("application")
    seen = []
    for _ in range(40):
        seen.append((here(page), about.text_content().split(" · ")[-1]))
        grid.press("ArrowRight")
    assert {age for title, age in seen if title == "attention, bottleneck"} == {"new"} and (
        "conv 1×1",
        "known before",
    ) in seen
    assert ("Stage 1 · Bottleneck", "known before") in seen and (
        "Stage 3 · Bottleneck transformer",
        "with new parts",
    ) in seen
    assert ", new." in show_label(page, "attention, bottleneck")
    page = show(Network("ceit_nano_digits", new=["LeFF"]))
    assert told()[-1] == "known before" and "feed-forward" in told()
    page = show(Network("ceit_nano_digits"))
    assert told() == list(palette.PARTS) and page.locator(".hx-new").count() == 0


def show_label(page, title):
    """What a screen reader hears of the first box of that title, found by the arrow keys."""
    grid = page.get_by_role("application")
    grid.press("Home")
    while here(page) != title:
        grid.press("ArrowRight")
    return grid.get_attribute("aria-label")


def test_what_is_new_and_has_no_colour_has_a_thick_edge(show):
    page = show(Network("deit_nano_digits", known=["vit_nano_digits"]))
    thick = page.locator("g:has(> rect.hx-new)")
    assert thick.count() == 1 and "second" in thick.text_content()
    assert page.locator("rect.hx-part").count() == 1  # the tokens


def test_another_picture_gives_other_numbers(show):
    page = show(Network("convnet_nano_digits", pictures=pictures(2)))
    page.get_by_role("button", name="picture 2").click()
    page.wait_for_selector(".hx-network-here canvas")
    page.get_by_role("application").press("End")
    for picture in (1, 0):
        page.evaluate(f"models[0].set('picture', {picture})")
        _, logits = computed("convnet_nano_digits", pictures(2)[picture])
        shown = page.locator(".hx-logits li > span:last-child").all_text_contents()
        np.testing.assert_allclose([numbers_in(text)[0] for text in shown], logits, atol=0.00501)
        assert (
            page.get_by_role("button", name=f"picture {picture + 1}").get_attribute("aria-pressed")
            == "true"
        )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_in_the_picture_stand_out_from_what_is_behind_them(show, theme):
    """axe does not look into SVG."""
    page = show(Network("ceit_nano_digits", new=["LeFF"]), theme=theme)
    found = page.evaluate(
        """() => { const rgb = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
        const light = (c) => { const [r, g, b] = rgb(c).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        return [...document.querySelectorAll(".hx-network-map text")].map((text) => {
            const box = text.getBoundingClientRect();
            const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
            const behind = [...document.querySelectorAll(".hx-network-map rect:not(.hx-pointed)")].filter((rect) => {
                const b = rect.getBoundingClientRect(); return x > b.left && x < b.right && y > b.top && y < b.bottom; }).at(-1);
            const back = behind ? getComputedStyle(behind).fill : getComputedStyle(document.body).backgroundColor;
            const [one, two] = [light(getComputedStyle(text).fill), light(back)].sort((a, b) => b - a);
            return [text.textContent, (one + 0.05) / (two + 0.05)]; }); }"""
    )
    assert len(found) > 30
    assert [item for item in found if item[1] < 4.5] == []


def test_words_fit_their_boxes(show):
    """As the browser draws them, at the width of a phone and of the book, everything opened."""
    for width in (320, 1024):
        page = show(Network("coatnet_nano_digits"), width=width)
        for _ in range(40):
            page.get_by_role("application").press("Enter")
            page.get_by_role("application").press("ArrowRight")
        wide = page.evaluate(
            """() => [...document.querySelectorAll(".hx-network-map g")].filter((g) => g.querySelector(".hx-part, .hx-plain"))
            .flatMap((g) => { const box = g.querySelector("rect").getBBox();
                return [...g.querySelectorAll("text")].map((t) => [t.textContent, t.getBBox().width, box.width]); })
            .filter(([, words, room]) => words > room - 2)"""
        )
        assert wide == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width

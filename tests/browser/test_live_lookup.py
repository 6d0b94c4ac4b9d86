"""The look-up in the browser: its pictures are the library's, its answers and maps PyTorch's."""

import re

import numpy as np
import pytest
import torch

from hybridlib import live, pretrained
from hybridlib.data.digits import split_originals
from hybridlib.data.lookup import LookupScenes, draw_scenes, paint
from hybridlib.data.tiles import COLOURS, RGB, corners_of

from .page import add_link, pixels, serious, settle, swipe
from .samples import live_lookup

START = dict(digits=[0, 1, 2], colours=[0, 2, 3], cells=[1, 7, 12, 10], asked=0)
FILE = "live_lookup_math.js"


def picture_of(scene):
    """What the library draws, `1 32 32 3`, of a scene of the explorable's digits."""
    cells = np.array([scene["cells"]])
    digits, labels = live.lookup_digits(2)
    pixels, classes, for_test = split_originals()
    ink = (pixels / (255 / 16)).round().astype(np.uint8)
    originals = [
        next(
            i
            for i in np.flatnonzero(for_test & (classes == labels[digit]))
            if (ink[i] == digits[digit]).all()
        )
        for digit in scene["digits"]
    ]
    colours = scene["colours"]
    scenes = LookupScenes(
        originals=np.array([originals]),
        classes=classes[[originals]],
        cells=cells,
        corners=corners_of(cells, np.zeros((1, 10)), canvas=32, tile=8, jitter=0),
        colours=np.array([[*colours, colours[scene["asked"]]]]),
    )
    return paint(scenes)


@torch.no_grad()
def pytorch(name, scene):
    """The trace of the shipped model on a scene."""
    loaded = pretrained.load(f"{name}_nano_lookup")
    images = torch.from_numpy(picture_of(scene)).permute(0, 3, 1, 2)
    return loaded.model.trace(loaded.preparation.normalise(images))


def ready(page):
    page.locator(".lu").scroll_into_view_if_needed()
    page.wait_for_function("() => !document.querySelector('.lu-table').textContent.includes('…')")
    settle(page)
    return page


def readout(page):
    settle(page)
    return page.locator(".lu .hx-readout").text_content()


def shown(page):
    settle(page)
    return pixels(page.locator(".lu-board canvas"))[..., :3].astype(np.uint8)


def table(page):
    settle(page)
    rows = page.locator(".lu-table tbody tr").all()
    return [row.locator("th, td").all_text_contents() for row in rows]


def shares(page, card):
    settle(page)
    texts = page.locator(".lu-card").nth(card).locator(".lu-share").all_text_contents()
    return np.array([int(text.removesuffix(" %")) for text in texts]) / 100


def tile(page, what):
    return page.get_by_role("application", name=re.compile(f"^{what}"))


def test_pictures_are_those_of_the_library(javascript):
    scenes = draw_scenes("test", pictures=40, seed=5)
    ink = (split_originals()[0] / (255 / 16)).round().astype(int)
    drawn = javascript(
        FILE,
        """return arg.scenes.map((scene) => [...m.drawScene(scene, arg.inks, arg.palette)]);""",
        dict(
            scenes=[
                dict(digits=[3 * i, 3 * i + 1, 3 * i + 2], colours=c[:3], cells=cells, asked=0)
                for i, (c, cells) in enumerate(zip(scenes.colours.tolist(), scenes.cells.tolist()))
            ],
            inks=ink[scenes.originals.ravel()].reshape(-1, 64).tolist(),
            palette=RGB.tolist(),
        ),
    )
    expected = paint(scenes).transpose(0, 3, 1, 2).reshape(40, -1)
    np.testing.assert_array_equal(np.array(drawn), expected)


def test_scenes_change_as_a_reader_changes_them(javascript):
    result = javascript(
        FILE,
        """const scene = { digits: [0, 1, 2], colours: [0, 2, 3], cells: [1, 7, 12, 10], asked: 0 };
           let seed = 1;
           const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
           const some = Array.from({ length: 200 }, () => m.anotherScene(arg, 6, random));
           return { free: m.withTileOn(scene, 0, 5).cells, taken: m.withTileOn(scene, 3, 7).cells,
             next: m.exchanged(scene, 0, arg).digits, some };""",
        [7, 1, 7, 1, 4],
    )
    assert result["free"] == [5, 7, 12, 10]
    assert result["taken"] == [1, 10, 12, 7]  # the cue and the second digit changed places
    assert result["next"] == [4, 1, 2]  # 1, 2 and 3 are of classes that are there
    for scene in result["some"]:
        assert len({[7, 1, 7, 1, 4][digit] for digit in scene["digits"]}) == 3
        assert len(set(scene["colours"])) == 3 and set(scene["colours"]) <= set(range(6))
        assert len(set(scene["cells"])) == 4 and set(scene["cells"]) <= set(range(16))
    assert {scene["asked"] for scene in result["some"]} == {0, 1, 2}
    assert {cell for scene in result["some"] for cell in scene["cells"]} == set(range(16))


def test_attention_by_hand(javascript):
    """A grid of 8 x 8 has four patches a tile; one of 4 x 4 has one; two heads are averaged."""
    result = javascript(
        FILE,
        """const map = { data: Float32Array.from(arg), heads: 2, queries: 3, keys: 3, grid: [1, 2], extra: ["class"], kind: "content", block: 0 };
           const none = { grid: [0, 0], kind: "class-over-layers", block: 2 };
           const both = [{ ...map, block: 1 }, { ...map, block: 1, kind: "gated" }];
           return { fine: m.patchesOf(6, [8, 8]), coarse: m.patchesOf(6, [4, 4]),
             one: [...m.givenBy(map, [0])], two: [...m.givenBy(map, [1, 2])],
             mixing: m.mixingMaps([map, ...both, none]).map(({ kind }) => kind) };""",
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18],
    )
    assert result == dict(
        fine=[20, 21, 28, 29],
        coarse=[6],
        one=[6, 7],
        two=[(4 + 7 + 14 + 17) / 4, (5 + 8 + 15 + 18) / 4],
        mixing=["content", "gated"],
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_answers_as_pytorch_does(show, theme):
    page = ready(show(live_lookup(), theme=theme))
    np.testing.assert_array_equal(shown(page), picture_of(START)[0])
    names = list(COLOURS)
    for asked, row in enumerate(table(page)):
        scene = START | dict(asked=asked)
        says = [pytorch(name, scene).logits.argmax().item() for name in ("convnet", "vit")]
        marks = [f"{k} {'✓' if k == asked else '✗'}" for k in says]
        assert row == [names[START["colours"][asked]], str(asked), *marks]
    for card, name in enumerate(("convnet", "vit")):
        expected = pytorch(name, START).logits.softmax(-1)[0].numpy()
        np.testing.assert_allclose(shares(page, card), expected, atol=0.006)
    follows = sum(row[3].endswith("✓") for row in table(page))
    assert f"ViT follows the cue in {follows} of 3." in readout(page)


def test_another_cue_asks_for_another_digit(show):
    page = ready(show(live_lookup()))
    page.get_by_role("radio", name="yellow").click()
    assert "The cue is yellow: the 2 is asked for." in readout(page)
    np.testing.assert_array_equal(shown(page), picture_of(START | dict(asked=2))[0])
    page.keyboard.press("ArrowRight")  # and round to the first
    assert "The cue is red" in readout(page)
    focused = "document.activeElement.textContent"
    assert page.evaluate(focused) == "red"


def test_where_it_looks_is_pytorchs(show):
    page = ready(show(live_lookup()))
    maps = pytorch("vit", START).maps
    card = page.locator(".lu-card").nth(1)
    for who, block, tokens in (("class", 1, [0]), ("asked", 0, [3, 4, 11, 12])):
        page.get_by_label("Who looks").select_option(who)
        page.get_by_label("in block").select_option(str(block + 1))
        settle(page)
        given = maps[block].weights[0][:, tokens, 1:].mean(dim=(0, 1)).numpy()
        overlay = pixels(card.locator(".lu-over"))[..., :3].sum(-1).ravel()
        assert np.corrcoef(overlay, given)[0, 1] > 0.85
        onto = [
            100 * given.reshape(8, 8)[2 * (c // 4) :, 2 * (c % 4) :][:2, :2].sum()
            for c in START["cells"]
        ]
        said = [int(n) for n in re.findall(r"(\d+) %", card.locator(".lu-words").text_content())]
        assert said == pytest.approx([onto[0], (onto[1] + onto[2]) / 2, onto[3]], abs=0.6)


def test_models_without_what_is_asked_say_so(show):
    page = ready(show(live_lookup()))
    words = page.locator(".lu-words")
    assert words.nth(0).text_content() == "It has no attention: it convolves alone."
    page.get_by_label("model 1").select_option("coatnet_nano_lookup")
    ready(page)
    assert "No class token is there" in words.nth(0).text_content()
    page.get_by_label("in block").select_option("4")
    settle(page)
    assert words.nth(0).text_content() == "It attends in 3 blocks only."
    page.get_by_label("Who looks").select_option("cue")
    page.get_by_label("in block").select_option("3")
    settle(page)
    assert "falls on the tile asked for" in words.nth(0).text_content()
    page.get_by_label("model 2").select_option("convit_nano_lookup")
    ready(page)
    expected = pytorch("convit", START).logits.softmax(-1)[0].numpy()
    np.testing.assert_allclose(shares(page, 1), expected, atol=0.006)


def test_a_mouse_drags_a_tile_and_the_cue(show):
    page = ready(show(live_lookup()))
    box = page.locator(".lu-board").bounding_box()

    def to(cell):
        x = box["x"] + (cell % 4 + 0.5) * box["width"] / 4
        page.mouse.move(x, box["y"] + (cell // 4 + 0.5) * box["height"] / 4, steps=5)
        settle(page)

    def drag(start, *cells):
        to(start)
        page.mouse.down()
        for cell in cells:
            to(cell)
        page.mouse.up()
        settle(page)

    drag(1, 3)
    np.testing.assert_array_equal(shown(page), picture_of(START | dict(cells=[3, 7, 12, 10]))[0])
    drag(10, 7, 15)  # over the 1, which stays where it is
    np.testing.assert_array_equal(shown(page), picture_of(START | dict(cells=[3, 7, 12, 15]))[0])


def test_a_finger_drags_a_tile(show):
    page = ready(show(live_lookup(), width=375, touch=True))
    board = page.locator(".lu-board")
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    x, y = box["x"] + 1.5 * box["width"] / 4, box["y"] + 0.5 * box["height"] / 4
    swipe(page, x, y, box["height"] / 2)
    np.testing.assert_array_equal(shown(page), picture_of(START | dict(cells=[9, 7, 12, 10]))[0])
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_by_keyboard_alone(show):
    page = ready(show(live_lookup()))
    tile(page, "a 0 on red").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    scene = START | dict(cells=[6, 7, 12, 10])
    np.testing.assert_array_equal(shown(page), picture_of(scene)[0])
    page.keyboard.press("ArrowRight")  # where the 1 lies: they change places
    scene = scene | dict(cells=[7, 6, 12, 10])
    np.testing.assert_array_equal(shown(page), picture_of(scene)[0])
    page.keyboard.press("Enter")
    scene = scene | dict(digits=[3, 1, 2])
    np.testing.assert_array_equal(shown(page), picture_of(scene)[0])
    assert "the 3 is asked for" in readout(page)
    tile(page, "the cue").focus()
    page.keyboard.press("Enter")
    assert "the 1 is asked for" in readout(page)
    page.get_by_role("button", name="Other digit for the 3").press("Enter")
    settle(page)
    assert tile(page, "a 4 on red").count() == 1
    before = shown(page)
    page.get_by_role("button", name="Another picture").press("Enter")
    assert (shown(page) != before).any()


def test_a_link_in_the_text_sets_it(show):
    page = ready(show(live_lookup()))
    link = "#lookup?a=convit&b=coatnet_nano_lookup&asks=3&looks=asked&block=3"
    add_link(page, link).click()
    ready(page)
    assert "The cue is yellow" in readout(page)
    assert [page.get_by_label(f"model {i}").input_value() for i in (1, 2)] == [
        "convit_nano_lookup",
        "coatnet_nano_lookup",
    ]
    assert page.get_by_label("Who looks").input_value() == "asked"
    assert page.get_by_label("in block").input_value() == "3"


def test_no_accessibility_finding(show):
    page = ready(show(live_lookup(), width=375))
    assert serious(page) == []

"""The first page: its numbers, its map, its front door; and the piece of the workbench in it,
against PyTorch."""

import json
import re

import home
import home_map
import numpy as np
import pytest
import torch
import yaml
from browser.page import pixels
from PIL import Image
from test_site import ROOT, Visit

from hybridlib import pretrained
from hybridlib.models import SIZES

pytestmark = pytest.mark.browser
FIRST_SCREENS = [(1280, 800), (375, 812)]


@pytest.fixture(scope="module")
def front(browser, book):
    """The front door as a file, offline."""
    with Visit(
        browser,
        (book / "index.html").as_uri(),
        viewport={"width": 1280, "height": 800},
        reduced_motion="reduce",
    ) as visit:
        visit.page.locator(".gl-card").first.wait_for()
        yield visit
        # the tests read the canvas, no page does
        assert [error for error in visit.errors if "willReadFrequently" not in error] == []


def chapter_numbers():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    return [
        int(name[:2])
        for part in toc["parts"]
        for c in part["chapters"]
        if (name := c["file"].split("/")[1])[:2].isdigit()
    ]


def test_numbers_are_those_of_the_data(front):
    claims = json.loads((ROOT / "book" / "claims.json").read_text())
    settled_claims = [claim for claim in claims if claim["link"]]
    text = " ".join(front.page.locator("main").inner_text().split())
    count = "all" if len(settled_claims) == len(claims) else len(settled_claims)
    assert f"Of {len(claims)} claims that the papers make, {count} are settled" in text
    assert "{{" not in text
    words = dict(zip(range(10), home.WORDS))
    assert (
        f"{words[len(chapter_numbers())]} of nine chapters are here" in text
        or len(chapter_numbers()) == 9
    )
    assert f"{words[len(set(SIZES) - {'flagship'})]} models equal public ones" in text


@pytest.mark.parametrize("size", FIRST_SCREENS)
def test_the_first_screen_has_promise_buttons_and_something_alive(front, size):
    front.page.set_viewport_size(dict(zip(("width", "height"), size)))
    front.settle()
    front.page.evaluate("scrollTo(0, 0)")
    for selector in (
        ".bd-article h1",
        ".home-words > p",
        ".home-first",
        ".home-button:not(.home-first)",
        ".gl",
    ):
        box = front.page.locator(selector).first.bounding_box()
        assert (
            box["x"] >= 0
            and box["x"] + box["width"] <= size[0]
            and box["y"] >= 0
            and box["y"] + box["height"] <= size[1]
        ), selector
    assert front.page.locator("svg.home-map:visible").count() == 1
    assert front.page.evaluate(
        "[...document.querySelectorAll('a.home-button')].map((n) => n.getAttribute('href'))"
    ) == ["book/01_convolution_vs_attention.html", "book/workbench.html"]


def test_the_map_has_a_link_for_each_chapter_of_the_toc_and_for_no_other(front):
    """Each once in either form; by name, as a screen reader says it."""
    for form in ("wide", "narrow"):
        links = front.page.locator(f".home-map-{form} a")
        addresses = links.evaluate_all("(l) => l.map((n) => n.getAttribute('href'))")
        assert {int(re.search(r"/(\d\d)_", a)[1]) for a in addresses} == set(chapter_numbers())
        names = front.page.locator(f".home-map-{form} .home-name").all_text_contents()
        assert names == [system.name for system in home_map.SYSTEMS] and len(set(names)) == 10
        assert (
            front.page.locator(f".home-map-{form} .home-coming").count()
            == len(names) - links.count()
        )
    drawing = home_map.draw({**home.chapters(), 3: "03_botnet.html", 9: "09_choosing.html"})
    assert drawing.count('href="03_botnet.html"') == drawing.count('href="09_choosing.html"') == 2
    assert {system.chapter for system in home_map.SYSTEMS} == set(range(1, 10))


@pytest.mark.parametrize("form", ["wide", "narrow"])
def test_cards_of_the_map_stand_apart_and_hold_their_words(front, form):
    front.page.set_viewport_size({"width": 1280 if form == "wide" else 320, "height": 800})
    front.settle()
    boxes = front.page.locator(f".home-map-{form} .home-card").evaluate_all(
        "(l) => l.map((n) => n.getBoundingClientRect().toJSON())"
    )
    for i, one in enumerate(boxes):
        for other in boxes[i + 1 :]:
            assert (
                one["right"] <= other["left"]
                or other["right"] <= one["left"]
                or one["bottom"] <= other["top"]
                or other["bottom"] <= one["top"]
            )
    wide = front.page.locator(f".home-map-{form} text:not(.home-side)").evaluate_all(
        "(l) => l.filter((n) => n.getBBox().x + n.getBBox().width > 121).map((n) => n.textContent)"
    )
    assert wide == []


def read_answers(visit):
    """What both models say: (digit, percent)."""
    visit.page.wait_for_function(
        "[...document.querySelectorAll('.gl-share')].every((n) => n.textContent)"
    )
    visit.settle()
    digits = [int(t) for t in visit.page.locator(".gl-digit").all_text_contents()]
    return digits, [
        int(t.removesuffix(" %")) for t in visit.page.locator(".gl-share").all_text_contents()
    ]


def ink(visit):
    return pixels(visit.page.locator(".gl-pad canvas"))[..., 0]


def agrees(visit):
    digits, percents = read_answers(visit)
    for name, digit, percent in zip(home.SYSTEMS, digits, percents):
        preparation = pretrained.find(name).preparation
        mean, std = (np.array(v)[:, None, None] for v in (preparation.mean, preparation.std))
        image = torch.tensor((ink(visit)[None] / 255 - mean) / std, dtype=torch.float32)[None]
        with torch.no_grad():
            probabilities = pretrained.load(name).model.trace(image).logits.softmax(-1)[0]
        assert digit == int(probabilities.argmax()) and percent == pytest.approx(
            100 * probabilities.max().item(), abs=0.51
        ), name


def test_a_pixel_turns_one_of_the_two(front):
    """As the text beside it says. What they say of the first picture comes without any model."""
    assert [url for url in front.requests if "/live/" in url] == []
    agrees(front)
    assert read_answers(front)[0] == [9, 8]
    pad = front.page.locator(".gl-pad")
    before = ink(front)
    pad.press("ArrowDown")
    front.page.wait_for_function("document.querySelectorAll('.gl-digit')[1].textContent === '7'")
    np.testing.assert_array_equal(ink(front), np.roll(before, 1, 0))
    agrees(front)
    assert read_answers(front)[0] == [9, 7]
    front.page.wait_for_function(
        "document.querySelector('.gl [role=status]').textContent.startsWith('Convnet says 9')"
    )
    front.page.get_by_role("button", name="move it up by a pixel").click()
    agrees(front)
    assert read_answers(front)[0] == [9, 8]


def test_a_drawing_is_read_and_taken_to_the_workbench(front):
    front.page.set_viewport_size({"width": 1280, "height": 800})
    front.settle()
    front.page.evaluate("scrollTo(0, 0)")
    box = front.page.locator(".gl-pad").bounding_box()
    x, y, side = box["x"], box["y"], box["width"]
    front.page.mouse.move(x + 0.28 * side, y + 0.2 * side)
    front.page.mouse.down()
    front.page.mouse.move(x + 0.7 * side, y + 0.2 * side, steps=6)
    front.page.mouse.move(x + 0.45 * side, y + 0.85 * side, steps=6)
    front.page.mouse.up()
    front.settle()
    agrees(front)
    assert read_answers(front)[0] == [7, 7]
    drawing = ink(front)
    front.page.get_by_role("link", name="Look inside on the workbench").click()
    front.page.wait_for_function("document.querySelectorAll('.wb-bars .wb-best').length === 2")
    np.testing.assert_array_equal(
        pixels(front.page.locator(".wb-pad canvas:first-child").first)[..., 0], drawing
    )
    assert "/book/workbench.html#bench" in front.page.url
    assert all(url.startswith(("file:", "data:", "blob:")) for url in front.requests)


def test_the_front_door_is_a_page_and_says_what_it_is(book, sample_book):
    text = (book / "index.html").read_text("utf-8")
    assert "http-equiv" not in text.lower() and "<h1>Convolution meets attention" in text
    assert f"<title>{home.TITLE}</title>" in text
    for page in (text, (book / "book" / "02_vit.html").read_text("utf-8")):
        for name in ("og:title", "og:description", "og:type", "og:site_name"):
            assert re.search(rf'<meta property="{name}" content="[^"<]{{4,200}}" />', page), name
        url, branch = home.address.read()
        assert ("og:image" in page) == home.address.is_set(url)
    raw = "https://raw.githubusercontent.com/someone/sample/"
    assert f'<meta property="og:image" content="{raw}{branch}/book/site_assets/card.png" />' in (
        sample_book / "book" / "sample.html"
    ).read_text("utf-8")
    assert Image.open(ROOT / "book" / "site_assets" / "card.png").size == (1200, 630)

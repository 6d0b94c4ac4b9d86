"""What holds for every explorable, all of them on one page: nothing too wide, no accessibility
finding, quiet hovering."""

import json

import pytest

from .page import serious, settle
from .samples import EXPLORABLES


@pytest.fixture
def everything(show):
    """everything(**options): a page with one explorable of each kind."""

    def start(**options):
        page = show(*(make() for make in EXPLORABLES.values()), **options)
        assert page.locator(".hx").count() == len(EXPLORABLES)
        # whose answer brings the rest of the live ViT
        page.get_by_role("button", name="sample 1").click()
        page.locator(".hx-readout", has_text="The model says").wait_for()
        settle(page)
        return page

    return start


@pytest.mark.parametrize("width", [1024, 320])
def test_no_accessibility_finding_and_nothing_wider_than_the_page(everything, width):
    page = everything(width=width)
    for theme in ("light", "dark"):
        page.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        told = serious(page)
        assert told == [], f"{theme}: {json.dumps(told, indent=1)}"


def test_controls_are_big_enough_to_touch(everything):
    page = everything(width=320, touch=True)
    controls = page.locator(".hx").locator("button, select, input:not(.hx-hidden), [tabindex='0']")
    assert controls.count() > 60
    small = controls.evaluate_all(
        """(nodes) => nodes.filter((n) => n.getClientRects().length).map((n) => [n.outerHTML.slice(0, 90), n.getBoundingClientRect()])
        .filter(([, box]) => box.width < 24 || box.height < 24).map(([html, box]) => [html, box.width, box.height])"""
    )
    assert small == []


def test_every_stop_of_the_tab_key_shows_where_it_is(everything):
    page = everything()
    page.locator("h1").click()
    stops = []
    for _ in range(600):
        page.keyboard.press("Tab")
        stop = page.evaluate(
            """() => { const n = document.activeElement; if (!n.closest(".hx")) return null;
            const styles = [n, n.parentElement, ...n.querySelectorAll("*")].map((m) => getComputedStyle(m));
            const shown = styles.some((s) => (s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2)
              || (n.matches("g:focus-visible") && s.stroke !== "none" && parseFloat(s.strokeWidth) > 0));
            return [n.outerHTML.slice(0, 80), shown]; }"""
        )
        if stop is None:
            break
        stops.append(stop)
    assert 60 < len(stops) < 600
    assert [html for html, shown in stops if not shown] == []


def test_arrow_keys_do_not_reach_the_page(everything):
    """The book turns pages and JupyterLab moves between cells on arrow keys; neither may happen,
    nor scrolling."""
    page = everything()
    page.evaluate(
        "window.leaked = []; document.addEventListener('keydown', (e) => window.leaked.push(e.key))"
    )
    grids = page.locator(".hx [role='application']")
    assert grids.count() >= len(EXPLORABLES)
    for grid in grids.all():
        grid.focus()
        settle(page)
        scrolled = page.evaluate("window.scrollY")
        for key in ("ArrowLeft", "ArrowDown", "ArrowUp", "ArrowRight"):
            page.keyboard.press(key)
        settle(page)
        assert page.evaluate("window.scrollY") == pytest.approx(scrolled, abs=30), (
            grid.get_attribute("aria-label")
        )
    assert page.evaluate("window.leaked") == []


def test_hovering_stays_quiet_and_a_key_is_announced(everything):
    page = everything()
    page.wait_for_timeout(700)  # what is said half a second after the start has been said
    spoken = "() => [...document.querySelectorAll('.hx > [role=status]')].map((n) => n.textContent)"
    before = page.evaluate(spoken)
    for group in page.locator(".hx").all():
        box = group.locator("[role='application']").first.bounding_box()
        for share in (0.2, 0.5, 0.8):
            page.mouse.move(box["x"] + share * box["width"], box["y"] + share * box["height"])
    page.wait_for_timeout(700)
    assert page.evaluate(spoken) == before
    for index, group in enumerate(page.locator(".hx").all()):
        group.locator("[role='application']").first.press("ArrowRight")
        page.wait_for_function(f"(old) => ({spoken})()[{index}] !== old", arg=before[index])


def test_two_views_of_a_kind_share_a_page(show):
    page = show(
        *(make() for make in EXPLORABLES.values()), *(make() for make in EXPLORABLES.values())
    )
    page.wait_for_function(
        "document.querySelectorAll('.wb-digit').length === 4 &&"
        " !document.querySelector('.wb-digit:empty')"
    )
    settle(page)
    readouts = page.locator(".hx-readout").all_text_contents()
    half = len(readouts) // 2
    assert half >= len(EXPLORABLES) and readouts[:half] == readouts[half:] and all(readouts)


@pytest.mark.parametrize("width", [1024, 320])
def test_facts_keep_their_places_in_jupyterlab(everything, width):
    """JupyterLab floats names and values side by side; each name must stay above its own value, as
    in the book."""
    boxes = """(all) => all.map((n) => {
        const { x, y, width, height } = n.getBoundingClientRect();
        return { name: n.tagName, text: n.textContent, weight: getComputedStyle(n).fontWeight, x, y, width, height };
    })"""
    facts = "dl.hx-facts :is(dt, dd)"
    alone = everything(width=width).locator(facts).evaluate_all(boxes)
    there = everything(width=width, jupyterlab=True).locator(facts).evaluate_all(boxes)
    assert len(there) == 2 * (4 + 6 + 4) and there == alone
    for name, value in zip(there[::2], there[1::2], strict=True):
        assert (name["name"], value["name"]) == ("DT", "DD") and value["text"]
        assert name["x"] == value["x"] and name["y"] + name["height"] <= value["y"], name["text"]


def test_a_view_that_goes_leaves_no_listener(everything):
    page = everything()
    before, after = page.evaluate(
        """() => [models.map((m) => m.listeners()), (closers.forEach((close) => close?.()), models.map((m) => m.listeners()))]"""
    )
    assert sum(before) > 10 and set(after) == {0}

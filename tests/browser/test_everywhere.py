"""What holds for every explorable: no overflow, no accessibility finding, keys that stay inside, both modes."""

import json

import pytest
from axe_playwright_python.sync_playwright import Axe

from .samples import EXPLORABLES

every = pytest.mark.parametrize("name", EXPLORABLES)
SERIOUS = {"serious", "critical"}


@every
@pytest.mark.parametrize(("width", "theme"), [(1024, "light"), (320, "dark")])
def test_no_accessibility_finding_and_nothing_wider_than_the_page(show, name, width, theme):
    page = show(EXPLORABLES[name](), width=width, theme=theme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    findings = Axe().run(page).response["violations"]
    told = [(f["id"], [n["html"][:120] for n in f["nodes"]]) for f in findings if f["impact"] in SERIOUS]
    assert told == [], json.dumps(told, indent=1)


@every
def test_controls_are_big_enough_to_touch_and_named(show, name):
    page = show(EXPLORABLES[name](), width=320, touch=True)
    controls = page.locator(".hx").locator("button, select, input:not(.hx-hidden), [tabindex='0']")
    assert controls.count() > 3
    small = controls.evaluate_all(
        """(nodes) => nodes.filter((n) => n.getClientRects().length).map((n) => [n.outerHTML.slice(0, 90), n.getBoundingClientRect()])
        .filter(([, box]) => box.width < 24 || box.height < 24).map(([html, box]) => [html, box.width, box.height])"""
    )
    assert small == []


@every
def test_every_stop_of_the_tab_key_shows_where_it_is(show, name):
    page = show(EXPLORABLES[name]())
    page.locator("h1").click()
    stops = []
    for _ in range(60):
        page.keyboard.press("Tab")
        stop = page.evaluate(
            """() => { const n = document.activeElement; if (!n.closest(".hx")) return null;
            const styles = [n, n.parentElement, ...n.querySelectorAll("*")].map((m) => getComputedStyle(m));
            const shown = styles.some((s) => (s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2)
              || (s.stroke !== "none" && parseFloat(s.strokeWidth) > 0 && n.matches("g:focus-visible")));
            return [n.outerHTML.slice(0, 80), shown]; }"""
        )
        if stop is None:
            break
        stops.append(stop)
    assert len(stops) > 3
    assert [html for html, shown in stops if not shown] == []


@every
def test_arrow_keys_do_not_reach_the_page(show, name):
    """The book turns pages and JupyterLab moves between cells on arrow keys."""
    page = show(EXPLORABLES[name]())
    page.evaluate("window.leaked = []; document.addEventListener('keydown', (e) => window.leaked.push(e.key))")
    grids = page.locator(".hx [role='application']")
    assert grids.count() > 0
    for i in range(grids.count()):
        grids.nth(i).focus()
        for key in ("ArrowLeft", "ArrowDown", "Home", "End"):
            page.keyboard.press(key)
    assert page.evaluate("window.leaked") == []
    assert page.evaluate("window.scrollY") == page.evaluate("(document.activeElement.scrollIntoView({block: 'nearest'}), window.scrollY)")


@every
def test_hovering_stays_quiet_and_a_key_is_announced(show, name):
    page = show(EXPLORABLES[name]())
    status = page.locator(".hx [role='status']")
    page.wait_for_timeout(700)
    before = status.text_content()
    grid = page.locator(".hx [role='application']").first
    box = grid.bounding_box()
    for share in (0.2, 0.5, 0.8):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + share * box["height"])
    page.wait_for_timeout(700)
    assert status.text_content() == before
    grid.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("(before) => document.querySelector('[role=status]').textContent !== before", arg=before)


@every
def test_two_views_share_a_page(show, name):
    page = show(EXPLORABLES[name](), EXPLORABLES[name]())
    assert page.locator(".hx").count() == 2
    assert page.locator(".hx-readout").count() >= 2

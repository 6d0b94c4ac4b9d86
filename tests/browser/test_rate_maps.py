"""The ladder of learning rates as the page shows it: means, spreads, counts and curves of the runs
that it was given."""

import re

import numpy as np
import pytest

from hybridlib import studies
from hybridlib.widgets import RateMaps

from .page import add_link, settle
from .samples import rate_maps, rate_runs


def cells(page, index):
    """Texts of the cells of the left (0) or right (1) map, by row and column."""
    texts = page.locator(".rm-field").nth(index).locator(".rm-cell b").all_text_contents()
    return np.array(texts, dtype=float).reshape(2, -1)


def means(stem, data="digits"):
    ends = {}
    for run in rate_runs():
        if (run["stem"], run["data"]) == (stem, data):
            ends.setdefault((run["optimizer"], run["lr"]), []).append(100 * run["accuracy"])
    return np.array([np.mean(v) for v in ends.values()]).reshape(2, -1)


def readout(page):
    settle(page)
    return page.locator(".hx-readout").text_content()


@pytest.mark.parametrize("data", ["digits", "photographs"])
def test_cells_hold_the_means_of_their_runs(show, data):
    page = show(rate_maps())
    page.get_by_label("Pictures").select_option(data)
    settle(page)
    for index, stem in enumerate(("patches", "convolutions")):
        np.testing.assert_allclose(cells(page, index), means(stem, data), atol=0.051)


def test_the_keyboard_walks_both_maps_at_once(show):
    page = show(rate_maps())
    page.locator(".rm [role='application']").focus()
    for key in ("Home", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    text = readout(page)
    assert text.startswith(
        "digits, SGD, rate 0.1. Patches: 46.0 ± 1.4 %; Convolution stem: 86.0 ± 1.4 %."
    )
    rings = [
        page.locator(".rm-field .hx-ring").nth(i).evaluate("(n) => n.style.left + n.style.top")
        for i in (0, 1)
    ]
    assert rings[0] == rings[1] == "33.3333%50%"


def test_a_mouse_shows_and_a_click_keeps(show):
    page = show(rate_maps())
    box = page.locator(".rm-field").nth(1).bounding_box()
    x, y = (box["x"] + box["width"] / 6, box["y"] + 3 * box["height"] / 4)
    page.mouse.move(x, y)
    assert "SGD, rate 0.01" in readout(page)
    page.mouse.move(2, 2)
    assert "AdamW, rate 0.1." in readout(page)
    page.mouse.click(x, y)
    page.mouse.move(2, 2)
    assert "SGD, rate 0.01" in readout(page)


def test_a_finger_chooses_a_cell(show):
    page = show(rate_maps(), width=375, touch=True)
    field = page.locator(".rm-field").first
    field.scroll_into_view_if_needed()
    box = field.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4)
    assert "AdamW, rate 0.01" in readout(page)


def test_curves_are_those_of_the_cell(show):
    page = show(rate_maps())
    assert page.locator(".rm-run").count() == 4 and page.locator(".rm-mean").count() == 2
    loss, accuracy = (
        np.mean(
            [
                run[key][-1][1]
                for run in rate_runs()
                if (run["data"], run["stem"], run["optimizer"], run["lr"])
                == ("digits", "patches", "adamw", 0.1)
            ]
        )
        for key in ("loss", "tests")
    )
    assert f"left map: mean at the end {loss:.2f}" in page.locator(".rm-chart").get_attribute(
        "aria-label"
    )
    page.get_by_label("Curves").select_option("tests")
    settle(page)
    assert f"left map: mean at the end {100 * accuracy:.0f} %" in page.locator(
        ".rm-chart"
    ).get_attribute("aria-label")
    ends = [
        re.findall(r"L([\d.]+) ([\d.]+)", d)[-1]
        for d in page.locator(".rm-mean").evaluate_all("(l) => l.map((n) => n.getAttribute('d'))")
    ]
    # higher accuracy lies higher
    assert ends[0][0] == ends[1][0] == "628.0" and float(ends[1][1]) < float(ends[0][1])


def test_runs_near_the_best_are_counted_as_in_numpy(show):
    records = [
        dict(
            r["settings"],
            data="digits",
            accuracy=r["result"]["test_accuracy"],
            loss=[(1, 2.3), (2, 1.0)],
            tests=[(1, 0.1), (2, 0.2)],
        )
        for r in studies.load("early_conv", data="digits")
    ]
    page = show(
        RateMaps(records, stems={"patches": "P", "convolutions": "C"}, sources={"digits": "digits"})
    )
    for points in (4, 10, 0):
        page.get_by_label("Count runs within").fill(str(points))
        settle(page)
        for index, stem in enumerate(("patches", "convolutions")):
            counts = []
            for optimizer in ("adamw", "sgd"):
                ends = np.array(
                    [
                        r["accuracy"]
                        for r in records
                        if (r["stem"], r["optimizer"]) == (stem, optimizer)
                    ]
                )
                counts.append(int((100 * (ends.max() - ends) <= points + 1e-6).sum()))
            text = page.locator(".rm-maps .hx-note").nth(index).text_content()
            assert text.startswith(
                f"AdamW {counts[0]} of 15, SGD {counts[1]} of 15 runs within {points} points"
            )
            dots = "".join(
                page.locator(".rm-field").nth(index).locator(".rm-dots").all_text_contents()
            )
            assert dots.count("●") == sum(counts) and len(dots) == 30


def test_words_of_the_text_set_it(show):
    page = show(rate_maps())
    add_link(page, "#rates?data=photographs&optimizer=sgd&rate=1&curve=tests&within=7").click()
    assert readout(page).startswith("photographs, SGD, rate 1.")
    assert "within 7 points" in page.locator(".rm-maps .hx-note").first.text_content()
    assert (
        page.get_by_label("Curves").input_value() == "tests"
        and page.get_by_label("Pictures").input_value() == "photographs"
    )


def test_a_run_that_diverged_is_a_cross_and_ends_its_curve(show):
    runs = rate_runs()
    mine = [r for r in runs if (r["data"], r["stem"], r["lr"]) == ("digits", "patches", 0.1)]
    lost = next(run for run in mine if run["optimizer"] == "adamw")
    lost |= dict(diverged=True, accuracy=0.1, loss=lost["loss"][:1] + [(7, 9.0)], tests=[(7, 0.1)])
    stems = {"patches": "Patches", "convolutions": "Convolution stem"}
    page = show(RateMaps(runs, stems=stems, sources={"digits": "digits"}, within=20))
    cell = page.locator(".rm-field").first.locator(".rm-cell").nth(2)
    dots = cell.locator(".rm-dots").text_content()
    assert dots.count("×") == 1 and len(dots) == sum(run["optimizer"] == "adamw" for run in mine)
    page.locator(".rm [role='application']").focus()
    for key in ("Home", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert (
        f"Patches: {100 * np.mean([r['accuracy'] for r in mine if r['optimizer'] == 'adamw']):.1f}"
        in readout(page)
    )
    assert f", 1 of {len(dots)} diverged; Convolution stem" in readout(page)
    assert "diverged" not in readout(page).partition("; Convolution")[2]
    page.get_by_label("Curves").select_option("tests")
    settle(page)
    label = page.locator(".rm-chart").get_attribute("aria-label")
    assert label.startswith("left map: diverged at once; right map: mean at the end")

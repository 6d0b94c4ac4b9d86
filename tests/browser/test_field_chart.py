"""All systems as points, and the guide to a choice: driven by mouse, touch, keyboard and links,
against numbers worked out here."""

import numpy as np
import pytest

from hybridlib.widgets import ChoiceGuide

from .page import settle
from .samples import choice_guide, field_chart

MARK = ".fc-mark"
DOTS = "(all) => all.map((n) => [+n.getAttribute('cx'), +n.getAttribute('cy')])"


def readout(page):
    settle(page)
    return page.locator(".hx-readout").text_content()


def dots(page):
    settle(page)
    return np.array(page.locator(".fc-dot").evaluate_all(DOTS))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_points_stand_where_their_numbers_say(show, theme):
    page = show(field_chart(), theme=theme)
    at = dots(page)
    assert page.locator(MARK).all_text_contents() == ["1", "2", "6", "8"]
    np.testing.assert_allclose(at[0], at[1])  # two systems with the same figures
    x, y = at.T
    # 2, 3 and 9 million
    np.testing.assert_allclose((x[2] - x[0]) / (x[3] - x[0]), np.log(1.5) / np.log(4.5), atol=1e-6)
    # downwards
    np.testing.assert_allclose((y[2] - y[0]) / (y[3] - y[0]), (99 - 99.25) / (99 - 61), atol=1e-6)


def test_badges_of_one_place_stand_apart_and_inside(show):
    page = show(field_chart(), width=320)
    badges = np.array(page.locator(".fc-badge").evaluate_all(DOTS))
    gaps = np.linalg.norm(badges[:, None] - badges[None], axis=-1)[np.triu_indices(4, 1)]
    assert gaps.min() > 18
    width, height = page.locator(".fc-plot").evaluate("(n) => [n.clientWidth, n.clientHeight]")
    assert (badges > 0).all() and (badges < (width, height)).all()


def test_few_runs_are_drawn_open_and_spreads_have_bars(show):
    page = show(field_chart())
    assert page.locator(".fc-badge").evaluate_all(
        "(all) => all.map((n) => n.matches('.fc-open'))"
    ) == [False, False, True, False]
    assert page.locator(".fc-bar").count() == 4  # of accuracy; operations have none
    assert "2 runs" in page.locator(".fc-table").text_content()


def test_nobody_beats_those_on_the_line(show):
    """Less work and more accuracy: the two that tie and CeiT; not CoAtNet."""
    page = show(field_chart())
    line = page.locator(".fc-front").get_attribute("points")
    at = dots(page)
    expected = {tuple(np.round(point, 3)) for point in at[:3]}
    assert {
        tuple(np.round(np.array(pair.split(","), float), 3)) for pair in line.split()
    } == expected


def test_keys_walk_along_either_axis(show):
    page = show(field_chart())
    stage = page.get_by_role("application")
    stage.focus()
    page.keyboard.press("End")
    assert readout(page).startswith("CoAtNet. accuracy, %: 61.0 ± 1.0; multiply-adds: 9M.")
    page.keyboard.press("ArrowLeft")
    assert readout(page).startswith(
        "CeiT. accuracy, %: 99.3 ± 0.4 (2 runs); multiply-adds: 3M. No system here beats it on"
        " both."
    )
    page.keyboard.press("ArrowDown")
    assert readout(page).startswith(("ViT", "convnet"))
    page.keyboard.press("Home")
    assert readout(page).startswith("convnet") and "convnet" in stage.get_attribute("aria-label")


def test_a_mouse_reads_what_it_hovers_and_gives_back_what_was_clicked(show):
    page = show(field_chart())
    at = dots(page)
    plot = page.locator(".fc-plot").bounding_box()
    page.mouse.click(plot["x"] + at[2][0], plot["y"] + at[2][1])
    assert readout(page).startswith("CeiT")
    page.mouse.move(plot["x"] + at[3][0], plot["y"] + at[3][1])
    assert readout(page).startswith("CoAtNet")
    page.mouse.move(1, 1)
    assert readout(page).startswith("CeiT")


def test_axes_and_data_change_the_points_and_the_table(show):
    page = show(field_chart(), width=375, touch=True)
    page.get_by_label("To the right").select_option("seconds")
    settle(page)
    assert page.locator(MARK).all_text_contents() == ["1", "2", "8"]  # CeiT has no time
    assert page.evaluate("models[0].get('x')") == "seconds"
    page.get_by_label("Data").select_option("photographs")
    assert readout(page) == "No system has both figures for these data."
    page.get_by_label("To the right").select_option("macs")
    settle(page)
    at, plot = dots(page), page.locator(".fc-plot").bounding_box()
    page.touchscreen.tap(plot["x"] + at[1][0], plot["y"] + at[1][1])
    assert readout(page).startswith("ViT. accuracy, %: 51.0 ± 1.0")
    page.get_by_text("The same as a table").click()
    rows = page.locator(".fc-table tbody tr").all_inner_texts()
    assert [row.split("\t") for row in rows] == [
        ["convnet", "2M", "61.0 ± 1.0"],
        ["ViT", "4M", "51.0 ± 1.0"],
    ]


def test_data_with_neither_figure_bring_their_own_axes(show):
    page = show(field_chart())
    page.get_by_label("To the right").select_option("accuracy")
    page.get_by_label("Data").select_option("clocks")
    assert readout(page) == "CeiT. training, s: 7 (one run); multiply-adds: 3M."
    assert [page.get_by_label(axis).input_value() for axis in ("Upwards", "To the right")] == [
        "seconds",
        "macs",
    ]


def test_python_and_links_set_it(show):
    page = show(field_chart())
    page.evaluate("models[0].set('data', 'photographs')")
    settle(page)
    assert page.locator(MARK).count() == 2
    page.evaluate("location.hash = '#field?data=digits&x=seconds&y=accuracy&point=CoAtNet'")
    page.wait_for_function("document.querySelectorAll('.fc-mark').length === 3")
    assert readout(page).startswith("CoAtNet") and "95 ± 5" in readout(page)


@pytest.mark.parametrize("answers", [[0, 0], [1, 1], [0, 2]])
def test_the_guide_adds_up_as_python_does(show, answers):
    guide: ChoiceGuide = choice_guide()
    guide.answers = answers
    page = show(choice_guide())
    for select, answer in zip(page.locator(".cg select").all(), answers, strict=True):
        select.select_option(str(answer))
    settle(page)
    names, points = (page.locator(f".cg-{part}").all_text_contents() for part in ("name", "points"))
    assert (
        list(zip(names, (int(p.replace("−", "-")) for p in points), strict=True)) == guide.ranking()
    )
    assert readout(page).startswith(f"{guide.ranking()[0][0]}: ")


def test_the_guide_gives_the_reasons_of_the_system_in_hand(show):
    page = show(choice_guide())
    page.evaluate("location.hash = '#guide?1=1&2=2'")
    page.get_by_role("application").focus()
    page.keyboard.press("End")
    page.keyboard.press("PageDown")
    assert readout(page) == "ViT: −3. Behind convnet."
    assert page.locator(".cg-reasons li").all_inner_texts() == [
        "−1 large: so ViT. measured",
        "−2 few: so ViT. measured",
    ]
    box = page.locator(".cg-row", has_text="CeiT").bounding_box()
    page.mouse.click(box["x"] + 40, box["y"] + 10)
    assert (
        readout(page).startswith("CeiT: 0.")
        and "Nothing that we measured" in page.locator(".cg-reasons").text_content()
    )

"""A CoAtNet built letter by letter: what the page counts is what PyTorch counts."""

import itertools

import pytest
import torch

from hybridlib import analysis
from hybridlib.models.coatnet import SIZES, CoAtNet

from .page import add_link, settle
from .samples import ON_PATCHES, PLAN, WIDE, layout_builder

LAYOUTS = ["".join(letters) for letters in itertools.product("CT", repeat=4)]


def counts(javascript, plan, layout, side, classes):
    """Parameters and multiply-adds, all and between pairs, and the side of each stage, as the page
    has them."""
    rows = javascript(
        "layout_math.js", "return m.countLayout(...arg);", [plan, layout, side, classes]
    )
    return *(sum(row[key] for row in rows) for key in ("parameters", "macs", "pairs")), [
        row["side"] for row in rows[1:-1]
    ]


@pytest.mark.parametrize("layout", [*LAYOUTS, "ViT_REL"])
def test_the_counts_are_pytorchs(javascript, layout):
    plan = ON_PATCHES if layout == "ViT_REL" else PLAN
    model = CoAtNet(image_size=40, layout=layout, num_classes=7, **plan)
    cost = analysis.cost(model, image_size=40)
    parameters, macs, _, sides = counts(javascript, plan, layout, 40, 7)
    assert (parameters, macs) == (cost.parameters, cost.macs)
    assert sides == ([10] if layout == "ViT_REL" else [20, 20, 10, 5])


def test_the_paper_s_size_and_the_part_of_the_pairs(javascript):
    with torch.device("meta"):
        model = CoAtNet.from_size("CoAtNet-0")
    cost = analysis.cost(model, image_size=224)
    parameters, macs, pairs, sides = counts(javascript, WIDE, "CCTT", 224, 1000)
    assert (parameters, macs, sides) == (cost.parameters, cost.macs, [56, 28, 14, 7])
    assert pairs == 5 * 2 * 196**2 * 384 + 2 * 2 * 49**2 * 768


def test_the_samples_are_the_library_s_sizes():
    for plan, size in ((PLAN, "nano"), (ON_PATCHES, "nano ViT_REL"), (WIDE, "CoAtNet-0")):
        assert {
            key: list(v) if isinstance(v := SIZES[size][key], tuple) else v for key in plan
        } == plan


def test_a_press_exchanges_a_stage(show):
    page = show(layout_builder())
    assert page.locator(".lay-row .lay-map").all_text_contents()[1:5] == [
        "16 × 16 × 32",
        "16 × 16 × 32",
        "8 × 8 × 64",
        "4 × 4 × 96",
    ]
    assert page.locator(".lay-record .lay-number").text_content() == "58.5 ± 0.5 %"
    before = page.locator(".hx-facts dd").all_text_contents()
    page.get_by_role("button", name="stage 2 is convolution").click()
    settle(page)
    assert page.evaluate("window.models[0].get('letters')") == "CTTT"
    assert page.locator(".hx-facts dd").all_text_contents() != before
    readout = page.locator(".hx-readout").text_content()
    assert (
        readout.startswith("C-T-T-T: 1 stage of convolution, 3 of attention.")
        and "Nobody has trained it here" in readout
    )
    assert page.locator(".lay-record .lay-number").text_content() == "not measured"
    page.get_by_role("button", name="C-C-C-C").click()
    settle(page)
    assert page.locator(".lay-record .lay-number").text_content() == "63.0 ± 2.0 %"
    assert page.get_by_role("button", name="C-C-C-C").get_attribute("aria-pressed") == "true"


def test_convolution_after_attention_is_explained(show):
    page = show(layout_builder())
    for stage in (1, 3, 4):
        page.get_by_role("button", name=f"stage {stage} is").focus()
        page.keyboard.press("Enter")
        settle(page)
        # the keyboard keeps its place
        assert page.evaluate("document.activeElement.textContent").startswith(f"S{stage}: ")
    readout = page.locator(".hx-readout").text_content()
    assert (
        readout.startswith("T-C-C-C")
        and "It has C after T." in readout
        and "It has T in S1" in readout
    )


def test_arrow_keys_build_it(show):
    page = show(layout_builder())
    stack = page.get_by_role("application")
    stack.focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    settle(page)
    assert page.evaluate("window.models[0].get('letters')") == "CTTC"
    assert stack.get_attribute("aria-label") == "Stack. Stage 4 is C"
    page.get_by_role("button", name="ViT_REL").click()
    stack.focus()
    page.keyboard.press("ArrowRight")  # the letters are kept
    settle(page)
    assert page.evaluate("window.models[0].get('letters')") == "CTTT"


def test_patches_and_back(show):
    page = show(layout_builder())
    page.get_by_role("button", name="ViT_REL").click()
    settle(page)
    assert (
        page.locator(".lay-row").count() == 3
        and page.locator(".lay-map").nth(1).text_content() == "8 × 8 × 64"
    )
    assert page.locator(".lay-record .lay-number").text_content() == "45.0 %"
    page.locator(".lay select").select_option("CoAtNet-0")
    settle(page)
    assert (
        page.locator(".lay-row").count() == 6
        and page.get_by_role("button", name="ViT_REL").count() == 0
    )
    page.get_by_role("button", name="384 pixels").click()
    settle(page)
    assert page.locator(".lay-map").nth(3).text_content() == "24 × 24 × 384"
    assert page.locator(".lay-record .lay-number").text_content() == "not measured"


def test_a_link_in_the_text_sets_it(show):
    page = show(layout_builder(), width=375, touch=True)
    add_link(page, "#layout?layout=TCTT&size=CoAtNet-0&side=384").tap()
    settle(page)
    state = page.evaluate("['size', 'letters', 'side'].map((key) => window.models[0].get(key))")
    assert state == ["CoAtNet-0", "TCTT", 384]
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_python_sets_it_too(show):
    page = show(layout_builder())
    page.evaluate("window.models[0].set('letters', 'CCCT')")
    settle(page)
    assert page.get_by_role("button", name="stage 3 is convolution").count() == 1

"""The distillation bench: every number is that of hybridlib.models.deit, and every pull that of
PyTorch's gradient."""

import re

import pytest
import torch

from hybridlib.models.deit import hard_distillation_loss, soft_distillation_loss
from hybridlib.widgets import DistillationBench

from .page import add_link, settle, swipe

FORMS = {
    "hinton": {},
    "printed": {"direction": "student||teacher"},
    "coded": {"normaliser": "elements"},
}


def reference(kind, form, heads, *, teacher, first, second, label, tau, weight):
    """Loss, and minus its gradient by each head's logits."""
    heads_of = [
        torch.tensor([z], dtype=torch.float64, requires_grad=True) for z in (first, second)[:heads]
    ]
    z_t = torch.tensor([teacher], dtype=torch.float64)
    y = torch.tensor([label])
    if kind == "soft":
        loss = soft_distillation_loss(
            heads_of[0], heads_of[-1], z_t, y, temperature=tau, weight=weight, **FORMS[form]
        )
    else:
        loss = hard_distillation_loss(heads_of[0], heads_of[-1], z_t, y, weight=weight)
    gradients = torch.autograd.grad(loss, heads_of)
    return loss.item(), [(-g[0]).tolist() for g in gradients]


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize(
    ("kind", "form"),
    [("soft", "hinton"), ("soft", "printed"), ("soft", "coded"), ("hard", "hinton")],
)
def test_loss_and_pulls_are_pytorchs(javascript, kind, form, heads):
    numbers = dict(
        teacher=[1.0, 3.5, -2.0, 0.5],
        first=[2.0, 0.0, 1.0, -1.0],
        second=[0.0, 1.5, 1.0, 0.25],
        label=2,
        tau=2.5,
        weight=0.3,
    )
    result = javascript(
        "distillation_math.js",
        "return m.losses(arg);",
        {
            **numbers,
            "kind": kind,
            "form": form,
            "second": numbers["second"] if heads == 2 else None,
        },
    )
    loss, pulls = reference(kind, form, heads, **numbers)
    assert result["total"] == pytest.approx(loss, abs=1e-9)
    by_label, by_teacher = result["pulls"]["label"], result["pulls"]["teacher"]
    page_pulls = (
        [by_label, by_teacher] if heads == 2 else [[a + b for a, b in zip(by_label, by_teacher)]]
    )
    for ours, theirs in zip(page_pulls, pulls, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("heads", [1, 2])
def test_a_walk_downhill_is_gradient_descent(javascript, heads):
    start = dict(
        teacher=[1.0, 4.0, 0.0],
        first=[2.0, 2.0, 0.0],
        second=[2.0, 2.0, 0.0],
        label=0,
        tau=3.0,
        weight=0.5,
    )
    result = javascript(
        "distillation_math.js",
        "return m.descended(arg, 25, 0.5);",
        {
            **start,
            "kind": "hard",
            "form": "hinton",
            "second": start["second"] if heads == 2 else None,
        },
    )
    now = [start["first"], start["second"]]
    for _ in range(25):
        _, pulls = reference("hard", "hinton", heads, **start | dict(first=now[0], second=now[-1]))
        now = [[z + 0.5 * pull for z, pull in zip(*pair)] for pair in zip(now, pulls)]
    assert result["first"] == pytest.approx(now[0], abs=1e-9)
    assert (result["second"] is None) == (heads == 1)
    if heads == 2:
        assert result["second"] == pytest.approx(now[1], abs=1e-9)


KIND, HEADS, LABEL, FORM = range(4)  # the choices, in their order


def choice(page, index):
    return page.locator(".db select").nth(index)


def active_bar(page, chart):
    """The bar that keys move: "dog: 2.00"."""
    settle(page)
    return page.get_by_label(chart).get_attribute("aria-label").partition(". ")[2]


def loss_of(page):
    return float(
        re.search(r"= ([\d.]+)\. The label", page.locator(".hx-readout").text_content())[1]
    )


def answers(page):
    return re.search(
        r"the teacher (\w+); the student answers (\w+)", page.locator(".hx-readout").text_content()
    ).groups()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_shows_the_examples_of_the_chapter(show, theme):
    page = show(DistillationBench(), theme=theme)
    expected, _ = reference(
        "soft",
        "hinton",
        1,
        teacher=[4, 2, 0],
        first=[2, 2, 0],
        second=None,
        label=0,
        tau=3.0,
        weight=0.1,
    )
    assert loss_of(page) == pytest.approx(expected, abs=6e-5)
    words = page.locator(".db-words").all_text_contents()
    assert words[::2] == ["56.3 %", "28.9 %", "14.8 %"] and words[1::2] == [
        "39.8 %",
        "39.8 %",
        "20.4 %",
    ]
    choice(page, KIND).select_option("hard")
    settle(page)
    expected, _ = reference(
        "hard",
        "hinton",
        1,
        teacher=[4, 2, 0],
        first=[2, 2, 0],
        second=None,
        label=0,
        tau=3.0,
        weight=0.5,
    )
    assert loss_of(page) == pytest.approx(expected, abs=6e-5)
    assert page.get_by_label("Temperature τ").is_disabled() and choice(page, FORM).is_disabled()


def test_one_head_ends_between_two_labels_and_two_heads_do_not(show):
    page = show(DistillationBench(kind="hard", teacher=(1, 4, 0)))
    page.get_by_role("button", name="200 steps").click()
    settle(page)
    student = page.locator(".db-words").all_text_contents()[1::2]
    assert student[0] == student[1] and float(student[0].removesuffix(" %")) == pytest.approx(
        50, abs=1
    )
    page.get_by_role("button", name="Everything as at first").click()
    choice(page, HEADS).select_option("2")
    page.get_by_role("button", name="200 steps").click()
    settle(page)
    student = page.locator(".db-words").all_text_contents()[1::2]
    # the distillation head is sure of the teacher's class
    assert float(student[1].removesuffix(" %")) > 95
    assert active_bar(page, "Student: class head").startswith("cat: ")


def test_keys_change_a_logit_and_the_loss(show):
    page = show(DistillationBench())
    chart = page.get_by_label("Teacher's logits")
    chart.focus()
    page.keyboard.press("ArrowRight")
    for _ in range(3):
        page.keyboard.press("PageUp")
    assert active_bar(page, "Teacher's logits") == "dog: 5.00" and answers(page)[0] == "dog"
    expected, _ = reference(
        "soft",
        "hinton",
        1,
        teacher=[4, 5, 0],
        first=[2, 2, 0],
        second=None,
        label=0,
        tau=3.0,
        weight=0.1,
    )
    assert loss_of(page) == pytest.approx(expected, abs=6e-5)
    page.keyboard.press("Delete")
    assert active_bar(page, "Teacher's logits") == "dog: 0.00"


def test_a_mouse_drags_a_bar(show):
    page = show(DistillationBench())
    box = page.get_by_label("Student's logits").bounding_box()
    x = box["x"] + 5 / 6 * box["width"]
    page.mouse.move(x, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(x, box["y"] + box["height"] / 8, steps=4)
    page.mouse.up()
    assert active_bar(page, "Student's logits") == "lorry: 6.00"
    assert answers(page)[1] == "lorry"


def test_a_finger_drags_a_bar_without_scrolling(show):
    page = show(DistillationBench(), width=375, touch=True)
    chart = page.get_by_label("Teacher's logits")
    chart.scroll_into_view_if_needed()
    scroll = page.evaluate("window.scrollY")
    box = chart.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    swipe(page, x, y, -0.4 * box["height"])
    assert active_bar(page, "Teacher's logits").startswith("dog: 6.")
    # the readout may need a line more
    assert page.evaluate("window.scrollY") == pytest.approx(scroll, abs=30)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_a_link_in_the_text_sets_it(show):
    page = show(DistillationBench())
    add_link(
        page,
        "#bench?kind=soft&form=printed&heads=2&label=2&teacher=1,4,0&student=0,0,1&tau=5&weight=0.4",
    ).click()
    settle(page)
    expected, _ = reference(
        "soft",
        "printed",
        2,
        teacher=[1, 4, 0],
        first=[0, 0, 1],
        second=[0, 0, 1],
        label=1,
        tau=5.0,
        weight=0.4,
    )
    assert loss_of(page) == pytest.approx(expected, abs=6e-5)
    assert choice(page, LABEL).input_value() == "1"

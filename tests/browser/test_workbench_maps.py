"""What the workbench shows inside the systems, against PyTorch: maps, layers, occlusion, the whole
network."""

import re

import numpy as np
import torch

from hybridlib import pretrained

from .bench import agrees, answers, drag, overlay, picture, pytorch, ready
from .page import settle
from .samples import workbench


def test_every_system_and_all_that_it_shows(show):
    """Each of the eight answers as PyTorch does, and every choice of what to lay over the picture
    draws it or says it."""
    page = ready(
        show(workbench(*pretrained.shipped("digits"), systems=["vit"]), width=800), cards=1
    )
    system = page.locator(".wb-head select").first
    overlay_select = page.locator(".wb-show select").first
    assert system.locator("option").all_text_contents()[:2] == ["Convnet", "ViT"]
    count = 0
    for name in pretrained.shipped("digits"):
        system.select_option(name)
        page.wait_for_function("(name) => asked.includes(name)", arg=name)
        ready(page, cards=1)
        agrees(page, name)
        rung = page.locator(".wb-ladder li").last.locator(".wb-share").text_content()
        assert rung.startswith(f"{answers(page).argmax()} · "), name
        options = overlay_select.locator("option").evaluate_all("(l) => l.map((n) => n.value)")
        for option in options[1:-1]:
            overlay_select.select_option(option)
            settle(page)
            assert len(page.locator(".wb-maps .hx-readout").first.text_content()) > 10, (
                name,
                option,
            )
            flat = "LCA" if name.startswith("ceit") and option == "map-4" else ""
            assert page.locator(".wb-overlay").first.is_visible() != bool(flat), (name, option)
            count += 1
    assert count > 45
    texts = page.evaluate(
        "[...document.querySelectorAll('.wb-show option')].map((n) => n.textContent)"
    )
    assert "block 1: attention" in texts  # of the last, the ViT


def test_maps_are_those_of_the_trace(show):
    """Kinds of ConViT's attention, a patch that asks, the mean of heads, CeiT's class token over
    layers, DeiT's two tokens."""
    names = ("convit_nano_digits", "ceit_nano_digits", "deit_nano_digits")
    page = ready(show(workbench(*names, systems=names[:2], start=2)))
    image = pretrained.find(names[0]).preparation.normalise(
        torch.from_numpy(picture(page))[None, None].expand(1, 3, -1, -1)
    )
    with torch.no_grad():
        maps = {name: pretrained.load(name).model.trace(image).maps for name in names}
    convit, ceit = page.locator(".wb-card").nth(0), page.locator(".wb-card").nth(1)
    page.get_by_role("radio", name="Ask").click()
    drag(page, [(9, 22), (9, 22)])  # the patch at row 6, column 3
    assert [m.kind for m in maps[names[0]][:3]] == ["content", "position", "gated"]
    alphas = []
    for index, words in enumerate(
        ("attention by content", "attention by position", "gated mixture")
    ):
        convit.locator(".wb-show select").select_option(
            label=re.search(rf"block 1: .*{words}.*", convit.locator(".wb-show").inner_text())[0]
        )
        for head, button in ((2, "head 3"), (slice(None), "mean of heads")):
            convit.get_by_role("radio", name=button).click()
            settle(page)
            weight = (
                maps[names[0]][index].weights[0, head, 5 * 8 + 2].numpy().reshape(-1, 8, 8).mean(0)
            )
            alphas.append(overlay(page, 0)[..., 3])
            np.testing.assert_allclose(
                alphas[-1] / 255, 0.45 + 0.55 * weight / weight.max(), atol=0.003
            )
            assert (
                "the patch at row 6, column 3 asks"
                in convit.locator(".wb-maps .hx-readout").text_content()
            )
    assert not np.array_equal(alphas[0], alphas[2]) and not np.array_equal(alphas[2], alphas[4])
    ceit.locator(".wb-show select").select_option("map-4")
    ceit.get_by_role("radio", name="head 2").click()
    settle(page)
    percents = [
        float(v)
        for v in re.findall(
            r"block \d: ([\d.]+) %", ceit.locator(".wb-maps .hx-readout").text_content()
        )
    ]
    np.testing.assert_allclose(
        percents, 100 * maps[names[1]][4].weights[0, 1, 0].numpy(), atol=0.51
    )
    ceit.locator(".wb-head select").select_option(names[2])
    page.wait_for_function("asked.length === 3")
    ready(page)
    ceit.get_by_role("button", name="distillation token").click()
    settle(page)
    weights = maps[names[2]][0].weights[0, 1, 1]
    text = ceit.locator(".wb-maps .hx-readout").text_content()
    assert text.startswith("Head 2: the distillation token asks;")
    percents = [float(v) for v in re.findall(r"([\d.]+) % to the", text)]
    np.testing.assert_allclose(percents, 100 * weights[:2].numpy(), atol=0.51)
    np.testing.assert_allclose(
        overlay(page, 1)[..., 3].ravel() / 255,
        0.45 + 0.55 * (weights[2:] / weights[2:].max()).numpy(),
        atol=0.003,
    )


def test_what_each_layer_already_knows(show):
    page = ready(show(workbench(start=2)))
    ladder = page.locator(".wb-ladder").nth(1).locator("li")
    model = pretrained.load("vit_nano_digits").model
    outputs = []
    for block in model.blocks:
        block.register_forward_hook(
            lambda module, inputs, out: outputs.append(out[0] if isinstance(out, tuple) else out)
        )
    with torch.no_grad():
        image = torch.from_numpy(picture(page))[None, None].expand(1, 3, -1, -1)
        model(pretrained.find("vit_nano_digits").preparation.normalise(image))
        predictions = [model.classify(tokens).softmax(-1)[0] for tokens in outputs]
    readings = [
        re.fullmatch(r"(\d) · ([\d.]+) %", t).groups()
        for t in ladder.locator(".wb-share").all_text_contents()
    ]
    assert [int(name) for name, _ in readings] == [int(p.argmax()) for p in predictions]
    np.testing.assert_allclose(
        [float(p) for _, p in readings], [100 * float(p.max()) for p in predictions], atol=0.51
    )
    assert page.locator(".wb-ladder").first.locator(".wb-share").all_text_contents()[:2] == [
        "–",
        "–",
    ]


def test_the_map_of_what_the_answer_hangs_on_comes_in_parts_and_is_cancelled(show):
    page = ready(show(workbench(start=2)))
    page.evaluate(
        """() => { window.said = [];
        const n = document.querySelectorAll(".wb-maps .hx-readout")[1];
        new MutationObserver(() => window.said.push(n.textContent)).observe(n, { childList: true, characterData: true, subtree: true }); }"""
    )
    page.locator(".wb-show select").nth(1).select_option("occlusion")
    page.wait_for_function("said.some((text) => /of 64 places so far/.test(text))")
    page.wait_for_function(
        "said.length && !/so far/.test(said.at(-1)) && !/goes over/.test(said.at(-1))"
    )
    bytes_ = picture(page)
    covered_images = []
    for row in range(8):
        for col in range(8):
            one = bytes_.copy()
            one[max(0, 4 * row - 2) : 4 * row + 6, max(0, 4 * col - 2) : 4 * col + 6] = 0
            covered_images.append(one)
    top = int(answers(page, 1).argmax())
    drops = (pytorch("vit", bytes_)[0, top] - pytorch("vit", *covered_images)[:, top]).reshape(8, 8)
    scale = max(0.05, np.abs(drops).max())
    np.testing.assert_allclose(
        overlay(page, 1)[..., 3] / 255, (np.abs(drops) / scale) ** 0.7, atol=0.02
    )
    assert (
        f"the {top} most: {100 * drops.max():.0f} points" if drops.max() > 0.005 else "No square"
    ) in page.evaluate("said.at(-1)")
    # a change while a map grows: it begins anew, on the new picture
    page.evaluate("said.length = 0")
    page.locator(".wb-pad").first.press("ArrowDown")
    page.wait_for_function("said.some((text) => /[1-9] of 64 places so far/.test(text))")
    page.locator(".wb-pad").first.press("ArrowDown")
    page.wait_for_function("said.filter((text) => /goes over/.test(text)).length === 2")
    page.wait_for_function("!/so far|goes over/.test(said.at(-1))")
    counts = [
        int(n) for n in re.findall(r"(\d+) of 64 places so far", " ".join(page.evaluate("said")))
    ]
    assert any(later < earlier for earlier, later in zip(counts, counts[1:]))


def test_the_whole_network_shows_numbers_of_the_drawing(show):
    """Open where there is room, closed on a phone; its numbers follow the drawing."""
    page = ready(show(workbench()))
    vit = pretrained.load("vit_nano_digits").model

    def agree():
        image = pretrained.find("vit_nano_digits").preparation.normalise(
            torch.from_numpy(picture(page))[None, None].expand(1, 3, -1, -1)
        )
        with torch.no_grad():
            tokens = vit.patch_embedding(image)
        words = page.locator(".wb-network").nth(1).locator(".hx-readout").text_content()
        numbers = [float(v.replace("−", "-").rstrip(".")) for v in re.findall(r"[−\d.]+\d", words)]
        np.testing.assert_allclose(numbers, [tokens.min(), tokens.mean(), tokens.max()], atol=0.006)

    page.locator(".wb-network").nth(1).scroll_into_view_if_needed()
    settle(page)
    agree()
    page.locator(".wb-pad").nth(1).press("ArrowDown")
    page.locator(".wb-network").nth(1).scroll_into_view_if_needed()
    settle(page)
    agree()
    page.get_by_role("button", name="Hide the network").first.click()
    settle(page)
    assert page.locator(".hx-network:visible").count() == 0
    narrow = ready(show(workbench(), width=375))
    assert narrow.locator(".hx-network").count() == 0
    narrow.get_by_role("button", name="Show the whole network").first.click()
    settle(narrow)
    assert narrow.locator(".hx-network:visible").count() == 2
    assert narrow.evaluate("document.documentElement.scrollWidth") <= 375

"""Driving the workbench: pad, samples, photographs, systems, maps, occlusion, address, tour; and PyTorch beside it."""

import io
import re

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from PIL import Image

from hybridlib import live, weights
from hybridlib.data.images import normalise

from .page import settle
from .samples import digits, pictures, workbench

SERIOUS = {"serious", "critical"}


def full(name):
    return name if "_nano_" in name else f"{name}_nano_digits"


def picture(page, card=0):
    """The 32 x 32 pixels that the page gives to its models."""
    canvas = page.locator(".wb-pad canvas:first-child").nth(card)
    data = canvas.evaluate("(n) => [...n.getContext('2d').getImageData(0, 0, n.width, n.height).data]")
    return np.reshape(data, (32, 32, 4))[..., 0].astype(np.uint8)


def answers(page, card=0):
    settle(page)
    shares = page.locator(".wb-card").nth(card).locator(".wb-bars li").evaluate_all("(l) => l.map((n) => Number(n.dataset.share))")
    return np.array(shares)


def pytorch(name, *pixels):
    """What the shipped model says of pictures `32 32`, in float32."""
    images = torch.from_numpy(np.stack(pixels))[:, None].expand(-1, 3, -1, -1)
    with torch.no_grad():
        return weights.load(full(name))(normalise(images, *weights.normalisation(full(name)))).softmax(-1).numpy()


def agrees(page, *names):
    for card, name in enumerate(names):
        np.testing.assert_allclose(answers(page, card), pytorch(name, picture(page, card))[0], atol=1e-4)


def ready(page, cards=2):
    page.wait_for_function("(n) => document.querySelectorAll('.wb-bars .wb-best').length === n", arg=cards)
    settle(page)
    return page


def drag(page, points, card=0, steps=6):
    """Press at the first point, given in pixels of the picture as (x, y), and go through the others."""
    pad = page.locator(".wb-pad").nth(card)
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    ways = [(box["x"] + x * box["width"] / 32, box["y"] + y * box["height"] / 32) for x, y in points]
    page.mouse.move(*ways[0])
    page.mouse.down()
    for way in ways[1:]:
        page.mouse.move(*way, steps=steps)
    page.mouse.up()
    settle(page)


SEVEN = [(9, 6), (22, 6), (14, 27)]


def draw_seven(page, card=0):
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("radio", name="Draw").click()
    drag(page, SEVEN, card)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_read_the_drawing_as_pytorch_does(show, theme):
    page = ready(show(workbench(), theme=theme))
    np.testing.assert_array_equal(picture(page)[8:24, 8:24], digits(1)[0])
    agrees(page, "convnet", "vit")
    draw_seven(page, card=1)  # either picture is the pad
    ink = picture(page)
    np.testing.assert_array_equal(ink, picture(page, 1))
    assert ink[6, 12:20].min() > 200 and ink[:, :3].max() == 0 and 0 < ink[3, 15] < ink[4, 15] < ink[6, 15]
    agrees(page, "convnet", "vit")
    assert [answers(page, i).argmax() for i in (0, 1)] == [7, 7]
    said = page.locator(".wb-says").all_text_contents()
    assert [text[0] for text in said] == ["7", "7"]
    page.get_by_role("button", name="Undo").click()
    settle(page)
    assert picture(page).max() == 0


def test_an_empty_pad_asks_for_a_drawing_and_no_model(show):
    page = show(workbench(start=-1))
    settle(page)
    assert page.evaluate("asked") == []
    assert page.locator(".wb-empty").all_text_contents() == ["Draw something."] * 2
    assert set(page.locator(".wb-bars .wb-share").all_text_contents()) == {"–"}
    draw_seven(page)
    ready(page)
    assert sorted(page.evaluate("asked")) == ["convnet_nano_digits", "vit_nano_digits"]
    page.get_by_role("button", name="Clear").click()
    settle(page)
    assert page.locator(".wb-empty").all_text_contents() == ["Draw something."] * 2
    assert set(page.locator(".wb-share").all_text_contents()) == {"–"}
    assert page.locator(".wb-overlay:visible").count() == 0


def test_a_finger_draws_without_scrolling_on_a_narrow_page(show):
    page = ready(show(workbench(), width=320, touch=True))
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.get_by_role("button", name="Clear").click()
    pad = page.locator(".wb-pad").nth(1)
    pad.scroll_into_view_if_needed()
    scrolled = page.evaluate("window.scrollY")
    box = pad.bounding_box()
    finger = page.context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 4
    finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 6):
        finger.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y + step * box["height"] / 10}]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    settle(page)
    assert picture(page)[9:23, 15:17].min() > 180
    assert page.evaluate("window.scrollY") == scrolled
    agrees(page, "convnet", "vit")
    sticky = page.locator(".wb-both")
    assert sticky.is_visible() and re.fullmatch(r"Convnet says \d, .* · ViT says \d, .*", sticky.text_content())
    findings = [f["id"] for f in Axe().run(page).response["violations"] if f["impact"] in SERIOUS]
    assert findings == []


def test_moving_by_keys_and_by_dragging(show):
    page = ready(show(workbench()))
    before = picture(page)
    pad = page.locator(".wb-pad").first
    for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
        pad.press(key)
    settle(page)
    np.testing.assert_array_equal(picture(page), np.roll(before, (-1, 2), (0, 1)))
    agrees(page, "convnet", "vit")
    page.wait_for_function("document.querySelector('[role=status]').textContent.startsWith('Moved 1 up, 2 right. Convnet says')")
    page.get_by_role("radio", name="Move").click()
    drag(page, [(16, 16), (13, 20)])
    np.testing.assert_array_equal(picture(page), np.roll(before, (3, -1), (0, 1)))
    agrees(page, "convnet", "vit")
    for _ in range(20):
        pad.press("ArrowLeft")  # out of the sheet, and back whole
    settle(page)
    assert picture(page)[:, 8:].max() == 0
    for _ in range(21):
        pad.press("ArrowRight")
    settle(page)
    np.testing.assert_array_equal(picture(page), np.roll(before, 3, 0))
    pad.press("Delete")
    settle(page)
    assert picture(page).max() == 0


def test_erasing_a_sample(show):
    page = ready(show(workbench()))
    before = picture(page)
    page.get_by_role("radio", name="Erase").click()
    drag(page, [(16, 8), (16, 24)])
    after = picture(page)
    assert after[10:22, 16].max() == 0
    np.testing.assert_allclose(after[:, :13], before[:, :13], atol=9)  # in sixteen levels
    assert page.locator(".wb-sample[aria-pressed='true']").count() == 0
    agrees(page, "convnet", "vit")


def test_covering_a_part(show):
    page = ready(show(workbench()))
    whole, before = picture(page), answers(page, 1)
    page.get_by_role("radio", name="Cover").click()
    box = page.locator(".wb-pad").nth(1).bounding_box()
    page.mouse.move(box["x"] + 16.5 * box["width"] / 32, box["y"] + 12.5 * box["height"] / 32)
    settle(page)
    hidden = whole.copy()
    hidden[8:16, 12:20] = 0
    np.testing.assert_array_equal(picture(page), hidden)
    agrees(page, "convnet", "vit")
    page.mouse.move(5, 5)
    np.testing.assert_array_equal(answers(page, 1), before)
    pad = page.locator(".wb-pad").first
    pad.press("ArrowDown")
    pad.press("ArrowDown")
    page.get_by_role("slider", name="Square").fill("4")
    page.get_by_label("Colour").select_option("128")
    settle(page)
    pinned = whole.copy()
    pinned[15:19, 14:18] = 128
    np.testing.assert_array_equal(picture(page), pinned)
    agrees(page, "convnet", "vit")
    pad.press("Delete")
    settle(page)
    np.testing.assert_array_equal(picture(page), whole)


def test_every_system_and_all_that_it_shows(show):
    """Each of the eight answers as PyTorch does, and every choice of what to lay over the picture draws it or says it."""
    page = ready(show(workbench(*weights.names(), systems=["vit"]), width=800), cards=1)
    system, over = page.locator(".wb-head select").first, page.locator(".wb-show select").first
    assert [o for o in system.locator("option").all_text_contents()][:2] == ["Convnet", "ViT"]
    seen = 0
    for name in weights.names():
        system.select_option(name)
        page.wait_for_function("(name) => asked.includes(name)", arg=name)
        ready(page, cards=1)
        agrees(page, name)
        rung = page.locator(".wb-ladder li").last.locator(".wb-share").text_content()
        assert rung.startswith(f"{answers(page).argmax()} · "), name
        options = over.locator("option").evaluate_all("(l) => l.map((n) => n.value)")
        for option in options[1:-1]:
            over.select_option(option)
            settle(page)
            assert len(page.locator(".wb-maps .hx-readout").first.text_content()) > 10, (name, option)
            flat = "LCA" if name.startswith("ceit") and option == "map-4" else ""
            assert page.locator(".wb-overlay").first.is_visible() != bool(flat), (name, option)
            seen += 1
    assert seen > 45
    texts = page.evaluate("[...document.querySelectorAll('.wb-show option')].map((n) => n.textContent)")
    assert "block 1: attention" in texts  # of the last, the ViT


def overlay(page, card):
    canvas = page.locator(".wb-overlay").nth(card)
    data = canvas.evaluate("(n) => [n.height, n.width, ...n.getContext('2d').getImageData(0, 0, n.width, n.height).data]")
    return np.reshape(data[2:], (*data[:2], 4))


def test_maps_are_those_of_the_trace(show):
    """Kinds of ConViT's attention, a patch that asks, the mean of heads, CeiT's class token over layers, DeiT's two tokens."""
    names = ("convit_nano_digits", "ceit_nano_digits", "deit_nano_digits")
    page = ready(show(workbench(*names, systems=names[:2], start=2)))
    image = normalise(torch.from_numpy(picture(page))[None, None].expand(1, 3, -1, -1), *weights.normalisation(names[0]))
    with torch.no_grad():
        maps = {name: weights.load(name).trace(image).maps for name in names}
    convit, ceit = page.locator(".wb-card").nth(0), page.locator(".wb-card").nth(1)
    page.get_by_role("radio", name="Ask").click()
    drag(page, [(9, 22), (9, 22)])  # the patch at row 6, column 3
    assert [m.kind for m in maps[names[0]][:3]] == ["content", "position", "gated"]
    alphas = []
    for index, words in enumerate(("attention by content", "attention by position", "gated mixture")):
        convit.locator(".wb-show select").select_option(label=re.search(rf"block 1: .*{words}.*", convit.locator(".wb-show").inner_text())[0])
        for head, button in ((2, "head 3"), (slice(None), "mean of heads")):
            convit.get_by_role("radio", name=button).click()
            settle(page)
            weight = maps[names[0]][index].weights[0, head, 5 * 8 + 2].numpy().reshape(-1, 8, 8).mean(0)
            alphas.append(overlay(page, 0)[..., 3])
            np.testing.assert_allclose(alphas[-1] / 255, 0.45 + 0.55 * weight / weight.max(), atol=0.003)
            assert "the patch at row 6, column 3 asks" in convit.locator(".wb-maps .hx-readout").text_content()
    assert not np.array_equal(alphas[0], alphas[2]) and not np.array_equal(alphas[2], alphas[4])
    ceit.locator(".wb-show select").select_option("map-4")
    ceit.get_by_role("radio", name="head 2").click()
    settle(page)
    told = [float(v) for v in re.findall(r"block \d: ([\d.]+) %", ceit.locator(".wb-maps .hx-readout").text_content())]
    np.testing.assert_allclose(told, 100 * maps[names[1]][4].weights[0, 1, 0].numpy(), atol=0.51)
    ceit.locator(".wb-head select").select_option(names[2])
    page.wait_for_function("asked.length === 3")
    ready(page)
    ceit.get_by_role("button", name="distillation token").click()
    settle(page)
    shares = maps[names[2]][0].weights[0, 1, 1]
    text = ceit.locator(".wb-maps .hx-readout").text_content()
    assert text.startswith("Head 2: the distillation token asks;")
    told = [float(v) for v in re.findall(r"([\d.]+) % to the", text)]
    np.testing.assert_allclose(told, 100 * shares[:2].numpy(), atol=0.51)
    np.testing.assert_allclose(overlay(page, 1)[..., 3].ravel() / 255, 0.45 + 0.55 * (shares[2:] / shares[2:].max()).numpy(), atol=0.003)


def test_what_each_layer_already_knows(show):
    page = ready(show(workbench(start=2)))
    ladder = page.locator(".wb-ladder").nth(1).locator("li")
    model = weights.load("vit_nano_digits")
    made = []
    for block in model.blocks:
        block.register_forward_hook(lambda module, given, out: made.append(out[0] if isinstance(out, tuple) else out))
    with torch.no_grad():
        model(normalise(torch.from_numpy(picture(page))[None, None].expand(1, 3, -1, -1), *weights.normalisation("vit_nano_digits")))
        read = [model.classify(tokens).softmax(-1)[0] for tokens in made]
    told = [re.fullmatch(r"(\d) · ([\d.]+) %", t).groups() for t in ladder.locator(".wb-share").all_text_contents()]
    assert [int(name) for name, _ in told] == [int(p.argmax()) for p in read]
    np.testing.assert_allclose([float(p) for _, p in told], [100 * float(p.max()) for p in read], atol=0.51)
    assert page.locator(".wb-ladder").first.locator(".wb-share").all_text_contents()[:2] == ["–", "–"]


def test_the_map_of_what_the_answer_hangs_on_comes_in_parts_and_is_cancelled(show):
    page = ready(show(workbench(start=2)))
    page.evaluate("""() => { window.said = [];
        const n = document.querySelectorAll(".wb-maps .hx-readout")[1];
        new MutationObserver(() => window.said.push(n.textContent)).observe(n, { childList: true, characterData: true, subtree: true }); }""")
    page.locator(".wb-show select").nth(1).select_option("occlusion")
    page.wait_for_function("said.some((text) => /of 64 places so far/.test(text))")
    page.wait_for_function("said.length && !/so far/.test(said.at(-1)) && !/goes over/.test(said.at(-1))")
    bytes_ = picture(page)
    covered = []
    for row in range(8):
        for col in range(8):
            one = bytes_.copy()
            one[max(0, 4 * row - 2) : 4 * row + 6, max(0, 4 * col - 2) : 4 * col + 6] = 0
            covered.append(one)
    top = int(answers(page, 1).argmax())
    drops = (pytorch("vit", bytes_)[0, top] - pytorch("vit", *covered)[:, top]).reshape(8, 8)
    scale = max(0.05, np.abs(drops).max())
    np.testing.assert_allclose(overlay(page, 1)[..., 3] / 255, (np.abs(drops) / scale) ** 0.7, atol=0.02)
    assert (f"the {top} most: {100 * drops.max():.0f} points" if drops.max() > 0.005 else "No square") in page.evaluate("said.at(-1)")
    # a change while a map grows: it begins anew, on the new picture
    page.evaluate("said.length = 0")
    page.locator(".wb-pad").first.press("ArrowDown")
    page.wait_for_function("said.some((text) => /[1-9] of 64 places so far/.test(text))")
    page.locator(".wb-pad").first.press("ArrowDown")
    page.wait_for_function("said.filter((text) => /goes over/.test(text)).length === 2")
    page.wait_for_function("!/so far|goes over/.test(said.at(-1))")
    counts = [int(n) for n in re.findall(r"(\d+) of 64 places so far", " ".join(page.evaluate("said")))]
    assert any(later < earlier for earlier, later in zip(counts, counts[1:]))


def test_the_address_brings_everything_back(show):
    page = ready(show(workbench(*weights.names()), book=True))
    draw_seven(page)
    page.get_by_role("radio", name="Move").click()
    drag(page, [(10, 10), (11, 8)])
    page.locator(".wb-head select").first.select_option("convit_nano_digits")
    page.wait_for_function("asked.includes('convit_nano_digits')")
    ready(page)
    page.locator(".wb-show select").first.select_option("map-2")
    page.locator(".wb-card").first.get_by_role("radio", name="head 4").click()
    page.locator(".wb-scale input").first.fill("35")
    page.get_by_role("radio", name="Ask").click()
    drag(page, [(14, 9), (14, 9)])
    page.wait_for_function("location.hash.includes('t=ask')")
    page.wait_for_function("location.hash.includes('q=9.14')")
    state = """() => [...document.querySelectorAll(".wb-bars li, .wb-card select, .wb-maps .hx-readout, .wb-one, .wb-tool")].map((n) =>
        n.dataset.share ?? n.value ?? `${n.textContent} ${n.getAttribute("aria-checked")}`)"""
    before, pixels, address = page.evaluate(state), picture(page), page.url
    assert len(address.split("#")[1]) < 700
    page.reload()
    ready(page)
    page.wait_for_function("asked.length === 2")
    assert page.evaluate(state) == before
    np.testing.assert_array_equal(picture(page), pixels)
    # pasted into a page that is open; then one that says nothing sensible, and one that is not ours
    page.get_by_role("button", name="Clear").click()
    page.wait_for_function("!location.hash.includes('d=')")
    page.evaluate("(hash) => { location.hash = hash; }", "#" + address.split("#")[1])
    ready(page)
    assert page.evaluate(state) == before
    page.evaluate("location.hash = '#bench&a=nobody:map-9:x&q=99.99&s=700.1&o=400&d=@@@&c=1&n=77&t=fly&%E0%A4%A'")
    settle(page)
    assert page.locator(".wb-empty").first.text_content() == "Draw something."
    page.evaluate("location.hash = '#elsewhere'")
    draw_seven(page)
    agrees(page, "convit", "vit")


def test_copy_link_and_a_notebooks_address(show):
    page = ready(show(workbench(), book=True))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="take 2").click()
    page.get_by_role("button", name="Copy link").click()
    page.get_by_text("The link is copied").or_(page.locator(".wb-link:visible")).first.wait_for()
    page.wait_for_function("location.hash.includes('n=2')")
    other = ready(show(workbench()))  # in a notebook: no host of the book on the page
    other.get_by_role("button", name="take 2").click()
    other.wait_for_timeout(600)
    assert "#" not in other.url and not other.get_by_role("button", name="Copy link").is_visible()


def test_drawings_survive_the_packing(javascript):
    script = """const out = []; let seed = 1;
        const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
        for (const share of [0, 0.02, 0.3, 1]) {
            const ink = Uint8Array.from({ length: 1024 }, () => (random() < share ? Math.floor(16 * random()) : 0));
            const text = m.packInk(ink);
            out.push([/^[\\w-]*$/.test(text), text.length, String(m.unpackInk(text)) === String(ink)]);
        }
        return [out, ["", "@", "AAAA", "____", m.packInk(new Uint8Array(1024)) + "AAB"].map(m.unpackInk).map(Boolean)];"""
    out, broken = javascript("workbench_address.js", script)
    assert [(safe, same) for safe, _, same in out] == [(True, True)] * 4
    assert out[0][1] < 16 and max(length for _, length, _ in out) < 900
    assert broken[:4] == [False] * 4


def photograph(digit, *, side=300, dark_paper=False):
    """A digit on paper that is lit from one side, off the middle: PNG bytes."""
    ink = np.asarray(Image.fromarray(digit).resize((110, 110), Image.Resampling.BICUBIC)).astype(float) / 255
    paper = np.linspace(0.95, 0.6, side)[None] * np.ones((side, 1))
    paper[150:260, 20:130] -= 0.5 * ink
    grey = 1 - paper if dark_paper else paper
    buffer = io.BytesIO()
    Image.fromarray((255 * grey.clip(0, 1)).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_photographs(show):
    page = ready(show(workbench()))
    three = np.asarray(live.held_out().pictures[3])
    rows, cols = (np.flatnonzero(three.max(axis)) for axis in (1, 0))
    three = three[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    upload = page.locator("input[type=file]")
    for dark in (False, True):
        upload.set_input_files({"name": "note.png", "mimeType": "image/png", "buffer": photograph(three, dark_paper=dark)})
        page.get_by_text("note.png, as the models see it. The models know nothing but digits: they name a digit in any picture.").wait_for()
        settle(page)
        seen = picture(page)
        inked = [np.flatnonzero(seen.max(axis) > 60) for axis in (0, 1)]
        assert seen[0].max() < 40 and seen.max() > 200, dark
        assert max(np.ptp(i) for i in inked) in range(20, 28) and all(abs(i.mean() - 15.5) < 2.5 for i in inked)
        agrees(page, "convnet", "vit")
        assert answers(page, 0).argmax() == 3
        page.get_by_role("button", name="take 0").click()
        settle(page)
    upload.set_input_files({"name": "words.txt", "mimeType": "text/plain", "buffer": b"no picture"})
    page.get_by_text("words.txt is not a picture that this browser can read; try a PNG or JPEG.").wait_for()
    blank = io.BytesIO()
    Image.new("RGB", (40, 40), "white").save(blank, "PNG")
    upload.set_input_files({"name": "white.png", "mimeType": "image/png", "buffer": blank.getvalue()})
    page.get_by_text("white.png has no lines on it: it is of one colour.").wait_for()
    np.testing.assert_array_equal(picture(page), pictures(1)[0, ..., 0])  # what lay there lies there still
    svg = "<svg xmlns='http://www.w3.org/2000/svg' width='90' height='90'><path d='M20 20H70L40 80' fill='none' stroke='black' stroke-width='9'/></svg>"
    given = """([how, text]) => { const data = new DataTransfer(); data.items.add(new File([text], "seven.svg", { type: "image/svg+xml" }));
        const name = how === "drop" ? "dataTransfer" : "clipboardData";
        const make = how === "drop" ? DragEvent : ClipboardEvent;
        document.querySelector(how === "drop" ? ".wb-samples" : "body").dispatchEvent(new make(how, { [name]: data, bubbles: true, cancelable: true })); }"""
    for how in ("drop", "paste"):
        page.evaluate(given, [how, svg])
        page.get_by_text("seven.svg, as the models see it.").wait_for()
        settle(page)
        assert [answers(page, i).argmax() for i in (0, 1)] == [7, 7], how
        page.get_by_role("button", name="take 0").click()
        settle(page)


def test_the_tour_runs_through(show):
    held = live.held_out()
    page = ready(show(workbench("convnet_nano_digits", "vit_nano_digits", "early_conv_nano_digits", samples=held.pictures, labels=held.labels), book=True))
    page.get_by_role("button", name="Tour").click()
    tour = page.locator(".wb-tour")
    titles = []
    for step in range(8):
        settle(page)
        assert tour.locator(".wb-count").text_content() == f"{step + 1} of 8"
        titles.append(tour.locator("b").text_content())
        if step == 0:
            assert picture(page).max() == 0
        else:
            ready(page)
        assert page.locator(".wb-lit").count() > 0
        assert tour.get_by_role("button", name="Next" if step < 7 else "Play freely").evaluate("(n) => n === document.activeElement")
        page.keyboard.press("Enter")
    assert len(set(titles)) == 8 and tour.is_hidden()
    assert page.get_by_role("button", name="Tour").evaluate("(n) => n === document.activeElement")
    # the last step: one pixel, another answer, of the ViT alone
    assert [text[0] for text in page.locator(".wb-says").all_text_contents()] == ["5", "6"]
    page.locator(".wb-pad").first.press("ArrowDown")
    settle(page)
    assert [text[0] for text in page.locator(".wb-says").all_text_contents()] == ["5", "5"]


def test_a_model_that_does_not_come_is_told_and_may_be_tried_again(show):
    page = show(workbench(start=-1))
    page.evaluate("window.lost = models[0].files.vit_nano_digits; delete models[0].files.vit_nano_digits")
    draw_seven(page)
    card = page.locator(".wb-card").nth(1)
    card.get_by_text("None here.").wait_for()
    ready(page, cards=1)  # the other answers all the same
    page.evaluate("models[0].files.vit_nano_digits = window.lost")
    card.get_by_role("button", name="Try again").click()
    ready(page)
    agrees(page, "convnet", "vit")


def test_one_system_or_two(show):
    page = ready(show(workbench()))
    page.get_by_label("Look with").select_option("1")
    settle(page)
    assert page.locator(".wb-card:visible").count() == 1
    page.get_by_label("Look with").select_option("2")
    ready(page)
    assert page.locator(".wb-card:visible").count() == 2
    agrees(page, "convnet", "vit")


def test_the_whole_network_shows_numbers_of_the_drawing(show):
    """Open where there is room, closed on a phone; its numbers follow the drawing."""
    page = ready(show(workbench()))
    vit = weights.load("vit_nano_digits")

    def agree():
        image = normalise(torch.from_numpy(picture(page))[None, None].expand(1, 3, -1, -1), *weights.normalisation("vit_nano_digits"))
        with torch.no_grad():
            made = vit.patch_embedding(image)
        words = page.locator(".wb-network").nth(1).locator(".hx-readout").text_content()
        told = [float(v.replace("−", "-").rstrip(".")) for v in re.findall(r"[−\d.]+\d", words)]
        np.testing.assert_allclose(told, [made.min(), made.mean(), made.max()], atol=0.006)

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

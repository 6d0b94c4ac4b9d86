"""What comes to the workbench and leaves it: addresses, photographs, and the tour."""

import io

import numpy as np
from PIL import Image

from hybridlib import live, pretrained

from .bench import agrees, answers, drag, draw_seven, picture, ready
from .page import settle
from .samples import pictures, workbench


def test_the_address_brings_everything_back(show):
    page = ready(show(workbench(*pretrained.shipped("digits")), book=True))
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
    page.evaluate(
        "location.hash ="
        " '#bench&a=nobody:map-9:x&q=99.99&s=700.1&o=400&d=@@@&c=1&n=77&t=fly&%E0%A4%A'"
    )
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
    out, verdicts = javascript("workbench_address.js", script)
    assert [(safe, same) for safe, _, same in out] == [(True, True)] * 4
    assert out[0][1] < 16 and max(length for _, length, _ in out) < 900
    assert verdicts[:4] == [False] * 4


def photograph(digit, *, side=300, dark_paper=False):
    """A digit on paper that is lit from one side, off the middle: PNG bytes."""
    ink = (
        np.asarray(Image.fromarray(digit).resize((110, 110), Image.Resampling.BICUBIC)).astype(
            float
        )
        / 255
    )
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
        upload.set_input_files(
            {
                "name": "note.png",
                "mimeType": "image/png",
                "buffer": photograph(three, dark_paper=dark),
            }
        )
        page.get_by_text(
            "note.png, as the models see it. The models know nothing but digits: they name a digit"
            " in any picture."
        ).wait_for()
        settle(page)
        image = picture(page)
        ink = [np.flatnonzero(image.max(axis) > 60) for axis in (0, 1)]
        assert image[0].max() < 40 and image.max() > 200, dark
        assert max(np.ptp(i) for i in ink) in range(20, 28) and all(
            abs(i.mean() - 15.5) < 2.5 for i in ink
        )
        agrees(page, "convnet", "vit")
        assert answers(page, 0).argmax() == 3
        page.get_by_role("button", name="take 0").click()
        settle(page)
    upload.set_input_files({"name": "words.txt", "mimeType": "text/plain", "buffer": b"no picture"})
    page.get_by_text(
        "words.txt is not a picture that this browser can read; try a PNG or JPEG."
    ).wait_for()
    blank = io.BytesIO()
    Image.new("RGB", (40, 40), "white").save(blank, "PNG")
    upload.set_input_files(
        {"name": "white.png", "mimeType": "image/png", "buffer": blank.getvalue()}
    )
    page.get_by_text("white.png has no lines on it: it is of one colour.").wait_for()
    # what lay there lies there still
    np.testing.assert_array_equal(picture(page), pictures(1)[0, ..., 0])
    svg = (
        "<svg xmlns='http://www.w3.org/2000/svg' width='90' height='90'><path d='M20 20H70L40 80'"
        " fill='none' stroke='black' stroke-width='9'/></svg>"
    )
    give_file = """([how, text]) => { const data = new DataTransfer(); data.items.add(new File([text], "seven.svg", { type: "image/svg+xml" }));
        const name = how === "drop" ? "dataTransfer" : "clipboardData";
        const make = how === "drop" ? DragEvent : ClipboardEvent;
        document.querySelector(how === "drop" ? ".wb-samples" : "body").dispatchEvent(new make(how, { [name]: data, bubbles: true, cancelable: true })); }"""
    for event in ("drop", "paste"):
        page.evaluate(give_file, [event, svg])
        page.get_by_text("seven.svg, as the models see it.").wait_for()
        settle(page)
        assert [answers(page, i).argmax() for i in (0, 1)] == [7, 7], event
        page.get_by_role("button", name="take 0").click()
        settle(page)


def test_the_tour_runs_through(show):
    digits = live.held_out()
    page = ready(
        show(
            workbench(
                "convnet_nano_digits",
                "vit_nano_digits",
                "early_conv_nano_digits",
                samples=digits.pictures,
                labels=digits.labels,
            ),
            book=True,
        )
    )
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
        assert tour.get_by_role("button", name="Next" if step < 7 else "Play freely").evaluate(
            "(n) => n === document.activeElement"
        )
        page.keyboard.press("Enter")
    assert len(set(titles)) == 8 and tour.is_hidden()
    assert page.get_by_role("button", name="Tour").evaluate("(n) => n === document.activeElement")
    # the last step: one pixel, another answer, of the ViT alone
    assert [text[0] for text in page.locator(".wb-says").all_text_contents()] == ["9", "8"]
    page.locator(".wb-pad").first.press("ArrowDown")
    settle(page)
    assert [text[0] for text in page.locator(".wb-says").all_text_contents()] == ["9", "7"]

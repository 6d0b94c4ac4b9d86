"""The form of every chapter: narrow code, folded plotting, figures with words, pictures beside the
text, results in tables.

For writers. A figure's words stand in its cell's metadata, which `make notebooks` keeps:
`"mystnb": {"image": {"alt": "what it shows"}, "figure": {"caption": "What to see in it."}}`. The
first cell that imports calls `figures.sharp()`; a figure is at most 5.6 inches wide, so that its
text can be read on a phone; its cell is tagged `hide-input`. Results go through
`hybridlib.tables.table(headings, rows)`.
"""

import re
import struct
from binascii import a2b_base64
from pathlib import Path

import inputs
import nbformat
import notebooks
import pytest
import yaml
from test_site import Visit

from hybridlib import tables

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = 76  # of code that fits beside the sidebar of a laptop
# pixels on the page, margins included: then 10 pt are at least 8 pixels where a phone shows it 343
# wide
FIGURE_WIDTH = 580
STRETCH = 2_500  # pixels of a page 1280 wide without a picture
REAL_TABLE = (
    "print no tables: hybridlib.tables.table(headings, rows) makes one that phones and screen"
    " readers can use"
)
NUMBER_COLUMNS = re.compile(r"(?:^|\s{2,})[-+]?\d[\d.,]*(?:\s*±\s*[\d.]+)?(?=\s{2,}.*\d)")


def chapters():
    """The chapters of the table of contents, in its order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    files = [
        chapter["file"]
        for part in toc["parts"]
        if part.get("numbered")
        for chapter in part["chapters"]
    ]
    return [ROOT / f"{file}.ipynb" for file in files]


per_chapter = pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)


def cells(path, kind="code"):
    """The chapter's own cells of a kind; the one that installs is written by
    book/tools/address.py."""
    notebook = nbformat.read(path, as_version=4)
    return [
        cell
        for cell in notebook.cells
        if cell.cell_type == kind and inputs.INSTALL not in tags(cell)
    ]


def tags(cell):
    return cell.metadata.get("tags", [])


def figures_of(cell):
    """The figures that a cell shows: (base64 text, metadata) of each PNG that is no still of an
    explorable."""
    outputs = [
        o for o in cell.outputs if "image/png" in o.get("data", {}) and notebooks.VIEW not in o.data
    ]
    return [(o.data["image/png"], o.metadata.get("image/png", {})) for o in outputs]


def long_lines(text):
    return [line for line in text.splitlines() if len(line) > COLUMNS]


@per_chapter
def test_code_fits_beside_the_sidebar(path):
    assert [line for cell in cells(path) for line in long_lines(cell.source)] == []
    blocks = [
        b
        for cell in cells(path, "markdown")
        for b in re.findall(r"```python\n(.*?)```", cell.source, re.S)
    ]
    assert [line for block in blocks for line in long_lines(block)] == []


@per_chapter
def test_code_that_draws_or_times_is_folded(path):
    """The page shows what comes of it; one click shows the code."""
    for cell in cells(path):
        if figures_of(cell) or "perf_counter" in cell.source:
            assert "hide-input" in tags(cell), cell.source[:80]


@per_chapter
def test_every_figure_has_a_caption_and_words_for_who_cannot_see_it(path):
    alts = []
    for cell in filter(figures_of, cells(path)):
        words = cell.metadata.get("mystnb", {})
        alt, caption = (
            words.get("image", {}).get("alt", ""),
            words.get("figure", {}).get("caption", ""),
        )
        assert len(alt) >= 30 and len(caption) >= 30, (
            f"no alt text or caption: {cell.source[:80]!r}"
        )
        assert alt != caption, "the caption says what to see in it, the alt text what it shows"
        alts.append(alt)
    assert len(set(alts)) == len(alts) and alts


@per_chapter
def test_figures_are_sharp_and_can_be_read_on_a_phone(path):
    for cell in cells(path):
        for text, metadata in figures_of(cell):
            (pixels,) = struct.unpack(">I", a2b_base64(text)[16:20])
            width = metadata.get("width", pixels)
            assert pixels >= 2 * width - 1, f"call figures.sharp() first: {cell.source[:80]!r}"
            assert width <= FIGURE_WIDTH, f"{width} pixels wide: {cell.source[:80]!r}"


@per_chapter
def test_stores_no_progress_and_nothing_empty(path):
    for cell in cells(path):
        for output in cell.outputs:
            if output.output_type == "stream":
                assert output.name == "stdout" and output.text.strip(), cell.source[:80]
                assert not notebooks.PROGRESS.search(output.text)


@per_chapter
def test_results_stand_in_real_tables(path):
    for cell in cells(path):
        output = "".join(o.text for o in cell.outputs if o.output_type == "stream")
        assert len([line for line in output.splitlines() if NUMBER_COLUMNS.search(line)]) < 3, (
            REAL_TABLE
        )


@per_chapter
def test_objectives_and_claims_lead_to_exercises(path):
    """Each thing that the reader will be able to do names an exercise that tests it, and no
    exercise is left out."""
    text = "\n\n".join(cell.source for cell in cells(path, "markdown"))
    objectives = (
        re.search(r"After this chapter you can\n\n((?:\d\. .*\n?)+)", text)[1].strip().splitlines()
    )
    numbers = [set(re.findall(r"\(#Exercise-(\d+)\)", objective)) for objective in objectives]
    exercises = set(re.findall(r"^### Exercise (\d+)", text, re.M))
    assert 3 <= len(objectives) <= 6 and all(numbers)
    assert set.union(*numbers) == exercises and len(exercises) >= 6


@per_chapter
def test_terms_of_the_glossary_are_linked(path):
    """What the glossary says this chapter explains is linked from it, where it is explained."""
    number = int(path.stem[:2])
    text = "\n".join(cell.source for cell in cells(path, "markdown"))
    terms = re.findall(
        r"^### (.+)\n\n.* · chapters? ([\d, and]+)$",
        (ROOT / "book" / "glossary.md").read_text("utf-8"),
        re.M,
    )
    own = [term for term, where in terms if number in map(int, re.findall(r"\d+", where))]
    assert (
        own and [term for term in own if f"glossary.md#{term.replace(' ', '-')})" not in text] == []
    )


def test_a_table_is_one_for_eyes_ears_and_terminals():
    table = tables.table(["", "accuracy, %"], [["ViT", "97.9 ± 0.3"], ["<b>", 5]])
    assert repr(table) == "      accuracy, %\nViT    97.9 ± 0.3\n<b>             5"
    page = table._repr_html_()
    assert (
        "97.9\u00a0±\u00a00.3" in page
        and page.count('scope="row"') == 2
        and page.count('scope="col"') == 1
        and "&lt;b&gt;" in page
    )
    with pytest.raises(ValueError, match="row 1 has 3 cells for 2 headings"):
        tables.table(["a", "b"], [[1, 2], [1, 2, 3]])
    with pytest.raises(ValueError, match="rows is empty"):
        tables.table(["a"], [])


def test_a_printed_table_is_seen():
    rows = [
        "digits      convolutional network      vision transformer",
        "    80      95.6 ±  0.6    67.4 ±  2.9",
    ]
    assert [bool(NUMBER_COLUMNS.search(row)) for row in rows] == [False, True]


GAPS = """(stretch) => {
  const article = document.querySelector(".bd-article");
  const headings = [...article.querySelectorAll("h1, h2, h3")];
  const end = headings.find((h) => /^[\\d.\\s]*Exercises/.test(h.textContent));
  const bottom = (end ?? article).getBoundingClientRect()[end ? "top" : "bottom"];
  const seen = [...article.querySelectorAll("img, figure, svg, .hx, .explorable")]
    .map((e) => e.getBoundingClientRect()).filter((r) => r.height > 60 && r.top < bottom);
  let last = article.getBoundingClientRect().top;
  const gaps = [];
  for (const r of [...seen.sort((a, b) => a.top - b.top), { top: bottom, bottom }]) {
    if (r.top - last > stretch) {
      const under = headings.filter((h) => h.getBoundingClientRect().top <= last + 5).pop() ?? headings[0];
      gaps.push([Math.round(r.top - last), under.textContent]);
    }
    last = Math.max(last, r.bottom);
  }
  return gaps;
}"""

SCROLLING = """(selector) => [...document.querySelectorAll(selector)]
  .filter((box) => box.clientWidth && box.scrollWidth > box.clientWidth + 1)"""


@pytest.fixture(scope="module", params=chapters(), ids=lambda path: path.stem)
def page(request, browser, book):
    with Visit(browser, (book / "book" / f"{request.param.stem}.html").as_uri()) as visit:
        visit.resize(1280)
        for explorable in visit.page.locator(".explorable").all():
            explorable.scroll_into_view_if_needed()
        yield visit


@pytest.mark.browser
def test_pictures_stand_beside_the_words(page):
    """From the title to the exercises, no stretch of more than three screens without a figure or an
    explorable."""
    page.resize(1280)
    assert page.page.evaluate(GAPS, STRETCH) == []


@pytest.mark.browser
def test_formulas_and_code_fit_a_laptop(page):
    page.resize(1280)
    wide = (
        f"({SCROLLING})('.bd-article mjx-container[display], .bd-article div.highlight"
        " pre').map((n) => n.textContent.slice(0, 80))"
    )
    assert page.page.evaluate(wide) == []


@pytest.mark.browser
def test_what_scrolls_on_a_phone_shows_that_it_does(page):
    """The edge behind which more follows is shaded."""
    page.resize(375)
    page.page.wait_for_timeout(200)
    plain = f"""({SCROLLING})('.bd-article mjx-container[display], .bd-article table')
      .filter((n) => !getComputedStyle(n).backgroundAttachment.includes("local")).map((n) => n.textContent.slice(0, 80))"""
    assert page.page.evaluate(plain) == []

"""The built book in a real browser: no foreign request, no error, accessible, narrow, light."""

import gzip
import html
import json
import re
import zipfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

import address as address_of_the_book
import pytest
import sample as sample_of_a_book
import torch
import yaml
from browser.page import pixels, serious

from hybridlib import pretrained
from hybridlib.widgets import EquationPanel
from hybridlib.widgets.equation_panel import SIDE
from hybridlib.widgets.equation_systems import check_state, from_link

ROOT = Path(__file__).resolve().parents[1]
PAGE_WEIGHT = 1_500_000  # bytes over the wire with gzip, widget data included
# 342 kB of page, 281 kB of figures, what every page needs, and room; no model
PAGE_WEIGHTS = {"/book/02_vit.html": 1_080_000}
SHELL_WEIGHT = 100_000  # what every page needs; less would mean that not everything was weighed
WIDTHS = (320, 375, 1280)  # the narrowest screen that WCAG asks for, a phone, a laptop

pytestmark = pytest.mark.browser


def toc_pages():
    """Return the addresses of all pages of _toc.yml, of the search page, and of the front door."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    return [
        f"{name}.html" for name in [toc["root"], *(c["file"] for c in chapters), "search", "index"]
    ]


class Visit:
    """A page open in the browser, with all that it asked for and complained of."""

    def __init__(self, browser, address, **options):
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(120_000)  # a loaded machine is slow, and not wrong
        self.page = self.context.new_page()
        self.requests, self.responses, self.errors = [], [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("response", lambda response: self.responses.append(response))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self.listen)
        self.page.goto(address, wait_until="networkidle")
        self.page.evaluate("() => window.MathJax?.startup?.promise")

    def weight(self):
        """Return the bytes of all answers, each packed with gzip as a web server would."""
        bodies = [r.body() for r in self.responses if urlsplit(r.url).scheme == "http"]
        return sum(len(gzip.compress(body, 6)) for body in bodies)

    def listen(self, message):
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def foreign(self, address):
        here = urlsplit(address).netloc
        return [
            url
            for url in self.requests
            if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).netloc != here
        ]

    def resize(self, width):
        self.page.set_viewport_size({"width": width, "height": 800})
        self.settle()

    def settle(self):
        """Wait until transitions are over and the page has been drawn twice."""
        self.page.wait_for_function(
            "() => document.getAnimations().every((a) => a.playState !== 'running')"
        )
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def overflow(self):
        """Return how many pixels the page is wider than the window, and what sticks out."""
        return self.page.evaluate("""() => {
          const width = document.documentElement.clientWidth;
          const excess = document.documentElement.scrollWidth - width;
          const wide = [...document.querySelectorAll("body *")]
            .filter((e) => excess > 0 && e.getBoundingClientRect().right > width + 1)
            .map((e) => `${e.tagName}.${e.className}`);
          return [excess, wide.slice(-5)];
        }""")

    def clipped(self):
        """Return the formulas of which the reader can see only a part, whatever they scroll."""
        return self.page.evaluate("""() => [...document.querySelectorAll(".math")]
          .filter((box) => {
            const inline = box.tagName === "SPAN";
            const formula = box.querySelector(inline ? "mjx-math" : "mjx-container");
            const [outer, inner] = [box, formula ?? box].map((e) => e.getBoundingClientRect());
            return inner.right > outer.right + 2 || inner.left < outer.left - 2;
          })
          .map((box) => box.querySelector("mjx-assistive-mml").textContent)""")

    def violations(self):
        """Return axe's serious and critical findings, each with the first element it names."""
        return [f"{name}: {elements[0]}" for name, elements in serious(self.page)]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.context.close()


@pytest.fixture(scope="session")
def address(book, serve):
    return serve(book)


@pytest.fixture(scope="module", params=toc_pages())
def visit(request, browser, book, address):
    """One open page of the book; the tests of a page share it."""
    assert (book / request.param).is_file()
    with Visit(browser, f"{address}/{request.param}") as visit:
        yield visit


def test_page_is_quiet_light_and_complete(visit, address):
    assert visit.foreign(address) == []
    assert visit.errors == []
    assert (
        SHELL_WEIGHT
        < visit.weight()
        <= PAGE_WEIGHTS.get(urlsplit(visit.page.url).path, PAGE_WEIGHT)
    )
    assert visit.page.title().strip()
    assert visit.page.locator("html").get_attribute("lang") == "en"
    description = visit.page.locator('meta[name="description"]').get_attribute("content")
    assert 20 <= len(description) <= 170
    assert visit.page.locator("mjx-merror").count() == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_page_fits_the_window(visit, width):
    visit.resize(width)
    assert visit.overflow() == [0, []]
    assert visit.clipped() == []


@pytest.mark.parametrize("width, scheme", [(320, "light"), (1280, "dark")])
def test_page_has_no_serious_accessibility_finding(visit, width, scheme):
    visit.resize(width)
    visit.page.emulate_media(color_scheme=scheme)
    visit.page.wait_for_selector(f'html[data-theme="{scheme}"]')
    visit.settle()
    assert visit.violations() == []


def test_icons_have_their_glyphs(browser, address):
    """The slim style sheet holds a glyph for every icon on the page, from its own small font."""
    with Visit(browser, f"{address}/book/intro.html") as visit:
        icons = visit.page.evaluate("""async () => {
          await document.fonts.ready;
          return [...document.querySelectorAll("[class*='fa-']")].map((icon) => {
            const style = getComputedStyle(icon, "::before");
            return [icon.className, style.content, style.fontFamily];
          });
        }""")
        assert len(icons) > 5
        assert [icon for icon in icons if icon[1] in ("none", "normal", '""')] == []
        assert [icon for icon in icons if "Font Awesome" not in icon[2]] == []
        assert not [url for url in visit.requests if "fontawesome" in url]


# What a link calls an explorable.
OTHERS = {
    "lookup": ".LiveLookup",
    "bench": ".DistillationBench",
    "tokens": ".LiveTokens",
    "tables": ".LiveTables",
    "gates": ".LiveGates",
    "steps": ".LiveCeiT",
    "rates": ".RateMaps",
    "stem": ".LiveStem",
    "bias": ".LiveBias",
    "layout": ".LayoutBuilder",
    "field": ".FieldChart",
    "papers": ".FieldChart",
    "guide": ".ChoiceGuide",
}


def sets_a_panel(address, page):
    """Whether a link names an explorable of that page; for an EquationPanel, also whether it can
    show what is said."""
    name = address.removeprefix("#").split("?")[0]
    if name in OTHERS:  # explorables that check in the browser what a link says
        return any(
            str(state.get("_anywidget_id")).endswith(OTHERS[name]) for state in widget_states(page)
        )
    for state in widget_states(page):
        said = from_link(address, name=state["name"]) if "setup" in state else None
        if said is not None:
            start = (
                state["state"]
                if said.get("system", state["state"]["system"]) == state["state"]["system"]
                else {}
            )
            check_state({**start, **said}, pictures=json.loads(state["setup"])["starts"], side=SIDE)
            return True
    return False


def widget_states(page):
    stored = re.search(
        r'<script type="application/vnd.jupyter.widget-state\+json">(.*?)</script>', page, re.DOTALL
    )
    return [widget["state"] for widget in json.loads(stored[1])["state"].values()] if stored else []


def test_links_that_set_a_panel_are_checked():
    widget = EquationPanel("vit")
    state = {
        "1": {"state": {"name": widget.name, "setup": widget.setup, "state": widget.state}},
        "2": {"state": {}},
    }
    page = (
        "<script"
        f' type="application/vnd.jupyter.widget-state+json">{json.dumps({"state": state})}</script>'
    )
    assert sets_a_panel("#panel?positions=0&query=3,4", page) and sets_a_panel(
        "#panel?system=convit&gate=-2", page
    )
    assert not sets_a_panel("#other?positions=0", page) and not sets_a_panel(
        "#panel?positions=0", ""
    )
    with pytest.raises(ValueError, match="has no 'gate'"):
        sets_a_panel("#panel?gate=-2", page)


def test_every_link_inside_the_book_leads_somewhere(book):
    """Each address in each page names a file of the book, and each anchor an element in it."""
    pages = {
        path: path.read_text("utf-8")
        for path in book.rglob("*.html")
        if "_static" not in path.parts
    }
    ids = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    followed = 0
    for path, text in pages.items():
        for address in re.findall(r'<a\b[^>]*?\bhref="([^"]*)"', text):
            parts = urlsplit(html.unescape(address))
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path.name}: {address}"
            # sets an explorable: hybridlib/widgets/state_links.js
            if "?" in parts.fragment and target in ids:
                assert sets_a_panel(f"#{unquote(parts.fragment)}", pages[target]), (
                    f"{path.name}: {address}"
                )
            elif parts.fragment and target in ids:
                assert unquote(parts.fragment) in ids[target], f"{path.name}: {address}"
                followed += 1
    assert followed > 200


def test_a_chapter_has_the_number_of_its_file(book):
    pages = sorted((book / "book").glob("[0-9][0-9]_*.html"))
    assert len(pages) >= 4
    for page in pages:
        number = int(page.name[:2])
        text = (
            page.read_text(encoding="utf-8").split("<article", 1)[1].split("prev-next-area", 1)[0]
        )
        counted = re.findall(r'class="(?:section-number">|caption-number">Fig\. )(\d+)\.', text)
        assert counted and set(map(int, counted)) == {number}, page.name


@pytest.mark.parametrize(
    "chapter", sorted((ROOT / "book").glob("*.ipynb")), ids=lambda path: path.stem
)
def test_a_page_without_javascript_says_where_an_explorable_would_stand(browser, book, chapter):
    stored = chapter.read_text("utf-8").count('"application/vnd.jupyter.widget-view+json": {')
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((book / "book" / f"{chapter.stem}.html").as_uri())
    notes = page.locator("noscript p")
    assert (
        stored
        and notes.all_inner_texts() == ["An explorable stands here. It needs JavaScript."] * stored
    )
    assert all(line.is_visible() for line in notes.all())
    context.close()


def test_search_finds_a_glossary_term_without_a_server(browser, book):
    """The search page works from the file system: its index is a script, not a request."""
    url = (book / "search.html").as_uri() + "?q=receptive+field"
    with Visit(browser, url) as visit:
        result = visit.page.locator("#search-results a", has_text="Glossary").first
        result.wait_for(timeout=10_000)
        assert visit.errors == []


COLAB = "https://colab.research.google.com"


def test_pages_point_to_the_repository_only_if_there_is_one(book, sample_book):
    """The sample book has an address, and the book's own is whatever _config.yml says."""
    url, branch = address_of_the_book.read()
    expected = {
        book: url if address_of_the_book.is_set(url) else None,
        sample_book: sample_of_a_book.ADDRESS,
    }
    for folder, repository in expected.items():
        for page in folder.glob("book/*.html"):
            text = page.read_text("utf-8")
            assert ".invalid" not in text, page.name
            if repository is None:
                assert COLAB not in text and "source-repository-button" not in text, page.name
            else:
                assert f'href="{repository}"' in text, page.name
            notebook = ROOT / "book" / f"{page.stem}.ipynb"
            if repository is not None and (notebook.is_file() or folder == sample_book):
                owner = repository.removeprefix("https://github.com")
                assert f"{COLAB}/github{owner}/blob/{branch}/book/{page.stem}.ipynb" in text, (
                    page.name
                )


def test_the_book_offers_the_wheel_that_its_pages_name(book):
    """One that holds this version of hybridlib, with its weights, records and scripts."""
    name = address_of_the_book.wheel_name()
    with zipfile.ZipFile(book / name) as archive:
        packed = set(archive.namelist())
        metadata = archive.read(
            f"hybridlib-{address_of_the_book.version()}.dist-info/METADATA"
        ).decode()
    assert f"\nVersion: {address_of_the_book.version()}\n" in metadata
    assert {
        "hybridlib/__init__.py",
        "hybridlib/pretrained/shipped/vit_nano_digits.safetensors",
    } <= packed
    links = re.findall(r'href="([^"]+\.whl)"', (book / "book" / "intro.html").read_text("utf-8"))
    url, _ = address_of_the_book.read()
    assert links == ([] if address_of_the_book.is_set(url) else [f"../{name}"])


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_the_vit_of_chapter_2_is_fetched_at_the_first_drawing(browser, book, address, scheme):
    """And answers as PyTorch does, offline or from a server."""
    root = book.as_uri() if scheme == "file" else address
    with Visit(browser, f"{root}/book/02_vit.html") as visit:
        pad = visit.page.locator(".hx-pad")
        pad.scroll_into_view_if_needed()
        readout = visit.page.locator(".hx-readout", has_text="Draw something.")
        readout.wait_for()
        assert [url for url in visit.requests if "/live/" in url] == []
        visit.page.get_by_role("button", name="sample 1").click()
        visit.page.locator(".hx-readout", has_text="The model says").wait_for()
        fetched = [url for url in visit.requests if "/live/" in url]
        assert [urlsplit(url).path.rsplit("/", 1)[1] for url in fetched] == ["vit_nano_digits.js"]
        visit.settle()
        canvas = pad.locator("canvas")
        ink = torch.tensor(pixels(canvas)[..., 0], dtype=torch.float32) / 255
        vit = pretrained.load("vit_nano_digits")
        mean, std = (
            torch.tensor(part)[:, None, None]
            for part in (vit.preparation.mean, vit.preparation.std)
        )
        with torch.no_grad():
            shares = 100 * vit.model(((ink - mean) / std)[None]).softmax(-1)[0]
        whole = [
            float(text.removesuffix(" %"))
            for text in visit.page.locator(".hx-share").all_text_contents()
        ]
        torch.testing.assert_close(torch.tensor(whole), shares, rtol=0, atol=0.51)  # whole percents
        assert visit.errors == []


# The widget host, on a page of its own


@pytest.fixture
def sample(browser, sample_book):
    """The sample page over file://, where module scripts and fetch would fail."""
    page = (sample_book / "book" / "sample.html").as_uri()
    with Visit(browser, page, viewport={"width": 320, "height": 800}) as visit:
        visit.page.locator(".counter").first.wait_for()
        yield visit


def test_host_shows_state_buffers_and_style(sample):
    counters = sample.page.locator(".counter")
    assert counters.all_inner_texts() == ["count 37 0 255"] * 2
    border = counters.first.locator("button").evaluate("e => getComputedStyle(e).borderColor")
    assert border == "rgb(1, 2, 3)"


def test_host_passes_changes_to_every_view_of_a_model(sample):
    buttons = sample.page.locator(".counter button")
    buttons.nth(0).click()
    buttons.nth(1).click()
    assert buttons.all_inner_texts() == ["count 5"] * 2


def test_host_keeps_an_error_in_its_place(sample):
    alerts = sample.page.locator(".explorable-error[role=alert]").all_inner_texts()
    assert alerts[0] == "This explorable could not start: no such thing"
    assert "needs Python" in alerts[1]
    assert len(alerts) == 2
    assert sample.page.locator(".counter").count() == 2


def test_host_asks_for_nothing_but_files(sample):
    assert {urlsplit(url).scheme for url in sample.requests} <= {"file", "blob", "data"}


def test_wide_output_and_math_scroll_in_their_own_box(sample):
    assert sample.overflow() == [0, []]
    assert sample.clipped() == []
    wide = sample.page.locator("div.math mjx-container").first
    assert wide.evaluate("e => e.scrollWidth > e.clientWidth")
    assert wide.get_attribute("tabindex") == "0"
    assert sample.violations() == []
    sample.resize(2000)
    sample.page.wait_for_function("e => !e.hasAttribute('tabindex')", arg=wide.element_handle())


def test_figures_keep_their_paper_in_the_dark(browser, sample_book):
    page = (sample_book / "book" / "sample.html").as_uri()
    with Visit(browser, page, color_scheme="dark") as visit:
        image = visit.page.locator(".cell_output img").first
        colour = image.evaluate("e => getComputedStyle(e).backgroundColor")
        assert min(map(int, re.findall(r"\d+", colour)[:3])) > 220

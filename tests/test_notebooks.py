"""Rules for the stored chapters. Their outputs themselves are compared by nbval (`make test`)."""

import html
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import notebooks
import pytest
from nbconvert import HTMLExporter
from site_extension import heading_slug

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
IGNORE = "nbval-ignore-output"
MAX_IGNORED = 4  # cells of a chapter whose outputs nbval does not compare: timings and progress
# bytes of widget state: the code and pictures of six explorables, and no trained model
MAX_WIDGET_DATA = 720_000
MAX_SIZE = 3_000_000  # bytes of a notebook, figures included
LINK = re.compile(r"\]\(([^)\s]+)\)")
ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")
LOCAL_PATH = re.compile(r"(?:/home/|/Users/|/root/|/tmp/|/work/|/content/|[A-Z]:\\)[\w.-]")

NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))
# the others are pages to play on, such as the workbench
CHAPTERS = [path for path in NOTEBOOKS if path.name[:2].isdigit()]
PAGES = sorted([*BOOK.glob("*.md"), *NOTEBOOKS])


def read_notebook(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def markdown(path):
    """Return the Markdown text of a page or a chapter."""
    if path.suffix == ".md":
        return path.read_text("utf-8")
    return "\n\n".join(c.source for c in read_notebook(path).cells if c.cell_type == "markdown")


def plain(heading):
    """Return a heading's text without links and code marks, as a browser shows it."""
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip()


def slug(heading):
    """Return the anchor that JupyterLab gives to a heading, and MyST by our setting."""
    return heading_slug(plain(heading))


def github_slug(heading):
    """Return the anchor that GitHub gives to a heading of a Markdown page."""
    return re.sub(r"[^\w\- ]", "", plain(heading).lower()).replace(" ", "-")


def headings(path):
    text = re.sub(r"```.*?```", "", markdown(path), flags=re.S)
    return re.findall(r"^#{1,6}\s+(.+?)\s*$", text, re.M)


def anchors(path):
    """The anchors that a page sets itself: the ledger's rows."""
    return re.findall(r'<\w+[^>]*\bid="([^"]+)"', markdown(path))


def links(path):
    """Yield each link of a page to another place of the book, with the file and the anchor it
    names."""
    for target in LINK.findall(markdown(path)):
        parts = urlsplit(target)
        if not parts.scheme:
            yield (
                target,
                (path.parent / parts.path).resolve() if parts.path else path,
                parts.fragment,
            )


def per_notebook(test):
    return pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)(test)


def per_chapter(test):
    return pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)(test)


def per_page(test):
    return pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)(test)


def test_every_chapter_is_in_the_table_of_contents():
    """The chapters in the order of their numbers, and each page to play on."""
    names = re.findall(r"book/(\w+)", (ROOT / "_toc.yml").read_text())
    assert [name for name in names if name[:2].isdigit()] == [path.stem for path in CHAPTERS]
    assert {path.stem for path in NOTEBOOKS} <= set(names)


@per_notebook
def test_stored_by_make_notebooks(path):
    """The file is in the form that `make notebooks` writes, made from the code that is here now."""
    notebook = read_notebook(path)
    key = notebook.metadata.get("hybrid_book", {}).get("digest")
    hint = f"outputs are out of date: make notebooks CHAPTER={path.stem}"
    assert key == notebooks.digest(notebook), hint
    assert notebooks.serialise(notebooks.normalise(notebook)) == path.read_text("utf-8")


@per_notebook
def test_ran_from_top_to_bottom_without_an_error(path):
    cells = [cell for cell in code_cells(read_notebook(path)) if cell.source.strip()]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert [o for cell in cells for o in cell.outputs if o.output_type == "error"] == []
    assert read_notebook(path).metadata.kernelspec.name == "python3"


@per_notebook
def test_holds_nothing_of_the_machine_it_ran_on(path):
    for cell in read_notebook(path).cells:
        texts = [cell.source, *(json.dumps(output) for output in cell.get("outputs", []))]
        for text in texts:
            assert not LOCAL_PATH.search(text), f"absolute path near {cell.source[:60]!r}"
            assert not ADDRESS.search(text), f"memory address near {cell.source[:60]!r}"


@per_notebook
def test_every_widget_view_has_its_state(path):
    notebook = read_notebook(path)
    state = notebook.metadata.get("widgets", {}).get(notebooks.STATE, {}).get("state", {})
    views = [
        output.data[notebooks.VIEW].model_id
        for cell in code_cells(notebook)
        for output in cell.outputs
        if notebooks.VIEW in output.get("data", {})
    ]
    assert set(views) <= set(state)
    assert all("_esm" in state[view]["state"] for view in views), "a view that needs a kernel"
    assert views, "a notebook of the book has at least one explorable"


@per_notebook
def test_is_small_enough_for_a_phone(path):
    widgets = read_notebook(path).metadata.get("widgets", {})
    assert len(json.dumps(widgets)) <= MAX_WIDGET_DATA
    assert path.stat().st_size <= MAX_SIZE


@per_notebook
def test_few_cells_are_left_uncompared_and_each_is_followed_by_a_check(path):
    cells = code_cells(read_notebook(path))
    ignored_cells = [i for i, cell in enumerate(cells) if IGNORE in cell.metadata.get("tags", [])]
    assert len(ignored_cells) <= MAX_IGNORED
    for index in ignored_cells:
        rest = cells[index + 1 :]
        assert any("assert" in cell.source for cell in rest[:2]), cells[index].source[:80]


@per_notebook
def test_reads_well_without_the_book(path):
    """No MyST directives or roles, which Colab and JupyterLab would show raw."""
    text = re.sub(r"`{3}python.*?`{3}", "", markdown(path), flags=re.S)
    assert re.findall(r"^(?:```|:::)\{[^}]+\}.*$|\{[\w:]+\}`", text, re.M) == []


@per_notebook
def test_every_image_has_a_text_alternative(path):
    text = markdown(path)
    assert re.findall(r"!\[\s*\]\([^)]*\)", text) == []
    tags = re.findall(r"<img\b[^>]*>", text)
    assert [tag for tag in tags if not re.search(r'alt="[^"]+"', tag)] == []


@per_page
def test_links_inside_the_book_lead_somewhere(path):
    schemes = {urlsplit(target).scheme for target in LINK.findall(markdown(path))}
    assert schemes <= {"", "http", "https", "mailto"}
    for target, file, anchor in links(path):
        assert file.is_file(), f"{path.name}: no file for {target}"
        if anchor:
            assert anchor in {*map(slug, headings(file)), *anchors(file)}, (
                f"{path.name}: no anchor for {target}"
            )


@per_chapter
def test_links_inside_a_chapter_lead_somewhere_in_jupyter(path):
    """nbconvert names headings as JupyterLab does: by their text, with its capitals, commas and
    colons."""
    text = nbformat.v4.new_notebook(
        cells=[c for c in read_notebook(path).cells if c.cell_type == "markdown"]
    )
    page, _ = HTMLExporter(template_name="basic").from_notebook_node(text)
    ids = set(re.findall(r'<h[1-6] id="([^"]*)"', page))
    inside = [anchor for _, file, anchor in links(path) if file == path]
    assert len(ids) > 20 and len(inside) > 10
    assert [anchor for anchor in inside if html.escape(anchor) not in ids] == []


@per_page
def test_links_to_markdown_pages_lead_somewhere_on_github(path):
    """GitHub writes anchors small and without punctuation, and finds them whatever the case in the
    link."""
    for target, file, anchor in links(path):
        if anchor and file.suffix == ".md":
            assert anchor.lower() in map(github_slug, headings(file)) or anchor in anchors(file), (
                f"{path.name}: {target}"
            )


@per_page
def test_cited_papers_stand_in_the_references(path):
    bibliography = (BOOK / "references.bib").read_text("utf-8")
    papers = set(re.findall(r"eprint\s*=\s*\{([\d.]+)\}", bibliography))
    cited_papers = set(re.findall(r"arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})", markdown(path)))
    assert cited_papers <= papers


def test_glossary_gives_each_term_a_chinese_word_and_a_chapter():
    text = (BOOK / "glossary.md").read_text("utf-8")
    entries = re.split(r"^### ", text, flags=re.M)[1:]
    assert len(entries) >= 60
    for entry in entries:
        name, zh_line, definition = entry.strip().split("\n\n", 2)
        form = r'<span lang="zh-Hans">[^<]+</span> · chapters? [\d, and]+'
        assert re.fullmatch(form, zh_line), name
        assert len(definition.split("\n\n## ")[0]) > 20, name
    slugs = [slug(entry.split("\n")[0]) for entry in entries]
    assert len(set(slugs)) == len(slugs)

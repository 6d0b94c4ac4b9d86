"""What the book adds to Sphinx: light icons, a local MathJax, a description on each page, links as
in Jupyter, trained models.

Jupyter Book loads this file (`local_extensions` in _config.yml). Nothing here reads the network.
"""

import base64
import functools
import hashlib
import html
import importlib.util
import io
import json
import re
import shutil
from pathlib import Path

import address
import home
from docutils import nodes
from fontTools import subset
from fontTools.ttLib import TTFont

from hybridlib import live

TEMPLATES = Path(__file__).parent / "templates"
DESCRIPTION_LENGTH = 160  # what search engines show of it

# MathJax without its menu: 160 kB of script (gzip) instead of 260, and the same formulas.
# assistive-mml writes MathML beside each formula, which is what screen readers read.
MATHJAX_START = ["input/tex", "output/chtml", "a11y/assistive-mml"]
MATHJAX_FILES = [
    "startup.js",
    "core.js",
    "input/tex.js",
    "input/tex/extensions",
    "output/chtml.js",
    "output/chtml/fonts",
    "a11y/assistive-mml.js",
]

VIEW = re.compile(r'<script type="application/vnd\.jupyter\.widget-view\+json">.*?</script>', re.S)
NO_SCRIPT = "<noscript><p>An explorable stands here. It needs JavaScript.</p></noscript>"

MODELS = '<script type="application/json" id="hybrid-models">{}</script>'  # host.js reads it

ICON_SHEET = "vendor/fontawesome/*/css/all.min.css"  # of the theme, under _static
THEME_SHEETS = "styles/*.css"
ICON_RULE = re.compile(r'((?:\.fa-[\w-]+:{1,2}before,?)+)\{content:"[^"]*"\}')
ICON_FONT = re.compile(r"(@font-face\{[^}]*?)src:url\(([^)]+\.woff2)\)[^}]*\}")
ICON_CODE = re.compile(r'"\\([ef][0-9a-f]{3})"|([\ue000-\uf8ff])')


def setup(app):
    options = app.config.html_theme_options
    if not address.is_set(options["repository_url"]):
        for button in ("repository_url", "use_repository_button", "launch_buttons"):
            options.pop(button, None)
    app.config.templates_path.append(str(TEMPLATES))
    app.config.mathjax_path = "mathjax/startup.js"
    app.config.mathjax3_config = {"loader": {"load": MATHJAX_START}}
    app.connect("source-read", home.fill_in)
    app.connect("doctree-read", know_own_anchors)
    app.connect("env-check-consistency", number_by_file)
    app.connect("html-page-context", home.furnish)
    app.connect("html-page-context", add_description)
    app.connect("html-page-context", add_no_script)
    app.connect("html-page-context", add_models)
    app.connect("build-finished", write_assets)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def number_by_file(app, env):
    """Give each chapter the number in its file's name: Sphinx counts, and while a chapter is
    missing it would call book/05_convit the fourth."""
    for page, numbers in env.toc_secnumbers.items():
        match = re.match(r"book/(\d\d)_", page)
        if not match:
            continue
        number = int(match[1])
        for counted in (numbers, *env.toc_fignumbers.get(page, {}).values()):
            counted.update({anchor: (number, *section[1:]) for anchor, section in counted.items()})
        for titles in (env.titles, env.longtitles):
            if "secnumber" in titles[page]:
                titles[page]["secnumber"] = (number, *titles[page]["secnumber"][1:])
        for link in env.tocs[page].findall(nodes.reference):
            if "secnumber" in link:
                link["secnumber"] = (number, *link["secnumber"][1:])


def heading_slug(title):
    """Return what stands after the # in a link to a heading: the form that JupyterLab and nbconvert
    know.

    The pages keep Sphinx's own ids. This is only how a chapter's text names a heading
    (_config.yml).
    """
    return title.strip().replace(" ", "-")


def know_own_anchors(app, doctree):
    """Let links lead to the ids that a page's own HTML has, such as the ledger's rows, and not to
    headings alone."""
    slugs = app.env.metadata[app.env.docname].setdefault("myst_slugs", {})
    for node in doctree.findall(nodes.raw):
        for anchor in re.findall(r'<tbody[^>]* id="([^"]+)"', node.astext()):
            slugs[anchor] = (node.line or 0, anchor, anchor)


def add_no_script(app, pagename, templatename, context, doctree):
    """Say where an explorable would stand if the browser runs no JavaScript."""
    if "body" in context:
        context["body"] = VIEW.sub(lambda match: match[0] + NO_SCRIPT, context["body"])


def add_models(app, pagename, templatename, context, doctree):
    """Tell a page with explorables which trained models there are, each with the digest of its
    file.

    The digest is part of the file's address, so that a browser's cache never gives an old one.
    """
    if VIEW.search(context.get("body", "")):
        versions = {
            name: hashlib.sha256(script.encode()).hexdigest()[:8]
            for name, script in model_scripts().items()
        }
        context["body"] += MODELS.format(json.dumps(versions))


@functools.cache
def model_scripts():
    """Return the script of every model that comes with hybridlib: `name -> text`. A page loads one
    at first use."""
    return {
        name: (
            f"hybridModels.take({json.dumps(name)},"
            f" {json.dumps(base64.b64encode(make()).decode())});\n"
        )
        for name, make in live.shipped().items()
    }


def write_models(target):
    target.mkdir(exist_ok=True)
    for name, script in model_scripts().items():
        (target / f"{name}.js").write_text(script, "utf-8")


def add_description(app, pagename, templatename, context, doctree):
    """Put the page's first real paragraph into its meta description."""
    text = describe(doctree) if doctree is not None else ""
    text = text or f"{context.get('title', pagename)}: {app.config.html_title}"
    tag = f'\n<meta name="description" content="{html.escape(text)}" />'
    title = re.sub("<[^>]+>", "", context.get("title", ""))
    context["metatags"] = (
        context.get("metatags", "") + tag + home.card(*address.read(Path(app.srcdir)), title, text)
    )


def describe(doctree):
    """Return the first paragraph of at least 40 characters, cut at a word."""
    for paragraph in doctree.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split())
        if len(text) >= 40:
            if len(text) <= DESCRIPTION_LENGTH:
                return text
            return text[:DESCRIPTION_LENGTH].rsplit(" ", 1)[0] + " …"
    return ""


def write_assets(app, error):
    if error is None and app.builder.format == "html":
        static = Path(app.outdir) / "_static"
        copy_mathjax(static / "mathjax")
        write_models(static / "live")
        write_icons(Path(app.outdir))
        if (Path(app.outdir) / f"{home.PAGE}.html").exists():
            home.write_index(Path(app.outdir))


def copy_mathjax(target):
    """Copy the needed files of the PyPI package sphinx-mathjax-offline."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    source = Path(spec.origin).parent / "static" / "mathjax"
    for name in MATHJAX_FILES:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)
        else:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)


def write_icons(outdir):
    """Write icons.css: the theme's icon sheet with the icons in use, their glyphs inside it."""
    static = outdir / "_static"
    pages = [*outdir.rglob("*.html"), *(static / "scripts").glob("*sphinx*theme.js")]
    icons = set(re.findall(r"\bfa-[a-z0-9-]+", read_all(pages)))

    def keep_if_used(match):
        return match[0] if icons.intersection(re.findall(r"fa-[\w-]+", match[1])) else ""

    source = next(static.glob(ICON_SHEET))
    sheet = ICON_RULE.sub(keep_if_used, source.read_text("utf-8"))
    pairs = ICON_CODE.findall(sheet + read_all(static.glob(THEME_SHEETS)))
    codes = {int(escape, 16) if escape else ord(char) for escape, char in pairs}

    def embed(match):
        font = (source.parent / match[2]).with_suffix(".ttf")
        data = base64.b64encode(subset_font(font, codes)).decode()
        return f'{match[1]}src:url(data:font/woff;base64,{data}) format("woff")}}'

    (static / "icons.css").write_text(ICON_FONT.sub(embed, sheet), "utf-8")


def read_all(paths):
    return "\n".join(path.read_text("utf-8") for path in paths)


def subset_font(path, codes):
    """Return the font at `path`, cut down to the characters `codes`, as WOFF bytes."""
    options = subset.Options(flavor="woff", layout_features=[], hinting=False, notdef_outline=False)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=codes)
    font = TTFont(path, recalcTimestamp=False)
    subsetter.subset(font)
    font.flavor = "woff"
    buffer = io.BytesIO()
    font.save(buffer)
    return buffer.getvalue()

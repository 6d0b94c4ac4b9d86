"""The first page: its numbers read from the data, its map from _toc.yml, and a piece of the
workbench that is alive in it.

book/intro.md says where each stands: `{{claims}}` and the like for a number, an empty `<div
class="home-…"></div>` for the rest.
"""

import base64
import functools
import html
import json
import posixpath
import re
from pathlib import Path

import address
import claims
import home_map
import torch
import yaml

from hybridlib import live, pretrained
from hybridlib.widgets import Glance

ROOT = Path(__file__).resolve().parents[2]
PAGE = "book/intro"
TITLE = "Convolution meets attention: a book of vision models that run in the page"
WORDS = "None One Two Three Four Five Six Seven Eight Nine Ten Eleven Twelve".split()
SYSTEMS = ("convnet_nano_digits", "vit_nano_digits")
WORKBENCH = "workbench.html"
SAMPLE = 13  # of `live.held_out`, as on the workbench: one that a single pixel turns for the ViT
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
LINK = re.compile(r'\b(href|src|action)="([^"]*)"')


def numbers(root=ROOT):
    """What the first page says of the book in numbers: `name -> text`."""
    ledger = claims.load(root / "book" / "claims.json")
    settled = sum(claim["settled"] != "open" for claim in ledger)
    written = chapters(root)
    speed = json.loads((root / "book" / "results" / "bench_models.json").read_text("utf-8"))
    return {
        "claims": str(len(ledger)),
        "settled": str(settled) if settled < len(ledger) else "all",
        "equal": WORDS[len({row["model"].split()[0] for row in speed["rows"]})],
        "here": (
            f"{WORDS[len(written)]} of nine chapters are here; the others are in preparation."
            if len(written) < 9
            else "All nine chapters are here."
        ),
    }


def chapters(root=ROOT):
    """The chapters of _toc.yml: `number -> "02_vit.html"`, as their names say it."""
    text = (root / "_toc.yml").read_text("utf-8")
    files = [
        chapter["file"] for part in yaml.safe_load(text)["parts"] for chapter in part["chapters"]
    ]
    stems = [posixpath.basename(file) for file in files]
    return {int(stem[:2]): f"{stem}.html" for stem in stems if re.match(r"\d\d_", stem)}


def fill_in(app, docname, source):
    """Put the numbers into the page's text (Sphinx's event source-read)."""
    if docname == PAGE:
        for name, text in numbers().items():
            source[0] = source[0].replace("{{" + name + "}}", text)


def furnish(app, pagename, templatename, context, doctree):
    """Put map, list of chapters and explorable in their places (Sphinx's event
    html-page-context)."""
    if pagename != PAGE:
        return
    context["docstitle"] = ""
    context["title"] = TITLE
    for name, markup in (
        ("live", explorable()),
        ("map", home_map.draw(chapters())),
        ("list", listing(chapters())),
    ):
        place = f'<div class="home-{name}"></div>'
        assert place in context["body"], f"book/intro.md has no {place}"
        context["body"] = context["body"].replace(
            place, f"{place.removesuffix('</div>')}{markup}</div>"
        )
    app.add_js_file("host.js", defer="defer")


def listing(pages):
    """Every system with what it does, in the order of the chapters."""
    rows = []
    for system in home_map.SYSTEMS:
        there = pages.get(system.chapter)
        where = (
            f'<a href="{there}">Chapter {system.chapter}</a>'
            if there
            else f"Chapter {system.chapter}, in preparation"
        )
        rows.append(
            f"<li><strong>{system.name}</strong> ({system.date}). {system.line} {where}</li>"
        )
    return f"<ul>{''.join(rows)}</ul>"


@functools.cache
def explorable():
    """The glance as two JSON scripts, for host.js: what a stored notebook has."""
    pictures, _ = live.held_out()
    picture = pictures[SAMPLE]
    shares = [shares_of(name, picture) for name in SYSTEMS]
    widget = Glance(
        models=live.shipped(*SYSTEMS),
        picture=picture,
        shares=shares,
        sample=SAMPLE,
        workbench=WORKBENCH,
    )
    traits = {name: getattr(widget, name) for name in widget.trait_names(sync=True)}
    plain = {
        name: value for name, value in traits.items() if isinstance(value, str | int | list)
    } | {"_esm": widget._esm, "_css": widget._css}
    buffers = [
        {"path": [name], "data": base64.b64encode(value).decode(), "encoding": "base64"}
        for name, value in traits.items()
        if isinstance(value, bytes)
    ]
    state = {"state": {"glance": {"state": plain, "buffers": buffers}}}
    return script(STATE, state) + script(VIEW, {"model_id": "glance"})


def script(kind, content):
    text = json.dumps(content).replace("</", "<\\/")
    return f'<script type="{kind}">{text}</script>'


def shares_of(name, picture):
    """What a shipped model says of a picture, uint8 `32 32`: a share for each class."""
    images = torch.from_numpy(picture)[None, None].expand(1, 3, -1, -1)
    loaded = pretrained.load(name)
    with torch.no_grad():
        return loaded.model(loaded.preparation.normalise(images)).softmax(-1)[0].tolist()


def card(url, branch, title, description):
    """What a page that links here may show: title, description and, where the book has an address,
    a picture."""
    tags = {
        "og:type": "book",
        "og:title": title,
        "og:description": description,
        "og:site_name": "Convolution meets attention",
    }
    if address.is_set(url):
        raw = url.replace("https://github.com/", "https://raw.githubusercontent.com/")
        tags |= {
            "og:image": f"{raw}/{branch}/book/site_assets/card.png",
            "og:image:width": "1200",
            "og:image:height": "630",
        }
        tags |= {
            "og:image:alt": (
                "Convolution meets attention: a kernel of nine cells, and lines of attention from"
                " its middle"
            )
        }
    lines = [
        f'<meta property="{name}" content="{html.escape(text)}" />' for name, text in tags.items()
    ]
    return "\n".join(["", *lines, '<meta name="twitter:card" content="summary_large_image" />'])


def write_index(outdir):
    """Write index.html: the first page itself, at the book's front door, with addresses as seen
    from there."""
    text = (outdir / f"{PAGE}.html").read_text("utf-8")

    def from_the_front(match):
        name, there = match.groups()
        if re.match(r"[a-z]+:|//|#|$", there):
            return match[0]
        path, mark, rest = re.match(r"([^?#]*)([?#]?)(.*)", there, re.S).groups()
        return f'{name}="{posixpath.normpath(posixpath.join("book", path)) if path else ""}{mark}{rest}"'

    text = LINK.sub(from_the_front, text).replace(
        'data-content_root="../"', 'data-content_root="./"'
    )
    # in the explorable's state
    text = text.replace(f'"workbench": "{WORKBENCH}"', f'"workbench": "book/{WORKBENCH}"')
    (outdir / "index.html").write_text(text, "utf-8")

"""The map of the book on its first page: a time line that convolution and attention approach from
both sides.

Two drawings of the same, one for wide and one for narrow windows; the style sheet shows one of
them. A chapter that _toc.yml lists is a link in colour; one that it does not list yet is grey, and
says that it is in preparation.
"""

from html import escape
from typing import NamedTuple

from hybridlib.widgets.palette import PARTS


class System(NamedTuple):
    name: str
    date: str
    lane: str  # "convolution", "bridge" or "attention": the side that it comes from
    chapter: int
    line: str  # what it does, in one sentence
    column: int = 0  # in the wide drawing: when it came
    row: int = 0  # in the narrow one


SYSTEMS = [
    System(
        "ResNet",
        "2015",
        "convolution",
        1,
        "The convolutional network that all are compared with.",
        0,
        0,
    ),
    System(
        "Cordonnier et al.",
        "Nov 2019",
        "bridge",
        1,
        "Nine heads of attention <em>are</em> a 3×3 convolution.",
        1,
        1,
    ),
    System("ViT", "Oct 2020", "attention", 2, "A picture is a sentence of patches.", 2, 2),
    System(
        "BoTNet",
        "Jan 2021",
        "convolution",
        3,
        "Attention in place of the last stage's 3×3 convolutions.",
        4,
        4,
    ),
    System(
        "DeiT", "Dec 2020", "attention", 4, "A convolutional teacher instead of more data.", 3, 3
    ),
    System(
        "ConViT",
        "Mar 2021",
        "attention",
        5,
        "Heads that start as convolutions and may leave.",
        4,
        5,
    ),
    System(
        "CeiT",
        "Mar 2021",
        "attention",
        6,
        "Convolution in the stem and in the feed-forward layer.",
        5,
        6,
    ),
    System(
        "Early conv.",
        "Jun 2021",
        "attention",
        7,
        "Five small convolutions instead of one large stride.",
        6,
        7,
    ),
    System(
        "CoAtNet",
        "Jun 2021",
        "bridge",
        8,
        "Convolution first, attention after, and a layout for each amount of data.",
        6,
        8,
    ),
    System("Choosing", "today", "bridge", 9, "All of them under one budget: which, when?", 7, 9),
]

CARD = (122, 100)  # width and height of a card
WIDE, NARROW = (1060, 420), (396, 1135)
BLUE, ORANGE, GREEN, TOKEN, YELLOW = (
    PARTS[kind] for kind in ("convolution", "attention", "feed-forward", "token", "pooling")
)


def rect(x, y, w, h, fill):
    return f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="2" fill="{fill}"/>'


def dot(x, y, r, fill):
    return f'<circle cx="{x}" cy="{y}" r="{r}" fill="{fill}"/>'


def path(d, colour):
    return f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="2"/>'


def kernel(x, y, fill, cell=9):
    return "".join(
        rect(x + cell * c, y + cell * r, cell - 2, cell - 2, fill)
        for r in range(3)
        for c in range(3)
    )


# What is particular about each system, on 106 x 40.
THUMBNAILS = {
    "ResNet": (
        "".join(rect(8 + 32 * i, 14, 22, 22, BLUE) for i in range(3)) + path("M3 25V6H104V25", BLUE)
    ),
    "Cordonnier et al.": (
        kernel(14, 7, BLUE, 10)
        + path("M50 17H58M50 23H58", "currentColor")
        + "".join(dot(72 + 11 * c, 10 + 11 * r, 4.5, ORANGE) for r in range(3) for c in range(3))
    ),
    "ViT": (
        path("M10 9L76 32M29 9L76 32M48 9L76 32", ORANGE)
        + "".join(rect(3 + 19 * i, 2, 15, 15, "currentColor") for i in range(5))
        + dot(76, 32, 6, TOKEN)
    ),
    "BoTNet": (
        "".join(rect(4 + 25 * i, 4 + 4 * i, 20, 32 - 8 * i, BLUE) for i in range(3))
        + rect(79, 10, 22, 20, ORANGE)
    ),
    "DeiT": (
        rect(4, 8, 24, 24, BLUE)
        + path("M31 20H66M60 15L66 20L60 25", "currentColor")
        + dot(80, 12, 6, TOKEN)
        + dot(80, 29, 6, YELLOW)
        + rect(92, 6, 10, 29, ORANGE)
    ),
    "ConViT": (
        kernel(4, 6, BLUE)
        + path("M40 27H66", "currentColor")
        + dot(53, 27, 4, TOKEN)
        + "".join(
            dot(x, y, r, ORANGE)
            for x, y, r in ((75, 10, 3), (87, 17, 5.5), (99, 8, 3), (78, 31, 4), (98, 31, 4.5))
        )
    ),
    "CeiT": (
        rect(4, 8, 18, 24, BLUE)
        + rect(28, 8, 24, 24, ORANGE)
        + rect(58, 5, 44, 30, GREEN)
        + kernel(68, 8, BLUE)
    ),
    "Early conv.": (
        "".join(rect(4 + 13 * i, 4 + 2.5 * i, 9, 32 - 5 * i, BLUE) for i in range(5))
        + rect(72, 8, 30, 24, ORANGE)
    ),
    "CoAtNet": "".join(
        rect(4 + 25 * i, 2 + 5 * i, 20, 36 - 10 * i, fill)
        for i, fill in enumerate((BLUE, BLUE, ORANGE, ORANGE))
    ),
    "Choosing": (
        path("M8 3V36H102", "currentColor")
        + "".join(
            dot(x, y, 4, fill)
            for x, y, fill in (
                (22, 28, BLUE),
                (38, 20, GREEN),
                (54, 22, TOKEN),
                (70, 11, ORANGE),
                (90, 8, YELLOW),
            )
        )
    ),
}


def draw(pages):
    """Return both drawings as HTML.

    Args:
        pages: address of each chapter that is there: `number -> "02_vit.html"`.
    """
    return drawing(pages, "wide") + drawing(pages, "narrow")


def drawing(pages, form):
    places = {system: place(system, form) for system in SYSTEMS}
    width, height = WIDE if form == "wide" else NARROW
    cards = "".join(card(system, places[system], pages.get(system.chapter)) for system in SYSTEMS)
    label = (
        "Map of the book: a time line from 2015 to today, with convolution at one side and"
        " attention at the other."
    )
    return (
        f'<svg class="home-map home-map-{form}" viewBox="0 0 {width} {height}" role="group"'
        f' aria-label="{label}">{arrowheads(form)}{axis(form, places)}{cards}</svg>'
    )


def place(system, form):
    """The upper left corner of a card: time runs to the right, or downwards; the lanes are the
    other way."""
    w, h = CARD
    lane = ("convolution", "bridge", "attention").index(system.lane)
    if form == "wide":
        return 12 + (WIDE[0] - 24 - w) / 7 * system.column, (34, 160, 286)[lane]
    return (4, (NARROW[0] - w) / 2, NARROW[0] - w - 4)[lane], 34 + 110 * system.row


def arrowheads(form):
    heads = "".join(
        f'<marker id="home-{form}-{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
        f' markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8Z" fill="{fill}"/></marker>'
        for name, fill in (("convolution", BLUE), ("attention", ORANGE), ("bridge", "currentColor"))
    )
    return f"<defs>{heads}</defs>"


def axis(form, places):
    """The names of both sides, the line of time in the middle, and an arrow to it from every system
    at a side."""
    w, h = CARD

    def arrow(d, name):
        return f'<path d="{d}" class="home-{name}" marker-end="url(#home-{form}-{name})"/>'

    parts = []
    if form == "wide":
        parts.append(
            '<text x="12" y="22" class="home-side">From convolution: exchange a layer</text>'
        )
        parts.append(
            '<text x="12" y="410" class="home-side">From attention: give back what it had to'
            " learn</text>"
        )
        parts.append(arrow(f"M12 210H{WIDE[0] - 4}", "bridge"))
        met = [system.column for system in places if system.lane == "bridge"]
        for system, (x, y) in places.items():
            if system.lane != "bridge":
                # or the card that stands on it
                line = (
                    210
                    if system.column not in met
                    else 160
                    if system.lane == "convolution"
                    else 260
                )
                start, end = (y + h, line - 4) if system.lane == "convolution" else (y, line + 4)
                parts.append(arrow(f"M{x + w / 2:.1f} {start}V{end}", system.lane))
    else:
        parts.append('<text x="4" y="20" class="home-side">From convolution</text>')
        parts.append(
            '<text x="392" y="20" text-anchor="end" class="home-side">From attention</text>'
        )
        parts.append(arrow("M198 34V1130", "bridge"))
        for system, (x, y) in places.items():
            if system.lane != "bridge":
                start, end = (x + w, 194) if system.lane == "convolution" else (x, 202)
                parts.append(arrow(f"M{start:.1f} {y + h / 2:.1f}H{end}", system.lane))
    return "".join(parts)


def card(system, corner, address):
    """A card, a link if its chapter is there. `corner`: of its left upper edge."""
    w, h = CARD
    x, y = corner
    state = f"Chapter {system.chapter}" if address else f"Chapter {system.chapter}: soon"
    drawing = (
        f'<rect class="home-card" width="{w}" height="{h}" rx="6"/><g class="home-thumbnail"'
        f' transform="translate(8 7)">{THUMBNAILS[system.name]}</g><text x="8" y="64"'
        f' class="home-name">{escape(system.name)}</text><text x="8"'
        f' y="78">{system.date}</text><text x="8" y="93" class="home-chapter">{state}</text>'
    )
    inside = (
        f'<a href="{address}">{drawing}</a>' if address else f'<g class="home-coming">{drawing}</g>'
    )
    return f'<g transform="translate({x:.1f} {y})">{inside}</g>'

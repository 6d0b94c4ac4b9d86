"""Write the claims ledger: book/claims.json, book/effects.json and the records in book/results ->
book/claims.md.

Each claim has an id, a chapter, the claim, who makes it, and how the book settles it:

* `settled`: "proved" (an equality checked in code), "measured" (recorded runs at our scale),
  "cited" (needs ImageNet or more: the paper's figure stands beside ours), or "open";
* `how`: one sentence that says what was checked, with the figures. Empty while open;
* `link`: the section that does it, such as "02_vit.ipynb#Cut-into-patches". Empty while open.

What a measured claim's effects are stands in effects.json (see effects.py), which has an entry for
each of them and for no other. The page is one table, a <tbody> for each claim, in which ledger.js
filters.
"""

import html
import json
import math
import re
from collections import Counter
from functools import cache
from itertools import groupby
from pathlib import Path

import effects

BOOK = Path(__file__).resolve().parents[1]
SETTLED = ("proved", "measured", "cited", "open")
MARKS = {
    "proved": "=",
    "measured": "±",
    "cited": "“",
    "open": "?",
    effects.REPRODUCED: "✓",
    effects.WEAK: "~",
    effects.CONTRADICTED: "✗",
}
KEYS = ["id", "chapter", "claim", "who", "settled", "how", "link"]
HEAD = """\
# Claims ledger

<!-- Made from claims.json, effects.json and results/ by tools/claims.py: change those, then run `make book`. -->

What the papers claim, and how this book settles it. **Proved** means that code in the chapter
checks an equality. **Measured** means runs at our small scale, with seeds and spread: the paper's effect
stands beside ours with its 95 % interval. **Cited** means that it needs ImageNet or more: the chapter gives
the paper's figure and the command that would run it.{open}

Now: {settled}. Of {judged} measured effects that a claim puts on one side, {verdicts}. {protocols}

<details><summary>How an effect becomes a verdict</summary>

- An effect is the difference between two arms, taken seed by seed (*paired*): both arms of a seed saw the same
  pictures. The interval is Student's *t*. Three seeds leave it two degrees of freedom, so it reaches 2.5 standard
  deviations to either side. Shares of runs are *unpaired*, with Newcombe's interval, which takes every run as
  independent.
- **Reproduced**: the whole interval lies on the claim's side of zero (of 1 for a ratio); where the claim is that there
  is no effect, within what would matter.
- **Contradicted**: the whole interval lies on the other side, or beyond what would matter; under the paper's own
  protocol also if it leaves the paper's figure out.
- **Too weak to tell**: anything else. Half of the interval's width then says how large an effect these runs could
  have seen. A run that could not have shown the effect at all is too weak as well, and the reason stands beside it.
- A verdict is about an effect's sign in our small runs, not about its size. Among so many intervals at 95 % one or two
  will have a wrong sign by chance.
- Only papers' figures that we have read stand here. Papers mostly report one run, so theirs have no interval.

</details>
"""
FILTER_END = """\
<p><span role="status" id="ledger-count"></span> <button type="reset">Show all</button></p>
</form>
"""
COLUMNS = (
    "",
    "Claim, and what was compared",
    "In the paper",
    "Here, with 95 % interval",
    "Verdict",
)
PLOT = 120, 18  # width and height of an interval's drawing


def load(path=BOOK / "claims.json"):
    """Return the claims, checked; a ValueError names the claim and what is wrong with it."""
    claims = json.loads(path.read_text("utf-8"))
    for claim in claims:
        check(claim)
    ids = Counter(claim["id"] for claim in claims)
    if twice := [id_ for id_, count in ids.items() if count > 1]:
        raise ValueError(f"claims {twice} stand twice in {path.name}; give each id once")
    return claims


def check(claim):
    name = f"claim {claim.get('id')!r}"
    if list(claim) != KEYS:
        raise ValueError(f"{name} has the keys {list(claim)}; it needs {KEYS}, in this order")
    if claim["settled"] not in SETTLED:
        raise ValueError(f"{name}: settled is {claim['settled']!r}; use one of {SETTLED}")
    is_open = claim["settled"] == "open"
    for key in ("how", "link"):
        if bool(claim[key]) == is_open:
            state = "empty" if is_open else "filled in"
            raise ValueError(f"{name} is {claim['settled']}, so {key!r} must be {state}")


def render(claims, measured=None):
    """Return the page's Markdown.

    Args:
        claims: as from `load`.
        measured: claim -> its effects, as from `effects.load`, which is the default.
    """
    measured = effects.load() if measured is None else measured
    wrong = {c["id"] for c in claims if c["settled"] == "measured"} ^ measured.keys()
    if wrong:
        raise ValueError(
            f"claims {sorted(wrong)}: effects.json has an entry for each measured claim and for no"
            " other"
        )
    parts = [head(claims, measured), filters(claims, measured), TABLE_START]
    for chapter, its in groupby(claims, key=lambda claim: claim["chapter"]):
        parts.append(chapter_row(chapter))
        parts += [rows(claim, measured.get(claim["id"], [])) for claim in its]
    parts.append('</table>\n</div>\n\n<script defer src="../_static/ledger.js"></script>')
    return "\n".join(parts) + "\n"


def head(claims, measured):
    counts = Counter(claim["settled"] for claim in claims)
    every = [effect for its in measured.values() for effect in its]
    verdicts = Counter(effect.verdict for effect in every if effect.verdict)
    same = sum(effect.spec.get("same", False) for effect in every)
    return HEAD.format(
        open=" **Open** means that no chapter has settled it yet." if counts["open"] else "",
        settled=listed(f"{counts[state]} {state}" for state in SETTLED if counts[state]),
        judged=verdicts.total(),
        verdicts=listed(f"{verdicts[verdict]} are {verdict}" for verdict in effects.VERDICTS),
        protocols=(
            f"{same or 'None'} of them ran under {'its' if same < 2 else 'their'} paper's protocol:"
            " our pictures, networks and trainings are far smaller."
        ),
    )


def listed(words):
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


# The filter


def facets(claim, its):
    """Return what the filter knows of a claim."""
    return {
        "chapter": [str(claim["chapter"])],
        "settled": [claim["settled"]],
        "verdict": list(dict.fromkeys(effect.verdict for effect in its if effect.verdict)),
    }


def filters(claims, measured):
    """Return the form, which ledger.js shows."""
    all_facets = [facets(claim, measured.get(claim["id"], [])) for claim in claims]
    choices = {
        "chapter": list(dict.fromkeys(str(claim["chapter"]) for claim in claims)),
        "settled": [
            state for state in SETTLED if any(claim["settled"] == state for claim in claims)
        ],
        "verdict": list(effects.VERDICTS),
    }
    legends = {
        "chapter": "Chapter",
        "settled": "How it is settled",
        "verdict": "What an effect of it is",
    }
    lines = ['<form class="ledger-filter" aria-label="Filter the claims" hidden>']
    for name, values in choices.items():
        lines.append(f"<fieldset><legend>{legends[name]}</legend>")
        for value in values:
            count = sum(value in one[name] for one in all_facets)
            words = value if name == "chapter" else f"{mark(value)} {value} ({count})"
            lines.append(
                f'<label><input type="checkbox" name="{name}" value="{value}"> {words}</label>'
            )
        lines.append("</fieldset>")
    return "\n".join(lines) + "\n" + FILTER_END


def mark(state):
    return f'<span class="ledger-mark" aria-hidden="true">{MARKS[state]}</span>'


# The table

TABLE_START = (
    '<div class="ledger-box">\n<table class="ledger" role="table">\n<caption>All claims. A measured'
    ' claim has a row for each effect.</caption>\n<thead role="rowgroup"><tr role="row">'
    + "".join(
        f'<th role="columnheader" scope="col">{name or "<span>No.</span>"}</th>' for name in COLUMNS
    )
    + "</tr></thead>\n"
)


def chapter_row(chapter):
    headings = headings_of(chapter)
    words = (
        f"[Chapter {chapter}: {headings[0][0]}]({headings[0][1]})"
        if headings
        else f"Chapter {chapter}"
    )
    return (
        '<tbody class="ledger-chapter" role="rowgroup"><tr role="row"><th role="rowheader"'
        f' scope="rowgroup" colspan="5">\n\n{words}\n\n</th></tr></tbody>\n'
    )


@cache
def headings_of(chapter):
    """Return a chapter's headings, each with the address of its section; the first is the chapter's
    own. None if the chapter is not there."""
    headings = []
    for path in BOOK.glob(f"{chapter:02d}_*.ipynb"):
        cells = [
            cell
            for cell in json.loads(path.read_text("utf-8"))["cells"]
            if cell["cell_type"] == "markdown"
        ]
        titles = re.findall(
            r"^#+ +(.+?) *$", "\n\n".join("".join(cell["source"]) for cell in cells), re.M
        )
        headings = [(title, f"{path.name}#{title.replace(' ', '-')}") for title in titles]
        headings[0] = titles[0], path.name
    return headings


def where(claim):
    """Return a link to what settles a claim, in the words of that section's heading."""
    for title, link in headings_of(claim["chapter"]):
        if link == claim["link"]:
            return f"[Chapter {claim['chapter']}: {title}]({link})"
    return f"[Chapter {claim['chapter']}]({claim['link']})"


def rows(claim, its):
    """Return a claim's <tbody>: a row for the claim, and one for each of its effects."""
    data = " ".join(
        f'data-{name}="{"|".join(values)}"' for name, values in facets(claim, its).items()
    )
    if claim["settled"] == "open":
        how = f"Chapter {claim['chapter']} has not settled it yet."
    else:
        how = f"{claim['how']} {where(claim)}"
    return (
        f'<tbody class="ledger-claim" id="Claim-{claim["id"]}" role="rowgroup" {data}><tr'
        ' role="row">'
        f'<th role="rowheader" scope="rowgroup" rowspan="{1 + len(its)}">{claim["id"]}</th><td'
        ' role="cell" colspan="3">\n\n'
        f"{claim['claim']} *({claim['who']})*\n\n{how}\n\n"
        f'</td><td role="cell">{state(claim["settled"])}</td></tr>\n'
        + "".join(effect_row(effect, its) for effect in its)
        + "</tbody>\n"
    )


def state(name):
    return f'<span class="ledger-state" data-state="{name}">{mark(name)} {name}</span>'


def effect_row(effect, its):
    cells = {
        "what": f"{html.escape(effect.spec['what'])}<small>{html.escape(effect.protocol)}</small>",
        "In the paper": in_the_paper(effect),
        "Here": here(effect) + plot(effect, its),
        "Verdict": judgement(effect),
    }
    inside = "".join(f'<td role="cell"{named(name)}>{cell}</td>' for name, cell in cells.items())
    return f'<tr class="ledger-effect" role="row">{inside}</tr>\n'


def named(name):
    """The attribute from which a narrow page writes the column's name beside a cell."""
    return "" if name == "what" else f' data-name="{name}"'


def in_the_paper(effect):
    paper = effect.spec.get("paper")
    if paper is None:
        return '<span class="ledger-silent">no figure</span>'
    sizes = ", ".join(
        f"{number(size, effect.spec)}{f' ({html.escape(name)})' if name else ''}"
        for name, size in effect.paper
    )
    protocol = "the same protocol" if effect.spec.get("same") else "another protocol"
    return (
        f"{html.escape(paper.get('words', '')) or sizes}<small>{html.escape(paper['source'])};"
        f" {protocol}</small>"
    )


def here(effect):
    spec = effect.spec
    low, high = (number(value, spec) for value in (effect.low, effect.high))
    unit = f" {spec['unit']}" if spec["unit"] not in ("", "times") else ""
    return f"<strong>{number(effect.mean, spec)}</strong>{unit} [{low}, {high}]"


def judgement(effect):
    if not effect.verdict:
        return '<span class="ledger-silent">none: the claim names no side</span>'
    words = state(effect.verdict)
    if "blind" in effect.spec:
        return f"{words}<small>could not be seen: {html.escape(effect.spec['blind'])}</small>"
    unit = " points" if effect.spec["unit"] == "points" else ""
    if effect.spec.get("claimed") == "none":
        matters = number(sum(effect.spec["matters"]["terms"]), effect.spec, sign=False)
        words += (
            f"<small>would matter from {matters}{unit} on:"
            f" {html.escape(effect.spec['matters']['why'])}</small>"
        )
    if effect.verdict == effects.WEAK or effect.spec.get("claimed") == "none":
        factor = "a factor of " if effect.spec["unit"] == "times" else ""
        words += (
            "<small>could have seen"
            f" {factor}{number(effect.seen, effect.spec, sign=False)}{unit}</small>"
        )
    return words


def number(value, spec, sign=True):
    """Return a number of an effect as it is printed: points with one decimal, all else with two,
    and with one more where it would round to zero and is not."""
    decimals = 1 if spec["unit"] == "points" else 2
    while 0 < abs(value) < 0.5 * 10**-decimals and decimals < 4:
        decimals += 1
    text = (
        f"{value:+.{decimals}f}"
        if sign and value and spec["unit"] != "times"
        else f"{value:.{decimals}f}"
    )
    return text.replace("-", "−")


def plot(effect, its):
    """Return an interval as a drawing, to one scale with the claim's other effects of that unit;
    the words say the same."""
    width, height = PLOT
    ratio = effect.spec["unit"] == "times"
    alike = [
        other
        for other in its
        if (other.spec["unit"], other.spec.get("value"))
        == (effect.spec["unit"], effect.spec.get("value"))
    ]
    change = math.log if ratio else float
    reach = max(
        abs(change(v))
        for other in alike
        for v in (other.low, other.high, *(size for _, size in other.paper))
    )

    def x(value):
        return f"{width / 2 + change(value) / reach * (width / 2 - 5):.1f}"

    middle = height / 2
    diamonds = "".join(
        f'<path class="ledger-paper" d="M{x(size)} {middle - 4:g}l4 4-4 4-4-4z"/>'
        for _, size in effect.paper
    )
    return (
        f'<svg class="ledger-plot" viewBox="0 0 {width} {height}" aria-hidden="true">'
        f'<path class="ledger-zero" d="M{width / 2:g} 1V{height - 1}"/>{diamonds}'
        f'<path class="ledger-interval" d="M{x(effect.low)} {middle:g}H{x(effect.high)}"/>'
        f'<circle class="ledger-mean" cx="{x(effect.mean)}" cy="{middle:g}" r="3.2"/></svg>'
    )


if __name__ == "__main__":
    (BOOK / "claims.md").write_text(render(load()), "utf-8")

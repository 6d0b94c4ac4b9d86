"""Write the page of all recorded studies: hybridlib.studies, book/studies and book/results ->
book/recorded.md.

A study has its tables, and with them a drawing of the first: each run a dot, the mean a line, the
standard deviation over seeds a bar. It is SVG in the page itself, so it has the page's colours, in
light and in dark.
"""

import html
import math
from pathlib import Path

from hybridlib.studies import notes, running
from hybridlib.studies.catalogue import NAMES, find
from hybridlib.studies.records import load, results_folder, summarise

BOOK = Path(__file__).resolve().parents[1]
HEAD = """\
# Recorded studies

<!-- Made from results/ by tools/recorded.py: run `make book`. -->

Every comparison in this book is a set of recorded runs. Here are all of them, with the effort that
each system got and the results: mean ± standard deviation over seeds, and in brackets the number of
runs. In the drawings each run is a dot, the mean a line, and the bar reaches one standard deviation
to either side; a single run has neither. One JSON file for each run, in `book/results`, holds its
settings, seed, data, device, library versions, curve and result, and the command that repeats it.
What the runs say about the papers stands in the [ledger](claims.md).

The digits are scikit-learn's 1,797 handwritten ones, of which 500 are held out; on them the studies
take minutes to an hour of two cores. `python -m hybridlib study run NAME --data cifar10` asks the
same questions of CIFAR-10, with a longer budget; all together they take a night of two cores.
CIFAR-10 (JPEG) is a copy of it whose images are compressed, read as a folder: accuracies on it are
not those of the original. The learning rates are those that were chosen on the digits.

The look-up, the match and the pointer are tasks of the book's own: where something stands is said by
a far part of the picture (`hybridlib.data.lookup`, `match` and `pointer`). They have learning rates
of their own.
"""


def section(name):
    """Return a study's part of the page."""
    study, prose = find(name), notes.read(name)
    parts = [f"## {prose.title}\n", f"{study.question}\n"]
    claims = ", ".join(f"[{claim}](claims.md#Claim-{claim})" for claim in study.claims)
    parts.append(f"*Effort.* {prose.effort}" + (f" *Claims:* {claims}." if claims else "") + "\n")
    if prose.finding:
        parts.append(f"*What it shows.* {prose.finding}\n")
    for data, done, declared in running.states(study, results_folder()):
        if done < declared:
            parts.append(
                f"*Not finished: on {data} {declared - done} of {declared} runs are to do.*\n"
            )
    if not (results_folder() / name).is_dir():
        return "\n".join(parts)
    panels = results(study, load(name, data=None))
    chart = drawing(name, [panel for panel in panels if panel["first"]])
    tables = "\n".join(map(table, panels))
    parts.append(
        f'<div class="runs-all">\n{chart}\n<div class="runs-tables">\n{tables}\n</div></div>\n'
    )
    parts.append(f"`python -m hybridlib study run {name}`\n")
    return "\n".join(parts)


# Tables

HEADINGS = {  # of entries of a record whose own names are not the field's words
    "data.train.images": "training pictures",
    "end.macs": "multiply-adds",
    "i2t": "I2T",
    "lca": "LCA",
    "leff": "LeFF",
    "lr": "learning rate",
    "optimizer": "optimiser",
    "train_size": "training originals",
}


def results(study, records):
    """Return the tables of a study in the order of `Study.panels`: for each its
    title and data, the names of its keys, the entry across it if any, its scale and decimals, its
    rows as from `summarise`, and whether it is the first of its data."""
    panels, seen = [], set()
    for data, layout, records_in in study.panels(records):
        panels.append(
            dict(
                data=data,
                title=layout.title,
                first=data not in seen,
                across=layout.across,
                keys=[key for key in layout.by if key != layout.across],
                scale=layout.scale,
                digits=layout.digits,
                rows=summarise(records_in, by=layout.by, value=layout.value),
            )
        )
        seen.add(data)
    return panels


def table(panel):
    """Return a table as HTML."""
    keys, across, rows = panel["keys"], panel["across"], panel["rows"]
    columns = sorted({row[across] for row in rows}) if across else ["mean ± sd (runs)"]
    lines = {}
    for row in rows:
        line = lines.setdefault(tuple(row[key] for key in keys), {})
        line[row[across] if across else columns[0]] = cell(row, panel)
    names = [HEADINGS.get(key, key) for key in keys] + columns
    head = "".join(f'<th scope="col">{html.escape(str(name))}</th>' for name in names)
    body = "\n".join(
        "<tr>"
        + "".join(f'<th scope="row">{html.escape(worded(value))}</th>' for value in key)
        + "".join(f"<td>{line.get(column, '')}</td>" for column in columns)
        + "</tr>"
        for key, line in lines.items()
    )
    title = html.escape(f"{panel['data']}: {panel['title']}")
    return (
        f"<figure><figcaption>{title}</figcaption><table"
        f' class="table">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></figure>"
    )


def cell(row, panel):
    """Return "mean ± sd (n)"."""
    spread = "" if row["sd"] is None else f" ± {row['sd'] * panel['scale']:.{panel['digits']}f}"
    return f"{row['mean'] * panel['scale']:.{panel['digits']}f}{spread} ({row['n']})"


def worded(value):
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


# Drawings

# of a drawing; at this width its letters are as small as they may be, and a phone shows it so
WIDTH = 340
LANE, LETTER, GAP = 12, 6.0, 6  # height of a run's lane, width of a letter, room between things
SERIES = 4  # so many entries across a table have a shape each; more are named in every lane


def drawing(name, panels):
    """Return a study's drawing, one part for each of its data, with the same figures in words for
    who cannot see it."""
    parts, said, top = [], [], 0
    for panel in panels:
        part, height = part_of(panel, top)
        parts.append(part)
        said.append(mean_range(panel))
        top += height + 2 * GAP
    words = html.escape(
        f"Each run of study {name} as a dot. {' '.join(said)} The tables have all figures."
    )
    return (
        f'<figure class="runs"><svg viewBox="0 0 {WIDTH} {top - 2 * GAP}" role="img"'
        f' aria-label="{words}">'
        f"{''.join(parts)}</svg></figure>"
    )


def mean_range(panel):
    """Return in words between what a panel's means lie."""
    label = labels(panel)
    low, high = (choose(panel["rows"], key=lambda row: row["mean"]) for choose in (min, max))
    ends = [
        f"{row['mean'] * panel['scale']:.{panel['digits']}f} ({' '.join(label(row)).strip()})"
        for row in (low, high)
    ]
    return f"{panel['data']}, {panel['title']}: means from {ends[0]} to {ends[1]}."


def labels(panel):
    """Return a function that names a row: its keys, and the entry across. Left out are keys that
    those before them determine, such as a system's parameters."""
    keys, across, rows = panel["keys"], panel["across"], panel["rows"]
    label_keys = [
        key
        for number, key in enumerate(keys)
        if len({tuple(r[k] for k in keys[: number + 1]) for r in rows})
        > len({tuple(r[k] for k in keys[:number]) for r in rows})
        or not number
    ]
    switches = bool(label_keys) and all(
        isinstance(row[key], bool) for row in rows for key in label_keys
    )

    def label(row):
        parts = (
            [key for key in label_keys if row[key]] or ["none"]
            if switches
            else [worded(row[key]) for key in label_keys]
        )
        return (" + " if switches else ", ").join(parts), str(row[across]) if across else ""

    return label


def part_of(panel, top):
    """Return a panel's part of the drawing, which begins at height `top`, and its own height."""
    rows, scale, label = panel["rows"], panel["scale"], labels(panel)
    across = sorted({row[panel["across"]] for row in rows}) if panel["across"] else [""]
    named = len(across) > SERIES
    # lanes of one label lie together
    rows = sorted(rows, key=lambda row: [row[key] for key in panel["keys"]])
    names = [" ".join(label(row)).strip() if named else label(row)[0] for row in rows]
    left = round(min(150, max(map(len, names)) * LETTER + 2 * GAP))
    ends = [
        scale * value
        for row in rows
        for value in (
            *row["values"],
            row["mean"] - (row["sd"] or 0),
            row["mean"] + (row["sd"] or 0),
        )
    ]
    if min(ends) == max(ends):  # one run, or all alike
        ends += [ends[0] - 1, ends[0] + 1]
    ticks = marks(min(ends), max(ends))
    low, high = min(ticks[0], *ends), max(ticks[-1], *ends)

    def x(value):
        return f"{left + GAP + (value - low) / (high - low) * (WIDTH - left - 3 * GAP):.1f}".removesuffix(
            ".0"
        )

    parts = [
        f'<text class="runs-title" x="0" y="{top + 11}">{html.escape(panel["data"])}:'
        f" {html.escape(panel['title'])}</text>"
    ]
    y = top + 18
    if not named and len(across) > 1:
        parts.append(legend(across, y + 6))
        y += 15
    start = y
    lanes, before, previous, first = [], None, {}, y
    for row, name in zip(rows, names):
        if before is not None and name != before:
            lanes.append(heading_of(before, left, (first + y) / 2))
            parted = len(across) > 1 and any(row[key] != previous[key] for key in panel["keys"])
            y += 4 * parted
            first = y
        before, previous = name, row
        series = 0 if named else across.index(row[panel["across"]]) if panel["across"] else 0
        middle = y + LANE / 2
        mean = x(scale * row["mean"])
        inside = ""
        if row["sd"] is not None:
            sides = [x(scale * (row["mean"] + sign * row["sd"])) for sign in (-1, 1)]
            inside = (
                f'<path class="runs-sd" d="M{sides[0]} {middle:g}H{sides[1]}"/><path'
                f' class="runs-mean" d="M{mean} {y + 1:g}v{LANE - 2}"/>'
            )
        dots = "".join(dot(series, float(x(scale * value)), middle) for value in row["values"])
        lanes.append(f'<g class="runs-{series}">{inside}<path d="{dots}"/></g>')
        y += LANE
    lanes.append(heading_of(before, left, (first + y) / 2))
    grid = "".join(f"M{x(tick)} {start:g}V{y + 3:g}" for tick in ticks)
    words = "".join(
        f'<text class="runs-tick" x="{x(tick)}" y="{y + 13:g}">{tick:g}</text>' for tick in ticks
    )
    parts += [f'<path class="runs-grid" d="{grid}"/>', words, *lanes]
    return "".join(parts), round(y + 16 - top)


def heading_of(name, left, middle):
    """Return the words beside a row's lanes."""
    most = int((left - GAP) / LETTER)
    text = name if len(name) <= most else name[: most - 1] + "…"
    return (
        f'<text class="runs-name" x="{left - 2:g}" y="{middle + 3.5:g}">{html.escape(text)}</text>'
    )


def legend(across, middle):
    parts, x = [], 4.0
    for series, name in enumerate(map(str, across)):
        parts.append(f'<path class="runs-{series}" d="{dot(series, x, middle)}"/>')
        parts.append(f'<text x="{x + 7:g}" y="{middle + 3.5:g}">{html.escape(name)}</text>')
        x = round(x + 22 + len(name) * LETTER, 1)
    return "".join(parts)


def dot(series, x, y):
    """Return a series' own shape as a path: circle, square, triangle or diamond."""
    at = f"M{x:g} {y:g}"
    return (
        at
        + (
            "m-2.4 0a2.4 2.4 0 1 0 4.8 0a2.4 2.4 0 1 0-4.8 0",
            "m-2.1-2.1h4.2v4.2h-4.2z",
            "m0-2.9l2.8 4.9h-5.6z",
            "m0-3.1l3.1 3.1-3.1 3.1-3.1-3.1z",
        )[series]
    )


def marks(low, high, most=5):
    """Return round numbers for an axis that holds low and high, some four of them."""
    reach = (high - low) or abs(high) or 1
    step = next(
        s for p in range(-6, 7) for s in (10.0**p, 2 * 10.0**p, 5 * 10.0**p) if reach / s <= most
    )
    first = math.floor(low / step + 1e-9)
    return [round(step * n, 6) for n in range(first, math.ceil(high / step - 1e-9) + 1)]


def render():
    """Return the page's Markdown."""
    return "\n".join([HEAD, *map(section, NAMES)])


if __name__ == "__main__":
    (BOOK / "recorded.md").write_text(render(), "utf-8")

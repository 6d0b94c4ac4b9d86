"""The still picture of a network, drawn from the same rows as the explorable."""

from collections.abc import Collection

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle

from hybridlib.widgets.palette import KNOWN, PARTS, colour_of

from .network_outline import Cell, Join, Row, outline, shape_words

WIDTH = 300  # of the picture, in points as everything here; it grows with what is wider
CELL, GAP, SIGN, TITLE, PAD, BETWEEN = 30, 9, 6, 20, 8, 22
EDGE, MUTED = "#7a828c", "#48566b"
SIGNS = {"add": "+", "mul": "×", "cat": "&", "matmul": "·", "sub": "−", "div": "÷"}


def draw(
    modules: list[dict],
    flow: list,
    *,
    size: list[int],
    new: Collection[str] = (),
    known: Collection[str] = (),
    title: str = "",
) -> Figure:
    """A figure of the network, from the picture at the top to the logits.

    Args:
        modules, flow: as in `outline`.
        size: `1 c h w` of the picture.
        new: what stands out in colour: kinds, classes, names, or beginnings of names up to a dot;
            empty: everything.
        known: names of the models that have what is grey, for the legend.
        title: above the picture.
    """
    return Drawing(modules, new, known).draw(outline(modules, flow), size=size, title=title)


def matches(modules: list[dict], place: int, entry: str) -> bool:
    """Whether a part is meant, or something that it is in: by kind, class, name, or the beginning
    of the name."""
    name = modules[place]["name"]
    if name == entry or name.startswith(f"{entry}."):
        return True
    holders = (part for part in modules if part["name"] and name.startswith(f"{part['name']}."))
    return any(entry in (part["kind"], part["class"]) for part in (modules[place], *holders))


class Drawing:
    """Shapes are collected first, with y downwards, since the height of the figure follows from
    them."""

    def __init__(self, modules: list[dict], new: Collection[str], known: Collection[str]) -> None:
        self.modules, self.new, self.known = modules, new, known
        self.shapes: list = []
        self.right: float = WIDTH

    def is_new(self, place: int) -> bool:
        return not self.new or any(matches(self.modules, place, entry) for entry in self.new)

    def draw(self, rows: list, *, size: list[int], title: str) -> Figure:
        y = self.legend(rows, 8) if self.new else 8
        y = self.text(24, y, f"picture {size[2]}×{size[3]}×{size[1]}", color=MUTED)
        for row in rows:
            self.line([(10, y - 14), (10, y)], arrow=True)
            y = self.block(row, y) if row.members else self.strip(row.strip, 2, y)[1]
            last = row.members[-1] if row.members else last_place(row.strip)
            y = self.text(24, y + 12, shape_words(self.modules[last]), color=MUTED)
        return self.figure(y, title)

    def legend(self, rows: list, y: float) -> float:
        """The colours of the cells that are new, and what grey stands for; returns the place of the
        next line."""
        fresh = {
            self.modules[place]["kind"]
            for row in rows
            for place in cells_of(row.strip)
            if self.is_new(place)
        }
        kinds = [kind for kind in PARTS if kind in fresh]
        x = 4.0
        for label, fill in [
            *((f"new: {kind}", PARTS[kind]) for kind in kinds),
            (f"known from {', '.join(self.known)}" if self.known else "known before", KNOWN),
        ]:
            width = 16 + 4.7 * len(label)
            if x + width > WIDTH:
                x, y = 4, y + 13
            self.box(x, y - 4, 9, 9, fill=fill)
            self.text(x + 13, y, label, fontsize=7.5)
            x += width + 6
        return y + 20

    def block(self, row: Row, y: float) -> float:
        from_here, some = (
            len(self.shapes),
            self.is_new(row.members[0]) or any(self.is_new(place) for place in cells_of(row.strip)),
        )
        times = f"  × {len(row.members)}" if len(row.members) > 1 else ""
        self.text(16, y + 11, row.title + times, weight="bold")
        right, bottom = self.strip(row.strip, 14, y + TITLE)
        self.right = max(self.right, right + PAD + 4)
        inside, self.shapes = self.shapes[from_here:], self.shapes[:from_here]
        self.box(1, y, None, bottom + PAD - y, fill="white")
        fill, _ = colour_of(row.kind, known=not some)
        self.shapes.append(
            lambda ax: ax.add_patch(
                Rectangle((2, y + 2), 6, bottom + PAD - y - 4, fc=fill, ec="none")
            )
        )
        self.shapes += inside
        return bottom + PAD

    def strip(self, strip: list, x: float, y: float) -> tuple[float, float]:
        """Cells and joins side by side; returns the right end and the bottom."""
        bottom = y + CELL
        for i, item in enumerate(strip):
            if i:
                self.line([(x, y + CELL / 2), (x + GAP, y + CELL / 2)])
                x += GAP
            right, low = (self.join if isinstance(item, Join) else self.cell)(item, x, y)
            x, bottom = right, max(bottom, low)
        return x, bottom

    def cell(self, cell: Cell, x: float, y: float) -> tuple[float, float]:
        width = width_of(cell)
        fill, ink = colour_of(cell.kind, known=not self.is_new(cell.place))
        plain_news = self.new and self.is_new(cell.place) and cell.kind not in PARTS
        self.box(
            x, y, width, CELL, fill="white" if plain_news else fill, edge=1.8 if plain_news else 0.8
        )
        self.text(x + width / 2, y + (10 if cell.sub else 15), cell.label, color=ink, ha="center")
        if cell.sub:
            self.text(x + width / 2, y + 22, cell.sub, color=ink, ha="center", fontsize=7)
        return x + width, y + CELL

    def join(self, join: Join, x: float, y: float) -> tuple[float, float]:
        """The main branch in line, the other below it, and the sign where they meet."""
        middle, inner = y + CELL / 2, x + GAP
        right, bottom = self.strip(join.main, inner, y) if join.main else (inner, y + CELL)
        main_end, around, start = right, bottom + 5, x
        if join.side:
            shift = max(0.0, (right - inner - strip_width(join.side)) / 2)
            around = bottom + GAP + CELL / 2
            self.line([(x, middle), (x, around), (inner + shift, around)], width=1.4)
            start, bottom = self.strip(join.side, inner + shift, bottom + GAP)
            right = max(right, start)
        at = right + GAP + SIGN
        self.line([(x - 1, middle), (inner, middle)])
        self.line([(main_end, middle), (at - SIGN, middle)])
        way = [(start, around), (at, around), (at, middle + SIGN)]
        self.line(way if join.side else [(x, middle), *way], width=1.4, arrow=True)
        self.shapes.append(
            lambda ax: ax.add_patch(Circle((at, middle), SIGN, fc="white", ec="black", lw=1))
        )
        self.text(at, middle, SIGNS.get(join.join, join.join), ha="center", weight="bold")
        return at + SIGN, max(bottom, around + 2)

    # --------------------------------------------------------------------------------------- shapes

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        fontsize: float = 8,
        ha: str = "left",
        color: str = "black",
        weight: str = "normal",
    ) -> float:
        style = dict(fontsize=fontsize, ha=ha, va="center_baseline", color=color, weight=weight)
        self.shapes.append(lambda ax: ax.text(x, y, words, **style))
        return y + BETWEEN - 10

    def box(
        self,
        x: float,
        y: float,
        width: float | None,
        height: float,
        *,
        fill: str,
        edge: float = 0.8,
    ) -> None:
        """A rounded box; without a width it reaches to the right end of the picture."""

        def add(ax: Axes) -> None:
            wide = self.right - 2 - x if width is None else width
            style = FancyBboxPatch(
                (x + 3, y + 3),
                wide - 6,
                height - 6,
                boxstyle="round,pad=3",
                fc=fill,
                ec="black" if edge > 1 else EDGE,
                lw=edge,
            )
            ax.add_patch(style)

        self.shapes.append(add)

    def line(
        self, points: list[tuple[float, float]], *, width: float = 0.9, arrow: bool = False
    ) -> None:
        color = "black" if width > 1 else EDGE
        self.shapes.append(
            lambda ax: ax.plot(
                *zip(*points, strict=True), color=color, lw=width, solid_joinstyle="round"
            )
        )
        if arrow:
            style = dict(
                arrowstyle="-|>", color=color, lw=width, shrinkA=0, shrinkB=0, mutation_scale=7
            )
            self.shapes.append(lambda ax: ax.annotate("", points[-1], points[-2], arrowprops=style))

    def figure(self, height: float, title: str) -> Figure:
        top = 18 if title else 0
        figure = Figure(figsize=(self.right / 72, (height + top + 16) / 72))
        ax = figure.add_axes((0, 16 / (height + top + 16), 1, height / (height + top + 16)))
        ax.set(xlim=(0, self.right), ylim=(height, 0))
        ax.set_axis_off()
        if title:
            figure.text(
                0.01, 1 - 10 / (height + top + 16), title, fontsize=10, weight="bold", va="center"
            )
        for add in self.shapes:
            add(ax)
        return figure


def width_of(item: Cell | Join) -> float:
    if isinstance(item, Join):
        return max(strip_width(item.main), strip_width(item.side)) + 2 * SIGN + 2 * GAP
    return max(32.0, 4.7 * len(item.label) + 10, 4.2 * len(item.sub) + 10)


def strip_width(strip: list) -> float:
    return sum(width_of(item) + GAP for item in strip) - GAP


def cells_of(strip: list) -> list[int]:
    return [
        place
        for item in strip
        for place in (
            [item.place] if isinstance(item, Cell) else cells_of([*item.main, *item.side])
        )
    ]


def last_place(strip: list) -> int:
    return strip[-1].place if isinstance(strip[-1], Cell) else last_place(strip[-1].main)

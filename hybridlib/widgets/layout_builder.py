"""CoAtNet's layouts, C or T for each stage: what they cost, and what was measured of them."""

import json
from collections.abc import Mapping, Sequence

import traitlets
from matplotlib.figure import Figure

from hybridlib.widgets.palette import PARTS

from .base import Explorable, Refused, check_name

PATCHES = "ViT_REL"
PLAIN = "CCTT"
COLOURS = {"C": PARTS["convolution"], "T": PARTS["attention"]}
PLAN = ("stem_width", "stem_stride", "widths", "depths", "strides", "head_dim")


class LayoutBuilder(Explorable):
    """Build a CoAtNet letter by letter, and see its stack, its map and operations by stage, and its
    recorded accuracy.

    Everything is counted in the browser: multiply-adds of convolutions and matrix products for one
    picture, parameters with all norms and tables. Links in the text, such as `<a
    href="#layout?layout=CTTT&size=nano&side=48">words</a>`, set it.

    Args:
        sizes: by name, each a dict with `sides`, the sides of a picture in pixels that can be
            chosen; `classes`; and `layouts`, a dict from layouts to CoAtNet's arguments stem_width,
            stem_stride, widths, depths, strides and head_dim. "CCTT" must be among them: other
            layouts of four letters are counted with its numbers. "ViT_REL" can be chosen where it
            is given.
        measured: what was recorded, each a dict with `title`, `size` (of `sizes`) and `values`,
            from layouts to accuracies in %, one for each seed.
        size, letters, side: at first. By default the first size, the layout "CCTT" and the size's
            first side.
        name: what links in the text call this explorable, a word of its own on each page.
        note: one line below.

    `size`, `letters` and `side` can be set again later.

    Raises:
        ValueError: for an unknown size or side, a layout that is neither four letters C or T nor a
            given "ViT_REL", a plan that lacks a number or has one for another number of stages, or
            accuracies outside of 0 to 100.
    """

    script = "layout_builder.js"

    setup = traitlets.Unicode().tag(sync=True)  # as text, which keeps the order
    size = traitlets.Unicode().tag(sync=True)
    letters = traitlets.Unicode().tag(sync=True)  # `layout` is ipywidgets' own
    side = traitlets.Int().tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        sizes: Mapping[str, Mapping],
        *,
        measured: Sequence[Mapping] = (),
        size: str | None = None,
        letters: str = PLAIN,
        side: int | None = None,
        name: str = "layout",
        note: str = "",
    ) -> None:
        if not isinstance(sizes, Mapping) or not sizes:
            raise ValueError(
                f'sizes is {sizes!r:.60}: it must name at least one, such as {{"nano": {{"sides":'
                " [32], ...}}"
            )
        for one, entry in sizes.items():
            check_size(one, entry)
        for entry in measured:
            check_measured(entry, sizes=sizes)
        size = next(iter(sizes)) if size is None else size
        super().__init__(
            setup=json.dumps(dict(sizes=sizes, measured=list(measured))),
            size=size,
            letters=letters,
            side=sizes.get(size, {}).get("sides", [0])[0] if side is None else side,
            name=check_name(name, example="layout"),
            note=note,
        )
        check_choice(sizes, size=size, letters=letters, side=self.side)

    @property
    def sizes(self) -> dict[str, dict]:
        """The sizes by name, as they were given."""
        return json.loads(self.setup)["sizes"]

    @traitlets.validate("letters")
    def _check_letters(self, proposal: dict) -> str:
        return check_letters(proposal["value"])

    def summary(self) -> str:
        return f"{self.size!r}, letters={self.letters!r}, side={self.side}"

    def fallback(self) -> Figure:
        entry = self.sizes[self.size]
        plan = entry["layouts"].get(self.letters, entry["layouts"][PLAIN])
        stages = "T" if self.letters == PATCHES else self.letters
        figure = Figure(figsize=(5.5, 2.6), layout="constrained")
        axis = figure.subplots()
        side = -(-self.side // plan["stem_stride"])
        rows = [("S0", side, plan["stem_width"], "C")]
        for i, letter in enumerate(stages):
            side = -(-side // plan["strides"][i])
            rows.append((f"S{i + 1}: {letter}", side, plan["widths"][i], letter))
        for y, (title, at, width, letter) in enumerate(rows):
            axis.barh(y, at**0.5, left=-(at**0.5) / 2, color=COLOURS[letter])
            axis.text(
                0, y, f"{title}   {at} x {at} x {width}", ha="center", va="center", fontsize=9
            )
        axis.set(
            ylim=(len(rows) - 0.5, -0.5),
            title=f"Layout {self.letters}, {self.size}, {self.side} pixels: map of each stage",
        )
        axis.title.set_fontsize(10)
        axis.set_axis_off()
        return figure


def check_letters(letters: object) -> str:
    """The layout, or a ValueError if it is none."""
    if letters != PATCHES and (
        not isinstance(letters, str) or len(letters) != 4 or set(letters) - set("CT")
    ):
        raise Refused(
            f"letters is {letters!r}: it must be four letters, each C or T, such as 'CCTT', or"
            f" {PATCHES!r}"
        )
    return letters


def check_choice(sizes: Mapping[str, Mapping], *, size: str, letters: str, side: int) -> None:
    if size not in sizes:
        raise ValueError(f"size is {size!r}: it must be one of {', '.join(map(repr, sizes))}")
    if letters == PATCHES and PATCHES not in sizes[size]["layouts"]:
        raise ValueError(
            f"letters is {PATCHES!r}, for which size {size!r} has no numbers; it has"
            f" {', '.join(sizes[size]['layouts'])}"
        )
    if side not in sizes[size]["sides"]:
        raise ValueError(
            f"side is {side}: for size {size!r} it must be one of"
            f" {', '.join(map(str, sizes[size]['sides']))}"
        )


def check_size(name: str, entry: Mapping) -> None:
    """A ValueError if an entry of `sizes` lacks something or its numbers do not fit."""
    lacking = [key for key in ("sides", "classes", "layouts") if not entry.get(key)]
    if lacking or PLAIN not in entry["layouts"]:
        raise ValueError(
            f"size {name!r} lacks {lacking[0] if lacking else PLAIN!r}: give sides, classes and"
            f" layouts with {PLAIN!r} among them"
        )
    for letters, plan in entry["layouts"].items():
        check_letters(letters)
        if missing := [key for key in PLAN if key not in plan]:
            raise ValueError(
                f"layout {letters!r} of size {name!r} lacks {missing[0]!r}: give {', '.join(PLAN)}"
            )
        stages = 1 if letters == PATCHES else 4
        for key in ("widths", "depths", "strides"):
            if len(plan[key]) != stages:
                raise ValueError(
                    f"{key} of layout {letters!r}, size {name!r}, has {len(plan[key])} entries:"
                    f" give {stages}"
                )


def check_measured(entry: Mapping, *, sizes: Mapping[str, Mapping]) -> None:
    """A ValueError if an entry of `measured` is of no size or holds something other than accuracies
    in %."""
    if entry.get("size") not in sizes:
        raise ValueError(
            f"{entry.get('title')!r} was measured of size {entry.get('size')!r}: it must be one of"
            f" {', '.join(map(repr, sizes))}"
        )
    for letters, values in entry["values"].items():
        check_letters(letters)
        if not values or not all(0 <= value <= 100 for value in values):
            raise ValueError(
                f"{entry['title']!r} has {values} for {letters!r}: give accuracies in %, 0 to 100,"
                " at least one"
            )

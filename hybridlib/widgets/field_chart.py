"""All systems as one scatter plot, whose axes and data the reader chooses."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import traitlets
from matplotlib.figure import Figure

from hybridlib.widgets.palette import PARTS

from .base import Explorable, Refused, check_name

KINDS = ("convolution", "attention", "both")
SCALES = ("linear", "log")
BETTER = ("more", "less", "")
FEW = 3  # runs below which a point is drawn open


class FieldChart(Explorable):
    """Systems as points: the reader picks what lies along both axes, the data, and a point to read.

    A point is the mean of its runs, its bars one sample standard deviation to either side. A point
    of one or two runs is drawn open; a bare number, such as a count of parameters, has no bars. A
    line joins the systems that no other beats on both axes.

    Args:
        points: one dict for each system and kind of data: `system`, its name; `mark`, one or two
            signs in the point; `kind`, "convolution", "attention" or "both"; `data`, what the
            numbers belong to; `values`, by key of `axes` a number, or the numbers of single runs.
            What a system lacks is left out.
        axes: by key `label`, with its unit; `scale`, "linear" or "log"; `better`, "more", "less" or
            ""; `digits`, decimals.
        x, y: keys of the axes to begin with; by default the first two.
        data: the kind of data to begin with; by default the first point's.
        name: what links in the text call this explorable. `<a
            href="#field?x=macs&y=accuracy&data=digits&point=CeiT">words</a>` sets it.
        note: one line below.

    `x`, `y` and `data` can be set again later.

    Raises:
        ValueError: for points or axes of another form; the message says which.
    """

    script = "field_chart.js"

    points = traitlets.List().tag(sync=True)
    axes = traitlets.List().tag(sync=True)
    x = traitlets.Unicode().tag(sync=True)
    y = traitlets.Unicode().tag(sync=True)
    data = traitlets.Unicode().tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        points: Sequence[Mapping],
        *,
        axes: Mapping[str, Mapping],
        x: str | None = None,
        y: str | None = None,
        data: str | None = None,
        name: str = "field",
        note: str = "",
    ) -> None:
        if len(axes) < 2:
            raise ValueError(
                f"axes has {len(axes)} entries: a plane needs two or more, such as parameters and"
                " accuracy"
            )
        checked = [check_axis(key, axis) for key, axis in axes.items()]
        if not points:
            raise ValueError("points is empty: give one dict for each system and kind of data")
        checked_points = [check_point(point, axes) for point in points]
        first, second = list(axes)[:2]
        super().__init__(
            points=checked_points,
            axes=checked,
            x=check_key("x", x or first, axes),
            y=check_key("y", y or second, axes),
            data=check_key(
                "data",
                data or checked_points[0]["data"],
                [point["data"] for point in checked_points],
            ),
            name=check_name(name, example="field"),
            note=note,
        )

    @traitlets.validate("x", "y")
    def _check_axis(self, proposal: dict) -> str:
        keys = [axis["key"] for axis in self.axes]
        return (
            check_key(proposal["trait"].name, proposal["value"], keys)
            if keys
            else proposal["value"]
        )

    @traitlets.validate("data")
    def _check_data(self, proposal: dict) -> str:
        there = [point["data"] for point in self.points]
        return check_key("data", proposal["value"], there) if there else proposal["value"]

    def summary(self) -> str:
        return f"{len(self.points)} points, x={self.x!r}, y={self.y!r}, data={self.data!r}"

    def fallback(self) -> Figure:
        figure = Figure(figsize=(5, 3.6), layout="constrained")
        ax = figure.subplots()
        across, up = ({axis["key"]: axis for axis in self.axes}[key] for key in (self.x, self.y))
        for point in self.points:
            if point["data"] != self.data or not {self.x, self.y} <= set(point["values"]):
                continue
            at, high = point["values"][self.x], point["values"][self.y]
            colour = PARTS.get(point["kind"], PARTS["token"])
            ax.errorbar(
                at["mean"],
                high["mean"],
                xerr=at["sd"],
                yerr=high["sd"],
                fmt="o",
                color=colour,
                capsize=2,
            )
            ax.annotate(
                point["system"],
                (at["mean"], high["mean"]),
                xytext=(4, 4),
                textcoords="offset points",
                fontsize=8,
            )
        ax.set(
            xlabel=across["label"],
            ylabel=up["label"],
            xscale=across["scale"],
            yscale=up["scale"],
            title=self.data,
        )
        return figure


def check_key(what: str, value: str, choices: Sequence[str] | Mapping) -> str:
    """The value, or a ValueError that lists what it may be."""
    if value not in choices:
        raise Refused(
            f"{what} is {value!r}: it must be one of {', '.join(map(repr, dict.fromkeys(choices)))}"
        )
    return value


def check_axis(key: str, axis: Mapping) -> dict:
    """The axis with its defaults filled in, or a ValueError."""
    full: dict[str, Any] = dict(key=key, label="", scale="linear", better="", digits=1) | dict(axis)
    if not full["label"]:
        raise ValueError(
            f"axis {key!r} has no label: give one with its unit, such as 'test accuracy, %'"
        )
    check_key(f"scale of axis {key!r}", full["scale"], SCALES)
    check_key(f"better of axis {key!r}", full["better"], BETTER)
    return full


def check_point(point: Mapping, axes: Mapping[str, Mapping]) -> dict:
    """The point as the view takes it, with mean, spread and number of runs of each value, or a
    ValueError."""
    for key in ("system", "mark", "kind", "data", "values"):
        if key not in point:
            raise ValueError(
                f"a point has no {key!r}: it needs system, mark, kind, data and values"
            )
    check_key(f"kind of {point['system']!r}", point["kind"], KINDS)
    values = {}
    for key, value in point["values"].items():
        check_key(f"a value of {point['system']!r}", key, axes)
        runs = list(map(float, value)) if isinstance(value, Sequence) else [float(value)]
        least = 0 if axes[key].get("scale") == "log" else -math.inf
        if not runs or not all(math.isfinite(v) and v > least for v in runs):
            rule = "above 0, because its axis is logarithmic" if least == 0 else "finite"
            raise ValueError(
                f"{key} of {point['system']!r} is {value!r}: give one or more numbers, each {rule}"
            )
        sd = statistics.stdev(runs) if len(runs) > 1 else 0.0
        counted = len(runs) if isinstance(value, Sequence) else 0
        values[key] = dict(
            mean=float(f"{statistics.fmean(runs):.6g}"), sd=float(f"{sd:.4g}"), n=counted
        )
    return dict(
        system=str(point["system"]),
        mark=str(point["mark"]),
        kind=point["kind"],
        data=str(point["data"]),
        values=values,
    )
